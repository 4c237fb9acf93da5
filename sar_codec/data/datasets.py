"""Torch datasets and loaders over scenes: patches as image tensors in [0, 1]."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sar_codec.data.patches import Area, Windows, interleaved
from sar_codec.data.scaling import to_unit
from sar_codec.errors import UserError


class Window(NamedTuple):
    """Where a window of an area begins."""

    area: Area
    row: int
    column: int


class _Patches(Dataset[Tensor]):
    def __init__(self, size: int, vmin: float, vmax: float) -> None:
        self.size = size
        self.vmin = vmin
        self.vmax = vmax

    def _read(self, window: Window) -> np.ndarray[Any, np.dtype[np.float32]]:
        decibels = window.area.read(window.row, window.column, self.size, self.size)
        return to_unit(decibels, self.vmin, self.vmax).clip(0, 1)


class RandomPatches(_Patches):
    """Training patches: sample `(epoch, index)` is a pure function of the seed and the two.

    An index belongs to an area, each area having as many as windows fit in it side by side; where
    in the area the window lies, and how it is flipped and turned, is drawn anew each epoch.
    """

    def __init__(
        self,
        areas: Sequence[Windows],
        size: int,
        vmin: float,
        vmax: float,
        seed: int,
        augment: bool,
    ) -> None:
        super().__init__(size, vmin, vmax)
        self.areas = areas
        self.seed = seed
        self.augment = augment
        self._until_area = np.cumsum([len(each) for each in areas])

    def __len__(self) -> int:
        return int(self._until_area[-1])

    def window(self, epoch: int, index: int) -> Window:
        """Where sample `(epoch, index)` lies."""
        return self._drawn(epoch, index)[0]

    def __getitem__(self, position: tuple[int, int]) -> Tensor:
        window, rng = self._drawn(*position)
        patch = self._read(window)
        if self.augment:
            turns, flip = int(rng.integers(4)), bool(rng.integers(2))
            patch = np.rot90(patch, turns)
            patch = patch[:, ::-1] if flip else patch
        # Not ascontiguousarray: it lets a single pixel keep its negative strides.
        return torch.from_numpy(patch.copy())[None]

    def _drawn(self, epoch: int, index: int) -> tuple[Window, np.random.Generator]:
        rng = np.random.default_rng([self.seed, epoch, index])
        windows = self.areas[int(np.searchsorted(self._until_area, index, side="right"))]
        return Window(windows.area, *windows.random(rng)), rng


class FixedPatches(_Patches):
    """Validation patches: the same windows each epoch, the first ones from different grounds."""

    def __init__(self, areas: Sequence[Windows], size: int, vmin: float, vmax: float) -> None:
        super().__init__(size, vmin, vmax)
        by_place: dict[str, list[list[Window]]] = {}
        for each in areas:
            windows = [Window(each.area, *corner) for corner in each.side_by_side()]
            by_place.setdefault(each.area.scene.place, []).append(windows)
        self.windows = list(interleaved([list(interleaved(each)) for each in by_place.values()]))

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, position: tuple[int, int]) -> Tensor:
        _, index = position
        return torch.from_numpy(self._read(self.windows[index]))[None]


class PositionSampler(Sampler[tuple[int, int]]):
    """`(epoch, index)` for every index, in an order that is a function of seed and epoch."""

    def __init__(self, length: int, seed: int, shuffle: bool) -> None:
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        return ((self.epoch, int(index)) for index in order)


class PatchLoader(DataLoader[Tensor]):
    """Batches `(B, 1, size, size)` in [0, 1], the same for any number of workers."""

    def __init__(
        self,
        dataset: RandomPatches | FixedPatches,
        batch_size: int,
        num_workers: int,
        seed: int,
        shuffle: bool,
    ) -> None:
        self.positions = PositionSampler(len(dataset), seed, shuffle)
        super().__init__(
            dataset,
            batch_size=batch_size,
            sampler=self.positions,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Without its own generator a loader draws from the global one each time it is iterated.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Any:
        try:
            yield from super().__iter__()
        except UserError as error:
            # A worker's error arrives with the worker's traceback as its message.
            raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the next iteration is."""
        self.positions.epoch = epoch
