"""Majorities, and the two at once that a joint configuration asks for."""
from libc.stdint cimport uint64_t

cdef enum:
    VOTE_PENDING
    VOTE_LOST
    VOTE_WON

cdef enum:
    # What a half without voters has acknowledged: it holds nobody up.
    EVERYTHING = 0xFFFFFFFFFFFFFFFF

# How many of *count* voters make a majority.
cdef inline Py_ssize_t majority(Py_ssize_t count) noexcept nogil:
    return count // 2 + 1

# The highest index that a majority of *count* voters has acknowledged, 0 standing for a voter that
# has acknowledged nothing; EVERYTHING if there are no voters. Reads the array, keeps nothing.
cdef uint64_t majority_index(const uint64_t *acknowledged, Py_ssize_t count) noexcept nogil

# What *granted* and *rejected* answers of *count* voters come to; no voters are won at once.
cdef int majority_vote(Py_ssize_t granted, Py_ssize_t rejected, Py_ssize_t count) noexcept nogil

# What the results of both halves come to: both must be won, one that is lost loses.
cdef int joint_vote(int incoming, int outgoing) noexcept nogil
