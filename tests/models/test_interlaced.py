import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sar_codec.entropy.integer import FRACTION
from sar_codec.models.exact import SPARE, ExactTeller, exact_teller
from sar_codec.models.interlaced import Cells, Interlaced
from sar_codec.models.interlacing import COARSE, FINE, Kind, Pass
from sar_codec.models.kernels import Kernel


@pytest.fixture(scope="module")
def model() -> Interlaced:
    torch.manual_seed(0)
    return Interlaced(width=8).eval()


def speckle(batch: int = 2, size: int = 48) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.5 + 0.05 * torch.randn(batch, 1, size, size, generator=generator)


def test_bits_are_less_with_wider_cells_and_errors_within_half_of_them(model: Interlaced) -> None:
    x = speckle(1).repeat(4, 1, 1, 1)
    with torch.no_grad():
        x_hat, coded = model(x)
    widths = torch.tensor([1.0, 2.0, 0.5, 4.0])
    assert torch.equal(coded.bits.argsort(descending=True), widths.argsort())
    assert torch.equal(coded.quality.argsort(), widths.argsort())
    off = 80 * (x_hat - x).abs().flatten(1).amax(1)
    assert (off <= widths / 2 + 1e-4).all()
    assert (off > 0.9 * widths / 2).all()


def test_validation_is_the_same_each_time_and_training_is_not(model: Interlaced) -> None:
    x = speckle()
    with torch.no_grad():
        assert torch.equal(model(x)[1].bits, model(x)[1].bits)
        model.train()
        assert not torch.equal(model(x)[1].bits, model(x)[1].bits)
        model.eval()


def test_every_weight_gets_a_gradient() -> None:
    torch.manual_seed(0)
    model = Interlaced(width=8)
    for _ in range(4):
        model(speckle(batch=4))[1].bits.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).any(), name
        assert parameter.grad.isfinite().all(), name


def test_a_few_steps_of_training_save_bits() -> None:
    torch.manual_seed(0)
    model = Interlaced(width=8)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x = speckle(batch=4)
    x = (x + x.roll(1, 3)) / 2
    before = model.eval()(x)[1].bits.sum().item()
    for _ in range(20):
        loss = model.train()(x)[1].bits.mean() / x[0].numel()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model.eval()(x)[1].bits.sum().item() < 0.95 * before


def test_pixels_that_repeat_another_cost_nothing(model: Interlaced) -> None:
    x = speckle(batch=1)
    repeated = x.clone()
    repeated[..., 1::2] = repeated[..., 0::2]
    with torch.no_grad():
        assert model(repeated)[1].bits < 0.6 * model(x)[1].bits


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2), (33, 17)])
def test_images_of_any_size_have_bits(size: tuple[int, int], model: Interlaced) -> None:
    with torch.no_grad():
        x_hat, coded = model(torch.rand(2, 1, *size))
    assert x_hat.shape == (2, 1, *size)
    assert coded.bits.isfinite().all()


def test_of_cells_in_training_one_lies_around_the_mean_and_others_anywhere() -> None:
    cells = Cells(torch.full((1, 1, 1), 2.0), torch.zeros(1, 1, 1, dtype=torch.bool))
    generator = torch.Generator().manual_seed(0)
    decibels, mean = torch.randn(2, 1, 60, 60, generator=generator) * 5
    mean.requires_grad_()
    decoded = cells.decoded(decibels, mean)
    assert (decoded - decibels).abs().max() <= 1 + 1e-5
    apart = (decoded - mean) / 2
    assert (apart - apart.round()).abs().max() < 1e-5
    (gradient,) = torch.autograd.grad(apart.sum(), mean)
    assert (gradient == 0).all()
    off = cells.anywhere(decibels) - decibels
    assert off.abs().max() <= 1
    assert off.std() == pytest.approx(2 / 12**0.5, rel=0.05)
    integers = cells._replace(is_integer=torch.ones(1, 1, 1, dtype=torch.bool))
    assert torch.equal(integers.decoded(decibels, mean), decibels)


def test_integers_in_training_are_whole_amplitudes() -> None:
    cells = Cells(torch.tensor([[[8.685889638 / 100]]]), torch.tensor([[[True]]]))
    decibels = torch.linspace(-30, 10, 500)[None, None]
    amplitudes = 100 * 10 ** (cells.of_integers(decibels) / 20)
    assert (amplitudes - amplitudes.round()).abs().max() < 1e-2
    assert cells.log_width(torch.zeros(1, 1, 1)).exp2().item() == pytest.approx(0.0869, abs=1e-3)
    assert cells.log_width(torch.full((1, 1, 1), 20.0)).exp2().item() == pytest.approx(
        0.00869, 0.01
    )


