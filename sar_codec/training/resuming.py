"""What a resumed run takes from its checkpoint, and what it takes from its own settings."""

import copy
import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from sar_codec.config import target_of
from sar_codec.errors import UserError
from sar_codec.training.checkpoint import State
from sar_codec.training.random_states import random_states, restore_random_states

log = logging.getLogger(__name__)

# Folders below outputs/ of programs that train for another purpose.
NOT_TRAINED = {"benchmark", "verify_resume"}

PathLike = str | os.PathLike[str]
# What a run keeps to its end.
ALWAYS_FIXED = ("model.", "seed", "optimizer._target_")
# What a scheduler has been through; the rest of its state are settings.
PLATEAU_HISTORY = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch", "_last_lr")

# What optimizers keep of a parameter that is one number, not one for each of its own.
SCALAR_MOMENTS = ("step", "mu_product", "eta", "mu")


def find_checkpoint(resume: str, run_dir: Path, outputs: Path = Path("outputs")) -> Path | None:
    """The checkpoint that `resume` means.

    Args:
        resume: a file; a run's folder; "last", the newest run's; or "auto", this run's own, if it
            has one.
        run_dir: the folder of this run.
        outputs: where "last" looks.

    Raises:
        UserError: there is none.
    """
    if resume == "auto":
        return _of_run(run_dir)
    if resume == "last":
        found = [
            path
            for path in outputs.rglob("checkpoints/latest.pth")
            if not set(path.relative_to(outputs).parts) & NOT_TRAINED
        ]
        if not found:
            raise UserError(f"resume=last: no run below {outputs.absolute()} has a checkpoint yet")
        return max(found, key=lambda path: path.stat().st_mtime_ns)
    path = Path(resume)
    if resume and path.is_dir():
        inside = _of_run(path)
        if inside is None:
            raise UserError(f"resume={resume}: a folder without checkpoints/latest.pth; give a run")
        return inside
    return path


def _of_run(run_dir: Path) -> Path | None:
    names = ("latest.pth", "previous.pth")
    found = (run_dir / "checkpoints" / name for name in names)
    return next((path for path in found if path.is_file()), None)


def lay_over(
    saved: Mapping[str, Any],
    current: Mapping[str, Any],
    plainly: Mapping[str, Any],
    given: Iterable[str],
    switched: Iterable[str] = (),
) -> dict[str, Any]:
    """The config of a run that goes on: the checkpoint's, and over it what is given now.

    Args:
        saved: the checkpoint's config.
        current: the config of this command, of defaults and what is given.
        plainly: the same without keys and `experiment`; what these change is given.
        given: keys and groups on the command line: `["optimizer.lr", "trainer"]`.
        switched: groups that are not the default ones; given as a whole, unless the checkpoint has
            the same.
    """
    result = copy.deepcopy(dict(saved))
    now, base = flat(current), flat(plainly)
    changed = [key for key, value in now.items() if key not in base or base[key] != value]
    new = [key for key in current if key not in saved]
    others = [group for group in switched if target_of(saved, group) != target_of(current, group)]
    for key in [*others, *sorted(given, key=len), *changed, *new, "resume"]:
        _copy_entry(key.split("."), current, result)
    return result


def differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, str]:
    """What to tell of each key whose value is another one now, `resume` apart."""
    before, now = flat(saved), flat(current)
    keys = [key for key in {**before, **now} if key != "resume"]
    return {
        key: f"{key}: {now.get(key, 'nothing')} now, {before.get(key, 'nothing')} in the checkpoint"
        for key in keys
        if (key in before, before.get(key)) != (key in now, now.get(key))
    }


def check_can_go_on(path: PathLike, state: State, config: Mapping[str, Any]) -> None:
    """Logs what is not as it was, and makes sure that the run can go on so.

    Raises:
        UserError: it cannot, with both values; or the checkpoint's config is none at all.
    """
    try:
        OmegaConf.create(dict(config))  # as the run's folder and log will show it
    except (OmegaConfBaseException, RecursionError):
        raise UserError(f"{path}: holds a config that cannot be one of a run") from None
    differing = differences(state.config, config)
    # Inside an epoch, its batches must stay what they are.
    fixed = (*ALWAYS_FIXED, "data.") if state.batch else ALWAYS_FIXED
    refused = [
        text
        for key, text in differing.items()
        if key.startswith(fixed) and key not in ("data.num_workers",)
    ]
    if refused:
        is_inside = state.batch and not any(text.startswith(ALWAYS_FIXED) for text in refused)
        inside = ", or resume from best.pth, which ends an epoch" if is_inside else ""
        raise UserError(
            f"{path}: {'; '.join(refused)}; a run goes on only with what it was begun with: "
            f"leave that out{inside}"
        )
    for text in differing.values():
        log.info("Resumed with another %s", text)


def flat(config: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The values of a nested config by their dotted keys; lists are values."""
    values: dict[str, Any] = {}
    for key, value in config.items():
        values |= (
            flat(value, f"{above}{key}.") if isinstance(value, Mapping) else {above + key: value}
        )
    return values


def _copy_entry(keys: Sequence[str], source: Any, target: dict[str, Any]) -> None:
    """Makes the entry at a path in `target` what it is in `source`; of a list, all of it."""
    first, rest = keys[0], keys[1:]
    if first not in source:
        target.pop(first, None)
    elif rest and isinstance(source[first], Mapping) and isinstance(target.get(first), dict):
        _copy_entry(rest, source[first], target[first])
    else:
        target[first] = copy.deepcopy(source[first])


def restore(
    path: PathLike,
    state: State,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: ReduceLROnPlateau,
) -> None:
    """Gives model, optimizer and scheduler back what they were at a checkpoint.

    Raises:
        UserError: it is of another architecture or optimizer, or holds what no run leaves; nothing
            is changed then.
    """
    check_same_architecture(path, state.model_state_dict, model.state_dict())
    _check_scheduler(path, state.scheduler_state_dict)
    parameters = dict(model.named_parameters())
    gradients = state.gradients or {}
    if any(not _is_gradient(each, parameters.get(name)) for name, each in gradients.items()):
        raise UserError(f"{path}: its gradients are not those of this model")
    for states in (state.random_states, state.epoch_random_states):
        if states is not None:
            _check_random_states(path, states)
    _restore_optimizer(path, optimizer, state)
    _restore_scheduler(scheduler, state.scheduler_state_dict)
    model.load_state_dict(state.model_state_dict)
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
