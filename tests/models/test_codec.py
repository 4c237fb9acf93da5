"""What holds for every codec."""

import copy
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from sar_codec.data.raster import find_bands
from sar_codec.data.scaling import to_unit
from sar_codec.entropy.counted import CountedTables
from sar_codec.entropy.gaussian import scale_of
from sar_codec.entropy.trellis import followed
from sar_codec.errors import UserError
from sar_codec.metrics import mse
from sar_codec.models.codec import Codec, estimated
from sar_codec.models.factorized import Factorized
from sar_codec.models.hyperprior import Hyperprior


def small(kind: str, stirred: float = 0.02) -> Codec:
    """A codec in evaluation, its weights as far from the start as `stirred` says."""
    torch.manual_seed(0)
    sizes = {"latent_channels": 20, "width": 8, "analysis_depth": 1, "synthesis_depth": 1}
    model: Codec = Factorized(**sizes)
    if kind == "hyperprior":
        model = Hyperprior(
            **sizes, coarse_channels=7, hyper_channels=6, hyper_width=8, context_width=12
        )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "log_" not in name and "linear" not in name:
                parameter.add_(stirred * torch.randn_like(parameter))
            if name == "hyper_analysis.leave.weight":
                parameter.mul_(30)
    return model.eval()


def scene(*size: int, seed: int = 1) -> Tensor:
    """Speckle on a ramp, with targets far outside [0, 1]."""
    torch.manual_seed(seed)
    x = torch.linspace(0.2, 0.6, size[-1]).expand(*size) + 0.05 * torch.randn(size)
    x[..., ::37, ::41] = 1.7
    return x


KINDS = "hyperprior", "factorized"
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_kind
@pytest.mark.parametrize("size", [(1, 1), (64, 64), (3, 130), (65, 64), (100, 224)])
def test_any_size_goes_through_model_and_bytes(kind: str, size: tuple[int, int]) -> None:
    model, x = small(kind), scene(1, 1, *size)
    x_hat, coded = model.train()(x)
    assert x_hat.shape == x.shape
    assert coded.bits.shape == coded.quality.shape == (1,)
    model.eval()
    assert model.decompress(model.compress(x, 3.3), 3.3, *size).shape == x.shape


@every_kind
def test_what_is_decompressed_is_what_validation_saw_for_the_bits_that_it_told(kind: str) -> None:
    model, x = small(kind), scene(8, 1, 192, 256)
    with torch.no_grad():
        x_hat, coded = model(x)
    assert sorted(coded.quality.tolist()) == pytest.approx([level / 7 for level in range(8)])
    for image, bits, quality, expected in zip(x, *coded, x_hat, strict=True):
        data = model.compress(image[None], 1 + 7 * quality.item())
        assert bits.item() - 1 <= 8 * len(data) <= 1.0001 * bits.item() + 64
        found = model.decompress(data, 1 + 7 * quality.item(), *x.shape[2:])
        torch.testing.assert_close(found[0], expected, atol=1e-4, rtol=0)


def test_places_that_hold_none_of_the_image_are_not_coded() -> None:
    model = small("hyperprior")
    x = scene(1, 1, 128, 192)
    y = model.latents(x, 7)
    data, latents = model.compress_latents(y, 7, (5, 9))
    assert torch.equal(model.decompress_latents(data, 7, 75, 140), latents)
    every, padded = model.compress_latents(y, 7, (8, 12))
    assert torch.equal(model.decompress_latents(every, 7, 75, 140, codes_padding=True), padded)
    assert torch.equal(model.decompress_latents(every, 7, 128, 192), padded)
    # All but the hyper-latent, in proportion to places.
    assert len(data) < 1.15 * 5 * 9 / (8 * 12) * len(every)
    assert (latents[..., :5, :9] - padded[..., :5, :9]).abs().mean() < 0.1 * padded.std()


@every_kind
def test_bits_estimated_in_training_are_within_1_percent_of_bytes(kind: str) -> None:
    model, x = small(kind), scene(1, 1, 1024, 1024)
    for quality in (2.0, 4.5, 8.0):
        level = torch.tensor([quality - 1])
        with torch.no_grad():
            y = model.gains(model.analysis(x, level), level)
            estimated = model.estimate(y, y, level)[1].item()
        bits = 8 * len(model.compress(x, quality))
        assert bits / x.numel() > 0.1
        assert bits == pytest.approx(estimated, rel=0.01), f"quality {quality}"


