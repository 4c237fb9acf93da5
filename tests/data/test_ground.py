from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from sar_codec.data.ground import cut, grounds, seen_in, split
from sar_codec.data.patches import Area, Survey, whole_and_valid
from sar_codec.data.raster import Footprint

Scenes = Callable[..., Any]
Refused = Callable[[str], AbstractContextManager[None]]

BERLIN = (13.0, 52.0, 14.0, 53.0)
POTSDAM = (12.5, 51.8, 13.2, 52.6)  # overlaps Berlin
BRANDENBURG = (11.9, 51.9, 12.7, 52.2)  # overlaps Potsdam, not Berlin
EAST_OF_BERLIN = (14.0, 52.0, 15.0, 53.0)  # touches it
PANAMA = (-80.0, 8.0, -79.0, 9.0)


def scene(
    array_scene: Scenes,
    place: str,
    footprint: Footprint | None = None,
    height: int = 32,
    width: int = 32,
) -> Any:
    return array_scene(np.zeros((height, width), np.float32), place, footprint)


def random_scenes(array_scene: Scenes, seed: int, count: int = 14) -> list[Any]:
    """Some with footprints that often overlap, some without, names that recur."""
    rng = np.random.default_rng(seed)
    scenes = []
    for _ in range(count):
        west, south = rng.uniform(0, 10, 2)
        width, height = rng.uniform(0.5, 3, 2)
        footprint = (west, south, west + width, south + height) if rng.random() < 0.8 else None
        height, width = rng.integers(16, 100, 2)
        scenes.append(scene(array_scene, f"place {rng.integers(30)}", footprint, height, width))
    return scenes


def share_ground(first: Any, second: Any) -> bool:
    """An oracle: boxes that overlap by an area; the same name where a box is missing."""
    if not (first.footprint and second.footprint):
        return bool(first.place == second.place)
    a, b = first.footprint, second.footprint
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def surveys(scenes: list[Any]) -> list[Survey]:
    return [whole_and_valid(Area.whole(each)) for each in scenes]


# Which images show the same ground


@pytest.mark.parametrize(
    "first, second, same",
    [
        (BERLIN, BERLIN, True),
        (BERLIN, POTSDAM, True),
        (BERLIN, (13.4, 52.4, 13.5, 52.5), True),
        (BERLIN, (12.0, 52.4, 15.0, 52.5), True),
        (BERLIN, BRANDENBURG, False),
        (BERLIN, EAST_OF_BERLIN, False),
        (BERLIN, PANAMA, False),
        (BERLIN, (13.0, -53.0, 14.0, -52.0), False),
        (BERLIN, None, False),
        (None, None, False),
    ],
)
def test_images_whose_footprints_overlap_show_the_same_ground(
    array_scene: Scenes, first: Footprint | None, second: Footprint | None, same: bool
) -> None:
    pair = [scene(array_scene, "a", first), scene(array_scene, "b", second)]
    for scenes in (pair, pair[::-1]):
        numbers = grounds(scenes)
        assert (numbers[0] == numbers[1]) == same
        assert seen_in(scenes[0], scenes[1:]) == same


def test_footprints_count_more_than_names(array_scene: Scenes) -> None:
    named_alike = [scene(array_scene, "x.tif", BERLIN), scene(array_scene, "x.tif", PANAMA)]
    assert len(set(grounds(named_alike))) == 2
    assert not seen_in(named_alike[0], named_alike[1:])
    # One of which nobody knows where it lies may be of either.
    assert len(set(grounds([*named_alike, scene(array_scene, "x.tif")]))) == 1


@pytest.mark.parametrize("footprint", [None, PANAMA])
def test_images_of_one_place_show_the_same_ground(
    array_scene: Scenes, footprint: Footprint | None
) -> None:
    vv, vh = scene(array_scene, "x_.tif"), scene(array_scene, "x_.tif", footprint)
    assert len(set(grounds([vv, vh]))) == 1
    assert seen_in(vv, [vh]) and seen_in(vh, [vv])


def test_ground_is_shared_through_a_third(array_scene: Scenes) -> None:
    chain = [
        scene(array_scene, "a", BERLIN),
        scene(array_scene, "b", BRANDENBURG),
        scene(array_scene, "c", PANAMA),
        scene(array_scene, "b"),
        scene(array_scene, "d"),
    ]
    assert len(set(grounds(chain))) == 4
    numbers = grounds([*chain, scene(array_scene, "e", POTSDAM)])
    assert numbers[0] == numbers[1] == numbers[3] == numbers[5]
    assert len(set(numbers)) == 3


@pytest.mark.parametrize("seed", range(10))
def test_grounds_are_the_smallest_groups_that_share_none(array_scene: Scenes, seed: int) -> None:
    scenes = random_scenes(array_scene, seed)
    connected = np.array([[share_ground(a, b) for b in scenes] for a in scenes])
    for _ in scenes:  # the transitive closure
        connected = connected @ connected
    numbers = np.array(grounds(scenes))
    np.testing.assert_array_equal(numbers[:, None] == numbers, connected)


@pytest.mark.parametrize("seed", range(5))
def test_an_image_is_seen_in_those_that_share_its_ground(array_scene: Scenes, seed: int) -> None:
    scenes = random_scenes(array_scene, seed)
    for index, each in enumerate(scenes):
        others = scenes[:index] + scenes[index + 1 :]
        assert seen_in(each, others) == any(share_ground(each, other) for other in others)


def test_nothing_is_seen_in_no_images(array_scene: Scenes) -> None:
    assert not seen_in(scene(array_scene, "a", BERLIN), [])
    assert grounds([]) == []


