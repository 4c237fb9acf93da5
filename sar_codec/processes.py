"""Several processes that train one model, as torchrun starts them: what they agree on.

Nothing here imports torch before it is needed, so that a wrong command is refused at once.
"""

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sar_codec.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

Value = TypeVar("Value")

TIMEOUT = timedelta(minutes=5)  # for all processes to have begun


def are_several() -> bool:
    """Whether this process was started as one of a group, which may have only this member."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()


def is_first() -> bool:
    """Whether this is the process that speaks and writes; one alone is."""
    return not are_several() or os.environ["RANK"] == "0"


def join() -> None:
    """Waits for the other processes; from then on `group()` is all of them.

    CPU tensors go by gloo, tensors of GPUs by nccl.

    Raises:
        UserError: they cannot be reached.
    """
    import torch
    from torch import distributed
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]  # public

    if distributed.is_initialized():
        return
    by_nccl = torch.cuda.is_available() and distributed.is_nccl_available()
    rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    has_server = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    try:
        server = TCPStore(
            *(address, port, count, rank == 0 and not has_server, TIMEOUT), multi_tenant=True
        )
        # torchrun's restarts have the same server, and must not find addresses of the dead there,
        # as torch's own env:// would.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if by_nccl else "gloo",
            store=PrefixStore(f"sar_codec/{attempt}", server),
            rank=rank,
            world_size=count,
        )
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the {count} processes did not find each other at {address}:{port} ({reason})"
        ) from error


def leave() -> None:
    """Ends what `join` began, if it did."""
    if are_several():
        from torch import distributed

        if distributed.is_initialized():
            # What still holds the group would end its threads when python ends, and abort there.
            gc.collect()
            distributed.destroy_process_group()


def agree_on_run_dir(proposal: str) -> tuple[str, bool]:
    """The first process's run folder, for all; torchrun's restarts keep the one they had.

    Returns:
        The folder, and whether a restart goes on in it.
    """
    memory = _memory("run_dir")
    remembered = memory.read_text() if memory is not None and memory.exists() else None
    answers = group().gather((remembered, proposal))
    known = [folder for folder, _ in answers if folder]
    agreed = known[0] if known else answers[0][1]
    if memory is not None:
        memory.write_text(agreed)
    return agreed, bool(known)


def remember_stop(number: int) -> None:
    """Makes torchrun's restarts end as this process does: a signal stopped it, not a fault.

    Only SIGUSR2, which torchrun does not know: of others sent to it, it starts nothing again, and
    it sends SIGTERM itself to those whose peer has died.
    """
    memory = _memory("stopped_by")
    if memory is not None and number == signal.SIGUSR2:
        memory.write_text(str(number))


def stopped_by() -> int | None:
    """The signal that stopped this run before torchrun started it again; None if none did."""
    memory = _memory("stopped_by")
    return int(memory.read_text()) if memory is not None and memory.exists() else None


def _memory(name: str) -> Path | None:
    """A file that lives as long as torchrun does on this machine; None without torchrun."""
    # Its folder for FOLDER/attempt_N/RANK/error.json, which it removes at its end.
    error_file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    return Path(error_file).parents[2] / f"sar_codec_{name}" if error_file else None


class Processes:
    """One process alone, which agrees with itself."""

    rank = 0
    count = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that speaks and writes."""
        return self.rank == 0

    def training(self, model: "nn.Module", device: "torch.device") -> "nn.Module":
        """The model as it is to be called for a loss whose gradient is the mean over processes."""
        return model

    def exchanging(self, model: "nn.Module", exchanged: bool) -> AbstractContextManager[None]:
        """A context in which gradients of what `training` gave add up, and are exchanged or not."""
        return nullcontext()

    def level(self, model: "nn.Module") -> None:
        """Makes a model's buffers, such as the statistics of a batch norm, those of the first."""

    def largest(self, *numbers: int) -> list[int]:
        """Of each number, the largest that a process gave; waits for all of them."""
        return list(numbers)

    def total(self, number: int) -> int:
        """The sum of what the processes gave; waits for all of them."""
        return number

    def sum(self, values: "Tensor") -> "Tensor":
        """The sum, by element, of what the processes gave, on the device of `values`."""
        return values

    def gather(self, value: Value) -> list[Value]:
        """What each process gave, by rank."""
        return [value]

    @contextmanager
    def minding_others(self) -> Iterator[None]:
        """A context in which the end of another process is a UserError."""
        yield


class _Group(Processes):
    """The processes of torch's default group."""

    def __init__(self) -> None:
        from torch import distributed

        self.rank = distributed.get_rank()
        self.count = distributed.get_world_size()

    def training(self, model: "nn.Module", device: "torch.device") -> "nn.Module":
        from torch.nn.parallel import DistributedDataParallel

        ids = [device] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def exchanging(self, model: "nn.Module", exchanged: bool) -> AbstractContextManager[None]:
        return nullcontext() if exchanged else model.no_sync()  # type: ignore[operator]  # it has it

    def level(self, model: "nn.Module") -> None:
        from torch import distributed

        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)

    def largest(self, *numbers: int) -> list[int]:
        return self._reduced(list(numbers), "MAX")

    def total(self, number: int) -> int:
        return self._reduced([number], "SUM")[0]

    def _reduced(self, numbers: list[int], operation: str) -> list[int]:
        import torch
        from torch import distributed

        values = torch.tensor(numbers)  # on the CPU: the host needs them, a GPU goes on working
        distributed.all_reduce(values, getattr(distributed.ReduceOp, operation))
        return values.tolist()

    def sum(self, values: "Tensor") -> "Tensor":
        from torch import distributed

        values = values.clone()
        distributed.all_reduce(values)
        return values

    def gather(self, value: Value) -> list[Value]:
        from torch import distributed

        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    @contextmanager
    def minding_others(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            text = str(error)
            if not any(word in text.lower() for word in ("gloo", "nccl", "tcpstore", "by peer")):
                raise
            raise UserError("another process of this run has ended; see what it said") from error


def group() -> Processes:
    """The processes that train together: those that joined, or this one alone."""
    from torch import distributed

    joined = distributed.is_available() and distributed.is_initialized()
    return _Group() if joined and distributed.get_world_size() > 1 else Processes()
