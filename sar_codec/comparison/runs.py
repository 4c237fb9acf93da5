"""Runs, as their folders tell of them."""

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sar_codec.errors import UserError
from sar_codec.status import read_status

UNKNOWN = "unknown"  # the status of a run whose folder does not tell

_MARKS = ("history.csv", "status.json", ".hydra/config.yaml")  # any of them makes a folder a run's
_NOT_OF_THE_EXPERIMENT = {"resume", "hparams"}  # where a run goes on and what is shown of it

_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former takes a tenth of the time


class Epoch(NamedTuple):
    """A row of history.csv; None where that says nothing, or NaN: no NaN equals another."""

    number: int
    loss: float | None
    psnr: float | None
    ssim: float | None
    seconds: float | None


@dataclass(frozen=True)
class Run:
    """What a run's folder says of it; equal to another reading as long as nothing happens there.

    Args:
        folder: as it was given, or found below what was given.
        overrides: what was given on the command line, without `resume` and `hparams`.
        status: `"finished"`, `"failed"` ..., or UNKNOWN.
        reason: of the status, in one line.
        history: its epochs, as far as it got.
    """

    folder: Path
    overrides: tuple[str, ...]
    status: str
    reason: str | None
    history: tuple[Epoch, ...]

    @property
    def best(self) -> Epoch | None:
        """The first epoch with the lowest finite validation loss."""
        losses = [each.loss for each in self.history]
        finite = [loss for loss in losses if loss is not None and math.isfinite(loss)]
        return self.history[losses.index(min(finite))] if finite else None

    @property
    def best_loss(self) -> float | None:
        return self.best.loss if self.best else None

    @property
    def seconds(self) -> float | None:
        """What its epochs took together."""
        known = [each.seconds for each in self.history if each.seconds is not None]
        return sum(known) if known else None


def find_runs(*paths: Path) -> list[Run]:
    """The runs in folders: each one is a run's, or one with runs anywhere below it, as a sweep's.

    In natural order (2 before 10), each run once, however often it is given.

    Raises:
        UserError: a path does not exist or holds no run, or a run cannot be read.
    """
    folders: dict[Path, Path] = {}
    for path in paths:
        try:
            found = list(_run_folders(path, set()))
        except OSError as error:
            place = error.filename or path
            raise UserError(f"{place}: cannot be read ({error.strerror}); look at it") from error
        if not found:
            raise UserError(f"{path}: {_why_no_run(path)}; give a run's folder or one above runs")
        for folder in found:
            folders.setdefault(folder.resolve(), folder)
    return [read_run(folder) for folder in folders.values()]


def read_run(folder: Path) -> Run:
    """What a run's folder says; a folder that says little is no error, runs may end early.

    Raises:
        UserError: there is no run, or its history.csv is not one.
    """
    if not _is_run(folder):
        raise UserError(f"{folder}: {_why_no_run(folder)}; give a run's folder")
    told = read_status(folder)
    overrides = told.get("overrides")
    if not isinstance(overrides, list):
        overrides = _read_yaml(folder / ".hydra" / "overrides.yaml")
    if not isinstance(overrides, list):
        overrides = []
    reason = told.get("reason")
    return Run(
        folder=folder,
        overrides=tuple(
            str(each) for each in overrides if _key(str(each)) not in _NOT_OF_THE_EXPERIMENT
        ),
        status=str(told.get("status") or UNKNOWN),
        reason=" ".join(str(reason).split()) if reason else None,
        history=read_history(folder / "history.csv"),
    )


def read_history(path: Path) -> tuple[Epoch, ...]:
    """The epochs in a history.csv, none where there is none; a last line that is cut is left out.

    Raises:
        UserError: it is not a history.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # as spreadsheets save it
        table = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, csv.Error) as error:
        raise _no_history(path, str(error)) from error
    if not table:
        return ()
    columns, rows = table[0], table[1:]
    is_whole = text.endswith("\n")
    if "epoch" not in columns or ("val_loss" not in columns and (rows or is_whole)):
        raise _no_history(path, "no columns epoch and val_loss")
    history = []
    for number, row in enumerate(rows, 1):
        try:
            history.append(_epoch(dict(zip(columns, row, strict=True))))
        except ValueError as error:
            if number < len(rows) or is_whole:
                raise _no_history(path, f"row {number}: {error}") from error
    return tuple(history)


def read_config(folder: Path) -> dict[str, Any]:
    """A run's config as dotted keys and their values, without `resume` and `hparams`.

    Lists are values. A run without a config, or with one that cannot be read, has no keys.
    """
    config = _read_yaml(folder / ".hydra" / "config.yaml")
    if not isinstance(config, dict):
        return {}
    return dict(
        _flat({key: each for key, each in config.items() if key not in _NOT_OF_THE_EXPERIMENT})
    )


def _run_folders(path: Path, seen: set[Path]) -> Iterator[Path]:
    """Folders of runs at or below a path, through links too; what is in a run is its own affair."""
    if not path.is_dir() or (place := path.resolve()) in seen:
        return
    seen.add(place)
    if _is_run(path):
        yield path
        return
    below = [each for each in path.iterdir() if each.is_dir()]
    for each in sorted(below, key=_natural):
        yield from _run_folders(each, seen)


def _natural(path: Path) -> tuple[list[str | int], str]:
    """A key to sort by: texts and numbers always alternate, so like is compared with like."""
    parts = re.split("([0-9]+)", path.name)
    return [int(each) if index % 2 else each for index, each in enumerate(parts)], path.name


def _is_run(folder: Path) -> bool:
    return any((folder / each).exists() for each in _MARKS)


def _why_no_run(path: Path) -> str:
    if not path.exists():
        return "does not exist"
    return f"holds no run (none of {', '.join(_MARKS)})" if path.is_dir() else "is not a folder"


def _read_yaml(path: Path) -> Any:
    """What a YAML file holds; None where it cannot be read."""
    try:
        return _SafeLoader(path.read_bytes()).get_single_data()
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _epoch(row: dict[str, str]) -> Epoch:
    """One row.

    Raises:
        ValueError: a value is no number.
    """
    values = {
        name: _number(row.get(column, ""))
        for name, column in {
            **{"number": "epoch", "loss": "val_loss", "psnr": "val_psnr", "ssim": "val_ssim"},
            "seconds": "seconds",
        }.items()
    }
    number = values.pop("number")
    if number is None or number % 1:
        raise ValueError(f"epoch {row['epoch']!r} is no whole number")
    return Epoch(int(number), **values)


def _number(text: str) -> float | None:
    value = float(text) if text.strip() else math.nan
    return None if math.isnan(value) else value


def _flat(config: dict[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _no_history(path: Path, reason: str) -> UserError:
    return UserError(
        f"{path}: not readable as a run's history ({' '.join(reason.split())}); "
        "mend it, or move it away to leave it out"
    )
