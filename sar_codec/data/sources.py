"""What `data=` names: functions that turn settings into loaders."""

import glob
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from sar_codec.data.datasets import FixedPatches, PatchLoader, RandomPatches
from sar_codec.data.ground import cut, seen_in, split
from sar_codec.data.patches import (
    Area,
    Held,
    Survey,
    Windows,
    percentiles,
    survey,
    whole_and_valid,
)
from sar_codec.data.raster import Band, find_bands
from sar_codec.data.scaling import Quantity
from sar_codec.data.synthetic import SyntheticScene
from sar_codec.errors import UserError

log = logging.getLogger(__name__)

# The window of the decibel scale, in percent of the training pixels: all but the extremes.
WINDOW_PERCENTILES = 0.01, 99.99

Count = Annotated[int, Ge(1)]
Fraction = Annotated[float, Gt(0), Lt(1)]


class Data(NamedTuple):
    """What a trainer needs of the data.

    Attributes:
        train: batches for training, different each epoch.
        val: batches for validation, always the same.
        preprocessing_params: how to go back from [0, 1] to what the files hold; plain containers.
        summary: one line for the log.
    """

    train: PatchLoader
    val: PatchLoader
    preprocessing_params: dict[str, Any]
    summary: str

    def close(self) -> None:
        """Ends the loaders' workers."""
        self.train.close()
        self.val.close()


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RasterSource:
    """A folder (below `data.root` unless absolute, wildcards allowed) and what its files hold.

    With `val`, its images are for validation, and ground they show is kept from training.
    """

    root: str
    quantity: Quantity | None = None
    nodata: float | None = None
    offset_db: float = 0.0
    val: bool = False


def synthetic(
    seed: int,
    scenes: Annotated[int, Ge(2)] = 80,
    size: Count = 512,
    looks: Annotated[float, Ge(0.5), Le(100), MultipleOf(0.5)] = 5.5,
    correlation: Annotated[float, Ge(0), Lt(1)] = 0.7,
    val_fraction: Fraction = 0.2,
    patch_size: Count = 256,
    batch_size: Count = 8,
    num_workers: Annotated[int, Ge(0)] = 0,
    augment: bool = True,
    vmin: float = -35.0,
    vmax: float = 20.0,
) -> Data:
    """Scenes made on the fly, the last `val_fraction` of them for validation."""
    _check_window(vmin, vmax)
    if patch_size > size:
        raise UserError(
            f"data.patch_size={patch_size}: expected at most data.size, which is {size}"
        )
    held_out = min(max(round(val_fraction * scenes), 1), scenes - 1)
    found = [
        whole_and_valid(Area.whole(SyntheticScene(seed, index, size, looks, correlation)))
        for index in range(scenes)
    ]
    params = {"vmin": vmin, "vmax": vmax, "quantity": "power", "nodata": None, "offset_db": 0.0}
    training, validation = found[: scenes - held_out], found[scenes - held_out :]
    return _loaders(
        training, validation, params, patch_size, batch_size, num_workers, augment, seed
    )


