"""What a leader is asked: proposals, reads, a transfer, and to go on leading."""
from libc.stdint cimport uint64_t

from regatta.raft._message cimport Message
from regatta.raft._replica cimport Replica

# A candidate has won. It follows on if it is no member any more.
cdef int become_leader(Replica replica) except -1
# One tick has passed.
cdef int leader_tick(Replica replica) except -1
cdef int leader_step(Replica replica, Message message) except -1

# Append what *datas* holds, as one entry each. Raises ProposalDropped, then none of it is there.
cdef int propose_data(Replica replica, list datas) except -1
# Append *entries*, which have neither term nor index yet. Raises ProposalDropped likewise, and
# StepError if one says that it is a membership change but is none.
cdef int propose_entries(Replica replica, list entries) except -1

# Answer the reads that can be, and ask the others' confirmation for the rest.
cdef int serve_reads(Replica replica) except -1
# More is committed, or others count now.
cdef int release_reads(Replica replica) except -1
