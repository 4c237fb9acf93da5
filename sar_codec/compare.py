"""Runs side by side: `python -m sar_codec.compare RUN_OR_SWEEP ...`."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sar_codec.comparison.plot import draw
from sar_codec.comparison.runs import find_runs
from sar_codec.comparison.table import as_text, differences_as_text, write_csv
from sar_codec.errors import UserError

TABLE, PICTURE = "compare.csv", "compare.png"


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares the runs that the command line names; what the user can mend ends as one line."""
    given = parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # folders may have any names
    try:
        compare(given.paths, given.output)
        sys.stdout.flush()
    except UserError as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:
        # Whoever read our output has left, as `head` does; there is no one to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        sys.exit(130)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m sar_codec.compare",
        description="Compares runs, of sweeps or not: a table of their best validation losses, "
        "the config keys that they differ in, and a picture of their validation losses by epoch.",
        epilog=f"Writes {TABLE} and {PICTURE}. For all runs there are: "
        "python -m sar_codec.compare outputs",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="RUN_OR_SWEEP",
        help="a run's folder, or one with runs below it, as a sweep's",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where table and picture go; default: outputs/compare/DATE/TIME",
    )
    return parser


def compare(paths: Sequence[Path], output: Path | None) -> None:
    """Writes a comparison, and prints it.

    Raises:
        UserError: a path holds no run, or `output` a comparison already.
    """
    # To the microsecond, as folders of runs: no two share it.
    output = output or Path("outputs/compare", f"{datetime.now():%Y-%m-%d/%H-%M-%S-%f}")
    for name in (TABLE, PICTURE):
        if os.path.lexists(output / name):
            raise UserError(f"{output / name}: is there already; choose another --output")
    runs = find_runs(*paths)
    # First: whoever reads what is printed may stop before its end.
    write_csv(output / TABLE, runs, Path())
    draw(runs, output / PICTURE)
    print(as_text(runs))
    if different := differences_as_text(runs):
        print(f"\nWhat their configs differ in:\n{different}")
    elif len(runs) > 1:
        print("\nTheir configs do not differ.")
    print(f"\nComparison: {output}")


if __name__ == "__main__":
    main()
