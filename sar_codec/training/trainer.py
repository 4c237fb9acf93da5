"""The training loop."""

import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm.contrib.logging import logging_redirect_tqdm

from sar_codec import metrics
from sar_codec.config import override
from sar_codec.errors import UserError
from sar_codec.processes import group
from sar_codec.run_lock import locked, refuse_to_train_over
from sar_codec.signals import StopRequest, noting_signals
from sar_codec.training import checkpoint
from sar_codec.training.bad_steps import BadSteps, restore_unless, step_if
from sar_codec.training.checkpoint import Row, State
from sar_codec.training.device import (
    Precision,
    autocast,
    gpu_memory_gb,
    made_with,
    pick_device,
    pick_precision,
)
from sar_codec.training.ema import EMA
from sar_codec.training.environment import record_environment
from sar_codec.training.epoch_batches import batches_after, count_batches
from sar_codec.training.examples import Examples
from sar_codec.training.keeping import KeptCheckpoints
from sar_codec.training.optimizers import adam, with_rates_times
from sar_codec.training.profiling import profiled
from sar_codec.training.progress import (
    SAMPLES,
    Batches,
    RunningMeans,
    followed,
    means_of,
)
from sar_codec.training.random_states import random_states, restore_random_states
from sar_codec.training.replayed import Replayed
from sar_codec.training.restoring import check_same_preprocessing, restore, warn_of_differences
from sar_codec.training.tracking import BEST, HParam, Tracker
from sar_codec.training.triple_view import triple_view
from sar_codec.training.without_trace import without_trace

log = logging.getLogger(__name__)

Forward = Callable[[Tensor], tuple[Tensor, Any]]
LossFunction = Callable[[Tensor, Tensor, Any], tuple[Tensor, dict[str, Tensor]]]
Count = Annotated[int, Ge(1)]


