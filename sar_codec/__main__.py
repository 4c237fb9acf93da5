"""The file tool: `sar-codec compress scene.tif scene.sarc`, `decompress`, `info`, `verify`."""

import argparse
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from sar_codec.errors import UserError

DAMAGED = 3
_EXIT_CODES = """exit codes:
  0  done
  1  an error, told in one line
  2  a wrong command line
  3  some tiles were damaged: decompress wrote nodata there, verify lists them"""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command, and exits with its code."""
    given = _parser().parse_args(arguments)
    # As a shell's other tools end when they are stopped: what was begun leaves nothing behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(given.run(given))
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; nothing was written")
    except BrokenPipeError:
        sys.exit(141)


def _compress(given: argparse.Namespace) -> int:
    from sar_codec.checking import check
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
    with _bar(given, "compress") as progress:
        done = compress_file(given.input, given.output, wanted, given.overwrite, progress)
    coded = f"quality {done.quality:.4g}" if done.quality else f"within {wanted.max_error_db} dB"
    _say(
        f"{given.output}: {coded}, {done.size:,} bytes, {done.bits_per_pixel:.3f} bits a pixel, "
        f"{done.seconds:.1f} s, {done.megapixels_per_second:.1f} Mpx/s"
    )
    if given.verify:
        with _bar(given, "verify") as progress:
            found = check(given.input, given.output, wanted, progress)
        _say(f"{given.output}: decoded and compared: {found}")
    return 0


def _decompress(given: argparse.Namespace) -> int:
    from sar_codec.conversion import decompress_file

    damage: list[str] = []
    with _bar(given, "decompress") as progress:
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
    print(json.dumps(found, indent=2, ensure_ascii=False) if given.json else in_words(found))
    return 0


def _verify(given: argparse.Namespace) -> int:
    from sar_codec.checking import decodes

    damage: list[str] = []
    with _bar(given, "verify") as progress:
        count = decodes(
            given.input,
            given.model,
            given.threads,
            given.max_pixels,
            lambda _, error: damage.append(str(error)),
            progress,
        )
    if not damage:
        _say(f"{given.input}: all {count} tiles decode to what was coded")
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
def _bar(given: argparse.Namespace, what: str) -> Iterator[Any]:
    """Takes numbers of pixels; shows a bar on a terminal."""
    bar = tqdm(
        desc=what,
        total=None,
        unit="px",
        unit_scale=True,
        leave=False,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        yield bar.update


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
