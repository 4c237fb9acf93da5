"""Being asked to stop: by Slurm, by a user's Ctrl-C, by a launcher."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
ECHO_SECONDS = 1.0


class Stopped(KeyboardInterrupt):
    """A signal asked this process to stop, and it is about to, having saved what it had."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    def __reduce__(self) -> tuple[type["Stopped"], tuple[int]]:
        return Stopped, (self.number,)


class StopRequest:
    """Which signal asked to stop, None as long as none did."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._came: dict[int, float] = {}  # each signal, and when it first did
        self._pass_on: Callable[[int], object] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler: the first signal is noted; the same one again ends the process at once.

        Not within a second: Slurm and torchrun signal all processes of a job, whose parents pass
        the signal on to them too. Nor another one: SIGTERM follows SIGUSR2 where Slurm preempts.
        """
        now = time.monotonic()
        insists = now - self._came.setdefault(number, now) > ECHO_SECONDS
        if self.number is None:
            self.number = number
        if self._pass_on is not None:
            self._pass_on(number)
        if insists:
            os._exit(128 + number)

    @property
    def numbers(self) -> list[int]:
        """All signals that came, in order."""
        return list(self._came)

    def pass_on_to(self, send: Callable[[int], object]) -> None:
        """Calls `send` with each signal, those that came already included."""
        self._pass_on = send
        for number in self.numbers:
            send(number)


@contextmanager
def noting_signals() -> Iterator[StopRequest]:
    """A context in which a signal does not interrupt; whoever works there looks whether one came.

    After it, the signals that came are passed on to whoever handled them before, such as a launcher
    that puts the job back into its queue, and `Stopped` is raised with the first of them.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may have handlers
        return
    before = {
        number: signal.signal(number, request)
        for number in STOPPING
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup leaves some
    }
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if request.number is None:
        return
    for each in request.numbers:
        handler = before[signal.Signals(each)]
        if callable(handler) and handler not in (signal.default_int_handler, raise_stopped):
            handler(each, None)
    raise Stopped(request.number)


def raise_stopped(number: int, frame: FrameType | None) -> None:
    """A handler for where there is nothing to save."""
    raise Stopped(number)
