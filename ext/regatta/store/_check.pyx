"""Looks at every page of an LMDB file without LMDB, which takes the pages for good.

A page that is damaged makes LMDB read outside of it and die, so a node that died looks here before
it opens its files again. Nothing that is read is trusted; nothing is mapped, so that a disk that
fails is an error and not a signal.
"""
import os

from libc.errno cimport errno
from libc.stdint cimport uint8_t
from libc.stdint cimport uint16_t
from libc.stdint cimport uint32_t
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc
from libc.stdlib cimport free
from libc.stdlib cimport malloc
from libc.string cimport memcmp
from libc.string cimport memcpy
from libc.string cimport memset
from libc.string cimport strerror

from regatta.store._page cimport DEPTH_MAX
from regatta.store._page cimport NODE_HEAD
from regatta.store._page cimport NODE_LARGE
from regatta.store._page cimport NODE_OFFSET
from regatta.store._page cimport NODE_TREE
from regatta.store._page cimport PAGE_BRANCH
from regatta.store._page cimport PAGE_HEAD
from regatta.store._page cimport PAGE_LEAF
from regatta.store._page cimport PAGE_META
from regatta.store._page cimport PAGE_OVERFLOW
from regatta.store._page cimport PAGE_SIZE_MAX
from regatta.store._page cimport PAGE_SIZE_MIN
from regatta.store._page cimport Node
from regatta.store._page cimport PageHead
from regatta.store._page cimport Tree
from regatta.store._page cimport child_of
from regatta.store._page cimport value_size

from regatta.errors import StartError

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int descriptor, void *room, size_t size, long long offset)

cdef enum:
    KEY_MAX = 2048

cdef uint32_t MAGIC = 0xBEEFC0DE
cdef uint64_t NO_PAGE = <uint64_t>-1
cdef uint64_t PAGES_MAX = 1 << 28   # 1 TiB of the smallest pages

cdef struct Meta:
    uint32_t magic
    uint32_t version
    uint64_t address
    uint64_t map_size
    Tree free
    Tree main
    uint64_t last_page
    uint64_t transaction

cdef struct MetaPage:           # the begin of pages 0 and 1
    PageHead head
    Meta meta

cdef struct Key:
    const uint8_t *data         # NULL for none
    size_t size

cdef struct Walk:
    int descriptor
    size_t page_size
    uint64_t page_count
    uint8_t *seen               # a bit a page
    uint64_t entries            # of the present tree
    uint64_t seen_count
    uint64_t bad_page
    const char *fault           # what is wrong with bad_page, NULL while nothing is


def check_pages(directory):
    """Go through all trees and the free list of an environment that nobody has open.

    Returns how many pages are in use or free. Raises StartError, which names the first bad page.
    """
    cdef Walk walk
    path = os.path.join(directory, "data.mdb")
    try:
        walk.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise StartError(f"can't read {path}: {error.strerror}") from None
    walk.seen = NULL
    walk.fault = NULL
    walk.bad_page = walk.seen_count = walk.entries = 0
    try:
        with nogil:
            _check(&walk)
    finally:
        free(walk.seen)
        os.close(walk.descriptor)
    if walk.fault != NULL:
        raise StartError(f"{path} is damaged: page {walk.bad_page} {walk.fault.decode()}",
                         "restore both directories from a copy of the same moment")
    return walk.seen_count


cdef int _bad(Walk *walk, uint64_t page, const char *fault) noexcept nogil:
    walk.bad_page, walk.fault = page, fault
    return -1


