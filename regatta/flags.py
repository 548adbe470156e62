"""Flags in the manner of Go's pflag: what one is, how a line of them is read, how help shows them.

A source of settings (the command line, the environment, a file) gives texts by flag name, each with
the place where it stands; `settle` picks the first source that has a flag and turns its texts into
a value.
"""

import difflib
import json
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, NamedTuple

from regatta.durations import parse_duration
from regatta.errors import StartError


class Given(NamedTuple):
    """What a source says about one flag: the texts in their order, and their place for errors."""

    texts: Sequence[str]
    place: str  # such as --raft.node-id, or raft.node-id in config.yaml


Source = Mapping[str, Given]  # by flag name

TRUE = ("1", "t", "T", "TRUE", "true", "True")
FALSE = ("0", "f", "F", "FALSE", "false", "False")
WHOLE_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}|0[xX][0-9a-fA-F]{1,16}")
HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252})")
quoted_length_max = 200  # of a wrong text in an error
help_width = 100  # columns
help_indent = 38  # where the explanations begin


class Address(NamedTuple):
    """A host, empty for all interfaces, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Kind:
    """A type of flag: how help calls it, how an error does, its parser (ValueError refuses)."""

    name: str
    noun: str
    parse: Callable[[str], Any]
    example: str = ""
    # Whether an empty text stands for a value of its own, *empty*, rather than going to the parser.
    has_empty: bool = False
    empty: Any = None
    # Whether the texts of a repeated flag add up, rather than the last one winning.
    repeatable: bool = False
    # Whether the texts are key=value, so that a file may write them as a map.
    is_map: bool = False
    # Whether each text of a repeated flag is parsed by itself, rather than all joined by commas.
    one_by_one: bool = False
    # Whether a wrong text may hold a secret, so that its error must not show it.
    secret: bool = False

    def split(self, text: str) -> list[str]:
        """Return the texts of a repeated flag that stand in one, outside of the command line."""
        if not self.one_by_one:
            return split_list(text)
        lines = text.split("\n") if "\n" in text else text.split()
        return [line.strip() for line in lines if line.strip()]


@dataclass(frozen=True)
class Flag:
    """One flag; *name* without its dashes, *default* as one would type it."""

    name: str
    kind: Kind
    default: str
    help: str


class Values(dict[str, Any]):
    """The value of every flag by its name, and the place that each is from."""

    def __init__(self, flags: Iterable[Flag], sources: Sequence[Source]) -> None:
        """Take each flag from the first of *sources* that has it, else from its default."""
        super().__init__()
        self._places: dict[str, str] = {}
        for flag in flags:
            of_default = Given([flag.default], f"--{flag.name}")
            given = next((s[flag.name] for s in sources if flag.name in s), of_default)
            self[flag.name] = settle_flag(flag, given)
            self._places[flag.name] = given.place

    def place(self, name: str) -> str:
        """Return how an error calls the place that the flag's value is from."""
        return self._places[name]


def parse_path(text: str) -> str:
    """Return a path that the system can be asked for."""
    if b"\0" in os.fsencode(text):
        raise ValueError(text)
    return text


def parse_bool(text: str) -> bool:
    """Return the truth that *text* names; ValueError for other words than Go takes."""
    if text not in TRUE + FALSE:
        raise ValueError(text)
    return text in TRUE


def parse_uint(text: str) -> int:
    """Return a number that fits into 64 bits, written in decimal or with 0x."""
    if not WHOLE_NUMBER.fullmatch(text) or int(text, 0) >= 2**64:
        raise ValueError(text)
    return int(text, 0)


def parse_address(text: str) -> Address:
    """Return host and port; an IPv6 host stands in brackets."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(text)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ip_address(host).version != 6:
            raise ValueError(text)
    elif host and not HOST_NAME.fullmatch(host):
        raise ValueError(text)
    return Address(host, int(port))


def parse_http_url(text: str) -> Address:
    """Return host and port of an http:// URL without a path."""
    if not text.startswith("http://"):
        raise ValueError(text)
    return parse_address(text.removeprefix("http://").removesuffix("/"))


def parse_strings(text: str) -> tuple[str, ...]:
    """Return the parts between commas, none of them empty."""
    parts = tuple(text.split(","))
    if "" in parts:
        raise ValueError(text)
    return parts


def parse_members(text: str) -> tuple[tuple[int, Address], ...]:
    """Return the (node id, address) pairs of a list such as 1=10.0.0.1:5012,2=10.0.0.2:5012."""
    pairs = (part.partition("=") for part in text.split(","))
    return tuple((parse_uint(node_id), parse_address(address)) for node_id, _, address in pairs)


def parse_property(text: str) -> tuple[str, str]:
    """Return the key and the value of key=value; the value may be empty or hold anything."""
    key, equals, value = text.partition("=")
    if not key.strip() or not equals or "\0" in text:
        raise ValueError(text)
    text.encode()  # what is not UTF-8 has become what can't be encoded, a ValueError as well
    return key.strip(), value


