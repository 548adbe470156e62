cimport cython
from libc.stdint cimport uint64_t

from regatta.raft._message cimport ENTRY_NORMAL
from regatta.raft._message cimport Entry
from regatta.raft._message cimport Snapshot
from regatta.raft._message cimport entry_size
from regatta.raft._storage cimport Storage

from logging import INFO

from regatta.raft._storage import Compacted
from regatta.raft._storage import Unavailable

cdef enum:
    SCAN_BYTES_MAX = 1 << 20    # read at once when looking for changes of the membership


@cython.final
cdef class Log:

    def __cinit__(self, Storage storage not None, uint64_t applying_bytes_max, logger):
        self.storage = storage
        self.logger = logger
        self.unstable = []
        self.offset = self.handed = storage.last_index() + 1
        self.applying_bytes_max = applying_bytes_max
        # What was compacted had been applied.
        self.committed = self.applying = self.applied = storage.first_index() - 1

    # --- Looking ---------------------------------------------------------------------------------

    cdef uint64_t first_index(self) except? 0:
        if self.snapshot is not None:
            return self.snapshot.index + 1
        return self.storage.first_index()

    cdef uint64_t last_term(self) except? 0:
        return self.term_or_zero(self.last_index())

    cdef bint find_term(self, uint64_t index, uint64_t *term) except -1:
        term[0] = 0
        if index > self.last_index():
            return False
        if index >= self.offset:
            term[0] = (<Entry>self.unstable[<Py_ssize_t>(index - self.offset)]).term
            return True
        if self.snapshot is not None:
            # What storage still has is about to be replaced.
            if index != self.snapshot.index:
                return False
            term[0] = self.snapshot.term
            return True
        try:
            term[0] = self.storage.term(index)
        except (Compacted, Unavailable):
            return False
        return True

    cdef uint64_t term_or_zero(self, uint64_t index) except? 0:
        cdef uint64_t term = 0
        self.find_term(index, &term)
        return term

    cdef bint has(self, uint64_t index, uint64_t term) except -1:
        cdef uint64_t own = 0
        return self.find_term(index, &own) and own == term

    cdef bint is_covered_by(self, uint64_t last_index, uint64_t last_term) except -1:
        cdef uint64_t own = self.last_term()
        return last_term > own or (last_term == own and last_index >= self.last_index())

    cdef uint64_t last_within_term(self, uint64_t index, uint64_t term,
                                   uint64_t *found) except? 0:
        while index > 0:
            if not self.find_term(index, found) or found[0] <= term:
                return index
            index -= 1
        found[0] = 0
        return 0

    cdef list entries(self, uint64_t low, uint64_t high, uint64_t bytes_max, uint64_t *size_bytes):
        cdef list found
        cdef Py_ssize_t start, stop, fitting
        size_bytes[0] = 0
        if low >= high:
            return []
        if low >= self.offset:
            found = []
        elif self.snapshot is not None:
            raise Compacted
        else:
            found = self.storage.entries(low, min(high, self.offset), bytes_max)
            size_bytes[0] = entries_size(found)
            if high <= self.offset or <uint64_t>len(found) < self.offset - low:
                return found
            low = self.offset
        start = <Py_ssize_t>(low - self.offset)
        stop = <Py_ssize_t>(high - self.offset)
        fitting = fitting_stop(self.unstable, start, stop, bytes_max, len(found) == 0, size_bytes)
        return found + self.unstable[start:fitting] if found else self.unstable[start:fitting]

    cdef Snapshot newest_snapshot(self):
        return self.storage.snapshot() if self.snapshot is None else self.snapshot

    cdef bint has_conf_change_to_apply(self) except -1:
        cdef uint64_t low = self.applied + 1, size_bytes = 0
        cdef list found
        cdef Entry entry
        # A snapshot on its way to storage stands for what it covers.
        if self.snapshot is not None:
            low = max(low, self.snapshot.index + 1)
        while low <= self.committed:
            found = self.entries(low, self.committed + 1, SCAN_BYTES_MAX, &size_bytes)
            for entry in found:
                if entry.kind != ENTRY_NORMAL:
                    return True
            low += <uint64_t>len(found)
        return False

    # --- Growing ---------------------------------------------------------------------------------

    cdef int append(self, list entries) except -1:
        cdef uint64_t first
        if not entries:
            return 0
        first = (<Entry>entries[0]).index
        if first <= self.committed:
            raise AssertionError(f"entry {first} would replace one that is committed")
        if first > self.last_index() + 1:
            raise AssertionError(f"entry {first} leaves a gap after {self.last_index()}")
        if first == self.last_index() + 1:
            self.unstable.extend(entries)
        elif first <= self.offset:
            if self.logger is not None:
                self.logger(INFO, f"replace the unstable entries from index {first}")
            self.unstable = entries[:]
            self.offset = self.handed = first
        else:
            if self.logger is not None:
                self.logger(INFO, f"truncate the unstable entries before index {first}")
            self.unstable = self.unstable[:<Py_ssize_t>(first - self.offset)] + entries
            # What replaces entries that were handed out must be handed out, too.
            self.handed = min(self.handed, first)
        return 0

    cdef bint append_after(self, uint64_t index, uint64_t term, list entries) except -1:
        cdef Py_ssize_t known
        if not self.has(index, term):
            return False
        known = count_of_known(self, entries)
        if known < len(entries):
            self.append(entries[known:] if known else entries)
        return True

    cdef int commit_to(self, uint64_t index) except -1:
        # A commit index that arrives late never moves us back.
        if index <= self.committed:
            return 0
        if index > self.last_index():
            raise AssertionError(f"commit {index} is beyond the last entry {self.last_index()}")
        self.committed = index
        return 0

    cdef int restore(self, Snapshot snapshot) except -1:
        if self.logger is not None:
            self.logger(INFO, f"log {self} starts to restore snapshot "
                              f"[index: {snapshot.index}, term: {snapshot.term}]")
        self.committed = snapshot.index
        self.unstable = []
        self.offset = self.handed = snapshot.index + 1
        self.snapshot = snapshot
        self.snapshot_handed = False
        return 0

    # --- Handing out -----------------------------------------------------------------------------

    cdef list entries_to_store(self):
        cdef Py_ssize_t handed_count = <Py_ssize_t>(self.handed - self.offset)
        return self.unstable[handed_count:]

    cdef bint has_entries_to_apply(self, bint only_stable) noexcept:
        if self.applying_paused or self.snapshot is not None:
            return False
        return self.applying < appliable(self, only_stable)

    cdef list entries_to_apply(self, bint only_stable):
        cdef uint64_t size_bytes = 0
        if not self.has_entries_to_apply(only_stable):
            return []
        return self.entries(self.applying + 1, appliable(self, only_stable) + 1,
                            self.applying_bytes_max - self.applying_bytes, &size_bytes)

    cdef int accept(self, list entries_to_apply, bint only_stable) except -1:
        self.handed = self.last_index() + 1
        self.snapshot_handed = self.snapshot is not None
        if entries_to_apply:
            self.applying += <uint64_t>len(entries_to_apply)
            self.applying_bytes += entries_size(entries_to_apply)
            self.applying_paused = (self.applying_bytes >= self.applying_bytes_max
                                    or self.applying < appliable(self, only_stable))
        return 0

    # --- Acknowledgements ------------------------------------------------------------------------

    cdef int stored_to(self, uint64_t index, uint64_t term) except -1:
        cdef uint64_t own
        if index < self.offset or index > self.last_index():
            if self.logger is not None:
                explain_unknown(self, index)
            return 0
        own = (<Entry>self.unstable[<Py_ssize_t>(index - self.offset)]).term
        if own != term:
            # It was replaced while storage wrote it; the replacement is yet to be acknowledged.
            if self.logger is not None:
                self.logger(INFO, f"entry at (index,term)=({index},{term}) mismatched with entry "
                                  f"at ({index},{own}) in unstable log; ignoring")
            return 0
        del self.unstable[:<Py_ssize_t>(index + 1 - self.offset)]
        self.offset = index + 1
        self.handed = max(self.handed, self.offset)
        return 0

    cdef int stored_snapshot(self, uint64_t index) except -1:
        if self.snapshot is not None and self.snapshot.index == index:
            self.snapshot = None
            self.snapshot_handed = False
        return 0

    cdef int applied_to(self, uint64_t index, uint64_t size_bytes) except -1:
        if index > self.committed or index < self.applied:
            raise AssertionError(
                f"applied {index} is out of range [{self.applied}, {self.committed}]")
        self.applied = index
        self.applying = max(self.applying, index)
        self.applying_bytes -= min(self.applying_bytes, size_bytes)
        self.applying_paused = self.applying_bytes >= self.applying_bytes_max
        return 0

    def __str__(self):
        return (f"[committed={self.committed}, applied={self.applied}, applying={self.applying}, "
                f"unstable.offset={self.offset}, unstable.offsetInProgress={self.handed}, "
                f"len(unstable.Entries)={len(self.unstable)}]")


