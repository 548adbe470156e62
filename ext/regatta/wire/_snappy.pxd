"""Snappy's framed format, as far as a server needs it to read requests."""
from libc.stdint cimport uint8_t

from regatta.wire._buffer cimport Buffer

cdef enum Unframed:             # what snappy_unframe found
    UNFRAMED = 0                # all of it is decoded
    UNFRAMED_MALFORMED = 1      # damaged, cut short, or not this format
    UNFRAMED_TOO_LARGE = 2      # it says of itself that it has more than the bytes allowed
    UNFRAMED_NO_MEMORY = 3

# Append what *data* holds to *target*, at most *bytes_max* bytes of it. *full_size* becomes the size
# that *data* announces, also when that is too large: nothing is decoded or reserved then. When the
# outcome is not UNFRAMED, what is in *target* behind its former size counts for nothing.
cdef Unframed snappy_unframe(const uint8_t *data, size_t size, size_t bytes_max, Buffer *target,
                             size_t *full_size) noexcept nogil
