"""What two processes do for test_together.py; and one alone, to compare with."""

import hashlib
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sar_codec import processes
from sar_codec.data.sources import synthetic
from sar_codec.errors import UserError
from sar_codec.losses import CombinedLoss
from sar_codec.models.autoencoder import SARAutoencoder
from sar_codec.signals import Stopped
from sar_codec.training import checkpoint
from sar_codec.training.optimizers import adam
from sar_codec.training.random_states import seed_all
from sar_codec.training.trainer import Trainer

Results = dict[str, Any]


class Noisy(SARAutoencoder):
    """Draws from the global generator, and has statistics: other ones in each process."""

    def __init__(self, **settings: int) -> None:
        super().__init__(**settings)
        self.norm = nn.BatchNorm2d(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x_hat, z = super().forward(x)
        return nn.functional.dropout(self.norm(x_hat), 0.1, self.training), z


def trainer_for(
    folder: Path,
    model: Callable[..., nn.Module] = SARAutoencoder,
    batch_size: int = 3,
    lr: float = 1e-3,
    loss_fn: Callable[..., Any] | None = None,
    **settings: Any,
) -> Trainer:
    """Of 20 patches for training and 4 for validation."""
    small = {"scenes": 6, "size": 64, "patch_size": 32}
    data = synthetic(seed=0, batch_size=batch_size, **small)
    seed_all(0)
    network = model(width=8, depth=1)
    seed_all(processes.group().rank)
    optimizer = adam(network.parameters(), lr=lr)
    return Trainer(
        *(network, data.train, data.val, loss_fn or CombinedLoss(), optimizer),
        run_dir=folder,
        device="cpu",
        precision="fp32",
        preprocessing_params=data.preprocessing_params,
        **settings,
    )


def digest(trainer: Trainer) -> str:
    """Of weights and statistics."""
    weights = [each.detach().numpy().tobytes() for each in trainer.model.state_dict().values()]
    if trainer.ema:
        weights += [each.numpy().tobytes() for each in trainer.ema.model.state_dict().values()]
    return hashlib.sha256(b"".join(weights)).hexdigest()


def steps(folder: Path) -> Results:
    """Twenty epochs of a step each: the losses of twenty steps."""
    trainer = trainer_for(folder, limit_batches=1)
    history = trainer.train(20)
    return {"history": history, "digests": trainer.processes.gather(digest(trainer))}


def one_left(folder: Path) -> Results:
    """The last batch has one sample, so one of two processes has none."""
    return {"history": trainer_for(folder, batch_size=19).train(2)}


def accumulated(folder: Path) -> Results:
    return {"history": trainer_for(folder, batch_size=2, accumulate_steps=3).train(2)}


def averaged(folder: Path) -> Results:
    return {"history": trainer_for(folder, ema_decay=0.5).train(2)}


def unlucky(folder: Path) -> Results:
    """In the third step, the loss of the last process alone is not a number."""
    together = processes.group()
    loss_fn = CombinedLoss()
    calls = 0

    def sometimes(x_hat: Tensor, x: Tensor, z: Tensor) -> Any:
        nonlocal calls
        calls += x_hat.requires_grad
        loss, parts = loss_fn(x_hat, x, z)
        if x_hat.requires_grad and calls == 3 and together.rank == together.count - 1:
            loss = loss * torch.nan
        return loss, parts

    trainer = trainer_for(folder, loss_fn=sometimes)
    history = trainer.train(1)
    return {"history": history, "digests": trainer.processes.gather(digest(trainer))}


def idle(folder: Path) -> Results:
    """Nothing improves: after how many epochs each process stops."""
    trainer = trainer_for(folder, lr=1e-30, limit_batches=1)
    trainer.train(50, early_stopping_patience=2)
    return {"epochs": trainer.processes.gather(trainer.epoch)}


def whole(folder: Path) -> Results:
    trainer = trainer_for(folder, Noisy, ema_decay=0.5)
    trainer.train(2)
    return {"digests": trainer.processes.gather(digest(trainer))}


def cut(folder: Path) -> Results:
    """As `whole`, but the last process, alone, is asked to stop after five steps; then gone on."""
    trainer = trainer_for(folder, Noisy, ema_decay=0.5)
    step = trainer._step

    def asked(batches: Sequence[Tensor]) -> None:
        step(batches)
        if trainer.global_step == 5 and trainer.processes.rank == trainer.processes.count - 1:
            os.kill(os.getpid(), signal.SIGUSR2)

    trainer._step = asked  # type: ignore[method-assign]
    stopped = 0
    try:
        trainer.train(2)
    except Stopped as stop:
        stopped = stop.number
    saved = checkpoint.load(folder / "checkpoints" / "latest.pth").batch
    again = trainer_for(folder, Noisy, ema_decay=0.5)
    again.load_checkpoint(folder / "checkpoints" / "latest.pth")
    again.train(2)
    return {
        "stopped": trainer.processes.gather((stopped, trainer.batch)),
        "saved": saved,
        "previous": (folder / "checkpoints" / "previous.pth").exists(),
    }


def half(folder: Path) -> Results:
    """One epoch, for others to go on from."""
    trainer_for(folder).train(1)
    return {}


def gone_on(folder: Path) -> Results:
    """The second epoch, after the one that lies in the folder `alone/half`."""
    trainer = trainer_for(folder)
    trainer.load_checkpoint(folder.parent / "alone" / "half" / "checkpoints" / "latest.pth")
    return {"history": trainer.train(2)}


def apart(folder: Path) -> Results:
    """Only the first process has found the checkpoint: what all of them say."""
    trainer = trainer_for(folder)
    if trainer.processes.is_first:
        checkpoints = folder.parent / "half" / "checkpoints"
        trainer.load_checkpoint(checkpoints / "latest.pth")
    said = ""
    try:
        trainer.train(2)
    except UserError as error:
        said = str(error)
    return {"said": trainer.processes.gather(said)}


SCENARIOS = (
    steps,
    one_left,
    accumulated,
    averaged,
    unlucky,
    idle,
    whole,
    cut,
    half,
    gone_on,
    apart,
)


def one_of_two(rank: int, port: int, folder: Path) -> None:
    """Does all of it, with another process; leaves results.json in the folder."""
    group = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in group.items()})
    processes.join()
    results = {each.__name__: each(folder / each.__name__) for each in SCENARIOS}
    if processes.is_first():
        (folder / "results.json").write_text(json.dumps(results))
    processes.leave()
