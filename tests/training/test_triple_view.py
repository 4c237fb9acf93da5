import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sar_codec.training.triple_view import LEVELS, _round_number_above, triple_view

HALF_A_LEVEL = 255 / (LEVELS - 1) / 2 + 0.5  # and the rounding of a colour


def tiles(picture: Image.Image, count: int, size: int) -> NDArray[np.uint8]:
    """The samples of the three rows: `(3, count, size, size)` as RGB means."""
    border = 2 if count > 1 else 0
    pixels = np.asarray(picture.convert("RGB")).mean(-1)
    rows = pixels.reshape(3, -1, pixels.shape[1])[:, 22 + border : 22 + border + size]
    columns = [rows[..., border + n * (size + 2) :][..., :size] for n in range(count)]
    return np.stack(columns, 1)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_originals_over_reconstructions_over_differences(count: int) -> None:
    levels = torch.linspace(0, 0.5, count)
    originals = levels[:, None, None, None].expand(-1, 1, 32, 32)
    view = tiles(triple_view(originals, originals + 0.5, (-30.0, 20.0)), count, 32)
    for column, level in enumerate(levels.tolist()):
        assert view[0, column] == pytest.approx(255 * level, abs=HALF_A_LEVEL)
        assert view[1, column] == pytest.approx(255 * (level + 0.5), abs=HALF_A_LEVEL)
    # 25 dB on a scale that ends at 50 dB: halfway from black over red and yellow to white.
    assert view[2] == pytest.approx(127.5, abs=HALF_A_LEVEL)


def test_equal_images_have_a_black_difference() -> None:
    x = torch.rand(2, 1, 16, 16)
    assert (tiles(triple_view(x, x, None), 2, 16)[2] == 0).all()


@pytest.mark.parametrize("window_db", [None, (14.77, 24.54)])
def test_every_row_has_a_scale_with_text(window_db: tuple[float, float] | None) -> None:
    x = torch.zeros(1, 1, 64, 64)
    pixels = np.asarray(triple_view(x, x, window_db).convert("L"))
    labels = pixels[:, -60:].reshape(3, -1, 60)
    assert all((row < 100).any() for row in labels)


def test_values_out_of_range_and_nan_do_not_stop_a_run() -> None:
    x = torch.full((1, 1, 8, 8), torch.nan)
    triple_view(x, x + 5, (-30.0, 20.0))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 1), (float("nan"), 1), (0.011, 0.02), (1.0, 1), (1.01, 2), (2.5, 5), (7, 10), (40, 50)],
)
def test_scales_end_at_round_numbers(value: float, expected: float) -> None:
    assert _round_number_above(value) == pytest.approx(expected)
