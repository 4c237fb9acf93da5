"""The file tool: `sar-codec compress scene.tif scene.sarc`, `decompress`, `info`, `verify`."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tqdm import tqdm

from sar_codec.errors import UserError
from sar_codec.memory import keep_freed_memory
from sar_codec.signals import Stopped

DAMAGED = 3
_EXIT_CODES = """exit codes:
  0  done
  1  an error, told in one line; nothing was written
  2  a wrong command line
  3  some tiles were damaged: decompress wrote nodata there, verify lists them
  128 + N  stopped by signal N, such as 130 for Ctrl-C; nothing was written"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command, and exits with its code."""
    given = _parser().parse_args(arguments)
    keep_freed_memory()
    try:
        with _unwinding_when_stopped():
            code = given.run(given)
            sys.stdout.flush()
        sys.exit(code)
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as stop:
        _say("stopped; nothing was written")
        sys.exit(128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT))
    except BrokenPipeError:
        # Python would try once more to write what nobody reads.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _compress(given: argparse.Namespace) -> int:
    from sar_codec.conversion import Wanted, compress_file

    wanted = Wanted(
        quality=given.quality,
        max_error_db=given.max_error_db,
        target_bpp=given.target_bpp,
        keeps_power=given.keep == "power",
        quantity=given.quantity,
        model=given.model,
        workers=given.threads,
    )
    with _telling_of_compilation(), _bar("compress") as progress, _bar("verify") as verifying:
        done = compress_file(
            given.input,
            given.output,
            wanted,
            given.overwrite,
            progress,
            verifying if given.verify else None,
        )
    coded = f"within {wanted.max_error_db} dB" if wanted.max_error_db else "lossless"
    if done.quality is not None:
        coded = f"quality {done.quality:.4g}"
    _say(
        f"{given.output}: {coded}, {done.size:,} bytes, {done.bits_per_pixel:.3f} bits a pixel, "
        f"{done.seconds:.1f} s, {done.megapixels_per_second:.1f} Mpx/s"
    )
    if done.difference is not None:
        _say(f"{given.output}: decoded and compared: {done.difference}")
    return 0


def _decompress(given: argparse.Namespace) -> int:
    from sar_codec.conversion import decompress_file

    damage: list[str] = []
    with _telling_of_compilation(), _bar("decompress") as progress:
        done = decompress_file(
            given.input,
            given.output,
            given.model,
            given.overwrite,
            given.threads,
            given.max_pixels,
            lambda _, error: damage.append(str(error)),
            progress,
        )
    _say(
        f"{given.output}: {done.pixels:,} pixels, {done.seconds:.1f} s, "
        f"{done.megapixels_per_second:.1f} Mpx/s"
    )
    return _tell(damage, "is nodata in the output")


def _info(given: argparse.Namespace) -> int:
    from sar_codec.information import in_words, information

    found = information(given.input)
    print(json.dumps(found, indent=2) if given.json else in_words(found))
    return 0


def _verify(given: argparse.Namespace) -> int:
    from sar_codec.checking import decodes
    from sar_codec.conversion import check_workers

    check_workers(given.threads)
    damage: list[str] = []
    with _telling_of_compilation(), _bar("verify") as progress:
        count = decodes(
            given.input,
            progress,
            given.model,
            given.threads,
            given.max_pixels,
            lambda _, error: damage.append(str(error)),
        )
    if not damage:
        they = "its tile decodes" if count == 1 else f"all {count} tiles decode"
        _say(f"{given.input}: {they} to what was coded")
    return _tell(damage, "cannot be decoded")


