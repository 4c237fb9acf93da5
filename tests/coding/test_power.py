"""Gains that keep the mean power of blocks, and of what lies across them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.coding.power import BLOCK, gain_db, pack_gains
from sar_codec.errors import UserError

Decibels = NDArray[np.float32]
SIDE = 4 * BLOCK


def speckle(seed: int = 0, side: int = SIDE) -> Decibels:
    power = np.random.default_rng(seed).gamma(4, 0.25, (side, side))
    return (10 * np.log10(power) - 12).astype(np.float32)


def smoothed(decibels: Decibels) -> Decibels:
    """The mean of the logarithm, block by block: half a decibel too low."""
    blocks = decibels.reshape(SIDE // 8, 8, SIDE // 8, 8).mean((1, 3))
    return blocks.repeat(8, 0).repeat(8, 1)


def off_db(wanted: Decibels, found: Decibels, begin: int) -> Decibels:
    """Of blocks from a row and column on."""

    def sums(decibels: Decibels) -> NDArray[np.float64]:
        power = 10 ** (decibels[begin:, begin:].astype(np.float64) / 10)
        count = len(power) // BLOCK
        inner = power[: count * BLOCK, : count * BLOCK]
        return inner.reshape(count, BLOCK, count, BLOCK).sum((1, 3))

    return np.abs(10 * np.log10(sums(found) / sums(wanted)))


def with_lost_targets() -> tuple[Decibels, Decibels]:
    """What lacks a target in the upper left quarter of a block and has more of one in the lower."""
    wanted = speckle()
    found = smoothed(wanted)
    for row, before, after in ((BLOCK + 8, 22, 20), (BLOCK + 52, 20, 22)):
        wanted[row : row + 3, row : row + 3] = before
        found[row : row + 3, row : row + 3] = after
    return wanted, found


def test_blocks_have_the_power_of_the_original() -> None:
    wanted = speckle()
    found = smoothed(wanted)
    assert off_db(wanted, found, 0).min() > 0.3
    gains = pack_gains(wanted, found)
    found = found + gain_db(gains, wanted.shape)
    assert off_db(wanted, found, 0).max() < 0.05
    assert off_db(wanted, found, BLOCK // 2).max() < 0.15
    assert len(gains) < 40


def test_blocks_are_small_where_it_shows_across_them_and_there_is_room() -> None:
    wanted, found = with_lost_targets()
    large, small = (gain_db(pack_gains(wanted, found, room), wanted.shape) for room in (0, 1000))
    for gain in (large, small):
        assert off_db(wanted, found + gain, 0).max() < 0.1
    assert off_db(wanted, found + large, BLOCK // 2).max() > 0.5
    assert off_db(wanted, found + small, BLOCK // 2).max() < 0.1


def test_what_does_not_count_and_what_has_no_power_need_no_gain() -> None:
    wanted = np.full((70, 90), np.nan, np.float32)
    assert pack_gains(wanted, speckle(1, 128)[:70, :90]) == b""
    wanted[3, 5] = -12
    assert gain_db(pack_gains(wanted, wanted - 1), wanted.shape).max() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("size", [(1, 1), (64, 65), (8, 300), (33, 31)])
def test_tiles_of_any_size_have_gains(size: tuple[int, int]) -> None:
    wanted = speckle(2, 300)[: size[0], : size[1]]
    found = np.where(wanted < -12, wanted - 3, wanted + 1).astype(np.float32)
    gained = found + gain_db(pack_gains(wanted, found), wanted.shape)
    power, expected = (float((10 ** (each / 10)).mean()) for each in (gained, wanted))
    assert power == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("gains", [bytes([128]), bytes([255, 0, 0, 0, 0]), bytes([3, 1])])
def test_damaged_gains_are_refused(gains: bytes) -> None:
    with pytest.raises(UserError, match="gains of a tile are damaged"):
        gain_db(gains, (64, 64))


@pytest.mark.parametrize(
    ("gains", "block", "expected"),
    [
        ("25fe1e1c6e", 64, [[-0.11], [0.66]]),
        ("6e57a9e6e471ceb4ad", 32, [[1.88, 0.73], [0.73, -2.46], [0.61, 1.07], [0.6, 0.54]]),
    ],
    ids=["large", "small"],
)
def test_gains_that_were_written_once_are_read_as_ever(
    gains: str, block: int, expected: list[list[float]]
) -> None:
    found = gain_db(bytes.fromhex(gains), (128, 64))
    np.testing.assert_allclose(found[block // 2 :: block, block // 2 :: block], expected, atol=0.01)
