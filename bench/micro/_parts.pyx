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
from regatta.store._lookup cimport LOOKUP_STEPS
from regatta.store._lookup cimport Lookup
from regatta.store._lookup cimport lookup_advance
from regatta.store._lookup cimport lookup_begin
from regatta.store._lookup cimport lookup_finish
from regatta.store._record cimport STORED_KEY_MAX
from regatta.store._record cimport record_size
from regatta.store._record cimport record_write
from regatta.store._record cimport stored_key
from regatta.store._view cimport View
from regatta.table._request cimport Request
from regatta.table._request cimport request_decode
from regatta.wire._checksum cimport crc32c
from regatta.wire._reader cimport Slice

cdef enum:
    RECORD_BYTES_MAX = 1024
    KEY_BYTES_MAX = 64
    SIDE_BY_SIDE = 8            # lookups, a power of two over LOOKUP_STEPS


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


def look_up_pairs(View view not None, uint64_t table, list keys not None):
    """Find the same by lookups side by side, as the calls of one long batch do."""
    cdef uint8_t[SIDE_BY_SIDE][KEY_BYTES_MAX] key_bytes
    cdef Lookup[SIDE_BY_SIDE] lookups
    cdef Lookup *lookup
    cdef MDB_val stored
    cdef Py_ssize_t i, j, count = len(keys)
    cdef uint32_t digest = 0
    check(view.renew())
    for i in range(count + LOOKUP_STEPS):
        if i < count:
            if len(keys[i]) > KEY_BYTES_MAX - 8:
                raise ValueError("too large")
            stored_key(key_bytes[i % SIDE_BY_SIDE], table, slice_of(keys[i]), &stored)
            lookup_begin(&lookups[i % SIDE_BY_SIDE], <uint8_t *>stored.mv_data, stored.mv_size)
        for j in range(max(0, i + 1 - LOOKUP_STEPS), min(i + 1, count)):
            lookup_advance(&lookups[j % SIDE_BY_SIDE], &view.pages)
        if i >= LOOKUP_STEPS:
            lookup = &lookups[(i - LOOKUP_STEPS) % SIDE_BY_SIDE]
            if not lookup_finish(lookup, &view.pages):
                raise LookupError(keys[i - LOOKUP_STEPS])
            digest = digest_of(digest, <uint8_t *>lookup.value.mv_data, lookup.value.mv_size)
    view.release()
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