cdef uint64_t entries_size(list entries) noexcept:
    cdef uint64_t size_bytes = 0
    cdef Py_ssize_t i
    for i in range(len(entries)):
        size_bytes += entry_size(<Entry>entries[i])
    return size_bytes


cdef inline uint64_t appliable(Log log, bint only_stable) noexcept:
    # An entry that our own storage lacks may be committed by others all the same.
    return min(log.committed, log.offset - 1) if only_stable else log.committed


cdef Py_ssize_t count_of_known(Log log, list entries) except -1:
    # How many of the first of *entries* are in the log already.
    cdef Py_ssize_t i
    cdef uint64_t own = 0
    cdef Entry entry
    for i in range(len(entries)):
        entry = <Entry>entries[i]
        if entry.index > log.last_index():
            return i
        if not log.find_term(entry.index, &own) or own != entry.term:
            if log.logger is not None:
                log.logger(INFO, f"found conflict at index {entry.index} [existing term: {own}, "
                                 f"conflicting term: {entry.term}]")
            return i
    return len(entries)


cdef int explain_unknown(Log log, uint64_t index) except -1:
    if log.snapshot is not None and index == log.snapshot.index:
        log.logger(INFO, f"entry at index {index} matched unstable snapshot; ignoring")
    else:
        log.logger(INFO, f"entry at index {index} missing from unstable log; ignoring")
    return 0


# Where entries from *start* on must stop, at *stop* at the latest, for *size_bytes* to stay within
# *bytes_max* when their sizes are added to it. One entry always fits if *even_if_large*.
cdef Py_ssize_t fitting_stop(list entries, Py_ssize_t start, Py_ssize_t stop, uint64_t bytes_max,
                             bint even_if_large, uint64_t *size_bytes) noexcept:
    cdef Py_ssize_t i
    cdef uint64_t size
    for i in range(start, stop):
        size = size_bytes[0] + entry_size(<Entry>entries[i])
        if size > bytes_max and not (even_if_large and i == start):
            return i
        size_bytes[0] = size
    return stop
