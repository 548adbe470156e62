"""Parts of a read and a write, each as a loop in C that returns a digest of what it has made."""
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t

from _commit cimport check
from regatta.store._env cimport Environment
from regatta.store._env cimport get
from regatta.store._env cimport txn_abort
from regatta.store._env cimport txn_begin
from regatta.store._lmdb_h cimport MDB_RDONLY
from regatta.store._lmdb_h cimport MDB_txn
from regatta.store._lmdb_h cimport MDB_val
from regatta.store._record cimport STORED_KEY_MAX
from regatta.store._record cimport record_size
from regatta.store._record cimport record_write
from regatta.store._record cimport stored_key
from regatta.table._request cimport Request
from regatta.table._request cimport request_decode
from regatta.wire._checksum cimport crc32c
from regatta.wire._reader cimport Slice

cdef enum:
    RECORD_BYTES_MAX = 1024


def read_pairs(Environment data not None, uint64_t table, list keys not None):
    """Find every key's stored value in one transaction."""
    cdef uint8_t[STORED_KEY_MAX] key_bytes
    cdef MDB_txn *txn = NULL
    cdef MDB_val stored, value
    cdef uint32_t digest = 0
    cdef int code = 0
    check(txn_begin(data.env, NULL, MDB_RDONLY, &txn))
    for key in keys:
        stored_key(key_bytes, table, slice_of(key), &stored)
        code = get(txn, data.data, &stored, &value)
        if code != 0:
            break
        digest = digest_of(digest, <const uint8_t *>value.mv_data, value.mv_size)
    txn_abort(txn)
    check(code)
    return digest


def encode_records(bytes key not None, bytes value not None, uint64_t count):
    """Make *count* stored values of the same key and value, each of another revision."""
    cdef uint8_t[STORED_KEY_MAX] key_bytes
    cdef uint8_t[RECORD_BYTES_MAX] room_bytes
    cdef MDB_val stored, room
    cdef Slice content = slice_of(value)
    cdef uint32_t digest = 0
    cdef uint64_t revision
    if len(key) > STORED_KEY_MAX - 8 or record_size(count, count, content.size) > RECORD_BYTES_MAX:
        raise ValueError("too large")
    stored_key(key_bytes, 1, slice_of(key), &stored)
    room.mv_data = room_bytes
    with nogil:
        for revision in range(1, count + 1):
            room.mv_size = record_size(revision, revision, content.size)
            record_write(&stored, &room, revision, revision, content)
            digest = digest_of(digest, room_bytes, room.mv_size)
    return digest


def decode_requests(bytes message not None, uint64_t count):
    """Decode an encoded RangeRequest *count* times."""
    cdef Slice whole = slice_of(message)
    cdef Request request
    cdef uint32_t digest = 0
    cdef uint64_t _i
    with nogil:
        for _i in range(count):
            if request_decode(whole, &request) < 0:
                with gil:
                    raise ValueError("malformed")
            digest = digest_of(digest, request.table.data, request.table.size)
            digest = digest_of(digest, request.query.key.data, request.query.key.size)
            digest += <uint32_t>request.query.limit
    return digest


cdef inline uint32_t digest_of(uint32_t digest, const uint8_t *data, size_t size) noexcept nogil:
    # Both ends and the length tell what was made, and cost little beside the making.
    cdef size_t part = min(size, <size_t>8)
    return crc32c(crc32c(digest + <uint32_t>size, data, part), data + size - part, part)


cdef Slice slice_of(bytes content) except *:
    cdef Slice borrowed
    borrowed.data, borrowed.size = <const uint8_t *><char *>content, <size_t>len(content)
    return borrowed
