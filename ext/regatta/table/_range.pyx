"""The read path: Range and IterateRange, from the bytes of a request to the bytes of its answer."""
cimport cython
from libc.stdint cimport int64_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.stdlib cimport malloc
from libc.string cimport memcmp
from libc.string cimport memcpy

from regatta.http2._sink cimport DECLINED
from regatta.http2._sink cimport POSTPONED
from regatta.http2._sink cimport TAKEN
from regatta.http2._sink cimport CallSink
from regatta.http2._sink cimport Reply
from regatta.http2._sink cimport reply_lend
from regatta.http2._sink cimport reply_reserve
from regatta.http2._sink cimport reply_shrink
from regatta.http2._sink cimport reply_take_back
from regatta.measure._histogram cimport now_ns
from regatta.measure._native_calls cimport NATIVE_CALLS_NUMBERS
from regatta.measure._native_calls cimport NativeCalls
from regatta.store._catalogue cimport Group
from regatta.store._env cimport get
from regatta.store._lmdb_h cimport MDB_NOTFOUND
from regatta.store._lmdb_h cimport MDB_cursor
from regatta.store._lmdb_h cimport MDB_val
from regatta.store._lookup cimport LOOKUP_STEPS
from regatta.store._lookup cimport Lookup
from regatta.store._lookup cimport lookup_advance
from regatta.store._lookup cimport lookup_begin
from regatta.store._lookup cimport lookup_finish
from regatta.store._record cimport STORED_KEY_MAX
from regatta.store._record cimport TABLE_ID_SIZE
from regatta.store._record cimport Record
from regatta.store._record cimport record_open
from regatta.store._record cimport stored_key
from regatta.store._scan cimport SCAN_END
from regatta.store._scan cimport Query
from regatta.store._scan cimport Scan
from regatta.store._scan cimport Work
from regatta.store._scan cimport passes
from regatta.store._scan cimport scan_begin
from regatta.store._scan cimport scan_step
from regatta.store._view cimport View
from regatta.table._leaders cimport Leader
from regatta.table._leaders cimport Leaders
from regatta.table._request cimport Request
from regatta.table._request cimport request_decode
from regatta.table._request cimport request_is_sound
from regatta.wire._buffer cimport Buffer
from regatta.wire._reader cimport Slice
from regatta.wire._sized cimport head_write
from regatta.wire._sized cimport number_write
from regatta.wire._varint cimport varint_size
from regatta.wire._varint cimport varint_write

from regatta import limits
from regatta.errors import Code

cdef enum:
    RANGE_PATH_SIZE = 20
    ITERATE_PATH_SIZE = 27
    HEADER_SIZE_MAX = 64        # an encoded ResponseHeader with its tag: four numbers
    FIXED_SIZE = 32             # everything in an answer beside header and pairs' keys and records
    # Of so many batches, a power of two, one is timed: reading the clock twice would cost a batch
    # of one call 3 %.
    TIMED_EVERY = 4
    POSTPONED_MAX = 128         # calls of a batch
    POSTPONED_KEY_MAX = 120     # bytes of a stored key; calls with longer ones are answered at once
    KVS = 3                     # fields of RangeResponse
    MORE = 4
    COUNT = 5

cdef const char *RANGE_PATH = "/regatta.v1.KV/Range"
cdef const char *ITERATE_PATH = "/regatta.v1.KV/IterateRange"
cdef int OK = Code.OK
cdef int NOT_FOUND = Code.NOT_FOUND
cdef int INTERNAL = Code.INTERNAL

# One pair more than a stretch, to see whether there is more than the limit allows.
cdef size_t call_pairs_max = limits.stretch_pairs_max + 1
cdef size_t call_bytes_max = limits.native_call_bytes_max
cdef size_t batch_pairs_max = limits.native_batch_pairs_max
cdef size_t batch_bytes_max = limits.native_batch_bytes_max


cdef struct KeyCall:            # a call for one key that is postponed to the end of its batch
    Lookup lookup
    Query query                 # its key is the one below
    const Group *table          # of the present snapshot
    bint iterates
    uint8_t[POSTPONED_KEY_MAX] key      # as stored


