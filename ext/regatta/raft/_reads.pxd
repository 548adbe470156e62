"""Linearizable reads that wait until the leader knows that it still leads.

Reads are confirmed in rounds. A round is one heartbeat to everybody, with the round's number in it;
once a quorum has answered it, nobody else can have been elected before it was sent. All reads that
came before that share the answer, and those that come later share the next round.
"""
cimport cython
from libc.stdint cimport uint64_t

from regatta.raft._membership cimport Configuration


@cython.final
cdef class Reads:
    cdef list waiting           # (requester, context) of reads that belong to no round yet
    cdef list rounds            # of Round, unconfirmed, oldest first
    cdef uint64_t number        # of the newest round, 0 before the first
    cdef dict answered          # of each node, the newest round that it answered
    # When the newest confirmed round began, in the leader's ticks.
    cdef bint has_lease
    cdef uint64_t lease_start_tick

    cdef void clear(self)
    cdef int add(self, uint64_t requester, bytes context) except -1
    # Start a round at *tick* in which *node*, the leader, answers itself; reads that wait get
    # *index* for their answer.
    cdef int begin(self, uint64_t node, uint64_t index, uint64_t tick) except -1
    # What the heartbeats of the newest round carry: nothing if all rounds are confirmed.
    cdef bytes token(self)
    # A heartbeat's answer carries *token*, which may be anything.
    cdef int answer(self, uint64_t node, bytes token) except -1
    # Take the reads that a quorum has confirmed, as (index, requester, context).
    cdef list take_confirmed(self, Configuration configuration)
    # Take the reads that wait, as (requester, context).
    cdef list take_waiting(self)
