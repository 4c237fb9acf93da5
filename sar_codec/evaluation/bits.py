"""What codecs take that hold a bound on the error, or lose nothing: bits, not curves."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from sar_codec.evaluation.bd_rate import interval
from sar_codec.evaluation.codecs import Mode
from sar_codec.evaluation.rows import Row
from sar_codec.evaluation.summary import decibels, percent, speed


@dataclass(frozen=True)
class BitsSummary:
    """A codec of one mode, "bounded" or "lossless".

    Attributes:
        codec: its name.
        mode: of it.
        bits_per_pixel: at each setting, the mean over bands.
        change: what it takes over what the anchor does, minus 1, the mean over settings and bands;
            None where the anchor is of another mode.
        change_interval: 95 % of it, by a bootstrap over places.
        max_error_db: at each setting, of any band.
        block_bias_db: the mean over blocks that is furthest from 0, of any setting and band.
        encoding_speed: Mpx/s, median.
        decoding_speed: likewise.
    """

    codec: str
    mode: Mode
    bits_per_pixel: dict[float, float]
    change: float | None
    change_interval: tuple[float, float] | None
    max_error_db: dict[float, float]
    block_bias_db: float
    encoding_speed: float
    decoding_speed: float

    @property
    def used(self) -> float:
        """The largest error as a share of the bound, the worst of all bounds."""
        return max(error / bound for bound, error in self.max_error_db.items())


def summarise_bits(rows: Sequence[Row], mode: Mode, anchor: str, seed: int) -> list[BitsSummary]:
    """A summary of each codec of a mode, in order of the rows.

    Args:
        rows: of codecs of any modes.
        mode: of the codecs that are wanted.
        anchor: the codec that the others are compared with, if it is one of these.
        seed: of the bootstrap.
    """
    mine = [row for row in rows if row.mode == mode]
    anchors = {_place(row): row.size for row in mine if row.codec == anchor}
    found = []
    for codec in dict.fromkeys(row.codec for row in mine):
        of_codec = [row for row in mine if row.codec == codec]
        at: dict[float, list[Row]] = defaultdict(list)
        changes: dict[str, list[float]] = defaultdict(list)
        for row in of_codec:
            at[row.setting].append(row)
            if _place(row) in anchors:
                changes[row.place].append(row.size / anchors[_place(row)] - 1)
        found.append(
            BitsSummary(
                codec,
                mode,
                {each: fmean(row.bits_per_pixel for row in some) for each, some in at.items()},
                fmean(value for some in changes.values() for value in some) if changes else None,
                interval(changes, seed) if changes else None,
                {each: max(row.max_error_db for row in some) for each, some in at.items()},
                max((row.block_bias_db for row in of_codec), key=abs),
                speed(of_codec, "encoding_seconds"),
                speed(of_codec, "decoding_seconds"),
            )
        )
    return found


def bits_cells(summaries: Sequence[BitsSummary], anchor: str) -> list[list[str]]:
    """The lines of a table of codecs of one mode, the first its head.

    Args:
        summaries: one at least.
        anchor: the codec that they were compared with, if it is one of them.
    """
    are_compared = any(each.change is not None for each in summaries)
    settings = sorted({setting for each in summaries for setting in each.bits_per_pixel})
    bounded = summaries[0].mode == "bounded"
    head = ["codec"]
    head += [f"within {each:g} dB" for each in settings] if bounded else ["bits a pixel"]
    head += [f"against {anchor} (95 %)"] if are_compared else []
    head += ["of the bound", "block bias"] if bounded else []
    head += ["encode / decode"]
    lines = [head]
    for each in summaries:
        line = [each.codec]
        line += [f"{bits:.3f}" for _, bits in sorted(each.bits_per_pixel.items())]
        if each.change is not None and each.change_interval is not None:
            low, high = (percent(end) for end in each.change_interval)
            is_anchor = each.codec == anchor
            line.append("" if is_anchor else f"{percent(each.change)} ({low} to {high})")
        if bounded:
            line += [f"{100 * each.used:.1f} %", decibels(each.block_bias_db, "+.2f")]
        line.append(f"{each.encoding_speed:.3g} / {each.decoding_speed:.3g} Mpx/s")
        lines.append(line)
    return lines


def _place(row: Row) -> tuple[str, str, str, float]:
    return row.place, row.scene, row.band, row.setting
