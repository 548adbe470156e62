"""A decoder of Snappy's framed format: chunks, each with the checksum of what it holds.

Sizes are announced in front of what they are the sizes of, so a look at the chunks' heads settles
how much there will be, and a bomb is refused before a byte of it is unpacked.
"""
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t
from libc.string cimport memcmp
from libc.string cimport memcpy

from regatta.wire._buffer cimport Buffer
from regatta.wire._buffer cimport buffer_free
from regatta.wire._buffer cimport buffer_reserve
from regatta.wire._checksum cimport crc32c
from regatta.wire._varint cimport varint_read

cdef enum:
    CHUNK_HEAD_BYTES = 4            # a kind, then the size of the rest, low byte first
    CHECKSUM_BYTES = 4
    BLOCK_BYTES_MAX = 65536         # unpacked, of one chunk

    KIND_COMPRESSED = 0x00
    KIND_UNCOMPRESSED = 0x01
    KIND_SKIPPED_MIN = 0x80         # 0xFE, padding, is among them
    KIND_IDENTIFIER = 0xFF

    TAG_LITERAL = 0
    TAG_COPY_1 = 1                  # by the bytes that hold the distance
    TAG_COPY_2 = 2

    WORD_BYTES = 8

cdef const char *IDENTIFIER = "sNaPpY"

cdef struct Chunk:
    uint8_t kind
    const uint8_t *data             # of a block: behind the checksum
    size_t size
    uint32_t checksum               # of a block: as it is written, masked
    size_t unpacked_size            # 0 for what is no block


cdef inline uint32_t little_endian(const uint8_t *at, int size) noexcept nogil:
    cdef uint32_t value = 0
    cdef int index
    for index in range(size):
        value |= <uint32_t>at[index] << (8 * index)
    return value


cdef int chunk_next(const uint8_t **at, const uint8_t *end, Chunk *chunk) noexcept nogil:
    """Read a chunk's head and step over the chunk. Returns 0 at the end, 1, or -1 if it is bad."""
    cdef const uint8_t *start = at[0]
    cdef uint64_t unpacked
    if start == end:
        return 0
    if end - start < CHUNK_HEAD_BYTES:
        return -1
    chunk.kind = start[0]
    chunk.size = little_endian(start + 1, 3)
    chunk.data = start + CHUNK_HEAD_BYTES
    chunk.unpacked_size = 0
    if chunk.size > <size_t>(end - chunk.data):
        return -1
    at[0] = chunk.data + chunk.size
    if chunk.kind == KIND_IDENTIFIER:
        return 1 if chunk.size == 6 and memcmp(chunk.data, IDENTIFIER, 6) == 0 else -1
    if chunk.kind >= KIND_SKIPPED_MIN:
        return 1
    if chunk.kind > KIND_UNCOMPRESSED or chunk.size < CHECKSUM_BYTES:
        return -1
    chunk.checksum = little_endian(chunk.data, CHECKSUM_BYTES)
    chunk.data += CHECKSUM_BYTES
    chunk.size -= CHECKSUM_BYTES
    unpacked = chunk.size
    if chunk.kind == KIND_COMPRESSED and varint_read(chunk.data, at[0], &unpacked) == NULL:
        return -1
    if unpacked > BLOCK_BYTES_MAX:
        return -1
    chunk.unpacked_size = unpacked
    return 1


cdef int announced_size(const uint8_t *data, size_t size, size_t *total) noexcept nogil:
    """Add up what the blocks say of themselves. Returns -1 if a chunk's head is bad, else 0."""
    cdef const uint8_t *at = data
    cdef Chunk chunk
    cdef int code
    total[0] = 0
    while True:
        code = chunk_next(&at, data + size, &chunk)
        if code <= 0:
            return code
        total[0] += chunk.unpacked_size


