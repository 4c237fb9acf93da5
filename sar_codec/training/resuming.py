"""What a resumed run takes from its checkpoint, and what it takes from its own settings."""

import copy
import inspect
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sar_codec.config import locate, target_of
from sar_codec.errors import UserError
from sar_codec.training.checkpoint import State

log = logging.getLogger(__name__)

# Folders below outputs/ of programs that train for another purpose.
NOT_TRAINED = {"benchmark", "verify_resume"}

PathLike = str | os.PathLike[str]
# What a run keeps to its end.
ALWAYS_FIXED = ("model.", "seed", "optimizer._target_", "train_only")


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
    before, now = flat(state.config), flat(config)
    differing = {
        key: text
        for key, text in differences(state.config, config).items()
        if key in before or not _is_default(key, now)
    }
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


def _is_default(key: str, flat_config: Mapping[str, Any]) -> bool:
    """Whether a setting is what it would be if nothing said so, as where it is a new one."""
    group, _, name = key.rpartition(".")
    target = flat_config.get(f"{group}._target_")
    if target is None:
        return flat_config[key] is None
    parameter = inspect.signature(locate(target, group)).parameters.get(name)
    return parameter is not None and bool(parameter.default == flat_config[key])


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
