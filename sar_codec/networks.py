"""The trained networks that files are coded with: those that come with the package, or a user's."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from sar_codec.coding.decompressing import Bounded
from sar_codec.coding.lossy import Network
from sar_codec.config import build
from sar_codec.errors import UserError
from sar_codec.models.codec import Codec
from sar_codec.models.interlaced import Interlaced
from sar_codec.trained import Trained, load

SHIPPED = Path(__file__).parent / "weights"
QUALITY, BOUNDED = SHIPPED / "sentinel1.safetensors", SHIPPED / "bounded.safetensors"


@cache
def network_of(path: Path) -> Network | Bounded:
    """The network that a checkpoint or a file of weights holds, ready to code.

    Raises:
        UserError: there is none, or none that codes.
    """
    trained = load(path)
    model = build(trained.model, "model")
    try:
        model.load_state_dict(trained.tensors)
    except RuntimeError:
        raise UserError(
            f"{path}: its weights are not those of the model it names; they are of another version"
        ) from None
    model = model.eval().requires_grad_(False)
    if isinstance(model, Interlaced):
        return Bounded(model, trained.id)
    if not isinstance(model, Codec):
        raise UserError(
            f"{path}: a {type(model).__name__}, which makes no bits; give a codec, as "
            "model=hyperprior trains it"
        )
    any_model: Any = model  # torch 2.11 has no type for this
    model = any_model.to(memory_format=torch.channels_last)
    return Network(model, trained.id, *_window(path, trained))


def finder(path: Path | None) -> Any:
    """What gives the network of an id: the one at a path, or one that comes with the package."""

    def find(wanted: str) -> Network | Bounded:
        if path is not None:
            return network_of(path)
        for candidate in sorted(SHIPPED.glob("*.safetensors")):
            if _id_of(candidate) == wanted:
                return network_of(candidate)
        raise UserError(
            f"needs the model with the SHA-256 {wanted}, which does not come with this version of "
            "sar_codec; give its checkpoint or weights with --model FILE"
        )

    return find


def _id_of(path: Path) -> str:
    with safe_open(path, framework="pt") as file:
        return str(json.loads(file.metadata()["sar_codec"])["id"])


def _window(path: Path, trained: Trained) -> tuple[float, float]:
    try:
        vmin, vmax = (float(trained.preprocessing[name]) for name in ("vmin", "vmax"))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path}: does not say which dB its network knows as 0 and 1") from None
    return vmin, vmax
