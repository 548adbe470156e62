from libc.stddef cimport size_t
from libc.stdint cimport uint16_t
from libc.string cimport memcpy
from libc.string cimport memset

from regatta.store._catalogue cimport CATALOGUE_DAMAGED
from regatta.store._env cimport cursor_close
from regatta.store._env cimport cursor_delete
from regatta.store._env cimport cursor_get
from regatta.store._env cimport cursor_open
from regatta.store._env cimport get
from regatta.store._env cimport put
from regatta.store._lmdb_h cimport MDB_NEXT
from regatta.store._lmdb_h cimport MDB_NOTFOUND
from regatta.store._lmdb_h cimport MDB_SET_RANGE
from regatta.store._record cimport number_read
from regatta.store._record cimport number_write
from regatta.store._record cimport stored_checksum
from regatta.store._record cimport stored_is_whole

from regatta.errors import Code

cdef int ABORTED = Code.ABORTED
cdef int DATA_LOSS = Code.DATA_LOSS
cdef int INTERNAL = Code.INTERNAL

cdef enum:
    GROUP_KEY_SIZE = 9          # a letter and the group's id
    HEAD_KEY_SIZE = 13          # the partition as well; the topic follows
    KEY_SIZE_MAX = HEAD_KEY_SIZE + TOPIC_SIZE_MAX

cdef struct PositionRecord:     # little-endian; the topic's id follows
    uint32_t checksum           # of the key and of everything after this field
    uint16_t topic_id_size
    uint16_t reserved
    int64_t next
    uint64_t applied
    uint64_t skipped

cdef enum:
    RECORD_SIZE_MAX = 32 + TOPIC_ID_SIZE_MAX


# The rule.

cdef int position_claim(MDB_txn *txn, MDB_dbi meta, uint64_t group, const Source *source,
                        SourcePosition *position, Outcome *outcome) noexcept nogil:
    cdef int code
    if not source_is_good(source):
        outcome.code, outcome.text = INTERNAL, b"malformed command in the log"
        return 0
    code = _load(txn, meta, group, source, position)
    if code == CATALOGUE_DAMAGED:
        outcome.code, outcome.text = DATA_LOSS, b"a stored record is damaged"
        return 0
    if code == 0 and position.next != source.previous:
        outcome.code, outcome.text = ABORTED, b"another batch came first"
    return code


cdef int position_advance(MDB_txn *txn, MDB_dbi meta, uint64_t group, const Source *source,
                          SourcePosition *position, uint64_t record_count) noexcept nogil:
    position.next = source.next
    position.applied += record_count
    position.skipped += <uint64_t>source.skipped
    if source.topic_id.size:
        position.topic_id_size = <uint32_t>source.topic_id.size
        memcpy(position.topic_id, source.topic_id.data, source.topic_id.size)
    return _store(txn, meta, group, position)


cdef bint source_is_good(const Source *source) noexcept nogil:
    """Sources are made by us; this keeps a foreign log from doing harm."""
    cdef size_t i
    if not 1 <= source.topic.size <= TOPIC_SIZE_MAX or source.topic_id.size > TOPIC_ID_SIZE_MAX:
        return False
    for i in range(source.topic.size):
        if source.topic.data[i] >= 0x80:
            return False
    return (source.partition >= 0 and source.previous >= 0 and source.next >= 0
            and source.skipped >= 0)


# Records.

cdef void _key(uint8_t *room, uint64_t group, const SourcePosition *position,
               MDB_val *key) noexcept nogil:
    cdef int i
    room[0] = c'p'
    number_write(room + 1, group)
    for i in range(4):
        room[GROUP_KEY_SIZE + i] = <uint8_t>(<uint32_t>position.partition >> (24 - 8 * i))
    memcpy(room + HEAD_KEY_SIZE, position.topic, position.topic_size)
    key.mv_data, key.mv_size = room, HEAD_KEY_SIZE + position.topic_size