STRING = Kind("string", "a text", str)
PATH = Kind("path", "a path", parse_path, "/var/lib/regatta")
BOOL = Kind("bool", "true or false", parse_bool, "true or false")
UINT = Kind("uint", "a whole number below 2^64", parse_uint, "1")
DURATION = Kind("duration", "a duration", parse_duration, "300ms, 10s or 1m30s")
ADDRESS = Kind(
    "host:port", "host:port", parse_address, "localhost:8443", has_empty=True, empty=None
)
HTTP_URL = Kind(
    "URL",
    "an http:// URL",
    parse_http_url,
    "http://127.0.0.1:8079",
    has_empty=True,
    empty=None,
)
STRINGS = Kind(
    "strings", "a list", parse_strings, "one,two", has_empty=True, empty=(), repeatable=True
)
MEMBERS = Kind(
    "id=host:port,…",
    "a list of id=host:port",
    parse_members,
    "1=10.0.0.1:5012,2=10.0.0.2:5012",
    has_empty=True,
    empty=(),
    repeatable=True,
    is_map=True,
)
PROPERTIES = Kind(
    "key=value",
    "key=value",
    parse_property,
    "session.timeout.ms=10000",
    repeatable=True,
    is_map=True,
    one_by_one=True,
    secret=True,
)


class Flags:
    """A table of flags, by name and in the order in which help lists them."""

    def __init__(self, flags: Iterable[Flag], titles: Mapping[str, str]) -> None:
        self.by_name = {flag.name: flag for flag in flags}
        # What help writes above a group, by the part of the names before the dot.
        self.titles = titles

    def read(self, arguments: Sequence[str]) -> tuple[Source, list[str]]:
        """Return the command line as a source, and the arguments that belong to no flag.

        The source has "help" when help is asked for.

        Raises StartError for an unknown flag or a missing text.
        """
        texts: dict[str, list[str]] = {}
        rest: list[str] = []
        waiting = iter(arguments)
        for argument in waiting:
            if argument == "--":
                rest += waiting
            elif argument in ("-h", "--help"):
                texts["help"] = ["true"]
            elif not argument.startswith("-") or argument == "-":
                rest.append(argument)
            else:
                name, equals, text = argument.removeprefix("--").partition("=")
                flag = self.find(argument, name)
                if not equals:
                    text = "true" if flag.kind is BOOL else next_text(waiting, flag)
                texts.setdefault(name, []).append(text)
        return {name: Given(texts[name], f"--{name}") for name in texts}, rest

    def find(self, argument: str, name: str) -> Flag:
        """Return the flag called *name*; StartError that suggests the nearest one if none is."""
        if argument.startswith("--") and name in self.by_name:
            return self.by_name[name]
        shown = argument.partition("=")[0]
        near = nearest(name.lstrip("-").lower(), self.by_name)
        hint = f"Did you mean --{near}?" if near else "See `regatta --help` for all flags."
        raise StartError(f"unknown flag: {shown}", hint, usage=True)

    def settle(self, *sources: Source) -> Values:
        """Return a value for every flag: from the first source that has it, else its default."""
        return Values(self.by_name.values(), sources)

    def help(self) -> str:
        """Return the flags as text, in groups by the part of the name before the first dot."""
        lines: list[str] = []
        for group, flags in self.groups().items():
            lines += ["", f"{self.titles[group]}:"]
            for flag in flags:
                lines += help_lines(flag)
        return "\n".join(lines[1:])

    def groups(self) -> dict[str, list[Flag]]:
        """Return the flags by the part of the name before the first dot, "" where there is none."""
        groups: dict[str, list[Flag]] = {}
        for flag in self.by_name.values():
            groups.setdefault(flag.name.rpartition(".")[0], []).append(flag)
        return groups


def next_text(waiting: Iterator[str], flag: Flag) -> str:
    """Return the argument after *flag*; StartError if there is none."""
    text = next(waiting, None)
    if text is None:
        remedy = f"Write --{flag.name}=<{flag.kind.name}>."
        raise StartError(f"--{flag.name} needs a value", remedy, usage=True)
    return text


def settle_flag(flag: Flag, given: Given) -> Any:
    """Return one flag's value; StartError names the place and the text that could not be read."""
    kind = flag.kind
    if kind.one_by_one:
        return tuple(parsed(kind, text, given.place) for text in given.texts if text)
    text = ",".join(filter(None, given.texts)) if kind.repeatable else given.texts[-1]
    return kind.empty if not text and kind.has_empty else parsed(kind, text, given.place)


def parsed(kind: Kind, text: str, place: str) -> Any:
    """Return the value of *text*; StartError if it has none."""
    try:
        return kind.parse(text)
    except ValueError:
        shown = "what is given" if kind.secret else quoted(text)
        problem = f"{place}: {shown} is not {kind.noun}"
        raise StartError(problem, f"Write it like {kind.example}.", usage=True) from None


def split_list(text: str) -> list[str]:
    """Return the parts of a list that stands in one text outside of the command line."""
    return text.replace(",", " ").split()


def nearest(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the one of *known* that *name* may stand for; *cutoff* is 0 for any, 1 for equal."""
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=cutoff)), None)


def quoted(text: str) -> str:
    """Return *text* in quotes and on one line, cut off where it is long."""
    if len(text) > quoted_length_max:
        text = text[:quoted_length_max] + "…"
    return json.dumps(text, ensure_ascii=False)


def help_lines(flag: Flag) -> list[str]:
    """Return the lines that explain one flag."""
    heading = f"  --{flag.name}" + ("" if flag.kind is BOOL else f" {flag.kind.name}")
    default = f" (default {flag.default})" if flag.default not in ("", "false") else ""
    text = textwrap.wrap(flag.help + default, help_width - help_indent, break_on_hyphens=False)
    if len(heading) > help_indent - 2:
        return [heading, *(" " * help_indent + line for line in text)]
    first, *others = text
    return [heading.ljust(help_indent) + first, *(" " * help_indent + line for line in others)]
