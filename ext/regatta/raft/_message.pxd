"""What replicas say to each other and keep: values that nobody changes once they are handed on."""
cimport cython
from libc.stdint cimport uint64_t

from regatta.wire._varint cimport varint_size

cdef enum:                      # EntryKind
    ENTRY_NORMAL = 0
    ENTRY_CONF_CHANGE = 1
    ENTRY_CONF_CHANGE_V2 = 2

cdef enum:                      # MessageType
    MSG_HUP = 0
    MSG_BEAT = 1
    MSG_PROP = 2
    MSG_APP = 3
    MSG_APP_RESP = 4
    MSG_VOTE = 5
    MSG_VOTE_RESP = 6
    MSG_SNAP = 7
    MSG_HEARTBEAT = 8
    MSG_HEARTBEAT_RESP = 9
    MSG_UNREACHABLE = 10
    MSG_SNAP_STATUS = 11
    MSG_CHECK_QUORUM = 12
    MSG_TRANSFER_LEADER = 13
    MSG_TIMEOUT_NOW = 14
    MSG_READ_INDEX = 15
    MSG_READ_INDEX_RESP = 16
    MSG_PRE_VOTE = 17
    MSG_PRE_VOTE_RESP = 18
    MSG_STORAGE_APPEND = 19
    MSG_STORAGE_APPEND_RESP = 20
    MSG_STORAGE_APPLY = 21
    MSG_STORAGE_APPLY_RESP = 22
    MSG_FORGET_LEADER = 23

cdef enum:                      # Role
    ROLE_FOLLOWER = 0
    ROLE_CANDIDATE = 1
    ROLE_LEADER = 2
    ROLE_PRE_CANDIDATE = 3

cdef enum:                      # ProgressState
    PROGRESS_PROBE = 0
    PROGRESS_REPLICATE = 1
    PROGRESS_SNAPSHOT = 2

cdef enum:                      # Transition
    TRANSITION_AUTO = 0
    TRANSITION_JOINT_IMPLICIT = 1
    TRANSITION_JOINT_EXPLICIT = 2

cdef enum:                      # ChangeKind
    CHANGE_ADD_NODE = 0
    CHANGE_REMOVE_NODE = 1
    CHANGE_UPDATE_NODE = 2
    CHANGE_ADD_LEARNER_NODE = 3

cdef inline uint64_t no_node() noexcept nogil:
    return 0


cdef inline uint64_t append_thread() noexcept nogil:
    """Return the address that storage writes go to and are acknowledged from."""
    return <uint64_t>-1


cdef inline uint64_t apply_thread() noexcept nogil:
    """Return the address that committed entries go to and are acknowledged from."""
    return <uint64_t>-2


cdef inline bint is_storage_thread(uint64_t address) noexcept nogil:
    return address >= apply_thread()


@cython.final
cdef class Entry:
    cdef readonly uint64_t term
    cdef readonly uint64_t index
    cdef readonly int kind      # ENTRY_*
    cdef readonly bytes data


cdef Entry entry_new(uint64_t term, uint64_t index, int kind, bytes data)


cdef inline uint64_t _tagged_size(uint64_t value) noexcept nogil:
    # A zero is left out; any other number has a tag of one byte before it.
    return 1 + varint_size(value) if value else 0


cdef inline uint64_t entry_size(Entry entry) noexcept:
    """Return the bytes that encode_entry(entry) would make: what all limits count."""
    cdef uint64_t data_bytes = <uint64_t>len(entry.data)
    return (_tagged_size(entry.term) + _tagged_size(entry.index)
            + _tagged_size(<uint64_t>entry.kind) + _tagged_size(data_bytes) + data_bytes)


@cython.final
cdef class HardState:
    cdef readonly uint64_t term
    cdef readonly uint64_t vote
    cdef readonly uint64_t commit


cdef HardState hard_state_new(uint64_t term, uint64_t vote, uint64_t commit)


cdef inline bint hard_state_is_empty(HardState state) noexcept:
    return state.term == 0 and state.vote == 0 and state.commit == 0


@cython.final
cdef class ConfState:           # all tuples are sorted and hold no id twice
    cdef readonly tuple voters
    cdef readonly tuple voters_outgoing
    cdef readonly tuple learners
    cdef readonly tuple learners_next
    cdef readonly bint auto_leave


@cython.final
cdef class Snapshot:
    cdef readonly uint64_t index
    cdef readonly uint64_t term
    cdef readonly ConfState conf_state
    cdef readonly bytes data


@cython.final
cdef class ConfChange:
    cdef readonly tuple changes         # of (ChangeKind, node)
    cdef readonly int transition        # TRANSITION_*
    cdef readonly bytes context
    cdef readonly bint v1


@cython.final
cdef class Message:
    cdef public int type                # MSG_*
    cdef public uint64_t to
    cdef public uint64_t sender
    cdef public uint64_t term
    cdef public uint64_t log_term
    cdef public uint64_t index
    cdef public uint64_t commit
    cdef public uint64_t vote
    cdef public uint64_t reject_hint
    cdef public bint reject
    cdef public list entries            # of Entry
    cdef public list responses          # of Message
    cdef public bytes context
    cdef public Snapshot snapshot       # or None

# Return a message with nothing but these set.
cdef Message message_new(int type, uint64_t to)
