"""The log file of a run."""

import faulthandler
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class JobLog(logging.FileHandler):
    """A log file that, where it cannot be written, says so once and lets the run go on."""

    _complained = False

    def handleError(self, record: logging.LogRecord) -> None:  # logging's name
        self._complain(sys.exc_info()[1])

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:  # what could not be written is tried once more
            self._complain(error)

    def _complain(self, error: BaseException | None) -> None:
        if not self._complained:
            self._complained = True
            print(f"warning: {self.baseFilename}: cannot be written ({error})", file=sys.stderr)


@contextmanager
def telling_of_crashes() -> Iterator[None]:
    """A context in which a crash of the interpreter leaves a traceback in the log file."""
    handlers = logging.getLogger().handlers
    streams = [each.stream for each in handlers if isinstance(each, JobLog) and each.stream]
    if not streams or faulthandler.is_enabled():  # somebody wants it elsewhere
        yield
        return
    faulthandler.enable(streams[0])
    try:
        yield
    finally:
        faulthandler.disable()
