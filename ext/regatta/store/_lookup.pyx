from libc.stdint cimport uint16_t
from libc.string cimport memcmp
from libc.string cimport memcpy

from regatta.store._env cimport MAIN_DATABASE
from regatta.store._env cimport env_info
from regatta.store._env cimport get
from regatta.store._env cimport stat
from regatta.store._lmdb_h cimport MDB_envinfo
from regatta.store._lmdb_h cimport MDB_stat
from regatta.store._page cimport CACHE_LINE_BYTES
from regatta.store._page cimport DEPTH_MAX
from regatta.store._page cimport NODE_HEAD
from regatta.store._page cimport NODE_OFFSET
from regatta.store._page cimport PAGE_BRANCH
from regatta.store._page cimport PAGE_HEAD
from regatta.store._page cimport PAGE_LEAF
from regatta.store._page cimport PAGE_SIZE_MAX
from regatta.store._page cimport PAGE_SIZE_MIN
from regatta.store._page cimport Node
from regatta.store._page cimport PageHead
from regatta.store._page cimport Tree
from regatta.store._page cimport child_of
from regatta.store._page cimport prefetch
from regatta.store._page cimport value_size
from regatta.store._record cimport number_read

cdef extern from *:
    """
    /* Have the compiler branch where a computed choice would do: that would wait for each comparison,
       while a branch is guessed, and in an often read tree, rightly. */
    #define keep_branch() __asm__ volatile("")
    """
    void keep_branch() nogil

cdef enum:
    WORD = 8
    LEVELS = 3                  # of halving a leaf in one step
    LEVELS_MAX = 16             # more than a page has
    HEAD_BYTES_AHEAD = 256      # of a page: its head and a list of a hundred nodes
    VALUE_BYTES_AHEAD = 512     # the processor follows longer values by itself


cdef struct Nodes:              # a page's head, checked
    const uint8_t *page
    size_t page_size
    size_t count


cdef void pages_load(Pages *pages, Environment environment, MDB_txn *txn) noexcept nogil:
    cdef MDB_val key, value
    cdef MDB_envinfo info
    cdef MDB_stat found
    cdef PageHead head
    cdef Tree tree
    cdef const uint8_t *page
    pages.depth = 0
    key.mv_data, key.mv_size = <char *>b"data", 4
    if (stat(txn, environment.data, &found) != 0 or env_info(environment.env, &info) != 0
            or get(txn, MAIN_DATABASE, &key, &value) != 0 or value.mv_size != sizeof(tree)):
        return
    memcpy(&tree, value.mv_data, sizeof(tree))
    pages.page_size, pages.page_count = found.ms_psize, info.me_last_pgno + 1
    # The record of the tree lies on a page that knows its own number, and so where page 0 is.
    page = <const uint8_t *>(<size_t>value.mv_data & ~(pages.page_size - 1))
    memcpy(&head, page, sizeof(head))
    if (not PAGE_SIZE_MIN <= pages.page_size <= PAGE_SIZE_MAX or tree.flags != 0
            or head.flags != PAGE_LEAF or head.number >= pages.page_count or tree.depth > DEPTH_MAX):
        return
    pages.map = page - head.number * pages.page_size
    pages.root, pages.depth = tree.root, tree.depth


cdef inline void load(const uint8_t *start, size_t size) noexcept nogil:
    cdef size_t offset = 0
    while offset < size:
        prefetch(start + offset)
        offset += CACHE_LINE_BYTES


cdef inline const uint8_t *page_of(const Pages *pages, uint64_t number) noexcept nogil:
    """Return where a page is, NULL if there is no such page."""
    return NULL if number >= pages.page_count else pages.map + number * pages.page_size


cdef inline bint open_page(const Pages *pages, const uint8_t *page, uint16_t kind, Nodes *nodes) noexcept nogil:
    """Check the head of a page; False if it makes no sense."""
    cdef PageHead head
    memcpy(&head, page, sizeof(head))
    nodes.page, nodes.page_size = page, pages.page_size
    nodes.count = <size_t>(head.lower - PAGE_HEAD) // NODE_OFFSET
    return head.flags == kind and PAGE_HEAD < head.lower <= pages.page_size


cdef inline const uint8_t *open_node(const Nodes *nodes, size_t i, Node *node) noexcept nogil:
    """Return where the key of a node begins, NULL if it is not within the page."""
    cdef uint16_t offset
    memcpy(&offset, nodes.page + PAGE_HEAD + NODE_OFFSET * i, sizeof(offset))
    if offset + <size_t>NODE_HEAD > nodes.page_size:
        return NULL
    memcpy(node, nodes.page + offset, sizeof(Node))
    if offset + <size_t>NODE_HEAD + node.key_size > nodes.page_size:
        return NULL
    return nodes.page + offset + NODE_HEAD


