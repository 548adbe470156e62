"""The configuration file: where it is looked for, and the settings that it gives.

Keys nest at the dots of the flags' names and may be written in any case. Empty values count as not
given. What a key of ours can't be is an error that names file and key; an unknown key is warned of.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from regatta.environment import names_of
from regatta.environment import source_of
from regatta.errors import StartError
from regatta.flags import Flag
from regatta.flags import Flags
from regatta.flags import Given
from regatta.flags import Source
from regatta.flags import nearest
from regatta.flags import quoted

# In this order; HCL is looked for only to say that it is not read.
extensions = ("yaml", "yml", "json", "toml", "hcl", "properties", "ini", "env")
readable = "yaml, yml, json, toml, properties, ini or env"
file_bytes_max = 1 << 20
unknown_keys_shown = 10


def find_file(environment: Mapping[str, str]) -> Path | None:
    """Return the first config.<extension> that is there, None without one.

    A directory that this user may not look into counts as empty.
    """
    home = environment.get("HOME")
    directories = ["/etc/regatta", "/config", *([f"{home}/.regatta"] if home else []), "."]
    for directory in directories:
        for extension in extensions:
            path = Path(directory, f"config.{extension}")
            if os.path.isfile(path):
                return path
    return None


def read_file(flags: Flags, path: Path) -> tuple[Source, list[str]]:
    """Return what the file at *path* gives, and a warning for each unknown key.

    Raises StartError, marked as wrong usage, when it can't be read or a value has the wrong shape.
    """
    # Imported here: a node without a file need not wait for YAML.
    from regatta import config_forms

    form = path.suffix.removeprefix(".").lower()
    if form not in config_forms.FORMS:
        raise wrong(f"{path}: this form of file is not read", f"Write it as {readable}.")
    try:
        tree = config_forms.parse(form, read_text(path))
    except config_forms.FormError as error:
        what_to_do = f"Mend it, or name another file with --config ({readable})."
        raise wrong(f"{path} is not {form}: {error}", what_to_do) from None
    if form == "env":
        return settings_of_variables(flags, tree, path)
    return settings_of_tree(flags, tree, path)


def read_text(path: Path) -> str:
    """Return the whole text of the file."""
    try:
        with open(path, "rb") as file:
            data = file.read(file_bytes_max + 1)
        if len(data) > file_bytes_max:
            raise wrong(f"{path} is larger than 1 MiB", "Name a configuration file.")
        return data.decode("utf-8-sig")
    except OSError as error:
        problem = f"can't read the configuration file {path}: {error.strerror}"
        raise wrong(problem, "Name one that can be read with --config.") from None
    except UnicodeDecodeError:
        raise wrong(f"{path} is not text in UTF-8", "Save it as UTF-8.") from None


def settings_of_variables(
    flags: Flags, variables: Mapping[str, str], path: Path
) -> tuple[Source, list[str]]:
    """Return the settings of a file of environment variables, whose names have any case."""
    capitals = {name.upper(): text for name, text in variables.items()}
    known = [name for flag in known_flags(flags).values() for name in names_of(flag)]
    unknown = [name for name in capitals if name not in known]
    return source_of(flags, capitals, str(path)), unknown_warnings(unknown, known, path)


def settings_of_tree(flags: Flags, tree: Mapping[str, Any], path: Path) -> tuple[Source, list[str]]:
    """Return the settings of nested keys."""
    known = known_flags(flags)
    texts: dict[str, list[str]] = {}
    unknown: list[str] = []
    seen: set[str] = set()
    for key, value in leaves(tree):
        if key in seen:
            raise wrong(f"{quoted(key)} is there twice in {path}", "Keep one of the two.")
        seen.add(key)
        flag = owner(known, key)
        if flag is None:
            unknown.append(key)
        else:
            entry = key[len(flag.name) + 1 :]
            texts.setdefault(flag.name, []).extend(texts_of(flag, entry, value, path))
    source = {
        name: Given(found, f"{name} in {path}") for name, found in texts.items() if any(found)
    }
    return source, unknown_warnings(unknown, known, path)


def known_flags(flags: Flags) -> dict[str, Flag]:
    """Return the flags that a file may set: all but the one that names the file."""
    return {name: flag for name, flag in flags.by_name.items() if name != "config"}


def leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what has a value: the key, with those above it and dots between, and the value."""
    for key, value in tree.items():
        name = f"{above}{key}".lower()
        if isinstance(value, Mapping):
            yield from leaves(value, f"{name}.")
        elif value is not None:
            yield name, value


def owner(known: Mapping[str, Flag], key: str) -> Flag | None:
    """Return the flag that *key* sets, or sets an entry of; None if there is none."""
    if key in known:
        return known[key]
    return next((flag for name, flag in known.items() if key.startswith(f"{name}.")), None)


def texts_of(flag: Flag, entry: str, value: Any, path: Path) -> list[str]:
    """Return the texts that a value comes to; *entry* is its key where it is one of a map."""
    kind = flag.kind
    if entry and not kind.is_map:
        raise misshapen(flag, "a map", path)
    if not isinstance(value, list):
        text = text_of(value)
        if entry:
            return [f"{entry}={text}"]
        return kind.split(text) if kind.repeatable else [text]
    if entry or not kind.repeatable:
        raise misshapen(flag, "a list", path)
    if any(isinstance(part, list | Mapping) for part in value):
        raise misshapen(flag, "a list of lists or maps", path)
    return [text_of(part) for part in value]


def text_of(value: Any) -> str:
    """Return a single value as one would type it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def misshapen(flag: Flag, shape: str, path: Path) -> StartError:
    """Return the error of a value that has the wrong shape for *flag*."""
    problem = f"{flag.name} in {path}: {shape} is not {flag.kind.noun}"
    return wrong(problem, f"Write it like {flag.kind.example}.")


def unknown_warnings(unknown: list[str], known: Iterable[str], path: Path) -> list[str]:
    """Return a warning for each unknown key, and one for all that are more than a few."""
    warnings = []
    for key in unknown[:unknown_keys_shown]:
        near = nearest(key, known)
        hint = f": did you mean {near}?" if near else ""
        warnings.append(f"unknown key {quoted(key)} in {path}{hint}")
    if len(unknown) > unknown_keys_shown:
        warnings.append(f"{len(unknown) - unknown_keys_shown} more unknown keys in {path}")
    return warnings


def wrong(problem: str, remedy: str) -> StartError:
    """Return the error of a file that can't be used."""
    return StartError(problem, remedy, usage=True)
