from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt, Lt
from hydra import compose, initialize_config_dir
from pydantic.dataclasses import dataclass

from sar_codec.config import (
    CONF_DIR,
    Experiment,
    arguments,
    build,
    check,
    locate,
    override,
    plain,
    top_level,
)
from sar_codec.errors import UserError
from sar_codec.evaluate import Evaluation
from sar_codec.evaluation.contestants import contestants
from sar_codec.losses import CombinedLoss
from sar_codec.networks import BOUNDED, QUALITY
from sar_codec.trained import load
from sar_codec.training.trainer import Trainer

GROUPS = ("data", "model", "loss", "optimizer", "trainer", "experiment")
ALL = [
    f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF_DIR / group).glob("*.yaml"))
]
EVALUATIONS = [each for each in ALL if "_evaluation_" in each]
"""What has keys of evaluate.yaml, which train.yaml lacks."""
CHOICES = [each for each in ALL if each not in EVALUATIONS]


def composed(*overrides: str, name: str = "train") -> dict[str, Any]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return plain(compose(name, list(overrides)))


@pytest.mark.parametrize("choice", CHOICES)
def test_every_file_in_conf_composes_and_builds(choice: str, tmp_path: Path) -> None:
    experiment = top_level(composed(choice), Experiment)
    model = build(experiment.model, "model")
    loss_fn = build(experiment.loss, "loss")
    optimizer = build(experiment.optimizer, "optimizer", params=model.parameters())
    if "synthetic" in experiment.data["_target_"]:
        data = build(experiment.data, "data", seed=0)
        assert len(data.train) > 0
        assert len(data.val) > 0
    else:  # needs rasters; tests/data has them
        check(experiment.data, "data")
    parts = {"model": model, "loss_fn": loss_fn, "optimizer": optimizer, "run_dir": tmp_path}
    loaders = {"train_loader": [], "val_loader": []}
    trainer = build(experiment.trainer, "trainer", Trainer.train, **parts, **loaders)
    assert trainer.optimizer is optimizer


@pytest.mark.parametrize(
    ("experiment", "weights"),
    [
        ("sentinel1_codec", QUALITY),
        ("sentinel1_codec_longer", QUALITY),
        ("sentinel1_codec_gains", QUALITY),
        ("sentinel1_bounded", BOUNDED),
    ],
)
def test_experiments_can_begin_with_the_weights_of_the_package(
    experiment: str, weights: Path
) -> None:
    assert composed(f"experiment={experiment}")["model"] == load(weights).model


def test_splits_divide_the_same_scenes_and_hold_out_other_places() -> None:
    splits = ("sentinel1", "sentinel1_second", "sentinel1_third")
    held_out = []
    for split in splits:
        # Beside experiments, which have a split of their own.
        trained = composed("experiment=sentinel1_codec", f"data={split}")["data"]
        evaluated = composed("experiment=sentinel1_evaluation", f"data={split}", name="evaluate")
        assert trained["sources"] == evaluated["data"]["sources"]
        assert trained["patch_size"] == 192  # the experiment's
        held_out.append({each["root"] for each in trained["sources"] if each.get("val")})
        scenes = [{**each, "val": None} for each in trained["sources"]]
        if split == "sentinel1":
            expected = scenes
        assert sorted(scenes, key=str) == sorted(expected, key=str)
    assert len(set.union(*held_out)) == sum(map(len, held_out))
    sigma0 = {each["root"] for each in expected if each["root"].startswith("s1sigma0")}
    assert sigma0 <= set.union(*held_out)


@pytest.mark.parametrize("choice", EVALUATIONS)
def test_every_evaluation_composes_of_codecs_that_there_are(choice: str) -> None:
    wanted = top_level(composed(choice, name="evaluate"), Evaluation)
    check(wanted.data, "data")
    codecs, missing = contestants(wanted.codecs, wanted.checkpoint, wanted.threads)
    assert len(codecs) + len(missing) == len(wanted.codecs)
    assert wanted.anchor in wanted.codecs


def test_every_folder_of_conf_is_a_group_or_hydras() -> None:
    assert {path.name for path in CONF_DIR.iterdir() if path.is_dir()} == {*GROUPS, "hydra"}


CHOSEN = "experiment=", "trainer=smoke", "data=sentinel1"
DEFAULTS = [each for each in CHOICES if not each.startswith(CHOSEN)]


@pytest.mark.parametrize("choice", DEFAULTS)
def test_yaml_and_constructor_agree_on_defaults(choice: str) -> None:
    """A notebook and a run do the same when nothing is said."""
    import inspect

    group = choice.partition("=")[0]
    node = composed(choice)[group]
    functions = [locate(node["_target_"], group)] + ([Trainer.train] if group == "trainer" else [])
    defaults = {
        name: each.default
        for function in functions
        for name, each in inspect.signature(function).parameters.items()
        if each.default is not inspect.Parameter.empty
    }
    for name, value in node.items():
        if name in defaults and name != "epochs":
            given = tuple(value) if isinstance(value, list) else value
            assert given == defaults[name], f"{group}.{name}"