def raster(
    seed: int,
    root: str | None = None,
    sources: Sequence[RasterSource] | None = None,
    quantity: Quantity | None = None,
    nodata: float | None = None,
    offset_db: float = 0.0,
    val_root: str | None = None,
    val_fraction: Fraction = 0.2,
    patch_size: Count = 256,
    batch_size: Count = 8,
    num_workers: Annotated[int, Ge(0)] = 2,
    augment: bool = True,
    repeat: Count = 1,
    vary: Annotated[float, Ge(0), Le(1)] = 0.0,
    in_memory: bool = False,
    vmin: float | None = None,
    vmax: float | None = None,
) -> Data:
    """Every band of every raster below a folder, or below several with a quantity each.

    Training and validation never share ground: whole grounds go to validation, or the images below
    `val_root` do, or, where there is one ground only, it is cut in two. `vmin` and `vmax`, where
    not given, are percentiles over all valid pixels of the training images. An epoch has `repeat`
    times as many windows as fit side by side, a share `vary` of which are taken as of another
    product: see `data.variation`. With `in_memory` each image is kept, in four bytes a
    pixel, instead of reading windows of it again and again.

    Raises:
        UserError: there is nothing to train on, and why.
    """
    parts = _parts(root, sources, quantity, nodata, offset_db, val_root)
    if vmin is not None and vmax is not None:
        _check_window(vmin, vmax)
    base = root if sources else None
    bands = [band for part in parts if not part.val for band in _bands_of(part, base)]
    held_out = [band for part in parts if part.val for band in _bands_of(part, base)]
    if not bands:
        raise UserError("data.sources: all have val, none is left to train on")
    found = _surveyed(bands, patch_size)
    if held_out:
        validation = _surveyed(held_out, patch_size)
        training = _without_ground_of(validation, found)
    else:
        divided = split(found, val_fraction, seed)
        if divided is None:
            areas = cut([each.area.scene for each in found], patch_size, val_fraction)
            divided = _usable(areas[0], patch_size), _usable(areas[1], patch_size)
        training, validation = divided
    low, high = percentiles(training, *WINDOW_PERCENTILES)
    params: dict[str, Any] = {
        "vmin": low if vmin is None else vmin,
        "vmax": high if vmax is None else vmax,
        "quantity": "/".join(sorted({band.quantity for band in bands})),
        "nodata": nodata,
        "offset_db": offset_db,
        "sources": [asdict(part) for part in parts],
    }
    _check_window(params["vmin"], params["vmax"])
    if in_memory:
        held = _held([*training, *validation])
        training, validation = held[: len(training)], held[len(training) :]
    return _loaders(
        training,
        validation,
        params,
        patch_size,
        batch_size,
        num_workers,
        augment,
        seed,
        repeat,
        vary,
    )


def reported_bands(
    root: str | None = None,
    sources: Sequence[RasterSource] | None = None,
    quantity: Quantity | None = None,
    nodata: float | None = None,
    offset_db: float = 0.0,
    val_root: str | None = None,
) -> list[Band]:
    """What figures may be reported of: the images for validation, or all if none are for that.

    Takes what `raster` takes of the same names.

    Raises:
        UserError: as `raster`, of what says which images there are.
    """
    parts = _parts(root, sources, quantity, nodata, offset_db, val_root)
    held_out = [part for part in parts if part.val] or parts
    base = root if sources else None
    return [band for part in held_out for band in _bands_of(part, base)]


def _parts(
    root: str | None,
    sources: Sequence[RasterSource] | None,
    quantity: Quantity | None,
    nodata: float | None,
    offset_db: float,
    val_root: str | None,
) -> list[RasterSource]:
    if root is None and not sources:
        raise UserError("data.root is not set: give the folder that holds your rasters")
    alone = {"quantity": quantity, "nodata": nodata, "offset_db": offset_db or None}
    for name, value in (alone | {"val_root": val_root}).items():
        if sources and value is not None:
            raise UserError(
                f"data.{name}={value}: give {name.removesuffix('_root')} in each of data.sources"
            )
    parts = list(sources or [RasterSource(root or ".", quantity, nodata, offset_db)])
    if val_root is not None:
        parts.append(RasterSource(val_root, quantity, nodata, offset_db, val=True))
    return parts


def _bands_of(part: RasterSource, root: str | None) -> list[Band]:
    pattern = os.path.join(root or "", part.root)
    folders = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]
    if not folders:
        raise UserError(f"{pattern}: matches no folder; check data.root and data.sources")
    return [
        band
        for folder in folders
        for band in find_bands(Path(folder), part.quantity, part.nodata, part.offset_db)
    ]


