"""RangeRequest, as far as reading needs it."""
from regatta.store._record cimport USER_KEY_MAX
from regatta.store._scan cimport Query
from regatta.wire._reader cimport Slice

cdef struct Request:            # borrows the message's bytes
    Slice table
    Query query

# Decode a RangeRequest. Returns -1 if it is malformed.
cdef int request_decode(Slice message, Request *request) noexcept nogil


cdef inline bint request_is_sound(const Request *request) noexcept nogil:
    """Say whether nothing is wrong with a request, whatever tables there are."""
    cdef const Query *query = &request.query
    return (request.table.size > 0
            and 1 <= query.key.size <= USER_KEY_MAX
            and query.range_end.size <= USER_KEY_MAX
            and not (query.keys_only and query.count_only)
            # A negative number has the highest bit.
            and (query.limit | query.min_mod_revision | query.max_mod_revision
                 | query.min_create_revision | query.max_create_revision) >= 0)
