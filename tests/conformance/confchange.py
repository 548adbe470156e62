"""Scenarios about memberships alone: what changes make of configuration and progress."""

from collections.abc import Callable

from regatta.raft import Membership
from tests.conformance.describe import describe_progress
from tests.conformance.describe import parse_changes
from tests.conformance.grammar import BadScenario
from tests.conformance.grammar import Directive
from tests.conformance.grammar import boolean

window_count_max = 10


class ConfChangeSuite:
    """One membership, at first without members, and an index that each directive moves by one."""

    def __init__(self) -> None:
        """Begin without members."""
        self.commands: dict[str, Callable[[Directive], Membership]] = {
            "simple": self._simple,
            "enter-joint": self._enter_joint,
            "leave-joint": self._leave_joint,
        }
        self._membership = Membership(window_count_max)
        self._last_index = 0

    def run(self, directive: Directive) -> str:
        """Return what *directive* prints."""
        try:
            self._membership = self.commands[directive.command](directive)
        except ValueError as error:
            return f"{error}\n"
        finally:
            self._last_index += 1
        membership = self._membership
        return f"{membership.configuration}\n{describe_progress(membership.progress)}"

    def _simple(self, directive: Directive) -> Membership:
        accept_options(directive)
        return self._membership.simple(parse_changes(directive.input), self._last_index)

    def _enter_joint(self, directive: Directive) -> Membership:
        accept_options(directive, "autoleave")
        auto_leave = any(boolean(each.value) for each in directive.arguments)
        changes = parse_changes(directive.input)
        return self._membership.enter_joint(changes, self._last_index, auto_leave)

    def _leave_joint(self, directive: Directive) -> Membership:
        accept_options(directive)
        if directive.input:
            raise ValueError("this command takes no input")
        return self._membership.leave_joint()


def accept_options(directive: Directive, *names: str) -> None:
    """Raise BadScenario for any argument but options of these names."""
    for argument in directive.arguments:
        if argument.values is None or argument.key not in names:
            raise BadScenario(f"{directive.command} has no argument {argument.key}")