def _tell(damage: list[str], what: str) -> int:
    for each in damage[:20]:
        print(f"{each}: {what}", file=sys.stderr)
    if len(damage) > 20:
        print(f"and {len(damage) - 20} more", file=sys.stderr)
    return DAMAGED if damage else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr)


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Takes numbers of pixels done and in all; on a terminal, shows a bar as long as some are left.

    It leaves no trace, so that lines printed after it stand alone.
    """
    bars: list[Any] = []

    def tell(done: int, total: int) -> None:
        if not bars:
            shown = {"unit": "px", "unit_scale": True, "dynamic_ncols": True}
            silent = not sys.stderr.isatty()
            bars.append(tqdm(desc=what, total=total, leave=False, disable=silent, **shown))
        bars[0].update(done)
        if bars[0].n >= total:
            bars[0].close()

    try:
        yield tell
    finally:
        for bar in bars:
            bar.close()


@contextmanager
def _telling_of_compilation() -> Iterator[None]:
    """Says on a terminal why nothing happens for a while, the first time."""
    from sar_codec.entropy.compiled import telling_of_compilation

    def tell() -> None:
        if sys.stderr.isatty():
            tqdm.write("compiling the loops of coding, this once", file=sys.stderr)

    with telling_of_compilation(tell):
        yield


@contextmanager
def _unwinding_when_stopped() -> Iterator[None]:
    """Makes signals to stop raise, as Ctrl-C does, so that what was begun leaves nothing behind."""

    def stop(number: int, _: FrameType | None) -> NoReturn:
        raise Stopped(number)

    signals = [signal.SIGTERM, signal.SIGHUP]
    # Not those that nohup or a shell's `&` have ignored.
    before = {each: signal.getsignal(each) for each in signals}
    caught = [each for each, handler in before.items() if handler is not signal.SIG_IGN]
    for each in caught:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each in caught:
            signal.signal(each, before[each])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "sar-codec",
        description="Compresses SAR rasters to .sarc files, and back to GeoTIFF.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version("sar_codec"))
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    compress = commands.add_parser("compress", help="a raster of any format of GDAL's to .sarc")
    compress.set_defaults(run=_compress)
    _paths(compress, "raster to read", "file to write")
    how = compress.add_mutually_exclusive_group()
    how.add_argument("--quality", type=float, metavar="1..8", help="smallest to best; default 5")
    how.add_argument(
        "--max-error-db",
        type=float,
        metavar="E",
        help="no valid pixel is off by more than E dB; 0 is lossless, for integers",
    )
    how.add_argument(
        "--target-bpp", type=float, metavar="B", help="bits a pixel of a band that it may take"
    )
    compress.add_argument(
        "--keep",
        choices=("power", "decibels"),
        default="power",
        help="the mean power of blocks, or the least error in dB at a quality (default: power)",
    )
    compress.add_argument(
        "--quantity",
        choices=("power", "amplitude", "db"),
        help="what the pixels are, if the file does not say it",
    )
    compress.add_argument(
        "--no-verify",
        dest="verify",
        action="store_false",
        help="do not decode the file again to compare it",
    )
    _shared(compress)

    decompress = commands.add_parser("decompress", help=".sarc to a tiled GeoTIFF")
    decompress.set_defaults(run=_decompress)
    _paths(decompress, ".sarc file to read", "GeoTIFF to write")
    _shared(decompress)
    _bounds(decompress)

    info = commands.add_parser("info", help="what a .sarc file says of itself")
    info.set_defaults(run=_info)
    info.add_argument("input", type=Path, metavar="FILE", help=".sarc file")
    info.add_argument("--json", action="store_true", help="all of it, as JSON")

    verify = commands.add_parser("verify", help="whether every tile decodes to what was coded")
    verify.set_defaults(run=_verify)
    verify.add_argument("input", type=Path, metavar="FILE", help=".sarc file")
    _shared(verify)
    _bounds(verify)
    return parser


def _paths(command: argparse.ArgumentParser, read: str, written: str) -> None:
    command.add_argument("input", type=Path, metavar="INPUT", help=read)
    command.add_argument("output", type=Path, metavar="OUTPUT", help=written)
    command.add_argument(
        "--overwrite", action="store_true", help="replace OUTPUT where there is one already"
    )


def _shared(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model", type=Path, metavar="FILE", help="a checkpoint or weights of your own"
    )
    command.add_argument("--threads", type=int, metavar="N", help="default: one a core")


def _bounds(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--max-pixels",
        type=int,
        default=10**9,
        metavar="N",
        help="refuse files that claim more, of all bands (default: 10^9)",
    )


if __name__ == "__main__":
    main()
