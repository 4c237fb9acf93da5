"""Runs as tables: for programs, for the screen, and what their configs differ in."""

import csv
import io
import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from sar_codec.comparison.runs import Run, read_config
from sar_codec.files import write_whole

COLUMNS = (
    *("overrides", "status", "best_epoch", "best_val_loss", "psnr", "ssim", "epochs", "seconds"),
    *("folder", "reason"),
)
SCREEN = 100  # characters across
MISSING = "-"


def write_csv(path: Path, runs: Sequence[Run], base: Path) -> None:
    """Writes `as_csv` into a file, which appears whole.

    Raises:
        UserError: it cannot be written.
    """
    # Names of files may hold any bytes; they are written as they are.
    write_whole(path, [as_csv(runs, base).encode(errors="surrogateescape")])


def as_csv(runs: Sequence[Run], base: Path) -> str:
    """A row a run, in the order given: COLUMNS, with all digits, empty where nothing is known.

    Overrides are quoted as a shell wants them; folders are relative to `base`.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for run in runs:
        best = run.best
        table.writerow(
            [
                shlex.join(run.overrides),
                run.status,
                *((best.number, best.loss, best.psnr, best.ssim) if best else [None] * 4),
                len(run.history),
                run.seconds,
                os.path.relpath(run.folder, base),
                run.reason,
            ]
        )
    return text.getvalue()


def as_text(runs: Sequence[Run]) -> str:
    """A row a run, for the screen: the best first, those without a loss last."""
    named = zip(runs, labels(runs), strict=True)
    by_loss = sorted(named, key=lambda each: (each[0].best is None, each[0].best_loss))
    base = _common_folder(runs)
    rows = [
        ["run", "loss", "PSNR", "SSIM", "at epoch", "epochs", "min:s", "status", "folder"],
        *(
            [
                _cut(label),
                *_figures(run),
                str(len(run.history)),
                _minutes(run.seconds),
                printable(run.status),
                _cut(printable(os.path.relpath(run.folder, base) if base else str(run.folder))),
            ]
            for run, label in by_loss
        ),
    ]
    text = _aligned(rows, right=range(1, 7))
    return f"{text}\nfolders below {printable(str(base))}" if base else text


def labels(runs: Sequence[Run]) -> list[str]:
    """What to call each run, in one printable line: the overrides that not all of them share.

    Their keys are cut to as few of their last parts as tell them apart. A run of which that leaves
    nothing, or nothing of its own, is called by its folder.
    """
    given = [[each.lstrip("+") for each in run.overrides] for run in runs]
    shared = set(given[0]).intersection(*given) if given else set()
    own = [[each for each in overrides if each not in shared] for overrides in given]
    names = _short_names({_key(each) for overrides in own for each in overrides})
    said = [printable(" ".join(_shortened(each, names) for each in overrides)) for overrides in own]
    counts = Counter(said)
    taken = {label for label in said if label and counts[label] == 1}
    folders = [printable(os.path.abspath(run.folder)) for run in runs]
    return [
        label if label in taken else _ending(folder, folders, taken)
        for label, folder in zip(said, folders, strict=True)
    ]


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The keys, dotted, that the runs' configs differ in, and the value that each run has there.

    MISSING is the value of a key that a run's config lacks; a run without any config has no say in
    what differs.
    """
    configs = [read_config(run.folder) for run in runs]
    keys = dict.fromkeys(key for config in configs for key in config)
    values = {
        key: [_spelled(config[key]) if key in config else MISSING for config in configs]
        for key in keys
    }
    known = [index for index, config in enumerate(configs) if config]
    return {key: each for key, each in values.items() if len({each[index] for index in known}) > 1}


def differences_as_text(runs: Sequence[Run]) -> str:
    """`differences` for the screen: a column a run where they fit, else the values without whose.

    Empty where nothing differs.
    """
    found = differences(runs)
    if not found:
        return ""
    rows = [["key", *labels(runs)], *([key, *values] for key, values in found.items())]
    across = _aligned([[_cut(cell) for cell in row] for row in rows])
    if max(map(_width, across.splitlines())) <= SCREEN:
        return across
    return _aligned([[key, _listed(values)] for key, values in found.items()])


