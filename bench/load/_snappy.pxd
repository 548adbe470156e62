"""Snappy's framed format, as far as a load client needs it: plain chunks out, all chunks in.

It is not the daemon's own code, so that the one checks the other.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from regatta.wire._buffer cimport Buffer
from regatta.wire._buffer cimport buffer_append
from regatta.wire._buffer cimport buffer_reserve
from regatta.wire._checksum cimport crc32c
from regatta.wire._varint cimport varint_read

cdef enum:
    CHUNK_HEAD_BYTES = 4
    CHUNK_CHECKSUM_BYTES = 4
    CHUNK_BYTES_MAX = 65536
    STREAM_HEAD_BYTES = 10
    SNAPPY_OVERHEAD_BYTES = 18
    CHUNK_COMPRESSED = 0x00
    CHUNK_PLAIN = 0x01
    CHUNK_SKIPPABLE = 0x80      # and all above it


cdef inline uint32_t masked_checksum(const uint8_t *data, size_t size) noexcept nogil:
    cdef uint32_t crc = crc32c(0, data, size)
    return (crc >> 15 | crc << 17) + <uint32_t>0xA282EAD8


cdef inline void snappy_begin(uint8_t *at, const uint8_t *message, size_t size) noexcept nogil:
    """Write what stands before a message of at most CHUNK_BYTES_MAX that is sent as it is."""
    cdef uint32_t checksum = masked_checksum(message, size)
    cdef size_t chunk_size = size + CHUNK_CHECKSUM_BYTES
    memcpy(at, b"\xff\x06\x00\x00sNaPpY", STREAM_HEAD_BYTES)
    at += STREAM_HEAD_BYTES
    at[0] = CHUNK_PLAIN
    at[1], at[2], at[3] = chunk_size & 0xFF, chunk_size >> 8 & 0xFF, chunk_size >> 16
    memcpy(at + CHUNK_HEAD_BYTES, &checksum, CHUNK_CHECKSUM_BYTES)


cdef inline int snappy_decode(const uint8_t *at, size_t size, Buffer *out) noexcept nogil:
    """Append what a framed stream holds to *out*. Returns -1 if it is damaged."""
    cdef const uint8_t *end = at + size
    cdef size_t chunk_size, before
    cdef uint32_t checksum
    cdef uint8_t kind
    while at < end:
        if end - at < CHUNK_HEAD_BYTES:
            return -1
        kind, chunk_size = at[0], at[1] | <size_t>at[2] << 8 | <size_t>at[3] << 16
        at += CHUNK_HEAD_BYTES
        if chunk_size > <size_t>(end - at):
            return -1
        if kind == CHUNK_COMPRESSED or kind == CHUNK_PLAIN:
            if chunk_size < CHUNK_CHECKSUM_BYTES:
                return -1
            before = out.size
            memcpy(&checksum, at, CHUNK_CHECKSUM_BYTES)
            if kind == CHUNK_PLAIN:
                if buffer_append(out, at + CHUNK_CHECKSUM_BYTES, chunk_size - CHUNK_CHECKSUM_BYTES) < 0:
                    return -1
            elif _block_decode(at + CHUNK_CHECKSUM_BYTES, at + chunk_size, out) < 0:
                return -1
            if masked_checksum(out.data + before, out.size - before) != checksum:
                return -1
        elif kind < CHUNK_SKIPPABLE:
            return -1
        at += chunk_size
    return 0


cdef inline int _block_decode(const uint8_t *at, const uint8_t *end, Buffer *out) noexcept nogil:
    cdef uint64_t total
    cdef size_t length, offset, done = 0
    cdef uint8_t *target
    cdef uint8_t tag
    cdef int extra, i
    at = varint_read(at, end, &total)
    if at == NULL or total > CHUNK_BYTES_MAX or buffer_reserve(out, <size_t>total) < 0:
        return -1
    target = out.data + out.size
    while at < end:
        tag = at[0]
        at += 1
        offset = 0
        if tag & 3 == 0:
            length = tag >> 2
            extra = <int>length - 59 if length >= 60 else 0
        else:
            length = tag >> 2
            extra = 4 if tag & 3 == 3 else tag & 3
        if extra > end - at:
            return -1
        if tag & 3 == 0:
            if extra:
                length = 0
                for i in range(extra):
                    length |= <size_t>at[i] << 8 * i
        else:
            for i in range(extra):
                offset |= <size_t>at[i] << 8 * i
            if tag & 3 == 1:
                offset |= <size_t>(tag >> 5) << 8
                length = (tag >> 2 & 7) + 3         # and one, below
        at += extra
        length += 1
        if length > total - done:
            return -1
        if tag & 3 == 0:
            if length > <size_t>(end - at):
                return -1
            memcpy(target + done, at, length)
            at += length
            done += length
            continue
        if offset == 0 or offset > done:
            return -1
        while length > 0:                           # a copy may overlap what it makes
            target[done] = target[done - offset]
            done += 1
            length -= 1
    out.size += done
    return 0 if done == total else -1
