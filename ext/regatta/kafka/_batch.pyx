"""Kafka records in, log commands out.

A poll's records are gathered by partition first, each as a Record that borrows its key and value.
Then each topic's partitions are packed, one after the other, into drafts of commands; a draft adds
up the sizes of all nested messages, so that its bytes are written once, into room of just that
size.
"""
cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int32_t
from libc.stdint cimport int64_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc
from libc.stdlib cimport free
from libc.string cimport memset

from regatta.wire._command cimport COMMAND_BATCH_FIELD
from regatta.wire._command cimport COMMAND_DELETE_BATCH
from regatta.wire._command cimport COMMAND_PUT_BATCH
from regatta.wire._command cimport COMMAND_SEQUENCE
from regatta.wire._command cimport COMMAND_SEQUENCE_FIELD
from regatta.wire._reader cimport KIND_BYTES
from regatta.wire._reader cimport Slice
from regatta.wire._sized cimport bytes_size
from regatta.wire._sized cimport bytes_write
from regatta.wire._sized cimport head_write
from regatta.wire._sized cimport message_field_size
from regatta.wire._sized cimport number_size
from regatta.wire._sized cimport number_write
from regatta.wire._varint cimport varint_size
from regatta.wire._varint cimport varint_write

from confluent_kafka import Message

from regatta import limits

cdef enum:
    SKIPPED = -1                # stands for a command's type in a record that can't be stored
    TABLE_FIELD = 1
    TYPE_FIELD = 2
    SOURCE_FIELD = 100
    SOURCE_TAG_BYTES = 2
    TYPE_BYTES = 2              # the field with a command's type
    HEAD_BYTES_MAX = 6          # of a nested message of up to 32 GiB
    NUMBERS_BYTES_MAX = 44      # of a source: partition, previous, next and skipped

cdef size_t key_bytes_max = limits.key_bytes_max
cdef size_t value_bytes_max = limits.value_bytes_max

# Called through the class, a method needs no search for its name, and takes only a Message.
cdef object error_of = Message.error
cdef object topic_of = Message.topic
cdef object partition_of = Message.partition
cdef object offset_of = Message.offset
cdef object key_of = Message.key
cdef object value_of = Message.value

cdef struct Record:
    Record *following           # the partition's next one, or NULL
    int64_t offset
    int type                    # COMMAND_PUT_BATCH, COMMAND_DELETE_BATCH or SKIPPED
    Slice key                   # borrowed from the message, as is the value
    Slice value
    size_t pair_bytes           # of its encoded KeyValue
    # Neighbours of one type share a command: a run. In its first record this is the size of all
    # their fields, in the others 0.
    size_t run_bytes

cdef struct Piece:              # what a draft takes of one partition
    Record *first
    Record *last
    Record *run                 # begins the newest run; NULL if there is none
    int32_t partition
    Slice topic_id
    int64_t previous
    int64_t next
    uint64_t skipped
    size_t runs_bytes           # of the runs' fields; the newest one's are added at the end
    size_t source_bytes         # known at the end, as is all
    size_t bytes


@cython.final
cdef class Cursor:
    """Where a consumer is in a partition."""

    cdef readonly str topic
    cdef readonly int32_t partition
    cdef public int64_t position
    cdef public int64_t previous
    cdef public bytes topic_id

    def __init__(self, str topic not None, int32_t partition, int64_t position=0,
                 bytes topic_id not None=b""):
        self.topic = topic
        self.partition = partition
        self.position = self.previous = position
        self.topic_id = topic_id


@cython.final
cdef class Batch:
    """An encoded Command with records of one topic, and what the log should say about it."""

    cdef readonly str topic
    cdef readonly bytes command
    cdef readonly Py_ssize_t record_count
    cdef readonly Py_ssize_t skipped_count
    cdef readonly tuple partitions


@cython.final
cdef class Skip:
    """A record that no table can hold, and why."""

    cdef readonly str topic
    cdef readonly int32_t partition
    cdef readonly int64_t offset
    cdef readonly str reason


