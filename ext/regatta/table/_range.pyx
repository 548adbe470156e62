"""The read path: Range of one key, from the bytes of the request to the bytes of the answer."""
cimport cython
from libc.stdint cimport int64_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint64_t
from libc.string cimport memcmp
from libc.string cimport memcpy
from libc.string cimport memset

from regatta.http2._sink cimport DECLINED
from regatta.http2._sink cimport TAKEN
from regatta.http2._sink cimport CallSink
from regatta.http2._sink cimport Reply
from regatta.http2._sink cimport reply_reserve
from regatta.measure._histogram cimport Histogram
from regatta.measure._histogram cimport now_ns
from regatta.store._catalogue cimport Group
from regatta.store._env cimport get
from regatta.store._lmdb_h cimport MDB_NOTFOUND
from regatta.store._lmdb_h cimport MDB_val
from regatta.store._record cimport STORED_KEY_MAX
from regatta.store._record cimport USER_KEY_MAX
from regatta.store._record cimport Record
from regatta.store._record cimport record_open
from regatta.store._record cimport stored_key
from regatta.store._view cimport View
from regatta.table._leaders cimport Leader
from regatta.table._leaders cimport Leaders
from regatta.wire._reader cimport KIND_BYTES
from regatta.wire._reader cimport KIND_VARINT
from regatta.wire._reader cimport Field
from regatta.wire._reader cimport Slice
from regatta.wire._reader cimport field_next
from regatta.wire._varint cimport varint_size
from regatta.wire._varint cimport varint_write

from regatta.errors import Code
from regatta.measure import call_bounds_s

cdef enum:
    CODE_COUNT = 17             # of gRPC
    PATH_SIZE = 20
    HEADER_SIZE_MAX = 64        # an encoded ResponseHeader with its tag: four numbers
    FIXED_SIZE = 32             # everything in an answer beside header, key and record
    # Of so many batches, a power of two, one is timed: reading the clock twice would cost a batch
    # of one call 3 %.
    TIMED_EVERY = 4

cdef const char *PATH = "/regatta.v1.KV/Range"
cdef int NOT_FOUND = Code.NOT_FOUND
cdef int INTERNAL = Code.INTERNAL

cdef struct Request:            # a RangeRequest as far as it is served here
    Slice table
    Slice key
    bint keys_only
    bint count_only
    bint ranged                 # range_end is set
    bint unusual                # so is another field that needs a closer look


cdef int request_decode(Slice message, Request *request) noexcept nogil:
    """Decode a RangeRequest. Returns -1 if it is malformed."""
    cdef Field field
    cdef int code
    memset(request, 0, sizeof(Request))
    while True:
        code = field_next(&message, &field)
        if code <= 0:
            return code
        if field.kind == KIND_BYTES:
            if field.number == 1:
                request.table = field.bytes
            elif field.number == 2:
                request.key = field.bytes
            elif field.number == 3:
                request.ranged = field.bytes.size > 0
        elif field.kind == KIND_VARINT:
            if field.number == 6:
                request.keys_only = field.value != 0
            elif field.number == 7:
                request.count_only = field.value != 0
            elif field.number == 4:
                # One pair is within every limit; a negative one is for the router to refuse.
                if <int64_t>field.value < 0:
                    request.unusual = True
            elif 8 <= field.number <= 11 and field.value != 0:
                request.unusual = True


cdef inline bint is_served(const Request *request) noexcept nogil:
    """Is it for us? What is wrong with a request is told by the router, which gets the rest."""
    return (not request.ranged and not request.unusual and request.table.size > 0
            and 1 <= request.key.size <= USER_KEY_MAX
            and not (request.keys_only and request.count_only))


