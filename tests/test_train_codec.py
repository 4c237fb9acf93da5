"""Codecs from the command line, with what the runner does for any model."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sar_codec.coding.bounded import decode, encode
from sar_codec.coding.cells import Cells
from sar_codec.models.hyperprior import Hyperprior
from sar_codec.models.interlaced import Interlaced
from sar_codec.train import main
from sar_codec.trained import load, pass_on

RunProgram = Callable[..., tuple[int, str]]

TINY = (
    "loss=rate_distortion",
    "trainer=smoke",
    "device=cpu",
    "data.scenes=3",
    "data.size=64",
    "data.patch_size=64",
    "data.batch_size=1",
    "model.width=8",
    "model.latent_channels=60",
)


@pytest.mark.parametrize("model", ["hyperprior", "factorized"])
def test_rate_and_distortion_are_logged_and_pictures(
    model: str, run_program: RunProgram, tmp_path: Path
) -> None:
    assert run_program(main, *TINY, f"model={model}", "hydra.run.dir=run")[0] == 0
    with (tmp_path / "run" / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    names = "loss", "bpp", "rmse_db", "psnr", "ssim"
    assert all(float(rows[-1][f"{phase}_{name}"]) for phase in ("train", "val") for name in names)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert {f"val/{name}" for name in names} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"] == ["Reconstructions/triple_view"]


def test_a_codec_goes_on_from_a_checkpoint_and_codes_images(
    run_program: RunProgram, tmp_path: Path
) -> None:
    run = *TINY, "model=hyperprior", "hydra.run.dir=run"
    assert run_program(main, *run)[0] == 0
    assert run_program(main, *run, "trainer.epochs=3", "resume=run")[0] == 0
    saved = torch.load(tmp_path / "run" / "checkpoints" / "latest.pth", weights_only=True)
    assert saved["epoch"] == 3
    settings = {key: each for key, each in saved["config"]["model"].items() if key[0] != "_"}
    model = Hyperprior(**settings).eval()
    model.load_state_dict(saved["model_state_dict"])
    data = model.compress(torch.rand(1, 1, 50, 80), 4)
    assert model.decompress(data, 4, 50, 80).shape == (1, 1, 50, 80)


def test_a_run_begins_with_the_weights_of_another(
    run_program: RunProgram, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = *TINY, "model=factorized"
    assert run_program(main, *run, "hydra.run.dir=first")[0] == 0
    pass_on(load(tmp_path / "first" / "checkpoints" / "best.pth"), tmp_path / "w.safetensors")
    still = "optimizer.lr=1e-12", "trainer.epochs=1"
    for weights in ("w.safetensors", "first/checkpoints/best.pth"):
        again = *run, *still, f"weights={weights}", f"hydra.run.dir={weights[0]}2"
        assert run_program(main, *again)[0] == 0
        expected = load(tmp_path / "w.safetensors").tensors["analysis.linear.weight"]
        found = load(tmp_path / f"{weights[0]}2" / "checkpoints" / "latest.pth")
        torch.testing.assert_close(found.tensors["analysis.linear.weight"], expected)
    code, said = run_program(main, *TINY, "model=hyperprior", "weights=w.safetensors")
    assert code == 1
    assert "another architecture" in said


def test_a_refinement_may_be_new_or_left_out_and_be_all_that_is_trained(
    run_program: RunProgram, tmp_path: Path
) -> None:
    run = *TINY, "model=hyperprior", "trainer.epochs=1"
    refined = *run, "model.refinement_width=8", "train_only=synthesis.refinement"
    first, second = (f"{name}/checkpoints/latest.pth" for name in ("first", "second"))
    assert run_program(main, *run, "hydra.run.dir=first")[0] == 0
    assert run_program(main, *refined, f"weights={first}", "hydra.run.dir=second")[0] == 0
    said = (tmp_path / "second" / "training.log").read_text()
    assert f"Weights of {first} to begin with; synthesis.refinement is new" in said
    before, after = (load(tmp_path / each).tensors for each in (first, second))
    changed = {name for name in after if name not in before or (after[name] != before[name]).any()}
    assert changed == {name for name in after if name.startswith("synthesis.refinement.")}
    assert after["synthesis.refinement.leave"].any()
    assert run_program(main, "resume=second", "trainer.epochs=2", "hydra.run.dir=on")[0] == 0
    again = *refined, f"weights={second}"
    assert run_program(main, *again, "hydra.run.dir=third")[0] == 0
    assert "is new" not in (tmp_path / "third" / "training.log").read_text()
    assert run_program(main, *run, f"weights={second}", "hydra.run.dir=fourth")[0] == 0
    said = (tmp_path / "fourth" / "training.log").read_text()
    assert f"Weights of {second} to begin with; synthesis.refinement is left out" in said
    code, said = run_program(main, *again, "model.refinement_width=16")
    assert code == 1
    assert "synthesis.refinement.enter" in said and "another architecture" in said


@pytest.mark.parametrize("part", ["refinement", "synthesis.refinement", ""])
def test_only_a_part_that_there_is_can_be_trained(part: str, run_program: RunProgram) -> None:
    code, said = run_program(main, *TINY, "model=hyperprior", f'train_only="{part}"')
    assert code == 1
    assert f"train_only={part}: no part of a Hyperprior" in said
    assert "analysis, synthesis, gains" in said


def test_a_part_is_not_trained_where_the_others_never_were(run_program: RunProgram) -> None:
    code, said = run_program(main, *TINY, "model=hyperprior", "train_only=synthesis")
    assert code == 1
    assert "train_only=synthesis: the other parts would stay untrained; give weights=" in said


def test_a_codec_of_bounded_error_trains_and_codes_tiles(
    run_program: RunProgram, tmp_path: Path
) -> None:
    run = *(each for each in TINY if "model." not in each), "model=interlaced", "loss=rate"
    assert run_program(main, *run, "model.width=8", "hydra.run.dir=run")[0] == 0
    with (tmp_path / "run" / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert 0 < float(rows[-1]["val_bpp"]) < float(rows[0]["val_bpp"])
    saved = torch.load(tmp_path / "run" / "checkpoints" / "latest.pth", weights_only=True)
    model = Interlaced(width=8).eval()
    model.load_state_dict(saved["model_state_dict"])
    rule, valid = Cells("uint16", "amplitude", 0.5), np.ones((50, 80), bool)
    pixels = np.random.default_rng(0).integers(20, 60, (50, 80)).astype(np.uint16)
    numbers = rule.to_numbers(pixels, valid)
    data, expected = encode(numbers, valid, rule, model)
    decoded = decode(data, valid, rule, model)
    assert np.array_equal(decoded, expected)
    assert (np.abs(20 * np.log10(decoded / pixels)) <= 0.5).all()


def test_a_model_without_bits_is_refused_in_one_line(run_program: RunProgram) -> None:
    code, message = run_program(main, *TINY, "model=autoencoder")
    assert code == 1
    assert "use model=hyperprior or model=factorized, or loss=combined" in message
    assert "\n" not in message
