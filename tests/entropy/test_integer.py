import itertools

import pytest
import torch

from sar_codec.entropy import integer
from sar_codec.entropy.integer import (
    FRACTION,
    LEVEL_STEPS,
    IntegerLayer,
    between_levels,
    log_size,
    multiplies_float32_in_full,
)

LARGEST = 2**15 - 1


def layer(inputs: int = 24, outputs: int = 7, levels: int = 8) -> IntegerLayer:
    torch.manual_seed(0)
    layer = IntegerLayer(inputs, outputs, levels)
    with torch.no_grad():
        layer.weight.mul_(torch.logspace(-3, 1, outputs)[:, None])
        layer.bias.normal_()
    return layer


def integers(*shape: int, largest: int = 4 * FRACTION) -> torch.Tensor:
    return torch.randint(-largest, largest + 1, shape).int()


def test_exact_results_are_those_of_python_integers() -> None:
    tested = layer(inputs=5, outputs=3)
    x = integers(1, 5, 2, 2, largest=LARGEST)
    level = torch.tensor([2 * LEVEL_STEPS + 17])
    for output, row, column in itertools.product(range(3), range(2), range(2)):
        weights = tested.weight[output].tolist()
        power = next(p for p in range(-7, 21) if p == 20 or max(map(abs, weights)) * 2.0**p >= 64)
        whole = [max(-127, min(127, round(weight * 2.0**power))) for weight in weights]
        biases = [round(tested.bias[n, output].item() * 2.0**power * FRACTION) for n in (2, 3)]
        bias = (biases[0] * (LEVEL_STEPS - 17) + biases[1] * 17) // LEVEL_STEPS
        values = [int(value) for value in x[0, :, row, column]]
        total = sum(a * b for a, b in zip(whole, values, strict=True)) + bias
        expected = max(-LARGEST, min(LARGEST, (2 * total + 2**power) // 2 ** (power + 1)))
        assert tested(x, level)[0, output, row, column].item() == expected


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("largest", [1, 90, 1000, LARGEST])
def test_exact_results_are_those_of_sums_of_integers_at_any_size(largest: int, images: int) -> None:
    """With 300 inputs the smaller ones' sums fit into float32, the larger ones' do not.

    Bytes, which are multiplied for one image alone, take the largest ones of most rows too.
    """
    tested = layer(inputs=300, outputs=50)
    x, level = integers(images, 300, 3, 4, largest=largest), torch.tensor([5, 400])[:images]
    weight, bias, unit = tested.integers(level)
    sums = torch.einsum("oi,bihw->bohw", weight.long(), x.long()) + bias.long()[..., None]
    scale = (1 / unit[:, :, None]).long()
    expected = ((2 * sums + scale) // (2 * scale)).clamp(-LARGEST, LARGEST)
    assert torch.equal(tested(x, level), expected.int())


def test_nothing_rounds_what_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = layer(inputs=300, outputs=50)
    x, level, matmul = integers(1, 300, 9, 9), torch.tensor([5]), torch.backends.mkldnn.matmul
    expected = tested(x, level)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(tested(x, level), expected)
    monkeypatch.setattr(integer, "are_usable", lambda: False)
    assert torch.equal(tested(x, level), expected)
    before = matmul.fp32_precision  # type: ignore[attr-defined]
    try:
        matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
        assert not multiplies_float32_in_full(x.device)
        assert torch.equal(tested(x, level), expected)
    finally:
        matmul.fp32_precision = before  # type: ignore[attr-defined]


def test_training_sees_what_exact_arithmetic_gives() -> None:
    tested = layer()
    x = integers(4, 24, 3, 5)
    level = torch.tensor([0, 100, 7 * LEVEL_STEPS, 250])
    exact = tested(x, level) / FRACTION
    trained = tested((x / FRACTION).float(), level / LEVEL_STEPS)
    assert trained.dtype == torch.float32
    assert (exact - trained).abs().max() <= 0.51 / FRACTION


def test_gradients_pass_the_rounding_of_weights() -> None:
    tested = layer()
    tested(torch.rand(2, 24, 3, 3), torch.tensor([0.0, 3.5])).sum().backward()
    for parameter in tested.parameters():
        assert parameter.grad is not None
        assert (parameter.grad != 0).any()


def test_results_stay_within_16_bits() -> None:
    tested = layer()
    y = tested(torch.full((1, 24, 1, 1), LARGEST, dtype=torch.int32), torch.tensor([0]))
    assert y.abs().max() == LARGEST
    assert y.dtype == torch.int32


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-4, 1.0, 1e6])
def test_weights_of_any_size_give_exact_integers(scale: float) -> None:
    tested = layer()
    with torch.no_grad():
        tested.weight.fill_(scale)
        tested.bias.fill_(1000)
    x, level = integers(1, 24, 2, 2), torch.tensor([LEVEL_STEPS // 3])
    weight, bias, unit = tested.integers(level)
    sums = (weight @ x.flatten(2).double() + bias) * unit
    expected = (sums + 0.5).floor().clamp(-LARGEST, LARGEST).int()
    assert torch.equal(tested(x, level).flatten(2), expected)


def test_what_is_kept_of_a_level_is_made_again_for_others_and_for_other_weights() -> None:
    tested = layer().requires_grad_(False)
    x, levels = integers(1, 24, 2, 2), (torch.tensor([5]), torch.tensor([200]))
    kept = [tested(x, level) for level in (*levels, *levels)]
    assert torch.equal(kept[0], kept[2])
    assert not torch.equal(kept[0], kept[1])
    tested.weight.mul_(2)
    tested.bias.mul_(2)
    changed = tested(x, levels[1])
    assert not torch.equal(changed, kept[1])
    assert torch.equal(changed, layer_of(tested)(x, levels[1]))


def layer_of(other: IntegerLayer) -> IntegerLayer:
    """A new one with the same weights."""
    fresh = layer()
    fresh.load_state_dict(other.state_dict())
    return fresh


@pytest.mark.parametrize("batch", [1, 8])
def test_an_image_does_not_depend_on_its_batch_or_layout(batch: int) -> None:
    tested = layer()
    x, level = integers(8, 24, 6, 10, largest=LARGEST), torch.arange(8) * 55
    whole = tested(x, level)
    parts = [tested(x[n : n + batch], level[n : n + batch]) for n in range(0, 8, batch)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(tested(x.to(memory_format=torch.channels_last), level), whole)


def test_between_levels_is_linear_and_ends_at_the_last() -> None:
    values = torch.tensor([[0.0], [10.0], [30.0]])
    found = between_levels(values, torch.tensor([0, 0.5, 1, 1.25, 2]))
    assert found.flatten().tolist() == [0, 5, 10, 15, 30]


def test_log_size_is_a_logarithm_within_a_tenth_and_the_same_for_integers() -> None:
    x = torch.linspace(-1000, 1000, 10_001)
    expected = (1 + x.abs()).log2()
    assert (log_size(x) - expected).abs().max() < 0.09
    powers = torch.tensor([0.0, 1, -3, 7, 1023])
    assert log_size(powers).tolist() == [0, 1, 2, 3, 10]
    whole = log_size((x * FRACTION).round().int())
    assert whole.dtype == torch.int32
    assert (whole / FRACTION - expected).abs().max() < 0.09 + 1 / FRACTION


def test_log_size_has_a_gradient() -> None:
    x = torch.tensor([-5.0, 0.5, 100.0], requires_grad=True)
    log_size(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([-1 / 4, 1, 1 / 64]))
