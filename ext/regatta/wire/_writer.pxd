"""A growing block of bytes, and protobuf fields written into it."""
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t

cdef struct Buffer:             # start with all zeroes; end with buffer_free
    uint8_t *data
    size_t size                 # bytes in use
    size_t capacity             # bytes allocated

# Make room for *more* bytes after the ones in use. Returns -1 when there is no memory.
cdef int buffer_reserve(Buffer *buffer, size_t more) noexcept nogil
cdef int buffer_append(Buffer *buffer, const void *data, size_t size) noexcept nogil
cdef void buffer_free(Buffer *buffer) noexcept nogil

# Fields are left out when they hold the default, as proto3 does. All return -1 without memory.
cdef int write_varint(Buffer *buffer, uint32_t number, uint64_t value) noexcept nogil
cdef int write_bytes(Buffer *buffer, uint32_t number, const void *data, size_t size) noexcept nogil

# A message field whose size isn't known yet: message_begin, the fields, message_end. Its length
# is put in afterwards, so that nested messages need no second pass over the data.
cdef int message_begin(Buffer *buffer, uint32_t number, size_t *mark) noexcept nogil
cdef int message_end(Buffer *buffer, size_t mark) noexcept nogil
