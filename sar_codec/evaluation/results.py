"""All that rows come to, for people and for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sar_codec.evaluation.bits import BitsSummary, bits_cells, summarise_bits
from sar_codec.evaluation.rows import Row
from sar_codec.evaluation.summary import RATES, CodecSummary, cells, summarise
from sar_codec.evaluation.usage import RATE, Figures, usage, usage_cells

TITLES = {
    "rate": "Rate and distortion",
    "usage": f"What users measure, at about {RATE:g} bits a pixel",
    "bounded": "Within a largest error",
    "lossless": "Without loss",
}
"""Of the tables."""


@dataclass(frozen=True)
class Results:
    """Rows and their summaries, by the modes of codecs; empty where none is of a mode.

    Attributes:
        rows: of all codecs.
        anchor: the codec that those of its mode are compared with.
        images: bands that were coded.
        rate: of codecs whose settings are qualities.
        usage: of these, what they do to what users measure.
        bounded: of codecs whose settings are the largest error.
        lossless: of codecs that lose nothing.
    """

    rows: Sequence[Row]
    anchor: str
    images: int
    rate: Sequence[CodecSummary]
    usage: dict[str, Figures]
    bounded: Sequence[BitsSummary]
    lossless: Sequence[BitsSummary]

    @classmethod
    def of(cls, rows: Sequence[Row], anchor: str, images: int, seed: int) -> "Results":
        """All of rows; `seed` is that of the bootstrap."""
        return cls(
            rows,
            anchor,
            images,
            summarise(rows, anchor, seed),
            usage(rows),
            summarise_bits(rows, "bounded", anchor, seed),
            summarise_bits(rows, "lossless", anchor, seed),
        )

    def tables(self) -> dict[str, list[list[str]]]:
        """Lines of tables, the first their head, by their titles."""
        found = {}
        if self.rate:
            found[TITLES["rate"]] = cells(self.rate, self.anchor, self.images)
        if self.usage:
            found[TITLES["usage"]] = usage_cells(self.usage)
        if self.bounded:
            found[TITLES["bounded"]] = bits_cells(self.bounded, self.anchor)
        if self.lossless:
            found[TITLES["lossless"]] = bits_cells(self.lossless, self.anchor)
        return found

    def as_json(self) -> dict[str, Any]:
        """What summary.json holds of them."""
        return {
            "rates": RATES,
            "codecs": [asdict(each) for each in self.rate],
            f"at_{RATE:g}_bits_per_pixel": self.usage,
            "bounded": [asdict(each) for each in self.bounded],
            "lossless": [asdict(each) for each in self.lossless],
        }

    def as_markdown(self) -> str:
        """The tables, to be pasted into a README."""
        return "\n".join(f"{title}\n\n{_markdown(lines)}" for title, lines in self.tables().items())


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    head, *others = lines
    return "".join(f"| {' | '.join(each)} |\n" for each in (head, ["---"] * len(head), *others))