def test_gains_are_told_that_latents_which_become_0_stay_so() -> None:
    torch.manual_seed(0)
    index = torch.linspace(4, 20, 64).expand(3, 5, 64)
    scale = scale_of(index)
    y = (scale * torch.randn(3, 5, 64)).requires_grad_()
    fixed = y.detach().clone().requires_grad_()
    found, bits = estimated(y, fixed, torch.zeros(3, 5, 64), index, CountedTables())
    weights = torch.randn(3, 5, 64)
    (weights * found).sum().backward(retain_graph=True)
    share = followed(scale)
    assert y.grad is not None
    assert fixed.grad is not None
    torch.testing.assert_close(y.grad, weights * share)
    torch.testing.assert_close(fixed.grad, weights * (1 - share))
    fixed.grad = None
    bits.sum().backward()
    assert fixed.grad is None


@every_kind
def test_gains_that_learn_alone_know_it(kind: str) -> None:
    def gradient(alone: bool) -> Tensor:
        model = small(kind).train()
        for name, each in model.named_parameters():
            each.requires_grad_(not alone or name.startswith("gains."))
        x = scene(16, 1, 64, 64)
        torch.manual_seed(1)  # which draws the levels, up to the seventh
        mse(model(x)[0], x).sum().backward()
        gradient = model.gains.log_gain.grad
        assert gradient is not None
        return gradient

    share = gradient(True) / gradient(False)
    # At the first level most of the higher frequencies become 0, at the last one next to none.
    assert share[0, -5:].mean() < 0.85
    assert 0.95 < share[0, 0] < 1
    assert share[6].min() > 0.95


@every_kind
def test_more_quality_is_more_bits_and_less_error(kind: str) -> None:
    # Smooth, as the few latents leave out what is not.
    model, x = small(kind, 0), interpolate(scene(1, 1, 5, 5), size=(128, 128), mode="bicubic")
    streams = [model.compress(x, quality) for quality in (1, 2.5, 4, 6.25, 8)]
    errors = [
        mse(model.decompress(data, quality, 128, 128), x).item()
        for data, quality in zip(streams, (1, 2.5, 4, 6.25, 8), strict=True)
    ]
    assert [len(data) for data in streams] == sorted(len(data) for data in streams)
    assert errors == sorted(errors, reverse=True)


@every_kind
@pytest.mark.parametrize("quality", [0.99, 8.01, float("nan")])
def test_a_quality_that_there_is_not_is_refused(kind: str, quality: float) -> None:
    model = small(kind)
    with pytest.raises(UserError, match="expected a number from 1, the smallest, to 8"):
        model.compress(scene(1, 1, 16, 16), quality)
    with pytest.raises(UserError, match="expected a number from 1, the smallest, to 8"):
        model.decompress(b"", quality, 16, 16)


@every_kind
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pixels_that_are_not_finite_are_refused_and_large_ones_are_not(
    kind: str, value: float
) -> None:
    model, x = small(kind), scene(1, 1, 64, 64)
    x[0, 0, 3, 5] = 1e30
    model.decompress(model.compress(x, 8), 8, 64, 64)
    x[0, 0, 3, 5] = value
    with pytest.raises(UserError, match="not finite: fill them"):
        model.compress(x, 8)


@every_kind
def test_levels_and_noise_are_the_global_generators_and_validation_draws_nothing(kind: str) -> None:
    model, x = small(kind), scene(2, 1, 64, 64)
    before = torch.get_rng_state()
    model(x)
    assert torch.equal(torch.get_rng_state(), before)
    model.train()
    same = copy.deepcopy(model)  # training counts symbols, so that the next ones cost less
    first = model(x)[1]
    assert not torch.equal(model(x)[1].quality, first.quality)
    torch.set_rng_state(before)
    again = same(x)[1]
    assert torch.equal(again.bits, first.bits)
    assert torch.equal(again.quality, first.quality)


@every_kind
def test_bits_are_float32_in_bf16_too_and_hardly_change(kind: str) -> None:
    model, x = small(kind), scene(4, 1, 128, 128)
    for mode in (True, False):
        model.train(mode)
        same = copy.deepcopy(model)  # training counts symbols, so that the next ones cost less
        torch.manual_seed(0)
        expected = same(x)
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16):
            x_hat, coded = model(x)
        assert coded.bits.dtype == x_hat.dtype == torch.float32
        torch.testing.assert_close(coded.bits, expected[1].bits, rtol=0.01, atol=0)
        torch.testing.assert_close(x_hat, expected[0], atol=0.05, rtol=0)


