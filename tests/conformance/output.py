"""What a scenario prints: lines of the harness and, from a level on, of the core's log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# From the level itself and upwards.
LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "FATAL": logging.CRITICAL,
    "NONE": logging.CRITICAL + 10,
}
NAMES = {level: name for name, level in LEVELS.items()}


class UnknownLevel(Exception):
    """There is no such level."""

    def __init__(self) -> None:
        super().__init__(f"log levels must be either of [{' '.join(LEVELS)}]")


class Output:
    """Collects text. At level NONE nothing gets in."""

    def __init__(self) -> None:
        """Begin with everything shown."""
        self._level = LEVELS["DEBUG"]
        self._text = ""

    @property
    def silent(self) -> bool:
        """Whether nothing gets in."""
        return self._level == LEVELS["NONE"]

    def take(self) -> str:
        """Return what was collected, and begin anew."""
        text, self._text = self._text, ""
        return text

    def write(self, text: str) -> None:
        """Add a piece of text."""
        if not self.silent:
            self._text += text

    def log(self, level: int, text: str) -> None:
        """Add a line of a core's log."""
        if level >= self._level:
            self.write(f"{NAMES[level]} {text}\n")

    def set_level(self, name: str) -> None:
        """Show what is of this level or above; raises UnknownLevel."""
        if name.upper() not in LEVELS:
            raise UnknownLevel
        self._level = LEVELS[name.upper()]

    @contextmanager
    def at_level(self, name: str | None) -> Iterator[None]:
        """Change the level for a while, unless *name* is None."""
        before = self._level
        if name is not None:
            self.set_level(name)
        try:
            yield
        finally:
            self._level = before

    @contextmanager
    def indented(self) -> Iterator[None]:
        """Put two spaces before each line that is added in the meantime."""
        outer = self.take()
        try:
            yield
        finally:
            inner = self.take()
            lines = inner.removesuffix("\n").split("\n") if inner else []
            self._text = outer + "".join(f"  {line}\n" for line in lines)

    @contextmanager
    def block(self, heading: str) -> Iterator[None]:
        """Add a heading, and indent what follows."""
        self.write(f"> {heading}\n")
        with self.indented():
            yield
