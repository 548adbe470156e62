
# The processor's own instruction, eight bytes a step; Cython has no word for it. Chosen at run
# time on x86-64 (any since 2009 has it), by the compiler's target on 64-bit Arm.
cdef extern from *:
    """
    #if defined(__x86_64__)
    #include <nmmintrin.h>
    static int crc32c_by_hardware(void) { return __builtin_cpu_supports("sse4.2"); }
    __attribute__((target("sse4.2"))) static uint32_t
    crc32c_hardware(uint32_t crc, const uint8_t *data, size_t size) {
        uint64_t state = crc, word;
        for (; size >= 8; size -= 8, data += 8) {
            __builtin_memcpy(&word, data, 8);
            state = _mm_crc32_u64(state, word);
        }
        for (; size; size--, data++) state = _mm_crc32_u8((uint32_t)state, *data);
        return (uint32_t)state;
    }
    #elif defined(__ARM_FEATURE_CRC32)
    #include <arm_acle.h>
    static int crc32c_by_hardware(void) { return 1; }
    static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *data, size_t size) {
        uint64_t word;
        for (; size >= 8; size -= 8, data += 8) {
            __builtin_memcpy(&word, data, 8);
            crc = __crc32cd(crc, word);
        }
        for (; size; size--, data++) crc = __crc32cb(crc, *data);
        return crc;
    }
    #else
    static int crc32c_by_hardware(void) { return 0; }
    static uint32_t crc32c_hardware(uint32_t crc, const uint8_t *data, size_t size) {
        (void)data; (void)size; return crc;
    }
    #endif
    """
    bint crc32c_by_hardware() nogil
    uint32_t crc32c_hardware(uint32_t crc, const uint8_t *data, size_t size) nogil

cdef enum:
    POLYNOMIAL = 0x82F63B78     # 0x1EDC6F41 with its bits reversed

cdef uint32_t[256] table
cdef bint use_hardware = crc32c_by_hardware()


cdef void fill_table() noexcept:
    cdef uint32_t byte, value
    cdef int _bit
    for byte in range(256):
        value = byte
        for _bit in range(8):
            value = (value >> 1) ^ (<uint32_t>POLYNOMIAL if value & 1 else 0)
        table[byte] = value


fill_table()


cdef uint32_t crc32c_software(uint32_t crc, const uint8_t *data, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(size):
        crc = table[(crc ^ data[i]) & 0xFF] ^ (crc >> 8)
    return crc


cdef uint32_t crc32c(uint32_t crc, const uint8_t *data, size_t size) noexcept nogil:
    if use_hardware:
        return ~crc32c_hardware(~crc, data, size)
    return ~crc32c_software(~crc, data, size)


def checksum(const uint8_t[::1] data not None, uint32_t start=0, *, bint hardware=True):
    """Return the CRC-32C of *data*, going on from *start*; *hardware* False forces the table."""
    cdef const uint8_t *first = &data[0] if data.shape[0] else NULL
    if hardware:
        return crc32c(start, first, data.shape[0])
    return <uint32_t>~crc32c_software(~start, first, data.shape[0])
