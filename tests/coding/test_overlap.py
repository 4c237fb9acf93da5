"""Where blocks overlap, pixels are told by two of them: at edges, beside nothing, beside damage."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import sar_codec
from sar_codec import conversion
from sar_codec.coding.container import Reader, Tile, Writer
from sar_codec.coding.decompressing import Image
from sar_codec.coding.lossy import Network
from sar_codec.coding.pixels import filled
from sar_codec.config import build
from sar_codec.errors import UserError
from sar_codec.models.hyperprior import Hyperprior
from sar_codec.models.lapping import HALF, lapping
from sar_codec.networks import finder, network_of
from sar_codec.trained import Trained, pass_on

TILE = 64
LEFT, RIGHT = slice(48, 144), slice(112, 208)  # what two tiles see, with 16 pixels around each


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transform that overlaps, as none does that knows its mirror image, and nothing else."""
    torch.manual_seed(0)
    config = {
        "_target_": "sar_codec.models.hyperprior.Hyperprior",
        "width": 4,
        "analysis_depth": 0,
        "synthesis_depth": 0,
        "hyper_channels": 4,
        "hyper_width": 4,
        "context_width": 4,
        "lapped": True,
    }
    model = build(config, "model")
    assert isinstance(model, Hyperprior)
    matrix = lapping() + 0.05 * torch.randn(2 * HALF, 2 * HALF)
    with torch.no_grad():
        for side, weight in ((model.analysis, matrix), (model.synthesis, matrix.inverse())):
            assert side.across is not None
            side.across.weight.copy_(2 * HALF * weight)
    path = tmp_path_factory.mktemp("weights") / "overlapping.safetensors"
    pass_on(Trained(config, {"vmin": -50.0, "vmax": 30.0}, model.eval().state_dict()), path)
    return path


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "_TILE", TILE)


def speckle(height: int, width: int) -> NDArray[np.float32]:
    """In decibels, far from the middle of what a network knows."""
    rng = np.random.default_rng(0)
    return 10 * np.log10(rng.gamma(5, 1e-3, (height, width))).astype(np.float32)


def coded(
    decibels: NDArray[np.float32], weights: Path, path: Path, keeps_power: bool = False
) -> None:
    data = sar_codec.compress(decibels, "db", quality=7, keeps_power=keeps_power, model=weights)
    path.write_bytes(data)


def root_mean_square(errors: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(errors**2)))


@pytest.mark.parametrize("size", [(150, 141), (80, 208), (64, 129)])
def test_edges_are_as_right_as_what_is_inside(
    size: tuple[int, int], weights: Path, tmp_path: Path
) -> None:
    decibels, path = speckle(*size), tmp_path / "x.sarc"
    coded(decibels, weights, path)
    with sar_codec.open(path, model=weights) as image:
        errors = image.read() - decibels
    inside = root_mean_square(errors[16:48, 16:112])
    assert inside < 0.3
    for edge in (errors[:HALF], errors[-HALF:], errors[:, :HALF], errors[:, -HALF:]):
        assert root_mean_square(edge) < 1.2 * inside


def test_a_model_alone_gives_edges_back_too(weights: Path) -> None:
    network = network_of(weights)
    assert isinstance(network, Network)
    model = network.model
    x = torch.from_numpy(speckle(144, 80) + 50)[None, None] / 80
    decoded = model.decompress(model.compress(x, 7), 7, 144, 80)
    with torch.no_grad():
        validated = model(x.expand(8, -1, -1, -1))[0][3]  # of the seventh level
    torch.testing.assert_close(decoded[0], validated, atol=1e-4, rtol=0)
    errors = 80 * (decoded - x)[0, 0].numpy()
    inside = root_mean_square(errors[16:-16, 16:-16])
    assert root_mean_square(errors[-HALF:]) < 1.2 * inside
    assert root_mean_square(errors[:, -HALF:]) < 1.2 * inside


@pytest.mark.parametrize("keeps_power", [False, True])
@pytest.mark.parametrize("less", [0, 3])
@pytest.mark.parametrize("level", [0, -15])
def test_pixels_beside_a_tile_of_nothing_are_right(
    level: int, less: int, keeps_power: bool, weights: Path, tmp_path: Path
) -> None:
    decibels, path = speckle(2 * TILE, 4 * TILE) + level, tmp_path / "x.sarc"
    end = 2 * TILE - less
    decibels[:, end:] = np.nan
    decibels[:24, 100:] = np.nan
    coded(decibels, weights, path, keeps_power)
    with sar_codec.open(path, model=weights) as image:
        found = image.read()
    assert np.array_equal(np.isnan(found), np.isnan(decibels))
    errors = found - decibels
    inside = root_mean_square(errors[32:-16, 16:96])
    assert root_mean_square(errors[32:-16, end - HALF : end]) < 1.7 * inside
    assert root_mean_square(errors[24 : 24 + HALF, 100:end]) < 1.7 * inside
    with Reader(path) as file:
        sizes = [len(file.tile(number).payload) for number in range(file.tile_count)]
    assert sizes[3] < 100 < sizes[2] < sizes[1]


def test_pixels_that_a_damaged_tile_would_have_told_are_lost(weights: Path, tmp_path: Path) -> None:
    decibels, path = speckle(2 * TILE, 3 * TILE), tmp_path / "x.sarc"
    coded(decibels, weights, path)
    with sar_codec.open(path, model=weights) as image:
        whole = image.read()
    with Reader(path) as file:
        header, tiles = file.header, [file.tile(number) for number in range(file.tile_count)]
    tiles[1] = Tile(tiles[1].payload, tiles[1].symbols_check ^ 1)
    with Writer(path, overwrite=True) as writer:
        for tile in tiles:
            writer.add_tile(*tile)
        writer.finish(header)
    told: list[UserError] = []
    with Image(path, finder(weights), 1, on_damage=lambda _, error: told.append(error)) as damaged:
        found = damaged.read(0, 0, *decibels.shape)[0]
        part = damaged.read(70, 50, 30, 60)[0]
    assert len(told) == 1
    lost = np.zeros(decibels.shape, np.bool_)
    lost[: TILE + HALF, TILE - HALF : 2 * TILE + HALF] = True
    assert np.array_equal(np.isnan(found), lost)
    np.testing.assert_allclose(found[~lost], whole[~lost], atol=1e-4)
    np.testing.assert_allclose(part, found[70:100, 50:110], atol=1e-4)


def test_both_tiles_beside_a_border_see_the_same_where_there_is_nothing(weights: Path) -> None:
    network = network_of(weights)
    assert isinstance(network, Network)
    decibels = speckle(TILE, 256)
    decibels[:, 125:] = np.nan
    decibels[10:30, 150:190] = -5
    left, right = (filled(network.with_nothing(decibels[:, each])) for each in (LEFT, RIGHT))
    assert np.array_equal(left[:, 112 - LEFT.start :], right[:, : LEFT.stop - RIGHT.start])
    assert np.isfinite(right).all()
    known = np.isfinite(decibels[:, RIGHT])
    assert np.array_equal(right[known], decibels[:, RIGHT][known])
    odd = network.with_nothing(decibels[:33, 125:133])
    assert odd.shape == (33, 8)
    assert (odd == (network.vmin + network.vmax) / 2).all()
