"""A file that was written once decodes for ever, to the same pixels.

`python tests/coding/test_golden.py` writes the files anew, which only a new version of the format
is a reason for.
"""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

import sar_codec
from sar_codec.coding.pixels import Stored

sys.path.insert(0, str(Path(__file__).parent.parent))
from tiny_networks import write_weights

GOLDEN = Path(__file__).parent / "golden"
KIND = "hyperprior"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "w.safetensors"
    path.write_bytes(gzip.decompress((GOLDEN / "weights.safetensors.gz").read_bytes()))
    return path


def test_a_file_of_the_first_version_decodes_to_what_it_did(model: Path) -> None:
    expected = np.load(GOLDEN / "decoded.npy")
    with sar_codec.open(GOLDEN / "image.sarc", model=model) as image:
        found = image.read()
        valid = image.read_valid()
    assert found.dtype == expected.dtype == np.uint16 and found.shape == (2, 75, 90)
    stored = Stored(expected.dtype, "amplitude")
    before, after = (stored.to_decibels(each) for each in (expected, found))
    assert (np.isnan(after) == np.isnan(before)).all()
    # Pixels are rounded to whole numbers after what machines may round otherwise.
    near = np.abs(found.astype(int) - expected) <= 1
    assert near.all() and (found != expected).mean() < 0.01
    assert (valid == (np.indices((75, 90)).sum(0) % 11 > 0)).all()


def regenerate() -> None:
    GOLDEN.mkdir(exist_ok=True)
    model = write_weights(GOLDEN / "w.safetensors", KIND)
    rng = np.random.default_rng(0)
    array = (100 * np.sqrt(rng.gamma(4, 0.25, (2, 75, 90)))).astype(np.uint16)
    array[:, 20:40, 30:70] = 0
    valid = np.indices((75, 90)).sum(0) % 11 > 0
    data = sar_codec.compress(
        array, "amplitude", quality=6, nodata=0, valid=valid, model=model, threads=1
    )
    (GOLDEN / "image.sarc").write_bytes(data)
    np.save(GOLDEN / "decoded.npy", sar_codec.decompress(data, model=model))
    (GOLDEN / "weights.safetensors.gz").write_bytes(gzip.compress(model.read_bytes(), 9, mtime=0))
    model.unlink()


if __name__ == "__main__":
    regenerate()
