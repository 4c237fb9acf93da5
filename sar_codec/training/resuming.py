"""What a resumed run takes from its checkpoint, and what it takes from its own settings."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sar_codec.errors import UserError
from sar_codec.training.checkpoint import check_same_architecture

log = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]
# What a scheduler has been through; the rest of its state are settings.
PLATEAU_HISTORY = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch", "_last_lr")


def find_checkpoint(resume: str, outputs: Path = Path("outputs")) -> Path:
    """The checkpoint that `resume` means: a file, a run's folder, or "last", the newest run's.

    Raises:
        UserError: there is none.
    """
    if resume == "last":
        found = list(outputs.rglob("checkpoints/latest.pth"))
        if not found:
            raise UserError(f"resume=last: no run below {outputs.absolute()} has a checkpoint yet")
        return max(found, key=lambda path: path.stat().st_mtime_ns)
    path = Path(resume)
    if resume and path.is_dir():
        inside = path / "checkpoints" / "latest.pth"
        if not inside.is_file():
            raise UserError(f"resume={resume}: a folder without checkpoints/latest.pth; give a run")
        return inside
    return path


def restore(
    path: PathLike,
    state: Mapping[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: ReduceLROnPlateau,
) -> None:
    """Gives model, optimizer and scheduler back what they were at a checkpoint.

    Raises:
        UserError: it is of another architecture or optimizer; nothing is changed then.
    """
    check_same_architecture(path, state["model_state_dict"], model.state_dict())
    _restore_optimizer(path, optimizer, state)
    _restore_scheduler(scheduler, state["scheduler_state_dict"])
    model.load_state_dict(state["model_state_dict"])


def _restore_optimizer(
    path: PathLike, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]
) -> None:
    """Gives an optimizer its moments back; its settings stay those it was built with.

    The learning rate stays what the plateaus made of it, unless another one is given now than was
    given then: `load_state_dict` alone would silently undo that.

    Raises:
        UserError: the moments are of another kind of optimizer.
    """
    kind = type(optimizer).__name__
    if state["optimizer"] != kind:
        raise UserError(
            f"{path}: its optimizer is {state['optimizer']}, this run's is {kind}; "
            "resume with the same group optimizer="
        )
    settings = [
        {name: value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state["optimizer_state_dict"])
    given = optimizer.defaults["lr"]
    for group, wanted in zip(optimizer.param_groups, settings, strict=True):
        learning_rate = group["lr"]
        group.update(wanted)
        if given == state["given_learning_rate"]:
            group["lr"] = learning_rate
        else:
            log.info(
                "Learning rate %.3g as given now, %.3g in the checkpoint", given, learning_rate
            )


def _restore_scheduler(scheduler: ReduceLROnPlateau, saved: Mapping[str, Any]) -> None:
    """Gives a scheduler its history back; factor and patience stay those it was built with."""
    scheduler.load_state_dict({name: saved[name] for name in PLATEAU_HISTORY if name in saved})


def check_same_preprocessing(
    path: PathLike, saved: Mapping[str, Any], current: Mapping[str, Any]
) -> None:
    """Makes sure that [0, 1] means the same as it did.

    Raises:
        UserError: it does not; says how to make it.
    """
    keys = [key for key in ("vmin", "vmax") if saved.get(key) != current.get(key)]
    if keys:
        raise UserError(
            f"{path}: was trained with "
            + ", ".join(f"{key}={saved.get(key)}, this run has {current.get(key)}" for key in keys)
            + "; resume with "
            + " ".join(f"data.{key}={saved.get(key)}" for key in keys)
        )
