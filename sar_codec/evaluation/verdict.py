"""What codecs do to radiometry, in plain words."""

from sar_codec.evaluation.results import Results
from sar_codec.evaluation.summary import FAITHFUL_FROM
from sar_codec.evaluation.usage import RATE, Figures

_ROUNDING = 1.0005  # of a bound; decibels are float32


def verdict(results: Results) -> list[str]:
    """A sentence or more of each codec."""
    found = []
    for each in results.rate:
        mine = [row for row in results.rows if row.codec == each.codec]
        if each.bias_db is None or each.largest_block_bias_db is None:
            found.append(f"{each.codec}: never took {FAITHFUL_FROM:g} bits a pixel.")
            continue
        kept = abs(each.bias_db) <= 0.1 and each.largest_block_bias_db <= 0.3
        lowest = min(mine, key=lambda row: row.bits_per_pixel)
        found.append(
            f"{each.codec}: from {FAITHFUL_FROM:g} bits a pixel on, means of power are "
            f"{'kept' if kept else 'not kept'} (within 0.1 dB on average and 0.3 dB in any block): "
            f"off by {each.bias_db:+.2f} dB at the worst setting, {each.largest_block_bias_db:.2f} "
            f"dB in the worst block. At its lowest rate, {lowest.bits_per_pixel:.3f}, it is "
            f"{lowest.bias_db:+.2f} dB off on {lowest.scene} {lowest.band}."
            + _of_usage(results.usage.get(each.codec, {}))
        )
    for some in results.bounded:
        found.append(
            f"{some.codec}: {'no' if some.used <= _ROUNDING else 'some'} pixel is off by more than "
            f"asked for, the worst by {100 * some.used:.1f} % of it. The mean over blocks of power "
            f"is off by {some.block_bias_db:+.2f} dB at most."
        )
    return found


def _of_usage(figures: Figures) -> str:
    """What becomes of speckle and targets at about half a bit."""
    smoothed, measured = figures.get("looks_after"), figures.get("looks_before")
    loss, moved = figures.get("peak_loss_db"), figures.get("peak_offset_pixels")
    said = ""
    if smoothed is not None and measured is not None:
        said += f" At about {RATE:g}, {measured:.3g} looks become {smoothed:.3g}"
        said += ": speckle is smoothed away, which is a loss" if smoothed > 1.1 * measured else ""
        said += "."
    if loss is not None and moved is not None:
        change = "lose" if loss > 0 else "gain"
        said += f" Peaks of point targets {change} {abs(loss):.2f} dB and move {moved:.2f} pixels."
    return said
