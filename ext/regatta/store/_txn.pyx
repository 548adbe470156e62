from libc.errno cimport ENOMEM
from libc.stdint cimport uint8_t
from libc.stdint cimport uint32_t
from libc.string cimport memset

from regatta.store._env cimport cursor_close
from regatta.store._env cimport cursor_get
from regatta.store._env cimport cursor_open
from regatta.store._env cimport txn_abort
from regatta.store._env cimport txn_begin
from regatta.store._env cimport txn_commit
from regatta.store._lmdb_h cimport MDB_NEXT
from regatta.store._lmdb_h cimport MDB_NOTFOUND
from regatta.store._lmdb_h cimport MDB_SET_KEY
from regatta.store._lmdb_h cimport MDB_SET_RANGE
from regatta.store._lmdb_h cimport MDB_cursor
from regatta.store._lmdb_h cimport MDB_val
from regatta.store._pairs cimport PAIRS_DAMAGED
from regatta.store._pairs cimport pair_put
from regatta.store._pairs cimport pairs_delete
from regatta.store._pairs cimport pairs_read
from regatta.store._pairs cimport refuse
from regatta.store._record cimport STORED_KEY_MAX
from regatta.store._record cimport USER_KEY_MAX
from regatta.store._record cimport Record
from regatta.store._record cimport record_open
from regatta.store._record cimport stored_key
from regatta.store._scan cimport Query
from regatta.store._scan cimport Work
from regatta.store._scan cimport compare_bytes
from regatta.store._scan cimport key_in_range
from regatta.store._scan cimport work_spend
from regatta.wire._command cimport COMPARE_EQUAL
from regatta.wire._command cimport COMPARE_GREATER
from regatta.wire._command cimport COMPARE_LESS
from regatta.wire._command cimport OP_DELETE
from regatta.wire._command cimport OP_NONE
from regatta.wire._command cimport OP_PUT
from regatta.wire._command cimport OP_RANGE
from regatta.wire._command cimport TXN_COMPARE_FIELD
from regatta.wire._command cimport TXN_FAILURE_FIELD
from regatta.wire._command cimport TXN_SUCCESS_FIELD
from regatta.wire._command cimport Comparison
from regatta.wire._command cimport Operation
from regatta.wire._command cimport comparison_decode
from regatta.wire._command cimport next_message
from regatta.wire._command cimport operation_decode
from regatta.wire._writer cimport message_begin
from regatta.wire._writer cimport message_end
from regatta.wire._writer cimport write_varint

from regatta import limits
from regatta.errors import Code

cdef int INTERNAL = Code.INTERNAL
cdef int RESOURCE_EXHAUSTED = Code.RESOURCE_EXHAUSTED
cdef size_t answer_bytes_max = limits.txn_answer_bytes_max
cdef uint64_t pairs_max = limits.txn_pairs_max
cdef uint64_t read_bytes_max = limits.txn_read_bytes_max


cdef int transact(MDB_env *env, MDB_txn *txn, MDB_dbi dbi, Table *table, Slice message,
                  uint64_t revision, Buffer *result, Outcome *outcome) noexcept nogil:
    cdef MDB_txn *inner = txn
    cdef Table table_before = table[0]
    cdef size_t result_before = result.size
    # Only answers that hold pairs can grow too large or meet damage, only ranges can look at too
    # much, and only malformed lists can end half way; a nested LMDB transaction costs two
    # megabytes of memory, so that plain puts and deletes go without.
    cdef bint may_be_refused = _may_be_refused(message)
    cdef Work work
    cdef int code
    work_begin(&work, NULL)
    if may_be_refused:
        code = txn_begin(env, txn, 0, &inner)
        if code != 0:
            return code
    code = _run(inner, dbi, table, message, revision, &work, result, outcome)
    if may_be_refused:
        if code == 0 and outcome.code == 0:
            return txn_commit(inner)
        txn_abort(inner)
    if outcome.code != 0:
        table[0] = table_before
        result.size = result_before
    return code


cdef int transact_read_only(MDB_txn *txn, MDB_dbi dbi, Table *table, Slice message,
                            const bint *cancelled, Buffer *result,
                            Outcome *outcome) noexcept nogil:
    cdef Work work
    work_begin(&work, cancelled)
    return _run(txn, dbi, table, message, 0, &work, result, outcome)


cdef void work_begin(Work *work, const bint *cancelled) noexcept nogil:
    work.pairs_left, work.bytes_left = pairs_max, read_bytes_max
    work.cancelled = cancelled


cdef bint _may_be_refused(Slice message) noexcept nogil:
    return (_list_may_be_refused(message, TXN_SUCCESS_FIELD)
            or _list_may_be_refused(message, TXN_FAILURE_FIELD))


cdef bint _list_may_be_refused(Slice message, uint32_t number) noexcept nogil:
    cdef Slice part
    cdef Operation operation
    cdef int more
    while True:
        more = next_message(&message, number, &part)
        if more == 0:
            return False
        if more < 0 or operation_decode(part, &operation) < 0:
            return True
        if operation.type == OP_RANGE or operation.prev_kv or operation.range_end.size:
            return True


