"""What must hold after every step, whatever the faults were.

Each check looks only at what the step touched, and at what was remembered of the steps before:
that makes them complete by induction, and cheap. They know everything of all nodes, the durable
part of each disk included.
"""

from bisect import bisect_right
from collections.abc import Iterable

from regatta.raft import ConfState
from regatta.raft import Core
from regatta.raft import Entry
from regatta.raft import HardState
from regatta.raft import Message
from regatta.raft import MessageType
from tests.simulation.disk import LogDisk
from tests.simulation.disk import State

_APP_RESP, _VOTE_RESP = int(MessageType.APP_RESP), int(MessageType.VOTE_RESP)


class Violation(AssertionError):
    """A safety property does not hold. *check* is its name."""

    def __init__(self, check: str, text: str) -> None:
        super().__init__(f"{check}: {text}")
        self.check = check


class View:
    """One node's log as the node itself sees it, what is not durable yet included."""

    __slots__ = ("base", "changes", "commit", "term", "terms", "vote")

    def __init__(self, disk: LogDisk, commit: int) -> None:
        self.base = disk.compacted_index
        # terms[i] is the term of entry base + i.
        self.terms = [disk.compacted_term, *(entry.term for entry in disk.durable)]
        # Indexes of the membership changes among them, ascending.
        self.changes = [entry.index for entry in disk.durable if entry.kind]
        self.commit = commit
        self.term, self.vote = disk.state.term, disk.state.vote

    @property
    def last_index(self) -> int:
        return self.base + len(self.terms) - 1

    def term_of(self, index: int) -> int | None:
        """Return an entry's term; None for those before the base and beyond the end."""
        return self.terms[index - self.base] if self.base <= index <= self.last_index else None


