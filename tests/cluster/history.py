"""What one client may find after a crash, given what was acknowledged to it. No I/O, no chance.

Each client writes in a key space of its own, one operation at a time, so that a crash leaves just
one question: did the operation that was under way take effect or not? Both are right, anything
between them is not. Values are never used twice, so that half an operation can't look like none.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

State = dict[bytes, bytes]

GROUP_COUNT = 8
KEYS_PER_GROUP = 10


@dataclass(frozen=True)
class Put:
    """Set one key."""

    key: bytes
    value: bytes

    def apply(self, state: State) -> State:
        """Return the state after this operation on *state*."""
        return {**state, self.key: self.value}


@dataclass(frozen=True)
class DeleteRange:
    """Delete all keys in [start, end)."""

    start: bytes
    end: bytes

    def apply(self, state: State) -> State:
        """Return the state after this operation on *state*."""
        return {key: value for key, value in state.items() if not self.start <= key < self.end}


@dataclass(frozen=True)
class Txn:
    """Set and delete several keys at once, provided that *guard* has the value known for it."""

    guard: bytes
    guard_value: bytes | None  # None: no such key is known, so nothing is compared
    steps: Sequence[Put | DeleteRange]

    def apply(self, state: State) -> State:
        """Return the state after this operation on *state*; the guard is taken to hold."""
        for step in self.steps:
            state = step.apply(state)
        return state


Operation = Put | DeleteRange | Txn


class HistoryError(AssertionError):
    """The server's state can't come from the client's history."""


@dataclass
class History:
    """One client's writes: the acknowledged state and the one operation under way."""

    prefix: bytes
    acknowledged: State = field(default_factory=dict)
    in_flight: Operation | None = None
    revision: int = 0  # of the newest acknowledged write

    def begin(self, operation: Operation) -> None:
        """Note that *operation* is being sent."""
        if self.in_flight is not None:
            raise ValueError("a client has one operation under way at most")
        self.in_flight = operation

    def acknowledge(self, revision: int) -> None:
        """Note that the operation under way was answered with success.

        Raises HistoryError if *revision* is not newer than that of the write before.
        """
        if self.in_flight is None:
            raise ValueError("no operation is under way")
        if revision <= self.revision:
            raise HistoryError(f"revision {revision} was given after {self.revision}")
        self.revision = revision
        self.acknowledged = self.in_flight.apply(self.acknowledged)
        self.in_flight = None

    def settle(self, found: State) -> bool:
        """Take *found*, all pairs with the client's prefix, as the truth after a crash.

        Return whether the operation under way took effect. Raises HistoryError if *found* is
        neither the acknowledged state nor that state with the whole operation applied.
        """
        candidates = [(False, self.acknowledged)]
        if self.in_flight is not None:
            candidates.append((True, self.in_flight.apply(self.acknowledged)))
        for took_effect, expected in candidates:
            if found == expected:
                self.acknowledged, self.in_flight = expected, None
                return took_effect
        raise HistoryError("; or: ".join(difference(expected, found) for _, expected in candidates))


def difference(expected: State, found: State) -> str:
    """Return one line that names the keys that *found* lacks, has too many, or has wrong."""
    missing = sorted(expected.keys() - found.keys())
    surplus = sorted(found.keys() - expected.keys())
    changed = sorted(key for key in expected.keys() & found.keys() if expected[key] != found[key])
    return f"missing {missing}, surplus {surplus}, other value {changed}"


class Workload:
    """Makes one client's operations from a seed: puts, transactions and deletes of ten keys."""

    def __init__(self, history: History, seed: str) -> None:
        self._history = history
        self._chance = random.Random(seed)
        self._value_count = 0

    def next_operation(self) -> Operation:
        """Return an operation that fits the acknowledged state."""
        kind = self._chance.choices(("put", "txn", "delete"), weights=(6, 3, 1))[0]
        if kind == "put":
            return self._put(self._key(self._group(), self._chance.randrange(KEYS_PER_GROUP)))
        if kind == "delete":
            return self._delete(self._group(), 0, KEYS_PER_GROUP)
        return self._txn()

    def _txn(self) -> Txn:
        # Half of one group is deleted, half of it set, and half of another is set: a reader of
        # the outcome sees from the keys alone whether all of it happened.
        first, second = self._chance.sample(range(GROUP_COUNT), 2)
        half = KEYS_PER_GROUP // 2
        steps: list[Put | DeleteRange] = [self._delete(first, 0, half)]
        steps += [self._put(self._key(first, number)) for number in range(half, KEYS_PER_GROUP)]
        steps += [self._put(self._key(second, number)) for number in range(half)]
        guard = self._key(self._group(), self._chance.randrange(KEYS_PER_GROUP))
        return Txn(guard, self._history.acknowledged.get(guard), steps)

    def _group(self) -> int:
        return self._chance.randrange(GROUP_COUNT)

    def _key(self, group: int, number: int) -> bytes:
        # A number past the group's last key is fine as the end of a range: it sorts behind it.
        return self._history.prefix + b"%02d/%02d" % (group, number)

    def _put(self, key: bytes) -> Put:
        self._value_count += 1
        padding = b"." * self._chance.randrange(200)
        return Put(key, b"%d:%016x:" % (self._value_count, self._chance.getrandbits(64)) + padding)

    def _delete(self, group: int, first: int, end: int) -> DeleteRange:
        return DeleteRange(self._key(group, first), self._key(group, end))
