"""What librdkafka says, made fit for the daemon's log."""

import logging
import re

repeat_s = 60.0  # before the same trouble is logged again
numbers = re.compile(r"\d+")


class Seldom(logging.Filter):
    """Lets equal lines through once a minute, numbers in them aside, and none above INFO.

    A broker that is away would have a line for each attempt to reach it. What an operator must know
    the consumer says itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shown_s: dict[str, float] = {}  # when a line of that kind was last shown

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is to be shown; its own time is the clock."""
        text, now_s = numbers.sub("", record.getMessage()), record.created
        self._shown_s = {
            kind: shown_s for kind, shown_s in self._shown_s.items() if now_s - shown_s < repeat_s
        }
        if record.levelno > logging.INFO:
            record.levelno, record.levelname = logging.INFO, "INFO"
        return self._shown_s.setdefault(text, now_s) == now_s