@cython.final
cdef class Polled:
    """What became of one poll's messages."""

    cdef readonly list batches
    cdef readonly list skips
    cdef readonly list events

    def __cinit__(self):
        self.batches, self.skips, self.events = [], [], []


def encode(list messages not None, dict cursors not None, size_t batch_bytes_max):
    cdef Polled polled = Polled()
    # A copy of the list, because the records borrow from what is in it.
    cdef tuple held = tuple(messages)
    cdef Gathering gathering = Gathering(len(held), polled)
    cdef Lane lane
    gathering.add_all(held, cursors)
    for topic, lanes in gathering.topics.items():
        pack(topic, lanes, batch_bytes_max, polled.batches)
    for lane in gathering.lanes.values():
        lane.cursor.position = lane.cursor.previous = lane.next
    return polled


# Gathering.

@cython.final
cdef class Lane:
    """One partition's records in a poll, oldest first. There is at least one."""

    cdef Cursor cursor
    cdef bytes topic_id         # the cursor's may be set anew while records borrow it
    cdef int64_t next           # the position behind the records
    cdef Record *first
    cdef Record *last


@cython.final
cdef class Gathering:
    """The records of a poll, by partition."""

    cdef Record *records
    cdef Py_ssize_t record_count
    cdef Polled polled
    cdef dict lanes             # by cursor
    cdef dict topics            # lists of lanes by topic

    def __cinit__(self, Py_ssize_t record_count_max, Polled polled):
        self.polled = polled
        self.lanes, self.topics = {}, {}
        self.records = <Record *>calloc(<size_t>max(record_count_max, 1), sizeof(Record))
        if self.records == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.records)

    cdef int add_all(self, tuple messages, dict cursors) except -1:
        # Records come in runs of one partition, and a run looks its lane up once.
        cdef str topic, run_topic = None
        cdef dict partitions = {}
        cdef object message, partition, run_partition = None
        cdef Cursor cursor = None
        cdef Lane lane = None
        cdef int64_t offset
        for message in messages:
            if error_of(message) is not None:
                self.polled.events.append(message)
                continue
            topic, partition = topic_of(message), partition_of(message)
            if topic != run_topic:
                partitions = cursors.get(topic, {})
                run_topic, run_partition = topic, None
            if partition != run_partition:
                cursor, run_partition = partitions.get(partition), partition
                lane = self.lanes.get(cursor)
            if cursor is None:
                continue
            offset = offset_of(message)
            if offset < (cursor.position if lane is None else lane.next):
                continue
            if lane is None:
                lane = self.open_lane(cursor)
            self.add(lane, offset, message)
        return 0

    cdef Lane open_lane(self, Cursor cursor):
        cdef Lane lane = Lane()
        lane.cursor, lane.topic_id, lane.next = cursor, cursor.topic_id, cursor.position
        self.lanes[cursor] = lane
        self.topics.setdefault(cursor.topic, []).append(lane)
        return lane

    cdef int add(self, Lane lane, int64_t offset, object message) except -1:
        cdef Record *record = &self.records[self.record_count]
        cdef object key = key_of(message), value = value_of(message)
        record.offset = offset
        record.key, record.value = borrow(key), borrow(value)
        if key is None or record.key.size - 1 >= key_bytes_max or (
                record.value.size > value_bytes_max):
            record.type = SKIPPED
            self.polled.skips.append(skip_of(lane.cursor, record, key is None))
        else:
            record.type = COMMAND_DELETE_BATCH if value is None else COMMAND_PUT_BATCH
            record.pair_bytes = bytes_size(record.key.size) + bytes_size(record.value.size)
        if lane.first == NULL:
            lane.first = record
        else:
            lane.last.following = record
        lane.last, lane.next = record, offset + 1
        self.record_count += 1
        return 0


cdef inline Slice borrow(object content) except *:
    """Return what bytes hold, and nothing for None."""
    cdef Slice found
    found.data, found.size = NULL, 0
    if content is not None:
        if type(content) is not bytes:
            raise TypeError(f"keys and values of records are bytes, not {type(content).__name__}")
        found.data = <const uint8_t *>PyBytes_AS_STRING(content)
        found.size = <size_t>len(<bytes>content)
    return found


