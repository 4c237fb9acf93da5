"""The ratio image, original over decoded power: what a codec took, which had best be speckle."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sar_codec.evaluation.radiometry import power
from sar_codec.evaluation.scenes import Scene

LAGS = range(4, 9)  # pixels; speckle of ground range products is uncorrelated at 3
_NOTHING_DB = 1e-4  # float32 decibels are no more exact


class Ratio(NamedTuple):
    """What the ratio image tells.

    Attributes:
        mean: 1 if only speckle was taken.
        structure: how much of the scene is left in it: the magnitude of the autocorrelation of
            its logarithm, the mean over lags of 4 to 8 pixels down and across. 0 if noise was
            taken, or nothing at all, or the same factor everywhere; 1 if what was taken is the
            same over many pixels. It is relative to what was taken, however little that is.
    """

    mean: float
    structure: float


def ratio(scene: Scene, decoded: NDArray[np.float32]) -> Ratio:
    """Of decoded decibels `(height, width)`, finite where the scene is valid.

    That nothing but speckle should be seen in a ratio image is what despeckling is judged by
    (Gomez et al. 2017, https://doi.org/10.3390/rs9040389).
    """
    return Ratio(mean_ratio(scene, decoded), _structure(scene, decoded))


def mean_ratio(scene: Scene, decoded: NDArray[np.float32]) -> float:
    """The mean of the ratio image, original over decoded power; 1 if only speckle was taken."""
    return float(power(scene.decibels[scene.valid] - decoded[scene.valid]).mean())


def _structure(scene: Scene, decoded: NDArray[np.float32]) -> float:
    """NaN where no two valid pixels are as far apart as the lags."""
    valid = scene.valid
    log_ratio = scene.decibels[valid].astype(np.float64) - decoded[valid]
    variance = log_ratio.var()
    if variance < _NOTHING_DB**2:
        return 0.0
    image = np.zeros(valid.shape)
    image[valid] = log_ratio - log_ratio.mean()
    correlations = []
    for values, counted in ((image, valid), (image.T, valid.T)):
        for lag in LAGS:
            pairs = np.count_nonzero(counted[lag:] & counted[:-lag])
            if pairs:
                covariance = (values[lag:] * values[:-lag]).sum() / pairs
                correlations.append(abs(covariance) / variance)
    return float(np.mean(correlations)) if correlations else float("nan")
