from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ
from libc.stdint cimport uint8_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, strlen

import zlib

import cramjam

from regatta.errors import Code

from regatta.wire._buffer cimport Buffer, buffer_append
from regatta.wire._snappy cimport (
    UNFRAMED, UNFRAMED_MALFORMED, UNFRAMED_NO_MEMORY, UNFRAMED_TOO_LARGE, snappy_unframe,
)

cdef enum:
    GZIP_WINDOW_BITS = 31       # zlib's way to say gzip with the largest window
    LEVEL = 1                   # of gzip and zstd: the quickest

cdef const char *CODINGS = "identity,gzip,snappy,zstd"
cdef (const char *)[4] NAMES
NAMES[:] = ["identity", "gzip", "snappy", "zstd"]

cdef int INTERNAL = Code.INTERNAL
cdef int RESOURCE_EXHAUSTED = Code.RESOURCE_EXHAUSTED

# Where zstd unpacks to, as it can only be bounded by the room there is. Made with the first use.
cdef object zstd_room = None


cdef Coding coding_of(const uint8_t *name, size_t size) noexcept nogil:
    cdef int coding
    if size == 0:
        return CODING_IDENTITY
    for coding in range(<int>CODING_UNKNOWN):
        if size == strlen(NAMES[coding]) and memcmp(name, NAMES[coding], size) == 0:
            return <Coding>coding
    return CODING_UNKNOWN


cdef const char *coding_name(int coding) noexcept nogil:
    return NAMES[coding]


cdef int unpack(int coding, const Message *message, size_t bytes_max, Buffer *target,
                char *text) noexcept nogil:
    cdef size_t full_size = 0
    cdef int found
    target.size = 0
    if coding == CODING_SNAPPY:
        found = snappy_unframe(message.data, message.size, bytes_max, target, &full_size)
    else:
        found = unpack_by_library(coding, message, bytes_max, target, &full_size)
    if found == UNFRAMED:
        return 0
    if found == UNFRAMED_TOO_LARGE:
        snprintf(text, UNPACK_TEXT_BYTES,
                 "grpc: received message after decompression larger than max (%zu vs. %zu)",
                 full_size, bytes_max)
        return RESOURCE_EXHAUSTED
    if found == UNFRAMED_MALFORMED:
        snprintf(text, UNPACK_TEXT_BYTES, "grpc: failed to decompress the received message: "
                 "it is not well-formed %s", NAMES[coding])
        return INTERNAL
    snprintf(text, UNPACK_TEXT_BYTES, "out of memory")
    return RESOURCE_EXHAUSTED


cdef int unpack_by_library(int coding, const Message *message, size_t bytes_max, Buffer *target,
                           size_t *full_size) noexcept with gil:
    """Unpack by a library's Python face. Returns what snappy_unframe would."""
    try:
        data = PyMemoryView_FromMemory(<char *>message.data, message.size, PyBUF_READ)
        if coding == CODING_GZIP:
            return gunzip(data, bytes_max, target, full_size)
        return unzstd(data, bytes_max, target, full_size)
    except MemoryError:
        return UNFRAMED_NO_MEMORY


cdef int gunzip(object data, size_t bytes_max, Buffer *target, size_t *full_size) except -1:
    cdef bytes unpacked
    stream = zlib.decompressobj(GZIP_WINDOW_BITS)
    try:
        unpacked = stream.decompress(data, bytes_max + 1)
    except zlib.error:
        return UNFRAMED_MALFORMED
    full_size[0] = PyBytes_GET_SIZE(unpacked)
    if full_size[0] > bytes_max:
        return UNFRAMED_TOO_LARGE
    if not stream.eof or stream.unused_data:
        return UNFRAMED_MALFORMED
    if buffer_append(target, PyBytes_AS_STRING(unpacked), full_size[0]) < 0:
        raise MemoryError
    return UNFRAMED


cdef int unzstd(object data, size_t bytes_max, Buffer *target, size_t *full_size) except -1:
    global zstd_room
    cdef const uint8_t[::1] room
    if zstd_room is None:
        zstd_room = bytearray(bytes_max + 1)
    try:
        full_size[0] = cramjam.zstd.decompress_into(data, zstd_room)
    except cramjam.DecompressionError as error:
        if "whole buffer" not in str(error):
            return UNFRAMED_MALFORMED
        full_size[0] = bytes_max + 1
    if full_size[0] > bytes_max:
        return UNFRAMED_TOO_LARGE
    room = zstd_room
    if buffer_append(target, &room[0], full_size[0]) < 0:
        raise MemoryError
    return UNFRAMED


cdef int pack(int coding, const void *message, size_t size, Buffer *target) noexcept with gil:
    cdef const uint8_t[::1] packed
    try:
        found = packed_or_none(
            coding, PyMemoryView_FromMemory(<char *>message, size, PyBUF_READ), size)
        if found is None:
            return 0
        packed = found
    except MemoryError:
        return -1
    if buffer_append(target, &packed[0], packed.shape[0]) < 0:
        return -1
    return 1


cdef object packed_or_none(int coding, object message, Py_ssize_t size):
    """Return *message* in its encoding, or None if that saves less than an eighth."""
    if coding == CODING_SNAPPY:
        packed = cramjam.snappy.compress(message)
    elif coding == CODING_ZSTD:
        packed = cramjam.zstd.compress(message, LEVEL)
    else:
        stream = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP_WINDOW_BITS)
        packed = stream.compress(message) + stream.flush()
    return packed if len(packed) <= size - size // 8 else None


def compress(str encoding not None, bytes message not None):
    cdef bytes name = encoding.encode()
    cdef int coding = coding_of(<const uint8_t *>PyBytes_AS_STRING(name), len(name))
    if coding == CODING_IDENTITY or len(message) < PACKED_BYTES_MIN:
        return None
    found = packed_or_none(coding, message, len(message))
    return None if found is None else bytes(found)
