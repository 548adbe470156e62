"""Log commands (mvcc.v1.Command) and what is inside them, decoded in place."""
from libc.stdint cimport int32_t
from libc.stdint cimport int64_t
from libc.stdint cimport uint32_t

from regatta.wire._reader cimport Slice

cdef enum:
    COMMAND_PUT = 0
    COMMAND_DELETE = 1
    COMMAND_DUMMY = 2
    COMMAND_PUT_BATCH = 3
    COMMAND_DELETE_BATCH = 4
    COMMAND_TXN = 5
    COMMAND_SEQUENCE = 6

    COMMAND_BATCH_FIELD = 6
    COMMAND_SEQUENCE_FIELD = 10
    TXN_COMPARE_FIELD = 1
    TXN_SUCCESS_FIELD = 2
    TXN_FAILURE_FIELD = 3

    OP_NONE = 0                 # an operation with no request set; skipped
    OP_RANGE = 1
    OP_PUT = 2
    OP_DELETE = 3

    COMPARE_EQUAL = 0
    COMPARE_GREATER = 1
    COMPARE_LESS = 2
    COMPARE_NOT_EQUAL = 3

cdef struct Pair:               # of a KeyValue; revisions in commands mean nothing
    Slice key
    Slice value

cdef struct Source:             # of a batch of records; the numbers may be negative
    Slice topic                 # any bytes
    int32_t partition
    int64_t previous
    int64_t next
    int64_t skipped
    Slice topic_id              # empty if unknown

cdef struct Command:
    int type                    # COMMAND_*
    Pair kv
    Slice range_end             # empty for none
    bint prev_kvs
    bint count
    Slice txn
    bint has_source
    Source source               # all zeroes without one

cdef struct Operation:          # of a transaction
    int type                    # OP_*
    Slice key
    Slice range_end
    Slice value
    int64_t limit
    bint keys_only
    bint count_only
    bint prev_kv
    bint count

cdef struct Comparison:
    int result                  # COMPARE_*
    Slice key
    Slice range_end
    bint has_value              # without one it asks only whether the key exists
    Slice value

# All return -1 if the bytes are malformed. Repeated fields are walked with next_message.
cdef int command_decode(Slice message, Command *command) noexcept nogil
cdef int pair_decode(Slice message, Pair *pair) noexcept nogil
cdef int operation_decode(Slice message, Operation *operation) noexcept nogil
cdef int comparison_decode(Slice message, Comparison *comparison) noexcept nogil
# Take the next message in field *number* off *rest*: 1, 0 at the end, -1 if malformed.
cdef int next_message(Slice *rest, uint32_t number, Slice *message) noexcept nogil