def printable(text: str) -> str:
    """In one line, and of characters that a screen has; others as Python writes them."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _figures(run: Run) -> list[str]:
    """The best loss, to five digits, with PSNR, SSIM and the epoch of it."""
    if run.best is None:
        return [MISSING] * 4
    best = run.best
    return [
        f"{best.loss:#.5g}".rstrip("."),
        MISSING if best.psnr is None else f"{best.psnr:.2f}",
        MISSING if best.ssim is None else f"{best.ssim:.4f}",
        str(best.number),
    ]


def _minutes(seconds: float | None) -> str:
    if seconds is None or seconds in (float("inf"), -float("inf")):
        return MISSING
    return f"{round(seconds) // 60}:{round(seconds) % 60:02}"


def _common_folder(runs: Sequence[Run]) -> str | None:
    """The lowest folder above all runs; None if that is the root of everything."""
    if not runs:
        return None
    common = os.path.commonpath([os.path.dirname(os.path.abspath(run.folder)) for run in runs])
    if common == os.path.dirname(common):
        return None
    relative = os.path.relpath(common)
    return common if relative.startswith(os.pardir) else relative


def _key(override: str) -> str:
    return override.lstrip("~").partition("=")[0]


def _short_names(keys: Collection[str]) -> dict[str, str]:
    """For each key, the shortest of its endings, of whole parts, that no other key has."""

    def is_its_own(ending: str, key: str) -> bool:
        return not any(
            other == ending or other.endswith((f".{ending}", f"/{ending}"))
            for other in keys
            if other != key
        )

    endings = {
        key: [key[start.end() :] for start in reversed([*re.finditer("^|[./]", key)])]
        for key in keys
    }
    return {
        key: next((each for each in endings[key] if each and is_its_own(each, key)), key)
        for key in keys
    }


def _shortened(override: str, names: dict[str, str]) -> str:
    key = _key(override)
    before, _, after = override.partition(key)
    return f"{before}{names[key]}{after}"


def _ending(folder: str, folders: Sequence[str], taken: Collection[str]) -> str:
    """The shortest ending of a folder's path that is neither another one's nor taken."""
    parts = folder.split(os.sep)
    endings = [os.sep.join(parts[start:]) for start in reversed(range(len(parts)))]
    others = [each for each in folders if each != folder]
    return next(
        (
            ending
            for ending in endings
            if ending not in taken
            and not any(other.endswith(f"{os.sep}{ending}") for other in others)
        ),
        folder,
    )


def _spelled(value: Any) -> str:
    """A value as it is given on the command line; 1 and 1.0 are one."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return repr(value).removesuffix(".0")
        case list():
            return f"[{','.join(map(_spelled, value))}]"
        case dict():
            return f"{{{','.join(f'{key}:{_spelled(each)}' for key, each in value.items())}}}"
        case _:
            return printable(str(value)) or "''"


def _listed(values: Sequence[str]) -> str:
    """Distinct values, as many as are easily read."""
    distinct = [_cut(each) for each in dict.fromkeys(values)]
    shown = "  ".join(distinct[:8])
    return shown if len(distinct) <= 8 else f"{shown}  ... ({len(distinct)} values)"


def _cut(text: str) -> str:
    """A cell that leaves room for others: with its middle left out where it is long."""
    return text if len(text) <= 48 else f"{text[:30]}...{text[-15:]}"


def _aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Rows of cells in columns, those of figures to the right."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - _width(cell))
            cells.append(space + cell if index in right else cell + space)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _width(text: str) -> int:
    """Columns of a screen: Chinese characters take two, accents that are put on others none."""
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return len(text) + wide - sum(unicodedata.combining(each) > 0 for each in text)
