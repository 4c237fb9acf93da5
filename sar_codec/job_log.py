"""The log file of a run."""

import logging
import sys


class JobLog(logging.FileHandler):
    """A log file that, where it cannot be written, says so once and lets the run go on."""

    _complained = False

    def handleError(self, record: logging.LogRecord) -> None:  # logging's name
        if not self._complained:
            self._complained = True
            error = sys.exc_info()[1]
            print(f"warning: {self.baseFilename}: cannot be written ({error})", file=sys.stderr)
