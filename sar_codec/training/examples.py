"""The samples that a run's picture shows."""

import torch
from torch import Tensor

from sar_codec.processes import Processes
from sar_codec.training.progress import Batches, first_samples


class Examples:
    """The first samples of the validation data, always the same, and their reconstructions.

    Args:
        loader: of the validation data, or of this process's parts of it.
        count: samples.
        processes: those that validate together; the samples are gathered from all of them.
    """

    def __init__(self, loader: Batches, count: int, processes: Processes) -> None:
        self._loader = loader
        self._count = count
        self._processes = processes
        self._originals: Tensor | None = None
        self._seen: list[tuple[Tensor, Tensor]] = []

    def forget(self) -> None:
        """Leaves out what `see` has seen: the weights are other ones now."""
        self._seen = []

    def see(self, x: Tensor, x_hat: Tensor) -> None:
        """Takes note of a batch of validation, of its beginning, and of its reconstruction."""
        if sum(len(each) for each, _ in self._seen) < self._count:
            # By way of the CPU: another process's GPU is none of this one's.
            parts = zip(*self._processes.gather((x.cpu(), x_hat.cpu())), strict=True)
            images, reconstructions = (torch.cat(each).to(x.device) for each in parts)
            self._seen.append((images, reconstructions))

    def originals(self, device: torch.device) -> Tensor:
        """The samples `(N, 1, H, W)`, drawn the first time that they are asked for."""
        if self._originals is None:
            samples = first_samples(self._loader, self._count, self._processes)
            self._originals = samples.to(device)
        return self._originals

    def reconstructions(self) -> Tensor | None:
        """What the samples were seen to become; None if others were seen, or none."""
        if not self._seen:
            return None
        images, made = (torch.cat(each)[: self._count] for each in zip(*self._seen, strict=True))
        return (
            made if self._originals is not None and torch.equal(images, self._originals) else None
        )
