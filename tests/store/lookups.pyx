# cython: language_level=3
"""Lookups for the tests: all keys side by side, as the calls of a batch."""
from libc.stdint cimport uint8_t
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc
from libc.stdlib cimport free
from libc.stdlib cimport malloc
from libc.string cimport memcpy

from regatta.store._lookup cimport LOOKUP_STEPS
from regatta.store._lookup cimport Lookup
from regatta.store._lookup cimport Pages
from regatta.store._lookup cimport lookup_advance
from regatta.store._lookup cimport lookup_begin
from regatta.store._lookup cimport lookup_finish
from regatta.store._view cimport View


def find_in(View view not None, list keys not None):
    """Return for each stored key its value, None where LMDB has to be asked."""
    if view.renew() != 0:
        raise RuntimeError("can't read")
    try:
        return find_all(&view.pages, keys)
    finally:
        view.release()


def find(bytes data not None, size_t page_size, uint64_t root, int depth, list keys not None):
    """The same in *data*, which is copied to memory that ends where it does."""
    cdef Pages pages
    cdef uint8_t *copy = <uint8_t *>malloc(len(data))
    if copy == NULL:
        raise MemoryError
    memcpy(copy, <char *>data, len(data))
    pages.map, pages.page_size, pages.page_count = copy, page_size, len(data) // page_size
    pages.root, pages.depth = root, depth
    try:
        return find_all(&pages, keys)
    finally:
        free(copy)


cdef list find_all(const Pages *pages, list keys):
    cdef Py_ssize_t i, j
    cdef Lookup *lookups = <Lookup *>calloc(len(keys) + 1, sizeof(Lookup))
    if lookups == NULL:
        raise MemoryError
    try:
        for i in range(len(keys)):
            lookup_begin(&lookups[i], <uint8_t *><char *>keys[i], len(keys[i]))
            for j in range(max(0, i + 1 - LOOKUP_STEPS), i + 1):
                lookup_advance(&lookups[j], pages)
        return [
            (<uint8_t *>lookups[i].value.mv_data)[:lookups[i].value.mv_size]
            if lookup_finish(&lookups[i], pages) else None
            for i in range(len(keys))
        ]
    finally:
        free(lookups)
