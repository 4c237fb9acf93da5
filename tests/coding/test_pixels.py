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
