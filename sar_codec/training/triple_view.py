"""The picture of a run: originals over reconstructions over absolute differences."""

import math

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

# Two ramps of 64 colours in one palette: a quarter of the bytes of RGB, every epoch.
LEVELS = 64
GRAY, HEAT = 0, LEVELS
BLACK, WHITE = GRAY, GRAY + LEVELS - 1

_GAP = 2
_TITLE = 22  # height of the line above a row
_BAR = 14  # width of the scale beside a row
_LABELS = 64  # width of the scale's labels


def triple_view(
    originals: Tensor, reconstructions: Tensor, window_db: tuple[float, float] | None
) -> Image.Image:
    """One column a sample, three rows, each with its scale; an image with a palette.

    Args:
        originals: `(N, 1, H, W)` in [0, 1].
        reconstructions: the same shape.
        window_db: decibels at 0 and at 1, for the scales; None when they are not known.
    """
    low, high = window_db or (0.0, 1.0)
    unit = " dB" if window_db else ""
    difference = (reconstructions - originals).abs() * (high - low)
    # A few outliers, mostly point targets, must not darken all else.
    limit = _round_number_above(float(torch.quantile(difference.flatten()[: 2**24], 0.999)))
    ends = f"{low:.4g}{unit}", f"{high:.4g}{unit}"
    rows = [
        _row("original", originals, GRAY, *ends),
        _row("reconstruction", reconstructions, GRAY, *ends),
        _row("absolute difference", difference / limit, HEAT, f"0{unit}", f"{limit:.4g}{unit}"),
    ]
    picture = Image.new("L", (rows[0].width, sum(row.height for row in rows)), WHITE)
    for number, row in enumerate(rows):
        picture.paste(row, (0, number * row.height))
    picture.putpalette(_palette())
    return picture


def _row(title: str, values: Tensor, ramp: int, lowest: str, highest: str) -> Image.Image:
    """Images side by side under a title, a scale beside them: palette indices as gray levels."""
    tiles = _indices(values.detach().float().cpu(), ramp)
    grid = make_grid(tiles, nrow=len(tiles), padding=_GAP, pad_value=WHITE)[0]
    height, width = grid.shape
    row = Image.new("L", (width + _BAR + _LABELS, height + _TITLE), WHITE)
    row.paste(to_pil_image(grid), (0, _TITLE))
    scale = _indices(torch.linspace(1, 0, height - 2 * _GAP), ramp)
    row.paste(to_pil_image(scale[:, None].expand(-1, _BAR)), (width, _TITLE + _GAP))
    draw = ImageDraw.Draw(row)
    font = ImageFont.load_default(size=14)
    draw.text((_GAP, 2), title, fill=BLACK, font=font)
    labels_at = width + _BAR + 4
    draw.text((labels_at, _TITLE + _GAP), highest, fill=BLACK, font=font, anchor="lt")
    draw.text((labels_at, _TITLE + height - _GAP), lowest, fill=BLACK, font=font, anchor="ls")
    return row


def _indices(values: Tensor, ramp: int) -> Tensor:
    return (values.clamp(0, 1) * (LEVELS - 1)).round().to(torch.uint8) + ramp


def _palette() -> list[int]:
    """Black to white, then black over red and yellow to white, as R, G, B, R, G, B ..."""
    ramp = torch.linspace(0, 1, LEVELS)
    gray = ramp[:, None].expand(-1, 3)
    heat = torch.stack([(3 * ramp - step).clamp(0, 1) for step in range(3)], 1)
    return [int(each) for each in (torch.cat([gray, heat]) * 255).round().flatten()]


def _round_number_above(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 ... times a power of ten."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
