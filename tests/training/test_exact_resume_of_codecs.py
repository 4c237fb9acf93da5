"""A codec draws levels and noise in training, and keeps tables: it too resumes to the last bit."""

import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from cuts import Cut, in_process, train

from sar_codec.losses import RateDistortion
from sar_codec.models.factorized import Factorized
from sar_codec.models.hyperprior import Hyperprior
from sar_codec.training import checkpoint
from sar_codec.training.sameness import difference_of_runs, difference_of_states

TRANSFORMS = {"latent_channels": 12, "width": 8, "analysis_depth": 1, "synthesis_depth": 1}
PREDICTOR = {"coarse_channels": 3, "hyper_channels": 4, "hyper_width": 6, "context_width": 8}
SETTINGS: dict[str, Any] = {
    "model": partial(Hyperprior, **TRANSFORMS, **PREDICTOR),
    "loss_fn": RateDistortion,
    "learning_rate": 0.003,
    "epochs": 3,
}

LOGGED = "loss", "bpp", "mse", "rmse_db", "psnr", "ssim"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never cut."""
    run_dir = tmp_path_factory.mktemp("whole")
    assert in_process(train, run_dir, **SETTINGS) == 0
    return run_dir


def test_a_run_logs_rate_and_distortion_and_keeps_tables(whole: Path) -> None:
    state = checkpoint.load(whole / "checkpoints" / "latest.pth")
    logged = {f"{phase}_{name}" for phase in ("train", "val") for name in LOGGED}
    assert logged <= state.history[-1].keys()
    assert len({row["train_bpp"] for row in state.history}) == 3
    tables = [name for name in state.model_state_dict if name.endswith("frequencies")]
    assert tables == [
        "scale_tables.made_tables.frequencies",
        "hyper_density.made_tables.frequencies",
    ]


@pytest.mark.parametrize(
    "cuts",
    [
        pytest.param([Cut("val", 1), Cut("train", 3, 1, signal.SIGTERM)], id="twice"),
        pytest.param([Cut("train", 2, 4)], id="inside an epoch", marks=pytest.mark.slow),
        pytest.param(
            [Cut("save", 2), Cut("val", 3, 1, signal.SIGTERM)],
            id="at the ends of epochs",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_cut_codec_ends_as_if_it_had_not_been(
    cuts: list[Cut], whole: Path, tmp_path: Path
) -> None:
    for cut in cuts:
        assert in_process(train, tmp_path, cut, **SETTINGS) != 0
    assert in_process(train, tmp_path, **SETTINGS) == 0
    assert difference_of_runs(whole, tmp_path) is None


def test_the_generators_states_are_needed_for_that(whole: Path, tmp_path: Path) -> None:
    assert in_process(train, tmp_path, Cut("train", 2, 4), **SETTINGS) != 0
    assert in_process(train, tmp_path, forget="random_states", **SETTINGS) == 0
    assert "model_state_dict" in (difference_of_runs(whole, tmp_path) or "")


def test_a_codec_from_a_checkpoint_reads_what_another_wrote(whole: Path) -> None:
    saved = checkpoint.load(whole / "checkpoints" / "latest.pth")
    models = [SETTINGS["model"](), SETTINGS["model"]()]
    for model in models:
        model.load_state_dict(saved.model_state_dict)
    x = torch.rand(1, 1, 70, 50)
    data = models[0].eval().compress(x, 6.5)
    latents = [model.decompress_latents(data, 6.5, 70, 50) for model in models]
    assert torch.equal(*latents)


def test_the_small_codec_resumes_exactly(tmp_path: Path) -> None:
    settings = SETTINGS | {"model": partial(Factorized, **TRANSFORMS), "epochs": 2}
    assert in_process(train, tmp_path / "whole", **settings) == 0
    assert in_process(train, tmp_path / "cut", Cut("train", 2, 2), **settings) != 0
    assert in_process(train, tmp_path / "cut", **settings) == 0
    latest = [
        checkpoint.load(tmp_path / run / "checkpoints" / "latest.pth") for run in ("whole", "cut")
    ]
    assert difference_of_states(*latest) is None
