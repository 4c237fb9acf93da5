"""Gains that keep the mean power of blocks, and of what lies across them."""

import contextlib

import numpy as np
import pytest
from numpy.typing import NDArray

from sar_codec.coding.emphasis import AROUND
from sar_codec.coding.gains import BLOCK, emphasis, emphasised, gain_db
from sar_codec.coding.power import gains_of
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


def gained(found: Decibels, gains: bytes) -> Decibels:
    """As the decoder has it."""
    if not gains:
        return found
    return found + emphasised(gain_db(gains, found.shape), emphasis(found))


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
    gains = gains_of(wanted, found).data
    found = gained(found, gains)
    assert off_db(wanted, found, 0).max() < 0.05
    assert off_db(wanted, found, BLOCK // 2).max() < 0.15
    assert len(gains) < 40


def test_blocks_are_small_where_it_shows_across_them_and_there_is_room() -> None:
    wanted, found = with_lost_targets()
    large, small = (gained(found, gains_of(wanted, found, room).data) for room in (0, 1000))
    for each in (large, small):
        assert off_db(wanted, each, 0).max() < 0.1
    assert off_db(wanted, large, BLOCK // 2).max() > 0.5
    assert off_db(wanted, small, BLOCK // 2).max() < 0.1


def test_fields_keep_their_means_and_errors_are_smaller_than_with_even_gains() -> None:
    """Fields 6 dB apart, with texture, of which all is decoded but speckle."""
    texture = 2 * np.random.default_rng(1).standard_normal((SIDE // 4, SIDE // 4))
    found = texture.repeat(4, 0).repeat(4, 1).astype(np.float32) - 12
    found[:, SIDE // 2 - 24 :] += 6  # whose edge is within blocks
    wanted = found + speckle() - speckle().mean()
    lacks = off_db(wanted, found, 0).repeat(BLOCK, 0).repeat(BLOCK, 1)
    with_emphasis = gained(found, gains_of(wanted, found).data)
    errors = [
        float(((each - wanted) ** 2).mean()) for each in (found, found + lacks, with_emphasis)
    ]
    assert 0 < errors[2] - errors[0] < 0.85 * (errors[1] - errors[0])
    for columns in (slice(0, SIDE // 2 - 40), slice(SIDE // 2 - 8, SIDE)):
        power, expected = (
            float((10 ** (each[:, columns] / 10)).mean()) for each in (with_emphasis, wanted)
        )
        assert 10 * np.log10(power / expected) == pytest.approx(0, abs=0.05)


def test_emphasis_is_of_what_is_around_and_the_same_for_parts_of_a_tile() -> None:
    decibels = speckle(side=200)
    decibels[50, 60] = 30
    whole = emphasis(decibels)
    assert whole.shape == decibels.shape and whole.min() == 0.5 and whole[50, 60] == 8.5
    assert whole.mean() == pytest.approx(1.1, abs=0.1)
    assert emphasis(np.full((33, 50), -7, np.float32)) == pytest.approx(1)
    part = emphasis(decibels[32:, 48:])
    assert np.abs(part - whole[32:, 48:])[AROUND:, AROUND:].max() < 1e-5
    decibels[70, 90] = np.nan
    assert np.isfinite(emphasis(decibels)).sum() == decibels.size - 1


def test_gains_of_the_earlier_form_have_the_emphasis_of_then() -> None:
    x = np.full((48, 48), -10, np.float32)
    x[20, 20], x[20, 21], x[20, 22] = -9, -30, 30
    earlier, later = emphasis(x, bytes([127])), emphasis(x, bytes([128]))
    over = np.log(10) / 10  # one decibel, in nepers
    assert earlier[40, 40] == later[40, 40] == 1
    assert earlier[20, 20] == pytest.approx(1 + over, abs=0.03)
    assert later[20, 20] == pytest.approx(1 + over + over**2 / 2, abs=0.03)
    assert list(earlier[20, 21:23]) == [0.5, 2] and list(later[20, 21:23]) == [0.5, 8.5]


@pytest.mark.parametrize("decoded_db", [5, 20])
def test_a_target_of_which_most_was_lost_gets_it_back(decoded_db: float) -> None:
    """It has most of its block's power, and several times its gain."""
    wanted = speckle()
    found = smoothed(wanted)
    middle = slice(BLOCK + 30, BLOCK + 34)
    wanted[middle, middle], found[middle, middle] = 38, decoded_db
    assert off_db(wanted, gained(found, gains_of(wanted, found).data), 0).max() < 0.1


def test_some_dark_pixels_beside_what_is_bright_do_no_harm_to_other_blocks() -> None:
    """They hardly answer to the gain that their block has."""
    found = smoothed(speckle())
    found[:BLOCK, BLOCK:] += 12
    wanted = found + speckle(1) - speckle(1).mean()
    wanted[:BLOCK, :BLOCK] = np.nan
    for row, column, lost in ((3, 60, 0.3), (30, 63, 2), (31, 62, 1.5)):
        found[row, column] = -22
        wanted[row, column] = found[row, column] + lost
    gains = gains_of(wanted, found).data
    off = off_db(np.nan_to_num(wanted, nan=-99), gained(found, gains), 0)
    assert off[:, 1:].max() < 0.1 and np.abs(gain_db(gains, found.shape)).max() < 6


def test_what_does_not_count_and_what_has_no_power_need_no_gain() -> None:
    wanted = np.full((70, 90), np.nan, np.float32)
    assert gains_of(wanted, speckle(1, 128)[:70, :90]).data == b""
    wanted[3, 5] = -12
    decoded = np.full((70, 90), -13, np.float32)
    found = gained(decoded, gains_of(wanted, decoded).data)
    assert found[3, 5] == pytest.approx(-12, abs=0.06)


@pytest.mark.parametrize("side", [3, 1])
@pytest.mark.parametrize("lost_db", [5, 15, 20])
@pytest.mark.parametrize("corner", [96, 95, 64, 100])
def test_blocks_keep_their_power_where_a_target_is_half_lost(
    side: int, lost_db: float, corner: int
) -> None:
    """Between the middles of small blocks, or of large ones, and anywhere."""
    wanted = speckle()
    found = smoothed(wanted)
    target = (slice(corner, corner + side),) * 2
    wanted[target], found[target] = 20, 20 - lost_db
    for room in (1000, 20, 0):
        gains = gains_of(wanted, found, room).data
        assert off_db(wanted, gained(found, gains), 0).max() < 0.1


def test_a_scene_of_many_targets_keeps_the_power_of_blocks() -> None:
    rng = np.random.default_rng(0)
    wanted = speckle(3)
    found = smoothed(wanted)
    for _ in range(40):
        row, column = rng.integers(0, SIDE - 4, 2)
        peak, kept = rng.uniform(5, 35), rng.uniform(0, 1)
        wanted[row : row + 3, column : column + 2] = peak
        found[row : row + 3, column : column + 2] = -12 + kept * (peak + 12)
    for room in (1000, 30, 0):
        with np.errstate(all="raise"):
            gains = gains_of(wanted, found, room).data
        assert off_db(wanted, gained(found, gains), 0).max() < 0.1


def test_blocks_without_power_take_fewer_bits_than_others() -> None:
    wanted = speckle(2, 512)
    lost = 3 + np.random.default_rng(0).random((8, 8), np.float32)
    found = wanted - lost.repeat(64, 0).repeat(64, 1)
    whole = gains_of(wanted, found, 0).data
    wanted[:, 256:] = np.nan
    assert len(gains_of(wanted, found, 0).data) < len(whole)


@pytest.mark.parametrize("size", [(1, 1), (64, 65), (8, 300), (33, 31)])
def test_tiles_of_any_size_have_gains(size: tuple[int, int]) -> None:
    wanted = speckle(2, 300)[: size[0], : size[1]]
    found = np.where(wanted < -12, wanted - 3, wanted + 1).astype(np.float32)
    found = gained(found, gains_of(wanted, found).data)
    power, expected = (float((10 ** (each / 10)).mean()) for each in (found, wanted))
    assert power == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    "gains", [bytes([128]), bytes([128] + 5 * [255]), bytes([0] + 8 * [255]), bytes([128, 128, 0])]
)
def test_damaged_gains_are_refused(gains: bytes) -> None:
    with pytest.raises(UserError, match="gains of a tile are damaged"):
        gain_db(gains, (64, 64))


def test_whatever_gains_say_they_are_possible_ones() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        with contextlib.suppress(UserError):
            found = gain_db(rng.bytes(int(rng.integers(2, 60))), (200, 130))
            assert np.abs(found).max() <= 48.001


def test_gains_are_coarser_where_they_would_take_much_and_still_right() -> None:
    wanted = speckle(2, 512)
    found = wanted - 4 * np.random.default_rng(0).random((8, 8), np.float32).repeat(64, 0).repeat(
        64, 1
    )
    fine, coarse = gains_of(wanted, found).data, gains_of(wanted, found, 0).data
    assert len(coarse) < 0.8 * len(fine)
    assert off_db(wanted, gained(found, fine), 0).max() < 0.05
    assert off_db(wanted, gained(found, coarse), 0).max() < 0.1


@pytest.mark.parametrize(
    ("gains", "block", "expected"),
    [
        ("25fe1e1c6e", 64, [[-0.11], [0.66]]),
        ("6e57a9e6e471ceb4ad", 32, [[1.88, 0.73], [0.73, -2.46], [0.61, 1.07], [0.6, 0.54]]),
        ("a31086", 64, [[0.12], [0.72]]),
        ("9d098c", 64, [[0.12], [0.72]]),
        ("acbe01eade", 64, [[0.14], [-0.69]]),
        ("e7689e8a437ee0d7", 32, [[0.78, 0.42], [1.35, 0.72], [-0.01, 1.03], [2.15, 1.74]]),
    ],
    ids=["large, earlier", "small, earlier", "large", "in large units", "in small units", "small"],
)
def test_gains_that_were_written_once_are_read_as_ever(
    gains: str, block: int, expected: list[list[float]]
) -> None:
    found = gain_db(bytes.fromhex(gains), (128, 64))
    np.testing.assert_allclose(found[block // 2 :: block, block // 2 :: block], expected, atol=0.01)
