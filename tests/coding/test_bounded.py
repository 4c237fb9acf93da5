import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from test_repeats import resampled

import sar_codec
from sar_codec.coding.bounded import decode, encode
from sar_codec.coding.cells import Cells
from sar_codec.data.scaling import Quantity
from sar_codec.errors import UserError
from sar_codec.models.interlaced import Interlaced


@pytest.fixture(scope="module")
def model() -> Interlaced:
    torch.manual_seed(0)
    return Interlaced().eval().requires_grad_(False)  # as those of files are


def speckle(height: int, width: int, looks: float = 4.4, seed: int = 0) -> NDArray[np.float64]:
    """Power, of a scene that rises from left to right."""
    random = np.random.default_rng(seed)
    ramp = 10 ** np.linspace(-2, 0, width)
    return random.gamma(looks, 1 / looks, (height, width)) * ramp


def some(shape: tuple[int, int], share: float = 0.7) -> NDArray[np.bool_]:
    """A mask with a wedge and holes."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (np.random.default_rng(1).random(shape) < share) & (x + y > shape[1] // 3)


def returns(
    pixels: NDArray[Any], rule: Cells, model: Interlaced, valid: NDArray[np.bool_] | None = None
) -> bytes:
    """The bytes of a tile, after a check that they give it back."""
    valid = np.ones(pixels.shape, bool) if valid is None else valid
    numbers = rule.to_numbers(pixels, valid)
    data, expected = encode(numbers, valid, rule, model)
    decoded = decode(data, valid, rule, model)
    assert np.array_equal(decoded[valid], expected[valid])
    near = rule.ruler.are_near(torch.from_numpy(decoded[valid]), torch.from_numpy(numbers[valid]))
    assert near.all()
    assert encode(numbers, valid, rule, model)[0] == data
    return data


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 2), (2, 1), (1, 9), (7, 1), (3, 3), (5, 8), (17, 31), (64, 33), (129, 80)]
)
@pytest.mark.parametrize("masked", [False, True])
def test_tiles_of_any_size_come_back(
    size: tuple[int, int], masked: bool, model: Interlaced
) -> None:
    pixels = speckle(*size).astype(np.float32)
    returns(pixels, Cells("float32", "power", 0.5), model, some(size) if masked else None)


@pytest.mark.parametrize("error", [0.001, 0.05, 0.5, 3.0, 20.0])
@pytest.mark.parametrize(
    ("dtype", "quantity", "factor"),
    [
        ("float32", "power", 1.0),
        ("float32", "amplitude", 1e-30),
        ("float64", "db", 1.0),
        ("uint16", "amplitude", 60.0),
        ("uint8", "power", 20.0),
        ("int16", "amplitude", 3000.0),
    ],
)
def test_every_kind_of_data_comes_back_within_its_error(
    dtype: str, quantity: Quantity, factor: float, error: float, model: Interlaced
) -> None:
    power = speckle(41, 53)
    values = 10 * np.log10(power) if quantity == "db" else factor * power
    if np.issubdtype(np.dtype(dtype), np.integer):
        values = values.round().clip(0, np.iinfo(dtype).max)
    returns(values.astype(dtype), Cells(dtype, quantity, error), model)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
@pytest.mark.parametrize("kind", ["random", "extremes", "zeros", "speckle"])
def test_integers_come_back_as_they_were(dtype: str, kind: str, model: Interlaced) -> None:
    largest = int(np.iinfo(dtype).max)
    random = np.random.default_rng(0)
    pixels = {
        "random": random.integers(0, largest + 1, (45, 70)),
        "extremes": random.choice([0, 1, 2, largest], (45, 70)),
        "zeros": np.zeros((45, 70)),
        "speckle": np.sqrt(speckle(45, 70)) * largest / 8,
    }[kind].astype(dtype)
    rule = Cells(dtype, "amplitude", 0.0)
    data = returns(pixels, rule, model)
    decoded = decode(data, np.ones(pixels.shape, bool), rule, model)
    assert np.array_equal(rule.to_pixels(decoded), pixels)


def test_a_tile_without_valid_pixels_takes_a_few_bytes(model: Interlaced) -> None:
    valid = np.zeros((40, 50), bool)
    data = returns(np.full((40, 50), np.nan, np.float32), Cells("float32", "db", 1.0), model, valid)
    assert len(data) < 16


@pytest.mark.parametrize("corner", [True, False])
def test_a_single_valid_pixel_comes_back(corner: bool, model: Interlaced) -> None:
    valid = np.zeros((30, 50), bool)
    valid[(0, 0) if corner else (13, 37)] = True
    returns(np.where(valid, -350.0, np.nan), Cells("float64", "db", 0.1), model, valid)


@pytest.mark.parametrize(
    ("array", "quantity", "nodata", "error"),
    [
        (np.full((70, 80), 64000, np.uint16), "amplitude", 65535, 0.5),
        (np.random.default_rng(0).normal(0, 3, (128, 120)).astype(np.float32), "db", 0.0, 1.0),
        (np.random.default_rng(0).normal(0, 3, (128, 120)), "db", 0.0, 1.0),
        (np.random.default_rng(0).gamma(4, 0.25, (90, 90)).astype(np.float32), "power", 1.0, 1.0),
    ],
)
def test_no_pixel_becomes_nodata(
    array: NDArray[Any], quantity: Quantity, nodata: float, error: float, tiny_weights: Any
) -> None:
    model = tiny_weights["interlaced"]
    data = sar_codec.compress(array, quantity, max_error_db=error, nodata=nodata, model=model)
    assert not (sar_codec.decompress(data, model=model) == nodata).any()


def test_repeats_cost_next_to_nothing(model: Interlaced, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Cells("uint8", "amplitude", 0.0)
    pixels = 1 + 10 * resampled(256, 256).astype(np.uint8)
    with_pattern = returns(pixels, rule, model)
    returns(pixels.T.copy(), rule, model, some((256, 256)))
    monkeypatch.setattr("sar_codec.coding.bounded.found_repeats", lambda *_: [])
    assert len(with_pattern) < 0.87 * len(returns(pixels, rule, model))


def test_bytes_do_not_depend_on_how_many_pixels_are_told_at_once(
    model: Interlaced, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = speckle(150, 130).astype(np.float32)
    data = []
    for count in (1, 700, 10**6):
        monkeypatch.setattr("sar_codec.coding.bounded._PIXELS_AT_ONCE", count)
        data.append(returns(pixels, Cells("float32", "power", 0.25), model))
    assert data[0] == data[1] == data[2]


@pytest.mark.parametrize("place", ["mask", "whole", "nothing"])
def test_kernels_follow_where_tiles_are_large(place: str, model: Interlaced) -> None:
    size = (160, 120)
    pixels = speckle(*size).astype(np.float32)
    pixels[:, 1:] = (pixels[:, 1:] + pixels[:, :-1]) / 2
    valid = {"mask": some(size, 0.9), "whole": None, "nothing": some(size, 0.1)}[place]
    returns(pixels, Cells("float32", "power", 0.25), model, valid)


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    kind = random.integers(4)
    if kind == 0:
        return data[: random.integers(len(data))]
    if kind == 1:
        return data + random.bytes(4 * random.integers(1, 5))
    changed = np.frombuffer(data, np.uint8).copy()
    if kind == 2:
        changed[random.integers(len(data))] ^= 1 << random.integers(8)
    else:
        changed[random.integers(len(data)) :] = random.integers(256)
    return changed.tobytes()


@pytest.mark.parametrize("rule", [Cells("float32", "power", 1.0), Cells("uint16", "amplitude", 0)])
def test_damage_is_told_in_one_line(rule: Cells, model: Interlaced) -> None:
    pixels = np.concatenate([1 + 9 * resampled(96, 120)] * 1).astype(rule.dtype)
    valid = some(pixels.shape, 0.95)
    data, expected = encode(rule.to_numbers(pixels, valid), valid, rule, model)
    random = np.random.default_rng(0)
    for _ in range(25):
        bad = damaged(data, random)
        try:
            decoded = decode(bad, valid, rule, model)
        except UserError as error:
            assert "\n" not in str(error)
        else:  # what follows the last word of the symbols changes nothing
            assert np.array_equal(decoded[valid], expected[valid])


def test_another_rule_or_mask_or_model_is_noticed(model: Interlaced) -> None:
    rule, valid = Cells("float32", "power", 1.0), np.ones((40, 40), bool)
    numbers = rule.to_numbers(speckle(40, 40).astype(np.float32), valid)
    data, _ = encode(numbers, valid, rule, model)
    other = Interlaced().eval()
    with pytest.raises(UserError, match="another model"):
        decode(data, valid, rule, other)
    with pytest.raises(UserError, match="damaged"):
        decode(data, some((40, 40)), rule, model)
    with pytest.raises(UserError, match="damaged"):
        decode(data, valid, Cells("float32", "power", 0.1), model)


def test_sides_that_differ_are_refused(model: Interlaced) -> None:
    rule = Cells("float32", "power", 1.0)
    with pytest.raises(UserError, match="expected the same two sides"):
        encode(np.zeros((3, 4), np.int64), np.ones((4, 3), bool), rule, model)
    with pytest.raises(UserError, match="not 0"):
        decode(b"", np.ones((0, 3), bool), rule, model)


@pytest.mark.filterwarnings("ignore:TF32")  # what switching oneDNN off says without an Intel GPU
def test_threads_and_settings_of_torch_change_no_bit(model: Interlaced) -> None:
    rule, valid = Cells("float32", "power", 0.5), some((130, 141))
    numbers = rule.to_numbers(speckle(130, 141).astype(np.float32), valid)
    data, expected = encode(numbers, valid, rule, model)

    def comes_back() -> bool:
        return np.array_equal(decode(data, valid, rule, model)[valid], expected[valid])

    threads, matmul = torch.get_num_threads(), torch.backends.mkldnn.matmul
    for count in (1, 3):
        torch.set_num_threads(count)
        assert comes_back()
    torch.set_num_threads(threads)
    with torch.backends.mkldnn.flags(enabled=False):
        assert comes_back()
    with torch.autocast("cpu", torch.bfloat16):
        assert comes_back()
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "bf16"
        assert comes_back()
    finally:
        matmul.fp32_precision = before


READ = """
import sys, numpy, torch
from sar_codec.coding.bounded import decode
from sar_codec.coding.cells import Cells
from sar_codec.models.interlaced import Interlaced