cdef int _load(MDB_txn *txn, MDB_dbi meta, uint64_t group, const Source *source,
               SourcePosition *position) noexcept nogil:
    """Load the position of a good *source*; one that isn't stored is 0."""
    cdef uint8_t[KEY_SIZE_MAX] room
    cdef MDB_val key, value
    cdef int code
    memset(position, 0, sizeof(SourcePosition))
    position.partition = source.partition
    position.topic_size = <uint32_t>source.topic.size
    memcpy(position.topic, source.topic.data, source.topic.size)
    _key(room, group, position, &key)
    code = get(txn, meta, &key, &value)
    if code != 0:
        return 0 if code == MDB_NOTFOUND else code
    return position_parse(&key, &value, group, position)


cdef int _store(MDB_txn *txn, MDB_dbi meta, uint64_t group,
                const SourcePosition *position) noexcept nogil:
    cdef uint8_t[KEY_SIZE_MAX] room
    cdef uint8_t[RECORD_SIZE_MAX] content
    cdef PositionRecord record
    cdef MDB_val key, value
    _key(room, group, position, &key)
    record.checksum = record.reserved = 0
    record.topic_id_size = <uint16_t>position.topic_id_size
    record.next, record.applied = position.next, position.applied
    record.skipped = position.skipped
    memcpy(content, &record, sizeof(record))
    memcpy(content + sizeof(record), position.topic_id, position.topic_id_size)
    value.mv_data, value.mv_size = content, sizeof(record) + position.topic_id_size
    record.checksum = stored_checksum(&key, &value)
    memcpy(content, &record.checksum, sizeof(record.checksum))
    return put(txn, meta, &key, &value, 0)


cdef int position_parse(const MDB_val *key, const MDB_val *value, uint64_t group,
                        SourcePosition *position) noexcept nogil:
    cdef PositionRecord record
    cdef const uint8_t *key_bytes = <const uint8_t *>key.mv_data
    cdef uint32_t partition = 0
    cdef int i
    if not _is_of_group(key, group):
        return MDB_NOTFOUND
    if not HEAD_KEY_SIZE < key.mv_size <= KEY_SIZE_MAX:
        return CATALOGUE_DAMAGED
    if value.mv_size < sizeof(record) or not stored_is_whole(key, value):
        return CATALOGUE_DAMAGED
    memcpy(&record, value.mv_data, sizeof(record))
    if (record.topic_id_size > TOPIC_ID_SIZE_MAX
            or value.mv_size != sizeof(record) + record.topic_id_size):
        return CATALOGUE_DAMAGED
    for i in range(4):
        partition = partition << 8 | key_bytes[GROUP_KEY_SIZE + i]
    position.next, position.applied = record.next, record.applied
    position.skipped = record.skipped
    position.partition = <int32_t>partition
    position.topic_size = <uint32_t>(key.mv_size - HEAD_KEY_SIZE)
    memcpy(position.topic, key_bytes + HEAD_KEY_SIZE, position.topic_size)
    position.topic_id_size = record.topic_id_size
    memcpy(position.topic_id, <const uint8_t *>value.mv_data + sizeof(record),
           record.topic_id_size)
    return 0


cdef bint _is_of_group(const MDB_val *key, uint64_t group) noexcept nogil:
    cdef const uint8_t *key_bytes = <const uint8_t *>key.mv_data
    return (key.mv_size >= GROUP_KEY_SIZE and key_bytes[0] == c'p'
            and number_read(key_bytes + 1) == group)


cdef int positions_first(MDB_cursor *cursor, uint64_t group, MDB_val *key,
                         MDB_val *value) noexcept nogil:
    cdef uint8_t[GROUP_KEY_SIZE] room
    room[0] = c'p'
    number_write(room + 1, group)
    key.mv_data, key.mv_size = room, GROUP_KEY_SIZE
    return cursor_get(cursor, key, value, MDB_SET_RANGE)


cdef int positions_drop(MDB_txn *txn, MDB_dbi meta, uint64_t group) noexcept nogil:
    # Whether they are whole or not: that is how damaged ones are mended.
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key, value
    cdef int code = cursor_open(txn, meta, &cursor)
    if code != 0:
        return code
    code = positions_first(cursor, group, &key, &value)
    while code == 0 and _is_of_group(&key, group):
        code = cursor_delete(cursor)
        if code == 0:
            code = cursor_get(cursor, &key, &value, MDB_NEXT)
    cursor_close(cursor)
    return 0 if code == MDB_NOTFOUND else code
