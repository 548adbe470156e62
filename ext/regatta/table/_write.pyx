"""The write path: Put, DeleteRange and Txn, from the bytes of a request to those of its answer."""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint64_t
from libc.string cimport memcmp

from regatta.http2._call cimport Owner
from regatta.http2._grpc cimport NO_TIMEOUT
from regatta.http2._sink cimport DECLINED
from regatta.http2._sink cimport KEPT
from regatta.http2._sink cimport TAKEN
from regatta.http2._sink cimport CallSink
from regatta.http2._sink cimport Reply
from regatta.http2._stream cimport Stream
from regatta.measure._histogram cimport now_ns
from regatta.measure._native_calls cimport NativeCalls
from regatta.raft._message cimport Entry
from regatta.table._leaders cimport Leader
from regatta.table._leaders cimport Leaders
from regatta.table._write_request cimport WRITE_DELETE
from regatta.table._write_request cimport WRITE_PUT
from regatta.table._write_request cimport WRITE_TXN
from regatta.table._write_request cimport Write
from regatta.table._write_request cimport encode_command
from regatta.table._write_request cimport write_decode
from regatta.table._write_request cimport write_is_sound
from regatta.wire._buffer cimport Buffer
from regatta.wire._buffer cimport buffer_append
from regatta.wire._buffer cimport buffer_recycle
from regatta.wire._command cimport OP_DELETE
from regatta.wire._command cimport next_message
from regatta.wire._reader cimport KIND_VARINT
from regatta.wire._reader cimport Field
from regatta.wire._reader cimport Slice
from regatta.wire._reader cimport field_next
from regatta.wire._sized cimport number_write
from regatta.wire._writer cimport message_begin
from regatta.wire._writer cimport message_end

from regatta import limits
from regatta.errors import Code

cdef enum:
    PUT_PATH_SIZE = 18          # and of Txn's
    DELETE_PATH_SIZE = 26
    ANSWER_SIZE_MAX = 80        # a header of five numbers, and one more
    # Asking for room costs as much as all the rest of a put: it is had for so many at a time.
    ROOM_COMMANDS = 32
    ROOM_COMMAND_BYTES = 2048   # of each; a larger one asks for itself

cdef const char *PUT_PATH = "/regatta.v1.KV/Put"
cdef const char *TXN_PATH = "/regatta.v1.KV/Txn"
cdef const char *DELETE_PATH = "/regatta.v1.KV/DeleteRange"
cdef const char *TOO_BUSY = "system is too busy try again later"
cdef const char *TOO_LATE = "context deadline exceeded: the write may still take effect"
cdef const char *NO_MEMORY = "no memory for the answer: the write has taken effect"
cdef int OK = Code.OK
cdef int CANCELLED = Code.CANCELLED
cdef int DEADLINE_EXCEEDED = Code.DEADLINE_EXCEEDED
cdef int INTERNAL = Code.INTERNAL
cdef int UNAVAILABLE = Code.UNAVAILABLE

cdef int64_t queue_bytes_max = limits.queue_bytes_max
# Of a transaction; what a longer one answers may be large, too.
cdef size_t txn_bytes_max = limits.stretch_bytes_max
cdef int64_t timeout_ns_default = int(limits.write_timeout_s * 1e9)
cdef int64_t timeout_ns_max = 1 << 60       # so that a deadline does not overflow
# The answer that is being made; shared, since none outlasts its call.
cdef Buffer made


cdef inline int kind_of(const char *path, size_t path_size) noexcept nogil:
    """Return the kind of write that *path* asks for, -1 if it is none of ours."""
    if path_size == PUT_PATH_SIZE:
        if memcmp(path, PUT_PATH, PUT_PATH_SIZE) == 0:
            return WRITE_PUT
        return WRITE_TXN if memcmp(path, TXN_PATH, PUT_PATH_SIZE) == 0 else -1
    if path_size == DELETE_PATH_SIZE and memcmp(path, DELETE_PATH, DELETE_PATH_SIZE) == 0:
        return WRITE_DELETE
    return -1


cdef uint64_t deleted_pairs(bytes result) noexcept:
    """Return the number in a CommandResult of a delete that counts."""
    cdef Slice rest, answer, deletion
    cdef Field field
    rest.data, rest.size = <const uint8_t *>PyBytes_AS_STRING(result), len(result)
    if next_message(&rest, 1, &answer) == 1 and next_message(&answer, OP_DELETE, &deletion) == 1:
        while field_next(&deletion, &field) == 1:
            if field.number == 1 and field.kind == KIND_VARINT:
                return field.value
    return 0


