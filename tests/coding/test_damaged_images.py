"""Mutated payloads and headers with right checksums, as anyone can make them.

Each ends in an error in one line, or in pixels of the right shape and type.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_container_damage import MUTATIONS, Mutation, mutated
from test_grids import taken_from_coarser

import sar_codec
from sar_codec import conversion
from sar_codec.coding.container import Reader, Tile, Writer
from sar_codec.coding.decompressing import Image
from sar_codec.coding.parts import Part
from sar_codec.errors import UserError
from sar_codec.networks import finder

Weights = dict[str, Path]
KINDS = "factorized", "interlaced", "gridded", pytest.param("hyperprior", marks=pytest.mark.slow)


class Original:
    """A file of 2 x 2 tiles of two bands and a mask, or on a grid, and what it decodes to."""

    def __init__(self, folder: Path, model: Path, kind: str) -> None:
        rng = np.random.default_rng(0)
        array = rng.gamma(4, 0.02, (2, 66, 80)).astype(np.float32)
        array[:, 10:30, 50:70] = np.nan
        how: dict[str, Any] = {"max_error_db": 0.5} if kind == "interlaced" else {"quality": 6}
        valid = rng.random((66, 80)) > 0.01
        if kind == "gridded":
            array, valid = taken_from_coarser(150, 160, bands=2), None
        data = sar_codec.compress(array, "power", valid=valid, model=model, **how)
        self.path, self.model = folder / "x.sarc", model
        self.path.write_bytes(data)
        with Reader(self.path) as file:
            self.header = file.header
            self.tiles = [file.tile(number) for number in range(file.tile_count)]
        self.pixels, damage = self.decoded(self.header, self.tiles)
        assert not damage

    def decoded(self, header: dict[str, Any], tiles: list[Tile]) -> tuple[NDArray[Any], list[str]]:
        """Pixels, and what was told of damaged tiles."""
        with Writer(self.path, overwrite=True) as writer:
            for tile in tiles:
                writer.add_tile(*tile)
            writer.finish(header)
        damage: list[str] = []
        find = finder(self.model)

        def told(_: int, error: UserError) -> None:
            damage.append(str(error))

        with Image(self.path, find, 1, 10**6, told) as image:
            height, width = image.header.raster.height, image.header.raster.width
            pixels = image.read(0, 0, height, width)
            image.read_validity(0, 0, height, width)
        return pixels, damage


@pytest.fixture(scope="module", params=KINDS)
def original(
    request: pytest.FixtureRequest, tiny_weights: Weights, memory_folder_of_module: Path
) -> Original:
    is_gridded = request.param == "gridded"
    model = tiny_weights["factorized" if is_gridded else request.param]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(conversion, "_TILE", 128 if is_gridded else 64)
        found = Original(memory_folder_of_module, model, request.param)
    assert ("grid" in found.header["about"]) == is_gridded
    return found


COUNTS = [4, pytest.param(500, marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.__name__)
def test_mutated_payloads_are_refused_or_decode(
    original: Original, mutation: Mutation, count: int
) -> None:
    rng = np.random.default_rng(count)
    for number in range(count):
        tiles = list(original.tiles)
        which = int(rng.integers(len(tiles)))
        payload = mutated(tiles[which].payload, mutation, rng)
        coded_only = number % 2 and which % 3 < 2
        if coded_only:
            part = Part.unpack(tiles[which].payload)
            payload = part._replace(coded=mutated(part.coded, mutation, rng)).pack()
        tiles[which] = Tile(payload, tiles[which].symbols_check)
        began = time.process_time()
        pixels, damage = original.decoded(original.header, tiles)
        assert time.process_time() - began < 2
        assert pixels.shape == original.pixels.shape and pixels.dtype == original.pixels.dtype
        assert all("\n" not in each and len(each) < 500 for each in damage)
        if coded_only and not damage:
            # To other bytes of the same symbols, as there may be after the last one.
            assert pixels.tobytes() == original.pixels.tobytes()


def replaced(value: Any, rng: np.random.Generator, odds: float) -> Any:
    """JSON with other values here and there."""
    if rng.random() < odds:
        others = [None, True, -1, 0, 1, 2**31, 2**62, 1e300, "", "nan", "x" * 300, [], {}, [1, 2]]
        return others[rng.integers(len(others))]
    if isinstance(value, dict):
        return {name: replaced(each, rng, odds) for name, each in value.items()}
    if isinstance(value, list):
        return [replaced(each, rng, odds) for each in value]
    if isinstance(value, int | float) and rng.random() < 4 * odds:
        return value * 2 if rng.random() < 0.5 else value + 1
    return value


@pytest.mark.parametrize("original", ["interlaced"], indirect=True)
def test_a_bound_that_the_type_cannot_have_is_told_with_the_file(original: Original) -> None:
    header = json.loads(json.dumps(original.header))
    header["about"]["max_error_db"] = 0.0  # of floating point
    with pytest.raises(UserError) as refusal:
        original.decoded(header, original.tiles)
    assert str(refusal.value).startswith(f"{original.path}: max_error_db=0.0 for float32")
    assert str(refusal.value).endswith("the file is damaged")


@pytest.mark.parametrize("count", [20, pytest.param(5000, marks=pytest.mark.slow)])
def test_mutated_headers_are_refused_or_decode(original: Original, count: int) -> None:
    rng, refused = np.random.default_rng(count), 0
    for _ in range(count):
        header = replaced(json.loads(json.dumps(original.header)), rng, 0.02)
        began = time.process_time()
        try:
            original.decoded(header if isinstance(header, dict) else {}, original.tiles)
        except UserError as error:
            refused += 1
            assert str(error).startswith(f"{original.path}: ") and "\n" not in str(error)
        assert time.process_time() - began < 2
    assert refused > count / 4
