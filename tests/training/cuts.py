"""Runs that are cut at a given place, each in a process of its own."""

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from forked_training import PRELOADED
from torch import Tensor, nn

from sar_codec.data.sources import synthetic
from sar_codec.losses import CombinedLoss
from sar_codec.training import checkpoint
from sar_codec.training.optimizers import adam
from sar_codec.training.resuming import find_checkpoint
from sar_codec.training.trainer import Trainer

EPOCHS = 24
BATCHES = 6  # of an epoch

_processes = multiprocessing.get_context("forkserver")
# What takes long to import; not this module, which a fork server does not find before python 3.12.
_processes.set_forkserver_preload(PRELOADED)


@dataclass(frozen=True)
class Cut:
    """A place in a run, and how it ends there.

    Attributes:
        phase: "train" (after step `batch`), "val" (after batch `batch` of validation), "save" (as
            soon as the epoch's checkpoint is there).
        epoch: as people count them, from 1.
        batch: likewise.
        number: the signal.
    """

    phase: str
    epoch: int
    batch: int = 1
    number: int = signal.SIGKILL


class Restless(nn.Module):
    """A small autoencoder that draws from every global generator, and has buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 4, stride=4),
            nn.BatchNorm2d(8),
            nn.Dropout(0.2),
            nn.GELU(),
            nn.ConvTranspose2d(8, 1, 4, stride=4),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        noise = random.gauss(0, 0.01) + np.random.normal(0, 0.01) if self.training else 0.0
        x_hat = self.layers(x) + noise
        return x_hat, x_hat


def trainer_for(run_dir: Path, **settings: Any) -> Trainer:
    """A trainer of a run that shuffles, augments, drops out, has plateaus and stops early.

    Its best epoch is the 5th, its learning rate is cut after the 8th and it stops after the 9th;
    so they are too with a learning rate that is a hundredth more or less.
    """
    torch.manual_seed(5)
    random.seed(0)
    np.random.seed(0)
    workers = settings.pop("num_workers", 0)
    model = settings.pop("model", Restless)()
    loss_fn = settings.pop("loss_fn", CombinedLoss)()
    learning_rate = settings.pop("learning_rate", 0.2)
    data = synthetic(
        scenes=8,
        size=48,
        patch_size=16,
        batch_size=9,
        val_fraction=0.25,
        num_workers=workers,
        seed=3,
    )
    defaults = {
        "optimizer": adam(model.parameters(), lr=learning_rate),
        "lr_patience": 2,
        "lr_decay": 0.4,
        "ema_decay": 0.9,
        "checkpoint_every_minutes": 0.0,
        "precision": "fp32",
        "device": "cpu",
        "config": {},
    }
    return Trainer(
        model,
        data.train,
        data.val,
        loss_fn,
        run_dir=run_dir,
        preprocessing_params=data.preprocessing_params,
        **(defaults | settings),
    )


def train(run_dir: Path, cut: Cut | None = None, forget: str = "", **settings: Any) -> None:
    """Trains in this process, from the folder's checkpoint if there is one, up to a cut.

    Args:
        run_dir: the folder.
        cut: where to end.
        forget: an entry of the checkpoint that is left as it is in a new trainer, or empty.
        settings: for `trainer_for`; `loader` is a training loader instead of the usual one, and
            `epochs` are fewer than usual.
    """
    torch.set_num_threads(1)
    os.fsync = lambda _: None  # a killed process loses nothing that it wrote
    loader, epochs = settings.pop("loader", None), settings.pop("epochs", EPOCHS)
    trainer = trainer_for(run_dir, **settings)
    trainer.train_loader = loader or trainer.train_loader
    if cut:
        _cut(trainer, cut)
    path = find_checkpoint("auto", run_dir)
    if path:
        state, _ = checkpoint.load_or_previous(path)
        if forget:
            given = {"optimizer": "", "given_learning_rate": 0.0, "preprocessing_params": {}}
            setattr(state, forget, given.get(forget, getattr(trainer.state(), forget)))
        checkpoint.load_or_previous = lambda path: (state, Path(path))
        trainer.load_checkpoint(path)
    trainer.train(epochs, early_stopping_patience=4)


def _cut(trainer: Trainer, cut: Cut) -> None:
    def die_here(phase: str, batch: int) -> None:
        epoch = trainer.epoch + (phase != "save")
        if (phase, epoch, batch) == (cut.phase, cut.epoch, cut.batch):
            os.kill(os.getpid(), cut.number)

    def after(name: str, phase: str, batch_of: Callable[[], int]) -> None:
        function = getattr(trainer, name)

        def wrapped(*arguments: Any, **settings: Any) -> Any:
            result = function(*arguments, **settings)
            die_here(phase, batch_of())
            return result

        setattr(trainer, name, wrapped)

    validated = 0

    def count() -> int:
        nonlocal validated
        validated = 0 if torch.is_grad_enabled() else validated + 1
        return validated

    after("_step", "train", lambda: trainer.batch)
    after("_evaluate", "val", count)
    after("_keep", "save", lambda: 1)


def in_process(function: Callable[..., object], *arguments: Any, **settings: Any) -> int:
    """Runs a function in a new process; gives its exit code, minus the signal that killed it."""
    process = _processes.Process(target=function, args=arguments, kwargs=settings)
    process.start()
    process.join(60)
    assert process.exitcode is not None, "still running after a minute"
    return process.exitcode
