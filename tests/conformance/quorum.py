"""Scenarios about majorities: what is committed, and how a vote stands."""

from collections.abc import Callable, Iterable

from regatta.raft import committed_index
from regatta.raft import vote_result
from tests.conformance.describe import camel
from tests.conformance.grammar import BadScenario
from tests.conformance.grammar import Directive
from tests.conformance.grammar import integer

UNBOUNDED = 2**64 - 1
ANSWERS = {"y": True, "n": False}


class QuorumSuite:
    """Knows two commands and keeps nothing between them."""

    def __init__(self) -> None:
        """There is nothing to set up."""
        self.commands: dict[str, Callable[[Directive], str]] = {
            "committed": committed,
            "vote": vote,
        }

    def run(self, directive: Directive) -> str:
        """Return what *directive* prints."""
        return self.commands[directive.command](directive)


class Halves:
    """The two halves that a directive names, the second empty without `cfgj`."""

    def __init__(self, directive: Directive, values_key: str) -> None:
        options = directive.options()
        unknown = set(options) - {"cfg", "cfgj", values_key}
        if unknown or directive.words():
            raise BadScenario(f"only cfg, cfgj and {values_key} are known")
        self.first = options["cfg"].numbers() if "cfg" in options else []
        self.second: list[int] = []
        self.joint = "cfgj" in options
        if self.joint and options["cfgj"].values != ("zero",):
            self.second = options["cfgj"].numbers()
        self.values = list(options[values_key].values or ()) if values_key in options else []
        self.voters = list(dict.fromkeys([*self.first, *self.second]))

    def mismatch(self, numbers: Iterable[int]) -> str:
        """Return the complaint that there is not one value for each voter; "" if there is."""
        if len(self.values) == len(self.voters):
            return ""
        voters = " ".join(f"{voter}:{{}}" for voter in sorted(self.voters))
        given = " ".join(map(str, numbers))
        return f"error: mismatched input (explicit or _) for voters map[{voters}]: [{given}]"


def vote(directive: Directive) -> str:
    """Return how a vote stands."""
    halves = Halves(directive, "votes")
    if set(halves.values) - {"y", "n", "_"}:
        raise BadScenario("a vote is y, n or _")
    if complaint := halves.mismatch("_ny".index(value) for value in halves.values):
        return complaint
    answers = zip(halves.voters, halves.values, strict=True)
    votes = {voter: ANSWERS[value] for voter, value in answers if value != "_"}
    result = vote_result(halves.first, halves.second, votes)
    text = f"Vote{camel(result.name)}\n"
    if vote_result(halves.second, halves.first, votes) != result:
        text += f"{result.name} <-- via symmetry\n"
    return text


def committed(directive: Directive) -> str:
    """Return a table of what each voter has, and what is committed by that."""
    halves = Halves(directive, "idx")
    if complaint := halves.mismatch(
        0 if value == "_" else integer(value) for value in halves.values
    ):
        return complaint
    given = zip(halves.voters, halves.values, strict=True)
    known = {voter: integer(value) for voter, value in given if value != "_"}
    index = committed_index(halves.first, halves.second, known)
    doubts = [
        f"{shown(other)} <-- via {way}\n"
        for way, other in other_ways(halves, known)
        if other != index
    ]
    return f"{table(halves.voters, known)}{''.join(doubts)}{shown(index)}\n"


def shown(index: int) -> str:
    """Return a committed index."""
    return "∞" if index == UNBOUNDED else str(index)


def table(voters: list[int], known: dict[int, int]) -> str:
    """Draw how far each voter is in comparison with the others."""
    if not voters:
        return "<empty majority quorum>"
    order = sorted((known.get(voter, 0), voter) for voter in voters)
    bars: dict[int, int] = {}
    for place, (index, voter) in enumerate(order):
        before, voter_before = order[place - 1]
        bars[voter] = place if place == 0 or index > before else bars[voter_before]
    text = f"{' ' * len(voters)}    idx\n"
    for voter in sorted(voters):
        bar = "x" * bars[voter] + ">" if voter in known else "?"
        text += f"{bar:<{len(voters) + 1}} {known.get(voter, 0):>5}    (id={voter:x})\n"
    return text


def other_ways(halves: Halves, known: dict[int, int]) -> list[tuple[str, int]]:
    """Return the committed index as it must come out in other ways, too."""
    first, second = halves.first, halves.second
    index = committed_index(first, second, known)
    ways = [
        ("symmetry", committed_index(second, first, known)),
        ("alternative computation", min(by_sorting(first, known), by_sorting(second, known))),
    ]
    if not halves.joint:
        ways.append(("self-joint quorum", committed_index(first, first, known)))
        ways.append(("zero-joint quorum", committed_index([], first, known)))
    for voter in [voter for voter in known if known[voter] < index]:
        for lower in (0, max(known[voter] - 1, 0)):
            lowered = {**known, voter: lower}
            way = f"lowering {voter:x} to {lower}"
            ways.append((way, committed_index(first, second, lowered)))
    return ways


def by_sorting(voters: list[int], known: dict[int, int]) -> int:
    """Compute what a majority of one half has in a way of our own."""
    if not voters:
        return UNBOUNDED
    indexes = sorted(known.get(voter, 0) for voter in set(voters))
    return indexes[len(indexes) - (len(indexes) // 2 + 1)]
