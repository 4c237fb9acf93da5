"""A loss or gradient that is not finite is kept from the weights, named, counted, and told."""

import csv
import functools
import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cuts
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from sar_codec.data.synthetic import SyntheticScene
from sar_codec.errors import UserError
from sar_codec.losses import CombinedLoss
from sar_codec.train import main
from sar_codec.training import checkpoint
from sar_codec.training.bad_steps import BadSteps, restore_unless, step_by_flag, step_if
from sar_codec.training.optimizers import adam, adamw
from sar_codec.training.sameness import difference_of_states
from sar_codec.training.trainer import Trainer

BATCHES = 3  # of an epoch
VALUES = [math.nan, math.inf, -math.inf]
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": lambda params: adam(params, lr=1e-2),
    "adamw": lambda params: adamw(params, lr=1e-2),
    "unfused adam": lambda params: torch.optim.Adam(params, lr=1e-2),
    "sgd": lambda params: torch.optim.SGD(params, lr=1e-2, momentum=0.9),
    "fused sgd": lambda params: torch.optim.SGD(params, lr=1e-2, momentum=0.9, fused=True),
}


class Normed(nn.Module):
    """A small autoencoder with statistics: changed in place, and put in the place of old ones."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 4, stride=4), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 1, 4, stride=4)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean()
        x_hat = self.layers(x)
        return x_hat, x_hat


class SpoiltGradient(torch.autograd.Function):
    """The identity, with a gradient that is not finite in one pixel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: float) -> Tensor:
        ctx.value = value
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        spoilt = gradients[0].clone()
        spoilt.view(-1)[0] = ctx.value
        return spoilt, None


class Spoilt:
    """CombinedLoss with a value that is not finite in the training steps of these numbers.

    Where `place` is "loss", the gradient is finite; where it is "gradient", the loss is.
    """

    def __init__(self, steps: Iterable[int], place: str = "loss", value: float = math.nan) -> None:
        self.steps = set(steps)
        self.place = place
        self.value = value
        self.step = -1

    def __call__(self, x_hat: Tensor, x: Tensor, z: Any = None) -> tuple[Tensor, dict[str, Tensor]]:
        if not torch.is_grad_enabled():
            return CombinedLoss()(x_hat, x, z)
        self.step += 1
        is_bad = self.step in self.steps
        if is_bad and self.place == "gradient":
            x_hat = SpoiltGradient.apply(x_hat, self.value)
        loss, parts = CombinedLoss()(x_hat, x, z)
        if is_bad and self.place == "loss":
            loss = loss + self.value
        return loss, parts | {"loss": loss.detach()}


def images(spoilt: int | None = None, value: float = math.nan) -> list[Tensor]:
    """Batches of 2, 2 and 1 images, a pixel of one batch spoilt."""
    batches = list(torch.rand(5, 1, 16, 16, generator=torch.Generator().manual_seed(0)).split(2))
    if spoilt is not None:
        batches[spoilt][0, 0, 3, 5] = value
    return batches


def trainer_for(run_dir: Path, **settings: Any) -> Trainer:
    torch.manual_seed(0)
    model = Normed()
    optimizer = OPTIMIZERS[settings.pop("optimizer", "adam")](model.parameters())
    defaults = {"run_dir": run_dir, "device": "cpu", "precision": "fp32"}
    return Trainer(
        model,
        settings.pop("train", images()),
        images(),
        settings.pop("loss_fn", CombinedLoss()),
        optimizer,
        **(defaults | settings),
    )


