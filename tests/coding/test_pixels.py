"""Decibels to stored pixels, at the ends of types."""

import numpy as np
import pytest

from sar_codec.coding.pixels import Stored

LARGEST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("nodata", [LARGEST, -LARGEST])
def test_a_pixel_never_becomes_nodata_at_the_end_of_its_type(nodata: float) -> None:
    stored = Stored(np.dtype(np.float32), "db", nodata)
    found = stored.to_pixels(np.array([nodata, 5], np.float32))
    assert np.isfinite(found).all()
    assert not stored.is_nodata(found).any()
    assert found[0] == pytest.approx(nodata)
    assert found[1] == 5


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_what_a_scale_takes_out_of_the_type_stays_at_its_end(scale: float) -> None:
    stored = Stored(np.dtype(np.float32), "power", None, scale)
    found = stored.to_pixels(np.array([-300, 0, 300], np.float32))
    assert np.isfinite(found).all()
    assert (found >= 0).all()


@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_what_is_beyond_integers_becomes_the_largest(kind: str) -> None:
    dtype = np.dtype(kind)
    found = Stored(dtype, "power").to_pixels(np.array([10, 300], np.float32))
    assert found[0] == 10
    assert found[1] == pytest.approx(np.iinfo(dtype).max)
    found = Stored(dtype, "db").to_pixels(np.array([-1e30], np.float32))
    assert found[0] == pytest.approx(np.iinfo(dtype).min)


@pytest.mark.parametrize("nodata", [255, 254.0, 0])
def test_an_integer_that_is_nodata_is_not_measured(nodata: float) -> None:
    stored = Stored(np.dtype(np.uint8), "amplitude", nodata)
    found = stored.to_pixels(np.linspace(-100, 100, 500, dtype=np.float32))
    assert not stored.is_nodata(found).any() and found.min() == 1
