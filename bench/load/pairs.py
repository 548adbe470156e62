"""The pairs that load tools store and expect, and in which order they ask for them.

Pair n of a family has the key "<family><n in 12 digits>", 16 bytes, and as its value the key's
last eight digits over and over, so that any answer tells whether it is the right one.
"""

import itertools
import random
from array import array
from dataclasses import dataclass

TABLE = b"regatta"
DRAWS = 1 << 18  # calls until their order repeats
ZIPF_EXPONENT = 0.99
SEED = 1
DISTRIBUTIONS = ("one", "zipfian", "uniform", "ascending")


@dataclass(frozen=True)
class Family:
    """Pairs whose keys begin alike and whose values are of one size."""

    name: bytes  # four bytes
    pair_count: int
    value_bytes: int

    def key(self, number: int) -> bytes:
        """Return the key of pair *number*."""
        return self.name + b"%012d" % number

    def value(self, number: int) -> bytes:
        """Return the value of pair *number*."""
        pattern = (b"%012d" % number)[-8:]
        return (pattern * (self.value_bytes // 8 + 1))[: self.value_bytes]


def numbers(distribution: str, count: int, seed: int = SEED) -> "array[int]":
    """Return which of *count* pairs are asked for, in that order.

    zipfian: the pair of rank r comes up in proportion to 1 / r ** 0.99, and the ranks are dealt
    to the pairs by chance, so that neighbours on a page are not popular together.
    """
    chance = random.Random(seed)
    if distribution == "one":
        return array("I", [count // 2])
    if distribution == "ascending":
        return array("I", range(count))
    if distribution == "uniform":
        return array("I", chance.choices(range(count), k=DRAWS))
    dealt = list(range(count))
    chance.shuffle(dealt)
    weights = itertools.accumulate(rank**-ZIPF_EXPONENT for rank in range(1, count + 1))
    return array("I", chance.choices(dealt, cum_weights=list(weights), k=DRAWS))


def mixed(reads: "array[int]", write_share: float, mark: int, seed: int = SEED) -> "array[int]":
    """Return the same calls, a share of which is made a Put by adding *mark*."""
    if write_share <= 0:
        return reads
    chance = random.Random(seed)
    calls = reads if len(reads) > 1 else reads * DRAWS
    return array("I", [call | mark * (chance.random() < write_share) for call in calls])
