"""Committed indexes and votes, beside what enumerating all majorities gives."""

from itertools import combinations
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from regatta.raft import VoteResult
from regatta.raft import committed_index
from regatta.raft import vote_result

NODES = range(1, 8)
INDEX_MAX = 2**64 - 1

voters = st.lists(st.sampled_from(NODES), unique=True, max_size=5)
acknowledged = st.dictionaries(
    st.sampled_from(NODES), st.one_of(st.integers(0, 9), st.integers(0, INDEX_MAX))
)
votes = st.dictionaries(st.sampled_from(NODES), st.booleans())


def majorities(half):
    """Return every smallest majority of *half*."""
    return list(combinations(half, len(half) // 2 + 1))


def enumerated_index(half, known):
    """Return the best that any majority has in common."""
    if not half:
        return INDEX_MAX
    return max(min(known.get(node, 0) for node in majority) for majority in majorities(half))


def wins(half, granted):
    return not half or any(set(majority) <= granted for majority in majorities(half))


def enumerated_result(incoming, outgoing, known):
    """Return what all ways in which the others may answer have in common."""
    silent = sorted({*incoming, *outgoing} - known.keys())
    endings = set()
    for answers in product((False, True), repeat=len(silent)):
        final = {**known, **dict(zip(silent, answers, strict=True))}
        granted = {node for node, answer in final.items() if answer}
        endings.add(wins(incoming, granted) and wins(outgoing, granted))
    if len(endings) == 2:
        return VoteResult.PENDING
    return VoteResult.WON if True in endings else VoteResult.LOST


@given(voters, acknowledged)
def test_a_majority_has_what_is_committed_and_no_majority_has_more(half, known):
    assert committed_index(half, [], known) == enumerated_index(half, known)


@given(voters, voters, acknowledged)
def test_what_is_committed_jointly_is_committed_in_both_halves(incoming, outgoing, known):
    index = committed_index(incoming, outgoing, known)
    assert index == min(enumerated_index(incoming, known), enumerated_index(outgoing, known))
    assert index == committed_index(outgoing, incoming, known)


@given(voters, acknowledged, st.sampled_from(NODES), st.integers(0, INDEX_MAX))
def test_what_is_committed_stays_so_when_voters_acknowledge_more(half, known, node, index):
    more = {**known, node: max(index, known.get(node, 0))}
    assert committed_index(half, [], more) >= committed_index(half, [], known)


@given(voters, voters, votes)
def test_a_vote_is_decided_once_no_further_answer_can_change_it(incoming, outgoing, known):
    assert vote_result(incoming, outgoing, known) == enumerated_result(incoming, outgoing, known)


def test_nobody_at_all_has_everything_and_wins():
    assert committed_index([], [], {}) == INDEX_MAX
    assert vote_result([], [], {}) is VoteResult.WON


def test_strangers_count_for_nothing():
    assert committed_index([1, 2, 3], [], {1: 5, 8: 9, 9: 9}) == 0
    assert vote_result([1, 2, 3], [], {1: True, 8: True, 9: True}) is VoteResult.PENDING


def test_a_joint_vote_needs_both_halves():
    assert vote_result([1, 2, 3], [3, 4, 5], {1: True, 2: True, 3: True}) is VoteResult.PENDING
    assert vote_result([1, 2, 3], [3, 4, 5], {1: True, 3: True, 4: True}) is VoteResult.WON
    assert (
        vote_result([1, 2, 3], [3, 4, 5], {1: True, 2: True, 4: False, 5: False}) is VoteResult.LOST
    )
