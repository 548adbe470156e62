"""Scenario files: directives, their input, and what they are expected to print.

# a comment
command word key=value key=(one, two,three)
input, possibly of several lines
----
expected output, up to a blank line
"""

from dataclasses import dataclass, field
from pathlib import Path

SEPARATOR = "----"


class BadScenario(Exception):
    """The file doesn't follow the grammar, or asks for what the harness can't do."""


@dataclass(frozen=True)
class Argument:
    """`key`, which has no values, `key=value`, or `key=(value, value)`."""

    key: str
    values: tuple[str, ...] | None = None

    @property
    def value(self) -> str:
        """The only value."""
        if self.values is None or len(self.values) != 1:
            raise BadScenario(f"{self.key} takes one value")
        return self.values[0]

    def numbers(self) -> list[int]:
        """Return the values as numbers."""
        return [integer(value) for value in self.values or ()]


@dataclass
class Directive:
    """One command with its input; lines are counted from 1."""

    line: int
    command: str
    arguments: list[Argument]
    input: str
    source: list[str]
    """The lines as they are in the file, from the command to the separator."""
    expected: list[str] = field(default_factory=list)

    def words(self) -> list[str]:
        """Return the keys of the arguments without values, in order."""
        return [argument.key for argument in self.arguments if argument.values is None]

    def numbers(self) -> list[int]:
        """Return the words as numbers."""
        return [integer(word) for word in self.words()]

    def options(self) -> dict[str, Argument]:
        """Return the arguments with values by key."""
        found: dict[str, Argument] = {}
        for argument in self.arguments:
            if argument.values is not None:
                if argument.key in found:
                    raise BadScenario(f"{argument.key} is given twice")
                found[argument.key] = argument
        return found


def integer(text: str) -> int:
    """Return the number that *text* holds in decimal digits."""
    if not (text.isascii() and text.isdigit()):
        raise BadScenario(f"{text!r} is no number")
    return int(text)


def boolean(text: str) -> bool:
    """Return whether *text* says true."""
    if text not in ("true", "false"):
        raise BadScenario(f"{text!r} is neither true nor false")
    return text == "true"


def read_directives(path: Path) -> list[Directive]:
    """Return the directives of a file in order; raises BadScenario with the line."""
    lines = path.read_text(encoding="utf-8").split("\n")
    directives: list[Directive] = []
    at = 0
    while at < len(lines):
        if not lines[at].strip() or lines[at].lstrip().startswith("#"):
            at += 1
            continue
        try:
            directive, at = read_directive(lines, at)
        except BadScenario as error:
            raise BadScenario(f"line {at + 1}: {error}") from None
        directives.append(directive)
    if not directives:
        raise BadScenario("there is no directive in it")
    return directives


def read_directive(lines: list[str], first: int) -> tuple[Directive, int]:
    """Return the directive at *first*, counted from 0, and where the next may begin."""
    at = first
    text = lines[at]
    while text.endswith("\\"):
        at += 1
        if at == len(lines):
            raise BadScenario("the file ends in a continued line")
        text = text[:-1] + lines[at]
    command, arguments = parse_command(text)
    try:
        separator = lines.index(SEPARATOR, at + 1)
    except ValueError:
        raise BadScenario(f"no {SEPARATOR} follows") from None
    given = "\n".join(lines[at + 1 : separator]).strip()
    source = lines[first : separator + 1]
    directive = Directive(first + 1, command, arguments, given, source)
    at = separator + 1
    if lines[at : at + 1] == [SEPARATOR]:
        raise BadScenario(f"output between pairs of {SEPARATOR} is not supported")
    while at < len(lines) and lines[at].strip():
        directive.expected.append(lines[at])
        at += 1
    return directive, at


def parse_command(text: str) -> tuple[str, list[Argument]]:
    """Split a directive's line into its command and arguments."""
    arguments: list[Argument] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        argument, at = parse_argument(text, at)
        arguments.append(argument)
    command = arguments.pop(0)
    if command.values:
        raise BadScenario(f"{text!r} does not begin with a command")
    return command.key, arguments


def parse_argument(text: str, at: int) -> tuple[Argument, int]:
    """Return the argument at *at*, and where the next may begin."""
    key_end = at
    while key_end < len(text) and not text[key_end].isspace() and text[key_end] != "=":
        key_end += 1
    key = text[at:key_end]
    if text[key_end : key_end + 1] != "=":
        return Argument(key), key_end
    if not key:
        raise BadScenario(f"nothing is before the = in {text!r}")
    begin = key_end + 1
    if text[begin : begin + 1] == "(":
        values, end = parse_list(text, begin + 1)
        if end < len(text) and not text[end].isspace():
            raise BadScenario(f"{text[end:]!r} follows a list at once")
        return Argument(key, values), end
    end = begin
    while end < len(text) and not text[end].isspace():
        end += 1
    return Argument(key, (text[begin:end],)), end


def parse_list(text: str, at: int) -> tuple[tuple[str, ...], int]:
    """Return the values up to the closing parenthesis, and where the text goes on."""
    values: list[str] = []
    begin, depth = at, 1
    for end in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if depth == 0 or (depth == 1 and text[end] == ","):
            values.append(text[begin:end].lstrip())
            begin = end + 1
        if depth == 0:
            return (() if values == [""] else tuple(values)), end + 1
    raise BadScenario(f"a parenthesis is not closed in {text!r}")
