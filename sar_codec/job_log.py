"""The log file of a run."""

import logging
import sys


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
