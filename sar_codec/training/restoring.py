"""Putting what a checkpoint holds back into a model, its optimizer and its scheduler."""

import logging
import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sar_codec.errors import UserError
from sar_codec.training.checkpoint import State
from sar_codec.training.random_states import random_states, restore_random_states

log = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]

# What a scheduler has been through; the rest of its state are settings.
PLATEAU_HISTORY = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch", "_last_lr")

# What optimizers keep of a parameter that is one number, not one for each of its own.
SCALAR_MOMENTS = ("step", "mu_product", "eta", "mu")


def restore(
    path: PathLike,
    state: State,
    model: nn.Module,
    ema: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    scheduler: ReduceLROnPlateau,
) -> None:
    """Gives model, moving average, optimizer and scheduler back what they were at a checkpoint.

    An average that the checkpoint has not begins with its weights.

    Raises:
        UserError: it is of another architecture or optimizer, or holds what no run leaves; nothing
            is changed then.
    """
    averaged = state.ema_state_dict or state.model_state_dict
    for weights in (state.model_state_dict, averaged):
        check_same_architecture(path, weights, model.state_dict())
    _check_scheduler(path, state.scheduler_state_dict)
    parameters = dict(model.named_parameters())
    gradients = state.gradients or {}
    if any(not _is_gradient(each, parameters.get(name)) for name, each in gradients.items()):
        raise UserError(f"{path}: its gradients are not those of this model")
    for rank in range(1 + len(state.random_states_of_others)):
        of_process = state.random_states_of(rank) or {}
        if of_process.keys() != {"random_states", "epoch_random_states"}:
            raise UserError(f"{path}: its states of random number generators have no names")
        for name, states in of_process.items():
            if states is not None or name == "random_states":
                _check_random_states(path, states)
    _restore_optimizer(path, optimizer, state)
    _restore_scheduler(scheduler, state.scheduler_state_dict)
    model.load_state_dict(state.model_state_dict)
    if ema is not None:
        ema.load_state_dict(averaged)
    for name, parameter in parameters.items():
        parameter.grad = gradients[name].to(parameter.device) if name in gradients else None


def _is_gradient(value: Tensor, parameter: Tensor | None) -> bool:
    return parameter is not None and (value.shape, value.dtype) == (
        parameter.shape,
        parameter.dtype,
    )


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