@cython.final
cdef class RangeSink(CallSink):
    """Answers Range of one key from the newest snapshot, one snapshot for each batch of calls.

    *replica* and what *leaders* knows of the table's group are what response headers say. With one
    voter in each group a linearizable read is the same as a local one: nobody else can have
    acknowledged a write.
    """

    cdef View view
    cdef Leaders leaders
    cdef uint64_t replica
    cdef uint64_t taken                 # calls answered here
    cdef uint64_t[CODE_COUNT] failed    # how many of them by error
    cdef uint64_t batches
    cdef int64_t batch_begun_ns         # 0 when the batch is not timed
    cdef uint64_t timed                 # calls whose time is in the histogram
    cdef int64_t batch_ns               # of the last batch that was timed
    cdef Histogram times

    def __cinit__(self, View view not None, uint64_t replica, Leaders leaders not None):
        self.view = view
        self.replica, self.leaders = replica, leaders
        self.times = Histogram(call_bounds_s)

    @property
    def handled(self):
        cdef uint64_t failed = 0
        cdef int code
        for code in range(CODE_COUNT):
            failed += self.failed[code]
        return [self.taken - failed, *[self.failed[code] for code in range(1, CODE_COUNT)]]

    @property
    def time(self):
        self.add_time()
        return self.times

    cdef void add_time(self) noexcept nogil:
        """Count all calls since the last time with the time of the last timed batch."""
        self.times.add_ns(self.batch_ns, self.taken - self.timed)
        self.timed = self.taken

    cdef bint wants(self, const char *path, size_t path_size) noexcept nogil:
        return path_size == PATH_SIZE and memcmp(path, PATH, PATH_SIZE) == 0

    cdef int on_batch_end(self) except -1 nogil:
        self.view.release()
        self.batches += 1
        if self.batch_begun_ns != 0:
            self.batch_ns = now_ns() - self.batch_begun_ns
            self.batch_begun_ns = 0
            self.add_time()
        return 0

    cdef int on_call(self, const char *path, size_t path_size,
                     const uint8_t *message, size_t message_size, Reply *reply) except -1 nogil:
        cdef Request request
        cdef Slice encoded
        cdef const Group *table
        encoded.data, encoded.size = message, message_size
        if request_decode(encoded, &request) < 0 or not is_served(&request):
            return DECLINED
        if not self.view.live and self.batches % TIMED_EVERY == 0:
            self.batch_begun_ns = now_ns()
        if self.view.renew() != 0:
            return DECLINED     # the router reads the same way, and tells what is wrong
        table = self.view.find(request.table.data, request.table.size)
        if table == NULL:
            return self.refuse(reply, NOT_FOUND, b"table not found")
        return self.answer(table, &request, reply)

    cdef int refuse(self, Reply *reply, int code, const char *text) noexcept nogil:
        self.taken += 1
        self.failed[code] += 1
        reply.status, reply.message = code, text
        return TAKEN

    cdef int answer(self, const Group *table, const Request *request, Reply *reply) except -1 nogil:
        cdef uint8_t[STORED_KEY_MAX] key_bytes
        cdef MDB_val key, value
        cdef Record record
        cdef int code
        record.tail.data, record.tail.size = NULL, 0
        stored_key(key_bytes, table.table.id, request.key, &key)
        code = get(self.view.txn, self.view.environment.data, &key, &value)
        if code != 0 and code != MDB_NOTFOUND:
            return DECLINED
        if code == 0 and record_open(&key, &value, &record) < 0:
            return DECLINED     # and it writes that to the log
        if request.keys_only and code == 0:
            record.tail.size = record.revisions_size
        if reply_reserve(reply, HEADER_SIZE_MAX + FIXED_SIZE + request.key.size
                         + record.tail.size) < 0:
            self.refuse(reply, INTERNAL, NULL)
            with gil:
                raise MemoryError
        reply.size = self.write_header(reply.data, table.id)
        if code == 0:
            reply.size = write_pair(reply.data, reply.size, request, &record)
        self.taken += 1
        return TAKEN

    cdef size_t write_header(self, uint8_t *start, uint64_t shard) noexcept nogil:
        """Write the ResponseHeader, field 1. Returns its size."""
        cdef Leader leader = self.leaders.find(shard)
        cdef uint8_t *at = start + 2    # its length takes one byte: four numbers of 11 at most
        at[0] = 0x08
        at = varint_write(at + 1, shard)
        at[0] = 0x10
        at = varint_write(at + 1, self.replica)
        at[0] = 0x20
        at = varint_write(at + 1, leader.term)
        at[0] = 0x28
        at = varint_write(at + 1, leader.node)
        start[0] = 0x0A
        start[1] = <uint8_t>(at - start - 2)
        return at - start


cdef inline size_t write_pair(uint8_t *start, size_t offset, const Request *request,
                              const Record *record) noexcept nogil:
    """Write kvs (field 3), unless only the count is asked for, and count (field 5)."""
    cdef uint8_t *at = start + offset
    cdef size_t size
    if not request.count_only:
        size = 1 + varint_size(request.key.size) + request.key.size + record.tail.size
        at[0] = 0x1A
        at = varint_write(at + 1, size)
        at[0] = 0x0A
        at = varint_write(at + 1, request.key.size)
        memcpy(at, request.key.data, request.key.size)
        memcpy(at + request.key.size, record.tail.data, record.tail.size)
        at += request.key.size + record.tail.size
    at[0] = 0x28
    at[1] = 1
    return at + 2 - start
