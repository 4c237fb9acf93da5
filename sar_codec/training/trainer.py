"""The training loop."""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm.contrib.logging import logging_redirect_tqdm

from sar_codec import metrics
from sar_codec.errors import UserError
from sar_codec.training import checkpoint
from sar_codec.training.device import (
    Precision,
    autocast,
    gpu_memory_gb,
    pick_device,
    pick_precision,
)
from sar_codec.training.optimizers import adam
from sar_codec.training.progress import Batches, RunningMeans, first_samples, followed
from sar_codec.training.resuming import check_same_preprocessing, restore
from sar_codec.training.tracking import Tracker
from sar_codec.training.triple_view import triple_view
from sar_codec.training.without_trace import without_trace

log = logging.getLogger(__name__)

LossFunction = Callable[[Tensor, Tensor, Any], tuple[Tensor, dict[str, Tensor]]]
Row = dict[str, float]
Count = Annotated[int, Ge(1)]


class Trainer:
    """Trains a model that gives `x_hat, z = model(x)`, and keeps what a run should leave behind.

    In `run_dir`: `checkpoints/latest.pth` and `best.pth`, `tensorboard/`, `history.csv`.

    Args:
        model: image `(B, 1, H, W)` in [0, 1] -> reconstruction of the same shape, latent.
        train_loader: a sized iterable of image tensors; `set_epoch(n)` is called if it has it.
        val_loader: likewise.
        loss_fn: `loss, metrics = loss_fn(x_hat, x, z)`; metrics are detached scalars, means over
            the batch, with at least `loss`, `psnr` and `ssim`.
        optimizer: of the model's parameters; Adam with a learning rate of 1e-4 by default.
        run_dir: the folder of the run.
        preprocessing_params: how images were made of radar data; kept in every checkpoint. With
            `vmin` and `vmax`, errors are also given in dB.
        config: kept in every checkpoint; plain containers.
        device: "auto" is the GPU where there is one.
        lr_factor: what the learning rate is multiplied by when validation loss stops falling.
        lr_patience: epochs without improvement before that.
        max_grad_norm: gradients longer than this are scaled down to it.
        precision: of the model; losses and metrics are float32. "auto" is bf16 where it is native.
        compile: whether to run the model through `torch.compile`.
        limit_batches: at most so many batches an epoch.
        histogram_every: epochs between histograms of weights and gradients.
        image_count: columns of the triple view.
    """

    def __init__(
        self,
        model: nn.Module,
        train_loader: Batches,
        val_loader: Batches,
        loss_fn: LossFunction,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        run_dir: str | os.PathLike[str] = ".",
        preprocessing_params: Mapping[str, Any] | None = None,
        config: Mapping[str, Any] | None = None,
        device: str | torch.device = "auto",
        lr_factor: Annotated[float, Gt(0), Lt(1)] = 0.5,
        lr_patience: Annotated[int, Ge(0)] = 10,
        max_grad_norm: Annotated[float, Gt(0)] = 1.0,
        precision: Precision = "auto",
        compile: bool = False,
        limit_batches: Count | None = None,
        histogram_every: Count = 10,
        image_count: Count = 4,
    ) -> None:
        self.device = pick_device(device)
        self.dtype = pick_precision(precision, self.device)
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
        # The compiled module shares the model's parameters, whose names stay as they were.
        self._forward = torch.compile(self.model) if compile else self.model
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.loss_fn = loss_fn
        self.optimizer = optimizer or adam(self.model.parameters())
        self.scheduler = ReduceLROnPlateau(
            self.optimizer, mode="min", factor=lr_factor, patience=lr_patience
        )
        self.run_dir = Path(run_dir)
        self.tracker = Tracker(self.run_dir)
        params = checkpoint.plain(preprocessing_params or {}, "preprocessing_params")
        self.preprocessing_params: dict[str, Any] = params
        self.config: dict[str, Any] = checkpoint.plain(config or {}, "config")
        self.max_grad_norm = max_grad_norm
        self.limit_batches = limit_batches
        self.histogram_every = histogram_every
        self.image_count = image_count

        self.epoch = 0  # epochs finished
        self.global_step = 0
        self.best_val_loss = math.inf
        self.epochs_without_improvement = 0
        self.history: list[Row] = []
        self._examples: Tensor | None = None
        self._earlier_best: Path | None = None

    @property
    def window_db(self) -> tuple[float, float] | None:
        """Decibels at 0 and at 1, None where they are not known."""
        if not {"vmin", "vmax"} <= self.preprocessing_params.keys():
            return None
        return float(self.preprocessing_params["vmin"]), float(self.preprocessing_params["vmax"])

    def train(self, epochs: Count, early_stopping_patience: Count = 20) -> list[Row]:
        """Trains until `epochs` are done in all, or so many went by without improvement.

        Returns:
            The history: a row an epoch, resumed ones included.
        """
        self._log_start()
        began_at = self.epoch
        try:
            with logging_redirect_tqdm():
                while self._should_go_on(epochs, early_stopping_patience):
                    if self.epoch == began_at:
                        checkpoint.check_writable(self.run_dir)
                    self._run_epoch(epochs)
        finally:
            self.tracker.close()
        nothing = "" if self.epoch > began_at else "Nothing left to train: "
        best_epoch = next(
            (row["epoch"] for row in self.history if row["val_loss"] == self.best_val_loss), None
        )
        log.info(
            "%s%d of %d epochs done; best validation loss %.6g in epoch %s",
            nothing,
            self.epoch,
            epochs,
            self.best_val_loss,
            best_epoch,
        )
        return self.history

    def _should_go_on(self, epochs: int, early_stopping_patience: int) -> bool:
        if self.epochs_without_improvement >= early_stopping_patience:
            log.info(
                "Early stopping: no improvement of the validation loss for %d epochs",
                self.epochs_without_improvement,
            )
            return False
        return self.epoch < epochs

    def _run_epoch(self, epochs: int) -> None:
        began = time.perf_counter()
        learning_rate = self.optimizer.param_groups[0]["lr"]
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        train = self.train_epoch()
        val = self.validate()
        self.epoch += 1
        improved = math.isfinite(val["loss"]) and val["loss"] < self.best_val_loss
        if improved:
            self.best_val_loss = val["loss"]
        self.epochs_without_improvement = 0 if improved else self.epochs_without_improvement + 1
        self._schedule(val["loss"])
        row: Row = {"epoch": self.epoch}
        row |= {f"train_{name}": value for name, value in train.items()}
        row |= {f"val_{name}": value for name, value in val.items()}
        row |= {"learning_rate": learning_rate, "seconds": time.perf_counter() - began}
        self.history.append(row)
        self._track(train, val, learning_rate)
        folder = self.run_dir / "checkpoints"
        latest, best = folder / "latest.pth", folder / "best.pth"
        self.save_checkpoint(latest)
        if improved:
            checkpoint.give_same_content(latest, best)
        elif self._earlier_best and self._earlier_best.exists() and not best.exists():
            # The best epoch so far lies in the run that this one goes on from.
            checkpoint.give_same_content(self._earlier_best, best)
        log.info(
            "Epoch %d/%d: train %s; val %s; learning rate %.3g; %.1f s%s; saved %s",
            self.epoch,
            epochs,
            _listed(train),
            _listed(val),
            learning_rate,
            row["seconds"],
            "".join(f"; GPU {name} {gb:.2f} GB" for name, gb in gpu_memory_gb(self.device).items()),
            "latest.pth, best.pth" if improved else "latest.pth",
        )

    def train_epoch(self) -> dict[str, float]:
        """One pass over the training data.

        Returns:
            The means over its samples of all metrics, and `images_per_second`.
        """
        began = time.perf_counter()
        self.model.train()
        means = RunningMeans()
        for x in self._batches(self.train_loader, "Train", means):
            loss, parts, _ = self._evaluate(x)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
            self.optimizer.step()
            self.global_step += 1
            means.add(parts, len(x))
        values = self._epoch_metrics(means)  # waits for the device, so the clock is read after it
        return values | {"images_per_second": means.samples / (time.perf_counter() - began)}

    def validate(self) -> dict[str, float]:
        """The means over validation's samples of all metrics; changes nothing."""
        means = RunningMeans()
        with without_trace(self.model, self.device):
            for x in self._batches(self.val_loader, "Val", means):
                _, parts, x_hat = self._evaluate(x)
                if self.window_db:
                    bias_db = metrics.power_ratio_db(x_hat, x, *self.window_db).mean()
                    parts = {**parts, "bias_db": bias_db}
                means.add(parts, len(x))
        return self._epoch_metrics(means)

    def _batches(self, loader: Batches, phase: str, means: RunningMeans) -> Iterator[Tensor]:
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(self.epoch)
        if not len(loader):
            raise UserError(f"the {phase.lower()} loader is empty: give it at least one batch")
        count = min(len(loader), self.limit_batches or len(loader))
        for x in followed(loader, f"Epoch {self.epoch + 1} [{phase}]", count, means):
            yield x.to(self.device, non_blocking=True)

    def _evaluate(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss, its parts and the reconstruction, all float32."""
        with autocast(self.device, self.dtype):
            x_hat, z = self._forward(x)
        x_hat = x_hat.float()
        return *self.loss_fn(x_hat, x, z), x_hat

    def _epoch_metrics(self, means: RunningMeans) -> dict[str, float]:
        values = means.values()
        if self.window_db and "mse" in values:
            low, high = self.window_db
            values["rmse_db"] = math.sqrt(values["mse"]) * (high - low)
        return values

    def _schedule(self, val_loss: float) -> None:
        before = self.optimizer.param_groups[0]["lr"]
        # A loss of minus infinity would stay the scheduler's best for ever.
        self.scheduler.step(val_loss if math.isfinite(val_loss) else math.inf)
        after = self.optimizer.param_groups[0]["lr"]
        if after != before:
            log.info("Learning rate cut from %.3g to %.3g", before, after)

    def _track(self, train: dict[str, float], val: dict[str, float], learning_rate: float) -> None:
        """Writes what TensorBoard and history.csv show of the epoch."""
        scalars = {f"train/{name}": value for name, value in train.items()}
        scalars |= {f"val/{name}": value for name, value in val.items()}
        memory = gpu_memory_gb(self.device)
        scalars |= {f"system/gpu_{name}_gb": value for name, value in memory.items()}
        scalars["train/learning_rate"] = learning_rate
        self.tracker.scalars(scalars, self.epoch)
        self.log_images()
        if self.epoch == 1 or self.epoch % self.histogram_every == 0:
            self.tracker.histograms(self.model, self.epoch)
        self.tracker.flush()
        self.tracker.history(self.history)

    def log_images(self) -> None:
        """Logs `Reconstructions/triple_view` of the first samples of the validation data."""
        with without_trace(self.model, self.device):
            originals = self._example_images()
            with autocast(self.device, self.dtype):
                reconstructions, _ = self.model(originals)
        picture = triple_view(originals, reconstructions.float(), self.window_db)
        self.tracker.image("Reconstructions/triple_view", picture, self.epoch)

    def _example_images(self) -> Tensor:
        if self._examples is None:
            self._examples = first_samples(self.val_loader, self.image_count).to(self.device)
        return self._examples

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Writes all that `load_checkpoint` restores; whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        state = {
            "epoch": self.epoch,
            "global_step": self.global_step,
            "model_state_dict": self.model.state_dict(),
            "optimizer": type(self.optimizer).__name__,
            "optimizer_state_dict": self.optimizer.state_dict(),
            "given_learning_rate": self.optimizer.defaults["lr"],
            "scheduler_state_dict": self.scheduler.state_dict(),
            "best_val_loss": self.best_val_loss,
            "epochs_without_improvement": self.epochs_without_improvement,
            "config": self.config,
            "preprocessing_params": self.preprocessing_params,
            "history": self.history,
        }
        checkpoint.save(state, Path(path))

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Restores model, optimizer, scheduler, counters, best loss and history.

        Training goes on with the epoch after the one that the checkpoint was written at. Settings
        of optimizer and scheduler stay those of this trainer; so does the learning rate, where it
        is another one than the checkpoint's run was given.

        Raises:
            UserError: the file is missing, damaged, no checkpoint, or of another architecture,
                optimizer or scale of decibels. Nothing is changed then.
        """
        state = checkpoint.load(path)
        check_same_preprocessing(path, state["preprocessing_params"], self.preprocessing_params)
        restore(path, state, self.model, self.optimizer, self.scheduler)
        self.epoch = state["epoch"]
        self.global_step = state["global_step"]
        self.best_val_loss = state["best_val_loss"]
        self.epochs_without_improvement = state["epochs_without_improvement"]
        self.history = list(state["history"])
        self._earlier_best = Path(path).with_name("best.pth")
        log.info("Resumed from %s after epoch %d", path, self.epoch)

    def _log_start(self) -> None:
        parameters = sum(each.numel() for each in self.model.parameters())
        log.info("Model: %s, %s parameters", type(self.model).__name__, f"{parameters:,}")
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        log.info("Device: %s%s, precision %s", name, threads, str(self.dtype).split(".")[1])


def _listed(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
