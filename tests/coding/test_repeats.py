import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sar_codec.coding.repeats import BINS, Repeats, flag_tables, found_repeats
from sar_codec.data.raster import find_bands
from sar_codec.entropy.coding import SymbolDecoder, SymbolEncoder
from sar_codec.entropy.tables import PRECISION


def resampled(height: int, width: int, bend: float = 0.0) -> NDArray[np.int64]:
    """Noise on a finer grid, turned a little, by taking the nearest pixel."""
    source = np.random.default_rng(0).integers(0, 12, (height + 200, width + 200))
    y, x = np.mgrid[:height, :width]
    column = 0.8 * x - 0.04 * y + bend * y * y + 100
    return source[np.round(0.995 * y + 50).astype(int), np.floor(column).astype(int)]


@pytest.mark.parametrize("bend", [0.0, 2e-5])
@pytest.mark.parametrize("direction", [0, 1])
def test_the_pattern_of_a_resampled_scene_is_found(direction: int, bend: float) -> None:
    cells = resampled(300, 350, bend)
    if direction == 0:
        cells = np.ascontiguousarray(cells.T)
    found = found_repeats(cells, np.ones(cells.shape, bool))
    assert found is not None
    assert found.direction == direction
    likely = found.likelihood(*cells.shape) > 0
    same = np.diff(cells, axis=direction, prepend=-1) == 0
    assert likely.mean() == pytest.approx(0.21, abs=0.03)
    assert same[likely].mean() > 0.9
    assert same[~likely].mean() < 0.15  # a twelfth is chance
    assert not likely[(0, slice(None)) if direction == 0 else (slice(None), 0)].any()


@pytest.mark.parametrize("kind", ["noise", "even", "small", "blocks"])
def test_none_is_found_where_there_is_none(kind: str) -> None:
    random = np.random.default_rng(0)
    cells = random.integers(0, 4, (200, 300))
    if kind == "even":
        cells[:] = 7
    elif kind == "small":
        cells = resampled(30, 300)
    elif kind == "blocks":
        cells = np.kron(random.integers(0, 9, (40, 60)), np.ones((5, 5), int))
    valid = np.ones(cells.shape, bool)
    found = found_repeats(cells, valid)
    if kind == "blocks":  # a pattern too, with which pixels repeat four times in five
        assert found is None or found.likelihood(*cells.shape).any()
    else:
        assert found is None


def test_nothing_repeats_where_nothing_is_valid() -> None:
    cells = resampled(200, 200)
    assert found_repeats(cells, np.zeros(cells.shape, bool)) is None


def test_a_pattern_comes_back_from_its_bytes_and_any_bytes_are_a_pattern() -> None:
    found = found_repeats(resampled(256, 256), np.ones((256, 256), bool))
    assert found is not None
    assert len(found.data()) == Repeats.SIZE
    assert Repeats.of_bytes(found.data()) == found
    random = np.random.default_rng(0)
    for _ in range(20):
        any_pattern = Repeats.of_bytes(random.bytes(Repeats.SIZE))
        assert any_pattern.likelihood(1024, 1000).shape == (1024, 1000)


def test_phases_are_exact_however_often_they_go_around() -> None:
    phase = tuple(int(each) for each in np.random.default_rng(0).integers(-(2**62), 2**62, 6))
    likely = Repeats(1, phase, tuple(range(BINS))).likelihood(1024, 1024)
    for y, x in ((0, 1), (1023, 1023), (517, 3), (2, 1000)):
        terms = (1, x, y, x * x, x * y, y * y)
        exact = sum(a * b for a, b in zip(phase, terms, strict=True)) % 2**48
        assert likely[y, x] == exact * BINS // 2**48


def test_flags_cost_what_their_likelihood_says() -> None:
    tables = flag_tables()
    assert all(int(tables.table(n).sum()) == 2**PRECISION for n in range(256))
    likelihood = torch.tensor([1, 128, 250, 255])
    bits = tables.bits(torch.ones(4, dtype=torch.int64), likelihood)
    assert bits.tolist() == pytest.approx((8 - likelihood.double().log2()).tolist(), abs=1e-3)
    flags = torch.tensor([0, 1, 1, 0])
    encoder = SymbolEncoder()
    encoder.put(flags, tables, likelihood)
    assert torch.equal(SymbolDecoder(encoder.data()).take(tables, likelihood), flags)


def test_real_scenes_have_patterns_where_they_were_taken_to_degrees(shared_data: object) -> None:
    for folder, expected in (("s1sigma0_spain", True), ("s1sigma0_ghana", False)):
        band = find_bands(shared_data / folder, "db")[0]  # type: ignore[operator]  # a path
        cells = np.round(band.read(0, 0, 512, 512)).astype(np.int64)
        found = found_repeats(cells, np.ones(cells.shape, bool))
        assert (found is not None) == expected
