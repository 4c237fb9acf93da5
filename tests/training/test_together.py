"""Two processes that train one model do what one does."""

import io
import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import together
import torch
from forked_training import Forked
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchvision.transforms.functional import pil_to_tensor

from sar_codec.training import checkpoint
from sar_codec.training.sameness import difference_of_runs

Results = dict[str, Any]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    """The folder and the results of all scenarios by two processes."""
    folder = tmp_path_factory.mktemp("two")
    together.half(folder / "alone" / "half")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    both = [Forked(folder, together.one_of_two, rank, port, folder) for rank in range(2)]
    while any(each.code is None for each in both):
        if any(each.code for each in both):  # the other would wait for it
            for each in both:
                each.send(signal.SIGKILL)
        time.sleep(0.02)
    assert [each.code for each in both] == [0, 0], [each.said[-3000:] for each in both]
    return folder, json.loads((folder / "results.json").read_text())


def relative_difference(first: Results, second: Results, column: str) -> float:
    rows = zip(first["history"], second["history"], strict=True)
    return max(abs(one[column] / other[column] - 1) for one, other in rows)


COLUMNS = ("train_loss", "train_psnr", "val_loss", "val_psnr", "val_ssim", "val_bias_db")


@pytest.mark.parametrize("name", ["steps", "one_left", "accumulated"])
def test_losses_and_metrics_are_those_of_one_process(
    name: str, two: tuple[Path, Results], tmp_path: Path
) -> None:
    """Of twenty steps; of an epoch whose last batch has fewer samples than processes."""
    alone = getattr(together, name)(tmp_path)
    for column in COLUMNS:
        assert relative_difference(two[1][name], alone, column) < 1e-5, column


def test_accumulated_batches_make_the_update_of_a_batch_of_all_of_them(tmp_path: Path) -> None:
    apart = together.trainer_for(tmp_path / "apart", batch_size=2, accumulate_steps=3)
    at_once = together.trainer_for(tmp_path / "at_once", batch_size=6)
    rows = {"apart": apart.train(2), "at_once": at_once.train(2)}
    assert apart.global_step == at_once.global_step == 8  # of 20 samples, 6 a step: 4 an epoch
    for one, other in zip(apart.model.parameters(), at_once.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    for column in COLUMNS:
        histories = [{"history": rows[name]} for name in rows]
        assert relative_difference(*histories, column) < 1e-5, column


def test_the_moving_average_is_that_of_one_process(
    two: tuple[Path, Results], tmp_path: Path
) -> None:
    alone = together.averaged(tmp_path)
    assert relative_difference(two[1]["averaged"], alone, "ema_loss") < 1e-5


@pytest.mark.parametrize("name", ["steps", "whole"])
def test_all_processes_have_the_same_weights_and_statistics(
    name: str, two: tuple[Path, Results]
) -> None:
    first, second = two[1][name]["digests"]
    assert first == second


def test_a_bad_loss_in_one_process_is_a_bad_step_in_all(two: tuple[Path, Results]) -> None:
    first, second = two[1]["unlucky"]["digests"]
    assert first == second
    (row,) = two[1]["unlucky"]["history"]
    assert all(value == value for value in row.values()), "a NaN came into the means"
    state = checkpoint.load(two[0] / "unlucky" / "checkpoints" / "latest.pth")
    steps = {float(each["step"]) for each in state.optimizer_state_dict["state"].values()}
    assert steps == {6.0}, "of seven"


def test_early_stopping_is_agreed_on(two: tuple[Path, Results]) -> None:
    assert two[1]["idle"]["epochs"] == [3, 3]


def test_a_signal_to_one_stops_all_at_the_same_step_and_saves_once(
    two: tuple[Path, Results],
) -> None:
    result = two[1]["cut"]
    assert result["stopped"] == [[signal.SIGUSR2, 5], [signal.SIGUSR2, 5]]
    assert result["saved"] == 5
    state = checkpoint.load(two[0] / "cut" / "checkpoints" / "latest.pth")
    assert len(state.random_states_of_others) == 1
    assert state.made_with["processes"] == 2


def test_a_run_of_two_processes_that_was_cut_ends_as_one_that_was_not(
    two: tuple[Path, Results],
) -> None:
    assert difference_of_runs(two[0] / "whole", two[0] / "cut") is None


def test_what_one_began_two_go_on_with_and_the_other_way_round(
    two: tuple[Path, Results], tmp_path: Path
) -> None:
    whole = {"history": together.trainer_for(tmp_path / "whole").train(2)}
    assert relative_difference(two[1]["gone_on"], whole, "val_loss") < 1e-5
    trainer = together.trainer_for(tmp_path / "gone_on")
    trainer.load_checkpoint(two[0] / "half" / "checkpoints" / "latest.pth")
    assert relative_difference({"history": trainer.train(2)}, whole, "val_loss") < 1e-5


def test_processes_that_did_not_find_the_same_checkpoint_are_refused(
    two: tuple[Path, Results],
) -> None:
    first, second = two[1]["apart"]["said"]
    assert first == second
    assert first.startswith("the processes are not at the same place (1 epochs and 0 batches done")
    assert "; 0 epochs and 0 batches done" in first
    assert not (two[0] / "apart").exists()


def test_only_the_first_process_writes(two: tuple[Path, Results]) -> None:
    (events,) = (two[0] / "steps" / "tensorboard").iterdir()
    assert sorted(os.listdir(two[0] / "steps")) == [
        *("checkpoints", "environment.json", "history.csv", "tensorboard"),
    ]
    assert events.stat().st_size > 1000


def test_the_picture_is_of_the_samples_that_one_process_shows(
    two: tuple[Path, Results], tmp_path: Path
) -> None:
    """Four of them, of batches of three: from both processes' parts."""
    together.steps(tmp_path)
    first, second = (first_picture(run) for run in (two[0] / "steps", tmp_path))
    assert first.shape == second.shape
    assert (first != second).float().mean() < 0.01, "all but roundings"


def first_picture(run: Path) -> torch.Tensor:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    encoded = events.Images("Reconstructions/triple_view")[0].encoded_image_string
    return pil_to_tensor(Image.open(io.BytesIO(encoded)))