@pytest.mark.parametrize("kind", [FINE[0], FINE[-1], COARSE[1]])
@pytest.mark.parametrize("nominal", [-140, -64, 3, 96, 300])
def test_exact_answers_are_those_of_training_but_for_rounding(
    nominal: int, kind: Kind, model: Interlaced
) -> None:
    places = len(kind.offsets)
    teller = model.teller(Pass(kind, 1 if kind in FINE else 2))
    generator = torch.Generator().manual_seed(0)
    around = torch.randint(-200, 200, (places, 300), generator=generator).float()
    weights = torch.randint(-40, 40, (places,), generator=generator)
    local = torch.randint(-30, 30, (300,), generator=generator).float()
    known = torch.cat([around, torch.zeros(SPARE, 300)])
    exact = ExactTeller(teller, nominal)(known, weights, 12, local) / FRACTION
    level = torch.tensor([nominal / FRACTION + 4]).clamp(0, 7)
    kernel = Kernel(weights[None] / 128, torch.tensor([12 / 8]))
    with torch.no_grad():
        trained = teller(
            (around / FRACTION)[None, ..., None], kernel, (local / FRACTION)[None, :, None], level
        )
    assert (exact - trained[0, ..., 0]).abs().max() < 0.25


def test_predictions_are_exact_whatever_the_kernel(model: Interlaced) -> None:
    kind = max(FINE, key=lambda each: len(each.offsets))
    places = len(kind.offsets)
    generator = torch.Generator().manual_seed(0)
    known = torch.randint(4036, 4096, (places + SPARE, 4096), generator=generator).float()
    exact = ExactTeller(model.teller(Pass(kind, 1)), 0)
    heavy = torch.full((places,), 127), 0, torch.zeros(4096)
    found = exact(known.clone(), *heavy)
    exact._dtype = torch.float64
    exact._layers = [
        each._replace(weight=each.weight.double(), bias=each.bias.double())
        for each in exact._layers
    ]
    assert torch.equal(exact(known.clone(), *heavy), found)


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_sums_are_exact_whatever_the_weights(scale: float) -> None:
    torch.manual_seed(0)
    model = Interlaced(width=62)
    kind = FINE[-1]
    teller = model.teller(Pass(kind, 1))
    with torch.no_grad():
        for parameter in teller.parameters():
            parameter.mul_(scale)
    generator = torch.Generator().manual_seed(0)
    known = torch.randint(
        -5000, 5000, (len(kind.offsets) + SPARE, 4096), generator=generator
    ).float()
    weights = torch.randint(-127, 128, (len(kind.offsets),), generator=generator)
    local = torch.zeros(4096)
    exact = ExactTeller(teller, 0)
    found = exact(known.clone(), weights, 0, local)
    exact._dtype = torch.float64
    exact._layers = [
        each._replace(weight=each.weight.double(), bias=each.bias.double())
        for each in exact._layers
    ]
    assert torch.equal(exact(known.clone(), weights, 0, local), found)
    assert torch.equal(found, found.round())


def test_size_and_cost_are_what_the_docstring_says() -> None:
    model = Interlaced().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(1, 1, 256, 256))
    # Without the fit of kernels, and with their use.
    convolutions = counter.get_flop_counts()["Global"][torch.ops.aten.convolution] / 2 / 256**2
    places = [len(kind.offsets) for kind in FINE]
    multiply_adds = round(convolutions + 0.75 * sum(places) / len(places))
    parameters = sum(each.numel() for each in model.parameters())
    for number in (parameters, multiply_adds):
        assert f"{number:,}" in (Interlaced.__doc__ or ""), number


def test_exact_tellers_are_kept_until_weights_or_level_change() -> None:
    torch.manual_seed(0)
    model = Interlaced().requires_grad_(False)
    teller, other = model.teller(Pass(FINE[0], 1)), model.teller(Pass(FINE[1], 1))
    places = len(FINE[0].offsets)
    known = torch.randint(-999, 999, (places + SPARE, 99)).float()

    def told(exact: ExactTeller) -> torch.Tensor:
        return exact(known.clone(), torch.zeros(places), 0, torch.zeros(99))

    first = exact_teller(teller, 0)
    assert exact_teller(teller, 0) is first
    assert exact_teller(teller, FRACTION) is not first
    assert exact_teller(other, 0) is not first
    teller.enter.weight.mul_(2)
    changed = exact_teller(teller, 0)
    assert not told(changed).equal(told(first))
    assert told(changed).equal(told(ExactTeller(teller, 0)))
    teller.requires_grad_(True)
    assert exact_teller(teller, 0) is not exact_teller(teller, 0)