cdef int append_responses(bytes result) noexcept:
    """Append a CommandResult's responses to *made*, as those of a TxnResponse.

    Returns -1 when there is no memory.
    """
    cdef Slice rest, response
    cdef size_t mark
    rest.data, rest.size = <const uint8_t *>PyBytes_AS_STRING(result), len(result)
    while next_message(&rest, 1, &response) == 1:
        if (message_begin(&made, 3, &mark) < 0
                or buffer_append(&made, response.data, response.size) < 0
                or message_end(&made, mark) < 0):
            return -1
    return 0


@cython.final
cdef class Queue:
    """What waits for its answer, and whether more may. See the stub."""

    cdef public bint is_open
    cdef public int64_t count
    cdef public int64_t bytes


@cython.final
cdef class KeptWrite:
    """A write on its way whose answer goes to a session without Python's router. See the stub."""

    cdef readonly bytes command
    cdef public uint64_t index
    cdef WriteSink sink
    cdef Owner session
    cdef Stream *stream         # NULL once it is answered, or gone: then nobody waits
    cdef uint64_t group
    cdef int kind               # WRITE_*
    cdef bint counts
    cdef bint ended             # answered or counted as cancelled
    cdef int64_t begun_ns, deadline_ns

    def __dealloc__(self):
        if self.stream != NULL:
            self.stream.keeper = NULL

    def settle(self, int code, bint failure_branch, bytes payload not None):
        if code != 0:
            self.end(NULL, 0, code, PyBytes_AS_STRING(payload))
            return
        if self.write_answer(failure_branch, payload) < 0:
            self.end(NULL, 0, INTERNAL, NO_MEMORY)
        else:
            self.end(made.data, made.size, OK, NULL)
        buffer_recycle(&made)

    cdef int write_answer(self, bint failure_branch, bytes payload) noexcept:
        """Append the answer to *made*. Returns -1 when there is no memory."""
        cdef uint8_t[ANSWER_SIZE_MAX] head
        cdef uint8_t *at = head + 2     # the header's length takes one byte: five numbers
        cdef Leader leader = self.sink.leaders.find(self.group)
        at = number_write(at, 1, self.group)
        at = number_write(at, 2, self.sink.replica)
        at = number_write(at, 3, self.index)
        at = number_write(at, 4, leader.term)
        at = number_write(at, 5, leader.node)
        head[0], head[1] = 0x0A, <uint8_t>(at - head - 2)
        if self.counts:
            at = number_write(at, 2, deleted_pairs(payload))
        elif self.kind == WRITE_TXN:
            at = number_write(at, 2, not failure_branch)
        if buffer_append(&made, head, at - head) < 0:
            return -1
        return append_responses(payload) if self.kind == WRITE_TXN else 0

    def fail(self, object error):
        cdef bytes text = str(error).encode()
        self.end(NULL, 0, error.code, PyBytes_AS_STRING(text))

    cdef void end(self, const uint8_t *answer, size_t size, int code, const char *text) noexcept:
        cdef NativeCalls calls = self.sink.calls_of(self.kind)
        if self.ended:
            return
        self.ended = True
        if self.stream == NULL:
            code = CANCELLED
        else:
            self.session.answer_kept(self.stream, answer, size, code, text)
        self.session = None
        calls.end_kept(code, now_ns() - self.begun_ns)


def settle(object waiting not None, list entries not None, list results not None):
    """Answer those of *waiting* that became *entries*. Returns their number and their bytes."""
    cdef Py_ssize_t i, count = 0, size = 0
    cdef Entry entry
    cdef object proposal
    cdef KeptWrite kept
    if len(entries) != len(results):
        raise ValueError(f"{len(entries)} entries and {len(results)} results")
    for i in range(len(entries)):
        if not waiting:
            break
        entry = entries[i]
        proposal = waiting[0]
        code, failure_branch, payload = results[i]
        if type(proposal) is KeptWrite:
            kept = <KeptWrite>proposal
            if kept.index != entry.index:
                continue
            kept.settle(code, failure_branch, payload)
        else:
            if proposal.index != entry.index:
                continue
            proposal.settle(code, failure_branch, payload)
        waiting.popleft()
        count += 1
        size += len(proposal.command)
    return count, size


def expire(object proposals not None):
    """Answer the kept writes that are over their deadline. Returns how many others still wait."""
    cdef int64_t now = now_ns()
    cdef Py_ssize_t left = 0
    cdef object proposal
    cdef KeptWrite kept
    for proposal in proposals:
        if type(proposal) is KeptWrite:
            kept = <KeptWrite>proposal
            if kept.stream == NULL:
                continue
            if kept.deadline_ns <= now:
                kept.end(NULL, 0, DEADLINE_EXCEEDED, TOO_LATE)
            else:
                left += 1
    return left


