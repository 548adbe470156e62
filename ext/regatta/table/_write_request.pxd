"""PutRequest, DeleteRangeRequest and TxnRequest, and the log's commands that they become."""
from regatta.wire._reader cimport Slice

cdef enum:
    WRITE_PUT = 0
    WRITE_DELETE = 1
    WRITE_TXN = 2

cdef struct Write:              # a request; borrows the message's bytes
    int kind                    # WRITE_*
    Slice table
    Slice key
    Slice value
    Slice range_end
    bint prev_kv                # may answer with pairs; of a transaction, any of its operations
    bint count
    bint adds_data              # may leave more behind than it finds
    Slice message               # of a transaction, whole
    size_t txn_size             # of the Txn that it becomes

# Decode a request of that kind. Returns -1 if it is malformed.
cdef int write_decode(Slice message, int kind, Write *write) noexcept nogil
# Say whether nothing is wrong with a request, whatever tables there are. A transaction that only
# reads counts as wrong: it is no write.
cdef bint write_is_sound(const Write *write) noexcept nogil
# Return the Command for the log, as protobuf itself would write it. Parts of a transaction are
# copied as they are.
cdef bytes encode_command(const Write *write)