cdef inline void repeat(uint8_t *to, size_t distance, size_t size) noexcept nogil:
    """Copy *size* bytes from *distance* before *to*; they may overlap, and then they repeat."""
    cdef const uint8_t *source = to - distance
    cdef size_t index
    if distance >= size:
        memcpy(to, source, size)
        return
    if distance >= WORD_BYTES:
        while size >= WORD_BYTES:
            memcpy(to, source, WORD_BYTES)
            to += WORD_BYTES
            source += WORD_BYTES
            size -= WORD_BYTES
    for index in range(size):
        to[index] = source[index]


cdef int unpack_block(const uint8_t *at, const uint8_t *end, uint8_t *target,
                      size_t unpacked_size) noexcept nogil:
    """Decode one block into exactly *unpacked_size* bytes. Returns -1 if it is malformed."""
    cdef uint64_t announced
    cdef size_t done = 0, size, distance
    cdef int tag, more
    at = varint_read(at, end, &announced)
    while at < end:
        tag = at[0]
        at += 1
        if tag & 3 == TAG_LITERAL:
            size = <size_t>(tag >> 2) + 1
            if size > 60:
                more = <int>size - 60
                if end - at < more:
                    return -1
                size = <size_t>little_endian(at, more) + 1
                at += more
            if size > <size_t>(end - at) or size > unpacked_size - done:
                return -1
            memcpy(target + done, at, size)
            at += size
        else:
            more = 1 if tag & 3 == TAG_COPY_1 else 2 if tag & 3 == TAG_COPY_2 else 4
            if end - at < more:
                return -1
            distance = little_endian(at, more)
            at += more
            if more == 1:
                size = <size_t>(tag >> 2 & 7) + 4
                distance |= <size_t>(tag >> 5) << 8
            else:
                size = <size_t>(tag >> 2) + 1
            if distance == 0 or distance > done or size > unpacked_size - done:
                return -1
            repeat(target + done, distance, size)
        done += size
    return 0 if done == unpacked_size else -1


cdef inline uint32_t masked(uint32_t checksum) noexcept nogil:
    """The format turns checksums, so that one of data with checksums in it stays a good one."""
    return (checksum >> 15 | checksum << 17) + <uint32_t>0xA282EAD8


cdef Unframed snappy_unframe(const uint8_t *data, size_t size, size_t bytes_max, Buffer *target,
                             size_t *full_size) noexcept nogil:
    cdef const uint8_t *at = data
    cdef uint8_t *unpacked
    cdef Chunk chunk
    full_size[0] = 0
    if size > 0 and data[0] != KIND_IDENTIFIER:
        return UNFRAMED_MALFORMED
    if announced_size(data, size, full_size) < 0:
        return UNFRAMED_MALFORMED
    if full_size[0] > bytes_max:
        return UNFRAMED_TOO_LARGE
    if buffer_reserve(target, full_size[0]) < 0:
        return UNFRAMED_NO_MEMORY
    unpacked = target.data + target.size
    while chunk_next(&at, data + size, &chunk) > 0:
        if chunk.kind == KIND_COMPRESSED:
            if unpack_block(chunk.data, at, unpacked, chunk.unpacked_size) < 0:
                return UNFRAMED_MALFORMED
        elif chunk.kind == KIND_UNCOMPRESSED:
            memcpy(unpacked, chunk.data, chunk.size)
        else:
            continue
        if masked(crc32c(0, unpacked, chunk.unpacked_size)) != chunk.checksum:
            return UNFRAMED_MALFORMED
        unpacked += chunk.unpacked_size
    target.size += full_size[0]
    return UNFRAMED


def unframe(const uint8_t[::1] data not None, size_t bytes_max):
    """Return what *data* holds; None if it is malformed, or its size if that is over *bytes_max*."""
    cdef Buffer target = [NULL, 0, 0]
    cdef size_t full_size
    cdef const uint8_t *first = &data[0] if data.shape[0] else NULL
    cdef Unframed found = snappy_unframe(first, data.shape[0], bytes_max, &target, &full_size)
    try:
        if found == UNFRAMED_NO_MEMORY:
            raise MemoryError
        if found == UNFRAMED_TOO_LARGE:
            return full_size
        return None if found == UNFRAMED_MALFORMED else (<char *>target.data)[:target.size]
    finally:
        buffer_free(&target)