def leave_out(trainer: Trainer, batch: int) -> None:
    """Makes a trainer pass over a batch of each epoch."""
    step = trainer._step

    def passing_over(x: Tensor) -> None:
        if trainer.batch != batch:
            return step(x)
        trainer.batch += 1
        trainer.global_step += 1

    trainer._step = passing_over  # type: ignore[method-assign]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("optimizer", "value", "bad"),
    [(optimizer, math.nan, bad) for optimizer in OPTIMIZERS for bad in (0, 2)]
    + [("adam", value, 1) for value in VALUES],
)
@pytest.mark.parametrize("place", ["input", "loss", "gradient"])
def test_a_bad_step_is_as_if_its_batch_had_not_been(
    place: str, optimizer: str, value: float, bad: int, tmp_path: Path, caplog: Any
) -> None:
    settings: dict[str, Any] = {"optimizer": optimizer}
    if place == "input":
        settings["train"] = images(bad, value)
    else:
        settings["loss_fn"] = Spoilt([bad, bad + BATCHES], place, value)
    trainer = trainer_for(tmp_path, **settings)
    without = trainer_for(tmp_path, optimizer=optimizer)
    leave_out(without, bad)
    for epoch in range(2):
        found, expected = trainer.train_epoch(), without.train_epoch()
        del found["images_per_second"], expected["images_per_second"]
        assert found == expected
        assert all(map(math.isfinite, found.values()))
        trainer.epoch = without.epoch = epoch + 1
    assert trainer._bad_steps.in_row == (bad == BATCHES - 1)
    trainer._bad_steps.in_row = 0
    states = trainer.state(), without.state()
    for state in states:
        state.gradients = None  # of the last step, where that is the bad one
    assert difference_of_states(*states) is None
    assert warnings_of(caplog) == [
        f"Step skipped, its loss or gradient is not finite: epoch {epoch}, batch {bad + 1}"
        for epoch in (1, 2)
    ]


def test_statistics_of_a_model_are_put_back_bit_by_bit() -> None:
    kept = [torch.tensor([1.0, -0.0]), torch.tensor(3)]
    buffers = [torch.tensor([math.nan, math.inf]), torch.tensor(4)]
    restore_unless(torch.tensor(True), buffers, kept)
    assert buffers[1] == 4
    restore_unless(torch.tensor(False), buffers, kept)
    assert buffers[0].view(torch.int32).equal(kept[0].view(torch.int32))
    assert buffers[1] == 3


def test_a_run_goes_on_and_means_are_over_the_good_samples(tmp_path: Path) -> None:
    def brightness(x_hat: Tensor, x: Tensor, z: Any) -> tuple[Tensor, dict[str, Tensor]]:
        mean = x.mean()
        return (x_hat - x).square().mean(), {"loss": mean, "psnr": mean, "ssim": mean}

    levels = [0.0, math.nan, 1.0]
    train = [torch.full((size, 1, 16, 16), x) for size, x in zip((4, 2, 1), levels, strict=True)]
    rows = trainer_for(tmp_path, train=train, loss_fn=brightness).train(2)
    assert [row["train_loss"] for row in rows] == [0.2, 0.2]
    assert checkpoint.load(tmp_path / "checkpoints" / "latest.pth").global_step == 6


def test_the_scene_and_window_that_were_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = cuts.trainer_for(tmp_path)
    seen: list[tuple[str, int, int, int, int]] = []
    read = SyntheticScene.read

    def noted(self: SyntheticScene, row: int, column: int, height: int, width: int) -> Any:
        seen.append((self.name, row, row + height - 1, column, column + width - 1))
        return read(self, row, column, height, width)

    monkeypatch.setattr(SyntheticScene, "read", noted)
    bad = [1, cuts.BATCHES - 1]
    for epoch in range(2):
        trainer.epoch = epoch
        trainer.loss_fn = Spoilt(bad)
        caplog.clear()
        seen.clear()
        trainer.train_epoch()
        size = trainer.train_loader._batches.samples  # type: ignore[attr-defined]
        assert len(seen) == cuts.BATCHES * size
        assert warnings_of(caplog) == [
            f"Step skipped, its loss or gradient is not finite: epoch {epoch + 1}, "
            f"batch {batch + 1} ({_named(seen[batch * size : (batch + 1) * size])})"
            for batch in bad
        ]


def _named(windows: list[tuple[str, int, int, int, int]]) -> str:
    return "; ".join(
        f"{name} rows {top} to {bottom}, columns {left} to {right}"
        for name, top, bottom, left, right in windows
    )


