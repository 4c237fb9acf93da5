"""Plausible sigma0 scenes out of nothing but two numbers."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sar_codec.data.scaling import to_decibels

# Mean backscatter in dB as (VV, VH), after Sentinel-1 IW scenes.
WATER = (-21.0, -28.0)
FIELDS = (-10.5, -17.0)
FOREST = (-7.5, -13.0)
TOWN = (-4.0, -11.0)
ROAD = (-16.0, -23.0)
NOISE_FLOOR_DB = -32.0
BRIGHTEST_DB = 25.0

Field = NDArray[np.float32]


def scene(
    seed: int, index: int, size: int = 512, looks: float = 5.5, correlation: float = 0.7
) -> Field:
    """Scene number `index` of the series `seed`: sigma0 as linear power, `(size, size)` float32.

    A pure function. Water, forest, towns and ploughed land lie where smooth random fields say;
    land is cut into plots with a backscatter each, crossed by roads; towns hold point targets of up
    to 25 dB. All but the point targets is multiplied by Gamma speckle. A scene is VV or VH.

    Args:
        seed: names the series.
        index: the scene in the series.
        size: rows and columns.
        looks: equivalent number of looks of the speckle, a multiple of 1/2.
        correlation: of neighbouring pixels' speckle intensity, along rows and columns; 0.65 to 0.7
            in geocoded Sentinel-1 IW products, 0 in single-look data.
    """
    rng = np.random.default_rng([seed, index])
    polarisation = int(rng.integers(2))
    decibels = _plots(rng, size, FIELDS[polarisation])
    # Quantiles, so that covers vary from scene to scene but none fills a scene.
    forest = _above_quantile(_smooth_noise(rng, size, 1.6), rng.uniform(0.6, 0.9))
    decibels[forest] = FOREST[polarisation] + _smooth_noise(rng, size, 1.0)[forest] * 0.8
    decibels[_roads(rng, size)] = ROAD[polarisation]
    town = _above_quantile(_smooth_noise(rng, size, 1.8), rng.uniform(0.85, 0.98))
    buildings = rng.gamma(1.0, size=(size, size)).astype(np.float32)
    decibels[town] = TOWN[polarisation] + 10 * np.log10(buildings[town] + 0.05)
    water = _above_quantile(_smooth_noise(rng, size, 2.0), rng.uniform(0.7, 0.98))
    waves = 0.7 * _smooth_noise(rng, size, 1.2)[water]
    decibels[water] = WATER[polarisation] + rng.normal(0, 1.5) + waves
    decibels += rng.normal(0, 0.8)  # moisture, incidence angle

    power = 10 ** (decibels / 10) + np.float32(10 ** (NOISE_FLOOR_DB / 10))
    power *= speckle(rng, size, looks, correlation)
    return (power + _point_targets(rng, town & ~water, polarisation)).astype(np.float32)


def speckle(rng: np.random.Generator, size: int, looks: float, correlation: float) -> Field:
    """Gamma-distributed speckle of mean 1 and variance 1/looks, `(size, size)` float32.

    The mean of `2 looks` squared Gaussian fields: exact for multiples of 1/2, and the intensity's
    correlation is the square of the fields'.
    """
    kernel = _kernel_for(correlation)
    reach = len(kernel) // 2
    fields = round(2 * looks)
    total = np.zeros((size, size), np.float32)
    for _ in range(fields):
        field = rng.standard_normal((size + 2 * reach, size + 2 * reach), np.float32)
        total += _filtered(_filtered(field, kernel).T, kernel) ** 2
    return total / np.float32(fields)


def _kernel_for(correlation: float) -> Field:
    """A Gaussian, of unit energy, that gives white noise this squared correlation at lag 1."""
    if correlation < 0.01:
        return np.ones(1, np.float32)
    if correlation < 0.4:
        # So narrow a Gaussian, sampled, would give less than asked; of three taps it is exact.
        side = (1 - np.sqrt(1 - 2 * correlation)) / (2 * np.sqrt(correlation))
        kernel = np.array([side, 1.0, side])
    else:
        sigma = np.sqrt(-1 / (2 * np.log(correlation)))
        reach = int(np.ceil(3 * sigma))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return (kernel / np.sqrt((kernel**2).sum())).astype(np.float32)


def _filtered(field: Field, kernel: Field) -> Field:
    rows = field.shape[0] - len(kernel) + 1
    result = kernel[0] * field[:rows]
    for offset in range(1, len(kernel)):
        result += kernel[offset] * field[offset : offset + rows]
    return result


def _smooth_noise(rng: np.random.Generator, size: int, roughness: float) -> Field:
    """Gaussian noise, mean 0 and variance 1, with a spectrum that falls as f^-roughness."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * frequency**-roughness
    noise = np.fft.irfft2(spectrum, (size, size))
    # A single pixel has no variance to divide by.
    return (noise / (noise.std() or 1.0)).astype(np.float32)


