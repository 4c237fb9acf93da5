"""Trainings in processes that are forked from one which has imported all that they need."""

import multiprocessing
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from sar_codec.train import main

# What takes long to import. There is one fork server for all tests of a process: the same list.
PRELOADED = ["sar_codec.train", "sar_codec.training.trainer", "sar_codec.data.sources"]
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(PRELOADED)


class Forked:
    """What `python -m sar_codec.train` runs, as a leader of a group, three seconds sooner."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._said = folder / "said.txt"
        self._process = _processes.Process(target=_run, args=(folder, arguments, self._said))
        self._process.start()

    def send(self, number: int) -> None:
        assert self._process.pid
        with suppress(ProcessLookupError):  # it has ended
            os.kill(self._process.pid, number)

    def end(self) -> tuple[int, str]:
        """Its exit code, minus the signal that killed it, and what it said on stderr."""
        self._process.join(300)
        assert self._process.exitcode is not None, "still running after five minutes"
        return self._process.exitcode, self._said.read_text() if self._said.exists() else ""


def _run(folder: Path, arguments: tuple[str, ...], said: Path) -> None:
    os.setsid()
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which fork servers ignore
    sys.argv = ["train", *arguments]
    main()