cdef Skip skip_of(Cursor cursor, const Record *record, bint is_key_null):
    cdef Skip skip = Skip()
    skip.topic, skip.partition, skip.offset = cursor.topic, cursor.partition, record.offset
    if is_key_null:
        skip.reason = "its key is null"
    elif record.key.size == 0:
        skip.reason = "its key is empty"
    elif record.key.size > key_bytes_max:
        skip.reason = f"its key has {record.key.size:,} bytes"
    else:
        skip.reason = f"its value has {record.value.size:,} bytes"
    return skip


# Packing.

cdef int pack(str topic, list lanes, size_t bytes_max, list batches) except -1:
    """Append batches with all records of a topic's lanes."""
    cdef Draft draft = Draft(topic, len(lanes))
    cdef Lane lane
    cdef Record *record
    cdef int64_t previous
    for lane in lanes:
        record, previous = lane.first, lane.cursor.previous
        while record != NULL:
            if not draft.take(lane, previous, record, bytes_max):
                batches.append(draft.finish())
                continue
            previous, record = record.offset + 1, record.following
    batches.append(draft.finish())
    return 0


@cython.final
cdef class Draft:
    """A batch in the making, which has a piece for each partition. It begins anew once finished."""

    cdef str topic
    cdef bytes name             # the topic's, encoded: the table's, too
    cdef Slice table            # borrows it
    cdef Piece *pieces
    cdef Py_ssize_t piece_count
    cdef Lane lane              # of the newest piece
    cdef size_t reckoned_bytes  # of the command, with each nested message's head at its longest
    cdef Py_ssize_t record_count
    cdef Py_ssize_t skipped_count

    def __cinit__(self, str topic, Py_ssize_t piece_count_max):
        self.topic, self.name = topic, topic.encode()
        self.table = borrow(self.name)
        self.pieces = <Piece *>calloc(<size_t>piece_count_max, sizeof(Piece))
        if self.pieces == NULL:
            raise MemoryError
        self.clear()

    def __dealloc__(self):
        free(self.pieces)

    cdef void clear(self) noexcept:
        self.piece_count = self.record_count = self.skipped_count = 0
        self.lane = None
        self.reckoned_bytes = bytes_size(self.table.size) + TYPE_BYTES

    cdef bint take(self, Lane lane, int64_t previous, Record *record, size_t bytes_max) except -1:
        """Add a record of *lane*, or tell that it doesn't fit. One always fits into an empty draft.

        *previous* is the position that the record finds stored.
        """
        cdef bint begins_piece = lane is not self.lane
        cdef bint begins_run = record.type != SKIPPED and (
            begins_piece or self.pieces[self.piece_count - 1].run == NULL
            or self.pieces[self.piece_count - 1].run.type != record.type)
        cdef size_t more = 0
        if record.type != SKIPPED:
            more = message_field_size(record.pair_bytes)
        if begins_run:
            more += HEAD_BYTES_MAX + TYPE_BYTES
        if begins_piece:
            more += piece_bytes_max(lane, self.table.size)
        if self.piece_count and self.reckoned_bytes + more > bytes_max:
            return False
        self.reckoned_bytes += more
        if begins_piece:
            self._begin_piece(lane, previous, record)
        self._extend_piece(&self.pieces[self.piece_count - 1], record, begins_run)
        return True

    cdef int _begin_piece(self, Lane lane, int64_t previous, Record *first) except -1:
        cdef Piece *piece = &self.pieces[self.piece_count]
        memset(piece, 0, sizeof(Piece))
        piece.first, piece.partition, piece.previous = first, lane.cursor.partition, previous
        piece.topic_id = borrow(lane.topic_id)
        self.piece_count += 1
        self.lane = lane
        return 0

    cdef void _extend_piece(self, Piece *piece, Record *record, bint begins_run) noexcept:
        piece.last, piece.next = record, record.offset + 1
        record.run_bytes = 0
        if record.type == SKIPPED:
            piece.skipped += 1
            self.skipped_count += 1
            return
        if begins_run:
            run_close(piece)
            piece.run = record
        piece.run.run_bytes += message_field_size(record.pair_bytes)
        self.record_count += 1

    cdef Batch finish(self):
        """Return what was added as a batch, and begin anew."""
        cdef Batch batch = Batch()
        cdef size_t size = bytes_size(self.table.size) + TYPE_BYTES
        cdef Py_ssize_t i
        cdef uint8_t *at
        for i in range(self.piece_count):
            piece_close(&self.pieces[i], self.table.size)
            size += message_field_size(self.pieces[i].bytes)
        batch.topic = self.topic
        batch.record_count, batch.skipped_count = self.record_count, self.skipped_count
        batch.partitions = tuple(
            [(self.pieces[i].partition, self.pieces[i].next) for i in range(self.piece_count)])
        batch.command = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
        at = <uint8_t *>PyBytes_AS_STRING(batch.command)
        with nogil:
            at = bytes_write(at, TABLE_FIELD, self.table.data, self.table.size)
            at = number_write(at, TYPE_FIELD, COMMAND_SEQUENCE)
            for i in range(self.piece_count):
                at = piece_write(at, &self.pieces[i], self.table)
        self.clear()
        return batch


