"""Whether two runs are the same to the last bit, and if not, what differs first."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from sar_codec.training import checkpoint
from sar_codec.training.checkpoint import ENTRIES, VOLATILE_METRICS, State

# What may differ: where a run was asked to go on from, and on what it ran.
_VOLATILE = {"config.resume", "made_with"}
_SHOWN, _ALL = ("scalars", "images", "histograms"), 0
_VOLATILE_TAGS = ("train/images_per_second", "system/")


def difference_of_runs(first: Path, second: Path) -> str | None:
    """What differs first between two runs' checkpoints and TensorBoard logs; None if nothing does.

    Times and places are left out: see `checkpoint.State`.
    """
    for name in ("latest.pth", "best.pth"):
        states = [checkpoint.load(run / "checkpoints" / name) for run in (first, second)]
        if found := difference_of_states(*states):
            return f"checkpoints/{name}: {found}"
    if found := _difference(_table(first), _table(second), ""):
        return f"history.csv: {found}"
    if found := _difference(_events(first), _events(second), ""):
        return f"tensorboard: {found}"
    return None


def difference_of_states(first: State, second: State) -> str | None:
    """What differs first between two checkpoints, times and places left out."""
    return _difference(_lasting(first), _lasting(second), "")


def _lasting(state: State) -> dict[str, Any]:
    rows = [
        {name: value for name, value in row.items() if name not in VOLATILE_METRICS}
        for row in state.history
    ]
    return {name: getattr(state, name) for name in ENTRIES} | {"history": rows}


def _difference(first: Any, second: Any, path: str) -> str | None:
    if path in _VOLATILE:
        return None
    if type(first) is not type(second):
        return f"{path}: {type(first).__name__} and {type(second).__name__}"
    if isinstance(first, Mapping):
        if first.keys() != second.keys():
            return f"{path}: only one has {', '.join(map(str, first.keys() ^ second.keys()))}"
        keys: Iterable[Any] = first
    elif isinstance(first, Sequence) and not isinstance(first, str | bytes):
        if len(first) != len(second):
            return f"{path}: {len(first)} and {len(second)} entries"
        keys = range(len(first))
    else:
        return None if _same_bits(first, second) else f"{path}: {_told(first, second)}"
    found = (_difference(first[key], second[key], f"{path}.{key}".lstrip(".")) for key in keys)
    return next((each for each in found if each), None)


def _same_bits(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return (
            first.dtype == second.dtype
            and first.shape == second.shape
            and torch.equal(_as_bytes(first), _as_bytes(second))
        )
    if isinstance(first, float) and math.isnan(first):
        return math.isnan(second)
    return bool(first == second)


def _as_bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def _told(first: Any, second: Any) -> str:
    if isinstance(first, bytes):
        return f"{len(first)} bytes and {len(second)} others"
    if not isinstance(first, Tensor):
        return f"{first!r} and {second!r}"
    if first.shape != second.shape or first.dtype != second.dtype:
        return f"{first.dtype} {list(first.shape)} and {second.dtype} {list(second.shape)}"
    differing = int((first != second).sum())  # 0 where only signs of zeros do
    largest = float((first.double() - second.double()).abs().max())
    return f"{differing} of {first.numel()} values differ, by up to {largest:.3g}"


def _table(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: row[name] for name in row if name not in VOLATILE_METRICS} for row in rows]


def _events(run_dir: Path) -> dict[str, list[dict[str, Any]]]:
    """What TensorBoard shows of a run: by tag, step and value in the order of the file."""
    events = EventAccumulator(
        str(run_dir / "tensorboard"), size_guidance=dict.fromkeys(_SHOWN, _ALL)
    )
    events.Reload()
    tags = events.Tags()
    shown = {tag: events.Scalars(tag) for tag in tags["scalars"]}
    shown |= {tag: events.Images(tag) for tag in tags["images"]}
    shown |= {tag: events.Histograms(tag) for tag in tags["histograms"]}
    return {
        tag: [vars(event) | {"wall_time": 0} for event in shown[tag]]
        for tag in sorted(shown)
        if not tag.startswith(_VOLATILE_TAGS)
    }
