"""The forms that a configuration file may have: its text becomes keys and values, nested or not.

Numbers come out as they are written wherever the form lets them: what 010 or 1:30 means is for the
setting to say, not for the form. A key that is there twice is refused.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import yaml

COMMENT = {"ini": re.compile(r"(?:^|\s)[#;].*"), "env": re.compile(r"(?:^|\s)#.*")}
NULL = "tag:yaml.org,2002:null"
IN_QUOTES = re.compile(r"""(['"])(.*)\1""")
INI_PAIR = re.compile(r"([^=:\s][^=:]*?)\s*[=:]\s*(.*)")
ENV_PAIR = re.compile(r"(?:export\s+)?([^=\s]+)\s*=\s*(.*)")
PROPERTY = re.compile(r"((?:\\.|[^\\=:\s])+)\s*[=:]?\s*(.*)")
PROPERTY_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)")
CONTINUED = re.compile(r"(?<!\\)(?:\\\\)*\\$")
problem_length_max = 300


class FormError(ValueError):
    """The text does not have its form; str() says in one line what is wrong and where."""

    def __init__(self, problem: str) -> None:
        super().__init__(" ".join(problem.split())[:problem_length_max])


def parse(form: str, text: str) -> Mapping[str, Any]:
    """Return what *text*, in one of FORMS, says. Raises FormError."""
    try:
        found = FORMS[form](text)
    except FormError:
        raise
    except RecursionError:
        raise FormError("it is nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FormError(f"{error.problem} (line {line})") from None
    except (ValueError, yaml.YAMLError) as error:
        raise FormError(str(error)) from None
    if found is None:
        return {}  # an empty YAML file
    if not isinstance(found, Mapping):
        raise FormError("it holds no keys")
    return found


class TextLoader(yaml.BaseLoader):
    """Reads YAML with every scalar as text, null excepted, and refuses double keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the map of *node*."""
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is no text", problem_mark=key.start_mark)
            if key.value in seen:
                problem = f"the key {key.value} is there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# A text is None only where it is a plain null or nothing at all. What else YAML makes of plain
# scalars, 8 of 010, 90 of 1:30 and false of no, is not meant in a configuration.
TextLoader.add_implicit_resolver(NULL, re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
TextLoader.add_constructor(NULL, lambda loader, node: None)


def parse_yaml(text: str) -> Any:
    """Return what a YAML document holds."""
    return yaml.load(text, TextLoader)


def parse_json(text: str) -> Any:
    """Return what a JSON text holds."""
    return json.loads(
        text, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=unique
    )


def parse_ini(text: str) -> dict[str, str]:
    """Return the keys, each with its section and a dot before it."""
    pairs, section = [], ""
    for number, line in lines_of(text, "#;"):
        if line.startswith("["):
            name = COMMENT["ini"].sub("", line).rstrip()
            if not name.endswith("]"):
                raise FormError(f"a section's name ends with ] (line {number})")
            section = name[1:-1].strip()
            continue
        key, value = match_pair(INI_PAIR, line, number)
        pairs.append((f"{section}.{key}" if section else key, unquoted(value, "ini", number)))
    return unique(pairs)


def parse_env(text: str) -> dict[str, str]:
    """Return the variables of a file such as shells read."""
    pairs = []
    for number, line in lines_of(text, "#"):
        name, value = match_pair(ENV_PAIR, line, number)
        pairs.append((name, unquoted(value, "env", number)))
    return unique(pairs)


def parse_properties(text: str) -> dict[str, str]:
    """Return the keys of a Java properties file."""
    pairs = []
    for number, line in joined(lines_of(text, "#!")):
        key, value = match_pair(PROPERTY, line, number)
        pairs.append((unescaped(key), unescaped(value)))
    return unique(pairs)


FORMS: dict[str, Callable[[str], Any]] = {
    "yaml": parse_yaml,
    "yml": parse_yaml,
    "json": parse_json,
    "toml": tomllib.loads,
    "properties": parse_properties,
    "ini": parse_ini,
    "env": parse_env,
}


def lines_of(text: str, comment_marks: str) -> Iterator[tuple[int, str]]:
    """Yield every line that says something, without the space around it, and its number."""
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped and stripped[0] not in comment_marks:
            yield number, stripped


def joined(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the lines with those put together that end in a backslash."""
    waiting = iter(lines)
    for number, line in waiting:
        while CONTINUED.search(line):
            line = line[:-1] + next(waiting, (0, ""))[1]
        yield number, line


def match_pair(pattern: re.Pattern[str], line: str, number: int) -> tuple[str, str]:
    """Return the key and the value on a line."""
    found = pattern.fullmatch(line)
    if found is None:
        raise FormError(f"this is no key with a value (line {number})")
    return found[1], found[2]


def unquoted(value: str, form: str, number: int) -> str:
    """Return a value without its quotes, or without the comment after it."""
    bare = COMMENT[form].sub("", value).rstrip()
    if not value.startswith(("'", '"')):
        return bare
    for candidate in (value, bare):
        if found := IN_QUOTES.fullmatch(candidate):
            return found[2]
    raise FormError(f"a quote is not closed (line {number})")


def unescaped(text: str) -> str:
    """Return a part of a property with its backslashes resolved."""

    def character(found: re.Match[str]) -> str:
        escape = found[1]
        if len(escape) == 5:
            return chr(int(escape[1:], 16))
        return {"n": "\n", "r": "\r", "t": "\t", "f": "\f"}.get(escape, escape)

    return PROPERTY_ESCAPE.sub(character, text)


def unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dictionary; FormError if a key is there twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise FormError(f"the key {key} is there twice")
        found[key] = value
    return found
