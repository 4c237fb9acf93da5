from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.data import patches
from sar_codec.data.patches import (
    BLOCK,
    STRIP,
    Area,
    Survey,
    Windows,
    interleaved,
    percentiles,
    survey,
    whole_and_valid,
)

Scenes = Callable[..., Any]
DRAWS = 300


def some_decibels(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(-12, 6, (height, width)).astype(np.float32)


def with_holes(height: int, width: int, seed: int) -> NDArray[np.float32]:
    """Decibels with single invalid pixels, invalid rectangles, and a wedge in some."""
    rng = np.random.default_rng(seed)
    decibels = some_decibels(height, width, seed)
    for _ in range(rng.integers(0, 4)):
        decibels[rng.integers(height), rng.integers(width)] = rng.choice([np.nan, np.inf])
    for _ in range(rng.integers(0, 3)):
        row, column = rng.integers(height), rng.integers(width)
        decibels[row : row + rng.integers(1, 30), column : column + rng.integers(1, 30)] = np.nan
    if rng.random() < 0.5:
        row, column = np.mgrid[:height, :width]
        decibels[row + rng.uniform(0.2, 3) * column < rng.uniform(0, height / 2)] = np.nan
    return decibels


def windows_of(windows: Windows, draws: int = DRAWS) -> set[tuple[int, int]]:
    """All that an object gives: those side by side and many random ones."""
    if not len(windows):
        return set()
    rng = np.random.default_rng(0)
    return {*windows.side_by_side(), *(windows.random(rng) for _ in range(draws))}


# Windows


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("size", [1, 7, 16, 33, 48])
@pytest.mark.parametrize("height, width", [(97, 131), (160, 96), (48, 300), (49, 49)])
def test_no_window_holds_an_invalid_pixel_or_leaves_the_area(
    array_scene: Scenes, height: int, width: int, size: int, seed: int
) -> None:
    decibels = with_holes(height, width, seed)
    found = Windows(survey(Area.whole(array_scene(decibels))), size)
    for row, column in windows_of(found):
        assert 0 <= row <= height - size and 0 <= column <= width - size
        assert np.isfinite(decibels[row : row + size, column : column + size]).all()


@pytest.mark.parametrize("seed", range(8))
def test_windows_of_a_part_of_an_image_stay_in_that_part(array_scene: Scenes, seed: int) -> None:
    decibels = with_holes(150, 170, seed)
    area = Area(array_scene(decibels), row=7, column=21, height=101, width=90)
    part = decibels[7:108, 21:111]
    for row, column in windows_of(Windows(survey(area), 24)):
        read = area.read(row, column, 24, 24)
        assert read.shape == (24, 24) and np.isfinite(read).all()
        np.testing.assert_array_equal(read, part[row : row + 24, column : column + 24])


@pytest.mark.parametrize("invalid", [(0, 0), (52, 66), (31, 32), (16, 15), (26, 0)])
@pytest.mark.parametrize("size", [5, 16, 17])
def test_windows_keep_off_a_single_invalid_pixel_wherever_it_lies(
    array_scene: Scenes, invalid: tuple[int, int], size: int
) -> None:
    decibels = some_decibels(53, 67)
    decibels[invalid] = np.nan
    given = windows_of(Windows(survey(Area.whole(array_scene(decibels))), size), draws=3000)
    assert given
    for row, column in given:
        assert not (row <= invalid[0] < row + size and column <= invalid[1] < column + size)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 50])
@pytest.mark.parametrize("valid", [True, False])
def test_an_image_of_exactly_one_patch_gives_that_patch(
    array_scene: Scenes, size: int, valid: bool
) -> None:
    decibels = some_decibels(size, size)
    if not valid:
        decibels[-1, -1] = np.nan
    windows = Windows(survey(Area.whole(array_scene(decibels))), size)
    assert len(windows) == (1 if valid else 0)
    assert windows_of(windows) == ({(0, 0)} if valid else set())


@pytest.mark.parametrize("height, width", [(10, 40), (40, 10), (19, 19)])
def test_an_image_smaller_than_a_patch_gives_none(
    array_scene: Scenes, height: int, width: int
) -> None:
    windows = Windows(survey(Area.whole(array_scene(some_decibels(height, width)))), 20)
    assert len(windows) == 0


