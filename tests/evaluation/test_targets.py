"""Point targets whose levels and positions are known."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.evaluation.scenes import Scene, make_scene
from sar_codec.evaluation.targets import ABOVE_DB, MOST, point_targets, targets

Speckled = Callable[..., NDArray[np.float32]]
Decibels = NDArray[np.float32]
PLACES = [(30, 40), (60, 100), (90, 25)]


def point_db(height: int, width: int, row: float, column: float, peak_db: float) -> Decibels:
    """A Gaussian in power, that is a parabola in decibels."""
    rows, columns = np.mgrid[:height, :width]
    distance = np.square(rows - row) + np.square(columns - column)
    return (peak_db - 3 * distance).astype(np.float32)


def points_db(
    down: float = 0, across: float = 0, peak_db: float = 20, ground_db: float = -10
) -> Decibels:
    image = np.full((120, 140), ground_db, np.float32)
    for row, column in PLACES:
        image = np.maximum(image, point_db(120, 140, row + down, column + across, peak_db))
    return image


def of(decibels: Decibels) -> Scene:
    return Scene("a", "VV", "here", decibels, -30, 30)


def test_points_are_found_the_strongest_first(speckled: Speckled) -> None:
    decibels = speckled(120, 140, 1)
    for strength, (row, column) in zip((18, 24, 21), PLACES, strict=True):
        decibels[row, column] = strength
    found = point_targets(of(decibels))
    assert [tuple(each) for each in found] == [PLACES[1], PLACES[2], PLACES[0]]


@pytest.mark.parametrize("looks", [1, 5])
def test_speckle_has_no_targets(speckled: Speckled, looks: float) -> None:
    assert point_targets(of(speckled(512, 512, looks))).shape == (0, 2)


@pytest.mark.parametrize(("above_db", "number"), [(ABOVE_DB - 0.1, 0), (ABOVE_DB + 0.1, 3)])
def test_a_target_is_so_far_above_the_median(above_db: float, number: int) -> None:
    assert len(point_targets(of(points_db(peak_db=above_db - 10)))) == number


def test_the_ring_does_not_hold_the_target_itself() -> None:
    decibels = np.full((41, 41), -10, np.float32)
    decibels[17:24, 17:24] = 0
    decibels[20, 20] = 6
    assert len(point_targets(of(decibels))) == 1
    decibels[10:31, 10:31] = 0
    decibels[20, 20] = 6
    assert len(point_targets(of(decibels))) == 0


def test_the_ring_begins_beyond_seven_by_seven() -> None:
    """30 of its 72 pixels are bright; with those just within, more than half would be."""
    decibels = np.full((11, 11), -10, np.float32)
    decibels[:2] = decibels[9, :8] = decibels[2:9, 2:9] = 0
    decibels[5, 5] = 6
    assert len(point_targets(of(decibels))) == 1


def test_no_target_is_near_a_border_or_an_invalid_pixel() -> None:
    decibels = np.full((60, 60), -10, np.float32)
    for row, column in [(4, 30), (30, 55), (20, 20), (40, 40), (5, 5)]:
        decibels[row, column] = 20
    decibels[25, 25] = np.nan
    decibels[46, 46] = np.nan
    assert sorted(map(tuple, point_targets(of(decibels)))) == [(5, 5), (40, 40)]


def test_of_two_alike_in_a_neighbourhood_none_is_taken() -> None:
    decibels = np.full((40, 40), -10, np.float32)
    decibels[20, 20:22] = 20
    assert len(point_targets(of(decibels))) == 0


def test_there_are_no_more_than_so_many() -> None:
    decibels = np.full((200, 200), -10, np.float32)
    decibels[6:194:12, 6:194:12] = 20 + np.arange(256).reshape(16, 16) / 100
    found = point_targets(of(decibels))
    assert len(found) == MOST
    assert decibels[tuple(found.T)].min() == np.float32(20 + (256 - MOST) / 100)


@pytest.mark.parametrize("shape", [(1, 1), (10, 300), (11, 11)])
def test_small_images_have_no_targets_or_one(shape: tuple[int, int]) -> None:
    decibels = np.full(shape, -10, np.float32)
    decibels[shape[0] // 2, shape[1] // 2] = 20
    assert len(point_targets(of(decibels))) == (shape == (11, 11))


def test_nothing_is_lost_by_the_same(speckled: Speckled) -> None:
    scene = of(np.maximum(speckled(120, 140, 5), points_db()))
    assert targets(scene, scene.decibels, point_targets(scene)) == (3, 0, 0, 0)


@pytest.mark.parametrize(
    ("down", "across"), [(0.3, -0.4), (0, 1), (-2, 2), (1.2, 0.1), (0.5, 0.5), (-0.7, -1.4)]
)
def test_a_moved_target_is_as_far_off_as_it_moved(down: float, across: float) -> None:
    scene = of(points_db())
    found = targets(scene, points_db(down, across), point_targets(scene))
    assert found.offset_pixels == pytest.approx(np.hypot(down, across), abs=1e-5)


def test_offsets_are_from_where_the_original_is_between_pixels() -> None:
    scene = of(points_db(0.25, 0))
    found = targets(scene, points_db(-0.25, 0), point_targets(scene))
    assert found.offset_pixels == pytest.approx(0.5, abs=1e-5)


def test_a_peak_is_at_most_half_a_pixel_beyond_where_it_is_looked_for() -> None:
    scene = of(points_db())
    found = targets(scene, points_db(3, 0), point_targets(scene))
    assert found.offset_pixels == pytest.approx(2.5, abs=1e-5)


def test_lost_levels_are_found_where_the_target_is_now() -> None:
    scene = of(points_db())
    decoded = points_db(1, -1, peak_db=19)
    decoded[PLACES[1][0] - 4 : PLACES[1][0] + 5] -= 3
    found = targets(scene, decoded, point_targets(scene))
    assert found.number == 3
    assert found.peak_loss_db == pytest.approx((1 + 4 + 1) / 3, abs=1e-5)
    assert found.largest_peak_loss_db == pytest.approx(4, abs=1e-5)


def test_a_target_that_is_gone_has_not_moved() -> None:
    scene = of(points_db())
    found = targets(scene, np.full_like(scene.decibels, -10), point_targets(scene))
    assert found == (3, 30, 30, 0)


def test_without_targets_there_is_no_number(scene: Scene) -> None:
    positions = point_targets(make_scene("a", "VV", "here", scene.decibels))
    found = targets(scene, scene.decibels, positions)
    assert found.number == 0
    assert np.isnan(found[1:]).all()
