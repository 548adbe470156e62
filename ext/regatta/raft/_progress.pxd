"""How far each peer is, in the leader's eyes, and what is under way to it."""
cimport cython
from libc.stdint cimport uint64_t


cdef struct Flight:             # one append message under way
    uint64_t index              # of its last entry
    uint64_t size_bytes         # of all its entries, encoded


@cython.final
cdef class Window:
    """The append messages that a peer has not acknowledged yet, oldest first."""
    cdef readonly uint64_t count_max
    cdef readonly uint64_t bytes_max    # 0 means no bound
    # Invariant: count <= count_max and count <= room.
    cdef readonly uint64_t count
    cdef readonly uint64_t size_bytes   # of all of them
    # A ring that grows when it must: the bound is usually far above what is ever under way.
    cdef Flight *ring
    cdef uint64_t room
    cdef uint64_t oldest                # its place in the ring

    # Whether another message has to wait. Bytes may pass their bound by one message, so that a
    # message larger than the bound can be sent at all.
    cdef inline bint is_full(self) noexcept:
        return self.count >= self.count_max or 0 < self.bytes_max <= self.size_bytes

    # A message with entries up to *index* is on its way; indexes rise. The window must not be full.
    cdef int add(self, uint64_t index, uint64_t size_bytes) except -1
    # All messages with entries up to *index* have arrived.
    cdef void release(self, uint64_t index) noexcept
    cdef void clear(self) noexcept


@cython.final
cdef class Progress:
    """One member of the group. Whoever leads keeps one for each, itself included."""
    cdef readonly uint64_t node
    # Invariant: match < next.
    cdef readonly uint64_t match            # the peer's log is known to equal ours up to here
    cdef readonly uint64_t next             # the first index that the next append carries
    cdef int sending                        # PROGRESS_*, which Python sees as *state*
    # Probing: an append was sent, and its answer decides how to go on. Replicating: the window
    # was full after the last append.
    cdef readonly bint flow_paused
    cdef readonly uint64_t pending_snapshot  # index of the snapshot on its way; 0 for none
    cdef readonly uint64_t sent_commit      # the highest commit index that it was sent
    cdef readonly bint recently_active      # heard from since the quorum was last looked at
    cdef readonly bint is_learner
    cdef readonly Window window

    # Start anew, as whoever changes its role does: nothing is known of the peer.
    cdef void reset(self, uint64_t next) noexcept
    # A copy that plays the other part.
    cdef Progress as_learner(self, bint is_learner)

    # The three ways of sending. After a snapshot, probing starts behind it.
    cdef void become_probe(self) noexcept
    cdef void become_replicate(self) noexcept
    cdef void become_snapshot(self, uint64_t index) noexcept

    # Whether no append may be sent now.
    cdef bint is_paused(self) noexcept
    # An append of *entry_count* entries, *size_bytes* together, has been sent.
    cdef int sent_entries(self, uint64_t entry_count, uint64_t size_bytes) except -1
    cdef inline void sent_commit_index(self, uint64_t index) noexcept:
        self.sent_commit = index
    # Whether the peer could use a commit index that it was not sent yet.
    cdef inline bint lacks_commit(self, uint64_t committed) noexcept:
        return committed > self.sent_commit and self.sent_commit + 1 < self.next

    # The peer has everything up to *index*. Says whether that is news.
    cdef bint acknowledged(self, uint64_t index) noexcept
    # The peer refused an append behind *index*; it may equal ours up to *hint*. Says whether that
    # is news; if so, next has moved back.
    cdef bint refused(self, uint64_t index, uint64_t hint) noexcept
    # Send nothing until the peer is heard from; go on sending.
    cdef inline void pause(self) noexcept:
        self.flow_paused = True
    cdef inline void resume(self) noexcept:
        self.flow_paused = False
    # The snapshot on its way is lost: probing won't start behind it.
    cdef inline void lose_snapshot(self) noexcept:
        self.pending_snapshot = 0

# A new member of which nothing is known yet; it counts as active until the next look.
cdef Progress progress_new(uint64_t node, uint64_t next, uint64_t window_count_max,
                           uint64_t window_bytes_max)
