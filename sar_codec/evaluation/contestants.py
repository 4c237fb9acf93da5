"""The codecs by the names that a config gives them, as far as they are installed."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from sar_codec.coding.decompressing import Bounded
from sar_codec.errors import UserError
from sar_codec.evaluation import bounded, integers, pictures, video
from sar_codec.evaluation.codecs import Codec
from sar_codec.evaluation.lossless import LosslessCodec
from sar_codec.evaluation.own import OwnBounded, OwnCodec, OwnLossless
from sar_codec.networks import BOUNDED, QUALITY, network_of

log = logging.getLogger(__name__)


def contestants(
    names: Sequence[str], model: Path | None, threads: int
) -> tuple[dict[str, Codec], list[str]]:
    """The codecs of so many names, by these, and a line of each that is not installed.

    Args:
        names: of codecs.
        model: a checkpoint or weights of ours, for the codecs of its kind; None, and for the
            others: those that come with the package.
        threads: that each codec codes with.

    Raises:
        UserError: a name is none or stands twice, nothing is left to compare, or the model is none
            that codes, or none that a codec of these names would use.
    """
    path, path_of_bounded = QUALITY, BOUNDED
    if model is not None:
        is_bounded = isinstance(network_of(model), Bounded)
        path, path_of_bounded = (path, model) if is_bounded else (model, path_of_bounded)
        users = ("ours_bounded", "ours_lossless") if is_bounded else ("ours", "ours_least_db")
        if not set(users) & set(names):
            raise UserError(
                f"checkpoint={model}: is for {' and '.join(users)}; add one of these to codecs"
            )
    makers: dict[str, Callable[[], Codec]] = {
        "ours": lambda: OwnCodec(path, True, threads),
        "ours_least_db": lambda: OwnCodec(path, False, threads),
        "jpeg2000": lambda: pictures.jpeg2000(threads),
        "jpegxl": lambda: pictures.jpeg_xl(threads),
        "avif12": lambda: video.av1(threads, 12),
        "avif10": lambda: video.av1(threads, 10),
        "hevc12": lambda: video.hevc(threads),
        "vvc10": lambda: video.vvc(threads),
        "ours_bounded": lambda: OwnBounded(path_of_bounded, threads),
        "quantised_jpegxl": lambda: bounded.quantised(integers.jpeg_xl(threads)),
        "jpegls": lambda: bounded.quantised(integers.jpeg_ls()),
        "sz3": bounded.sz3,
        "zfp": lambda: bounded.zfp(threads),
        "lerc_zstd": bounded.lerc_zstd,
        "ours_lossless": lambda: OwnLossless(path_of_bounded, threads),
        "jpeg2000_lossless": lambda: LosslessCodec(integers.jpeg2000(threads)),
        "jpegxl_lossless": lambda: LosslessCodec(integers.jpeg_xl(threads)),
        "deflate": lambda: LosslessCodec(integers.deflate()),
        "zstd": lambda: LosslessCodec(integers.zstd()),
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
