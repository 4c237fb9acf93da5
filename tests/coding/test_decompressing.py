"""Windows of coded images, their seams, and the power of their blocks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sar_codec
from sar_codec import conversion
from sar_codec.coding.container import Reader
from sar_codec.coding.pixels import Stored
from sar_codec.data.scaling import Quantity
from sar_codec.networks import QUALITY

Weights = dict[str, Path]


def scene(height: int, width: int, seed: int = 0) -> NDArray[np.float32]:
    """Power of four looks on slow hills, with bright targets."""
    rng = np.random.default_rng(seed)
    hills_db = 4 * np.sin(np.arange(height) / 90)[:, None] - 12 + np.arange(width)[None] / 100
    power = 10 ** (hills_db / 10) * rng.gamma(4, 0.25, (height, width))
    power[::97, ::83] *= 200
    return power.astype(np.float32)


def decibels(array: NDArray[Any], quantity: Quantity = "power") -> NDArray[np.float64]:
    return Stored(array.dtype, quantity).to_decibels(array).astype(np.float64)


@pytest.mark.parametrize(
    ("kind", "how", "reach"),
    [
        # Up to 31 pixels more tell how gains are spread, and 16 what all these are.
        ("factorized", {}, 47),
        ("factorized", {"keeps_power": False}, 16),
        ("interlaced", {"max_error_db": 1.0}, 0),
        pytest.param("hyperprior", {}, 47, marks=pytest.mark.slow),
    ],
    ids=["with gains", "without gains", "bounded", "hyperprior"],
)
def test_a_window_is_that_of_the_whole_and_reads_only_its_tiles(
    kind: str,
    how: dict[str, Any],
    reach: int,
    tiny_weights: Weights,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversion, "_TILE", 64)
    array, model = np.stack([scene(130, 210), scene(130, 210, 1)]), tiny_weights[kind]
    array[:, 50:90, 100:150] = 0
    data = sar_codec.compress(array, "power", model=model, **how)
    whole = sar_codec.decompress(data, model=model)
    rng, count, read = np.random.default_rng(0), [0], Reader.tile

    def counted(self: Reader, number: int) -> Any:
        count[0] += 1
        return read(self, number)

    monkeypatch.setattr(Reader, "tile", counted)
    for _ in range(4):
        (row, below), (column, right) = (sorted(rng.integers(0, side, 2)) for side in (130, 210))
        window = int(row), int(column), int(below - row + 1), int(right - column + 1)
        count[0] = 0
        with sar_codec.open(data, model=model, threads=1) as image:
            found = image.read(window)
        expected = whole[:, row : below + 1, column : right + 1]
        assert ((found == 0) == (expected == 0)).all()
        known = found > 0
        error = decibels(found[known]) - decibels(expected[known])
        assert np.abs(error).max(initial=0) < 1e-4
        most = [2 + (side + 2 * reach - 2) // 64 for side in window[2:]]  # tiles
        assert count[0] <= 2 * most[0] * most[1]


@pytest.mark.parametrize("quality", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_no_seam_shows_between_tiles(quality: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "_TILE", 128)
    array = scene(640, 640)
    data = sar_codec.compress(array, "power", quality=quality, verify=False)
    error = np.abs(decibels(sar_codec.decompress(data)) - decibels(array))
    from_border = np.minimum(*np.meshgrid(*[np.abs((np.arange(640) + 64) % 128 - 64)] * 2))
    inside = np.ones_like(error, bool)
    inside[:16] = inside[-16:] = inside[:, :16] = inside[:, -16:] = False
    ratio = error[inside & (from_border < 8)].mean() / error[inside & (from_border >= 8)].mean()
    assert ratio == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("quality", [1, pytest.param(4, marks=pytest.mark.slow), 8])
@pytest.mark.parametrize("network", ["shipped", pytest.param("hyperprior", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_blocks_keep_their_mean_power(
    dtype: str,
    network: str,
    quality: float,
    tiny_weights: Weights,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conversion, "_TILE", 128)
    array, quantity = scene(256, 320), "power"
    if dtype == "uint16":
        array, quantity = (600 * np.sqrt(array)).clip(1, 65535).astype("uint16"), "amplitude"
    model = QUALITY if network == "shipped" else tiny_weights[network]
    data = sar_codec.compress(array, quantity, quality=quality, model=model, verify=False)
    found = sar_codec.decompress(data, model=model)
    for side in (64, 128):
        before, after = (
            (10 ** (decibels(each, quantity) / 10))
            .reshape(256 // side, side, -1, side)[:, :, : 320 // side]
            .mean((1, 3))
            for each in (array[:, : 320 // side * side], found[:, : 320 // side * side])
        )
        assert np.abs(10 * np.log10(after / before)).max() < 0.1