def test_a_resumed_run_names_the_window_that_it_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = cuts.trainer_for(tmp_path / "whole")
    whole.loss_fn = Spoilt([4])
    whole.train_epoch()
    expected = warnings_of(caplog)
    cut = cuts.trainer_for(tmp_path / "cut")
    step = cut._step

    def stopping(x: Tensor) -> None:
        if cut.batch == 3:
            raise UserError("enough")
        step(x)

    cut._step = stopping  # type: ignore[method-assign]
    with pytest.raises(UserError, match="enough"):
        cut.train(1)
    caplog.clear()
    resumed = cuts.trainer_for(tmp_path / "cut")
    resumed.loss_fn = Spoilt([1])
    resumed.load_checkpoint(tmp_path / "cut" / "checkpoints" / "latest.pth")
    resumed.train_epoch()
    assert warnings_of(caplog) == expected
    assert len(expected) == 1


class OnGpu(Tensor):
    """A flag that says it is on a GPU, and counts who waits for it."""

    is_cuda = True
    waits = 0

    def __bool__(self) -> bool:
        OnGpu.waits += 1
        return super().__bool__()


@pytest.mark.parametrize(
    ("optimizer", "waits"),
    [("adam", 0), ("adamw", 0), ("fused sgd", 0), ("sgd", 1), ("unfused adam", 1)],
)
@pytest.mark.parametrize("first", ["good", "bad"])
def test_on_a_gpu_a_fused_optimizer_is_not_waited_for_after_its_first_step(
    optimizer: str, waits: int, first: str
) -> None:
    found, expected = (_Weights(optimizer) for _ in range(2))
    goods = [first == "good", True, False, False, True]
    for number, good in enumerate(goods):
        OnGpu.waits = 0
        flag = torch.tensor(good).as_subclass(OnGpu)
        found.weight.grad = torch.full((8,), 1.0 + number if good else math.nan)
        had_state = bool(found.optimizer.state)
        step_if(flag, found.optimizer)
        assert OnGpu.waits == (waits if had_state else 1)
        if good:
            expected.weight.grad = torch.full((8,), 1.0 + number)
            expected.optimizer.step()
        assert torch.equal(found.weight, expected.weight)
        assert _flat(found.optimizer) == _flat(expected.optimizer)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "fused sgd"])
def test_a_fused_optimizer_does_what_the_flag_says(optimizer: str) -> None:
    weights = _Weights(optimizer)
    weights.weight.grad = torch.ones(8)
    weights.optimizer.step()
    before, state = weights.weight.clone(), _flat(weights.optimizer)
    step_by_flag(torch.tensor(False), weights.optimizer)
    assert torch.equal(weights.weight, before)
    assert _flat(weights.optimizer) == state
    step_by_flag(torch.tensor(True), weights.optimizer)
    assert not torch.equal(weights.weight, before)
    weights.optimizer.step()  # the flag is not left behind for whoever steps next
    assert not hasattr(weights.optimizer, "found_inf")


class _Weights:
    def __init__(self, optimizer: str) -> None:
        self.weight = nn.Parameter(torch.ones(8))
        self.optimizer = OPTIMIZERS[optimizer]([self.weight])


