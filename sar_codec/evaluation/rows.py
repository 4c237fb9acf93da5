"""What was measured: metrics.csv."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sar_codec.files import write_whole


class Row(NamedTuple):
    """One codec at one setting on one band of one scene; a line of metrics.csv.

    Attributes:
        scene: its name.
        band: of it.
        place: the ground that it shows.
        kind: of scene, see `classes.kind_of`.
        codec: the codec's name.
        mode: what its settings are, see `codecs.Codec`.
        setting: of the codec; a quality, a quantiser with its sign changed, or a bound in dB.
        pixels: that are valid.
        size: bytes.
        bits_per_pixel: of valid pixels.
        rmse_db: and the following, see `distortion.Distortion`.
        max_error_db: likewise.
        psnr_db: likewise.
        ssim: likewise.
        bias_db: and the following, see `radiometry.Bias`.
        block_bias_db: likewise.
        largest_block_bias_db: likewise.
        dark_bias_db: likewise.
        middle_bias_db: likewise.
        bright_bias_db: likewise.
        looks_before: of the original, see `speckle.Speckle`.
        looks_after: of the decoded.
        correlation_before: likewise.
        correlation_after: likewise.
        mean_ratio: of original over decoded power, see `ratio.Ratio`.
        ratio_structure: likewise.
        targets: how many, and the following, see `targets.Targets`.
        peak_loss_db: likewise.
        largest_peak_loss_db: likewise.
        peak_offset_pixels: likewise.
        water_iou: of masks of water before and after, see `classes.water_agreement`.
        band_ratio_bias_db: and the following, see `classes.BandRatio`; NaN for a band alone.
        band_ratio_rmse_db: likewise.
        encoding_seconds: of all threads together by the clock.
        decoding_seconds: likewise.
    """

    scene: str
    band: str
    place: str
    kind: str
    codec: str
    mode: str
    setting: float
    pixels: int
    size: int
    bits_per_pixel: float
    rmse_db: float
    max_error_db: float
    psnr_db: float
    ssim: float
    bias_db: float
    block_bias_db: float
    largest_block_bias_db: float
    dark_bias_db: float
    middle_bias_db: float
    bright_bias_db: float
    looks_before: float
    looks_after: float
    correlation_before: float
    correlation_after: float
    mean_ratio: float
    ratio_structure: float
    targets: int
    peak_loss_db: float
    largest_peak_loss_db: float
    peak_offset_pixels: float
    water_iou: float
    band_ratio_bias_db: float
    band_ratio_rmse_db: float
    encoding_seconds: float
    decoding_seconds: float


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Writes a .csv with a line a row.

    Raises:
        UserError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(
        [f"{each:.6g}" if isinstance(each, float) else each for each in row] for row in rows
    )
    write_whole(path, [text.getvalue().encode()])
