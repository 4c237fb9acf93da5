"""Power, amplitude, decibels and [0, 1]: the only place that knows decibels."""

from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

Quantity = Literal["power", "amplitude", "db"]
DECIBELS_PER_DECADE: dict[Quantity, float] = {"power": 10.0, "amplitude": 20.0}

Array = TypeVar("Array", NDArray[np.float32], NDArray[np.float64])


def to_decibels(values: NDArray[np.generic], quantity: Quantity) -> NDArray[np.float32]:
    """Decibels of power, float32; NaN where a value has none (zero, negative, NaN, infinite).

    Complex values are single-look complex data: the decibels of their squared modulus, whatever
    the quantity.
    """
    if np.iscomplexobj(values):
        values, quantity = np.abs(values), "amplitude"
    # Nodata values such as -1.8e308 become infinite, and NaN below.
    with np.errstate(over="ignore"):
        decibels = values.astype(np.float32)
    if quantity != "db":
        decibels[~(decibels > 0)] = np.nan
        # In place: a scene's strips are large, and this is most of the time of a survey.
        np.log10(decibels, out=decibels)
        decibels *= np.float32(DECIBELS_PER_DECADE[quantity])
    decibels[np.isinf(decibels)] = np.nan
    return decibels


def from_decibels(decibels: NDArray[np.float32], quantity: Quantity) -> NDArray[np.float32]:
    """The inverse of `to_decibels` for real values: power, amplitude or decibels, float32."""
    if quantity == "db":
        return decibels
    return np.power(np.float32(10), decibels / np.float32(DECIBELS_PER_DECADE[quantity]))


def to_unit(decibels: Array, vmin: float, vmax: float) -> Array:
    """Decibels mapped linearly, `vmin` to 0 and `vmax` to 1; not clipped."""
    values = decibels - decibels.dtype.type(vmin)
    values /= decibels.dtype.type(vmax - vmin)
    return values


def from_unit(values: Array, vmin: float, vmax: float) -> Array:
    """The inverse of `to_unit`."""
    decibels = values * values.dtype.type(vmax - vmin)
    decibels += values.dtype.type(vmin)
    return decibels
