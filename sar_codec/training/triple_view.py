"""The picture of a run: originals over reconstructions over absolute differences."""

import math
from collections.abc import Callable

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, to_pil_image
from torchvision.utils import make_grid

_Colours = Callable[[Tensor], Tensor]

_GAP = 2
_TITLE = 22  # height of the line above a row
_BAR = 14  # width of the scale beside a row
_LABELS = 64  # width of the scale's labels


def triple_view(
    originals: Tensor, reconstructions: Tensor, window_db: tuple[float, float] | None
) -> Tensor:
    """One column a sample, three rows, each with its scale: uint8 `(3, height, width)`.

    Args:
        originals: `(N, 1, H, W)` in [0, 1].
        reconstructions: the same shape.
        window_db: decibels at 0 and at 1, for the scales; None when they are not known.
    """
    low, high = window_db or (0.0, 1.0)
    unit = "dB" if window_db else ""
    difference = (reconstructions - originals).abs().float() * (high - low)
    limit = _round_up(float(torch.quantile(difference.flatten()[: 2**24], 0.999)))
    gray = (low, high), unit, _gray
    rows = [
        _row("original", originals, *gray),
        _row("reconstruction", reconstructions, *gray),
        _row("absolute difference", difference / limit, (0.0, limit), unit, _heat),
    ]
    return torch.cat(rows, 1)


def _row(
    title: str, images: Tensor, ends: tuple[float, float], unit: str, colours: _Colours
) -> Tensor:
    tiles = colours(images.detach().float().cpu().clamp(0, 1))
    grid = make_grid(tiles, nrow=len(tiles), padding=_GAP, pad_value=1.0)
    _, height, width = grid.shape
    canvas = Image.new("RGB", (width + _BAR + _LABELS, height + _TITLE), "white")
    canvas.paste(to_pil_image(grid), (0, _TITLE))
    ramp = colours(torch.linspace(1, 0, height - 2 * _GAP)[None, None, :, None])
    canvas.paste(to_pil_image(ramp[0].expand(-1, -1, _BAR)), (width, _TITLE + _GAP))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=14)
    draw.text((_GAP, 2), title, fill="black", font=font)
    bottom, top = (f"{value:.4g} {unit}".strip() for value in ends)
    draw.text((width + _BAR + 4, _TITLE), top, fill="black", font=font)
    draw.text((width + _BAR + 4, height + _TITLE - 4), bottom, fill="black", font=font, anchor="ls")
    return pil_to_tensor(canvas)


def _gray(values: Tensor) -> Tensor:
    return values.expand(-1, 3, -1, -1)


def _heat(values: Tensor) -> Tensor:
    """Black, red, yellow, white."""
    return torch.cat([(3 * values - step).clamp(0, 1) for step in range(3)], 1)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 ... times a power of ten."""
    if not math.isfinite(value) or value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
