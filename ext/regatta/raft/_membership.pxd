"""Who takes part in a group, and how that changes: pure, each change makes a new membership."""
cimport cython
from libc.stdint cimport uint64_t

from regatta.raft._message cimport ConfChange
from regatta.raft._message cimport ConfState
from regatta.raft._progress cimport Progress


@cython.final
cdef class Configuration:
    # Sorted ids. Invariants: no id is both voter and learner; learners_next is within the outgoing
    # voters and apart from the incoming ones; without outgoing voters there is no learners_next.
    cdef readonly tuple voters              # the incoming half, the only one when not joint
    cdef readonly tuple voters_outgoing     # empty when not joint
    cdef readonly tuple learners
    cdef readonly tuple learners_next       # who become learners once the joint state is left
    cdef readonly bint auto_leave           # the leader leaves the joint state by itself

    cdef inline bint is_joint(self) noexcept:
        return len(self.voters_outgoing) > 0
    # Whether *node* votes in either half.
    cdef bint has_voter(self, uint64_t node)
    # All voters' ids, sorted: those whom a candidate asks.
    cdef tuple all_voters(self)
    cdef ConfState conf_state(self)


@cython.final
cdef class Membership:
    """A configuration and the progress of each of its members. Its shape never changes."""
    cdef readonly Configuration configuration
    cdef list members                       # of Progress, ids rising: the order of all visits
    cdef list incoming                      # of Progress, the voters of each half
    cdef list outgoing
    cdef uint64_t window_count_max          # for members to come
    cdef uint64_t window_bytes_max
    cdef uint64_t *acknowledged             # room for one index a member

    # The progress of a member, None for anybody else.
    cdef Progress find(self, uint64_t node)
    # The highest index that both halves' majorities have.
    cdef uint64_t committed_index(self) noexcept
    # Whether both halves' majorities were heard from lately.
    cdef bint is_active(self) noexcept
    # What *votes*, of ids to bools, come to: VOTE_*.
    cdef int vote_result(self, dict votes) except -1
    # How many members that are no learners granted and rejected.
    cdef tuple tally(self, dict votes)

    # The membership after a change, next to which this one stays as it was; new members start at
    # *last_index*, or 1. Raises MembershipError. Unchanged members are shared by both.
    cdef Membership changed(self, ConfChange change, uint64_t last_index)
    # The membership that *conf_state* describes, with new progress for all.
    cdef Membership rebuilt(self, ConfState conf_state, uint64_t last_index)

# No members at all.
cdef Membership membership_new(uint64_t window_count_max, uint64_t window_bytes_max)
