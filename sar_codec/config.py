"""Where conf/ is, and `build`: the only place where a config becomes objects."""

import difflib
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, get_type_hints

from annotated_types import Ge, Lt
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, Field, PydanticSchemaGenerationError, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import SchemaError

from sar_codec.errors import UserError

# A wheel carries conf/ inside the package, a checkout beside it.
_PACKAGE = Path(__file__).resolve().parent
CONF_DIR = next(path for path in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if path.is_dir())

# Configuration is data, a checkpoint's as well, which may come from anyone: of each group, only
# what stands at its own place can be built, and nothing else of ours, which may write or delete.
PLACES = {
    "data": ("function", "sar_codec.data.sources"),
    "model": ("class", "sar_codec.models."),  # any module below
    "loss": ("class", "sar_codec.losses"),
    "optimizer": ("function", "sar_codec.training.optimizers"),
    "trainer": ("class", "sar_codec.training.trainer"),
}
# Besides our own optimizers.
TORCH_TARGETS = frozenset(
    f"torch.optim.{name}" for name in ("Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "SGD")
)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Experiment:
    """The top of train.yaml: five groups and what concerns them all."""

    data: dict[str, Any]
    model: dict[str, Any]
    loss: dict[str, Any]
    optimizer: dict[str, Any]
    trainer: dict[str, Any]
    seed: Annotated[int, Ge(0), Lt(2**63)]
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    hparams: list[str]
    weights: str | None
    train_only: str | None
    resume: str | None


Top = TypeVar("Top")


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The config as plain containers, every interpolation resolved.

    Resolving comes first, so that what is checked is what is built.

    Raises:
        UserError: an interpolation leads nowhere.
    """
    try:
        return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise UserError(" ".join(str(error).split())) from None


def top_level(config: Mapping[str, Any], kind: type[Top]) -> Top:
    """The top of a config as an object of `kind`, its keys, types and bounds checked.

    Raises:
        UserError: one line with the key, what was given and what is allowed.
    """
    known = list(inspect.signature(kind).parameters)
    for key in config:
        if key not in known:
            raise UserError(no_such_key(key, config[key], known))
    return cast(Top, checked(dict(config), kind, ""))


def target_of(config: Mapping[str, Any], group: str) -> Any:
    """What a group of a plain config is to be built of; None where it does not say."""
    node = config.get(group)
    return node.get("_target_") if isinstance(node, Mapping) else None


def build(node: Mapping[str, Any], key: str, *also: Callable[..., Any], **runtime: Any) -> Any:
    """What `node["_target_"]` makes of the node's other entries and the `runtime` objects.

    Args:
        node: a plain mapping from `plain`, holding `_target_` and arguments of it.
        key: where the node stands in the config, for messages: `"trainer"`.
        also: functions whose arguments the node holds as well; those entries are left out.
        runtime: arguments that cannot come from a file.

    Raises:
        UserError: the target is not allowed, an entry is unknown, of a wrong type or out of range.
    """
    target = locate(node.get("_target_"), key)
    settings = arguments(node, key, target, *also)
    for name in settings.keys() & runtime.keys():
        raise UserError(f"{key}.{name}={settings[name]}: the program sets this itself")
    try:
        inspect.signature(target).bind(**settings, **runtime)
    except TypeError as error:
        raise UserError(f"{key}._target_={node['_target_']}: {error}") from None
    return target(**settings, **runtime)


def check(node: Mapping[str, Any], key: str, *also: Callable[..., Any]) -> None:
    """Raises what `build` would raise, without building."""
    arguments(node, key, locate(node.get("_target_"), key), *also)


def arguments(
    node: Mapping[str, Any], key: str, function: Callable[..., Any], *also: Callable[..., Any]
) -> dict[str, Any]:
    """The entries of `node` that are arguments of `function`, checked against its type hints.

    An entry that neither `function` nor one of `also` takes is refused: no key is silently ignored.

    Raises:
        UserError: one line with the key, what was given and what is allowed.
    """
    own = inspect.signature(function).parameters
    others = {name for each in also for name in inspect.signature(each).parameters}
    hints = get_type_hints(_hinted(function), include_extras=True)
    settings = {name: value for name, value in node.items() if name != "_target_"}
    for name, value in settings.items():
        if name not in own and name not in others:
            known = [each for each in settings if each in own or each in others]
            raise UserError(no_such_key(f"{key}.{name}", value, known))
    return {
        name: checked(value, hints.get(name, Any), f"{key}.{name}")
        for name, value in settings.items()
        if name in own
    }


def checked(value: Any, hint: Any, key: str) -> Any:
    """`value` as the type `hint` asks for, bounds in `Annotated` included.

    Raises:
        UserError: one line with the key, what was given and what is allowed.
    """
    if value == "???":
        raise UserError(f"{key} is not set: give it as {key}=VALUE")
    # A tensor may stand in a hint (`float | Tensor`), which pydantic need not know.
    config = None if is_dataclass(hint) else ConfigDict(arbitrary_types_allowed=True)
    try:
        accepted = TypeAdapter(hint, config=config).validate_python(value)
    except ValidationError as error:
        raise UserError(_one_line(error, key, value)) from None
    except (PydanticSchemaGenerationError, SchemaError):
        raise UserError(f"{key}={value}: the program sets this itself") from None
    if isinstance(value, bool) and not isinstance(accepted, bool):
        raise UserError(f"{key}={value}: input should be a number, not true or false")
    return accepted


def no_such_key(key: str, value: Any, known: list[str]) -> str:
    """The message for a key that does not exist, with the closest one that does."""
    parent, _, name = key.rpartition(".")
    close = difflib.get_close_matches(name, known, n=1)
    there = f"{parent} has" if parent else "there are"
    return (
        f"{key}={value}: no such key; "
        + (f"did you mean {parent + '.' if parent else ''}{close[0]}? " if close else "")
        + f"{there} {', '.join(known)}"
    )


def override(key: str, value: object) -> str:
    """`key=value` as Hydra reads it, whatever text the value is; not quoted for a shell."""
    text = str(value)
    if re.fullmatch(r"[\w./-]+", text):
        return f"{key}={text}"
    # A backslash stands for itself, except before a quote.
    quoted = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + (found[2] and '\\"'), text)
    return f'{key}="{quoted}"'


def locate(target: Any, key: str) -> Callable[..., Any]:
    """The class or function that `target`, a dotted path, names.

    Args:
        target: what a config says.
        key: where it stands; the first part is the group, which decides on what is allowed.

    Raises:
        UserError: it is not one that the group may name, or does not exist.
    """
    group = key.partition(".")[0]
    kind, place = PLACES[group]
    allowed = f"a {kind} of {place.rstrip('.')}"
    if group == "optimizer":
        allowed += f", or one of {', '.join(sorted(TORCH_TARGETS))}"
    if not isinstance(target, str):
        raise UserError(f"{key}._target_={target}: expected {allowed}")
    module_name, _, name = target.rpartition(".")
    torchs = group == "optimizer" and target in TORCH_TARGETS
    ours = module_name == place or (place.endswith(".") and module_name.startswith(place))
    if not (torchs or ours) or name.startswith("_"):
        raise UserError(f"{key}._target_={target}: not allowed; expected {allowed}")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError):
        raise UserError(f"{key}._target_={target}: does not exist; expected {allowed}") from None
    is_kind = inspect.isclass(found) if kind == "class" else inspect.isfunction(found)
    # What one of our modules merely imported (`sar_codec.losses.nn.Module`) is not ours.
    if ours and not (is_kind and found.__module__ == module_name):
        raise UserError(f"{key}._target_={target}: not allowed; expected {allowed}")
    return found


def _hinted(target: Callable[..., Any]) -> Callable[..., Any]:
    return target.__init__ if inspect.isclass(target) else target


def _one_line(error: ValidationError, key: str, value: Any) -> str:
    """Pydantic's complaints as `key=value: what is allowed`, at the innermost place they name."""
    complaints = []
    for each in error.errors(include_url=False):
        place = ".".join(str(step) for step in (key, *each["loc"]) if step != "")
        given = each["input"] if each["loc"] else value
        complaints.append(f"{place}={given}: {each['msg'][0].lower()}{each['msg'][1:]}")
    return "; or ".join(complaints)
