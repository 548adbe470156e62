cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from regatta.raft._message cimport PROGRESS_PROBE
from regatta.raft._message cimport PROGRESS_REPLICATE
from regatta.raft._message cimport PROGRESS_SNAPSHOT

from regatta.raft._message import ProgressState

cdef enum:
    ROOM_MIN = 8

cdef tuple STATE_NAMES = ("StateProbe", "StateReplicate", "StateSnapshot")


@cython.final
cdef class Window:

    def __cinit__(self, uint64_t count_max, uint64_t bytes_max=0):
        self.count_max = count_max
        self.bytes_max = bytes_max

    def __dealloc__(self):
        free(self.ring)

    @property
    def full(self):
        return self.is_full()

    cdef int add(self, uint64_t index, uint64_t size_bytes) except -1:
        cdef Flight *newest
        if self.is_full():
            raise AssertionError(f"the window is full with {self.count} messages")
        if self.count == self.room:
            window_grow(self)
        newest = &self.ring[(self.oldest + self.count) % self.room]
        newest.index = index
        newest.size_bytes = size_bytes
        self.count += 1
        self.size_bytes += size_bytes
        return 0

    cdef void release(self, uint64_t index) noexcept:
        while self.count and self.ring[self.oldest].index <= index:
            self.size_bytes -= self.ring[self.oldest].size_bytes
            self.oldest = (self.oldest + 1) % self.room
            self.count -= 1

    cdef void clear(self) noexcept:
        self.count = self.size_bytes = self.oldest = 0


cdef int window_grow(Window window) except -1:
    cdef uint64_t room = max(<uint64_t>ROOM_MIN, 2 * window.room), before_end
    cdef Flight *ring = <Flight *>malloc(room * sizeof(Flight))
    if ring == NULL:
        raise MemoryError
    if window.room:
        # It is full all round: what lies before the ring's end is older than what lies at its start.
        before_end = window.room - window.oldest
        memcpy(ring, window.ring + window.oldest, before_end * sizeof(Flight))
        memcpy(ring + before_end, window.ring, window.oldest * sizeof(Flight))
    free(window.ring)
    window.ring = ring
    window.room = room
    window.oldest = 0
    return 0


@cython.final
cdef class Progress:

    @property
    def state(self):
        return ProgressState(self.sending)

    @property
    def paused(self):
        return self.is_paused()

    cdef void reset(self, uint64_t next) noexcept:
        self.match = 0
        self.next = next
        self.sent_commit = 0
        self.recently_active = False
        start_sending(self, PROGRESS_PROBE)

    cdef Progress as_learner(self, bint is_learner):
        cdef Progress other = progress_new(
            self.node, self.next, self.window.count_max, self.window.bytes_max)
        other.is_learner = is_learner
        other.match = self.match
        other.sending = self.sending
        other.flow_paused = self.flow_paused
        other.pending_snapshot = self.pending_snapshot
        other.sent_commit = self.sent_commit
        other.recently_active = self.recently_active
        cdef uint64_t i
        cdef Flight flight
        for i in range(self.window.count):
            flight = self.window.ring[(self.window.oldest + i) % self.window.room]
            other.window.add(flight.index, flight.size_bytes)
        return other

    cdef void become_probe(self) noexcept:
        self.next = self.match + 1
        if self.sending == PROGRESS_SNAPSHOT:
            self.next = max(self.next, self.pending_snapshot + 1)
        forget_commit_from(self, self.next)
        start_sending(self, PROGRESS_PROBE)

    cdef void become_replicate(self) noexcept:
        self.next = self.match + 1
        start_sending(self, PROGRESS_REPLICATE)

    cdef void become_snapshot(self, uint64_t index) noexcept:
        start_sending(self, PROGRESS_SNAPSHOT)
        self.pending_snapshot = index
        self.next = index + 1
        self.sent_commit = index

    cdef bint is_paused(self) noexcept:
        return self.flow_paused or self.sending == PROGRESS_SNAPSHOT

    cdef int sent_entries(self, uint64_t entry_count, uint64_t size_bytes) except -1:
        if self.sending == PROGRESS_REPLICATE:
            if entry_count:
                self.window.add(self.next + entry_count - 1, size_bytes)
                self.next += entry_count
            self.flow_paused = self.window.is_full()
        elif entry_count:
            self.flow_paused = True
        return 0

    cdef bint acknowledged(self, uint64_t index) noexcept:
        if index <= self.match:
            return False
        self.match = index
        self.next = max(self.next, index + 1)
        self.flow_paused = False
        return True

    cdef bint refused(self, uint64_t index, uint64_t hint) noexcept:
        if self.sending == PROGRESS_REPLICATE:
            # Appends overtake each other: what was acknowledged since then outdates the refusal.
            if index <= self.match:
                return False
            self.next = self.match + 1
        else:
            # Only one append at a time is on its way, and this is not the answer to it.
            if index + 1 != self.next:
                return False
            self.next = max(min(index, hint + 1), self.match + 1)
            self.flow_paused = False
        forget_commit_from(self, self.next)
        return True

    def __str__(self):
        parts = [f"{STATE_NAMES[self.sending]} match={self.match} next={self.next}"]
        if self.is_learner:
            parts.append("learner")
        if self.is_paused():
            parts.append("paused")
        if self.pending_snapshot:
            parts.append(f"pendingSnap={self.pending_snapshot}")
        if not self.recently_active:
            parts.append("inactive")
        if self.window.count:
            full = "[full]" if self.window.is_full() else ""
            parts.append(f"inflight={self.window.count}{full}")
        return " ".join(parts)

    def __repr__(self):
        return f"<Progress of {self.node}: {self}>"


cdef Progress progress_new(uint64_t node, uint64_t next, uint64_t window_count_max,
                           uint64_t window_bytes_max):
    cdef Progress progress = Progress.__new__(Progress)
    progress.node = node
    progress.next = next
    progress.sending = PROGRESS_PROBE
    progress.recently_active = True
    progress.window = Window(window_count_max, window_bytes_max)
    return progress


cdef void start_sending(Progress progress, int sending) noexcept:
    progress.sending = sending
    progress.flow_paused = False
    progress.pending_snapshot = 0
    progress.window.clear()


# What is sent again from *index* on may not have arrived the first time, and a peer learns of a
# commit only with the entries at hand. So it has to be told again.
cdef void forget_commit_from(Progress progress, uint64_t index) noexcept:
    progress.sent_commit = min(progress.sent_commit, index - 1)
