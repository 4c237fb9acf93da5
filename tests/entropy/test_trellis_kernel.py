"""On a GPU where there is one, else as Triton interprets kernels on a CPU."""

import shutil
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from sar_codec.entropy.counted import CountedTables
from sar_codec.entropy.gaussian import SCALES
from sar_codec.entropy.search import Prices, Quantised, has_kernel, of_tensors
from sar_codec.entropy.tables import LARGEST_SYMBOL, LARGEST_VALUE
from sar_codec.entropy.trellis import SHORT, half_points, quantisers_of

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


def examples(count: int) -> tuple[Tensor, Tensor]:
    """Values of all sizes, and scales that fit them more or less; quiet lanes too."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.randint(0, SCALES, (64, count), generator=generator)
    values = torch.exp2(scales / 6 - 3 + torch.randn(64, count, generator=generator))
    values *= torch.randn(64, count, generator=generator)
    values[:, :5] = 0.1
    return values, scales


def test_it_finds_what_that_of_tensors_does(search: Search) -> None:
    values, scales = examples(300)
    prices = CountedTables().prices()
    found, expected = search(values, scales, prices), of_tensors(values, scales, prices)
    # Sums of costs may be rounded otherwise, and of two paths the other one be taken.
    same = (found.symbols == expected.symbols).all(0)
    assert same.float().mean() > 0.98
    assert not found.symbols[:, :5].any()
    assert all(torch.equal(a[:, same], b[:, same]) for a, b in zip(found, expected, strict=True))


def test_tables_and_points_are_those_of_the_quantisers(search: Search) -> None:
    values, scales = examples(130)
    # Of these float32 has no odd numbers, and none between two even ones.
    values[3, 7], values[:, 8], values[::2, 9], values[5, 10] = 2**24 + 2, 2**27, -(2**26) - 4, 1e5
    values[::3, 11] = LARGEST_VALUE
    values[1::3, 11] = -LARGEST_VALUE
    found = search(values, scales, CountedTables().prices())
    assert found.symbols.abs().max() <= LARGEST_SYMBOL
    quantisers = quantisers_of(found.symbols, SHORT)
    assert torch.equal(found.tables, SCALES * quantisers + scales)
    assert torch.equal(found.points, half_points(found.symbols, quantisers))
    near = values.abs() < 1000
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
    none = torch.zeros(64, 0)
    assert search(none, none.long(), CountedTables().prices()).symbols.shape == (64, 0)
