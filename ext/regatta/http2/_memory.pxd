"""Memory for libnghttp2: small blocks are kept for its next calls rather than given back.

A batch of calls takes a dozen small blocks each, and gives all of them back together. That is more
than the C library keeps at hand: joining them up and splitting them again cost a read a tenth of
its time.
"""
from regatta.http2._nghttp2_h cimport nghttp2_mem

# What libnghttp2 is to allocate with, for all sessions; none of it is safe without the GIL.
cdef nghttp2_mem *block_memory() noexcept
