"""A replica's view of its log: what storage has, what is on its way there, and how far it counts."""
cimport cython
from libc.stdint cimport uint64_t

from regatta.raft._message cimport Snapshot
from regatta.raft._storage cimport Storage

cdef enum:
    UNLIMITED = 0xFFFFFFFFFFFFFFFF


@cython.final
cdef class Log:
    cdef Storage storage
    cdef object logger          # called with (level, text), or None

    # Invariant: applied <= applying <= committed <= last_index().
    cdef uint64_t committed
    cdef uint64_t applying      # up to here entries were handed out to be applied
    cdef uint64_t applied

    # Entries that storage has not acknowledged, at indexes from *offset* on. They may replace what
    # storage still has there. Invariant: offset <= handed <= offset + len(unstable).
    cdef list unstable
    cdef uint64_t offset
    cdef uint64_t handed        # entries below were handed out to be stored
    # A snapshot that replaces everything before *offset*, until storage has it; or None.
    cdef Snapshot snapshot
    cdef bint snapshot_handed

    # Of entries that are being applied: how many bytes at most, how many now, and whether no more
    # may be handed out before some are done.
    cdef uint64_t applying_bytes_max
    cdef uint64_t applying_bytes
    cdef bint applying_paused

    cdef inline uint64_t last_index(self) noexcept:
        return self.offset + <uint64_t>len(self.unstable) - 1
    cdef uint64_t first_index(self) except? 0
    cdef uint64_t last_term(self) except? 0

    # Whether the entry's term is known: it is neither compacted nor beyond the end. If so it is
    # written to *term*, else 0 is.
    cdef bint find_term(self, uint64_t index, uint64_t *term) except -1
    # The same as a number, 0 for unknown.
    cdef uint64_t term_or_zero(self, uint64_t index) except? 0
    cdef bint has(self, uint64_t index, uint64_t term) except -1
    # Whether a log that ends so holds at least as much as this one.
    cdef bint is_covered_by(self, uint64_t last_index, uint64_t last_term) except -1
    # The largest index up to *index* whose term is at most *term*, or is not known. Returns the
    # index and writes its term, 0 if not known.
    cdef uint64_t last_within_term(self, uint64_t index, uint64_t term,
                                   uint64_t *found) except? 0

    # Entries in [low, high), as many as fit into *bytes_max* yet at least one; their size goes to
    # *size_bytes*. Raises Compacted, Unavailable.
    cdef list entries(self, uint64_t low, uint64_t high, uint64_t bytes_max, uint64_t *size_bytes)
    # Raises SnapshotTemporarilyUnavailable.
    cdef Snapshot newest_snapshot(self)
    cdef bint has_conf_change_to_apply(self) except -1

    # Put *entries* at their indexes, and drop what is there and behind. None is committed yet.
    cdef int append(self, list entries) except -1
    # A leader sent *entries* that follow (index, term). False if this log does not match there;
    # else everything sent is in it, and what contradicted it is gone.
    cdef bint append_after(self, uint64_t index, uint64_t term, list entries) except -1
    cdef int commit_to(self, uint64_t index) except -1
    # Forget everything for *snapshot*, whose index is above committed.
    cdef int restore(self, Snapshot snapshot) except -1

    # What ready() hands out, and that it did.
    cdef list entries_to_store(self)
    cdef bint has_entries_to_apply(self, bint only_stable) noexcept
    cdef list entries_to_apply(self, bint only_stable)
    cdef int accept(self, list entries_to_apply, bint only_stable) except -1

    # Acknowledgements.
    cdef int stored_to(self, uint64_t index, uint64_t term) except -1
    cdef int stored_snapshot(self, uint64_t index) except -1
    cdef int applied_to(self, uint64_t index, uint64_t size_bytes) except -1

# The encoded size of all *entries*.
cdef uint64_t entries_size(list entries) noexcept
