"""A leader's side of replication: what it sends to whom, and what the answers mean."""
from libc.stdint cimport uint64_t

from regatta.raft._message cimport Message
from regatta.raft._progress cimport Progress
from regatta.raft._replica cimport Replica

# Send *peer* what it lacks, if it may be sent to: entries, or a snapshot where they are compacted.
# Says whether anything was sent; an append without entries only if *even_if_empty*.
cdef bint send_append(Replica replica, Progress peer, bint even_if_empty) except -1
cdef int broadcast_append(Replica replica) except -1
# The token comes back with the answer.
cdef int broadcast_heartbeat(Replica replica, bytes token) except -1

# Commit what a quorum has. Says whether that is news.
cdef bint advance_commit(Replica replica) except -1

# Answers of *peer*. Says whether an append's tells anything new; it may commit more.
cdef bint append_accepted(Replica replica, Progress peer, Message message) except -1
cdef int append_refused(Replica replica, Progress peer, Message message) except -1
cdef int heartbeat_answered(Replica replica, Progress peer) except -1

# What the driver reports of its way to *peer*.
cdef int peer_unreachable(Replica replica, Progress peer) except -1
cdef int snapshot_reported(Replica replica, Progress peer, bint failed) except -1