def test_an_invalid_image_gives_no_window(array_scene: Scenes) -> None:
    decibels = np.full((40, 50), np.nan, np.float32)
    assert len(Windows(survey(Area.whole(array_scene(decibels))), 4)) == 0


@pytest.mark.parametrize("size", [12, 16, 20])
@pytest.mark.parametrize("height, width", [(37, 40), (20, 64), (32, 33)])
def test_every_position_in_a_valid_image_is_reached(
    array_scene: Scenes, height: int, width: int, size: int
) -> None:
    windows = Windows(survey(Area.whole(array_scene(some_decibels(height, width)))), size)
    rng = np.random.default_rng(0)
    reached = {windows.random(rng) for _ in range(25_000)}
    assert len(reached) == (height - size + 1) * (width - size + 1)


def test_every_valid_block_of_an_image_with_holes_is_reached(array_scene: Scenes) -> None:
    decibels = some_decibels(6 * BLOCK, 7 * BLOCK)
    holes = np.random.default_rng(3).random((6, 7)) < 0.25
    decibels[holes.repeat(BLOCK, 0).repeat(BLOCK, 1)] = np.nan
    windows = Windows(survey(Area.whole(array_scene(decibels))), 1)
    reached = {(row // BLOCK, column // BLOCK) for row, column in windows_of(windows, 5000)}
    assert reached == {(int(row), int(column)) for row, column in np.argwhere(~holes)}


@pytest.mark.parametrize("size", [10, 16, 25])
@pytest.mark.parametrize("height, width", [(25, 25), (64, 80), (99, 51)])
def test_windows_side_by_side_fill_a_valid_image_and_do_not_overlap(
    array_scene: Scenes, height: int, width: int, size: int
) -> None:
    windows = Windows(survey(Area.whole(array_scene(some_decibels(height, width)))), size)
    seen = np.zeros((height, width), int)
    for row, column in windows.side_by_side():
        seen[row : row + size, column : column + size] += 1
    assert len(windows) == len(windows.side_by_side()) == (height // size) * (width // size)
    assert seen.max() == 1 and seen.sum() == len(windows) * size**2


def test_one_window_is_found_where_none_fits_side_by_side(array_scene: Scenes) -> None:
    decibels = some_decibels(60, 60)
    decibels[:16] = np.nan
    windows = Windows(survey(Area.whole(array_scene(decibels))), 40)
    assert len(windows.grid) == 0 and len(windows) == 1
    ((row, column),) = windows.side_by_side()
    assert row >= 16 and windows.side_by_side() == [(row, column)]


def test_windows_side_by_side_are_drawn_where_no_other_is_known_to_be_valid(
    array_scene: Scenes,
) -> None:
    decibels = some_decibels(80, 80)
    decibels[32:] = np.nan  # a patch of 24 fits into the rows above, its corner not anywhere
    decibels[:, 32:] = np.nan
    windows = Windows(survey(Area.whole(array_scene(decibels))), 24)
    assert windows_of(windows) == {(0, 0)}


def test_the_window_drawn_depends_on_the_generator_only(array_scene: Scenes) -> None:
    windows = Windows(survey(Area.whole(array_scene(with_holes(90, 120, 1)))), 20)
    first, second = (
        [windows.random(rng) for _ in range(20)]
        for rng in (np.random.default_rng(7), np.random.default_rng(7))
    )
    assert first == second and len(set(first)) > 10


# Surveys


@pytest.mark.parametrize("height, width", [(2 * STRIP + 77, 40), (STRIP, 33), (STRIP + 1, 16)])
def test_a_survey_of_strips_equals_one_of_the_whole(
    array_scene: Scenes, monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    area = Area.whole(array_scene(with_holes(height, width, 5)))
    of_strips = survey(area)
    monkeypatch.setattr(patches, "STRIP", 8 * STRIP)
    at_once = survey(area)
    np.testing.assert_array_equal(of_strips.valid, at_once.valid)
    np.testing.assert_array_equal(of_strips.histogram, at_once.histogram)


@pytest.mark.parametrize("height, width", [(1, 1), (16, 16), (17, 33), (600, 50)])
@pytest.mark.parametrize("seed", range(3))
def test_a_square_is_valid_when_all_its_pixels_are(
    array_scene: Scenes, height: int, width: int, seed: int
) -> None:
    decibels = with_holes(height, width, seed)
    found = survey(Area.whole(array_scene(decibels)))
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    assert found.valid.shape == (rows, columns)
    for row in range(rows):
        for column in range(columns):
            square = decibels[row * BLOCK :, column * BLOCK :][:BLOCK, :BLOCK]
            assert found.valid[row, column] == np.isfinite(square).all()


def test_a_survey_counts_the_valid_pixels_however_bright(array_scene: Scenes) -> None:
    decibels = np.array([[-1000, -100, 0, np.nan], [149, 150, 1000, np.inf]], np.float32)
    assert survey(Area.whole(array_scene(decibels))).valid_pixels == 6


@pytest.mark.parametrize("value", [-21.3, 0, 60])
def test_a_product_of_one_value_is_blank(array_scene: Scenes, value: float) -> None:
    decibels = np.full((20, 30), value, np.float32)
    decibels[3, 4:9] = np.nan
    assert survey(Area.whole(array_scene(decibels))).is_blank


def test_an_image_of_two_values_is_not_blank(array_scene: Scenes) -> None:
    decibels = np.full((20, 30), -21.3, np.float32)
    decibels[7, 7] = -21
    assert not survey(Area.whole(array_scene(decibels))).is_blank


def test_a_survey_without_looking_finds_all_valid(array_scene: Scenes) -> None:
    area = Area.whole(array_scene(some_decibels(33, 70)))
    np.testing.assert_array_equal(whole_and_valid(area).valid, survey(area).valid)


# Percentiles


def surveyed(array_scene: Scenes, *images: NDArray[np.float32]) -> list[Survey]:
    return [survey(Area.whole(array_scene(each))) for each in images]


@pytest.mark.parametrize("low, high", [(0.01, 99.99), (1, 99), (25, 50), (50, 50.5), (2, 100)])
@pytest.mark.parametrize("seed", range(3))
def test_percentiles_are_numpys(array_scene: Scenes, low: float, high: float, seed: int) -> None:
    first, second = with_holes(301, 200, seed), with_holes(100, 350, seed + 10) + 9
    values = np.concatenate([first[np.isfinite(first)], second[np.isfinite(second)]])
    expected = np.percentile(values, [low, high], method="inverted_cdf")
    given = percentiles(surveyed(array_scene, first, second), low, high)
    np.testing.assert_allclose(given, expected, atol=0.04)


def test_percentiles_between_the_extremes_are_numpys_default_too(array_scene: Scenes) -> None:
    decibels = some_decibels(300, 300)
    given = percentiles(surveyed(array_scene, decibels), 5, 95)
    np.testing.assert_allclose(given, np.percentile(decibels, [5, 95]), atol=0.04)


@pytest.mark.parametrize("value", [-35.01, 0.0, 12.34])
def test_percentiles_of_one_pixel_enclose_it(array_scene: Scenes, value: float) -> None:
    decibels = np.full((1, 1), value, np.float32)
    low, high = percentiles(surveyed(array_scene, decibels), 0.01, 99.99)
    assert low - 0.001 <= value <= high + 0.001 and 0 < high - low < 0.05


def test_percentiles_are_plain_numbers(array_scene: Scenes) -> None:
    given = percentiles(surveyed(array_scene, some_decibels(20, 20)), 1, 99)
    assert [type(each) for each in given] == [float, float]


# Order


@pytest.mark.parametrize(
    "lists, expected",
    [
        ([], []),
        ([[], []], []),
        ([[1, 2, 3]], [1, 2, 3]),
        ([[1, 2, 3], [4], [5, 6]], [1, 4, 5, 2, 6, 3]),
        ([[], [None, 0]], [None, 0]),
    ],
)
def test_interleaved_lists_take_turns(lists: list[list[Any]], expected: list[Any]) -> None:
    assert list(interleaved(lists)) == expected