cdef int _run(MDB_txn *txn, MDB_dbi dbi, Table *table, Slice message, uint64_t revision,
              Work *work, Buffer *result, Outcome *outcome) noexcept nogil:
    cdef Slice rest = message, part
    cdef Operation operation
    cdef size_t result_before = result.size
    cdef bint holds
    cdef uint32_t branch
    cdef int more
    cdef int code = _comparisons_hold(txn, dbi, table, message, work, &holds)
    if code != 0:
        return refuse(code, outcome)
    outcome.failure_branch = not holds
    branch = TXN_SUCCESS_FIELD if holds else TXN_FAILURE_FIELD
    while True:
        more = next_message(&rest, branch, &part)
        if more == 0:
            return 0
        if more < 0 or operation_decode(part, &operation) < 0:
            outcome.code, outcome.text = INTERNAL, b"malformed transaction in the log"
            return 0
        if operation.type == OP_NONE:
            continue
        code = _operate(txn, dbi, table, &operation, revision, work, result)
        if code != 0:
            return refuse(code, outcome)
        if result.size - result_before > answer_bytes_max:
            outcome.code = RESOURCE_EXHAUSTED
            outcome.text = b"the transaction's answer exceeds 16 MiB; nothing was changed"
            return 0


cdef int _operate(MDB_txn *txn, MDB_dbi dbi, Table *table, const Operation *operation,
                  uint64_t revision, Work *work, Buffer *result) noexcept nogil:
    """Run one operation and append its ResponseOp."""
    cdef size_t response, body
    cdef uint64_t deleted
    cdef int code
    cdef Query query
    if not 1 <= operation.key.size <= USER_KEY_MAX:
        return 0                # refused before it was proposed
    memset(&query, 0, sizeof(query))
    query.key, query.range_end = operation.key, operation.range_end
    # A ResponseOp's fields have the numbers of the RequestOp's.
    if (message_begin(result, 1, &response) < 0
            or message_begin(result, <uint32_t>operation.type, &body) < 0):
        return ENOMEM
    if operation.type == OP_PUT:
        code = pair_put(txn, dbi, table, operation.key, operation.value, revision,
                        result if operation.prev_kv else NULL, 1)
    elif operation.type == OP_DELETE:
        code = pairs_delete(txn, dbi, table, &query,
                            result if operation.prev_kv else NULL, 2, work, &deleted)
        if code == 0 and (operation.count or operation.prev_kv):
            write_varint(result, 1, deleted)
    else:
        query.limit = operation.limit
        query.keys_only, query.count_only = operation.keys_only, operation.count_only
        code = _read(txn, dbi, table, &query, work, result)
    if code == 0 and (message_end(result, body) < 0 or message_end(result, response) < 0):
        return ENOMEM
    return code


cdef int _read(MDB_txn *txn, MDB_dbi dbi, const Table *table, const Query *query,
               Work *work, Buffer *result) noexcept nogil:
    cdef uint64_t count
    cdef bint more
    cdef int code = pairs_read(txn, dbi, table, query, result, 1, work, &count, &more)
    if code == 0 and (write_varint(result, 2, more) < 0 or write_varint(result, 3, count) < 0):
        return ENOMEM
    return code


cdef int _comparisons_hold(MDB_txn *txn, MDB_dbi dbi, const Table *table, Slice message,
                           Work *work, bint *holds) noexcept nogil:
    cdef Slice part
    cdef Comparison comparison
    cdef int code
    holds[0] = True
    while holds[0] and next_message(&message, TXN_COMPARE_FIELD, &part) > 0:
        if comparison_decode(part, &comparison) < 0 or not 1 <= comparison.key.size <= USER_KEY_MAX:
            holds[0] = False
            return 0
        code = _comparison_holds(txn, dbi, table, &comparison, work, holds)
        if code != 0:
            return code
    return 0


cdef int _comparison_holds(MDB_txn *txn, MDB_dbi dbi, const Table *table,
                           const Comparison *comparison, Work *work,
                           bint *holds) noexcept nogil:
    """A missing key, or an empty range, makes any comparison false."""
    cdef uint8_t[STORED_KEY_MAX] key_bytes
    cdef MDB_cursor *cursor = NULL
    cdef MDB_val key, value
    cdef Query query
    cdef bint ranged = comparison.range_end.size > 0
    cdef int code = cursor_open(txn, dbi, &cursor)
    if code != 0:
        return code
    holds[0] = False
    query.range_end = comparison.range_end
    stored_key(key_bytes, table.id, comparison.key, &key)
    code = cursor_get(cursor, &key, &value, MDB_SET_RANGE if ranged else MDB_SET_KEY)
    while code == 0 and (not ranged or key_in_range(&key, table.id, &query)):
        code = work_spend(work, value.mv_size if comparison.has_value else 0)
        if code == 0:
            code = _pair_compares(&key, &value, comparison, holds)
        if code != 0 or not holds[0] or not ranged or not comparison.has_value:
            break
        code = cursor_get(cursor, &key, &value, MDB_NEXT)
    cursor_close(cursor)
    return 0 if code == MDB_NOTFOUND else code


cdef int _pair_compares(const MDB_val *key, const MDB_val *value, const Comparison *comparison,
                        bint *holds) noexcept nogil:
    cdef Record record
    cdef int order
    if not comparison.has_value:
        holds[0] = True
        return 0
    if record_open(key, value, &record) < 0:
        return PAIRS_DAMAGED
    order = compare_bytes(record.value.data, record.value.size,
                          comparison.value.data, comparison.value.size)
    if comparison.result == COMPARE_EQUAL:
        holds[0] = order == 0
    elif comparison.result == COMPARE_GREATER:
        holds[0] = order > 0
    elif comparison.result == COMPARE_LESS:
        holds[0] = order < 0
    else:
        holds[0] = order != 0
    return 0
