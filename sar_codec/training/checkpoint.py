"""Checkpoints: primitives and tensors in one file, which appears whole or not at all."""

import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from sar_codec.errors import UserError

KEYS = (
    "epoch",
    "global_step",
    "model_state_dict",
    "optimizer",
    "optimizer_state_dict",
    "given_learning_rate",
    "scheduler_state_dict",
    "best_val_loss",
    "epochs_without_improvement",
    "config",
    "preprocessing_params",
    "history",
)


def plain(value: Any, name: str) -> Any:
    """`value` as containers and numbers that `torch.load(..., weights_only=True)` reads back.

    numpy scalars become numbers and paths strings, which otherwise make a checkpoint that only
    unsafe loading can read.

    Raises:
        TypeError: it holds something else; names where.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(each, f"{name}.{key}") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, f"{name}.{index}") for index, each in enumerate(value)]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, bool | int | float | str | Tensor):
        return value
    raise TypeError(f"{name} is a {type(value).__name__}; expected numbers, strings, lists, dicts")


def save(state: Mapping[str, Any], path: Path) -> None:
    """Writes `state` so that `torch.load(path)` gives it back, on machines without a GPU too.

    Raises:
        UserError: the file cannot be written; an older one of that name is intact.
    """
    on_cpu = _on_cpu(dict(state))
    write_whole(path, lambda file: torch.save(on_cpu, file))


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU; no code in it is run.

    Raises:
        UserError: there is no such file, it is damaged, or it is no checkpoint of ours.
    """
    advice = "give the path of a run's checkpoints/latest.pth or best.pth"
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; {advice}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what damaged bytes raise has no bounds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "it is empty"
        raise UserError(
            f"{path}: damaged, cut short or not a checkpoint ({reason}); {advice}"
        ) from None
    missing = [key for key in KEYS if not isinstance(state, dict) or key not in state]
    if missing:
        raise UserError(
            f"{path}: not a checkpoint of sar_codec, {', '.join(missing)} missing; {advice}"
        )
    return dict(state)


def check_same_architecture(
    path: str | os.PathLike[str], saved: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Makes sure that weights fit a model.

    Raises:
        UserError: they do not; names the first tensors that differ.
    """
    differing = [f"{name} (not in the checkpoint)" for name in expected if name not in saved]
    differing += [f"{name} (not in the model)" for name in saved if name not in expected]
    differing += [
        f"{name} ({_shape(saved[name])} in the checkpoint, {_shape(tensor)} in the model)"
        for name, tensor in expected.items()
        if name in saved and saved[name].shape != tensor.shape
    ]
    if differing:
        more = f" and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise UserError(
            f"{path}: another architecture, {', '.join(differing[:4])}{more} differ; "
            "give the model settings that the checkpoint was trained with"
        )


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Lets `write` fill a temporary file beside `path` and then puts it in its place.

    Whoever opens `path` sees the old file or the new one, even after a power cut.

    Raises:
        UserError: it cannot be written; what was there is intact.
    """

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())

    _put_in_place(path, fill)


def give_same_content(source: Path, target: Path) -> None:
    """Makes `target` what `source` is now: another name of the same bytes, or else a copy.

    Files are replaced here, never changed, so the two names are as good as two files.

    Raises:
        UserError: it cannot be written; what was there is intact.
    """

    def fill(temporary: Path) -> None:
        try:
            temporary.hardlink_to(source)
        except OSError:  # another filesystem, or one without links
            shutil.copyfile(source, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())

    _put_in_place(target, fill)


def _put_in_place(path: Path, fill: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(temporary)
        temporary.replace(path)
        temporary.unlink(missing_ok=True)  # still there where both were one file already
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        # torch.save reports a full disk as a RuntimeError.
        if not isinstance(error, OSError | RuntimeError):
            raise
        raise UserError(
            f"{path}: cannot be written ({error}); free some space there or choose another "
            "output folder"
        ) from error


def check_writable(folder: Path) -> None:
    """Makes sure, before hours of training, that files can be written into a folder.

    Raises:
        UserError: they cannot.
    """
    probe = folder / ".writable"
    write_whole(probe, lambda file: file.write(b""))
    probe.unlink()


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_on_cpu(each) for each in value]
    return value


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "scalar"