@cython.final
cdef class RangeSink(CallSink):
    """Answers Range and IterateRange from the newest snapshot, one for each batch of calls.

    Small answers only; what looks at more pairs or bytes than a call or a batch may here, and all
    that is wrong with a request, is for the router. *replica* and what *leaders* knows of the
    table's group are what response headers say. With one voter in each group a linearizable read is
    the same as a local one: nobody else can have acknowledged a write.
    """

    cdef View view
    cdef Leaders leaders
    cdef uint64_t replica
    cdef Work budget                    # what ranges may still look at in this batch
    cdef uint64_t batches
    cdef int64_t batch_begun_ns         # 0 when the batch is not timed
    cdef KeyCall *postponed             # POSTPONED_MAX of them
    cdef size_t postponed_count
    cdef NativeCalls ranges
    cdef NativeCalls iterations

    def __cinit__(self, View view not None, uint64_t replica, Leaders leaders not None,
                  uint64_t[::1] counts=None):
        self.view = view
        self.replica, self.leaders = replica, leaders
        if counts is None:
            self.ranges, self.iterations = NativeCalls(), NativeCalls()
        else:
            self.ranges = NativeCalls(counts[:NATIVE_CALLS_NUMBERS])
            self.iterations = NativeCalls(counts[NATIVE_CALLS_NUMBERS:])
        self.postponed = <KeyCall *>malloc(POSTPONED_MAX * sizeof(KeyCall))
        if self.postponed == NULL:
            raise MemoryError
        self.renew_budget()

    def __dealloc__(self):
        free(self.postponed)

    @property
    def calls(self):
        return {RANGE_PATH.decode(): self.ranges, ITERATE_PATH.decode(): self.iterations}

    cdef void renew_budget(self) noexcept nogil:
        self.budget.pairs_left, self.budget.bytes_left = batch_pairs_max, batch_bytes_max

    cdef bint wants(self, const char *path, size_t path_size) noexcept nogil:
        if path_size == RANGE_PATH_SIZE:
            return memcmp(path, RANGE_PATH, RANGE_PATH_SIZE) == 0
        return path_size == ITERATE_PATH_SIZE and memcmp(path, ITERATE_PATH, ITERATE_PATH_SIZE) == 0

    cdef int on_batch_end(self) except -1 nogil:
        cdef int64_t batch_ns
        self.view.release()
        self.postponed_count = 0
        self.renew_budget()
        self.batches += 1
        if self.batch_begun_ns != 0:
            batch_ns = now_ns() - self.batch_begun_ns
            self.batch_begun_ns = 0
            self.ranges.end_batch(batch_ns)
            self.iterations.end_batch(batch_ns)
        else:
            # Counted at once, since another process may be the one that looks.
            self.ranges.end_batch(self.ranges.batch_ns)
            self.iterations.end_batch(self.iterations.batch_ns)
        return 0

    cdef int on_call(self, const char *path, size_t path_size,
                     const uint8_t *message, size_t message_size, Reply *reply) except -1 nogil:
        cdef bint iterates = path_size == ITERATE_PATH_SIZE
        cdef Request request
        cdef Slice encoded
        cdef const Group *table
        cdef uint8_t[STORED_KEY_MAX] key_bytes
        cdef MDB_val key
        encoded.data, encoded.size = message, message_size
        if request_decode(encoded, &request) < 0 or not request_is_sound(&request):
            return DECLINED     # the router tells what is wrong
        if not self.view.live and self.batches % TIMED_EVERY == 0:
            self.batch_begun_ns = now_ns()
        if self.view.renew() != 0:
            return DECLINED     # the router reads the same way, and tells what is wrong
        table = self.view.find(request.table.data, request.table.size)
        if table == NULL:
            return self.refuse(reply, iterates, NOT_FOUND, b"table not found")
        if request.query.range_end.size == 0:
            if self.postpone(table, &request.query, iterates, reply):
                return POSTPONED
            stored_key(key_bytes, table.table.id, request.query.key, &key)
            return self.answer_key(table, &request.query, &key, iterates, reply)
        return self.answer_range(table, &request.query, iterates, reply)

    cdef int refuse(self, Reply *reply, bint iterates, int code, const char *text) noexcept nogil:
        reply.status, reply.message = code, text
        return self.take(iterates, code)

    cdef int take(self, bint iterates, int code) noexcept nogil:
        if iterates:
            self.iterations.count(code)
        else:
            self.ranges.count(code)
        return TAKEN

    cdef int reserve(self, Reply *reply, bint iterates, size_t size) except -1 nogil:
        if reply_reserve(reply, size) < 0:
            self.take(iterates, INTERNAL)
            with gil:
                raise MemoryError
        return 0

    cdef bint postpone(self, const Group *table, const Query *query, bint iterates,
                       Reply *reply) noexcept nogil:
        """Begin to look for a key, and go on with those of the calls before. False for no room."""
        cdef KeyCall *call = &self.postponed[self.postponed_count]
        cdef MDB_val key
        if (self.postponed_count == POSTPONED_MAX
                or TABLE_ID_SIZE + query.key.size > POSTPONED_KEY_MAX):
            return False
        stored_key(call.key, table.table.id, query.key, &key)
        call.query, call.table, call.iterates = query[0], table, iterates
        call.query.key.data = call.key + TABLE_ID_SIZE
        lookup_begin(&call.lookup, call.key, key.mv_size)
        reply.place = self.batches * POSTPONED_MAX + self.postponed_count
        self.postponed_count += 1
        self.advance(self.postponed_count)
        return True

    cdef void advance(self, size_t end) noexcept nogil:
        """Take the last searches before *end* a step further."""
        cdef size_t i
        for i in range(max(end, <size_t>LOOKUP_STEPS) - LOOKUP_STEPS, end):
            lookup_advance(&self.postponed[i].lookup, &self.view.pages)

    cdef int on_postponed(self, size_t place, Reply *reply) except -1 nogil:
        cdef size_t i = place - self.batches * POSTPONED_MAX
        cdef KeyCall *call
        cdef MDB_val key
        if i >= self.postponed_count:
            return DECLINED     # the batch it was of is over, and so is the snapshot
        call = &self.postponed[i]
        # The batch's last searches have not come to their end.
        self.advance(min(i + LOOKUP_STEPS, self.postponed_count))
        key.mv_data, key.mv_size = call.key, call.lookup.key_size
        if lookup_finish(&call.lookup, &self.view.pages):
            return self.answer_found(call.table, &call.query, &key, &call.lookup.value,
                                     call.iterates, reply)
        return self.answer_key(call.table, &call.query, &key, call.iterates, reply)

    cdef int answer_key(self, const Group *table, const Query *query, MDB_val *key, bint iterates,
                        Reply *reply) except -1 nogil:
        cdef MDB_val value
        cdef int code = get(self.view.txn, self.view.environment.data, key, &value)
        if code != 0 and code != MDB_NOTFOUND:
            return DECLINED
        return self.answer_found(table, query, key, NULL if code == MDB_NOTFOUND else &value,
                                 iterates, reply)

    cdef int answer_found(self, const Group *table, const Query *query, const MDB_val *key,
                          const MDB_val *value, bint iterates, Reply *reply) except -1 nogil:
        """Answer with a stored *value*, NULL if there is none."""
        cdef Record record
        cdef bint found = value != NULL
        record.tail.data, record.tail.size = NULL, 0
        if found and record_open(key, value, &record) < 0:
            return DECLINED     # the router finds it as well, and writes that to the log
        if found and not passes(query, &record):
            found, record.tail.size = False, 0
        if query.keys_only and found:
            record.tail.size = record.revisions_size
        self.reserve(reply, iterates,
                     HEADER_SIZE_MAX + FIXED_SIZE + query.key.size + record.tail.size)
        reply.size = self.write_header(reply.data, table.id)
        if found:
            reply.size = write_key(reply.data + reply.size, query, &record) - reply.data
        return self.take(iterates, OK)

    cdef int answer_range(self, const Group *table, const Query *query, bint iterates,
                          Reply *reply) except -1 nogil:
        cdef MDB_cursor *cursor = NULL
        cdef Scan scan
        cdef uint8_t *at
        if (self.budget.pairs_left == 0 or self.budget.bytes_left == 0
                or self.view.pairs(&cursor) != 0):
            return DECLINED
        scan_begin(&scan, query, table.table.id, cursor)
        self.reserve(reply, iterates, HEADER_SIZE_MAX + FIXED_SIZE)
        reply.size = self.write_header(reply.data, table.id)
        if self.scan_whole(&scan, reply) < 0:
            reply_shrink(reply)
            return DECLINED
        self.reserve(reply, iterates, reply.size + FIXED_SIZE)
        at = reply.data + reply.size
        # A stream that is over says no more, whatever its limit has left out.
        at = number_write(at, MORE, scan.more and not iterates)
        at = number_write(at, COUNT, scan.count)
        reply.size = at - reply.data
        return self.take(iterates, OK)

    cdef int scan_whole(self, Scan *scan, Reply *reply) noexcept nogil:
        """Append all pairs of a range. Returns -1 if it did not come to its end."""
        cdef Buffer out
        cdef Work work
        cdef uint64_t pairs = min(self.budget.pairs_left, call_pairs_max)
        cdef uint64_t size = min(self.budget.bytes_left, call_bytes_max)
        cdef size_t before = reply.size
        cdef int state
        work.pairs_left, work.bytes_left, work.cancelled = pairs, size, NULL
        scan.work = &work
        reply_lend(reply, &out)
        # What is read counts, and where that is less, what is put out: keys alone can be long.
        state = scan_step(scan, &out, KVS, pairs + 1, size + 1)
        reply_take_back(reply, &out)
        scan.work = NULL
        self.budget.pairs_left -= pairs - work.pairs_left
        self.budget.bytes_left -= min(size, max(size - work.bytes_left, reply.size - before))
        return 0 if state == SCAN_END else -1

    cdef size_t write_header(self, uint8_t *start, uint64_t shard) noexcept nogil:
        """Write the ResponseHeader, field 1. Returns its size."""
        cdef Leader leader = self.leaders.find(shard)
        cdef uint8_t *at = start + 2    # its length takes one byte: four numbers of 11 at most
        at = number_write(at, 1, shard)
        at = number_write(at, 2, self.replica)
        at = number_write(at, 4, leader.term)
        at = number_write(at, 5, leader.node)
        start[0] = 0x0A
        start[1] = <uint8_t>(at - start - 2)
        return at - start


cdef inline uint8_t *write_key(uint8_t *at, const Query *query, const Record *record) noexcept nogil:
    """Write kvs, unless only the count is asked for, and count. Returns the byte after them."""
    cdef size_t size
    if not query.count_only:
        size = 1 + varint_size(query.key.size) + query.key.size + record.tail.size
        at = head_write(at, KVS, size)
        at[0] = 0x0A
        at = varint_write(at + 1, query.key.size)
        memcpy(at, query.key.data, query.key.size)
        memcpy(at + query.key.size, record.tail.data, record.tail.size)
        at += query.key.size + record.tail.size
    return number_write(at, COUNT, 1)
