"""On a GPU where there is one, else as Triton interprets kernels on a CPU."""

import shutil
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor
from viterbi import beyond_the_cheapest

from sar_codec.entropy.counted import CountedTables
from sar_codec.entropy.gaussian import SCALES
from sar_codec.entropy.search import Prices, Quantised, has_kernel
from sar_codec.entropy.tables import LARGEST_SYMBOL, LARGEST_VALUE
from sar_codec.entropy.trellis import FAR, LONG, QUIET, half_points, quantisers_of

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")

Search = Callable[[Tensor, Tensor, Prices], Quantised]


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Search:
    """The kernel's search, of and to tensors on the CPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        if release("triton") < (3, 7) and release("numpy") >= (2, 5):
            pytest.skip("the interpreter of this Triton does not run with NumPy 2.5")
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    from sar_codec.entropy.trellis_kernel import searched

    def kernel(values: Tensor, scales: Tensor, prices: Prices) -> Quantised:
        given = (each.to(device) for each in (values, scales, *prices))
        return Quantised(*(each.cpu() for each in searched(*given)))

    return kernel


def release(package: str) -> tuple[int, ...]:
    return tuple(int(each) for each in version(package).split(".")[:2])


def examples() -> tuple[Tensor, Tensor]:
    """Values of all sizes, and scales that fit them more or less; the first lane is quiet.

    Few and short ones where the kernel is interpreted, which takes 20 ms a step.
    """
    shape = (LONG.length, 300) if torch.cuda.is_available() else (16, 6)
    generator = torch.Generator().manual_seed(0)
    scales = torch.randint(0, SCALES, shape, generator=generator)
    values = torch.exp2(scales / 6 - 3 + torch.randn(shape, generator=generator))
    values *= torch.randn(shape, generator=generator)
    values[:, 0] = 0.1
    return values, scales


def test_it_finds_the_cheapest_paths(search: Search) -> None:
    values, scales = examples()
    prices = CountedTables().prices()
    found = search(values, scales, prices)
    assert not found.symbols[:, 0].any()
    more = beyond_the_cheapest(found.symbols, values, scales, prices)[1:]
    # Of two symbols that are as near it may take the other, which is so in few lanes.
    assert more.max() < 1e-5 * len(values)
    assert (more.abs() < 1e-5 * len(values)).float().mean() > 0.98
    # Some other path is not as cheap.
    other = found.symbols[:, 1:].clone()
    other[3] += 2
    assert beyond_the_cheapest(other, values[:, 1:], scales[:, 1:], prices).min() > 0


def test_it_finds_them_for_values_of_all_sizes(search: Search) -> None:
    """Of more lanes than are followed back side by side; the last ones are quiet, or nearly so."""
    values = torch.full((4, 40), 0.01)
    values[:, 26:38] = torch.linspace(-4, 4, 48).reshape(12, 4).T
    values[:, 38], values[:, 39] = QUIET + 0.01, QUIET - 0.01
    scales = torch.full((4, 40), SCALES // 4)
    prices = CountedTables().prices()
    found = search(values, scales, prices)
    more = beyond_the_cheapest(found.symbols, values, scales, prices)[values.abs().amax(0) >= QUIET]
    assert more.max() < 1e-4
    assert found.symbols[:, 38].any()
    assert not found.symbols[:, 39].any()
    assert torch.equal(found.points, half_points(found.symbols, quantisers_of(found.symbols, LONG)))


def test_zeros_are_taken_where_they_cost_less(search: Search) -> None:
    """Of both quantisers, instead of the 2 that is nearer; but not of values of 2 and more."""
    values = torch.full((16, 1), 1.2)
    values[::3] = -1.2
    values[5] = 2.6
    scales = torch.zeros_like(values).long()
    bits = torch.full((2, 9), 80.0)
    bits[:, 4] = 0
    prices = Prices(bits, torch.tensor([4]), torch.tensor([4]))
    found = search(values, scales, prices)
    assert (found.symbols == 0).any()
    assert found.symbols[5] != 0
    assert beyond_the_cheapest(found.symbols, values, scales, prices) < 1e-3


def test_tables_and_points_are_those_of_the_quantisers(search: Search) -> None:
    values, scales = examples()
    # Of these float32 has no odd numbers, and none between two even ones.
    values[3, 5], values[:, 1], values[::2, 2], values[5, 3] = 2**24 + 2, 2**27, -(2**26) - 4, 1e5
    values[::3, 4] = LARGEST_VALUE
    values[1::3, 4] = -LARGEST_VALUE
    found = search(values, scales, CountedTables().prices())
    assert found.symbols.abs().max() <= LARGEST_SYMBOL
    quantisers = quantisers_of(found.symbols, LONG)
    assert torch.equal(found.tables, SCALES * quantisers + scales)
    assert torch.equal(found.points, half_points(found.symbols, quantisers))
    near = (values.abs() < 1000) & ((values.abs() >= FAR) | (found.symbols != 0))
    assert (values - found.points / 2)[near].abs().max() <= 1.5


def test_there_is_no_kernel_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    has_kernel.cache_clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "which", lambda name: None)
            assert not has_kernel()
        has_kernel.cache_clear()
        monkeypatch.setenv("CC", "gcc")
        assert has_kernel()
    finally:
        has_kernel.cache_clear()


def test_no_lanes_at_all_give_no_symbols(search: Search) -> None:
    none = torch.zeros(LONG.length, 0)
    found = search(none, none.long(), CountedTables().prices())
    assert found.symbols.shape == (LONG.length, 0)
