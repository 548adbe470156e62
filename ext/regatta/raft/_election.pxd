"""How a leader is made: campaigns, votes, and what a message's term does to a replica."""
from libc.stdint cimport uint64_t

from regatta.raft._message cimport Message
from regatta.raft._replica cimport Replica

cdef enum:                      # kinds of campaign
    CAMPAIGN_PRE_VOTE           # ask first whether it would be won; nobody's term changes by that
    CAMPAIGN_ELECTION
    CAMPAIGN_TRANSFER           # as the leader wishes: its own lease does not protect it

# Start an election if this replica may win one.
cdef int campaign(Replica replica, int kind) except -1
# One tick has passed, and this is no leader.
cdef int follower_tick(Replica replica) except -1
# Compare the message's term with ours and follow a higher one. Says whether it is to be handled.
cdef bint accept_term(Replica replica, Message message) except -1
# Somebody asks for a vote, or whether it would get one.
cdef int vote_requested(Replica replica, Message message) except -1
# Somebody has answered our own question.
cdef int vote_answered(Replica replica, Message message) except -1
