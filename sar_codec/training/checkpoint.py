"""Checkpoints: primitives and tensors in one file that knows whether it is whole."""

import io
import logging
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import torch
from annotated_types import Ge, Lt
from pydantic import AfterValidator, ConfigDict, JsonValue, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor

from sar_codec.errors import UserError
from sar_codec.files import write_whole_by
from sar_codec.training.sealed import Sealed, fault_of

log = logging.getLogger(__name__)

Row = dict[str, int | float]
Count = Annotated[int, Ge(0), Lt(2**63)]


def _dense(tensor: Tensor) -> Tensor:
    # A checkpoint can also hold what has no memory of its own, or is of another kind.
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
        raise ValueError("expected a dense tensor")
    return tensor


Weight = Annotated[Tensor, AfterValidator(_dense)]

_ADVICE = "give the path of a run's checkpoints/latest.pth or best.pth"


@dataclass(config=ConfigDict(arbitrary_types_allowed=True, extra="forbid", strict=True))
class State:
    """All that a run is, at an instant: the entries of a checkpoint.

    Of a resumed run, these may differ from one that was never cut: `VOLATILE_METRICS` of the rows
    in `history`, the place of the run in `config` (`resume`), and `made_with`.
    """

    epoch: Count  # epochs finished
    batch: Count  # batches trained of the next epoch
    global_step: Count
    model_state_dict: dict[str, Weight]
    ema_state_dict: dict[str, Weight] | None  # the moving average of the weights
    optimizer: str
    optimizer_state_dict: dict[str, Any]
    given_learning_rate: float
    scheduler_state_dict: dict[str, Any]
    best_val_loss: float
    best_epoch: Count | None
    epochs_without_improvement: Count
    train_sums: dict[str, float]  # of the batches trained of the next epoch
    gradients: dict[str, Weight] | None  # of its last step, where that is done: for histograms
    bad_steps_in_row: Count
    random_states: dict[str, Any]
    epoch_random_states: dict[str, Any] | None  # as the next epoch began, where it has
    # Each: random_states and epoch_random_states of a process that trained with the first.
    random_states_of_others: list[dict[str, Any]]
    config: dict[str, JsonValue]
    preprocessing_params: dict[str, JsonValue]
    history: list[Row]
    made_with: dict[str, str | int]

    def random_states_of(self, rank: int) -> dict[str, Any] | None:
        """The two entries of random states of one of several processes, None where it was not."""
        if rank == 0:
            return {name: getattr(self, name) for name in ("random_states", "epoch_random_states")}
        others = self.random_states_of_others
        return others[rank - 1] if rank <= len(others) else None


ENTRIES = tuple(each.name for each in fields(State))
# Times: what a row of the history says of the machine, not of the model.
VOLATILE_METRICS = ("seconds", "train_images_per_second")


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


def save(state: State, path: Path) -> None:
    """Writes `state` so that `torch.load(path)` gives its entries, without a GPU too.

    Raises:
        UserError: the file cannot be written, and an older one of that name is intact; or weights
            are not finite.
    """
    for name, tensor in [*state.model_state_dict.items(), *(state.ema_state_dict or {}).items()]:
        if tensor.is_floating_point() and tensor.numel() and not _is_finite(tensor):
            raise UserError(
                f"{path}: not saved, the weights {name} are not finite; the checkpoints there are "
                "of before that; a lower optimizer.lr may help"
            )
    entries = {name: _on_cpu(getattr(state, name)) for name in ENTRIES}
    tensors = list(_tensors(entries))

    def write(file: IO[bytes]) -> None:
        sealed = Sealed(file, tensors)
        try:
            with sealed:
                torch.save(entries, sealed)  # type: ignore[arg-type]  # it writes, and no more
        except RuntimeError as error:  # what torch makes of a full disk
            raise sealed.error or error from None

    write_whole_by(path, write, sum(each.nbytes for each in tensors))


def _is_finite(tensor: Tensor) -> bool:
    # NaN is least and greatest wherever it is; isfinite takes several times as long.
    return all(math.isfinite(each) for each in tensor.detach().aminmax())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    for each in value.values() if isinstance(value, dict) else ():
        yield from _tensors(each)


def load(path: str | os.PathLike[str]) -> State:
    """Reads a checkpoint onto the CPU; no code in it is run.

    Raises:
        UserError: there is no such file, it is damaged, or it is no checkpoint of ours.
    """
    try:
        content = Path(path).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"{path}: no such file; {_ADVICE}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {_ADVICE}") from None
    if fault := fault_of(memoryview(content)):
        raise UserError(f"{path}: {fault}; {_ADVICE}")
    try:
        entries = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # what foreign bytes raise has no bounds
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: not a checkpoint of sar_codec ({reason}); {_ADVICE}") from None
    if not isinstance(entries, dict):
        raise UserError(f"{path}: not a checkpoint of sar_codec, no entries; {_ADVICE}")
    try:
        return State(**{str(name): value for name, value in entries.items()})
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)
        reasons = [
            f"{'.'.join(map(str, each['loc'][:4]))}: {each['msg'].lower()}" for each in wrong[:4]
        ]
        raise UserError(
            f"{path}: not a checkpoint of this version of sar_codec ({'; '.join(reasons)}); "
            f"{_ADVICE}"
        ) from None


def load_or_previous(path: str | os.PathLike[str]) -> tuple[State, Path]:
    """Reads a checkpoint, or `previous.pth` beside it where a `latest.pth` is damaged.

    Returns:
        The state, and the file it is from.

    Raises:
        UserError: as `load`.
    """
    path = Path(path)
    try:
        return load(path), path
    except UserError as error:
        # One that is missing was mistyped; only a damaged one has another in its place.
        if path.name != "latest.pth" or not path.is_file():
            raise
        previous = path.with_name("previous.pth")
        if not previous.is_file():
            raise
        log.warning("%s", error)
    state = load(previous)
    log.warning("Going on from %s instead", previous)
    return state, previous


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: _on_cpu(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_on_cpu(each) for each in value]
    return value
