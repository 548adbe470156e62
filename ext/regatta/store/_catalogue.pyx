from libc.stdint cimport uint16_t
from libc.string cimport memcpy
from libc.string cimport memset

from regatta.store._env cimport cursor_close
from regatta.store._env cimport cursor_get
from regatta.store._env cimport cursor_open
from regatta.store._env cimport delete
from regatta.store._env cimport get
from regatta.store._env cimport put
from regatta.store._lmdb_h cimport MDB_NOTFOUND
from regatta.store._lmdb_h cimport MDB_SET_RANGE
from regatta.store._lmdb_h cimport MDB_cursor
from regatta.store._record cimport number_read
from regatta.store._record cimport number_write
from regatta.store._record cimport stored_checksum
from regatta.store._record cimport stored_is_whole

cdef enum:
    ID_KEY_SIZE = 9             # a letter and a number
    GROUP_RECORD_MAX = 1024     # more than a record with the longest name and membership takes

cdef struct GroupRecord:        # little-endian; the table's name and the membership follow
    uint32_t checksum           # of the key and of everything after this field
    uint16_t name_size
    uint16_t membership_size    # these two were one number in format 1, where this was 0
    uint64_t applied_index
    uint64_t applied_term
    Table table

cdef struct CountersRecord:
    uint32_t checksum
    uint32_t reserved
    Counters counters


cdef inline void id_key(uint8_t *room, uint8_t letter, uint64_t id, MDB_val *key) noexcept nogil:
    room[0] = letter
    number_write(room + 1, id)
    key.mv_data, key.mv_size = room, ID_KEY_SIZE


cdef int group_load(MDB_txn *txn, MDB_dbi meta, uint64_t id, Group *group) noexcept nogil:
    cdef uint8_t[ID_KEY_SIZE] room
    cdef MDB_val key, value
    id_key(room, c'g', id, &key)
    cdef int code = get(txn, meta, &key, &value)
    if code != 0:
        return code
    return group_parse(&key, &value, group)


cdef int group_parse(const MDB_val *key, const MDB_val *value, Group *group) noexcept nogil:
    cdef GroupRecord record
    cdef const uint8_t *key_bytes = <const uint8_t *>key.mv_data
    if key.mv_size != ID_KEY_SIZE or key_bytes[0] != c'g':
        return MDB_NOTFOUND
    if value.mv_size < sizeof(record) or not stored_is_whole(key, value):
        return CATALOGUE_DAMAGED
    memcpy(&record, value.mv_data, sizeof(record))
    if (record.name_size > NAME_SIZE_MAX or record.membership_size > MEMBERSHIP_SIZE_MAX
            or value.mv_size != sizeof(record) + record.name_size + record.membership_size):
        return CATALOGUE_DAMAGED
    memset(group, 0, sizeof(Group))
    group.id = number_read(key_bytes + 1)
    group.applied_index, group.applied_term = record.applied_index, record.applied_term
    group.table = record.table
    group.name_size = record.name_size
    group.membership_size = record.membership_size
    memcpy(group.name, <const uint8_t *>value.mv_data + sizeof(record), record.name_size)
    memcpy(group.membership, <const uint8_t *>value.mv_data + sizeof(record) + record.name_size,
           record.membership_size)
    return 0


cdef int group_store(MDB_txn *txn, MDB_dbi meta, const Group *group) noexcept nogil:
    cdef uint8_t[ID_KEY_SIZE] room
    cdef uint8_t[GROUP_RECORD_MAX] content
    cdef GroupRecord record
    cdef MDB_val key, value
    id_key(room, c'g', group.id, &key)
    record.checksum, record.name_size = 0, <uint16_t>group.name_size
    record.membership_size = <uint16_t>group.membership_size
    record.applied_index, record.applied_term = group.applied_index, group.applied_term
    record.table = group.table
    memcpy(content, &record, sizeof(record))
    memcpy(content + sizeof(record), group.name, group.name_size)
    memcpy(content + sizeof(record) + group.name_size, group.membership, group.membership_size)
    value.mv_data = content
    value.mv_size = sizeof(record) + group.name_size + group.membership_size
    record.checksum = stored_checksum(&key, &value)
    memcpy(content, &record.checksum, sizeof(record.checksum))
    return put(txn, meta, &key, &value, 0)