def _above_quantile(field: Field, quantile: float) -> NDArray[np.bool_]:
    return field > np.quantile(field, quantile)


def _plots(rng: np.random.Generator, size: int, mean_db: float) -> Field:
    """A patchwork in strips of plots, turned by a random angle: decibels."""
    angle = rng.uniform(0, np.pi)
    row, column = np.mgrid[:size, :size]
    along = row * np.cos(angle) + column * np.sin(angle)
    across = column * np.cos(angle) - row * np.sin(angle)
    strips = np.cumsum(rng.uniform(20, 80, size=200)) - 2 * size
    strip = np.searchsorted(strips, across)
    lengths = rng.uniform(25, 120, size=len(strips) + 1)
    plot = np.floor((along + 2 * size) / lengths[strip]).astype(np.int64)
    backscatter = rng.normal(mean_db, 2.2, size=(len(strips) + 1, plot.max() + 1))
    return backscatter[strip, plot].astype(np.float32)


def _roads(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    row, column = np.mgrid[:size, :size]
    on_road = np.zeros((size, size), bool)
    for _ in range(int(rng.integers(1, 5))):
        angle = rng.uniform(0, np.pi)
        offset = rng.uniform(0, size)
        bend = rng.uniform(0, 15) * np.sin(row / rng.uniform(30, 100))
        distance = (row - offset) * np.cos(angle) + (column - offset + bend) * np.sin(angle)
        on_road |= np.abs(distance) < rng.uniform(0.8, 1.8)
    return on_road


def _point_targets(
    rng: np.random.Generator, town: NDArray[np.bool_], polarisation: int
) -> NDArray[np.float64]:
    """Targets of 0 to 25 dB at their peak (7 dB less in VH), most of them in towns."""
    size = len(town)
    in_town = np.argwhere(town)
    count = max(1, len(in_town) // 60)
    places = np.concatenate(
        [
            rng.integers(0, size, size=(3, 2)),
            in_town[rng.integers(0, len(in_town), size=count)] if len(in_town) else in_town,
        ]
    )
    peaks_db = np.minimum(rng.exponential(6.0, size=len(places)), BRIGHTEST_DB) - 7 * polarisation
    spread = np.array([0.05, 0.55, 1.0, 0.55, 0.05])
    response = np.outer(spread, spread)
    padded = np.zeros((size + 4, size + 4))
    for (row, column), peak in zip(places, 10 ** (peaks_db / 10), strict=True):
        window = padded[row : row + 5, column : column + 5]
        np.maximum(window, peak * response, out=window)
    return padded[2:-2, 2:-2]


@dataclass(frozen=True)
class SyntheticScene:
    """A scene of `scene`, to be read window by window like a band of a file.

    It is made when it is first read and stays in memory from then on.
    """

    seed: int
    index: int
    size: int
    looks: float
    correlation: float
    footprint: None = None

    @property
    def name(self) -> str:
        return f"synthetic scene {self.index} of seed {self.seed}"

    @property
    def place(self) -> str:
        return self.name

    @property
    def height(self) -> int:
        return self.size

    @property
    def width(self) -> int:
        return self.size

    def read(self, row: int, column: int, height: int, width: int) -> NDArray[np.float32]:
        """Decibels of a window, `(height, width)` float32."""
        return self._decibels[row : row + height, column : column + width]

    @cached_property
    def _decibels(self) -> Field:
        whole = scene(self.seed, self.index, self.size, self.looks, self.correlation)
        return to_decibels(whole, "power")
