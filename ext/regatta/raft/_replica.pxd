"""What every part of the core works on: a replica's state, its way to talk, its changes of role.

Upon it stand, each knowing only those before it: _replication (what a leader sends and is
answered), _leader (what it is asked), _election, _follower, and _core, which has the public face.
"""
cimport cython
from libc.stdint cimport uint64_t

from regatta.raft._log cimport Log
from regatta.raft._membership cimport Membership
from regatta.raft._message cimport Message
from regatta.raft._progress cimport Progress
from regatta.raft._reads cimport Reads


@cython.final
cdef class Replica:
    cdef uint64_t node
    cdef uint64_t term
    cdef uint64_t vote
    cdef uint64_t leader        # 0 if none is known
    cdef int role_now           # ROLE_*
    cdef Log log
    cdef Membership membership
    cdef object logger          # called with (level, text), or None

    # Time, in ticks.
    cdef uint64_t election_ticks, heartbeat_ticks
    cdef uint64_t timeout_ticks     # drawn anew at each change of role
    cdef uint64_t election_elapsed  # since the leader was heard; of a leader, since the last check
    cdef uint64_t heartbeat_elapsed
    # After a restart under lease reads: a promise made before it may still hold so long.
    cdef uint64_t grace_ticks
    cdef object draw_timeout

    # A candidate's.
    cdef dict votes             # node to whether it was granted

    # A leader's.
    cdef uint64_t transferee    # to whom it hands its leadership, 0 if it does not
    # No membership change may be proposed before this index is applied. It may be beyond the
    # change that is in the log, never before it.
    cdef uint64_t pending_conf_index
    cdef uint64_t uncommitted_bytes     # of proposals' data, until they are applied
    cdef Reads reads
    cdef uint64_t led_ticks     # since it was elected
    cdef uint64_t first_own_index   # of the entries of its term
    cdef bint lease_forfeited   # somebody was told to start an election that leases don't hinder

    # Settings: see Config.
    cdef bint check_quorum, pre_vote, lease_reads, forwards_proposals
    cdef bint validates_conf_changes, steps_down_on_removal
    cdef uint64_t message_bytes_max, uncommitted_bytes_max

    # What waits for ready(). Those after the append must not leave before entries and hard state
    # are durable: they promise them.
    cdef list messages, messages_after_append
    cdef list read_states

    cdef int say(self, int level, str text) except -1
    cdef int send(self, Message message) except -1
    # Whether it could win an election.
    cdef bint is_promotable(self)
    cdef int set_membership(self, Membership membership) except -1

    cdef int become_follower(self, uint64_t term, uint64_t leader) except -1
    cdef int become_candidate(self) except -1
    cdef int become_pre_candidate(self) except -1
    # Start anew in *term*: nothing is known of anybody.
    cdef int reset(self, uint64_t term) except -1

# As it stands in log lines.
cdef str message_name(int type)
cdef str role_name(int role)

cdef enum:                      # the levels of logging
    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
