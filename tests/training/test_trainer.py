import csv
import math
import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from sar_codec.errors import UserError
from sar_codec.losses import CombinedLoss
from sar_codec.models.autoencoder import SARAutoencoder
from sar_codec.processes import Processes
from sar_codec.signals import Stopped
from sar_codec.training import checkpoint
from sar_codec.training import trainer as trainer_module
from sar_codec.training.optimizers import adam, adamw
from sar_codec.training.sameness import difference_of_states
from sar_codec.training.trainer import Trainer

PARAMS = {"vmin": 14.77, "vmax": 24.54}
Batches = list[Tensor]


def small_model(**settings: Any) -> SARAutoencoder:
    torch.manual_seed(0)
    return SARAutoencoder(**{"latent_channels": 4, "width": 8, "depth": 1} | settings)


def trainer_for(images: Batches, run_dir: Path, **settings: Any) -> Trainer:
    settings = {"device": "cpu", "precision": "fp32", "run_dir": run_dir} | settings
    settings.setdefault("preprocessing_params", PARAMS)
    model = settings.pop("model", None) or small_model()
    loss_fn = settings.pop("loss_fn", CombinedLoss())
    return Trainer(model, images, settings.pop("val", images), loss_fn, **settings)


class ScriptedLosses:
    """Gives the validation losses of a list, one an epoch, and CombinedLoss in training."""

    def __init__(self, losses: list[float]) -> None:
        self.losses = iter(losses)

    def __call__(self, x_hat: Tensor, x: Tensor, z: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        loss, parts = CombinedLoss()(x_hat, x, z)
        if torch.is_grad_enabled():
            return loss, parts
        return loss, parts | {"loss": torch.tensor(next(self.losses))}


def events_of(run_dir: Path) -> EventAccumulator:
    events = EventAccumulator(
        str(run_dir / "tensorboard"), size_guidance={"images": 0, "histograms": 0}
    )
    events.Reload()
    return events


def test_two_epochs_from_python_as_the_readme_has_it(tmp_path: Path) -> None:
    loader = [torch.rand(4, 1, 256, 256) for _ in range(2)]
    trainer = Trainer(
        SARAutoencoder(latent_channels=16),
        loader,
        loader,
        CombinedLoss(),
        run_dir=tmp_path,
        preprocessing_params=PARAMS,
    )
    history = trainer.train(2)
    assert len(history) == 2
    names = {"epoch", "learning_rate"} | {
        f"{phase}_{name}" for phase in ("train", "val") for name in ("loss", "psnr", "ssim")
    }
    assert all(names <= row.keys() for row in history)
    saved = torch.load(tmp_path / "checkpoints" / "latest.pth")
    assert saved["preprocessing_params"]["vmin"] == 14.77
    assert set(checkpoint.ENTRIES) == saved.keys()
    assert saved["epoch"] == 2
    assert saved["history"] == history


def test_training_learns(smooth_images: Batches, tmp_path: Path) -> None:
    trainer = trainer_for(smooth_images, tmp_path, optimizer=None)
    trainer.optimizer.param_groups[0]["lr"] = 3e-3
    history = trainer.train(12)
    assert history[-1]["val_psnr"] > history[0]["val_psnr"] + 1


def test_defaults_are_adam_with_1e_4(smooth_images: Batches, tmp_path: Path) -> None:
    optimizer = trainer_for(smooth_images, tmp_path).optimizer
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.defaults["lr"] == 1e-4
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert optimizer.defaults["weight_decay"] == 0


@pytest.mark.parametrize("sizes", [[9], [4, 4, 1], [1, 8], [3, 3, 3]])
def test_epoch_metrics_are_means_over_samples_whatever_the_batches(
    smooth_images: Batches, tmp_path: Path, sizes: list[int]
) -> None:
    images = torch.cat(smooth_images)
    expected = trainer_for([image[None] for image in images], tmp_path).validate()
    found = trainer_for(list(images.split(sizes)), tmp_path).validate()
    assert found == pytest.approx(expected, rel=1e-5)


def test_training_metrics_count_a_small_last_batch_by_its_samples(tmp_path: Path) -> None:
    images = [torch.zeros(4, 1, 16, 16), torch.ones(1, 1, 16, 16)]

    def brightness(x_hat: Tensor, x: Tensor, z: Any) -> tuple[Tensor, dict[str, Tensor]]:
        loss = (x_hat - x).square().mean()
        return loss, {"loss": x.mean(), "psnr": x.mean(), "ssim": x.mean()}

    assert trainer_for(images, tmp_path, loss_fn=brightness).train_epoch()["loss"] == 0.2


class Dropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm2d(1).eval()
        self.scale = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.dropout(self.frozen(x) * self.scale), x


class DrawsRandomly:
    """A loader that uses every global generator there is."""

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(2):
            yield torch.rand(2, 1, 16, 16) + random.random() + np.random.rand()


def test_validation_changes_nothing(tmp_path: Path) -> None:
    model = Dropout()
    model.dropout.train()
    trainer = trainer_for(DrawsRandomly(), tmp_path, model=model)  # type: ignore[arg-type]  # no list, but sized and iterable
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    trainer.validate()
    trainer.log_images()
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    trainer.tracker.close()


def test_gradients_are_clipped(smooth_images: Batches, tmp_path: Path) -> None:
    trainer = trainer_for(smooth_images, tmp_path, max_grad_norm=1e-3)
    trainer.train_epoch()
    norms = [p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]
    assert torch.stack(norms).norm().item() <= 1e-3 * 1.001


def test_the_learning_rate_is_cut_on_a_plateau_and_the_cut_is_logged(
    smooth_images: Batches, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    losses = ScriptedLosses([1.0, 2.0, 2.0, 2.0, 2.0])
    trainer = trainer_for(
        smooth_images, tmp_path, loss_fn=losses, val=smooth_images[:1], lr_factor=0.1, lr_patience=2
    )
    history = trainer.train(5)
    assert [row["learning_rate"] for row in history] == pytest.approx([1e-4] * 4 + [1e-5])
    assert "Learning rate cut from 0.0001 to 1e-05" in caplog.text


def test_the_learning_rate_falls_in_the_last_share_of_the_epochs(
    smooth_images: Batches, tmp_path: Path
) -> None:
    rates: list[float] = []
    model = small_model()
    optimizer = adam(model.parameters(), lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    settings = {"model": model, "optimizer": optimizer, "lr_decay": 0.5}
    trainer = trainer_for(smooth_images[:1], tmp_path, **settings)
    history = trainer.train(6)
    falling = [0.1, 0.1, 0.1, 0.075, 0.05, 0.025]
    assert [row["learning_rate"] for row in history] == pytest.approx(falling)
    assert rates == pytest.approx(falling)
    assert trainer.state().optimizer_state_dict["param_groups"][0]["lr"] == 0.1
    rates.clear()
    trainer.train_epoch()  # outside of `train`, of no number of epochs
    assert rates == [0.1]
    trainer.train(9)  # a longer run is one whose rate falls later
    assert [row["learning_rate"] for row in history[6:]] == pytest.approx(
        [0.3 / 5.5, 0.2 / 5.5, 0.1 / 5.5]
    )


@pytest.mark.parametrize("other", [{"compile": True}, {"accumulate_steps": 2}])
def test_replaying_is_refused_with_what_it_cannot_do(
    smooth_images: Batches, tmp_path: Path, other: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=r"trainer\.replay=true: not with"):
        trainer_for(smooth_images, tmp_path, replay=True, **other)


def test_replaying_is_refused_in_several_processes(
    smooth_images: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Two(Processes):
        count = 2

    monkeypatch.setattr(trainer_module, "group", Two)
    with pytest.raises(UserError, match=r"trainer\.replay=true: not with"):
        trainer_for(smooth_images, tmp_path, replay=True)


def test_training_stops_early_and_says_why(
    smooth_images: Batches, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    losses = ScriptedLosses([3.0, 2.0, 2.5, 2.5, 2.5])
    trainer = trainer_for(smooth_images, tmp_path, loss_fn=losses, val=smooth_images[:1])
    assert len(trainer.train(100, early_stopping_patience=3)) == 5
    assert "Early stopping: no improvement of the validation loss for 3 epochs" in caplog.text
    assert "best validation loss 2 in epoch 2" in caplog.text


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_no_improvement(
    smooth_images: Batches, tmp_path: Path, bad: float
) -> None:
    losses = ScriptedLosses([bad, 2.0, bad, 1.0])
    trainer = trainer_for(smooth_images, tmp_path, loss_fn=losses, val=smooth_images[:1])
    trainer.train(4)
    assert trainer.best_val_loss == 1.0
    assert torch.load(tmp_path / "checkpoints" / "best.pth")["epoch"] == 4


def test_best_is_the_best_and_latest_the_latest(smooth_images: Batches, tmp_path: Path) -> None:
    losses = ScriptedLosses([3.0, 1.0, 2.0])
    trainer_for(smooth_images, tmp_path, loss_fn=losses, val=smooth_images[:1]).train(3)
    assert torch.load(tmp_path / "checkpoints" / "best.pth")["epoch"] == 2
    assert torch.load(tmp_path / "checkpoints" / "latest.pth")["epoch"] == 3


def test_tensorboard_has_all_of_it(smooth_images: Batches, tmp_path: Path) -> None:
    trainer_for(smooth_images, tmp_path, histogram_every=2).train(3)
    events = events_of(tmp_path)
    scalars = set(events.Tags()["scalars"])
    for phase in ("train", "val"):
        assert {f"{phase}/{name}" for name in ("loss", "psnr", "ssim", "mse", "rmse_db")} <= scalars
    assert {"train/learning_rate", "train/images_per_second", "val/bias_db"} <= scalars
    assert [event.step for event in events.Scalars("val/loss")] == [1, 2, 3]
    assert [event.step for event in events.Images("Reconstructions/triple_view")] == [1, 2, 3]
    names = {name for name, _ in small_model().named_parameters()}
    expected = {f"{kind}/{name}" for kind in ("weights", "gradients") for name in names}
    assert set(events.Tags()["histograms"]) == expected
    name = next(iter(expected))
    assert [event.step for event in events.Histograms(name)] == [1, 2]


def test_the_picture_shows_the_same_first_samples_each_epoch(
    smooth_images: Batches, tmp_path: Path
) -> None:
    shuffled = [smooth_images, smooth_images[::-1]]

    class Changing(list[Tensor]):
        def __iter__(self) -> Iterator[Tensor]:
            shuffled.reverse()
            return iter(shuffled[0])

    trainer = trainer_for(smooth_images, tmp_path, val=Changing(smooth_images), image_count=6)
    first = trainer._examples.originals(trainer.device)
    assert len(first) == 6
    assert torch.equal(first, trainer._examples.originals(trainer.device))
    few = trainer_for(smooth_images, tmp_path, val=smooth_images[2:], image_count=6)
    assert len(few._examples.originals(few.device)) == 1
    few.log_images()
    few.tracker.close()


def test_history_csv_is_the_history(smooth_images: Batches, tmp_path: Path) -> None:
    history = trainer_for(smooth_images, tmp_path).train(2)
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{name: float(value) for name, value in row.items()} for row in rows] == history


def test_resuming_goes_on_where_the_checkpoint_was(smooth_images: Batches, tmp_path: Path) -> None:
    straight = trainer_for(smooth_images, tmp_path / "straight").train(4)
    trainer_for(smooth_images, tmp_path / "first").train(2)
    resumed = trainer_for(smooth_images, tmp_path / "second")
    resumed.load_checkpoint(tmp_path / "first" / "checkpoints" / "latest.pth")
    assert (resumed.epoch, resumed.global_step) == (2, 6)
    history = resumed.train(4)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    # The data has a fixed order and the model no noise, so it is the same training.
    assert [row["val_loss"] for row in history] == [row["val_loss"] for row in straight]


def test_counters_best_and_plateau_survive_resuming(smooth_images: Batches, tmp_path: Path) -> None:
    scripted = {"val": smooth_images[:1], "lr_patience": 3}
    losses = ScriptedLosses([1.0, 2.0, 2.0])
    trainer_for(smooth_images, tmp_path, loss_fn=losses, **scripted).train(3)
    losses = ScriptedLosses([1.5, 1.5, 1.5])
    resumed = trainer_for(smooth_images, tmp_path / "b", loss_fn=losses, **scripted)
    resumed.load_checkpoint(tmp_path / "checkpoints" / "latest.pth")
    assert resumed.best_val_loss == 1.0
    assert resumed.scheduler.num_bad_epochs == 2
    history = resumed.train(100, early_stopping_patience=4)
    assert len(history) == 5
    assert resumed.optimizer.param_groups[0]["lr"] == pytest.approx(0.5e-4)


def test_with_nothing_left_to_train_it_says_so_and_gives_the_history(
    smooth_images: Batches, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    history = list(trainer_for(smooth_images, tmp_path).train(2))
    again = trainer_for(smooth_images, tmp_path / "again")
    again.load_checkpoint(tmp_path / "checkpoints" / "latest.pth")
    assert again.train(2) == history
    assert "Nothing left to train: 2 of 2 epochs done" in caplog.text
    assert not (tmp_path / "again").exists()


def test_another_architecture_is_refused_and_nothing_is_changed(
    smooth_images: Batches, tmp_path: Path
) -> None:
    trainer_for(smooth_images, tmp_path).train(1)
    other = trainer_for(smooth_images, tmp_path, model=small_model(latent_channels=8))
    before = {name: tensor.clone() for name, tensor in other.model.state_dict().items()}
    with pytest.raises(
        UserError, match=r"analyse_block.weight \(4x256x1x1 in the checkpoint, 8x256"
    ):
        other.load_checkpoint(tmp_path / "checkpoints" / "latest.pth")
    assert all(torch.equal(before[name], each) for name, each in other.model.state_dict().items())
    assert other.epoch == 0


def resumable(images: Batches, run_dir: Path, lr: float, **settings: Any) -> Trainer:
    model = small_model()
    optimizer = adam(model.parameters(), lr=lr, weight_decay=settings.pop("weight_decay", 0.0))
    return trainer_for(images, run_dir, model=model, optimizer=optimizer, **settings)


def test_settings_given_when_resuming_take_effect(
    smooth_images: Batches, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    resumable(smooth_images, tmp_path, lr=1e-3).train(1)
    new = {"weight_decay": 0.1, "lr_patience": 3, "lr_factor": 0.1}
    resumed = resumable(smooth_images, tmp_path / "b", lr=1e-4, **new)
    resumed.load_checkpoint(tmp_path / "checkpoints" / "latest.pth")
    group = resumed.optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (1e-4, 0.1)
    assert (resumed.scheduler.patience, resumed.scheduler.factor) == (3, 0.1)
    assert "Learning rate 0.0001 as given now, 0.001 in the checkpoint" in caplog.text


def test_a_learning_rate_cut_before_resuming_stays_cut(
    smooth_images: Batches, tmp_path: Path
) -> None:
    first = resumable(smooth_images, tmp_path, lr=1e-3)
    first.optimizer.param_groups[0]["lr"] = 1e-5
    first.train(1)
    resumed = resumable(smooth_images, tmp_path / "b", lr=1e-3)
    resumed.load_checkpoint(tmp_path / "checkpoints" / "latest.pth")
    assert resumed.optimizer.param_groups[0]["lr"] == 1e-5
    assert resumed.optimizer.state_dict()["state"], "the moments are lost"


def test_another_optimizer_is_refused(smooth_images: Batches, tmp_path: Path) -> None:
    trainer_for(smooth_images, tmp_path).train(1)
    model = small_model()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    resumed = trainer_for(smooth_images, tmp_path, model=model, optimizer=sgd)
    with pytest.raises(UserError, match="its optimizer is Adam, this run's is SGD"):
        resumed.load_checkpoint(tmp_path / "checkpoints" / "latest.pth")


def test_another_scale_of_decibels_is_refused(smooth_images: Batches, tmp_path: Path) -> None:
    trainer_for(smooth_images, tmp_path).train(1)
    resumed = trainer_for(
        smooth_images, tmp_path, preprocessing_params={"vmin": -20.0, "vmax": 24.54}
    )
    with pytest.raises(UserError, match=r"vmin=14.77, this run has -20.0; .* data.vmin=14.77"):
        resumed.load_checkpoint(tmp_path / "checkpoints" / "latest.pth")


def test_the_best_epoch_of_the_resumed_run_is_not_lost(
    smooth_images: Batches, tmp_path: Path
) -> None:
    scripted = {"val": smooth_images[:1]}
    losses = ScriptedLosses([1.0])
    trainer_for(smooth_images, tmp_path / "a", loss_fn=losses, **scripted).train(1)
    losses = ScriptedLosses([2.0, 0.5])
    resumed = trainer_for(smooth_images, tmp_path / "b", loss_fn=losses, **scripted)
    resumed.load_checkpoint(tmp_path / "a" / "checkpoints" / "latest.pth")
    best = tmp_path / "b" / "checkpoints" / "best.pth"
    resumed.train(2)
    assert torch.load(best)["epoch"] == 1
    resumed.train(3)
    assert torch.load(best)["epoch"] == 3


def test_resuming_in_place_leaves_no_step_twice(smooth_images: Batches, tmp_path: Path) -> None:
    trainer = trainer_for(smooth_images, tmp_path)
    trainer.train(2)
    latest = tmp_path / "checkpoints" / "latest.pth"
    earlier = latest.read_bytes()
    trainer.train(3)
    latest.write_bytes(earlier)  # as if it had died in the 3rd epoch, its events written
    resumed = trainer_for(smooth_images, tmp_path)
    resumed.load_checkpoint(latest)
    resumed.train(4)
    assert [event.step for event in events_of(tmp_path).Scalars("val/loss")] == [1, 2, 3, 4]


def test_training_again_after_an_interruption_goes_on_inside_the_epoch(
    smooth_images: Batches, tmp_path: Path
) -> None:
    whole = trainer_for(smooth_images, tmp_path / "whole")
    whole.train(2)
    trainer = trainer_for(smooth_images, tmp_path / "cut")
    step = trainer._step

    def stopped(x: Tensor) -> None:
        step(x)
        if trainer.global_step == 2:
            os.kill(os.getpid(), signal.SIGINT)  # in a notebook: stop, and run the cell again

    trainer._step = stopped  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        trainer.train(2)
    trainer.train(2)
    assert trainer.global_step == whole.global_step
    assert difference_of_states(trainer.state(), whole.state()) is None


def test_drawing_batches_again_can_be_stopped_and_loses_nothing(
    smooth_images: Batches, tmp_path: Path
) -> None:
    class Endless(list[Tensor]):
        """Batches, the first of which come after a signal when they are drawn again."""

        signals = False

        def __iter__(self) -> Iterator[Tensor]:
            for number, x in enumerate(super().__iter__()):
                if self.signals and number == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield x

    loader = Endless(smooth_images)
    trainer = trainer_for(loader, tmp_path, val=smooth_images)
    step = trainer._step

    def stopped(x: Tensor) -> None:
        step(x)
        if trainer.batch == 2 and not loader.signals:
            loader.signals = True
            os.kill(os.getpid(), signal.SIGTERM)

    trainer._step = stopped  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(Stopped):
            trainer.train(1)
        assert (trainer.batch, trainer.global_step) == (2, 2)
    loader.signals = False
    trainer._step = step  # type: ignore[method-assign]
    trainer.train(1)
    assert trainer.global_step == len(smooth_images)


def test_a_run_is_not_trained_over(smooth_images: Batches, tmp_path: Path) -> None:
    trainer = trainer_for(smooth_images, tmp_path)
    trainer.train(1)
    trainer.train(2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="holds a run already"):
        trainer_for(smooth_images, tmp_path).train(1)
    trainer_for(smooth_images, tmp_path / "other").train(3)
    from_other = trainer_for(smooth_images, tmp_path)
    from_other.load_checkpoint(tmp_path / "other" / "checkpoints" / "latest.pth")
    with pytest.raises(UserError, match="holds a run already"):
        from_other.train(4)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("empty", ["train", "val"])
def test_an_empty_loader_is_told(smooth_images: Batches, tmp_path: Path, empty: str) -> None:
    loaders = {"train": smooth_images, "val": smooth_images} | {empty: []}
    trainer = trainer_for(loaders["train"], tmp_path, val=loaders["val"])
    with pytest.raises(UserError, match=f"the {empty} loader is empty"):
        trainer.train(1)


def test_a_folder_that_cannot_be_written_is_told_before_training(
    smooth_images: Batches, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    trainer = trainer_for(smooth_images, tmp_path / "file" / "run")
    with pytest.raises(UserError, match="cannot be written"):
        trainer.train(1)
    assert trainer.global_step == 0


@pytest.mark.slow  # compiles
def test_compiled_checkpoints_load_either_way(smooth_images: Batches, tmp_path: Path) -> None:
    compiled = trainer_for(smooth_images, tmp_path / "a", compile=True)
    compiled._forward = torch.compile(compiled.model, backend="eager")  # as ours, in no time
    compiled.train(1)
    plain = trainer_for(smooth_images, tmp_path / "b")
    plain.load_checkpoint(tmp_path / "a" / "checkpoints" / "latest.pth")
    plain.train(2)
    compiled.load_checkpoint(tmp_path / "b" / "checkpoints" / "latest.pth")
    assert compiled.epoch == 2
    assert set(compiled.model.state_dict()) == set(plain.model.state_dict())


@pytest.mark.slow
def test_compiling_gives_the_same_losses(smooth_images: Batches, tmp_path: Path) -> None:
    runs = [
        trainer_for(smooth_images, tmp_path / str(compile), compile=compile).train(2)
        for compile in (False, True)
    ]
    assert runs[0][-1]["val_loss"] == pytest.approx(runs[1][-1]["val_loss"], rel=1e-3)


def test_bf16_is_for_the_model_only(smooth_images: Batches, tmp_path: Path) -> None:
    seen: list[torch.dtype] = []

    def loss_fn(x_hat: Tensor, x: Tensor, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        seen.extend([x_hat.dtype, x.dtype, z.dtype])
        return CombinedLoss()(x_hat, x, z)

    bf16 = trainer_for(smooth_images, tmp_path, precision="bf16", loss_fn=loss_fn).train(2)
    assert set(seen[0::3]) | set(seen[1::3]) == {torch.float32}
    assert set(seen[2::3]) == {torch.bfloat16}
    fp32 = trainer_for(smooth_images, tmp_path / "fp32").train(2)
    assert bf16[-1]["val_psnr"] == pytest.approx(fp32[-1]["val_psnr"], abs=0.1)


def test_limit_batches_limits_both_phases(smooth_images: Batches, tmp_path: Path) -> None:
    drawn = 0

    class Counting(list[Tensor]):
        def __iter__(self) -> Iterator[Tensor]:
            nonlocal drawn
            for x in smooth_images:
                drawn += 1
                yield x

    loader = Counting(smooth_images)
    trainer = trainer_for(loader, tmp_path, limit_batches=2)
    trainer.train_epoch()
    assert (trainer.global_step, drawn) == (2, 2)
    trainer.validate()
    assert drawn == 4


def test_loaders_are_told_the_epoch(smooth_images: Batches, tmp_path: Path) -> None:
    told: list[int] = []

    class Told(list[Tensor]):
        def set_epoch(self, epoch: int) -> None:
            told.append(epoch)

    trainer_for(Told(smooth_images), tmp_path, val=smooth_images).train(3)
    assert told == [0, 1, 2]


def test_another_optimizer_is_used(smooth_images: Batches, tmp_path: Path) -> None:
    model = small_model()
    optimizer = adamw(model.parameters(), lr=1e-3, weight_decay=0.1)
    trainer = trainer_for(smooth_images, tmp_path, model=model, optimizer=optimizer)
    assert trainer.train(1)[0]["learning_rate"] == 1e-3


def test_a_run_that_fails_before_an_epoch_ends_leaves_no_half_of_one(tmp_path: Path) -> None:
    class Broken(list[Tensor]):
        def __iter__(self) -> Iterator[Tensor]:
            raise UserError("x.tif: cannot be read")

    trainer = trainer_for(Broken([torch.zeros(1, 1, 16, 16)]), tmp_path / "run")
    with pytest.raises(UserError, match=r"x\.tif"):
        trainer.train(1)
    assert os.listdir(tmp_path / "run") == ["environment.json"]


@pytest.mark.gpu
def test_on_a_gpu(smooth_images: Batches, tmp_path: Path) -> None:
    trainer = trainer_for(smooth_images, tmp_path, device="cuda", precision="auto")
    assert trainer.dtype == torch.bfloat16
    trainer.train(2)
    scalars = set(events_of(tmp_path).Tags()["scalars"])
    assert {f"system/gpu_{name}_gb" for name in ("allocated", "reserved", "peak")} <= scalars
    trainer_for(smooth_images, tmp_path).load_checkpoint(tmp_path / "checkpoints" / "latest.pth")


def test_gpu_memory_is_logged_where_there_is_a_gpu(
    smooth_images: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sar_codec.training import trainer as module

    memory = {"allocated": 1.0, "reserved": 2.0, "peak": 1.5}
    monkeypatch.setattr(module, "gpu_memory_gb", lambda device: memory)
    trainer_for(smooth_images, tmp_path).train(1)
    events = events_of(tmp_path)
    for name, value in memory.items():
        assert events.Scalars(f"system/gpu_{name}_gb")[0].value == value
