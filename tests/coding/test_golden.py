"""A file that was written once decodes for ever, to the same pixels.

`python tests/coding/test_golden.py quality`, or `bounded`, writes files anew, which only a new
version of the format is a reason for; those of the earlier one stay.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

import sar_codec
from sar_codec.coding import lossy
from sar_codec.coding.pixels import Stored

GOLDEN = Path(__file__).parent / "golden"
BOUNDED = {
    "bounded_float32": "bounded_float32",
    "bounded_uint16": "bounded_uint16",
    "bounded_near_uint16": "bounded_near_uint16",
    "bounded_small_uint16": "bounded_uint16",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return unpacked_weights("weights", tmp_path)


@pytest.mark.parametrize(("has_bf16", "most_differing"), [(True, 0.01), (False, 0.03)])
@pytest.mark.parametrize("name", ["quality_padded", "quality_short", "quality_large", "quality"])
def test_a_file_of_either_version_decodes_to_what_it_did(
    name: str, has_bf16: bool, most_differing: float, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are of a machine with bf16; what others decode differs by some 0.003 dB."""
    monkeypatch.setattr(lossy, "has_native_bf16", lambda _: has_bf16)
    expected = np.load(GOLDEN / f"{name}.npy")
    with sar_codec.open(GOLDEN / f"{name}.sarc", model=model) as image:
        found = image.read()
        valid = image.read_valid()
    assert found.dtype == expected.dtype == np.uint16 and found.shape == (2, 75, 90)
    stored = Stored(expected.dtype, "amplitude")
    before, after = (stored.to_decibels(each) for each in (expected, found))
    assert (np.isnan(after) == np.isnan(before)).all()
    # Pixels are rounded to whole numbers after what machines may round otherwise.
    near = np.abs(found.astype(int) - expected) <= 1
    assert near.all() and (found != expected).mean() < most_differing
    assert (valid == (np.indices((75, 90)).sum(0) % 11 > 0)).all()


@pytest.mark.parametrize(("name", "pixels"), BOUNDED.items())
def test_a_file_of_bounded_error_decodes_to_the_same_bits(
    name: str, pixels: str, tmp_path: Path
) -> None:
    model = unpacked_weights("bounded_weights", tmp_path)
    expected = np.load(GOLDEN / f"{pixels}.npy")
    found = sar_codec.decompress((GOLDEN / f"{name}.sarc").read_bytes(), model=model)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected, equal_nan=True)


def regenerate() -> None:
    model = unpacked_weights("weights", GOLDEN)
    rng = np.random.default_rng(0)
    array = (100 * np.sqrt(rng.gamma(4, 0.25, (2, 75, 90)))).astype(np.uint16)
    array[:, 20:40, 30:70] = 0
    valid = np.indices((75, 90)).sum(0) % 11 > 0
    data = sar_codec.compress(
        array, "amplitude", quality=6, nodata=0, valid=valid, model=model, threads=1
    )
    (GOLDEN / "quality.sarc").write_bytes(data)
    np.save(GOLDEN / "quality.npy", sar_codec.decompress(data, model=model))
    model.unlink()


def regenerate_bounded() -> None:
    model = unpacked_weights("bounded_weights", GOLDEN)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:104, :120]
    # Taken to a finer grid, as many as repeat, and large enough for kernels.
    array = rng.gamma(4, 0.25, (104, 120))[y, np.floor(0.8 * x - 0.03 * y + 4).astype(int)]
    array[30:50, 40:70] = np.nan
    pixels = np.nan_to_num(60 * np.sqrt(array)).astype(np.uint16)
    data = sar_codec.compress(pixels, "amplitude", max_error_db=0.0, model=model, threads=1)
    (GOLDEN / "bounded_small_uint16.sarc").write_bytes(data)
    model.unlink()


def unpacked_weights(name: str, folder: Path) -> Path:
    path = folder / "w.safetensors"
    path.write_bytes(gzip.decompress((GOLDEN / f"{name}.safetensors.gz").read_bytes()))
    return path


if __name__ == "__main__":
    {"quality": regenerate, "bounded": regenerate_bounded}[sys.argv[1]]()