class Invariants:
    """The checks, and what they remember of one run."""

    def __init__(self, first: State, disks: dict[int, LogDisk]) -> None:
        self._disks = disks
        self._views: dict[int, View] = {}
        self._leaders: dict[int, int] = {}  # by term
        # Term and index, in one number, to the term of the entry before and the entry itself.
        self._entries: dict[int, tuple[int, Entry]] = {}
        # By index: of each committed entry the term, of each applied one the machine's digest.
        self._committed = [0] * first.index + [first.term]
        self._digests = [0] * first.index + [first.digest]
        self._committed_by_leader: dict[int, int] = {}  # a leader's term to the index it reached
        self._membership_indexes = [first.index]
        self._memberships = [first.membership]

    @property
    def committed(self) -> int:
        """Return the highest index that any node knows to be committed."""
        return len(self._committed) - 1

    @property
    def membership(self) -> ConfState:
        """Return the newest membership that any node has applied."""
        return self._memberships[-1]

    @property
    def leader_count(self) -> int:
        return len(self._leaders)

    # A node starts; its log changes.

    def started(self, node: int, core: Core, machine: State) -> None:
        """Look at a node that comes up with what its disks hold."""
        disk = self._disks[node]
        view = self._views[node] = View(disk, core.committed)
        if core.term < disk.state.term:
            raise Violation("durable state", f"node {node} starts in term {core.term}")
        if core.term == disk.state.term and core.vote != disk.state.vote:
            raise Violation("durable state", f"node {node} starts with the vote {core.vote}")
        if core.committed < machine.index:
            raise Violation("monotonic commit", f"node {node} has applied more than is committed")
        self._agrees(node, view, core.committed)
        self._digest_agrees(node, machine)

    def logged(self, node: int, core: Core, message: Message) -> None:
        """Look at what a node wants written to its log."""
        view = self._views[node]
        snapshot = message.snapshot
        if snapshot is not None:
            if snapshot.index <= view.commit:
                raise Violation(
                    "state machine",
                    f"node {node} has committed {view.commit} and restores {snapshot.index}",
                )
            view.base, view.terms, view.changes = snapshot.index, [snapshot.term], []
        if message.entries:
            self._appended(node, core, view, message.entries)

    def _appended(self, node: int, core: Core, view: View, entries: list[Entry]) -> None:
        offset = entries[0].index - view.base
        if offset > len(view.terms):
            raise Violation("log matching", f"node {node} leaves a gap before {entries[0]}")
        if entries[0].index <= view.commit:
            raise Violation("log truncation", f"node {node} replaces committed {entries[0].index}")
        if offset < len(view.terms):
            del view.terms[offset:]
            while view.changes and view.changes[-1] >= entries[0].index:
                view.changes.pop()
        previous = view.terms[-1]
        known, terms = self._entries, view.terms
        for entry in entries:
            term = entry.term
            number = (term << 32) | entry.index
            found = known.get(number)
            if found is None:
                known[number] = previous, entry
                if entry.kind:
                    self._changing(node, core, view, entry)
            elif found[0] != previous or (found[1] is not entry and found[1] != entry):
                raise Violation("log matching", f"node {node} has {entry} after term {previous}")
            if entry.kind:
                view.changes.append(entry.index)
            terms.append(term)
            previous = term

    def _changing(self, node: int, core: Core, view: View, entry: Entry) -> None:
        """A leader starts a membership change; it must have applied the one before."""
        if view.changes and view.changes[-1] > core.applied:
            raise Violation(
                "one change at a time",
                f"node {node} appends {entry.index}, but has not applied {view.changes[-1]}",
            )

    # A node is elected; its term, vote and commit index move.

    def elected(self, node: int, core: Core) -> None:
        term = core.term
        if self._leaders.setdefault(term, node) != node:
            raise Violation(
                "election safety", f"nodes {self._leaders[term]} and {node} both lead term {term}"
            )
        view = self._views[node]
        reached = [index for past, index in self._committed_by_leader.items() if past < term]
        index = max(reached, default=view.base)
        if index >= view.base and view.term_of(index) != self._committed[index]:
            raise Violation(
                "leader completeness", f"node {node} leads term {term} without entry {index}"
            )

    def moved(self, node: int, core: Core, state: HardState) -> None:
        """Look at a node's new hard state."""
        view = self._views[node]
        if state.term < view.term:
            raise Violation("monotonic term", f"node {node} goes from {view.term} to {state.term}")
        if state.term == view.term and view.vote and state.vote != view.vote:
            raise Violation(
                "one vote a term", f"node {node} votes for {state.vote} after {view.vote}"
            )
        view.term, view.vote = state.term, state.vote
        if state.commit == view.commit:
            return
        if state.commit < view.commit:
            raise Violation(
                "monotonic commit", f"node {node} goes from {view.commit} to {state.commit}"
            )
        if state.commit > view.last_index:
            raise Violation(
                "monotonic commit", f"node {node} commits {state.commit} beyond its log"
            )
        if state.commit > self.committed:
            self._committed_first(node, core, view, state.commit)
        self._agrees(node, view, state.commit)
        view.commit = state.commit

    def _committed_first(self, node: int, core: Core, view: View, index: int) -> None:
        """Nobody has committed as much before: it must be durable on a quorum."""
        term = view.terms[index - view.base]
        membership = core.conf_state
        for voters in (membership.voters, membership.voters_outgoing):
            holders = [voter for voter in voters if self._disks[voter].holds(index, term)]
            if len(holders) <= len(voters) // 2 and voters:
                raise Violation(
                    "durable on a quorum",
                    f"node {node} commits {index}, which only {holders} of {voters} hold",
                )
        self._committed += view.terms[len(self._committed) - view.base : index - view.base + 1]
        self._committed_by_leader[core.term] = index

    def _agrees(self, node: int, view: View, index: int) -> None:
        """What a node takes for committed is what the first to commit it had there."""
        if index > self.committed:
            raise Violation("state machine", f"node {node} starts with {index} committed")
        term = view.term_of(index)
        if term is not None and term != self._committed[index]:
            raise Violation(
                "state machine",
                f"node {node} commits {index} of term {term}, not {self._committed[index]}",
            )

    # A node applies.

    def handed_out(self, node: int, entries: list[Entry]) -> None:
        """Look at entries that a node gives to its state machine."""
        last = entries[-1]
        if last.index > self._views[node].commit:
            raise Violation("applied is committed", f"node {node} applies {last.index}")
        if not self._disks[node].holds(last.index, last.term):
            raise Violation("applied is durable", f"node {node} applies {last.index}")

    def applied(self, node: int, before: State, after: State) -> None:
        """Look at a state machine after one more entry."""
        if after.index != before.index + 1:
            raise Violation(
                "state machine", f"node {node} applies {after.index} after {before.index}"
            )
        if after.index == len(self._digests):
            self._digests.append(after.digest)
            if after.membership != self._memberships[-1]:
                self._membership_indexes.append(after.index)
                self._memberships.append(after.membership)
        self._digest_agrees(node, after)

    def installed(self, node: int, before: State, after: State) -> None:
        """Look at a state machine that was replaced by a snapshot."""
        if after.index <= before.index:
            raise Violation(
                "state machine", f"node {node} restores {after.index} over {before.index}"
            )
        self._digest_agrees(node, after)

    def _digest_agrees(self, node: int, state: State) -> None:
        index = state.index
        if index == 0:
            return
        if index >= len(self._digests) or state.digest != self._digests[index]:
            raise Violation("state machine", f"node {node} differs after entry {index}")
        if index < self._membership_indexes[-1]:
            membership = self._memberships[bisect_right(self._membership_indexes, index) - 1]
        else:
            membership = self._memberships[-1]
        if state.membership != membership:
            raise Violation(
                "same membership",
                f"node {node} has {state.membership} after entry {index}, not {membership}",
            )

    # A node says something that others will rely on.

    def promised(self, node: int, message: Message) -> None:
        """Look at a response that leaves a node because its write is durable."""
        disk = self._disks[node]
        if message.reject:
            return
        if message.type == _APP_RESP and message.index > disk.last_index:
            raise Violation(
                "durable before said", f"node {node} acknowledges {message.index} to {message.to}"
            )
        if message.type == _VOTE_RESP:
            kept = disk.state.term, disk.state.vote
            if kept[0] < message.term or (kept[0] == message.term and kept[1] != message.to):
                raise Violation(
                    "durable before said",
                    f"node {node} votes for {message.to} in {message.term}, but keeps {kept}",
                )

    def read(self, node: int, index: int, floor: int) -> None:
        """Look at the answer to a read that began when *floor* was committed somewhere."""
        if index < floor:
            raise Violation(
                "linearizable read", f"node {node} may read at {index}, but {floor} is committed"
            )

    def members(self) -> Iterable[int]:
        """Return the nodes of the newest membership, ascending."""
        state = self.membership
        return sorted({*state.voters, *state.voters_outgoing, *state.learners})

    @property
    def membership_change_count(self) -> int:
        return len(self._memberships) - 1