@cython.final
cdef class WriteSink(CallSink):
    """Proposes Put, DeleteRange and Txn and answers them when applied. See the stub."""

    cdef Queue queue
    cdef dict groups
    cdef frozenset read_only
    cdef object stir, admit
    cdef uint64_t replica
    cdef Leaders leaders
    cdef object last_group      # that this batch has proposed to
    cdef int64_t batch_begun_ns         # 0 before the batch's first call
    cdef int room_commands      # that may be proposed without asking for room
    cdef NativeCalls puts
    cdef NativeCalls deletes
    cdef NativeCalls txns

    def __cinit__(self, Queue queue not None, dict groups not None, frozenset read_only not None,
                  object stir not None, object admit not None, uint64_t replica,
                  Leaders leaders not None):
        self.queue, self.groups, self.read_only = queue, groups, read_only
        self.stir, self.admit = stir, admit
        self.replica, self.leaders = replica, leaders
        self.puts, self.deletes, self.txns = NativeCalls(), NativeCalls(), NativeCalls()

    @property
    def calls(self):
        return {PUT_PATH.decode(): self.puts, DELETE_PATH.decode(): self.deletes,
                TXN_PATH.decode(): self.txns}

    cdef inline NativeCalls calls_of(self, int kind):
        if kind == WRITE_PUT:
            return self.puts
        return self.deletes if kind == WRITE_DELETE else self.txns

    cdef bint wants(self, const char *path, size_t path_size) noexcept nogil:
        return kind_of(path, path_size) >= 0

    cdef int on_batch_end(self) except -1 nogil:
        self.batch_begun_ns = 0
        if self.last_group is not None:
            with gil:
                self.last_group = None
        return 0

    cdef int on_call(self, const char *path, size_t path_size,
                     const uint8_t *message, size_t message_size, Reply *reply) except -1 nogil:
        cdef Write write
        cdef Slice encoded
        cdef int kind = kind_of(path, path_size)
        encoded.data, encoded.size = message, message_size
        if kind == WRITE_TXN and message_size > txn_bytes_max:
            return DECLINED
        if write_decode(encoded, kind, &write) < 0 or not write_is_sound(&write):
            return DECLINED     # the router tells what is wrong
        if write.prev_kv or reply.timeout_ns == 0:
            return DECLINED     # answers that may be large have to wait for room
        with gil:
            return self.keep(&write, reply)

    cdef int keep(self, const Write *write, Reply *reply) except -1:
        cdef NativeCalls calls = self.calls_of(write.kind)
        cdef bytes name = write.table.data[:write.table.size]
        cdef object group = self.groups.get(name)
        cdef KeptWrite kept
        cdef bytes command
        if group is None or name in self.read_only or not self.queue.is_open:
            return DECLINED
        if self.batch_begun_ns == 0:
            self.batch_begun_ns = now_ns()
        command = encode_command(write)
        if self.queue.bytes + len(command) > queue_bytes_max:
            reply.status, reply.message = UNAVAILABLE, TOO_BUSY
            calls.begin_kept()
            calls.end_kept(UNAVAILABLE, 0)
            return TAKEN
        if write.adds_data and not self.has_room(len(command)):
            return DECLINED     # the router says so, and to operators, too
        kept = KeptWrite.__new__(KeptWrite)
        kept.command, kept.sink, kept.group = command, self, group.id
        kept.kind, kept.counts = write.kind, write.count
        kept.begun_ns = self.batch_begun_ns
        kept.deadline_ns = kept.begun_ns + (timeout_ns_default if reply.timeout_ns == NO_TIMEOUT
                                            else min(reply.timeout_ns, timeout_ns_max))
        group.proposed.append(kept)
        self.queue.count += 1
        self.queue.bytes += len(command)
        if group is not self.last_group:
            self.last_group = group
            self.stir(group)
        # Nothing can fail any more: the session and the write know of each other, or neither does.
        kept.session, kept.stream = <Owner>reply.session, reply.stream
        reply.keeper = &kept.stream
        calls.begin_kept()
        return KEPT

    cdef bint has_room(self, Py_ssize_t command_bytes) except -1:
        if command_bytes > ROOM_COMMAND_BYTES:
            return self.admit(command_bytes, 1)
        if self.room_commands == 0:
            if not self.admit(ROOM_COMMANDS * ROOM_COMMAND_BYTES, ROOM_COMMANDS):
                return False
            self.room_commands = ROOM_COMMANDS
        self.room_commands -= 1
        return True
