import numpy as np
import pytest

from sar_codec.coding.tiling import Tiling, Window

SIZES = [(1, 1), (64, 65), (512, 512), (1025, 3000), (3072, 3072), (200, 2100), (2500, 2500)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_tiles_cover_each_pixel_once(height: int, width: int) -> None:
    tiling = Tiling.of(height, width, 1024)
    covered = np.zeros((height, width), np.uint8)
    for number in range(tiling.count):
        window = tiling.window(number)
        assert 0 < window.height <= 1024 and 0 < window.width <= 1024
        assert window.row % 64 == window.column % 64 == 0
        covered[window.within(Window(0, 0, height, width))] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [
        (1024, 1024, 1, 1),
        (1025, 1024, 2, 1),
        (3072, 3072, 4, 3),
        (1000, 3000, 1, 4),
        (3000, 900, 4, 1),
        (5000, 3000, 6, 3),
        (3000, 5000, 3, 6),
        (5000, 5000, 5, 5),  # of many, one more or less does not matter
    ],
)
def test_a_few_tiles_are_an_even_number(height: int, width: int, rows: int, columns: int) -> None:
    tiling = Tiling.of(height, width, 1024)
    assert (tiling.rows, tiling.columns) == (rows, columns)


def test_a_window_touches_the_tiles_that_hold_its_pixels() -> None:
    tiling = Tiling(300, 300, 128, 64)
    for window in (Window(0, 0, 1, 1), Window(127, 63, 2, 2), Window(130, 70, 170, 230)):
        held = [
            number
            for number in range(tiling.count)
            if min(window.shared_with(tiling.window(number))[2:]) > 0
        ]
        assert list(tiling.touched(window)) == held