cdef int _check(Walk *walk) noexcept nogil:
    cdef Meta meta
    memset(&meta, 0, sizeof(meta))
    if _read_newest_meta(walk, &meta) < 0:
        return -1
    walk.page_size, walk.page_count = meta.free.pad, meta.last_page + 1
    if not PAGE_SIZE_MIN <= walk.page_size <= PAGE_SIZE_MAX or walk.page_size & (walk.page_size - 1):
        return _bad(walk, 0, b"tells an impossible page size")
    if not 2 <= walk.page_count <= PAGES_MAX:
        return _bad(walk, 0, b"tells an impossible number of pages")
    walk.seen = <uint8_t *>calloc(walk.page_count // 8 + 1, 1)
    if walk.seen == NULL:
        return _bad(walk, 0, b"can't be checked: out of memory")
    if _walk_tree(walk, &meta.main, True, False) < 0:
        return -1
    return _walk_tree(walk, &meta.free, False, True)


cdef int _read_newest_meta(Walk *walk, Meta *newest) noexcept nogil:
    cdef MetaPage page
    cdef uint64_t number
    cdef size_t page_size = PAGE_SIZE_MIN
    for number in range(2):
        if _read(walk, number, number * page_size, &page, sizeof(page)) < 0:
            return -1
        if (page.head.number != number or not page.head.flags & PAGE_META
                or page.meta.magic != MAGIC):
            return _bad(walk, number, b"is no head of a database")
        if number == 0:
            page_size = page.meta.free.pad
        if number == 0 or page.meta.transaction > newest.transaction:
            newest[0] = page.meta
    return 0


cdef int _read(Walk *walk, uint64_t page, uint64_t offset, void *room, size_t size) noexcept nogil:
    cdef ssize_t count = pread(walk.descriptor, room, size, <long long>offset)
    if count < 0:
        return _bad(walk, page, strerror(errno))
    if count < <ssize_t>size:
        return _bad(walk, page, b"is missing")
    return 0


cdef int _mark(Walk *walk, uint64_t page, uint64_t count) noexcept nogil:
    """Note that pages are used, which nothing else may be using."""
    cdef uint64_t i
    if page < 2 or page >= walk.page_count or count > walk.page_count - page:
        return _bad(walk, page, b"is referred to, but is outside of the file")
    for i in range(page, page + count):
        if walk.seen[i >> 3] & (1 << (i & 7)):
            return _bad(walk, i, b"is in use twice")
        walk.seen[i >> 3] |= <uint8_t>(1 << (i & 7))
    walk.seen_count += count
    return 0


cdef int _walk_tree(Walk *walk, const Tree *tree, bint is_main, bint is_free_list) noexcept nogil:
    cdef Key none
    cdef uint64_t entries_outside = walk.entries
    none.data, none.size = NULL, 0
    if tree.root == NO_PAGE:
        return 0
    if not 1 <= tree.depth <= DEPTH_MAX:
        return _bad(walk, tree.root, b"is the root of a tree of impossible depth")
    walk.entries = 0
    if _walk_page(walk, tree.root, tree.depth, none, none, is_main, is_free_list) < 0:
        return -1
    if walk.entries != tree.entries:
        return _bad(walk, tree.root, b"is the root of a tree with another number of entries")
    walk.entries = entries_outside
    return 0


cdef int _walk_page(Walk *walk, uint64_t number, int depth, Key first, Key end, bint is_main,
                    bint is_free_list) noexcept nogil:
    """Check a page and all below it; its keys must be in [first, end)."""
    cdef uint8_t *page
    cdef int code
    if _mark(walk, number, 1) < 0:
        return -1
    page = <uint8_t *>malloc(walk.page_size)
    if page == NULL:
        return _bad(walk, number, b"can't be checked: out of memory")
    code = _read(walk, number, number * walk.page_size, page, walk.page_size)
    if code == 0:
        code = _check_nodes(walk, page, number, depth, first, end, is_main, is_free_list)
    free(page)
    return code


cdef int _check_nodes(Walk *walk, const uint8_t *page, uint64_t number, int depth, Key first,
                      Key end, bint is_main, bint is_free_list) noexcept nogil:
    cdef PageHead head
    cdef Key key, next_key
    cdef Node node
    cdef size_t i, count
    cdef bint is_branch = depth > 1
    memcpy(&head, page, sizeof(head))
    if head.number != number:
        return _bad(walk, number, b"bears another number")
    if head.flags != (PAGE_BRANCH if is_branch else PAGE_LEAF):
        return _bad(walk, number, b"is of the wrong kind")
    if not PAGE_HEAD < head.lower <= head.upper <= walk.page_size or head.lower & 1:
        return _bad(walk, number, b"has impossible bounds")
    count = (head.lower - PAGE_HEAD) // NODE_OFFSET
    for i in range(count):
        if _open_node(walk, page, number, &head, i, &node, &key) < 0:
            return -1
        # The first key of a branch stands for everything below the second.
        if is_branch and i == 0:
            key = first
        elif is_free_list and key.size != sizeof(uint64_t):
            return _bad(walk, number, b"has a damaged list of free pages")
        elif (first.data != NULL
              and key_compare(&key, &first, is_free_list) < (1 if i and not is_branch else 0)):
            return _bad(walk, number, b"has keys out of order")
        elif end.data != NULL and key_compare(&key, &end, is_free_list) >= 0:
            return _bad(walk, number, b"has keys out of order")
        if is_branch:
            next_key = end
            if i + 1 < count and _open_node(walk, page, number, &head, i + 1, NULL, &next_key) < 0:
                return -1
            if is_free_list and next_key.data != NULL and next_key.size != sizeof(uint64_t):
                return _bad(walk, number, b"has a damaged list of free pages")
            if _walk_page(walk, child_of(&node), depth - 1, key, next_key, is_main,
                          is_free_list) < 0:
                return -1
        elif _check_value(walk, page, number, &node, &key, is_main, is_free_list) < 0:
            return -1
        first = key
    if not is_branch:
        walk.entries += count
    return 0


cdef int _open_node(Walk *walk, const uint8_t *page, uint64_t number, const PageHead *head,
                    size_t i, Node *node, Key *key) noexcept nogil:
    """Find node *i* of a page and its key, both within the page."""
    cdef uint16_t offset
    cdef Node found
    memcpy(&offset, page + PAGE_HEAD + NODE_OFFSET * i, sizeof(offset))
    if offset < head.upper or offset + <size_t>NODE_HEAD > walk.page_size:
        return _bad(walk, number, b"has a node outside of it")
    memcpy(&found, page + offset, sizeof(found))
    key.data, key.size = page + offset + NODE_HEAD, found.key_size
    if found.key_size > KEY_MAX or offset + <size_t>NODE_HEAD + found.key_size > walk.page_size:
        return _bad(walk, number, b"has a key outside of it")
    if node != NULL:
        node[0] = found
    return 0


cdef int _check_value(Walk *walk, const uint8_t *page, uint64_t number, const Node *node,
                      const Key *key, bint is_main, bint is_free_list) noexcept nogil:
    cdef const uint8_t *value = key.data + key.size
    cdef size_t size = value_size(node)
    cdef size_t room = walk.page_size - <size_t>(value - page)
    cdef uint64_t overflow
    cdef Tree tree
    if node.flags & ~NODE_LARGE != (NODE_TREE if is_main else 0):
        return _bad(walk, number, b"has a node of the wrong kind")
    if node.flags & NODE_LARGE and not is_main:
        if room < sizeof(overflow):
            return _bad(walk, number, b"has a value outside of it")
        memcpy(&overflow, value, sizeof(overflow))
        return _check_large(walk, overflow, size, is_free_list)
    if room < size:
        return _bad(walk, number, b"has a value outside of it")
    if is_free_list:
        return _check_free(walk, number, value, size)
    if is_main:
        if size != sizeof(tree) or node.flags & NODE_LARGE:
            return _bad(walk, number, b"has a node of the wrong kind")
        memcpy(&tree, value, sizeof(tree))
        return _walk_tree(walk, &tree, False, False)
    return 0


cdef int _check_large(Walk *walk, uint64_t number, size_t size, bint is_free_list) noexcept nogil:
    """Check a value that has pages of its own, of which only the first has a head."""
    cdef uint64_t count = (PAGE_HEAD - 1 + size) // walk.page_size + 1
    cdef uint8_t *value
    cdef PageHead head
    cdef uint32_t page_count
    cdef int code
    if (_mark(walk, number, count) < 0
            or _read(walk, number, number * walk.page_size, &head, sizeof(head)) < 0):
        return -1
    page_count = <uint32_t>head.upper << 16 | head.lower
    if head.number != number or head.flags != PAGE_OVERFLOW or page_count != count:
        return _bad(walk, number, b"is not the large value that it should be")
    if not is_free_list:
        return 0
    value = <uint8_t *>malloc(size)
    if value == NULL:
        return _bad(walk, number, b"can't be checked: out of memory")
    code = _read(walk, number, number * walk.page_size + PAGE_HEAD, value, size)
    if code == 0:
        code = _check_free(walk, number, value, size)
    free(value)
    return code


cdef int _check_free(Walk *walk, uint64_t number, const uint8_t *value, size_t size) noexcept nogil:
    """Check one record of the free list: a count, then that many page numbers."""
    cdef uint64_t count, page
    cdef size_t i
    if size < sizeof(count):
        return _bad(walk, number, b"has a damaged list of free pages")
    memcpy(&count, value, sizeof(count))
    if count > size // sizeof(page) - 1:
        return _bad(walk, number, b"has a damaged list of free pages")
    for i in range(1, count + 1):
        memcpy(&page, value + i * sizeof(page), sizeof(page))
        if _mark(walk, page, 1) < 0:
            return -1
    return 0


cdef int key_compare(const Key *left, const Key *right, bint as_numbers) noexcept nogil:
    """Return less than, equal to or more than 0; numbers are eight bytes, as the machine has them."""
    cdef uint64_t left_number, right_number
    cdef int order
    if as_numbers:
        memcpy(&left_number, left.data, sizeof(left_number))
        memcpy(&right_number, right.data, sizeof(right_number))
        return (left_number > right_number) - (left_number < right_number)
    order = memcmp(left.data, right.data, min(left.size, right.size))
    if order != 0:
        return order
    return (left.size > right.size) - (left.size < right.size)
