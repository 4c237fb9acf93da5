"""Pixels as numbers, of which cells are as wide as a maximum error allows."""

import decimal
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sar_codec.coding.integer_ruler import IntegerRuler, Integers
from sar_codec.coding.pixels import Stored
from sar_codec.coding.rulers import LARGEST_NUMBER, STEPS_A_DB, EvenRuler, Ruler, WholeRuler
from sar_codec.data.scaling import DECIBELS_PER_DECADE, Quantity
from sar_codec.errors import UserError

LEAST_ERROR_DB = 0.001
LARGEST_ERROR_DB = 20.0
# Twice what a written value may be off: rounding to float32 moves power and amplitude by 2^-24 of
# their size, 5e-7 dB at most, and decibels below 512 by 2^-16; stepping over nodata, to the next
# float32, by twice that. A logarithm that another machine rounds otherwise is off by 1e-13 dB.
_MARGIN_DB = {"power": 2.0**-17, "amplitude": 2.0**-17, "db": 2.0**-13}
_LARGEST_DB = 512
_INTEGERS = ("uint8", "uint16", "int16")
_FLOATS = ("float32", "float64")
# Digits of what is computed exactly.
_DIGITS = decimal.Context(prec=60)


@dataclass(frozen=True)
class Cells:
    """A rule that makes numbers of pixels, and cells of these, each near one value of its own.

    Numbers of floating point data are decibels in units of 2^-20. Their cells have one width, a
    hair below twice the error, and what is decoded is written as float32. Integers are counted,
    without nodata, which so no pixel becomes; their cells are of integers that are near enough, or
    of one each where nothing may be off. Both lie around what is told of a pixel.

    Values, and which integers are near enough, are the same on every machine. `dataclasses.asdict`
    gives what a file needs of a rule.

    Args:
        dtype: of the data.
        quantity: of the data.
        max_error_db: what no pixel's decibels may be off by more than; 0 for integers only.
        nodata: an integer that no pixel may become, where any may be off.

    Raises:
        UserError: there is no such rule.
    """

    dtype: str
    quantity: Quantity
    max_error_db: float
    nodata: int | None = None

    def __post_init__(self) -> None:
        if self.dtype not in (*_INTEGERS, *_FLOATS):
            raise UserError(
                f"pixels of {self.dtype}: expected one of {', '.join((*_INTEGERS, *_FLOATS))}"
            )
        if self.quantity not in tuple(_MARGIN_DB):
            raise UserError(f"quantity={self.quantity}: expected power, amplitude or db")
        if self.is_integer and self.quantity == "db":
            raise UserError(
                f"decibels in {self.dtype}: expected floating point; convert them, or give the "
                "quantity that the integers are"
            )
        error = self.max_error_db
        if isinstance(error, bool) or not isinstance(error, int | float):
            raise UserError(f"max_error_db={error!r}: expected a number of decibels")
        if not LEAST_ERROR_DB <= error <= LARGEST_ERROR_DB and not (error == 0 and self.is_integer):
            raise UserError(
                f"max_error_db={error} for {self.dtype}: expected {LEAST_ERROR_DB} to "
                f"{LARGEST_ERROR_DB}, or 0 for integers"
            )

    @classmethod
    def of(cls, stored: Stored, max_error_db: float) -> "Cells":
        """The rule for a band."""
        nodata = None if stored.dtype.kind == "f" else stored.nodata_pixel
        whole = None if nodata is None else int(nodata)
        return cls(str(stored.dtype), stored.quantity, max_error_db, whole)

    @property
    def is_integer(self) -> bool:
        """Whether the data are integers."""
        return self.dtype in _INTEGERS

    @property
    def is_of_near_integers(self) -> bool:
        """Whether cells are of several integers."""
        return self.is_integer and self.max_error_db > 0

    def to_numbers(self, pixels: NDArray[np.generic], valid: NDArray[np.bool_]) -> Integers:
        """The number of each pixel, int64; 0 for those that are not valid.

        Args:
            pixels: of any shape.
            valid: of the same shape.

        Raises:
            UserError: valid pixels have no decibels, or the data are of another type.
        """
        if str(pixels.dtype) != self.dtype:
            raise UserError(f"pixels of {pixels.dtype}: expected {self.dtype}; convert them")
        if self.is_integer:
            self._check(valid, pixels.astype(np.int64) < 0, "negative")
            return np.where(valid, self._numbers[np.where(valid, pixels, 0)], 0)
        values = np.where(valid, pixels, 1).astype(np.float64)
        if self.quantity == "db":
            self._check(valid, ~(np.abs(values) <= _LARGEST_DB), f"not within {_LARGEST_DB} dB")
            decibels = values
        else:
            normal = np.finfo(np.float32)
            outside = ~((values >= float(normal.tiny)) & (values <= float(normal.max)))
            self._check(valid, outside, "no positive normal float32")
            decibels = np.log10(values) * DECIBELS_PER_DECADE[self.quantity]
        numbers = np.round(decibels * STEPS_A_DB).astype(np.int64)
        return np.where(valid, numbers, 0)

    def to_pixels(self, numbers: Integers) -> NDArray[np.generic]:
        """The values of numbers: of the data's type if integers, else float32."""
        if self.is_integer:
            return self._integers[np.clip(numbers, 0, len(self._integers) - 1)].astype(self.dtype)
        return self._values(np.clip(numbers, -LARGEST_NUMBER, LARGEST_NUMBER))

    @cached_property
    def ruler(self) -> Ruler:
        """Where numbers lie in decibels, and how wide cells are."""
        if not self.is_integer:
            margin = Fraction(_MARGIN_DB[self.quantity])
            return EvenRuler(int((2 * Fraction(self.max_error_db) - margin) * STEPS_A_DB))
        decade = DECIBELS_PER_DECADE[self.quantity]
        if self.max_error_db == 0:
            return WholeRuler(int(self._integers[-1]), decade)
        # What an integer may be times another one to be near enough, rounded down, times 2^64.
        exponent = Fraction(self.max_error_db) / int(decade)
        ratio = int(Fraction(_power_of_ten(exponent, decimal.ROUND_FLOOR)) * 2**64)
        return IntegerRuler(self._integers, decade, ratio)

    @cached_property
    def _integers(self) -> Integers:
        every = np.arange(np.iinfo(self.dtype).max + 1)
        return every if self.max_error_db == 0 else every[every != self.nodata]

    @cached_property
    def _numbers(self) -> Integers:
        """Of each integer from 0 on."""
        return np.searchsorted(self._integers, np.arange(np.iinfo(self.dtype).max + 1))

    def _values(self, numbers: Integers) -> NDArray[np.float32]:
        decibels = numbers * (1 / STEPS_A_DB)
        # Pixels lie within these limits, so what is decoded is nearer to them when held there.
        if self.quantity == "db":
            return decibels.clip(-_LARGEST_DB, _LARGEST_DB).astype(np.float32)
        normal = np.finfo(np.float32)
        decade = DECIBELS_PER_DECADE[self.quantity]
        with np.errstate(over="ignore", under="ignore"):
            powers = np.power(10.0, np.clip(decibels / decade, -60, 60))
            low, high = ((powers * (1 + sign * 2.0**-48)).astype(np.float32) for sign in (-1, 1))
        # Where the rounding to float32 hangs on the last bits, which machines may disagree on.
        critical = low != high
        if critical.any():
            some, which = np.unique(numbers[critical], return_inverse=True)
            exponents = [Fraction(int(each), STEPS_A_DB * int(decade)) for each in some]
            exact = [float(_power_of_ten(each, decimal.ROUND_HALF_EVEN)) for each in exponents]
            low[critical] = np.array(exact, np.float32)[which]
        return np.clip(low, normal.tiny, normal.max)

    def _check(self, valid: NDArray[np.bool_], bad: NDArray[np.bool_], what: str) -> None:
        if count := int((valid & bad).sum()):
            raise UserError(
                f"{count} valid pixels are {what}: they have no place in decibels; "
                "mark them as not valid"
            )


def _power_of_ten(exponent: Fraction, rounding: str) -> decimal.Decimal:
    context = decimal.Context(prec=_DIGITS.prec, rounding=rounding)
    power = context.divide(
        decimal.Decimal(exponent.numerator), decimal.Decimal(exponent.denominator)
    )
    return context.power(10, power)
