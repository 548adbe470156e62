"""CRC-32C (Castagnoli), the checksum of every stored record and log entry."""
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t

# Continue *crc* (0 to begin) over *size* bytes, so that crc32c(crc32c(0, a), b) covers a then b.
cdef uint32_t crc32c(uint32_t crc, const uint8_t *data, size_t size) noexcept nogil
