"""Products of bytes: exact, or not used."""

import time

import pytest
import torch

from sar_codec.entropy import byte_products
from sar_codec.entropy.byte_products import LARGEST_SUM, ByteMatrix, are_exact, halved, product

LARGEST = 2**15 - 1


@pytest.mark.skipif(not are_exact(), reason="this processor does not multiply bytes exactly")
@pytest.mark.parametrize("largest", [1, 127, 128, 255, 256, 5000, LARGEST])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (50, 64, 33), (128, 250, 100)])
def test_they_are_those_of_integers(shape: tuple[int, int, int], largest: int) -> None:
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(largest)
    weights = torch.randint(-127, 128, (rows, inner), generator=generator)
    x = torch.randint(-largest, largest + 1, (inner, columns), generator=generator)
    x[:, 0], x[0, :] = -largest, largest
    biases = torch.randint(-(2**20), 2**20, (rows,), generator=generator)
    powers = torch.arange(rows) % 21
    matrix = ByteMatrix.of(weights.double(), biases.double(), 0.5 ** powers.double())
    sums = weights @ x + biases[:, None]
    assert sums.abs().max() < LARGEST_SUM
    expected = ((sums * 2 + 2 ** powers[:, None]) >> (powers[:, None] + 1)).clamp(-1000, 1000)
    assert product(matrix, halved(x.int()), 1000).equal(expected.int())


def test_halves_and_sizes_tell_numbers() -> None:
    x = torch.cat([torch.arange(-LARGEST, LARGEST + 1), torch.zeros(1).long()]).int()
    found = halved(x.reshape(256, 256))
    again = 256 * found.upper.int() + found.lower.int() + 128
    assert again.flatten().equal(x)
    assert found.sizes.equal(x.reshape(256, 256).abs().amax(1))
    assert halved(torch.empty(3, 0).int()).sizes.equal(torch.zeros(3).int())


def test_where_pairs_of_products_overflow_they_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As instructions for bytes do that add two products to numbers of 16 bits."""

    def overflowing(weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        values, shifted = weights.long(), x.long() + 128  # one of both is without a sign
        products = (values[:, :, None] * shifted).split(2, 1)
        pairs = [each.sum(1).clamp(-(2**15), LARGEST) for each in products]
        return (torch.stack(pairs).sum(0) - 128 * values.sum(1, keepdim=True)).int()

    def exact(weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return (weights.double() @ x.double()).int()

    for stand_in, is_exact in ((exact, True), (overflowing, False)):
        monkeypatch.setattr(torch, "_int_mm", stand_in)
        assert are_exact() is is_exact
    monkeypatch.delattr(torch, "_int_mm")
    assert not are_exact()


def test_where_they_take_longer_they_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return (weights.double() @ x.double()).int()

    monkeypatch.setattr(torch, "_int_mm", slow)
    assert are_exact()
    assert not byte_products.are_usable.__wrapped__()