class Trainer:
    """Trains a model that gives `x_hat, z = model(x)`, and keeps what a run should leave behind.

    In `run_dir`: `checkpoints/{latest,previous,best}.pth`, `tensorboard/`, `history.csv`.

    A run that is cut anywhere and goes on from its latest checkpoint in a new process ends with the
    same bits as one that was not: see `checkpoint.State` for what that leaves out.

    Args:
        model: image `(B, 1, H, W)` in [0, 1] -> reconstruction of the same shape, latent.
        train_loader: a sized iterable of image tensors. If it has them, `set_epoch(epoch)` is
            called, `skip(batches)` to go on inside an epoch (else the batches are drawn again), and
            `describe(batch)` to name a batch whose loss is not finite. Where several processes
            train together, `share(rank, processes)` makes each batch the part of it that is this
            one's; without it, the loader gives parts already, as many in each process.
        val_loader: likewise.
        loss_fn: `loss, metrics = loss_fn(x_hat, x, z)`; metrics are detached scalars, means over
            the batch, with at least `loss`, `psnr` and `ssim`. Where several processes train, they
            must be finite for a black image, which stands in, without weight, for an empty part.
        optimizer: of the model's parameters; Adam with a learning rate of 1e-4 by default.
        run_dir: the folder of the run.
        preprocessing_params: how images were made of radar data; kept in every checkpoint. With
            `vmin` and `vmax`, errors are also given in dB.
        config: kept in every checkpoint; plain containers.
        hparams: what TensorBoard's HParams page is to show of the run, beside its best metrics.
        device: "auto" is the GPU where there is one.
        lr_factor: what the learning rate is multiplied by when validation loss stops falling.
        lr_patience: epochs without improvement before that.
        lr_decay: share of the epochs given to `train`, the last ones, in which the learning rate
            falls besides, linearly: one more epoch would have none of it. A run that goes on to
            more epochs has the rate that they have there, which may be a higher one.
        max_grad_norm: gradients longer than this are scaled down to it.
        accumulate_steps: so many batches make one update, the same as a batch of all of them would.
        ema_decay: with it, an exponential moving average of the weights is kept, validated as
            `ema` and saved beside them; it rises to this decay as (1 + updates) / (10 + updates).
        precision: of the model; losses and metrics are float32. "auto" is bf16 where it is native.
        compile: whether to run the model through `torch.compile`.
        replay: whether to record the model's passes on a GPU and replay them, which networks of a
            few channels are several times as fast by. On a CPU it makes no difference.
        limit_batches: at most so many batches an epoch.
        checkpoint_every_minutes: how much of an epoch a killed run may lose.
        max_bad_steps: so many steps in a row with a loss or gradient that is not finite end the
            run; each of them is skipped.
        histogram_every: epochs between histograms of weights and gradients.
        image_count: columns of the triple view.
        profile: whether to leave a trace of a few steps in `profile/`.
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
        hparams: Mapping[str, HParam] | None = None,
        device: str | torch.device = "auto",
        lr_factor: Annotated[float, Gt(0), Lt(1)] = 0.5,
        lr_patience: Annotated[int, Ge(0)] = 10,
        lr_decay: Annotated[float, Ge(0), Le(1)] = 0.0,
        max_grad_norm: Annotated[float, Gt(0)] = 1.0,
        accumulate_steps: Count = 1,
        ema_decay: Annotated[float, Gt(0), Lt(1)] | None = None,
        precision: Precision = "auto",
        compile: bool = False,
        replay: bool = False,
        limit_batches: Count | None = None,
        checkpoint_every_minutes: Annotated[float, Ge(0)] = 10.0,
        max_bad_steps: Count = 10,
        histogram_every: Count = 10,
        image_count: Count = 4,
        profile: bool = False,
    ) -> None:
        self.processes = group()
        self.device = pick_device(device)
        self.dtype = pick_precision(precision, self.device)
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
        # The compiled module shares the model's parameters, whose names stay as they were.
        self._forward: nn.Module = torch.compile(self.model) if compile else self.model  # type: ignore[assignment]  # of a module it gives a module
        self._training_model = self.processes.training(self._forward, self.device)
        if replay:
            self._check_replay(compile, accumulate_steps)
            if self.device.type == "cuda":
                context = partial(autocast, self.device, self.dtype, cached=False)
                self._training_model = Replayed(self.model, context)
        self.ema = None if ema_decay is None else EMA(self.model, ema_decay)
        self.train_loader = train_loader
        self.val_loader = val_loader
        self.loss_fn = loss_fn
        self.optimizer = optimizer or adam(self.model.parameters())
        self.scheduler = ReduceLROnPlateau(
            self.optimizer, mode="min", factor=lr_factor, patience=lr_patience
        )
        self.run_dir = Path(run_dir)
        self.tracker = Tracker(self.run_dir, hparams)
        self.checkpoints = KeptCheckpoints(self.run_dir)
        params = checkpoint.plain(preprocessing_params or {}, "preprocessing_params")
        self.preprocessing_params: dict[str, Any] = params
        self.config: dict[str, Any] = checkpoint.plain(config or {}, "config")
        self.lr_decay = lr_decay
        self.max_grad_norm = max_grad_norm
        self.accumulate_steps = accumulate_steps
        self.limit_batches = limit_batches
        self.save_seconds = 60 * checkpoint_every_minutes
        self.histogram_every = histogram_every
        self.profile = profile
        if self.processes.count > 1:
            for loader in (train_loader, val_loader):
                if hasattr(loader, "share"):
                    loader.share(self.processes.rank, self.processes.count)

        self.epochs: float = math.inf  # to be done in all, while `train` runs
        self.epoch = 0  # epochs finished
        self.batch = 0  # batches trained of the next one
        self.global_step = 0
        self.best_val_loss = math.inf
        self.best_epoch: int | None = None
        self.epochs_without_improvement = 0
        self.history: list[Row] = []
        self._bad_steps = BadSteps(max_bad_steps, self._name_of, self.device)
        self._train_means = RunningMeans()
        self._epoch_random_states: dict[str, Any] | None = None
        self._resumed_from: tuple[State, Path] | None = None
        self._has_begun = False
        self._has_trained_here = False
        self._is_inside_epoch = False  # to be gone on with, not begun again
        self._save_due = math.inf
        self._stop = StopRequest()
        self._profiled_step: Callable[[], None] = _nothing
        self._examples = Examples(val_loader, image_count, self.processes)

    def _check_replay(self, compile: bool, accumulate_steps: int) -> None:
        if compile or accumulate_steps > 1 or self.processes.count > 1:
            raise UserError(
                "trainer.replay=true: not with trainer.compile, trainer.accumulate_steps or "
                "several processes; leave it or them out"
            )

    @property
    def window_db(self) -> tuple[float, float] | None:
        """Decibels at 0 and at 1, None where they are not known."""
        if not {"vmin", "vmax"} <= self.preprocessing_params.keys():
            return None
        return float(self.preprocessing_params["vmin"]), float(self.preprocessing_params["vmax"])

    @property
    def made_with(self) -> dict[str, str | int]:
        """What the last bits of results depend on besides configuration."""
        return made_with(self.device, self.dtype) | {"processes": self.processes.count}

    def train(self, epochs: Count, early_stopping_patience: Count = 20) -> list[Row]:
        """Trains until `epochs` are done in all, or so many went by without improvement.

        Returns:
            The history: a row an epoch, resumed ones included.
        """
        self._log_start()
        self.epochs = epochs
        began_at = self.epoch
        with (
            self.processes.minding_others(),
            ExitStack() as claims,
            noting_signals() as self._stop,
            logging_redirect_tqdm(),
        ):
            self._check_agreement()
            try:
                if self._resumed_in_place():
                    self._begin(claims)
                while self._should_go_on(epochs, early_stopping_patience):
                    self._begin(claims)
                    self._run_epoch(epochs)
            except _Paused:
                if self.batch:
                    self._keep(is_best=False)
                    self._is_inside_epoch = True
            finally:
                self.tracker.close()
                self.epochs = math.inf
            self.processes.largest(0)  # waits until the first has written all
            self._log_end(epochs, began_at)
        return self.history

    def _check_agreement(self) -> None:
        """Makes sure that all processes are at the same place.

        Raises:
            UserError: they are not, as where some have not found a checkpoint.
        """
        mine = (self.epoch, self.batch, self.global_step, self.best_val_loss)
        places = self.processes.gather((*mine, len(self.train_loader), len(self.val_loader)))
        if len(set(places)) > 1:
            told = "; ".join(
                f"{epoch} epochs and {batch} batches done, {train} and {val} batches an epoch"
                for epoch, batch, _, _, train, val in places
            )
            raise UserError(
                f"the processes are not at the same place ({told}): all of them must see the "
                "same checkpoint, and data of the same size"
            )

    def _resumed_in_place(self) -> bool:
        return self._resumed_from is not None and (
            self._resumed_from[1].parent.resolve() == self.checkpoints.folder.resolve()
        )

    def _begin(self, claims: ExitStack) -> None:
        """Before anything is written, once: takes the folder and puts it in order."""
        if self._has_begun:
            return
        claims.callback(setattr, self, "_has_begun", False)
        self._has_begun = True
        if self.processes.is_first:
            self._take_folder(claims)
            if self.profile:
                self._profiled_step = claims.enter_context(profiled(self.run_dir, self.device))
                claims.callback(setattr, self, "_profiled_step", _nothing)
        self._has_trained_here = True
        self._resumed_from = None
        self._save_due = time.monotonic() + self.save_seconds

    def _take_folder(self, claims: ExitStack) -> None:
        claims.enter_context(locked(self.run_dir))
        if not self._has_trained_here:
            if not self._resumed_in_place():
                refuse_to_train_over(self.run_dir)
            record_environment(self.run_dir, self.device, self.made_with)
        self.checkpoints.begin()
        if self._resumed_from:
            self.checkpoints.go_on_from(*self._resumed_from)
            self.tracker.history(self.history)  # cut where the checkpoint is

    def _should_go_on(self, epochs: int, early_stopping_patience: int) -> bool:
        if self._is_asked_to_stop():
            return False
        if self.epochs_without_improvement >= early_stopping_patience:
            log.info(
                "Early stopping: no improvement of the validation loss for %d epochs",
                self.epochs_without_improvement,
            )
            return False
        return self.epoch < epochs

    def _run_epoch(self, epochs: int) -> None:
        began = time.perf_counter()
        learning_rate = self._share_of_rate() * self.optimizer.param_groups[0]["lr"]
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        train = self.train_epoch()
        val = self.validate()
        ema = self.validate_ema()
        self.epoch += 1
        self.batch = 0
        improved = math.isfinite(val["loss"]) and val["loss"] < self.best_val_loss
        if improved:
            self.best_val_loss, self.best_epoch = val["loss"], self.epoch
        self.epochs_without_improvement = 0 if improved else self.epochs_without_improvement + 1
        self._schedule(val["loss"])
        row: Row = {"epoch": self.epoch}
        row |= {f"train_{name}": value for name, value in train.items()}
        row |= {f"val_{name}": value for name, value in val.items()}
        row |= {f"ema_{name}": value for name, value in ema.items()}
        row |= {"learning_rate": learning_rate, "seconds": time.perf_counter() - began}
        self.history.append(row)
        self._track({"train": train, "val": val, "ema": ema}, learning_rate)
        self._keep(improved)
        log.info(
            "Epoch %d/%d: train %s; val %s%s; learning rate %.3g; %.1f s%s; saved %s",
            self.epoch,
            epochs,
            _listed(train),
            _listed(val),
            f"; ema {_listed(ema)}" if ema else "",
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
        if self._is_inside_epoch:
            self._is_inside_epoch = False
        else:
            self.batch, self._train_means = 0, RunningMeans()
            self._epoch_random_states = random_states(self.device)
        before = self._train_means.sums(self.processes)
        self.model.train()
        batches = self._batches(self.train_loader, "Train", self._train_means, self.batch)
        while together := list(islice(batches, self.accumulate_steps)):
            self._step(together)
            self._profiled_step()
            self._pause_or_save()
        self._bad_steps.look()
        for model in (self.model, *([self.ema.model] if self.ema else [])):
            self.processes.level(model)
        sums = self._train_means.sums(self.processes)  # waits for the device
        seconds = time.perf_counter() - began
        images_per_second = (sums[SAMPLES] - before.get(SAMPLES, 0)) / seconds
        return self._with_rmse(means_of(sums)) | {"images_per_second": images_per_second}

    def _step(self, batches: Sequence[Tensor]) -> None:
        """One update of the weights; none if a loss or the gradient is not finite."""
        self._examples.forget()
        before = [buffer.clone() for buffer in self.model.buffers()]
        self.optimizer.zero_grad(set_to_none=True)
        samples = self.processes.total(sum(map(len, batches)))
        total = torch.zeros((), device=self.device)
        measured = []
        for number, x in enumerate(batches, 1):
            # Gradients are means over processes, which only the last one's need be.
            weight = len(x) * self.processes.count / samples
            with self.processes.exchanging(self._training_model, number == len(batches)):
                # Holding on to the reconstruction would keep its memory from the backward pass.
                loss, parts = self._evaluate(_at_least_one(x), self._training_model)[:2]
                (loss * weight).backward()
            total += loss.detach() * weight
            measured.append((parts, len(x)))
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        good = torch.isfinite(self.processes.sum(total) + norm)
        with with_rates_times(self._share_of_rate(), self.optimizer):
            step_if(good, self.optimizer)
        restore_unless(good, self.model.buffers(), before)
        for parts, count in measured:
            self._train_means.add(parts, count, good)
        self.global_step += 1
        if self.ema:
            self.ema.update(self.model, self.global_step, good)
        self.batch += len(batches)
        self._bad_steps.add(range(self.batch - len(batches), self.batch), good)

    def _share_of_rate(self) -> float:
        """What of the learning rate this epoch is trained with; 1 until it falls."""
        if not self.lr_decay or self.epochs == math.inf:
            return 1.0
        left = (self.epochs - self.epoch) / (self.lr_decay * self.epochs + 1)
        return min(max(left, 0.0), 1.0)

    def _pause_or_save(self) -> None:
        """Between two steps: whether to stop here, and whether a checkpoint is due."""
        self._pause_if_asked()
        is_due = self.processes.is_first and time.monotonic() >= self._save_due
        if self.processes.largest(int(is_due))[0]:
            self._keep(is_best=False)
            log.info("Saved %s in epoch %d", self.checkpoints.latest, self.epoch + 1)

    def _pause_if_asked(self) -> None:
        if self._is_asked_to_stop():
            raise _Paused

    def _is_asked_to_stop(self) -> bool:
        """Whether a signal came, to this process or to one that trains with it."""
        (number,) = self.processes.largest(self._stop.number or 0)
        if number:
            self._stop.number = number
        return bool(number)

    def _name_of(self, batches: range) -> str:
        describe = getattr(self.train_loader, "describe", None)
        return "; ".join(
            f"epoch {self.epoch + 1}, batch {batch + 1}"
            + (f" ({describe(batch)})" if describe else "")
            for batch in batches
        )

    def validate(self) -> dict[str, float]:
        """The means over validation's samples of all metrics; changes nothing."""
        self._examples.forget()
        return self._validate(self.model, self._forward, self._examples.see)

    def validate_ema(self) -> dict[str, float]:
        """What `validate` gives, for the moving average of the weights; nothing without one."""
        return self._validate(self.ema.model, self.ema.model) if self.ema else {}

    def _validate(
        self,
        model: nn.Module,
        forward: Forward,
        look_at: Callable[[Tensor, Tensor], None] = lambda x, x_hat: None,
    ) -> dict[str, float]:
        means = RunningMeans()
        with without_trace(model, self.device):
            for x in self._batches(self.val_loader, "Val", means):
                some = _at_least_one(x)
                _, parts, x_hat = self._evaluate(some, forward)
                look_at(x, x_hat[: len(x)])
                if self.window_db:
                    bias_db = metrics.power_ratio_db(x_hat, some, *self.window_db).mean()
                    parts = {**parts, "bias_db": bias_db}
                means.add(parts, len(x))
                self._pause_if_asked()
        return self._with_rmse(means.values(self.processes))

    def _batches(
        self, loader: Batches, phase: str, means: RunningMeans, done: int = 0
    ) -> Iterator[Tensor]:
        """The batches of this epoch that follow the `done` ones, on the device."""
        count = count_batches(loader, phase.lower(), self.limit_batches)
        if done > count:
            raise UserError(
                f"the checkpoint lies inside an epoch, after {done} batches, and an epoch has "
                f"{count} now: resume with the data settings and limit_batches that it had"
            )
        rest = batches_after(
            loader,
            self.epoch,
            done,
            count,
            self._epoch_random_states,
            self.device,
            self._pause_if_asked,
        )
        title = f"Epoch {self.epoch + 1} [{phase}]"
        for x in followed(rest, title, done, count, means, self.processes):
            yield x.to(self.device, non_blocking=True)

    def _evaluate(self, x: Tensor, forward: Forward) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss, its parts and the reconstruction, all float32."""
        with autocast(self.device, self.dtype):
            x_hat, z = forward(x)
        x_hat = x_hat.float()
        return *self.loss_fn(x_hat, x, z), x_hat

    def _with_rmse(self, values: dict[str, float]) -> dict[str, float]:
        """Means, and of the one over squared errors, its root in dB."""
        if self.window_db and "mse" in values:
            low, high = self.window_db
            values = values | {"rmse_db": math.sqrt(values["mse"]) * (high - low)}
        return values

    def _schedule(self, val_loss: float) -> None:
        share = self._share_of_rate()
        before = self.optimizer.param_groups[0]["lr"]
        # A loss of minus infinity would stay the scheduler's best for ever.
        self.scheduler.step(val_loss if math.isfinite(val_loss) else math.inf)
        after = self.optimizer.param_groups[0]["lr"]
        if after != before:
            log.info("Learning rate cut from %.3g to %.3g", share * before, share * after)

    def _track(self, phases: Mapping[str, Mapping[str, float]], learning_rate: float) -> None:
        """Writes what TensorBoard and history.csv show of the epoch."""
        self.log_images()
        if not self.processes.is_first:
            return
        scalars = {
            f"{phase}/{name}": value
            for phase, values in phases.items()
            for name, value in values.items()
        }
        memory = gpu_memory_gb(self.device)
        scalars |= {f"system/gpu_{name}_gb": value for name, value in memory.items()}
        scalars["train/learning_rate"] = learning_rate
        if self.tracker.hparams and self.best_epoch is not None:
            best = next(row for row in self.history if row["epoch"] == self.best_epoch)
            scalars |= {name: best[f"val_{name.rpartition('/')[2]}"] for name in BEST}
        self.tracker.scalars(scalars, self.epoch)
        if self.epoch == 1 or self.epoch % self.histogram_every == 0:
            self.tracker.histograms(self.model, self.epoch)
        self.tracker.flush()
        self.tracker.history(self.history)

    def log_images(self) -> None:
        """Logs `Reconstructions/triple_view` of the first samples of the validation data."""
        with without_trace(self.model, self.device):
            originals = self._examples.originals(self.device)
            reconstructions = self._examples.reconstructions()
            if reconstructions is None:
                with autocast(self.device, self.dtype):
                    reconstructions, _ = self.model(originals)
        if self.processes.is_first:
            picture = triple_view(originals, reconstructions.float(), self.window_db)
            self.tracker.image("Reconstructions/triple_view", picture, self.epoch)

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Writes all that `load_checkpoint` restores; whole or not at all.

        Raises:
            UserError: it cannot be written, or the weights are not finite.
        """
        checkpoint.save(self.state(), Path(path))

    def _keep(self, is_best: bool) -> None:
        state = self.state()  # for which the processes need each other
        if self.processes.is_first:
            self.checkpoints.keep(state, is_best)
        self._save_due = time.monotonic() + self.save_seconds

    def state(self) -> State:
        """All that this run is, at this instant, its tensors not copied."""
        self._bad_steps.look()
        states: dict[str, Any] = {
            "random_states": random_states(self.device),
            "epoch_random_states": self._epoch_random_states if self.batch else None,
        }
        first, *others = self.processes.gather(states)
        return State(
            epoch=self.epoch,
            batch=self.batch,
            global_step=self.global_step,
            model_state_dict=self.model.state_dict(),
            ema_state_dict=self.ema.model.state_dict() if self.ema else None,
            optimizer=type(self.optimizer).__name__,
            optimizer_state_dict=self.optimizer.state_dict(),
            given_learning_rate=float(self.optimizer.defaults["lr"]),
            scheduler_state_dict=self.scheduler.state_dict(),
            best_val_loss=self.best_val_loss,
            best_epoch=self.best_epoch,
            epochs_without_improvement=self.epochs_without_improvement,
            train_sums=self._train_means.sums(self.processes) if self.batch else {},
            gradients=self._last_gradients(),
            bad_steps_in_row=self._bad_steps.in_row,
            **first,
            random_states_of_others=others,
            config=self.config,
            preprocessing_params=self.preprocessing_params,
            history=self.history,
            made_with=self.made_with,
        )

    def _last_gradients(self) -> dict[str, Tensor] | None:
        """Those of an epoch's last step, from there to its end."""
        count = count_batches(self.train_loader, "train", self.limit_batches) if self.batch else 0
        if not 0 < count == self.batch:
            return None
        named = self.model.named_parameters()
        return {name: each.grad for name, each in named if each.grad is not None}

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Restores all of a run; training goes on with the next batch.

        Settings of optimizer and scheduler stay those of this trainer; so does the learning rate,
        where it is another one than the checkpoint's run was given. Of a damaged `latest.pth`,
        `previous.pth` is taken.

        Raises:
            UserError: the file is missing, damaged, no checkpoint, or of another architecture,
                optimizer or scale of decibels. Nothing is changed then.
        """
        state, source = checkpoint.load_or_previous(path)
        check_same_preprocessing(source, state.preprocessing_params, self.preprocessing_params)
        ema = self.ema.model if self.ema else None
        restore(source, state, self.model, ema, self.optimizer, self.scheduler)
        self.epoch, self.batch, self.global_step = state.epoch, state.batch, state.global_step
        self.best_val_loss, self.best_epoch = state.best_val_loss, state.best_epoch
        self.epochs_without_improvement = state.epochs_without_improvement
        self.history = list(state.history)
        self._bad_steps.in_row = state.bad_steps_in_row
        is_first = self.processes.is_first
        sums = {name: value if is_first else 0.0 for name, value in state.train_sums.items()}
        self._train_means = RunningMeans(sums)
        self._is_inside_epoch = state.batch > 0
        self._resumed_from = state, source
        mine = state.random_states_of(self.processes.rank)
        self._epoch_random_states = state.epoch_random_states
        if mine is not None:
            restore_random_states(mine["random_states"], self.device)
            self._epoch_random_states = mine["epoch_random_states"]
        inside = f", {state.batch} batches of the next" if state.batch else ""
        log.info("Resumed from %s after epoch %d%s", source, self.epoch, inside)
        warn_of_differences(state.made_with, self.made_with)

    def _log_start(self) -> None:
        parameters = sum(each.numel() for each in self.model.parameters())
        log.info("Model: %s, %s parameters", type(self.model).__name__, f"{parameters:,}")
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        threads = f", {torch.get_num_threads()} threads" if self.device.type == "cpu" else ""
        log.info("Device: %s%s, precision %s", name, threads, str(self.dtype).split(".")[1])

    def _log_end(self, epochs: int, began_at: int) -> None:
        if self._stop.number is not None:
            log.warning(
                "Stopped by %s in epoch %d, after %d of its batches; to go on: %s",
                signal.Signals(self._stop.number).name,
                self.epoch + 1,
                self.batch,
                override("resume", self.run_dir),
            )
            return
        log.info(
            "%s%d of %d epochs done; best validation loss %.6g in epoch %s",
            "" if self.epoch > began_at else "Nothing left to train: ",
            self.epoch,
            epochs,
            self.best_val_loss,
            self.best_epoch,
        )


def _nothing() -> None:
    """What a step that is not profiled calls."""


def _at_least_one(x: Tensor) -> Tensor:
    """The batch, or in place of an empty one, which no loss has a mean of, a black image."""
    return x if len(x) else x.new_zeros(1, *x.shape[1:])


class _Paused(Exception):
    """Training is to stop here, between two steps."""


def _listed(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
