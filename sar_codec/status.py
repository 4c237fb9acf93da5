"""status.json: what became of a run, as its folder says it."""

import json
import math
import os
import socket
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sar_codec.errors import UserError
from sar_codec.files import write_whole

NAME = "status.json"

RUNNING = "running"
FINISHED = "finished"
FAILED = "failed"
KILLED = "killed"  # ended without being able to say why
STOPPED = "stopped"  # by a signal, to be gone on with


def read_status(folder: Path) -> dict[str, Any]:
    """The entries of a folder's status.json; none where there is no such file, or a damaged one."""
    try:
        entries = json.loads((folder / NAME).read_text())
    except (OSError, ValueError):
        return {}
    return entries if isinstance(entries, dict) else {}


def update_status(folder: Path, **entries: Any) -> None:
    """Writes entries over those that a folder's status.json has.

    Raises:
        UserError: it cannot be written.
    """
    text = json.dumps(read_status(folder) | entries, indent=2)
    write_whole(folder / NAME, [f"{text}\n".encode()])


class RunStatus:
    """A run's own account of itself, from its first moment to its last.

    A status that cannot be written is left as it is: it must not be what ends a run. With no folder
    nothing is written at all.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._write(
            status=RUNNING,
            reason=None,
            result=None,
            began=_now(),
            ended=None,
            process=os.getpid(),
            host=socket.gethostname(),
        )

    def ended(self, status: str, reason: str | None = None, result: Any = None) -> None:
        """Takes note of how it ended.

        Args:
            status: FINISHED, FAILED or STOPPED.
            reason: one line for people.
            result: what it was run for, where that is a number.
        """
        is_number = isinstance(result, int | float) and math.isfinite(result)
        result = result if is_number else None  # JSON has no others
        self._write(status=status, reason=reason, result=result, ended=_now())

    def _write(self, **entries: Any) -> None:
        if self._folder is not None:
            with suppress(UserError):
                update_status(self._folder, **entries)


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
