"""Trained models in files: a run's checkpoint, or a file of weights that is passed on."""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sar_codec.errors import UserError
from sar_codec.files import write_whole

_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Trained:
    """A trained model, not yet built.

    Attributes:
        model: the config of the group model, with its `_target_`.
        preprocessing: `vmin` and `vmax` in dB, as checkpoints hold them.
        tensors: the model's state dict.
    """

    model: dict[str, Any]
    preprocessing: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def id(self) -> str:
        """SHA-256 of names, shapes and values of all tensors, and of the config: 64 hex digits."""
        digest = hashlib.sha256(_plain(self.model, self.preprocessing).encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def load(path: str | os.PathLike[str]) -> Trained:
    """What a checkpoint (its moving average, where it has one) or a `.safetensors` file holds.

    Raises:
        UserError: there is no such file, it is damaged, or it is neither.
    """
    path = Path(path)
    if path.suffix != _SUFFIX:
        from sar_codec.training import checkpoint

        state = checkpoint.load(path)
        tensors = state.ema_state_dict or state.model_state_dict
        config: dict[str, Any] = dict(state.config)
        return Trained(config["model"], state.preprocessing_params, tensors)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a checkpoint or a {_SUFFIX} file of weights")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["sar_codec"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
        trained = Trained(about["model"], about["preprocessing"], tensors)
        said = about["id"]
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: no weights of sar_codec ({reason})") from None
    if said != trained.id:
        raise UserError(f"{path}: the weights are damaged, their SHA-256 is another one")
    return trained


def pass_on(trained: Trained, path: str | os.PathLike[str]) -> None:
    """Writes a `.safetensors` file: the weights alone, a third of a checkpoint's size."""
    about = {"model": trained.model, "preprocessing": trained.preprocessing, "id": trained.id}
    tensors = {name: tensor.contiguous() for name, tensor in trained.tensors.items()}
    write_whole(Path(path), [save(tensors, {"sar_codec": json.dumps(about, sort_keys=True)})])


def _plain(*values: Any) -> str:
    return json.dumps(values, sort_keys=True)
