"""A run that is cut and goes on ends as one that was not: to the last bit, wherever it was cut."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from cuts import BATCHES, Cut, in_process, train

from sar_codec.training import checkpoint
from sar_codec.training.sameness import difference_of_runs, difference_of_states

CUTS = {
    "before the first checkpoint": [Cut("train", 1)],
    "inside the first epoch": [Cut("train", 1, 3)],
    "before the first validation": [Cut("train", 1, BATCHES)],
    "inside the first validation": [Cut("val", 1)],
    "at the end of an epoch": [Cut("save", 7)],
    "at the end of the best epoch": [Cut("save", 5)],
    "inside an epoch": [Cut("train", 8, 4)],
    "during validation": [Cut("val", 8)],
    "in the last epoch": [Cut("train", 9, 2)],
    "during the last validation": [Cut("val", 9, 2)],
    "after the last epoch": [Cut("save", 9)],
    "twice": [Cut("train", 3, 2), Cut("val", 8)],
    "four times in one epoch": [Cut("train", 6, batch) for batch in (1, 2, 5)] + [Cut("val", 6)],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never cut."""
    run_dir = tmp_path_factory.mktemp("whole")
    assert in_process(train, run_dir) == 0
    return run_dir


def test_the_uncut_run_has_what_naive_resuming_loses(whole: Path) -> None:
    state = checkpoint.load(whole / "checkpoints" / "latest.pth")
    assert (state.epoch, state.best_epoch, state.epochs_without_improvement) == (9, 5, 4)
    rates = [row["learning_rate"] for row in state.history]
    assert rates[7] > rates[8]  # bad epochs counted before a cut in the 8th cause this
    assert len({row["train_loss"] for row in state.history}) == 9


@pytest.mark.parametrize(
    ("place", "number"),
    [
        *(pytest.param(place, signal.SIGKILL, id=f"{place}-SIGKILL") for place in CUTS),
        *(
            # A signal is obeyed in the same way wherever it comes; all of them take half a minute.
            pytest.param(
                place,
                signal.SIGTERM,
                id=f"{place}-SIGTERM",
                marks=[] if place in ("inside an epoch", "during validation") else pytest.mark.slow,
            )
            for place in CUTS
        ),
    ],
)
def test_a_cut_run_ends_as_if_it_had_not_been(
    place: str, number: int, whole: Path, tmp_path: Path
) -> None:
    for cut in CUTS[place]:
        cut = Cut(cut.phase, cut.epoch, cut.batch, number)
        assert in_process(train, tmp_path, cut) == (-9 if number == signal.SIGKILL else 1)
    assert in_process(train, tmp_path) == 0
    assert difference_of_runs(whole, tmp_path) is None


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"num_workers": 2}, marks=pytest.mark.slow),
        {"histogram_every": 1, "image_count": 2},
        {"checkpoint_every_minutes": 10.0},
    ],
    ids=["workers", "logging", "fewer checkpoints"],
)
def test_what_has_nothing_to_do_with_the_weights_does_not_change_them(
    settings: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    cut = Cut("train", 5, 3, signal.SIGTERM)
    assert in_process(train, tmp_path, cut, **settings) == 1
    assert in_process(train, tmp_path, **settings) == 0
    for name in ("latest.pth", "best.pth"):
        states = (checkpoint.load(run / "checkpoints" / name) for run in (whole, tmp_path))
        assert difference_of_states(*states) is None


class Shuffling(torch.utils.data.DataLoader[torch.Tensor]):
    """What users write: a loader whose order comes from torch's global generator."""

    def __init__(self) -> None:
        images = torch.rand(50, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        super().__init__(images, batch_size=9, shuffle=True)  # type: ignore[arg-type]  # a tensor is a dataset


@pytest.fixture(scope="module")
def whole_of_another_loader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("another")
    assert in_process(train, run_dir, loader=Shuffling()) == 0
    return run_dir


def test_another_loader_goes_on_too_by_drawing_the_batches_again(
    whole_of_another_loader: Path, tmp_path: Path
) -> None:
    assert in_process(train, tmp_path, Cut("train", 2, 3), loader=Shuffling()) == -9
    assert in_process(train, tmp_path, loader=Shuffling()) == 0
    assert difference_of_runs(whole_of_another_loader, tmp_path) is None


# Two have tests of their own (test_bad_steps, test_together); what a run was configured as and
# made with is not restored.
RESTORED = sorted(
    {*checkpoint.ENTRIES} - {"bad_steps_in_row", "random_states_of_others", "config", "made_with"}
)


# Those that a naive resuming loses; all of them take half a minute.
EASILY_LOST = {"best_val_loss", "epochs_without_improvement", "scheduler_state_dict", "history"}


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, marks=[] if entry in EASILY_LOST else pytest.mark.slow)
        for entry in RESTORED
    ],
)
def test_a_checkpoint_has_nothing_that_could_be_left_out(
    entry: str, whole: Path, whole_of_another_loader: Path, tmp_path: Path
) -> None:
    settings = {"loader": Shuffling()} if entry == "epoch_random_states" else {}
    # In the 8th epoch two are counted as bad, by early stopping and by the plateau; in the 9th the
    # learning rate is another one than was given.
    epoch = {"epoch_random_states": 2, "given_learning_rate": 9}.get(entry, 8)
    cut = Cut("val", 1) if entry == "gradients" else Cut("train", epoch, 4)
    assert in_process(train, tmp_path, cut, **settings) == -9
    code = in_process(train, tmp_path, forget=entry, **settings)
    expected = whole_of_another_loader if settings else whole
    assert code or difference_of_runs(expected, tmp_path)
