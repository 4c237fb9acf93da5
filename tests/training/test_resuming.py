"""What a resumed run takes from its checkpoint, and what from its command."""

from types import SimpleNamespace
from typing import Any

import pytest

from sar_codec.errors import UserError
from sar_codec.training.resuming import check_can_go_on, differences, lay_over

SAVED = {
    "data": {"_target_": "raster", "root": "scenes", "vmin": -30.0},
    "optimizer": {"_target_": "adam", "lr": 1e-3},
    "trainer": {"epochs": 20, "lr_patience": 3},
    "seed": 7,
    "resume": None,
}
DEFAULT = {
    "data": {"_target_": "synthetic", "scenes": 80},
    "optimizer": {"_target_": "adam", "lr": 1e-4},
    "trainer": {"epochs": 40, "lr_patience": 10, "new_in_this_version": 1},
    "seed": 0,
    "resume": "last",
}


def with_values(config: dict[str, Any], **groups: Any) -> dict[str, Any]:
    return {key: (config[key] | groups[key] if key in groups else config[key]) for key in config}


def test_without_overrides_the_checkpoints_config_stays() -> None:
    assert lay_over(SAVED, DEFAULT, DEFAULT, []) == SAVED | {"resume": "last"}


def test_a_value_given_now_counts_also_where_it_is_the_default() -> None:
    result = lay_over(SAVED, DEFAULT, DEFAULT, ["optimizer.lr", "resume"])
    assert result == with_values(SAVED, optimizer={"lr": 1e-4}) | {"resume": "last"}


def test_a_group_given_now_counts_as_a_whole() -> None:
    result = lay_over(SAVED, DEFAULT, DEFAULT, ["data"])
    assert result["data"] == DEFAULT["data"]
    assert result["trainer"] == SAVED["trainer"]


def test_what_an_experiment_changes_counts_as_given() -> None:
    current = with_values(DEFAULT, trainer={"epochs": 120})
    result = lay_over(SAVED, current, DEFAULT, ["experiment"])
    assert result["trainer"] == {"epochs": 120, "lr_patience": 3}


def test_a_group_that_an_experiment_takes_counts_as_a_whole_unless_the_checkpoint_has_it() -> None:
    raster = {"_target_": "raster", "root": "more", "vmin": -30.0}
    current = DEFAULT | {"data": raster}
    plainly = DEFAULT | {"data": raster | {"root": None}}
    given = ["experiment", "data.root"]
    result = lay_over(SAVED, current, plainly, given, {"data"})
    assert result["data"] == SAVED["data"] | {"root": "more"}
    result = lay_over(DEFAULT, current, plainly, given, {"data"})
    assert result["data"] == raster


def test_keys_that_are_new_and_keys_that_are_gone() -> None:
    current = DEFAULT | {"new": 1}
    assert lay_over(SAVED, current, current, [])["new"] == 1
    assert "vmin" not in lay_over(SAVED, DEFAULT, DEFAULT, ["data.vmin"])["data"]


def test_one_source_of_a_list_given_now_is_given_with_the_others() -> None:
    saved = SAVED | {"data": {"sources": [{"root": "a"}]}}
    current = DEFAULT | {"data": {"sources": [{"root": "b"}, {"root": "c"}]}}
    result = lay_over(saved, current, current, ["data.sources.1.root"])
    assert result["data"] == current["data"]


def test_the_arguments_are_left_as_they_were() -> None:
    result = lay_over(SAVED, DEFAULT, DEFAULT, ["optimizer.lr"])
    result["data"]["root"] = "changed"
    assert SAVED["data"]["root"] == "scenes"  # type: ignore[index]
    assert SAVED["optimizer"]["lr"] == 1e-3  # type: ignore[index]


def test_differences_name_both_values() -> None:
    current = with_values(SAVED, trainer={"epochs": 30, "more": 1}) | {"resume": "x"}
    assert list(differences(SAVED, current).values()) == [
        "trainer.epochs: 30 now, 20 in the checkpoint",
        "trainer.more: 1 now, nothing in the checkpoint",
    ]


def test_a_setting_that_is_newer_than_the_checkpoint_changes_nothing_where_it_is_the_default() -> (
    None
):
    model: dict[str, Any] = {"_target_": "sar_codec.models.hyperprior.Hyperprior", "width": 64}
    state: Any = SimpleNamespace(config={"model": model, "seed": 0}, batch=0)
    new: dict[str, Any] = {"model": model | {"refinement_width": 0}, "seed": 0, "train_only": None}
    check_can_go_on("run", state, new)
    for other in (
        new | {"model": model | {"refinement_width": 8}},
        new | {"train_only": "synthesis"},
    ):
        with pytest.raises(UserError, match="now, nothing in the checkpoint"):
            check_can_go_on("run", state, other)
