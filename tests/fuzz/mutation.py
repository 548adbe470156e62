"""Changes to bytes and lists, drawn from a Random: the same seed makes the same input."""

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

# What counters, lengths and flags go wrong at.
BOUNDARIES = (0, 1, 2, 7, 0x3F, 0x40, 0x7F, 0x80, 0xFE, 0xFF)


def pick(chance: Random, items: Sequence[T]) -> T:
    """Return one of *items*; several times as fast as Random.choice."""
    return items[int(chance.random() * len(items))]


def below(chance: Random, limit: int) -> int:
    """Return a number from 0 to *limit*, itself left out; 0 when *limit* is."""
    return int(chance.random() * limit)


def _flip(chance: Random, data: bytearray, at: int) -> None:
    data[at] ^= 1 << below(chance, 8)


def _set(chance: Random, data: bytearray, at: int) -> None:
    data[at] = pick(chance, BOUNDARIES)


def _insert(chance: Random, data: bytearray, at: int) -> None:
    data[at:at] = chance.randbytes(1 + below(chance, 8))


def _delete(chance: Random, data: bytearray, at: int) -> None:
    del data[at : at + 1 + below(chance, 8)]


def _repeat(chance: Random, data: bytearray, at: int) -> None:
    data[at:at] = data[at : at + 1 + below(chance, 32)]


def _cut(chance: Random, data: bytearray, at: int) -> None:
    del data[at:]


CHANGES: Sequence[Callable[[Random, bytearray, int], None]] = (
    *(_flip, _flip, _set, _set, _insert, _delete, _repeat, _cut),
)


def mutate_bytes(chance: Random, data: bytes, changes_max: int = 4) -> bytes:
    """Return *data* with one to *changes_max* changes."""
    changed = bytearray(data)
    for _ in range(1 + below(chance, changes_max)):
        if not changed:
            changed += chance.randbytes(1)
        pick(chance, CHANGES)(chance, changed, below(chance, len(changed)))
    return bytes(changed)


def shuffle_some(chance: Random, items: list[T], spare: Callable[[], T]) -> None:
    """Drop, repeat, move or insert one of *items*; what is inserted comes from *spare*."""
    at = below(chance, len(items))
    turn = below(chance, 4)
    if turn == 0 or not items:
        items.insert(at, spare())
    elif turn == 1:
        del items[at]
    elif turn == 2:
        items.insert(below(chance, len(items) + 1), items[at])
    else:
        items.insert(below(chance, len(items)), items.pop(at))
