"""Pixels whose power no gain gives back to their blocks, and files that keep them."""

import numpy as np
import pytest
from numpy.typing import NDArray

import sar_codec
from sar_codec.coding.gains import BLOCK
from sar_codec.coding.lost import lost

HEIGHT, WIDTH = 2 * BLOCK + 20, 3 * BLOCK


def sea(seed: int = 0) -> NDArray[np.float32]:
    power = np.random.default_rng(seed).gamma(5, 0.2, (HEIGHT, WIDTH)) * 0.01
    return power.astype(np.float32)


def off_db(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> list[float]:
    """Of the mean power of each block."""
    off = []
    for row in range(0, HEIGHT, BLOCK):
        for column in range(0, WIDTH, BLOCK):
            blocks = (each[row : row + BLOCK, column : column + BLOCK] for each in (found, wanted))
            means = [np.nanmean(each.astype(np.float64)) for each in blocks]
            off.append(float(10 * np.log10(means[0] / means[1])))
    return off


def test_of_blocks_that_are_off_the_worst_pixels_are_found() -> None:
    wanted = np.full((HEIGHT, WIDTH), -20, np.float32)
    decoded = wanted.copy()
    wanted[3, 5], wanted[4, 5], wanted[BLOCK + 1, 7] = 40, 39, 10.5
    decoded[3, 5], decoded[4, 5], decoded[BLOCK + 1, 7] = 20, 20, 10.45
    wanted[BLOCK:, BLOCK:] = np.nan
    for count, expected in ((1, [[3, 5]]), (2, [[3, 5], [4, 5]])):
        assert np.argwhere(lost(wanted, decoded, b"", count)).tolist() == expected
    all_of_them = lost(wanted, decoded, b"", BLOCK**2)
    assert all_of_them[:BLOCK, :BLOCK].all()
    assert all_of_them.sum() == BLOCK**2
    wanted[1, 1] = np.nan  # which is not there to be lost
    assert lost(wanted, decoded, b"", BLOCK**2).sum() == BLOCK**2 - 1
    assert not lost(decoded, decoded, b"", 9).any()


@pytest.mark.parametrize("quality", [1, 2])
@pytest.mark.parametrize(("targets", "above_db"), [(1, 80), (1, 110), (12, 80), (12, 110)])
def test_blocks_keep_their_power_however_strong_targets_are(
    targets: int, above_db: float, quality: float
) -> None:
    x, rng = sea(), np.random.default_rng(targets)
    where = rng.integers(0, HEIGHT, targets), rng.integers(0, WIDTH, targets)
    x[where] *= 10 ** (above_db * rng.uniform(0.9, 1, targets).astype(np.float32) / 10)
    x[70:80, 60:90] = np.nan
    found = sar_codec.decompress(sar_codec.compress(x, "power", quality=quality, verify=False))
    assert np.array_equal(np.isnan(found), np.isnan(x))
    assert np.abs(off_db(x, found)).max() < 0.1
    assert (found[where] == x[where]).any()


def test_few_dark_pixels_beside_what_is_bright_keep_their_power() -> None:
    x = 100 * sea()
    x[BLOCK : 2 * BLOCK, BLOCK : 2 * BLOCK] = np.nan
    x[BLOCK : BLOCK + 2, BLOCK : BLOCK + 3] = 1e-4
    x[2 * BLOCK - 1, 2 * BLOCK - 1] = 1e3
    found = sar_codec.decompress(sar_codec.compress(x, "power", quality=1, verify=False))
    assert np.abs(off_db(x, found)).max() < 0.1


def test_windows_have_what_was_kept() -> None:
    x = sea()
    x[30, 100] *= 1e11
    data = sar_codec.compress(x, "power", quality=1, verify=False)
    with sar_codec.open(data) as image:
        window = image.read((20, 90, 30, 40))
    assert window[10, 10] == x[30, 100]
    assert np.array_equal(window, sar_codec.decompress(data)[20:50, 90:130])


def test_without_gains_nothing_is_kept() -> None:
    x = sea()
    x[30, 100] *= 1e11
    data = sar_codec.compress(x, "power", quality=1, keeps_power=False, verify=False)
    assert sar_codec.decompress(data)[30, 100] < 1e-3 * x[30, 100]
