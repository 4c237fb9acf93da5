"""Pixels whose power no gain gives back to their blocks, and files that keep them."""

import numpy as np
import pytest
from numpy.typing import NDArray

import sar_codec
from sar_codec import conversion
from sar_codec.coding.gains import BLOCK
from sar_codec.coding.lost import kept_power

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


def test_what_gains_cannot_give_back_is_found_and_nothing_else() -> None:
    wanted = (10 * np.log10(sea())).astype(np.float32)
    decoded = np.full_like(wanted, -20.4)
    assert not kept_power(wanted, decoded, 100).are_lost.any()
    wanted[30, 100] = wanted[90, 150] = 90
    wanted[5, 5] = np.nan
    gains, are_lost = kept_power(wanted, decoded, 100)
    assert are_lost[30, 100] and are_lost[90, 150] and not are_lost[5, 5]
    assert are_lost.sum() < 9
    assert gains


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
    # Sums of floating point numbers may end in another bit in a window of another size.
    np.testing.assert_allclose(window, sar_codec.decompress(data)[20:50, 90:130], rtol=1e-4)


def test_without_gains_nothing_is_kept() -> None:
    x = sea()
    x[30, 100] *= 1e11
    data = sar_codec.compress(x, "power", quality=1, keeps_power=False, verify=False)
    assert sar_codec.decompress(data)[30, 100] < 1e-3 * x[30, 100]


@pytest.mark.parametrize("quality", [1, 3, 6])
@pytest.mark.parametrize("above_db", [35, 100])
def test_targets_at_the_borders_of_tiles_keep_their_power_too(
    above_db: float, quality: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the decoder has latents of both tiles: one that guessed those beside would be off."""
    monkeypatch.setattr(conversion, "_TILE", BLOCK)
    x, rng = sea(), np.random.default_rng(1)
    for row, column in zip(rng.integers(0, HEIGHT - 2, 6), rng.integers(58, 69, 6), strict=True):
        x[row : row + 2, column : column + 3] *= 10 ** (above_db / 10)
    found = sar_codec.decompress(sar_codec.compress(x, "power", quality=quality, verify=False))
    assert np.abs(off_db(x, found)).max() < 0.1


def test_what_is_kept_is_counted_for_a_wanted_rate() -> None:
    x, rng = sea(), np.random.default_rng(1)
    x[rng.integers(0, HEIGHT, 20), rng.integers(0, WIDTH, 20)] *= 1e10
    data = sar_codec.compress(x, "power", target_bpp=0.4, verify=False)
    assert 8 * len(data) / x.size == pytest.approx(0.4, rel=0.1)


def test_few_pixels_are_kept_of_blocks_with_few_targets() -> None:
    x, rng = sea(), np.random.default_rng(2)
    where = rng.integers(0, HEIGHT, 12), rng.integers(0, WIDTH, 12)
    x[where] *= 10**8
    data = sar_codec.compress(x, "power", quality=1, verify=False)
    found = sar_codec.decompress(data)
    assert 6 <= (found == x).sum() <= 60


def test_integers_and_nodata_come_back_beside_what_is_kept() -> None:
    x = np.rint(100 * np.sqrt(sea() / 0.01)).astype(np.uint16)
    x[30, 100], x[90:, :40] = 65535, 0
    data = sar_codec.compress(x, "amplitude", quality=1, nodata=0, verify=False)
    found = sar_codec.decompress(data)
    assert np.array_equal(found == 0, x == 0)
    power, wanted = (each.astype(np.float32) ** 2 for each in (found, x))
    power[x == 0] = wanted[x == 0] = np.nan
    assert np.abs(off_db(wanted, power)).max() < 0.1
