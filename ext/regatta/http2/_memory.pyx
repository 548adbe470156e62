from libc.stddef cimport size_t
from libc.stdint cimport SIZE_MAX
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

cdef extern from * nogil:
    """
    #ifdef __SANITIZE_ADDRESS__
    #define KEEPS_BLOCKS 0      /* a block that is kept hides what is done to it meanwhile */
    #else
    #define KEEPS_BLOCKS 1
    #endif
    """
    enum: KEEPS_BLOCKS

cdef enum:
    STEP_BYTES = 32             # between the sizes that are kept
    STEPS = 16                  # larger ones than STEPS * STEP_BYTES are not kept
    KEPT_MAX = 1024             # blocks of a size, some 4 MiB in all
    LARGE = STEPS + 1

cdef struct Block:              # then what libnghttp2 has asked for, aligned as malloc's
    size_t steps                # its size, in STEP_BYTES, or LARGE
    Block *after                # while it is kept

cdef struct Shelf:
    Block *first
    int count

cdef Shelf[STEPS + 1] kept      # by size, in steps


cdef void *take(size_t size, void *unused) noexcept nogil:
    cdef size_t steps = (size + STEP_BYTES - 1) // STEP_BYTES
    cdef Block *block
    if size > SIZE_MAX - sizeof(Block) - STEP_BYTES:
        return NULL
    if not KEEPS_BLOCKS or steps > STEPS:
        block = <Block *>malloc(sizeof(Block) + size)
        steps = LARGE
    elif kept[steps].first != NULL:
        block = kept[steps].first
        kept[steps].first = block.after
        kept[steps].count -= 1
    else:
        block = <Block *>malloc(sizeof(Block) + steps * STEP_BYTES)
    if block == NULL:
        return NULL
    block.steps = steps
    return block + 1


cdef void give_back(void *taken, void *unused) noexcept nogil:
    cdef Block *block
    cdef size_t steps
    if taken == NULL:
        return
    block = <Block *>taken - 1
    steps = block.steps
    if steps == LARGE or kept[steps].count >= KEPT_MAX:
        free(block)
        return
    block.after = kept[steps].first
    kept[steps].first = block
    kept[steps].count += 1


cdef void *take_zeroed(size_t count, size_t size, void *unused) noexcept nogil:
    cdef void *taken
    if size and count > SIZE_MAX // size:
        return NULL
    taken = take(count * size, unused)
    if taken != NULL:
        memset(taken, 0, count * size)
    return taken


cdef void *take_other(void *taken, size_t size, void *unused) noexcept nogil:
    """Return a block of another size that begins with the same bytes."""
    cdef Block *block
    cdef void *grown
    if taken == NULL:
        return take(size, unused)
    block = <Block *>taken - 1
    if block.steps == LARGE:
        if size > SIZE_MAX - sizeof(Block):
            return NULL
        block = <Block *>realloc(block, sizeof(Block) + size)
        return NULL if block == NULL else block + 1
    if size <= block.steps * STEP_BYTES:
        return taken
    grown = take(size, unused)
    if grown != NULL:
        memcpy(grown, taken, block.steps * STEP_BYTES)
        give_back(taken, unused)
    return grown


cdef nghttp2_mem MEMORY = [NULL, take, give_back, take_zeroed, take_other]


cdef nghttp2_mem *block_memory() noexcept:
    return &MEMORY