cdef inline size_t piece_bytes_max(Lane lane, size_t topic_bytes) except 0:
    """Return what a piece takes beside its runs, at most."""
    return (2 * HEAD_BYTES_MAX + TYPE_BYTES + bytes_size(topic_bytes)
            + bytes_size(borrow(lane.topic_id).size) + NUMBERS_BYTES_MAX)


# Sizes, known once a piece is whole.

cdef void run_close(Piece *piece) noexcept nogil:
    if piece.run != NULL:
        piece.runs_bytes += message_field_size(TYPE_BYTES + piece.run.run_bytes)


cdef void piece_close(Piece *piece, size_t topic_bytes) noexcept nogil:
    run_close(piece)
    piece.source_bytes = (
        bytes_size(topic_bytes) + number_size(<uint64_t>piece.partition)
        + number_size(<uint64_t>piece.previous) + number_size(<uint64_t>piece.next)
        + number_size(piece.skipped) + bytes_size(piece.topic_id.size))
    piece.bytes = (TYPE_BYTES + piece.runs_bytes + SOURCE_TAG_BYTES
                   + varint_size(piece.source_bytes) + piece.source_bytes)


# Bytes. Each writes in place and returns the byte after.

cdef uint8_t *piece_write(uint8_t *at, const Piece *piece, Slice topic) noexcept nogil:
    cdef const Record *record = piece.first
    at = head_write(at, COMMAND_SEQUENCE_FIELD, piece.bytes)
    at = number_write(at, TYPE_FIELD, COMMAND_SEQUENCE)
    while True:
        if record.run_bytes:
            at = head_write(at, COMMAND_SEQUENCE_FIELD, TYPE_BYTES + record.run_bytes)
            at = number_write(at, TYPE_FIELD, <uint64_t>record.type)
        if record.type != SKIPPED:
            at = head_write(at, COMMAND_BATCH_FIELD, record.pair_bytes)
            at = bytes_write(at, 1, record.key.data, record.key.size)
            at = bytes_write(at, 4, record.value.data, record.value.size)
        if record == piece.last:
            return source_write(at, piece, topic)
        record = record.following


cdef uint8_t *source_write(uint8_t *at, const Piece *piece, Slice topic) noexcept nogil:
    at = varint_write(at, SOURCE_FIELD << 3 | KIND_BYTES)
    at = varint_write(at, piece.source_bytes)
    at = bytes_write(at, 1, topic.data, topic.size)
    at = number_write(at, 2, <uint64_t>piece.partition)
    at = number_write(at, 3, <uint64_t>piece.previous)
    at = number_write(at, 4, <uint64_t>piece.next)
    at = number_write(at, 5, piece.skipped)
    return bytes_write(at, 6, piece.topic_id.data, piece.topic_id.size)
