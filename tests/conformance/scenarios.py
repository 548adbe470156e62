"""Runs scenario files and says where what they print differs from what they expect."""

import difflib
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.conformance.confchange import ConfChangeSuite
from tests.conformance.grammar import BadScenario
from tests.conformance.grammar import Directive
from tests.conformance.grammar import read_directives
from tests.conformance.interaction import InteractionSuite
from tests.conformance.quorum import QuorumSuite


class Suite(Protocol):
    """Carries out the directives of one file."""

    @property
    def commands(self) -> Mapping[str, Callable[..., object]]:
        """What each known command does."""

    def run(self, directive: Directive) -> str:
        """Return what a directive prints; raises BadScenario if it can't be carried out."""


SUITES: dict[str, Callable[[], Suite]] = {
    "interaction": InteractionSuite,
    "generated": InteractionSuite,
    "confchange": ConfChangeSuite,
    "quorum": QuorumSuite,
}


@dataclass(frozen=True)
class Outcome:
    """What came of one file."""

    path: Path
    directive_count: int
    failed_count: int
    """Directives that printed something else, or could not be carried out."""
    report: str
    """Says what is wrong; empty if nothing is."""


def scenario_files(folder: Path) -> list[Path]:
    """Return all scenario files below *folder* in order; a file stands for itself."""
    return [folder] if folder.is_file() else sorted(folder.rglob("*.txt"))


def suite_for(path: Path, directives: list[Directive]) -> Suite:
    """Return a new suite: by the file's folder, or else by the first command in it."""
    if path.parent.name in SUITES:
        return SUITES[path.parent.name]()
    for make in SUITES.values():
        suite = make()
        if directives[0].command in suite.commands:
            return suite
    raise BadScenario(f"line {directives[0].line}: unknown command {directives[0].command}")


def run_file(path: Path) -> Outcome:
    """Run one file from a fresh start; never raises for what is wrong with it."""
    try:
        directives = read_directives(path)
        suite = suite_for(path, directives)
        for directive in directives:
            if directive.command not in suite.commands:
                raise BadScenario(f"line {directive.line}: unknown command {directive.command}")
    except (BadScenario, UnicodeDecodeError) as error:
        return Outcome(path, 0, 1, f"{path}: {error}\n")
    printed: list[list[str]] = []
    fault = ""
    for directive in directives:
        try:
            printed.append(lines_of(suite.run(directive)))
        # Whatever the core raises is told with the place, and the other files still run.
        except Exception:
            fault = f"{path}: line {directive.line}: {directive.command} raised\n"
            fault += traceback.format_exc()
            break
    differing = [d for d, lines in zip(directives, printed, strict=False) if d.expected != lines]
    diff = "".join(difference(path, directives[: len(printed)], printed)) if differing else ""
    return Outcome(path, len(directives), len(differing) + bool(fault), diff + fault)


def lines_of(output: str) -> list[str]:
    """Return the lines of what a directive printed; the last one's end may be missing."""
    return output.removesuffix("\n").split("\n") if output else []


def difference(path: Path, directives: list[Directive], printed: list[list[str]]) -> Iterator[str]:
    """Return a unified diff between the file and what it should say."""
    expected_lines: list[str] = []
    printed_lines: list[str] = []
    for directive, lines in zip(directives, printed, strict=True):
        expected_lines += [*directive.source, *directive.expected, ""]
        printed_lines += [*directive.source, *lines, ""]
    for line in difflib.unified_diff(
        expected_lines, printed_lines, f"{path} (expected)", f"{path} (printed)", n=5, lineterm=""
    ):
        yield f"{line}\n"
