"""Rasters through .sarc files: nothing of what they say is lost, whatever their format."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from sar_codec import conversion
from sar_codec.conversion import Wanted, compress_file, decompress_file
from sar_codec.data.description import differences
from sar_codec.data.georaster import describe, stated_quantity
from sar_codec.data.raster import quiet
from sar_codec.errors import UserError

sys.path.insert(0, str(Path(__file__).parent / "data"))
from test_metadata import CASES, Case, said, source_of
from test_train_codec import TINY

from sar_codec.train import main as train

RunProgram = Callable[..., tuple[int, str]]
Weights = dict[str, Path]
SLOW = {"1 x 100000"}


def there_and_back(source: Path, folder: Path, model: Path) -> Path:
    try:
        quantity = None if stated_quantity(source) else "power"
    except UserError:  # bands that say different things
        pytest.skip("refused, as its bands hold different things")
    wanted = Wanted(quantity=quantity, model=model, workers=1)
    compress_file(source, folder / "a.sarc", wanted)
    decompress_file(folder / "a.sarc", folder / "b.tif", model, workers=1)
    return folder / "b.tif"


def said_besides_pixels(path: Path) -> dict[str, str]:
    ours = "tag 0  SAR_CODEC_"
    return {k: v for k, v in said(path).items() if k != "pixels" and not k.startswith(ours)}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[pytest.mark.slow] * (case.name in SLOW))
        for case in CASES
    ],
)
def test_all_that_a_raster_says_comes_back(
    case: Case, tmp_path: Path, tiny_weights: Weights
) -> None:
    source = source_of(case, tmp_path)
    target = there_and_back(source, tmp_path, tiny_weights["factorized"])
    assert said_besides_pixels(target) == said_besides_pixels(source)
    assert not list(differences(describe(source), describe(target)))


@pytest.mark.parametrize(
    "nodata",
    [0.0, pytest.param(None, marks=pytest.mark.slow), pytest.param(np.nan, marks=pytest.mark.slow)],
)
def test_masks_nodata_and_overviews_come_back(
    nodata: float | None, tmp_path: Path, tiny_weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_TILE", 64)
    array = np.random.default_rng(0).gamma(4, 0.02, (333, 200)).astype("float32")
    array[100:150, :70] = 0 if nodata is None else nodata
    source = tmp_path / "a.tif"
    size = {"height": 333, "width": 200, "count": 1, "dtype": "float32", "nodata": nodata}
    with quiet(), rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open(source, "w", driver="GTiff", **size) as target:
            target.write(array, 1)
            target.write_mask(array > 0.05)
        with rasterio.open(source, "r+") as target:
            target.build_overviews([2, 4], Resampling.nearest)
    target = there_and_back(source, tmp_path, tiny_weights["factorized"])
    assert said_besides_pixels(target) == said_besides_pixels(source)


@pytest.mark.parametrize("driver", ["ENVI", "PNG", "HFA"])
def test_other_formats_become_geotiffs(driver: str, tmp_path: Path, tiny_weights: Weights) -> None:
    source = tmp_path / "a"
    array = np.random.default_rng(0).integers(1, 2000, (1, 30, 40)).astype("uint16")
    with (
        quiet(),
        rasterio.open(
            source, "w", driver=driver, height=30, width=40, count=1, dtype="uint16"
        ) as target,
    ):
        target.write(array)
    target = there_and_back(source, tmp_path, tiny_weights["factorized"])
    with quiet(), rasterio.open(target) as found:
        assert found.driver == "GTiff" and found.dtypes == ("uint16",) and found.shape == (30, 40)
        assert found.tags()["SAR_CODEC_QUALITY"] == "5.0"


@pytest.mark.parametrize(
    ("band", "pattern"),
    [
        ("<Scale>0</Scale>", "a band of scale 0.0"),
        ("<Scale>nan</Scale>", "a band of scale nan"),
        ("<Offset>inf</Offset>", "and offset inf"),
    ],
)
def test_what_could_not_be_decoded_is_not_coded(
    band: str, pattern: str, tmp_path: Path, tiny_weights: Weights
) -> None:
    source = tmp_path / "a.vrt"
    source.write_text(
        '<VRTDataset rasterXSize="7" rasterYSize="5"><VRTRasterBand dataType="Byte" band="1">'
        f"{band}</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(UserError, match=pattern):
        there_and_back(source, tmp_path, tiny_weights["factorized"])
    assert [each.name for each in tmp_path.iterdir()] == ["a.vrt"]


def scene(path: Path, height: int, width: int, bands: int = 1) -> Path:
    """Digital numbers of a Sentinel-1 product, written strip by strip."""
    rng, size = np.random.default_rng(0), {"height": height, "width": width, "count": bands}
    looks = rng.gamma(4, 0.25, (64, width)).astype("float32")
    with quiet(), rasterio.open(path, "w", driver="GTiff", dtype="uint16", **size) as target:
        for row in range(0, height, 64):
            rows = min(64, height - row)
            strip = (150 * np.sqrt(np.roll(looks, row * 7, 1)))[:rows].clip(1, 65535)
            window = rasterio.windows.Window(0, row, width, rows)
            target.write(
                np.broadcast_to(strip.astype("uint16"), (bands, rows, width)), window=window
            )
    return path


def test_a_rate_that_is_wanted_is_what_the_file_takes(
    tmp_path: Path, tiny_weights: Weights
) -> None:
    source, model = scene(tmp_path / "a.tif", 500, 600), tiny_weights["factorized"]
    for bits in (0.1, 0.25):
        wanted = Wanted(target_bpp=bits, quantity="amplitude", model=model, workers=1)
        done = compress_file(source, tmp_path / f"{bits}.sarc", wanted, verifying=None)
        assert done.bits_per_pixel == pytest.approx(bits, rel=0.01)


def test_the_checkpoint_of_a_run_is_a_model(run_program: RunProgram, tmp_path: Path) -> None:
    assert run_program(train, *TINY, "model=factorized", "hydra.run.dir=run")[0] == 0
    source = scene(tmp_path / "a.tif", 70, 80)
    best = tmp_path / "run" / "checkpoints" / "best.pth"
    wanted = Wanted(quantity="amplitude", model=best, workers=1)
    compress_file(source, tmp_path / "a.sarc", wanted)
    decompress_file(tmp_path / "a.sarc", tmp_path / "b.tif", best, workers=1)
    with pytest.raises(UserError, match=r"a\.sarc: needs the model with the SHA-256"):
        decompress_file(tmp_path / "a.sarc", tmp_path / "c.tif")


CODE = """
import sys
from pathlib import Path
from sar_codec.conversion import Wanted, compress_file
source, target, model, threads = sys.argv[1:]
wanted = Wanted(quantity="amplitude", model=Path(model) if model else None, workers=int(threads))
compress_file(source, target, wanted, verifying=None)
"""


@pytest.mark.slow
def test_the_same_input_is_the_same_bytes_a_hundred_times_and_in_other_processes(
    tmp_path: Path, tiny_weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, model = scene(tmp_path / "a.tif", 300, 400), tiny_weights["hyperprior"]
    codes = set()
    for number in range(100):
        wanted = Wanted(quantity="amplitude", model=model, workers=1 + number % 5)
        compress_file(source, tmp_path / "a.sarc", wanted, overwrite=True, verifying=None)
        codes.add((tmp_path / "a.sarc").read_bytes())
    for threads in ("1", "4"):
        for inner in ("1", "3"):
            target = tmp_path / f"{threads}{inner}.sarc"
            command = [sys.executable, "-c", CODE, str(source), str(target), str(model), threads]
            subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": inner})
            codes.add(target.read_bytes())
    assert len(codes) == 1


MEMORY = """
import resource, sys, time
from pathlib import Path
from sar_codec.conversion import Wanted, compress_file, decompress_file
source, target, coded, way = sys.argv[1:]
if way == "compress":
    compress_file(source, coded, Wanted(quantity="amplitude", workers=2), verifying=None)
else:
    decompress_file(coded, target, workers=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("bands", "most_gb"), [(1, 3.0), (2, 4.0)])
def test_a_scene_as_wide_as_sentinel_1_takes_little_memory(
    bands: int, most_gb: float, tmp_path: Path
) -> None:
    paths = [str(scene(tmp_path / "a.tif", 2500, 26_000, bands))]
    paths += [str(tmp_path / "b.tif"), str(tmp_path / "a.sarc")]
    for way in ("compress", "decompress"):
        command = [sys.executable, "-c", MEMORY, *paths, way]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        assert float(done.stdout) < most_gb, f"{way}: {done.stdout} GB"
        print(f"{way} of {bands}: {done.stdout.strip()} GB")
