"""The codecs by the names that a config gives them, as far as they are installed."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from sar_codec.errors import UserError
from sar_codec.evaluation import pictures, video
from sar_codec.evaluation.codecs import Codec
from sar_codec.evaluation.own import OwnCodec
from sar_codec.networks import QUALITY

log = logging.getLogger(__name__)


def contestants(
    names: Sequence[str], model: Path | None, threads: int
) -> tuple[dict[str, Codec], list[str]]:
    """The codecs of so many names, by these, and a line of each that is not installed.

    Args:
        names: of codecs.
        model: a checkpoint or weights of ours; None: those that come with the package.
        threads: that each codec codes with.

    Raises:
        UserError: a name is none or stands twice, or nothing is left to compare.
    """
    path = model or QUALITY
    makers: dict[str, Callable[[], Codec]] = {
        "ours": lambda: OwnCodec(path, True, threads),
        "ours_least_db": lambda: OwnCodec(path, False, threads),
        "jpeg2000": lambda: pictures.jpeg2000(threads),
        "jpegxl": lambda: pictures.jpeg_xl(threads),
        "avif12": lambda: video.av1(threads, 12),
        "avif10": lambda: video.av1(threads, 10),
        "hevc12": lambda: video.hevc(threads),
        "vvc10": lambda: video.vvc(threads),
    }
    if not set(names) <= makers.keys() or len(set(names)) < len(names):
        raise UserError(f"codecs={list(names)}: expected some of {', '.join(makers)}, each once")
    codecs: dict[str, Codec] = {}
    missing = []
    for name in names:
        try:
            codecs[name] = makers[name]()
        except ImportError as error:
            missing.append(f"{name}: {error}; pip install 'sar_codec[baselines]'")
            log.warning("Left out %s", missing[-1])
    if not codecs:
        raise UserError(f"codecs={list(names)}: none is installed; {'; '.join(missing)}")
    return codecs, missing