model = Interlaced().eval()
model.load_state_dict(torch.load(sys.argv[1] + "/model.pth", weights_only=True))
file = numpy.load(sys.argv[1] + "/tile.npz")
decoded = decode(file["data"].tobytes(), file["valid"], Cells("float32", "power", 0.1), model)
assert (decoded == file["expected"])[file["valid"]].all()
print(torch.backends.cpu.get_cpu_capability())
"""


@pytest.mark.parametrize("processor", ["default", pytest.param("avx2", marks=pytest.mark.slow)])
def test_another_processor_reads_the_same_numbers(
    processor: str, model: Interlaced, tmp_path: Path
) -> None:
    rule, valid = Cells("float32", "power", 0.1), some((300, 320), 0.99)
    numbers = rule.to_numbers(speckle(300, 320).astype(np.float32), valid)
    data, expected = encode(numbers, valid, rule, model)
    tile = np.frombuffer(data, np.uint8)
    np.savez(tmp_path / "tile.npz", data=tile, valid=valid, expected=expected)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    settings = {
        "default": {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "SSE4_2"},
        "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"},
    }[processor]
    settings |= {
        "ATEN_CPU_CAPABILITY": processor,
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX",
    }
    command = [sys.executable, "-c", READ, str(tmp_path)]
    ended = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip().lower() == processor
