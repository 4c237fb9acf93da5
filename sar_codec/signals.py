"""Being asked to stop: by Slurm, by a user's Ctrl-C, by a launcher."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


class Stopped(KeyboardInterrupt):
    """A signal asked this process to stop, and it is about to, having saved what it had."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class StopRequest:
    """Which signal asked to stop, None as long as none did."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler: the first signal is noted, a second one ends the process at once."""
        if self.number is not None:
            os._exit(128 + number)
        self.number = number


@contextmanager
def noting_signals() -> Iterator[StopRequest]:
    """A context in which a signal does not interrupt; whoever works there looks whether one came.

    After it, a signal that came is passed on to whoever handled it before, such as a launcher that
    puts the job back into its queue, and `Stopped` is raised.
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
    if request.number is not None:
        handler = before[signal.Signals(request.number)]
        if callable(handler) and handler is not signal.default_int_handler:
            handler(request.number, None)
        raise Stopped(request.number)


def raise_stopped(number: int, frame: FrameType | None) -> None:
    """A handler for where there is nothing to save."""
    raise Stopped(number)
