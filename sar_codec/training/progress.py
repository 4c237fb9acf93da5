"""How far an epoch is: a bar on a terminal, lines in the log elsewhere."""

import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from sar_codec.processes import Processes

log = logging.getLogger(__name__)

ALONE = Processes()
BAR_SECONDS = 0.5
LOG_SECONDS = 30.0
SAMPLES = "samples"
_SHOWN = ("loss", "bpp", "psnr", "ssim")


class Batches(Protocol):
    """A sized iterable of image tensors `(B, 1, H, W)`."""

    def __iter__(self) -> Iterator[Tensor]: ...
    def __len__(self) -> int: ...


class RunningMeans:
    """Means over samples of metrics that come as means over batches.

    Sums stay on the device; nothing waits for it until they are asked for.

    Args:
        sums: those of an earlier one, to go on from.
    """

    def __init__(self, sums: Mapping[str, float] | None = None) -> None:
        self._sums: dict[str, Tensor | float] = dict(sums or {})

    def add(self, metrics: Mapping[str, Tensor], samples: int, good: Tensor | None = None) -> None:
        """Adds a batch.

        Args:
            metrics: scalars, means over the batch.
            samples: how many are in it.
            good: a boolean scalar; a batch that is not good does not count.
        """
        for name, value in metrics.items():
            weighted = value.detach().double() * samples
            if good is not None:
                weighted = torch.where(good, weighted, 0.0)
            self._sums[name] = self._sums.get(name, 0.0) + weighted
        counted = samples if good is None else good.double() * samples
        self._sums[SAMPLES] = self._sums.get(SAMPLES, 0) + counted

    def sums(self, processes: Processes = ALONE) -> dict[str, float]:
        """The sums so far, by name, and the number of samples as `SAMPLES`; waits for the device.

        Args:
            processes: whose sums to add; waits for them too.
        """
        names, values = list(self._sums), list(self._sums.values())
        device = next((each.device for each in values if isinstance(each, Tensor)), None)
        columns = [torch.as_tensor(each, dtype=torch.float64, device=device) for each in values]
        if not names:
            return {}
        sums = processes.sum(torch.stack(columns).cpu())
        return dict(zip(names, sums.tolist(), strict=True))

    def values(self, processes: Processes = ALONE) -> dict[str, float]:
        """The means so far, by name; NaN where no batch was good."""
        return means_of(self.sums(processes))


def means_of(sums: Mapping[str, float]) -> dict[str, float]:
    """Means of the sums that `RunningMeans` gives, by name; NaN where there are no samples."""
    samples = sums.get(SAMPLES, 0)
    return {
        name: total / samples if samples else math.nan
        for name, total in sums.items()
        if name != SAMPLES
    }


def followed(
    batches: Iterator[Tensor],
    title: str,
    done: int,
    count: int,
    means: RunningMeans,
    processes: Processes = ALONE,
) -> Iterator[Tensor]:
    """Batches until `count` are done, while showing how far it is and the means so far.

    Args:
        batches: those that follow the `done` ones.
        title: of the bar.
        done: batches that were done before.
        count: batches in all.
        means: what to show.
        processes: only the first of them shows it, of its own part.
    """
    shows_bar = sys.stderr.isatty() and processes.is_first
    interval = BAR_SECONDS if shows_bar else LOG_SECONDS
    due = time.monotonic() + interval
    with tqdm(total=count, initial=done, desc=title, leave=False, disable=not shows_bar) as bar:
        for number, batch in enumerate(islice(batches, count - done), done + 1):
            yield batch
            bar.update()
            if time.monotonic() >= due:
                shown = _shown(means)
                bar.set_postfix_str(shown)
                if not shows_bar:
                    log.info("%s %d/%d %s", title, number, count, shown)
                due = time.monotonic() + interval


def first_samples(batches: Batches, count: int, processes: Processes = ALONE) -> Tensor:
    """The first `count` samples, or as many as there are, drawing no more batches than needed.

    Args:
        batches: this process's parts of them.
        count: samples.
        processes: those that draw with this one.
    """
    drawn: list[Tensor] = []
    for batch in batches:
        drawn.append(torch.cat(processes.gather(batch)))
        if sum(map(len, drawn)) >= count:
            break
    return torch.cat(drawn)[:count]


def _shown(means: RunningMeans, names: Sequence[str] = _SHOWN) -> str:
    values = means.values()
    return " ".join(f"{name}={values[name]:.4g}" for name in names if name in values)
