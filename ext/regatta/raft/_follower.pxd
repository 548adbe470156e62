"""What a follower does with what its leader, and its own users, tell it."""
from regatta.raft._message cimport Message
from regatta.raft._replica cimport Replica

cdef int follower_step(Replica replica, Message message) except -1
# Whoever else is no leader: it follows at once if there is one in its term.
cdef int candidate_step(Replica replica, Message message) except -1
