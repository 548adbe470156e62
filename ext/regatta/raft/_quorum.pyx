from enum import IntEnum

from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.stdlib cimport malloc


class VoteResult(IntEnum):
    """What an election has come to. See the stub."""

    PENDING = VOTE_PENDING
    LOST = VOTE_LOST
    WON = VOTE_WON


# For each voter's index, count who has at least as much. With the handful of voters that a group
# has this beats a sort, and it needs no copy of the array.
cdef uint64_t majority_index(const uint64_t *acknowledged, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t i, j, holders
    cdef uint64_t best = 0, index
    if count == 0:
        return EVERYTHING
    for i in range(count):
        index = acknowledged[i]
        if index <= best:
            continue
        holders = 0
        for j in range(count):
            holders += acknowledged[j] >= index
        if holders >= majority(count):
            best = index
    return best


cdef int majority_vote(Py_ssize_t granted, Py_ssize_t rejected, Py_ssize_t count) noexcept nogil:
    if count == 0 or granted >= majority(count):
        return VOTE_WON
    if count - rejected >= majority(count):
        return VOTE_PENDING
    return VOTE_LOST


cdef int joint_vote(int incoming, int outgoing) noexcept nogil:
    if incoming == outgoing:
        return incoming
    if incoming == VOTE_LOST or outgoing == VOTE_LOST:
        return VOTE_LOST
    return VOTE_PENDING


def committed_index(incoming, outgoing, acknowledged):
    return min(index_of_half(incoming, acknowledged), index_of_half(outgoing, acknowledged))


def vote_result(incoming, outgoing, votes):
    return VoteResult(joint_vote(result_of_half(incoming, votes), result_of_half(outgoing, votes)))


cdef object index_of_half(voters, acknowledged):
    cdef Py_ssize_t count = len(voters), i = 0
    cdef uint64_t *indexes = <uint64_t *>malloc((count + 1) * sizeof(uint64_t))
    if indexes == NULL:
        raise MemoryError
    try:
        for i, voter in enumerate(voters):
            indexes[i] = acknowledged.get(voter, 0)
        return majority_index(indexes, count)
    finally:
        free(indexes)


cdef int result_of_half(voters, votes) except -1:
    cdef Py_ssize_t granted = 0, rejected = 0
    for voter in voters:
        if voter in votes:
            if votes[voter]:
                granted += 1
            else:
                rejected += 1
    return majority_vote(granted, rejected, len(voters))