def _surveyed(bands: Sequence[Band], patch_size: int) -> list[Survey]:
    """Surveys of the bands that have a valid window, a warning for each of the others."""
    large = [band for band in bands if min(band.height, band.width) >= patch_size]
    if not large:
        largest = max(bands, key=lambda band: min(band.height, band.width))
        raise UserError(
            f"{largest.path}: {largest.height} x {largest.width} pixels, and no image is larger; "
            f"expected at least data.patch_size={patch_size}: lower it"
        )
    if len(large) < len(bands):
        log.warning(
            "%d of %d images are smaller than data.patch_size=%d and are left out",
            len(bands) - len(large),
            len(bands),
            patch_size,
        )
    return _usable([Area.whole(band) for band in large], patch_size)


def _usable(areas: Sequence[Area], patch_size: int) -> list[Survey]:
    usable, reason = [], ""
    megapixels = sum(area.height * area.width for area in areas) / 1e6
    log.info("Reading %d images, %.1f Mpx, for their valid pixels", len(areas), megapixels)
    for area in areas:
        found = survey(area)
        if unusable := _why_unusable(found, patch_size):
            reason = f"{area.scene.name} {unusable}"
            log.warning("%s; left out", reason)
        else:
            usable.append(found)
    if not usable:
        raise UserError(
            reason
            + (f", and the other {len(areas) - 1} images are of no use" if len(areas) > 1 else "")
            + "; check data.quantity and data.nodata, or lower data.patch_size"
        )
    return usable


def _why_unusable(found: Survey, patch_size: int) -> str:
    if not found.valid_pixels:
        scene = found.area.scene
        negative = isinstance(scene, Band) and scene.quantity != "db"
        return "holds no valid pixel: all are nodata, zero or not finite" + (
            ", or negative (decibels?)" if negative else ""
        )
    if found.is_blank:
        return "is blank: all valid pixels have the same value"
    if not len(Windows(found, patch_size)):
        return f"has no window of {patch_size} x {patch_size} pixels that are all valid"
    return ""


def _without_ground_of(validation: list[Survey], training: list[Survey]) -> list[Survey]:
    seen = [each.area.scene for each in validation]
    kept = [each for each in training if not seen_in(each.area.scene, seen)]
    if len(kept) < len(training):
        log.warning(
            "%d training images show ground of the validation images and are left out",
            len(training) - len(kept),
        )
    if not kept:
        raise UserError(
            "the validation images show all the ground that the training images do: give images of "
            "other places"
        )
    return kept


def _held(surveys: Sequence[Survey]) -> list[Survey]:
    """The same, of scenes that are in memory; each is there once, whatever areas it has."""
    scenes = {id(each.area.scene): each.area.scene for each in surveys}
    held = {key: Held(scene) for key, scene in scenes.items()}
    areas = (replace(each.area, scene=held[id(each.area.scene)]) for each in surveys)
    return [replace(each, area=area) for each, area in zip(surveys, areas, strict=True)]


def _check_window(vmin: float, vmax: float) -> None:
    if not -math.inf < vmin < vmax < math.inf:
        raise UserError(f"data.vmin={vmin}, data.vmax={vmax}: expected vmin below vmax, in dB")


def _loaders(
    training: Sequence[Survey],
    validation: Sequence[Survey],
    params: dict[str, Any],
    patch_size: int,
    batch_size: int,
    num_workers: int,
    augment: bool,
    seed: int,
    repeat: int = 1,
    vary: float = 0.0,
) -> Data:
    window = params["vmin"], params["vmax"]
    train = RandomPatches(
        [Windows(each, patch_size) for each in training],
        patch_size,
        *window,
        seed,
        augment,
        repeat,
        vary,
    )
    val = FixedPatches([Windows(each, patch_size) for each in validation], patch_size, *window)
    summary = (
        f"{len(training)} images for training ({len(train)} patches of {patch_size}x{patch_size} "
        f"an epoch), {len(validation)} for validation ({len(val)} patches); "
        f"{window[0]:.2f} to {window[1]:.2f} dB"
    )
    return Data(
        PatchLoader(train, batch_size, num_workers, seed, shuffle=True),
        PatchLoader(val, batch_size, num_workers, seed, shuffle=False),
        params,
        summary,
    )
