from regatta.raft._message cimport Entry
from regatta.raft._message cimport entry_size
from regatta.raft._message cimport hard_state_new
from regatta.raft._storage import Compacted
from regatta.raft._storage import SnapshotTemporarilyUnavailable
from regatta.raft._storage import Unavailable

cdef enum:
    COMPACTION_ENTRIES_MAX = 20_000     # removed by one call
    RECOVERY_READ_BYTES = 8 << 20       # looked at in one piece
    RECENT_BYTES_MAX = 256 << 10


class DamagedLog(Exception):
    """What a backing holds is no log that a replica may go on with; the text begins with a verb."""


cdef class Backing:

    cpdef tuple load(self):
        raise NotImplementedError

    cpdef list read(self, uint64_t low, uint64_t high, uint64_t bytes_max):
        raise NotImplementedError

    cpdef void set_hard_state(self, HardState state) except *:
        raise NotImplementedError

    cpdef void truncate(self, uint64_t first) except *:
        raise NotImplementedError

    cpdef void append(self, list entries) except *:
        raise NotImplementedError

    cpdef void compact(self, uint64_t index, uint64_t term) except *:
        raise NotImplementedError

    cpdef void reset(self, uint64_t index, uint64_t term) except *:
        raise NotImplementedError


cdef class StableLog(Storage):

    def __init__(self, Backing backing not None, ConfState conf_state not None,
                 uint64_t applied=0, uint64_t applied_term=0, *,
                 uint64_t recent_bytes_max=RECENT_BYTES_MAX, take_snapshot=None):
        self.backing = backing
        self.conf_state = conf_state
        self.recent_bytes_max = recent_bytes_max
        self.take_snapshot = take_snapshot
        self.recent = []
        self._recover(applied, applied_term)

    # What the core reads.

    cpdef tuple initial_state(self):
        return self.hard_state, self.conf_state

    cpdef uint64_t first_index(self) except? 0:
        return self.compacted_index + 1

    cpdef uint64_t last_index(self) except? 0:
        return self.last

    cpdef uint64_t term(self, uint64_t index) except? 0:
        cdef uint64_t recent_first = self._recent_first()
        if index == self.last:
            return self.last_term
        if index == self.compacted_index:
            return self.compacted_term
        if index < self.compacted_index:
            raise Compacted()
        if index > self.last:
            raise Unavailable()
        if index >= recent_first:
            return (<Entry>self.recent[index - recent_first]).term
        return (<Entry>self._read(index, index + 1, 0)[0]).term

    cpdef list entries(self, uint64_t low, uint64_t high, uint64_t bytes_max):
        cdef uint64_t recent_first = self._recent_first()
        cdef uint64_t size = 0
        cdef uint64_t i
        cdef Entry entry
        cdef list found = []
        if low <= self.compacted_index:
            raise Compacted()
        if high > self.last + 1:
            raise Unavailable()
        if low >= high:
            return found
        if low < recent_first:
            found = self._read(low, min(high, recent_first), bytes_max)
            low += <uint64_t>len(found)
            if low < min(high, recent_first):
                return found            # *bytes_max* ended it
            size = encoded_size(found)
        for i in range(low, high):
            entry = <Entry>self.recent[i - recent_first]
            size += entry_size(entry)
            if size > bytes_max and found:
                break
            found.append(entry)
        return found

    cpdef Snapshot snapshot(self):
        if self.take_snapshot is None:
            raise SnapshotTemporarilyUnavailable()
        return self.take_snapshot()

    # What the core wants written.

    cpdef bint write(self, Message message) except -1:
        cdef HardState kept
        cdef Snapshot snapshot = message.snapshot
        cdef list entries = message.entries
        cdef uint64_t staying           # the last entry that this write finds and leaves in place
        if message.term or message.vote or message.commit:
            self.hard_state = hard_state_new(message.term, message.vote, message.commit)
        kept = self.hard_state
        if (snapshot is None and not entries
                and kept.term == self.stored.term and kept.vote == self.stored.vote):
            return False
        # Terms and votes before the entries that follow from them; but a commit index only with
        # the next write after the entries it covers, for a crash may come between the two.
        staying = self.queued_last
        if entries:
            staying = min(staying, (<Entry>entries[0]).index - 1)
        if kept.commit > staying:
            kept = hard_state_new(kept.term, kept.vote, staying)
        if kept != self.stored:
            self.backing.set_hard_state(kept)
            self.stored = kept
        if snapshot is not None:
            self.backing.reset(snapshot.index, snapshot.term)
            self.queued_last = snapshot.index
        if entries:
            self._queue(entries)
        return True

    def _queue(self, list entries):
        cdef uint64_t first = (<Entry>entries[0]).index
        if first > self.queued_last + 1:
            raise ValueError(f"a gap before entry {first}: the log ends at {self.queued_last}")
        if first <= self.queued_last:
            self.backing.truncate(first)
        self.backing.append(entries)
        self.queued_last = newest_of(entries).index

    cpdef void written(self, Message message) except *:
        cdef Snapshot snapshot = message.snapshot
        if snapshot is not None:
            self._forget(len(self.recent))
            self.compacted_index = self.last = snapshot.index
            self.compacted_term = self.last_term = snapshot.term
        if message.entries:
            # Only now, when those that come are counted apart: they are needed at once.
            self.trim()
            self._add(message.entries)

    cpdef uint64_t compact(self, uint64_t index) except? 0:
        cdef uint64_t recent_first = self._recent_first()
        if index > self.last:
            raise Unavailable()
        index = min(index, self.compacted_index + COMPACTION_ENTRIES_MAX)
        if index <= self.compacted_index:
            return self.compacted_index
        self.compacted_term = self.term(index)
        self.compacted_index = index
        self.backing.compact(index, self.compacted_term)
        if index >= recent_first:
            self._forget(<Py_ssize_t>(index - recent_first + 1))
        return index

    cpdef void trim(self) except *:
        cdef Py_ssize_t count = 0
        cdef uint64_t left = self.recent_bytes
        while left > self.recent_bytes_max:
            left -= entry_size(<Entry>self.recent[count])
            count += 1
        self._forget(count)

    # Memory.

    cdef uint64_t _recent_first(self) noexcept:
        return self.last - <uint64_t>len(self.recent) + 1

    cdef int _forget(self, Py_ssize_t count) except -1:
        """Let go of the oldest *count* entries in memory."""
        cdef Py_ssize_t i
        for i in range(count):
            self.recent_bytes -= entry_size(<Entry>self.recent[i])
        if count:
            del self.recent[:count]
        return 0

    cdef int _add(self, list entries) except -1:
        """Put entries behind those before the first of them; what followed is gone."""
        cdef uint64_t first = (<Entry>entries[0]).index
        cdef uint64_t recent_first = self._recent_first()
        cdef Entry newest = newest_of(entries)
        if not self.compacted_index < first <= self.last + 1:
            raise ValueError(f"entry {first} doesn't follow on {self.compacted_index} to {self.last}")
        if first <= recent_first:
            self.recent = list(entries)
            self.recent_bytes = encoded_size(entries)
        else:
            self.recent_bytes -= encoded_size(self.recent[first - recent_first:])
            self.recent[first - recent_first:] = entries
            self.recent_bytes += encoded_size(entries)
        self.last, self.last_term = newest.index, newest.term
        return 0

    cdef list _read(self, uint64_t low, uint64_t high, uint64_t bytes_max):
        """Read from the backing, and see that it gives what was asked for."""
        cdef list found = self.backing.read(low, high, bytes_max)
        cdef uint64_t expected = low
        cdef Entry entry
        if not found:
            raise DamagedLog(f"has no entry {low}")
        for entry in found:
            if entry.index != expected:
                raise DamagedLog(f"has entry {entry.index} where entry {expected} should be")
            expected += 1
        return found

    # Recovery.

    cdef int _recover(self, uint64_t applied, uint64_t applied_term) except -1:
        """Take up what the backing holds; what is not applied yet is read and checked whole."""
        cdef uint64_t next_index, term
        cdef list found
        cdef Entry entry
        (self.stored, self.compacted_index, self.compacted_term, self.last) = self.backing.load()
        self.hard_state = self.stored
        self.queued_last = self.last
        self.last_term = self.compacted_term
        self._check_ends(applied, applied_term)
        next_index = max(applied, self.compacted_index) + 1
        term = applied_term if applied > self.compacted_index else self.compacted_term
        while next_index <= self.last:
            found = self._read(next_index, self.last + 1, RECOVERY_READ_BYTES)
            for entry in found:
                if entry.term < term:
                    raise DamagedLog(f"has entry {entry.index} of term {entry.term} after term {term}")
                term = entry.term
            next_index += <uint64_t>len(found)
        self.last_term = term
        if term > self.stored.term:
            raise DamagedLog(f"ends in term {term}, but only term {self.stored.term} was promised")
        return 0

    cdef int _check_ends(self, uint64_t applied, uint64_t applied_term) except -1:
        """See that the log reaches from what it has forgotten to what was applied and committed."""
        cdef uint64_t term
        if self.last < self.compacted_index:
            raise DamagedLog(f"ends at entry {self.last}, before the compacted {self.compacted_index}")
        if self.last < applied:
            raise DamagedLog(f"ends at entry {self.last}, but {applied} entries are applied")
        if applied < self.compacted_index:
            raise DamagedLog(f"begins after entry {self.compacted_index}, "
                             f"but only {applied} entries are applied")
        if self.stored.commit > self.last:
            raise DamagedLog(f"ends at entry {self.last}, but {self.stored.commit} are committed")
        if self.compacted_index < self.last:
            self._read(self.compacted_index + 1, self.compacted_index + 2, 0)
        if applied == 0:
            return 0
        if applied == self.compacted_index:
            term = self.compacted_term
        else:
            term = (<Entry>self._read(applied, applied + 1, 0)[0]).term
        if term != applied_term:
            raise DamagedLog(f"has entry {applied} of term {term}, "
                             f"but one of term {applied_term} was applied")
        return 0


cdef inline Entry newest_of(list entries):
    return <Entry>entries[len(entries) - 1]


cdef uint64_t encoded_size(list entries) except? 0:
    """Return the sum of the entries' encoded sizes, in bytes."""
    cdef uint64_t size = 0
    cdef Entry entry
    for entry in entries:
        size += entry_size(entry)
    return size