@dataclass(frozen=True)
class Inner:
    name: str


def example(
    count: Annotated[int, Ge(1)],
    share: Annotated[float, Gt(0), Lt(1)] = 0.5,
    mode: Literal["a", "b"] = "a",
    flag: bool = False,
    optional: int | None = None,
    inner: list[Inner] | None = None,
) -> None:
    """Takes one of each kind of setting."""


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("count", 0, "greater than or equal to 1"),
        ("count", "many", "integer"),
        ("count", 1.5, "integer"),
        ("count", True, "number, not true or false"),
        ("count", None, "integer"),
        ("count", "???", "not set"),
        ("share", 2, "less than 1"),
        ("share", float("nan"), "than"),
        ("mode", "c", "'a' or 'b'"),
        ("flag", "perhaps", "boolean"),
        ("optional", "x", "integer"),
        ("inner", [{"nam": "x"}], "inner.0"),
        ("counts", 3, "did you mean here.count?"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line_that_says_what_is_allowed(
    name: str, value: Any, allowed: str
) -> None:
    with pytest.raises(UserError) as refusal:
        arguments({"count": 1, name: value}, "here", example)
    message = str(refusal.value)
    assert message.startswith(f"here.{name}")
    assert allowed in message
    assert "\n" not in message


def test_right_settings_come_back_as_their_types() -> None:
    node = {"count": 3, "share": 0.25, "inner": [{"name": "x"}], "optional": None}
    assert arguments(node, "here", example) == {**node, "inner": [Inner("x")]}


def test_settings_of_another_function_are_left_to_it() -> None:
    def other(extra: int) -> None: ...

    assert arguments({"count": 1, "extra": 2}, "here", example, other) == {"count": 1}


@pytest.mark.parametrize(
    ("name", "word"),
    [("model", "instance of Module"), ("train_loader", "itself"), ("device", "itself")],
)
def test_what_the_program_provides_cannot_be_set(name: str, word: str) -> None:
    node = {"_target_": "sar_codec.training.trainer.Trainer", name: "cpu"}
    with pytest.raises(UserError, match=rf"trainer\.{name}=cpu: .*{word}"):
        build(node, "trainer", Trainer.train, device="cpu")


@pytest.mark.parametrize(
    "target",
    [
        None,
        "os.system",
        "builtins.eval",
        "torch.load",
        "torch.hub.load",
        "torch.optim.Optimizer",
        "sar_codec.config.importlib",
        "sar_codec.config.importlib.import_module",
        "sar_codec.data.raster.os.remove",
        "sar_codec.data.raster.rasterio",
        "sar_codec.losses.nn",
        "sar_codec.losses.Annotated",
        "sar_codec.nowhere.Thing",
        "sar_codec.losses.NoSuchLoss",
        "sar_codec",
    ],
)
def test_only_our_own_parts_and_a_few_of_torchs_are_built(target: Any) -> None:
    with pytest.raises(UserError, match=r"loss\._target_=") as refusal:
        build({"_target_": target}, "loss")
    assert "\n" not in str(refusal.value)


def test_what_is_allowed_is_built() -> None:
    import torch

    assert isinstance(build({"_target_": "sar_codec.losses.CombinedLoss"}, "loss"), CombinedLoss)
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = build({"_target_": "torch.optim.SGD", "lr": 0.1}, "optimizer", params=[parameter])
    assert isinstance(optimizer, torch.optim.SGD)


def test_interpolated_targets_are_judged_by_what_they_become() -> None:
    with pytest.raises(UserError, match=r"model\._target_=os\.system"):
        build(composed("+x=os.system", "model._target_=${x}")["model"], "model")


def test_conf_dir_holds_every_program() -> None:
    assert {path.stem for path in Path(CONF_DIR).glob("*.yaml")} == {
        "train",
        "benchmark",
        "verify_resume",
        "evaluate",
    }


@pytest.mark.parametrize(
    "value",
    [
        "runs/a-1.x",
        "runs/lr=0.1, a b",
        'quo"te',
        "back\\slash",
        "end\\",
        'a\\"b',
        "${x}",
        "~/x",
        "[a]",
        "",
    ],
)
def test_an_override_is_read_by_hydra_as_it_was_meant(value: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import QuotedString

    (parsed,) = OverridesParser.create().parse_overrides([override("resume", value)])
    assert parsed.key_or_group == "resume"
    read = parsed.value()
    assert (read.text if isinstance(read, QuotedString) else read) == value