# Splits into whole grounds


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("val_fraction", [0.001, 0.2, 0.999])
def test_a_split_shares_no_ground_and_leaves_something_on_both_sides(
    array_scene: Scenes, seed: int, val_fraction: float
) -> None:
    scenes = random_scenes(array_scene, seed)
    divided = split(surveys(scenes), val_fraction, seed)
    assert divided is not None
    training, validation = ([each.area.scene for each in side] for side in divided)
    assert training and validation
    assert {id(each) for each in training + validation} == {id(each) for each in scenes}
    assert len(training) + len(validation) == len(scenes)
    assert not any(share_ground(a, b) for a in training for b in validation)


@pytest.mark.parametrize("count, val_fraction, expected", [(10, 0.2, 2), (10, 0.5, 5), (3, 0.3, 1)])
def test_a_split_is_as_close_to_the_fraction_as_grounds_of_one_size_allow(
    array_scene: Scenes, count: int, val_fraction: float, expected: int
) -> None:
    scenes = [scene(array_scene, f"place {index}") for index in range(count)]
    divided = split(surveys(scenes), val_fraction, seed=4)
    assert divided is not None and len(divided[1]) == expected


def test_the_fraction_is_of_pixels_and_not_of_images(array_scene: Scenes) -> None:
    small = [scene(array_scene, f"small {index}", None, 16, 16) for index in range(20)]
    large = [scene(array_scene, f"large {index}", None, 160, 160) for index in range(20)]
    for seed in range(10):
        divided = split(surveys(small + large), 0.25, seed)
        assert divided is not None
        pixels = [sum(each.area.height * each.area.width for each in side) for side in divided]
        assert pixels[1] / sum(pixels) == pytest.approx(0.25, abs=0.03)


def test_a_split_depends_on_the_seed_and_on_nothing_else(array_scene: Scenes) -> None:
    scenes = [scene(array_scene, f"place {index}") for index in range(12)]

    def held_out(seed: int) -> set[str]:
        divided = split(surveys(scenes), 0.25, seed)
        assert divided is not None
        return {each.area.scene.place for each in divided[1]}

    first = [held_out(seed) for seed in range(6)]
    np.random.seed(0)  # somebody else's randomness
    assert [held_out(seed) for seed in range(6)] == first
    assert any(a != b for a, b in combinations(first, 2))


def test_one_ground_is_not_split(array_scene: Scenes) -> None:
    one = [scene(array_scene, "vv", BERLIN), scene(array_scene, "vh", POTSDAM)]
    assert split(surveys(one), 0.2, 0) is None


# Cuts through the only ground


def pixels_of(area: Area) -> np.ndarray[Any, np.dtype[np.bool_]]:
    covered = np.zeros((area.scene.height, area.scene.width), bool)
    covered[area.row : area.row + area.height, area.column : area.column + area.width] = True
    assert covered.sum() == area.height * area.width, "the area leaves the image"
    return covered


@pytest.mark.parametrize("height, width", [(64, 301), (301, 64), (65, 32), (99, 99), (64, 64)])
@pytest.mark.parametrize("val_fraction", [0.01, 0.2, 0.5, 0.6, 0.99])
@pytest.mark.parametrize("bands", [1, 3])
def test_a_cut_shares_no_pixel_and_leaves_room_on_both_sides(
    array_scene: Scenes, height: int, width: int, val_fraction: float, bands: int
) -> None:
    size = 32
    scenes = [scene(array_scene, "here", BERLIN, height, width) for _ in range(bands)]
    training, validation = cut(scenes, size, val_fraction)
    assert [each.scene for each in training] == [each.scene for each in validation] == scenes
    for kept, held_out in zip(training, validation, strict=True):
        np.testing.assert_array_equal(pixels_of(kept), ~pixels_of(held_out))
        assert min(kept.height, kept.width, held_out.height, held_out.width) >= size
    # The same cut through all bands.
    assert len({(each.row, each.column) for each in validation}) == 1


@pytest.mark.parametrize("height, width", [(400, 40), (40, 400)])
@pytest.mark.parametrize("val_fraction", [0.2, 0.35])
def test_a_cut_gives_validation_its_fraction_of_the_longer_side(
    array_scene: Scenes, height: int, width: int, val_fraction: float
) -> None:
    _, (held_out,) = cut([scene(array_scene, "here", None, height, width)], 32, val_fraction)
    assert held_out.height * held_out.width == pytest.approx(height * width * val_fraction)


@pytest.mark.parametrize("height, width", [(63, 40), (40, 63), (32, 32)])
@pytest.mark.parametrize("val_fraction", [0.2, 0.5, 0.9])
def test_an_image_without_room_for_two_windows_is_not_cut(
    array_scene: Scenes, refused: Refused, height: int, width: int, val_fraction: float
) -> None:
    only = scene(array_scene, "here", None, height, width)
    most = max(height, width) // 2
    with refused(f"{height} x {width} pixels, has no room .* windows of 32: .* to {most} or less"):
        cut([only], 32, val_fraction)


@pytest.mark.parametrize(
    "other", [(BERLIN, 64, 65), (BERLIN, 65, 64), (POTSDAM, 64, 64), (None, 64, 64)]
)
def test_images_of_different_pixels_are_not_cut(
    array_scene: Scenes, refused: Refused, other: tuple[Footprint | None, int, int]
) -> None:
    scenes = [scene(array_scene, "a", BERLIN, 64, 64), scene(array_scene, "b", *other)]
    with refused("array of a and array of b overlap but .* data.val_root"):
        cut(scenes, 8, 0.2)
