"""How far an epoch is: a bar on a terminal, lines in the log elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

log = logging.getLogger(__name__)

BAR_SECONDS = 0.5
LOG_SECONDS = 30.0
_SHOWN = ("loss", "psnr", "ssim")


class Batches(Protocol):
    """A sized iterable of image tensors `(B, 1, H, W)`."""

    def __iter__(self) -> Iterator[Tensor]: ...
    def __len__(self) -> int: ...


class RunningMeans:
    """Means over samples of metrics that come as means over batches.

    Sums stay on the device; nothing waits for it until `values` is asked for.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, metrics: dict[str, Tensor], samples: int) -> None:
        self.samples += samples
        for name, value in metrics.items():
            weighted = value.detach().double() * samples
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted

    def values(self) -> dict[str, float]:
        """The means so far, by name."""
        if not self.samples:
            return {}
        sums = torch.stack(list(self._sums.values())).tolist()
        return {name: value / self.samples for name, value in zip(self._sums, sums, strict=True)}


def followed(batches: Batches, title: str, count: int, means: RunningMeans) -> Iterator[Tensor]:
    """The first `count` batches, while showing how far it is and the means so far."""
    shows_bar = sys.stderr.isatty()
    interval = BAR_SECONDS if shows_bar else LOG_SECONDS
    due = time.monotonic() + interval
    with tqdm(total=count, desc=title, leave=False, disable=not shows_bar) as bar:
        for done, batch in enumerate(islice(batches, count), 1):
            yield batch
            bar.update()
            if time.monotonic() >= due:
                shown = _shown(means)
                bar.set_postfix_str(shown)
                if not shows_bar:
                    log.info("%s %d/%d %s", title, done, count, shown)
                due = time.monotonic() + interval


def first_samples(batches: Batches, count: int) -> Tensor:
    """The first `count` samples, or as many as there are, drawing no more batches than needed."""
    drawn: list[Tensor] = []
    for batch in batches:
        drawn.append(batch)
        if sum(map(len, drawn)) >= count:
            break
    return torch.cat(drawn)[:count]


def _shown(means: RunningMeans, names: Sequence[str] = _SHOWN) -> str:
    values = means.values()
    return " ".join(f"{name}={values[name]:.4g}" for name in names if name in values)
