"""How LMDB 0.9 lays out its pages, as far as we read them without it.

All numbers are the machine's own. A page begins with a PageHead and a list of two-byte offsets,
one a node, in the order of their keys; the nodes fill it from its end.
"""
from libc.stdint cimport uint16_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    /* The empty statement is an effect: GCC takes functions that do nothing but prefetch for idle ones,
       and leaves out calls of them. */
    #define prefetch(address) do { __builtin_prefetch(address); __asm__ volatile(""); } while (0)
    """
    # Have the processor load a cache line soon. Any address will do: what is not mapped is not loaded.
    void prefetch(const void *address) nogil

cdef enum:
    PAGE_BRANCH = 0x01
    PAGE_LEAF = 0x02
    PAGE_OVERFLOW = 0x04
    PAGE_META = 0x08
    NODE_LARGE = 0x01           # the value is on overflow pages
    NODE_TREE = 0x02            # the value is the root of a named database
    PAGE_HEAD = 16
    NODE_HEAD = 8
    NODE_OFFSET = 2             # bytes that one takes in the list
    DEPTH_MAX = 32
    PAGE_SIZE_MIN = 4096
    PAGE_SIZE_MAX = 65536
    CACHE_LINE_BYTES = 64

cdef struct PageHead:
    uint64_t number
    uint16_t pad
    uint16_t flags
    uint16_t lower              # end of the list of nodes; with upper, a large value's page count
    uint16_t upper              # begin of the nodes

cdef struct Node:               # then the key, and in a leaf the value
    uint16_t low                # size of the value, or the child's page number with flags on top
    uint16_t high
    uint16_t flags
    uint16_t key_size

cdef struct Tree:
    uint32_t pad                # the page size, in the free list's
    uint16_t flags
    uint16_t depth
    uint64_t branch_pages
    uint64_t leaf_pages
    uint64_t overflow_pages
    uint64_t entries
    uint64_t root


cdef inline uint64_t child_of(const Node *node) noexcept nogil:
    return (<uint64_t>node.flags << 32) | (<uint64_t>node.high << 16) | node.low


cdef inline size_t value_size(const Node *node) noexcept nogil:
    return <size_t>node.high << 16 | node.low