def _restore_optimizer(path: PathLike, optimizer: torch.optim.Optimizer, state: State) -> None:
    """Gives an optimizer its moments back; its settings stay those it was built with.

    The learning rate stays what the plateaus made of it, unless another one is given now than was
    given then: `load_state_dict` alone would silently undo that.

    Raises:
        UserError: the moments are of another kind of optimizer.
    """
    kind = type(optimizer).__name__
    if state.optimizer != kind:
        raise UserError(
            f"{path}: its optimizer is {state.optimizer}, this run's is {kind}; "
            "resume with the same group optimizer="
        )
    _check_moments(path, optimizer, state.optimizer_state_dict)
    settings = [
        {name: value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
    parameters = _parameters(optimizer)
    moments = {
        number: {name: _laid_out_as(parameters[number], each) for name, each in moments.items()}
        for number, moments in state.optimizer_state_dict["state"].items()
    }
    optimizer.load_state_dict(state.optimizer_state_dict | {"state": moments})
    given = optimizer.defaults["lr"]
    for group, wanted in zip(optimizer.param_groups, settings, strict=True):
        learning_rate = group["lr"]
        group.update(wanted)
        if given == state.given_learning_rate:
            group["lr"] = learning_rate
        else:
            log.info(
                "Learning rate %.3g as given now, %.3g in the checkpoint", given, learning_rate
            )


def _check_moments(
    path: PathLike, optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]
) -> None:
    parameters = _parameters(optimizer)
    try:
        fits = (
            [len(group["params"]) for group in saved["param_groups"]]
            == [len(group["params"]) for group in optimizer.param_groups]
            and all(_is_number(group["lr"], low=0) for group in saved["param_groups"])
            and all(number in range(len(parameters)) for number in saved["state"])
            and all(
                _is_moment(name, moment, parameters[number])
                for number, moments in saved["state"].items()
                for name, moment in moments.items()
            )
        )
    except Exception:  # what foreign values raise has no bounds
        fits = False
    if not fits:
        raise UserError(f"{path}: the moments of its optimizer are not those of this model")


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [each for group in optimizer.param_groups for each in group["params"]]


def _is_moment(name: str, value: Any, parameter: Tensor) -> bool:
    if name in SCALAR_MOMENTS:
        return _is_number(value)
    if not isinstance(value, Tensor):
        return value is None and name == "momentum_buffer"
    is_dense = value.layout is torch.strided and not value.is_meta and value.is_floating_point()
    return is_dense and value.shape == parameter.shape


def _laid_out_as(parameter: Tensor, moment: Any) -> Any:
    """A moment with the strides of its parameter, which fused optimizers take for granted.

    They would write outside of one whose strides are 0: whose numbers are all the same one.
    """
    if not isinstance(moment, Tensor) or moment.ndim == 0 or moment.stride() == parameter.stride():
        return moment
    return torch.empty_like(parameter, dtype=moment.dtype, device=moment.device).copy_(moment)


def _is_number(value: Any, low: float = -math.inf) -> bool:
    if isinstance(value, Tensor) and value.ndim == 0:  # a learning rate may be one
        value = value.item()
    return isinstance(value, int | float) and low <= value < math.inf


def _check_scheduler(path: PathLike, saved: Mapping[str, Any]) -> None:
    rates = saved.get("_last_lr", [])
    counts = [saved.get(name, 0) for name in PLATEAU_HISTORY if name not in ("best", "_last_lr")]
    if not (
        isinstance(saved.get("best", 0.0), int | float)  # infinite before the first epoch
        and all(isinstance(count, int) and 0 <= count < 2**63 for count in counts)
        and isinstance(rates, list)
        and all(_is_number(rate, low=0) for rate in rates)
    ):
        raise UserError(f"{path}: the state of its scheduler is none that a run leaves")


def _check_random_states(path: PathLike, saved: Mapping[str, Any]) -> None:
    """Makes sure, by trying, that generators take these states.

    Raises:
        UserError: they do not. Or numpy takes them and then reads memory that is none of its own,
            as it does with a position outside of its words.
    """
    cpu = torch.device("cpu")
    now = random_states(cpu)
    try:
        numpy = saved["numpy"]["state"]
        cuda = saved.get("cuda", torch.empty(0, dtype=torch.uint8))
        fits = (
            all(_is_like(saved[name], now[name]) for name in now)
            and 0 <= numpy["pos"] <= len(numpy["key"])
            and _is_like(cuda[:0], now["torch"][:0])
            and (len(cuda) == 0 if "cuda" not in saved else _is_cuda_state(cuda))
        )
        if fits:
            restore_random_states(dict(saved), cpu)
    except Exception:  # what foreign values raise has no bounds
        fits = False
    restore_random_states(now, cpu)
    if not fits:
        raise UserError(
            f"{path}: its states of random number generators are none that a run leaves"
        )


def _is_cuda_state(state: Tensor) -> bool:
    """A seed and how far it is drawn, eight bytes each, the latter in fours."""
    return len(state) == 16 and int(state[8]) % 4 == 0


def _is_like(value: Any, example: Any) -> bool:
    """Whether a value is built as another is: of the same types, keys, lengths and shapes."""
    if isinstance(example, Tensor):
        return isinstance(value, Tensor) and all(
            getattr(value, name) == getattr(example, name)
            for name in ("shape", "dtype", "layout", "device")
        )
    if isinstance(example, Mapping):
        return value.keys() == example.keys() and all(
            _is_like(value[key], example[key]) for key in example
        )
    if isinstance(example, list | tuple):
        return len(value) == len(example) and all(map(_is_like, value, example))
    if example is None or isinstance(example, float):  # drawn in advance, or not
        return value is None or isinstance(value, float)
    return type(value) is type(example)


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


def warn_of_differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Says what of the machine is not as it was, where it changes the last bits of results."""
    differing = [key for key in current if saved.get(key) != current[key]]
    if differing:
        log.warning(
            "Resumed with %s: results will not be the same to the last bit",
            ", ".join(f"{key} {current[key]} (was {saved.get(key)})" for key in differing),
        )


def _shape(tensor: Tensor) -> str:
    return "x".join(str(size) for size in tensor.shape) or "scalar"
