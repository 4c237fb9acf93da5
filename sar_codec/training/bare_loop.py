"""The least that training takes: what the Trainer is measured against."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from sar_codec.training.device import autocast
from sar_codec.training.trainer import LossFunction


def bare_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_fn: LossFunction,
    train_loader: Sequence[Tensor],
    val_loader: Sequence[Tensor],
    device: torch.device,
    dtype: torch.dtype,
    max_grad_norm: float,
    compile: bool,
) -> Callable[[], float]:
    """A function that trains and validates for one epoch and gives the mean validation loss."""
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # stubs lack it
    forward = torch.compile(model) if compile else model

    def loss_of(x: Tensor) -> Tensor:
        x = x.to(device)
        with autocast(device, dtype):
            x_hat, z = forward(x)
        return loss_fn(x_hat.float(), x, z)[0]

    def epoch() -> float:
        model.train()
        for x in train_loader:
            loss = loss_of(x)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            losses = [loss_of(x) * len(x) for x in val_loader]
        return float(torch.stack(losses).sum()) / sum(map(len, val_loader))

    return epoch
