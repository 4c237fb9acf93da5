"""Processes that are forked from one which has imported all that training needs."""

import atexit
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sar_codec.train import main

# What takes long to import. There is one fork server for all tests of a process: the same list.
PRELOADED = ["sar_codec.train", "sar_codec.training.trainer", "sar_codec.data.sources"]
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(PRELOADED)
_numbers = itertools.count()


class Forked:
    """A function in a process of its own, which is in a folder and leads a group.

    Its environment is that of the first one, in a process that tests.
    """

    def __init__(self, folder: Path, function: Callable[..., object], *arguments: Any) -> None:
        self._said = folder / f"said{next(_numbers)}.txt"
        self._process = _processes.Process(
            target=_run, args=(folder, self._said, function, arguments)
        )
        self._process.start()
        atexit.register(self.send, signal.SIGKILL)  # else python would wait for it

    @property
    def pid(self) -> int:
        assert self._process.pid
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, minus the signal that killed it; None while it runs."""
        return self._process.exitcode

    def send(self, number: int) -> None:
        if self.code is None:  # else its number may be another's by now
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def end(self) -> tuple[int, str]:
        """Its exit code, and what it said on stderr."""
        self._process.join(300)
        if self.code is None:
            self.send(signal.SIGKILL)
            pytest.fail(f"still running after five minutes: {self.said}")
        return self.code, self.said

    @property
    def said(self) -> str:
        """On stderr, until now."""
        return self._said.read_text() if self._said.exists() else ""


def training(folder: Path, *arguments: str) -> Forked:
    """What `python -m sar_codec.train` runs, three seconds sooner."""
    return Forked(folder, train, *arguments)


def train(*arguments: str) -> None:
    """As `python -m sar_codec.train` does, in this process."""
    sys.argv = ["train", *arguments]
    main()


def train_killed(*arguments: str) -> None:
    """The same, killed with seed 5 once Hydra has begun, with 8, the first time, after an epoch."""
    (run,) = [Path(each[14:]) for each in arguments if each.startswith("hydra.run.dir=")]
    if "seed=5" in arguments:
        _die_once_there_is(run / ".hydra" / "config.yaml")
    if "seed=8" in arguments and "resume=auto" not in arguments:
        _die_once_there_is(run / "checkpoints" / "latest.pth")
    train(*arguments)


def _die_once_there_is(file: Path) -> None:
    threading.Thread(target=_wait_and_die, args=[file], daemon=True).start()


def _wait_and_die(file: Path) -> None:
    while not file.exists():
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGKILL)


def _run(
    folder: Path, said: Path, function: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    os.setsid()
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which fork servers ignore
    function(*arguments)