cdef inline bint is_after(const uint8_t *key, size_t key_size, const uint8_t *wanted, size_t wanted_size) noexcept nogil:
    """Say whether *key* comes after *wanted*; both have at least a word."""
    cdef size_t size = min(key_size, wanted_size)
    cdef size_t offset = 0
    cdef uint64_t left, right
    while offset + WORD <= size:
        left, right = number_read(key + offset), number_read(wanted + offset)
        if left != right:
            return left > right
        offset += WORD
    if offset < size:
        # The last word begins within the one before.
        left, right = number_read(key + size - WORD), number_read(wanted + size - WORD)
        if left != right:
            return left > right
    return key_size > wanted_size


cdef inline bint narrow(const Nodes *nodes, Lookup *lookup, int levels) noexcept nogil:
    """Halve what is left so many times, or until it is one node, the last one not after the key.

    The first node's key is not looked at. Returns False if a node makes no sense.
    """
    cdef size_t half
    cdef const uint8_t *key
    cdef Node node
    for _ in range(levels):
        if lookup.left <= 1:
            return True
        half = lookup.left // 2
        key = open_node(nodes, lookup.first + half, &node)
        if key == NULL or node.key_size < WORD:
            return False
        lookup.left -= half
        if not is_after(key, node.key_size, lookup.key, lookup.key_size):
            keep_branch()
            lookup.first += half
    return True


cdef bint find_leaf(Lookup *lookup, const Pages *pages) noexcept nogil:
    """Go down to the leaf that may have the key. Returns False if a page makes no sense."""
    cdef const uint8_t *page = page_of(pages, pages.root)
    cdef Nodes nodes
    cdef Node node
    for _ in range(pages.depth - 1):
        if page == NULL or not open_page(pages, page, PAGE_BRANCH, &nodes):
            return False
        lookup.first, lookup.left = 0, nodes.count
        if (not narrow(&nodes, lookup, LEVELS_MAX)
                or open_node(&nodes, lookup.first, &node) == NULL):
            return False
        page = page_of(pages, child_of(&node))
    lookup.leaf = page
    return page != NULL


cdef inline void load_node(const Nodes *nodes, size_t i, size_t key_size) noexcept nogil:
    """Ask for a node's head and the end of its key, if that is as long as others are."""
    cdef const uint8_t *node
    cdef uint16_t offset
    memcpy(&offset, nodes.page + PAGE_HEAD + NODE_OFFSET * i, sizeof(offset))
    node = nodes.page + offset
    prefetch(node)
    prefetch(node + NODE_HEAD + key_size - 1)


cdef inline void load_next(const Nodes *nodes, const Lookup *lookup) noexcept nogil:
    """Ask for the keys that the next LEVELS halvings may look at, in their order."""
    cdef size_t first = lookup.first
    cdef size_t half = lookup.left // 2
    cdef size_t quarter = (lookup.left - half) // 2
    cdef size_t eighth = (lookup.left - half - quarter) // 2
    load_node(nodes, first + half, lookup.key_size)
    load_node(nodes, first + quarter, lookup.key_size)
    load_node(nodes, first + half + quarter, lookup.key_size)
    load_node(nodes, first + eighth, lookup.key_size)
    load_node(nodes, first + quarter + eighth, lookup.key_size)
    load_node(nodes, first + half + eighth, lookup.key_size)
    load_node(nodes, first + half + quarter + eighth, lookup.key_size)


cdef void find_value(Lookup *lookup, const Nodes *nodes) noexcept nogil:
    cdef Node node
    cdef const uint8_t *key = open_node(nodes, lookup.first, &node)
    cdef size_t size
    if (key == NULL or node.flags != 0 or node.key_size != lookup.key_size
            or memcmp(key, lookup.key, lookup.key_size) != 0):
        return
    key += node.key_size
    size = value_size(&node)
    if size > <size_t>(nodes.page + nodes.page_size - key):
        return
    lookup.value.mv_data, lookup.value.mv_size = <void *>key, size
    load(key, min(size, <size_t>VALUE_BYTES_AHEAD))


cdef void search_leaf(Lookup *lookup, const Pages *pages) noexcept nogil:
    cdef Nodes nodes
    cdef bint begun = lookup.state == LOOKUP_IN_LEAF
    lookup.state = LOOKUP_DONE
    if not open_page(pages, lookup.leaf, PAGE_LEAF, &nodes):
        return
    if not begun:
        lookup.first, lookup.left = 0, nodes.count
    elif not narrow(&nodes, lookup, LEVELS):
        return
    if lookup.left > 1:
        load_next(&nodes, lookup)
        lookup.state = LOOKUP_IN_LEAF
    else:
        find_value(lookup, &nodes)


cdef void lookup_advance(Lookup *lookup, const Pages *pages) noexcept nogil:
    if lookup.state == LOOKUP_DONE:
        return
    if lookup.state != LOOKUP_BEGUN:
        search_leaf(lookup, pages)
    elif pages.depth == 0 or lookup.key_size < WORD or not find_leaf(lookup, pages):
        lookup.state = LOOKUP_DONE
    else:
        load(lookup.leaf, HEAD_BYTES_AHEAD)
        lookup.state = LOOKUP_AT_LEAF


cdef bint lookup_finish(Lookup *lookup, const Pages *pages) noexcept nogil:
    while lookup.state != LOOKUP_DONE:
        lookup_advance(lookup, pages)
    return lookup.value.mv_data != NULL
