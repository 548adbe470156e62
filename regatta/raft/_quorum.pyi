from collections.abc import Collection, Mapping
from enum import IntEnum

class VoteResult(IntEnum):
    """What the answers to a candidate come to."""

    PENDING = 0
    LOST = 1
    WON = 2

def committed_index(
    incoming: Collection[int], outgoing: Collection[int], acknowledged: Mapping[int, int]
) -> int:
    """Return the highest index that a majority of either half has acknowledged.

    *incoming* and *outgoing* are voters' ids; a half without voters holds nobody up, and without
    any voter the answer is 2**64 - 1. Who is not in *acknowledged* has acknowledged nothing.
    """

def vote_result(
    incoming: Collection[int], outgoing: Collection[int], votes: Mapping[int, bool]
) -> VoteResult:
    """Tell what *votes* come to, True for a granted one; who is not in there has yet to answer.

    Both halves must be won, and one that is lost loses; a half without voters is won.
    """