cdef int counters_load(MDB_txn *txn, MDB_dbi meta, Counters *counters) noexcept nogil:
    cdef MDB_val key, value
    cdef CountersRecord record
    key.mv_data, key.mv_size = <char *>b"i", 1
    cdef int code = get(txn, meta, &key, &value)
    if code == MDB_NOTFOUND:    # a new environment
        counters.next_group, counters.next_table, counters.version = FIRST_TABLE_GROUP, 1, 0
        return 0
    if code != 0:
        return code
    if value.mv_size != sizeof(record) or not stored_is_whole(&key, &value):
        return CATALOGUE_DAMAGED
    memcpy(&record, value.mv_data, sizeof(record))
    counters[0] = record.counters
    return 0


cdef int counters_store(MDB_txn *txn, MDB_dbi meta, const Counters *counters) noexcept nogil:
    cdef MDB_val key, value
    cdef CountersRecord record
    key.mv_data, key.mv_size = <char *>b"i", 1
    record.checksum = record.reserved = 0
    record.counters = counters[0]
    value.mv_data, value.mv_size = &record, sizeof(record)
    record.checksum = stored_checksum(&key, &value)
    return put(txn, meta, &key, &value, 0)


cdef inline void name_key(uint8_t *room, Slice name, MDB_val *key) noexcept nogil:
    room[0] = c't'
    memcpy(room + 1, name.data, name.size)
    key.mv_data, key.mv_size = room, 1 + name.size


cdef int name_lookup(MDB_txn *txn, MDB_dbi meta, Slice name, uint64_t *group) noexcept nogil:
    cdef uint8_t[1 + NAME_SIZE_MAX] room
    cdef MDB_val key, value
    name_key(room, name, &key)
    cdef int code = get(txn, meta, &key, &value)
    if code != 0:
        return code
    if value.mv_size != 8:
        return CATALOGUE_DAMAGED
    group[0] = number_read(<const uint8_t *>value.mv_data)
    return 0


cdef int name_store(MDB_txn *txn, MDB_dbi meta, Slice name, uint64_t group) noexcept nogil:
    cdef uint8_t[1 + NAME_SIZE_MAX] room
    cdef uint8_t[8] number
    cdef MDB_val key, value
    name_key(room, name, &key)
    number_write(number, group)
    value.mv_data, value.mv_size = number, 8
    return put(txn, meta, &key, &value, 0)


cdef int garbage_add(MDB_txn *txn, MDB_dbi meta, uint64_t table) noexcept nogil:
    cdef uint8_t[ID_KEY_SIZE] room
    cdef MDB_val key, value
    id_key(room, c'x', table, &key)
    value.mv_data, value.mv_size = room, 0    # nothing, and yet no null pointer
    return put(txn, meta, &key, &value, 0)


cdef int garbage_first(MDB_txn *txn, MDB_dbi meta, uint64_t *table) noexcept nogil:
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key, value
    cdef int code = cursor_open(txn, meta, &cursor)
    if code != 0:
        return code
    key.mv_data, key.mv_size = <char *>b"x", 1
    code = cursor_get(cursor, &key, &value, MDB_SET_RANGE)
    if code == 0:
        if key.mv_size == ID_KEY_SIZE and (<const uint8_t *>key.mv_data)[0] == c'x':
            table[0] = number_read(<const uint8_t *>key.mv_data + 1)
        else:
            code = MDB_NOTFOUND
    cursor_close(cursor)
    return code


cdef int garbage_remove(MDB_txn *txn, MDB_dbi meta, uint64_t table) noexcept nogil:
    cdef uint8_t[ID_KEY_SIZE] room
    cdef MDB_val key
    id_key(room, c'x', table, &key)
    return delete(txn, meta, &key)
