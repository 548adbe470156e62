class Compacted(Exception):
    """The asked index was compacted away; only a snapshot has what it held."""

    def __init__(self):
        super().__init__("requested index is unavailable due to compaction")


class Unavailable(Exception):
    """The asked index is beyond what is stored."""

    def __init__(self):
        super().__init__("requested entry at index is unavailable")


class SnapshotTemporarilyUnavailable(Exception):
    """There is no snapshot yet; ask again later."""

    def __init__(self):
        super().__init__("snapshot is temporarily unavailable")


cdef class Storage:

    cpdef tuple initial_state(self):
        raise NotImplementedError

    cpdef uint64_t first_index(self) except? 0:
        raise NotImplementedError

    cpdef uint64_t last_index(self) except? 0:
        raise NotImplementedError

    cpdef uint64_t term(self, uint64_t index) except? 0:
        raise NotImplementedError

    cpdef list entries(self, uint64_t low, uint64_t high, uint64_t bytes_max):
        raise NotImplementedError

    cpdef Snapshot snapshot(self):
        raise NotImplementedError
