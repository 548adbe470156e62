"""Log lines on standard error: JSON by default, tab-separated text in dev mode.

A line has level, ts, logger, caller and msg, and a stack trace from error up (dev mode: from warn
up). Of equal lines the first 100 of a second are written, then every 100th. Lines are written by a
thread of their own: a reader of standard error that stalls or goes away costs lines, never time.
"""

import contextlib
import json
import logging
import os
import queue
import threading
import time
import traceback
from pathlib import Path

LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
}
NAMES = {logging.WARNING: "warn", logging.CRITICAL: "error"}  # where ours differ from logging's

equal_lines_max = 100  # a second, at once; of those above, one in as many
waiting_lines_max = 10_000  # for the writer; more are dropped
flush_timeout_s = 1.0  # for what is still waiting when the process ends


def configure(level: str, *, dev_mode: bool) -> logging.Logger:
    """Send the whole process's log to standard error and return the daemon's root logger.

    *level* is a key of LEVELS and holds for our own lines; libraries only get through with warnings
    and errors.
    """
    handler = LineHandler(DevelopmentFormatter() if dev_mode else JsonFormatter())
    libraries = logging.getLogger()
    libraries.handlers = [handler]
    libraries.setLevel(max(LEVELS[level], logging.WARNING))
    logging.captureWarnings(True)
    log = logging.getLogger("regatta")
    log.setLevel(LEVELS[level])
    return log


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, without its end."""
        fields = {
            "level": level_name(record),
            "ts": timestamp(record),
            "logger": logger_name(record),
            "caller": caller(record),
            "msg": record.getMessage(),
        }
        if record.levelno >= logging.ERROR:
            fields["stacktrace"] = stack_trace(record)
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


class DevelopmentFormatter(logging.Formatter):
    """The same fields, separated by tabs, for a person to read; the trace on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line or lines, without the last one's end."""
        level = level_name(record).upper()
        fields = [timestamp(record), level, logger_name(record), caller(record)]
        line = "\t".join([*fields, record.getMessage()])
        if record.levelno >= logging.WARNING:
            line += "\n" + stack_trace(record)
        return line


def level_name(record: logging.LogRecord) -> str:
    """Return debug, info, warn or error."""
    return NAMES.get(record.levelno, record.levelname.lower())


def timestamp(record: logging.LogRecord) -> str:
    """Return the local time with milliseconds and zone, as in 2020-10-20T11:05:28.123+0200."""
    local = time.localtime(record.created)
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{int(record.msecs):03d}%z", local)


def logger_name(record: logging.LogRecord) -> str:
    """Return the name without our own prefix; our topmost logger is root."""
    return "root" if record.name == "regatta" else record.name.removeprefix("regatta.")


def caller(record: logging.LogRecord) -> str:
    """Return folder/file:line of the place that logged."""
    return f"{'/'.join(Path(record.pathname).parts[-2:])}:{record.lineno}"


def stack_trace(record: logging.LogRecord) -> str:
    """Return the exception's trace, or else the stack of the place that logged."""
    if record.exc_info and record.exc_info[0]:
        return "".join(traceback.format_exception(*record.exc_info)).rstrip()
    frames = traceback.extract_stack()
    while frames[-1].filename in (logging.__file__, __file__):
        frames.pop()
    return "".join(traceback.format_list(frames)).rstrip()


class Sampler:
    """Lets the first 100 equal lines of a second pass, then every 100th."""

    def __init__(self) -> None:
        self.second = 0
        self.counts: dict[tuple[int, str], int] = {}  # of this second, by level and message

    def passes(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be written; its own time is the clock."""
        if int(record.created) != self.second:
            self.second, self.counts = int(record.created), {}
        line = (record.levelno, record.getMessage())
        count = self.counts[line] = self.counts.get(line, 0) + 1
        return count <= equal_lines_max or count % equal_lines_max == 0


class LineHandler(logging.Handler):
    """Formats where the record is made, and leaves the writing to a thread."""

    def __init__(self, formatter: logging.Formatter, descriptor: int = 2) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.sampler = Sampler()
        self.writer = LineWriter(descriptor)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record's line to the writer."""
        try:
            if self.sampler.passes(record):
                self.writer.put(self.format(record))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait a moment for the lines that are still waiting."""
        self.writer.flush()


class LineWriter:
    """A thread that writes lines to a descriptor, for callers who must never wait."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.waiting: queue.Queue[bytes | threading.Event] = queue.Queue(waiting_lines_max)
        threading.Thread(target=self.run, name="logs", daemon=True).start()

    def put(self, line: str) -> None:
        """Take a line; it is dropped if too many wait already."""
        # Half a surrogate pair comes out as JSON would write it.
        data = line.encode(errors="backslashreplace") + b"\n"
        with contextlib.suppress(queue.Full):
            self.waiting.put_nowait(data)

    def flush(self) -> None:
        """Return when all lines taken so far are written, or after a second."""
        done = threading.Event()
        try:
            self.waiting.put(done, timeout=flush_timeout_s)
        except queue.Full:
            return
        done.wait(flush_timeout_s)

    def run(self) -> None:
        """Write line after line."""
        while True:
            line = self.waiting.get()
            if isinstance(line, threading.Event):
                line.set()
            else:
                self.write(line)

    def write(self, line: bytes) -> None:
        """Write the whole line, however long the reader takes; without a reader, it is lost."""
        with contextlib.suppress(OSError):
            while line:
                line = line[os.write(self.descriptor, line) :]
