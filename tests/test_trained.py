from pathlib import Path

import pytest
import torch

from sar_codec.errors import UserError
from sar_codec.trained import Trained, load, pass_on

TRAINED = Trained(
    {"_target_": "sar_codec.models.factorized.Factorized", "width": 8},
    {"vmin": -50.0, "vmax": 30.0},
    {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])},
)


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    pass_on(TRAINED, path)
    found = load(path)
    assert (found.model, found.preprocessing) == (TRAINED.model, TRAINED.preprocessing)
    assert all(torch.equal(found.tensors[name], TRAINED.tensors[name]) for name in ("a", "b"))
    assert found.id == TRAINED.id


def test_an_id_is_of_everything_that_decoding_depends_on() -> None:
    tensors = {"a": TRAINED.tensors["a"].clone(), "b": TRAINED.tensors["b"]}
    tensors["a"][1, 2] += 1e-6
    others = [
        Trained({**TRAINED.model, "width": 9}, TRAINED.preprocessing, TRAINED.tensors),
        Trained(TRAINED.model, {"vmin": -50.0, "vmax": 31.0}, TRAINED.tensors),
        Trained(TRAINED.model, TRAINED.preprocessing, tensors),
    ]
    assert len({TRAINED.id, *(other.id for other in others)}) == 4


@pytest.mark.parametrize("kind", ["missing", "cut", "flipped", "foreign", "empty"])
def test_what_are_no_weights_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "w.safetensors"
    pass_on(TRAINED, path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    contents = {"cut": data[:-9], "flipped": data, "foreign": b"II*\0" * 9, "empty": b""}
    path.unlink()
    if kind in contents:
        path.write_bytes(contents[kind])
    with pytest.raises(UserError, match=r"w\.safetensors"):
        load(path)
