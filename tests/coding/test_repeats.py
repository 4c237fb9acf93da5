import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sar_codec.coding.repeats import STEPS, Repeats, flag_tables, found_repeats
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
    (found,) = found_repeats(cells, np.ones(cells.shape, bool))
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
        assert all(each.likelihood(*cells.shape).any() for each in found)
    else:
        assert not found


def test_nothing_repeats_where_nothing_is_valid() -> None:
    cells = resampled(200, 200)
    assert not found_repeats(cells, np.zeros(cells.shape, bool))


def test_a_pattern_comes_back_from_its_bytes_and_any_bytes_are_a_pattern() -> None:
    (found,) = found_repeats(resampled(256, 256), np.ones((256, 256), bool))
    assert len(found.data()) == Repeats.SIZE
    assert Repeats.of_bytes(1, found.data()) == found
    random = np.random.default_rng(0)
    for _ in range(20):
        any_pattern = Repeats.of_bytes(0, random.bytes(Repeats.SIZE))
        assert any_pattern.likelihood(1024, 1000).shape == (1024, 1000)


def test_phases_are_exact_however_often_they_go_around() -> None:
    phase = tuple(int(each) for each in np.random.default_rng(0).integers(-(2**62), 2**62, 6))
    likely = Repeats(1, phase, 4000, 300, 77).likelihood(1024, 1024)
    assert 0 < (likely > 0).mean() < 0.15
    for y, x in np.random.default_rng(1).integers(1, 1024, (500, 2)).tolist():
        terms = (1, x, y, x * x, x * y, y * y)
        exact = sum(a * b for a, b in zip(phase, terms, strict=True)) % 2**48
        after = (exact * STEPS // 2**48 - 4000) % STEPS
        assert likely[y, x] == (77 if after < 300 else 0)


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


@pytest.mark.parametrize(("height", "width"), [(512, 512), (300, 1000)])
def test_both_directions_may_have_a_pattern_of_long_periods(height: int, width: int) -> None:
    """As a grid that is turned a little against another of about the same spacing."""
    source = np.random.default_rng(0).random((height + 200, width + 200))
    y, x = np.mgrid[:height, :width]
    row = np.round(0.993 * y + 0.0034 * x + 50).astype(int)
    column = np.round(0.973 * x + 0.0041 * y + 1e-6 * x * y + 50).astype(int)
    pixels = source[row, column]
    found = found_repeats(pixels, np.ones(pixels.shape, bool))
    assert [each.direction for each in found] == [0, 1]
    for each in found:
        likely = each.likelihood(height, width) > 0
        same = np.diff(pixels, axis=each.direction, prepend=-1) == 0
        assert same[likely].mean() > 0.95
        assert likely[same].mean() > 0.95


def test_real_scenes_have_patterns_where_they_were_taken_to_degrees(shared_data: object) -> None:
    expected = {"s1sigma0_spain": [1], "s1sigma0_ghana": [0, 1], "s1_mountain_db": []}
    for folder, directions in expected.items():
        band = find_bands(shared_data / folder, "db")[0]  # type: ignore[operator]  # a path
        pixels = band.read(0, 0, 512, 512)
        found = found_repeats(pixels, np.ones(pixels.shape, bool))
        assert [each.direction for each in found] == directions