@every_kind
def test_every_weight_is_trained(kind: str) -> None:
    model, x = small(kind).train(), scene(8, 1, 128, 128)
    x_hat, coded = model(x)
    (coded.bits.mean() / x[0].numel() + 100 * mse(x_hat, x).mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


@every_kind
def test_a_copy_from_a_checkpoint_reads_what_the_model_wrote(kind: str) -> None:
    model, x = small(kind), scene(1, 1, 128, 64)
    model.train()(x)  # after which tables are to be made again
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.01)
    saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    data = model.eval().compress(x, 5)
    other = small(kind)
    other.load_state_dict(saved)
    assert torch.equal(other.decompress(data, 5, 128, 64), model.decompress(data, 5, 128, 64))


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@every_kind
@pytest.mark.usefixtures("threads")
@pytest.mark.filterwarnings("ignore:TF32")  # what switching oneDNN off says without an Intel GPU
def test_latents_decode_to_the_same_bits_with_any_threads_and_layout(kind: str) -> None:
    model, x = small(kind), scene(1, 1, 512, 512)
    data = model.compress(x, 7)
    expected = model.decompress_latents(data, 7, 512, 512)
    assert expected.dtype == torch.float64
    assert torch.equal(expected, expected.round())
    for count in (1, 2):
        torch.set_num_threads(count)
        assert torch.equal(model.decompress_latents(data, 7, 512, 512), expected)
    with torch.backends.mkldnn.flags(enabled=False):
        assert torch.equal(model.decompress_latents(data, 7, 512, 512), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.decompress_latents(data, 7, 512, 512), expected)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    assert torch.equal(model.decompress_latents(data, 7, 512, 512), expected)


@every_kind
def test_latents_are_the_same_in_a_batch_of_8(kind: str) -> None:
    model, x = small(kind), scene(8, 1, 128, 192)
    level = torch.arange(8.0)
    with torch.no_grad():
        y = model.gains(model.analysis(x, level), level)
        taken: list[tuple[Tensor, ...]] = []
        together = model.encode(y, level, lambda *symbols: taken.append(symbols))
        for n in range(8):
            tables = iter(taken)

            def put(symbols: Tensor, _: object, which: Tensor, n: int = n) -> None:
                of_all, _, which_of_all = next(tables)  # noqa: B023 - used before the next round
                assert torch.equal(symbols, of_all.chunk(8, 1)[n])
                assert torch.equal(which, which_of_all.chunk(8, 1)[n])

            alone = model.encode(y[n : n + 1], level[n : n + 1], put)
            assert torch.equal(alone[0], together[n])


# Prints its instruction set, how many latents it reads, and a hash of them.
READ = """
import hashlib, sys, torch
torch.set_num_threads(1)
from sar_codec.models.hyperprior import Hyperprior
saved = torch.load(sys.argv[1], weights_only=True)
model = Hyperprior(**saved["settings"]).eval()
model.load_state_dict(saved["weights"])
count, digest = 0, hashlib.sha256()
for data in saved["streams"]:
    latents = model.decompress_latents(data, 7, *saved["size"])
    digest.update(latents.numpy().tobytes())
    count += latents.numel()
print(torch.backends.cpu.get_cpu_capability(), count, digest.hexdigest())
"""


@pytest.fixture(scope="module", params=[1, pytest.param(96, marks=pytest.mark.slow)])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Over a million symbols an image, by a codec with entropy parameters of full size."""
    torch.manual_seed(0)
    settings = {"width": 16, "analysis_depth": 0, "synthesis_depth": 0}
    model = Hyperprior(**settings).eval()
    size = 1000, 1088
    streams = [model.compress(scene(1, 1, *size, seed=n), 7) for n in range(request.param)]
    saved = {"settings": settings, "size": size, "weights": model.state_dict(), "streams": streams}
    file = tmp_path_factory.mktemp("written") / "saved.pth"
    torch.save(saved, file)
    return file


def test_another_processor_reads_the_same_latents(written: Path) -> None:
    processors = [
        {},
        {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "SSE4_2"},
        {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"},
    ]
    read = []
    for processor in processors:
        command = [sys.executable, "-c", READ, str(written)]
        ended = subprocess.run(
            command, env=os.environ | processor, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        read.append(ended.stdout.split())
    assert [capability for capability, _, _ in read[1:]] == ["DEFAULT", "AVX2"]
    assert int(read[0][1]) > 10**6
    assert len({digest for _, _, digest in read}) == 1


def test_on_real_scenes_too_bytes_are_what_validation_told(shared_data: Path) -> None:
    torch.manual_seed(0)
    model = Hyperprior(width=16, analysis_depth=0, synthesis_depth=0).eval()
    scenes = [
        *find_bands(shared_data / "s1sigma0_mekong", "db"),
        *find_bands(shared_data / "s1grd_berlin", "power", offset_db=-55.6),
    ]
    assert len(scenes) == 4
    for band in scenes:
        decibels = band.read(0, 0, 256, 384)
        x = torch.from_numpy(to_unit(decibels, -50, 30))[None, None].nan_to_num(0)
        with torch.no_grad():
            _, coded = model(x.expand(8, -1, -1, -1))
        for bits, quality in zip(*coded, strict=True):
            real = 8 * len(model.compress(x, 1 + 7 * quality.item()))
            within = 0.01 * bits.item() if bits > 0.1 * x.numel() else 64
            assert abs(real - bits.item()) < within, f"{band.name}, quality {quality}"
