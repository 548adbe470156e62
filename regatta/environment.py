"""Settings from environment variables: REGATTA_RAFT_ADDRESS, RAFT_ADDRESS or RAFT.ADDRESS.

Empty variables count as not set. Lists are separated by commas or white space; key=value pairs
stand one a line, or are separated by white space where there is no line break.
"""

from collections.abc import Mapping

from regatta.flags import Flag
from regatta.flags import Flags
from regatta.flags import Given
from regatta.flags import Source
from regatta.flags import nearest

prefix = "REGATTA_"
# Other programs read a variable of this name too, so that only the long form is ours.
common_names = ("CONFIG",)
# How near a variable with our prefix must come to be taken for a slip of the pen. Container
# platforms set others with that prefix, such as REGATTA_SERVICE_HOST for a service named so.
slip_cutoff = 0.85


def read_environment(flags: Flags, environment: Mapping[str, str]) -> tuple[Source, list[str]]:
    """Return what *environment* gives, and a warning for each name that looks misspelt."""
    source = source_of(flags, environment, "the environment")
    names = {name for flag in flags.by_name.values() for name in names_of(flag)}
    warnings = []
    for name in sorted(environment):
        if name.startswith(prefix) and name not in names:
            near = nearest(name, names, cutoff=slip_cutoff)
            if near:
                warnings.append(f"{name} in the environment is unknown: did you mean {near}?")
    return source, warnings


def source_of(flags: Flags, variables: Mapping[str, str], place: str) -> Source:
    """Return what *variables* give; *place* is where an error says that they stand."""
    source: dict[str, Given] = {}
    for flag in flags.by_name.values():
        for name in names_of(flag):
            text = variables.get(name, "")
            texts = flag.kind.split(text) if flag.kind.repeatable else [text]
            if any(texts):
                source[flag.name] = Given(texts, f"{name} in {place}")
                break
    return source


def names_of(flag: Flag) -> list[str]:
    """Return the names of a flag's variable, the one that counts most first."""
    dotted = flag.name.upper()
    plain = dotted.replace(".", "_").replace("-", "_")
    shorter = [] if plain in common_names else [plain, dotted]
    return list(dict.fromkeys([prefix + plain, *shorter]))
