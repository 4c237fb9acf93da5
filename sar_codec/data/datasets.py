"""Torch datasets and loaders over scenes: patches as image tensors in [0, 1]."""

import multiprocessing
import multiprocessing.util
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from sar_codec.data.patches import Area, Windows, interleaved
from sar_codec.data.scaling import to_unit
from sar_codec.data.variation import read_varied
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
        return self._unit(window.area.read(window.row, window.column, self.size, self.size))

    def _unit(self, decibels: NDArray[np.float32]) -> np.ndarray[Any, np.dtype[np.float32]]:
        return to_unit(decibels, self.vmin, self.vmax).clip(0, 1)


class RandomPatches(_Patches):
    """Training patches: sample `(epoch, index)` is a pure function of the seed and the two.

    An index belongs to an area, each area having `repeat` times as many as windows fit in it side
    by side; where in the area the window lies, and how it is flipped and turned, is drawn anew each
    epoch, and whether it is one of the share `vary` that is taken as of another product.
    """

    def __init__(
        self,
        areas: Sequence[Windows],
        size: int,
        vmin: float,
        vmax: float,
        seed: int,
        augment: bool,
        repeat: int = 1,
        vary: float = 0.0,
    ) -> None:
        super().__init__(size, vmin, vmax)
        self.vary = vary
        self.areas = areas
        self.seed = seed
        self.augment = augment
        self._until_area = np.cumsum([repeat * len(each) for each in areas])

    def __len__(self) -> int:
        return int(self._until_area[-1])

    def window(self, epoch: int, index: int) -> Window:
        """Where sample `(epoch, index)` lies."""
        return self._drawn(epoch, index)[0]

    def __getitem__(self, position: tuple[int, int]) -> Tensor:
        window, rng = self._drawn(*position)
        if self.vary and rng.random() < self.vary:
            patch = self._unit(read_varied(*window, self.size, rng))
        else:
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

    def window(self, epoch: int, index: int) -> Window:
        """Where a sample lies, the same place each epoch."""
        return self.windows[index]

    def __getitem__(self, position: tuple[int, int]) -> Tensor:
        return torch.from_numpy(self._read(self.window(*position)))[None]


class PositionSampler(Sampler[tuple[int, int]]):
    """`(epoch, index)` for every index, in an order that is a function of seed and epoch."""

    def __init__(self, length: int, seed: int, shuffle: bool) -> None:
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self.skipped = 0  # positions at the start that are left out

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.epoch, int(index)) for index in self.order()[self.skipped :])

    def order(self) -> NDArray[np.int64]:
        """The indices of the whole epoch, none left out."""
        if not self.shuffle:
            return np.arange(self.length)
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.length)


class BatchSampler(Sampler[list[tuple[int, int]]]):
    """Positions in batches; of each batch, the part that is one process's of several."""

    def __init__(self, positions: PositionSampler, samples: int) -> None:
        self.positions = positions
        self.samples = samples  # of a whole batch
        self.rank, self.processes = 0, 1

    def __len__(self) -> int:
        return -(-len(self.positions) // self.samples)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        positions = iter(self.positions)
        while batch := list(islice(positions, self.samples)):
            # Rounded up: where there are too few for all, the first process has some.
            first, end = (
                -(-len(batch) * rank // self.processes) for rank in (self.rank, self.rank + 1)
            )
            yield batch[first:end]


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
        self.patches = dataset
        self._batches = BatchSampler(self.positions, batch_size)
        super().__init__(
            dataset,
            batch_sampler=self._batches,
            collate_fn=_Stacked(dataset.size),
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Without its own generator a loader draws from the global one each time it is iterated.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Any:
        try:
            with _workers_deaf_to_signals():
                batches = super().__iter__()
            yield from batches
        except UserError as error:
            # A worker's error arrives with the worker's traceback as its message.
            raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None
        finally:
            self.positions.skipped = 0

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the next iteration is."""
        self.positions.epoch = epoch

    def skip(self, batches: int) -> None:
        """Leaves out so many batches at the start of the next iteration, without making them."""
        self.positions.skipped = batches * self._batches.samples

    def share(self, rank: int, processes: int) -> None:
        """Makes each batch the part of it that is the process `rank`'s, of so many.

        Parts follow one another in the batch and differ by one sample at most; of a batch with
        fewer samples than processes, some are empty, never the first one's.
        """
        self._batches.rank, self._batches.processes = rank, processes

    def close(self) -> None:
        """Ends the workers, if there are any.

        Else they end with the loader. One that is part of an error's traceback ends when garbage is
        collected, where torch waits in vain for ten seconds and then lets its workers go on.
        """
        if self._iterator is not None:
            self._iterator._shutdown_workers()  # type: ignore[attr-defined]  # the one with workers has it
            self._iterator = None

    def describe(self, batch: int) -> str:
        """Where the patches of a batch of this epoch, all processes' parts, lie; for people."""
        first = batch * self._batches.samples
        indices = self.positions.order()[first : first + self._batches.samples]
        windows = [self.patches.window(self.positions.epoch, int(index)) for index in indices]
        size = self.patches.size
        about = "about " if getattr(self.patches, "vary", 0) else ""
        return "; ".join(
            f"{area.scene.name} {about}rows {area.row + row} to {area.row + row + size - 1}, "
            f"columns {area.column + column} to {area.column + column + size - 1}"
            for area, row, column in windows
        )


class _Stacked:
    """Puts patches into one tensor; also none at all, which torch's own function cannot."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, patches: list[Tensor]) -> Tensor:
        return default_collate(patches) if patches else torch.empty(0, 1, self._size, self._size)


@contextmanager
def _workers_deaf_to_signals() -> Iterator[None]:
    """A context whose child processes, for all their life, leave being stopped to their parent.

    Slurm and Ctrl-C signal all processes of a job; the parent still needs its batches then.
    """
    stopping = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
    already = set(multiprocessing.active_children())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for worker in set(multiprocessing.active_children()) - already:
            # At its end python sends SIGTERM to children and waits for them: here, for ever.
            multiprocessing.util.Finalize(None, worker.kill, exitpriority=1)
