"""How a pair is stored.

Key: table id (8 bytes, big-endian) + user key. Value: CRC-32C of key and tail (4 bytes,
little-endian) + the tail of the pair's encoded KeyValue message: both revisions, then the
value. So an answer is made by copying the tail behind the encoded key.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from regatta.store._lmdb_h cimport MDB_val
from regatta.wire._checksum cimport crc32c
from regatta.wire._reader cimport Slice
from regatta.wire._varint cimport varint_read
from regatta.wire._varint cimport varint_size
from regatta.wire._varint cimport varint_write

cdef extern from *:
    """
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define big_endian(number) __builtin_bswap64(number)
    #else
    #define big_endian(number) (number)
    #endif
    """
    uint64_t big_endian(uint64_t number) nogil      # and back; loops over bytes are not seen through

cdef enum:
    TABLE_ID_SIZE = 8
    USER_KEY_MAX = 1024
    STORED_KEY_MAX = 1032
    CHECKSUM_SIZE = 4
    TAG_CREATE_REVISION = 0x10
    TAG_MOD_REVISION = 0x18
    TAG_VALUE = 0x22

cdef struct Record:             # borrows the transaction's memory
    Slice tail                  # of the encoded KeyValue
    size_t revisions_size       # bytes at the front of tail that hold the revisions
    uint64_t create_revision
    uint64_t mod_revision
    Slice value


cdef inline void number_write(uint8_t *at, uint64_t number) noexcept nogil:
    number = big_endian(number)
    memcpy(at, &number, sizeof(number))


cdef inline uint64_t number_read(const uint8_t *at) noexcept nogil:
    cdef uint64_t number
    memcpy(&number, at, sizeof(number))
    return big_endian(number)


cdef inline void stored_key(uint8_t *bytes, uint64_t table, Slice user_key, MDB_val *key) noexcept nogil:
    """Make *key* in *bytes*; the user key is at most USER_KEY_MAX long."""
    number_write(bytes, table)
    memcpy(bytes + TABLE_ID_SIZE, user_key.data, user_key.size)
    key.mv_data = bytes
    key.mv_size = TABLE_ID_SIZE + user_key.size


cdef inline uint32_t stored_checksum(const MDB_val *key, const MDB_val *value) noexcept nogil:
    """Return what a stored value's first four bytes must be."""
    cdef uint32_t crc = crc32c(0, <const uint8_t *>key.mv_data, key.mv_size)
    return crc32c(crc, <const uint8_t *>value.mv_data + CHECKSUM_SIZE, value.mv_size - CHECKSUM_SIZE)


cdef inline bint stored_is_whole(const MDB_val *key, const MDB_val *value) noexcept nogil:
    cdef uint32_t stored
    if value.mv_size < CHECKSUM_SIZE:
        return False
    memcpy(&stored, value.mv_data, CHECKSUM_SIZE)
    return stored == stored_checksum(key, value)


cdef inline int record_open(const MDB_val *key, const MDB_val *value, Record *record) noexcept nogil:
    """Check a stored pair and take it apart. Returns -1 if it is damaged."""
    if not stored_is_whole(key, value):
        return -1
    return record_parse(value, record)


cdef inline int record_parse(const MDB_val *value, Record *record) noexcept nogil:
    """Take a stored pair apart without checking its checksum. Returns -1 if it makes no sense."""
    cdef const uint8_t *at = <const uint8_t *>value.mv_data + CHECKSUM_SIZE
    cdef const uint8_t *end = <const uint8_t *>value.mv_data + value.mv_size
    cdef uint64_t size
    if value.mv_size < CHECKSUM_SIZE + 4:
        return -1
    record.tail.data = at
    record.tail.size = <size_t>(end - at)
    if at[0] != TAG_CREATE_REVISION:
        return -1
    at = varint_read(at + 1, end, &record.create_revision)
    if at == NULL or at == end or at[0] != TAG_MOD_REVISION:
        return -1
    at = varint_read(at + 1, end, &record.mod_revision)
    if at == NULL:
        return -1
    record.revisions_size = <size_t>(at - record.tail.data)
    record.value.data = at
    record.value.size = 0
    if at == end:
        return 0
    if at[0] != TAG_VALUE:
        return -1
    at = varint_read(at + 1, end, &size)
    if at == NULL or size != <uint64_t>(end - at):
        return -1
    record.value.data = at
    record.value.size = <size_t>size
    return 0


cdef inline size_t record_size(uint64_t create_revision, uint64_t mod_revision, size_t value_size) noexcept nogil:
    cdef size_t size = CHECKSUM_SIZE + 2 + varint_size(create_revision) + varint_size(mod_revision)
    if value_size:
        size += 1 + varint_size(value_size) + value_size
    return size


cdef inline void record_write(const MDB_val *key, MDB_val *room, uint64_t create_revision,
                              uint64_t mod_revision, Slice value) noexcept nogil:
    """Fill *room*, which is record_size(...) bytes long."""
    cdef uint8_t *at = <uint8_t *>room.mv_data + CHECKSUM_SIZE
    cdef uint32_t crc
    at[0] = TAG_CREATE_REVISION
    at = varint_write(at + 1, create_revision)
    at[0] = TAG_MOD_REVISION
    at = varint_write(at + 1, mod_revision)
    if value.size:
        at[0] = TAG_VALUE
        at = varint_write(at + 1, value.size)
        memcpy(at, value.data, value.size)
    crc = stored_checksum(key, room)
    memcpy(room.mv_data, &crc, CHECKSUM_SIZE)