def _flat(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    states = optimizer.state_dict()["state"]
    return {name: torch.as_tensor(each).tolist() for name, each in states.get(0, {}).items()}


@pytest.mark.parametrize(("device", "looks"), [("cuda", [4, 4, 2]), ("cpu", [1] * 10)])
def test_on_a_gpu_the_flags_are_looked_at_together(
    device: str, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    tolist = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", lambda self: read.append(len(self)) or tolist(self))
    steps = BadSteps(4, str, torch.device(device))
    for batch in range(10):
        steps.add(batch, torch.tensor(batch % 4 != 2))
    steps.look()
    steps.look()
    assert read == looks
    assert steps.in_row == 0


def test_on_a_gpu_a_run_of_bad_steps_is_found_wherever_it_begins() -> None:
    for begin in range(6):
        steps = BadSteps(4, str, torch.device("cuda"))
        added = 0
        with pytest.raises(UserError, match=f"4 steps in a row .* the last in {begin + 3};"):
            for added in range(20):
                steps.add(added, torch.tensor(added < begin))
        assert added < begin + 3 + 4, "as many steps late as are looked at together"


@pytest.mark.parametrize(
    ("bad", "stops_after"),
    [
        ([0, 1, 2], 3),
        ([1, 2, 3], 4),  # beyond an epoch's end
        ([0, 1, 3, 4, 6, 7], None),
        ([4, 5, 6, 8], 7),
    ],
)
def test_so_many_bad_steps_in_a_row_end_the_run_and_a_good_one_between_does_not(
    bad: list[int], stops_after: int | None, tmp_path: Path
) -> None:
    trainer = trainer_for(tmp_path, loss_fn=Spoilt(bad), max_bad_steps=3)
    if stops_after is None:
        assert len(trainer.train(3)) == 3
        return
    epoch, batch = divmod(stops_after - 1, BATCHES)
    with pytest.raises(UserError) as caught:
        trainer.train(3)
    assert str(caught.value) == (
        "3 steps in a row gave a loss or gradient that is not finite, the last in epoch "
        f"{epoch + 1}, batch {batch + 1}; none of them touched the weights, and the checkpoints "
        "are of before; look at that data, or lower optimizer.lr"
    )
    latest = tmp_path / "checkpoints" / "latest.pth"
    assert latest.exists() == (epoch > 0)
    if epoch:
        state = checkpoint.load(latest)
        assert state.epoch == epoch
        assert all(torch.isfinite(each).all() for each in state.model_state_dict.values())


@pytest.mark.parametrize("every_minutes", [0.0, 10.0], ids=["inside an epoch", "at its end"])
def test_the_count_survives_a_resume(every_minutes: float, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"max_bad_steps": 4, "checkpoint_every_minutes": every_minutes}
    trainer_for(tmp_path, loss_fn=Spoilt([1, 2]), **settings).train(1)
    latest = tmp_path / "checkpoints" / "latest.pth"
    assert checkpoint.load(latest).bad_steps_in_row == 2
    resumed = trainer_for(tmp_path, loss_fn=Spoilt([0, 1]), **settings)
    resumed.load_checkpoint(latest)
    with pytest.raises(UserError, match=r"4 steps in a row .* epoch 2, batch 2;"):
        resumed.train(2)
    state = checkpoint.load(latest)
    assert (state.batch, state.bad_steps_in_row) == ((1, 3) if every_minutes == 0 else (0, 2))


def test_an_epoch_without_a_good_step_has_no_metrics_and_disturbs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    params = {"vmin": -35.0, "vmax": 20.0}
    spoilt = Spoilt(range(BATCHES, 2 * BATCHES))
    trainer = trainer_for(tmp_path, loss_fn=spoilt, preprocessing_params=params)
    history = trainer.train(3)
    expected = trainer_for(tmp_path / "without", preprocessing_params=params).train(2)
    names = ["loss", "mse", "psnr", "ssim", "rmse_db"]
    assert all(math.isnan(history[1][f"train_{name}"]) for name in names)
    assert [row["val_loss"] for row in history[:2]] == [expected[0]["val_loss"]] * 2
    assert history[2]["val_loss"] == expected[1]["val_loss"]
    assert history[2]["train_loss"] == expected[1]["train_loss"]
    assert (trainer.best_epoch, trainer.epochs_without_improvement) == (3, 0)
    assert history[1]["train_images_per_second"] == 0
    assert (trainer.scheduler.best, trainer.scheduler.num_bad_epochs) == (trainer.best_val_loss, 0)
    assert "Epoch 2/3: train loss nan, mse nan" in caplog.text
    with (tmp_path / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [math.isnan(float(row["train_psnr"])) for row in rows] == [False, True, False]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    shown = [event.value for event in events.Scalars("train/loss")]
    assert [math.isnan(each) for each in shown] == [False, True, False]
    saved = checkpoint.load(tmp_path / "checkpoints" / "latest.pth")
    assert math.isnan(saved.history[1]["train_loss"])


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("name", ["layers.0.weight", "layers.1.running_var"])
def test_weights_that_are_not_finite_are_not_saved(name: str, value: float, tmp_path: Path) -> None:
    trainer = trainer_for(tmp_path)
    path = tmp_path / "x.pth"
    trainer.save_checkpoint(path)
    before = path.read_bytes()
    with torch.no_grad():
        trainer.model.state_dict()[name].view(-1)[1] = value
    with pytest.raises(UserError, match=f"^.*x.pth: not saved, the weights {name} are not [^\n]*$"):
        trainer.save_checkpoint(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["x.pth"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (2 * BATCHES, "not saved, the weights layers.0.weight are not finite"),
        (BATCHES + 1, "2 steps in a row gave a loss or gradient that is not finite"),
    ],
    ids=["in an epoch's last step", "in its first"],
)
def test_a_run_whose_weights_become_bad_keeps_the_last_good_checkpoint(
    step: int, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    trainer = trainer_for(tmp_path, max_bad_steps=2)
    ruin_after(trainer, step)
    with pytest.raises(UserError, match=said):
        trainer.train(3)
    for name in ("latest", "best"):
        state = checkpoint.load(tmp_path / "checkpoints" / f"{name}.pth")
        assert state.epoch == 1
        assert all(torch.isfinite(each).all() for each in state.model_state_dict.values())
    assert "Epoch 1/3" in caplog.text
    assert "Epoch 2/3" not in caplog.text
    resumed = trainer_for(tmp_path)
    resumed.load_checkpoint(tmp_path / "checkpoints" / "latest.pth")
    assert len(resumed.train(3)) == 3


def ruin_after(trainer: Trainer, step: int) -> None:
    """Makes an optimizer's step give weights that are not finite, as a learning rate may."""

    def ruin(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if trainer.global_step + 1 == step:
            with torch.no_grad():
                optimizer.param_groups[0]["params"][0].view(-1)[0] = math.inf

    trainer.optimizer.register_step_post_hook(ruin)


TINY = (
    "trainer=smoke",
    "device=cpu",
    "data.scenes=3",
    "data.size=64",
    "data.patch_size=32",
    "data.batch_size=1",
    "model.width=8",
    "model.depth=1",
    "hydra.run.dir=run",
)


@pytest.mark.parametrize("place", ["loss", "gradient"])
def test_the_program_stops_with_one_line_and_goes_on_after(
    place: str, run_program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        spoilt = Spoilt([2, 3], place)
        good = CombinedLoss.forward
        inside = False

        def forward(self: CombinedLoss, x_hat: Tensor, x: Tensor, z: Any = None) -> Any:
            nonlocal inside
            if inside:  # what it spoils is this very loss
                return good(self, x_hat, x, z)
            inside = True
            try:
                return spoilt(x_hat, x, z)
            finally:
                inside = False

        patched.setattr(CombinedLoss, "forward", forward)
        code, message = run_program(main, *TINY, "trainer.max_bad_steps=2")
    assert code == 1
    assert message.startswith("error: 2 steps in a row gave a loss or gradient that is not finite")
    assert "the last in epoch 2, batch 2 (" in message
    assert "columns" in message
    assert "\n" not in message
    log = (tmp_path / "run" / "training.log").read_text()
    assert log.count("[WARNING] Step skipped") == 2
    assert "[ERROR] 2 steps in a row" in log
    assert "Traceback" not in log
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "latest.pth").epoch == 1
    assert run_program(main, *TINY, "resume=auto")[0] == 0
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "latest.pth").epoch == 2


def test_the_program_stops_with_one_line_when_weights_are_ruined(
    run_program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = Trainer.train

    @functools.wraps(train)  # its arguments are settings
    def ruined(self: Trainer, *arguments: Any, **settings: Any) -> Any:
        ruin_after(self, 4)
        return train(self, *arguments, **settings)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train", ruined)
        code, message = run_program(main, *TINY)
    assert code == 1
    assert "checkpoints/latest.pth: not saved, the weights " in message
    assert "\n" not in message
    assert checkpoint.load(tmp_path / "run" / "checkpoints" / "latest.pth").epoch == 1
