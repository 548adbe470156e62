"""Protobuf fields, written into a buffer."""
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t

from regatta.wire._buffer cimport Buffer

# Fields are left out when they hold the default, as proto3 does. All return -1 without memory.
cdef int write_varint(Buffer *buffer, uint32_t number, uint64_t value) noexcept nogil
cdef int write_bytes(Buffer *buffer, uint32_t number, const void *data, size_t size) noexcept nogil

# A message field whose size isn't known yet: message_begin, the fields, message_end. Its length
# is put in afterwards, so that nested messages need no second pass over the data.
cdef int message_begin(Buffer *buffer, uint32_t number, size_t *mark) noexcept nogil
cdef int message_end(Buffer *buffer, size_t mark) noexcept nogil
