"""Remembers how a node died, so that the next start can look whether its files were to blame.

A damaged page makes LMDB read outside of it, which ends the process without a word of ours; and
after a failed sync nobody knows what is on the disk. Both leave a report, and a report at the start
means that every page is looked at before the files are opened. A node that was killed, or lost its
power, leaves none: its files are whole, and its next start is quick.
"""

import contextlib
import faulthandler
import logging
import time
from pathlib import Path
from typing import IO

from regatta.errors import StartError
from regatta.store._check import check_pages

log = logging.getLogger("regatta.store")

report_name = "regatta.crash"
previous_name = "regatta.crash.previous"


class CrashReport:
    """The file in the data directory in which a dying node leaves a report.

    Whoever holds one must hold the directory's lock.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / report_name
        self._file: IO[bytes] | None = None
        self._of_signals = False

    @property
    def there(self) -> bool:
        """Whether the last node that ran here left a report."""
        try:
            return self.path.stat().st_size > 0
        except OSError:
            return False

    def begin(self, *, of_signals: bool) -> None:
        """Be ready to report; *of_signals* the process's own death by SIGSEGV, SIGBUS, SIGABRT…

        An old report is kept beside the new one.
        """
        if self.there:
            self.path.replace(self.path.with_name(previous_name))
        try:
            self._file = self.path.open("wb", buffering=0)
        except OSError as error:
            raise StartError(
                f"can't write to {self.path}: {error.strerror}",
                "Give a directory that this user may write to.",
            ) from None
        self._of_signals = of_signals
        if of_signals:
            faulthandler.enable(self._file)

    def write(self, text: str) -> None:
        """Report *text*, as far as the disk allows."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.write(f"{text}\n".encode())

    def close(self) -> None:
        """End without anything to report."""
        if self._file is not None:
            if self._of_signals:
                faulthandler.disable()
            self._file.close()
            self._file = None


def check_after_crash(report: CrashReport, log_dir: Path, data_dir: Path) -> None:
    """Look at every page of both environments; raises StartError for the first that is bad.

    The report stays until a check has gone well.
    """
    log.warning(
        "the last run died of a fault (%s): checking every page of %s and %s",
        report.path,
        log_dir,
        data_dir,
    )
    start_s = time.monotonic()
    page_count = 0
    for directory in (log_dir, data_dir):
        if (directory / "data.mdb").exists():
            page_count += check_pages(directory)
    log.warning("%d pages checked in %.1f s: all are sound", page_count, time.monotonic() - start_s)
