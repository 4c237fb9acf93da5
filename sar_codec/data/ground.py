"""Which images show the same ground, and splits that never show validation's to training."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sar_codec.data.patches import Area, Scene, Survey
from sar_codec.errors import UserError


def grounds(scenes: Sequence[Scene]) -> list[int]:
    """A number for each scene, equal for scenes that show the same ground.

    Scenes share ground when their footprints overlap, when, for want of a footprint, their paths
    are equal but for the polarisation, or through a third.
    """
    group = list(range(len(scenes)))

    def root(index: int) -> int:
        while group[index] != index:
            group[index] = group[group[index]]
            index = group[index]
        return index

    at_place: dict[str, list[int]] = {}
    located = [index for index, scene in enumerate(scenes) if scene.footprint]
    boxes = _boxes([scenes[index] for index in located])
    for index, scene in enumerate(scenes):
        at_place.setdefault(scene.place, []).append(index)
    for same_place in at_place.values():
        if not all(scenes[index].footprint for index in same_place):
            for index in same_place:
                group[root(index)] = root(same_place[0])
    for position, index in enumerate(located):
        for other in np.flatnonzero(_overlap(boxes[position], boxes[:position])):
            group[root(index)] = root(located[other])
    return [root(index) for index in range(len(scenes))]


def seen_in(scene: Scene, others: Sequence[Scene]) -> bool:
    """Whether one of the other scenes shows ground that this one shows."""
    unlocated = [each for each in others if not (scene.footprint and each.footprint)]
    if any(scene.place == other.place for other in unlocated):
        return True
    if not scene.footprint:
        return False
    located = _boxes([other for other in others if other.footprint])
    return bool(_overlap(np.array(scene.footprint), located).any())


def split(
    surveys: Sequence[Survey], val_fraction: float, seed: int
) -> tuple[list[Survey], list[Survey]] | None:
    """Training's and validation's share of surveyed scenes, whole grounds each.

    As close to `val_fraction` of the valid pixels as whole grounds allow goes to validation, at
    least one ground; which ones depends on the seed. None when there is only one ground.
    """
    numbers = grounds([each.area.scene for each in surveys])
    members: dict[int, list[Survey]] = {}
    for number, each in zip(numbers, surveys, strict=True):
        members.setdefault(number, []).append(each)
    if len(members) < 2:
        return None
    groups = list(members.values())
    order = np.random.default_rng(seed).permutation(len(groups))
    pixels = np.array([sum(each.valid.sum() for each in groups[index]) for index in order])
    distance = np.abs(pixels.cumsum() - val_fraction * pixels.sum())
    held_out = int(np.clip(distance.argmin() + 1, 1, len(groups) - 1))
    chosen = set(order[:held_out].tolist())
    training = [each for index, group in enumerate(groups) if index not in chosen for each in group]
    return training, [each for index in sorted(chosen) for each in groups[index]]


def cut(scenes: Sequence[Scene], size: int, val_fraction: float) -> tuple[list[Area], list[Area]]:
    """The only ground there is, cut across its longer side: training's areas and validation's.

    Raises:
        UserError: the images do not cover the same pixels, or there is no room for a window of
            `size` on either side of the cut.
    """
    first = scenes[0]
    for scene in scenes:
        same_pixels = (scene.height, scene.width) == (first.height, first.width)
        if not same_pixels or scene.footprint != first.footprint:
            raise UserError(
                f"{first.name} and {scene.name} overlap but do not cover the same pixels, and "
                "there is no other ground: give validation images of other places in data.val_root"
            )
    length = max(first.height, first.width)
    held_out = min(max(round(val_fraction * length), size), length - size)
    if held_out < size:
        raise UserError(
            f"{first.name}: the only ground there is, {first.height} x {first.width} pixels, has "
            f"no room for training and validation windows of {size}: lower data.patch_size to "
            f"{length // 2} or less, or give validation images with data.val_root"
        )
    kept = length - held_out
    training, validation = [], []
    for scene in scenes:
        if scene.height >= scene.width:
            training.append(Area(scene, 0, 0, kept, scene.width))
            validation.append(Area(scene, kept, 0, held_out, scene.width))
        else:
            training.append(Area(scene, 0, 0, scene.height, kept))
            validation.append(Area(scene, 0, kept, scene.height, held_out))
    return training, validation


def _boxes(scenes: Sequence[Scene]) -> NDArray[np.float64]:
    return np.array([scene.footprint for scene in scenes], dtype=np.float64).reshape(-1, 4)


def _overlap(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether boxes (west, south, east, north) overlap by more than a thousandth of a side."""
    slack = 1e-3 * (box[2:] - box[:2])
    west_south = np.maximum(box[:2], others[:, :2]) + slack
    east_north = np.minimum(box[2:], others[:, 2:])
    return np.all(west_south < east_north, axis=1)
