from libc.stdint cimport uint64_t

from regatta.raft._message cimport ENTRY_NORMAL
from regatta.raft._message cimport MSG_APP_RESP
from regatta.raft._message cimport MSG_HEARTBEAT_RESP
from regatta.raft._message cimport MSG_PROP
from regatta.raft._message cimport MSG_READ_INDEX
from regatta.raft._message cimport MSG_READ_INDEX_RESP
from regatta.raft._message cimport MSG_SNAP_STATUS
from regatta.raft._message cimport MSG_TIMEOUT_NOW
from regatta.raft._message cimport MSG_TRANSFER_LEADER
from regatta.raft._message cimport MSG_UNREACHABLE
from regatta.raft._message cimport ROLE_LEADER
from regatta.raft._message cimport ConfChange
from regatta.raft._message cimport Entry
from regatta.raft._message cimport Message
from regatta.raft._message cimport entry_new
from regatta.raft._message cimport message_new
from regatta.raft._progress cimport Progress
from regatta.raft._replica cimport DEBUG
from regatta.raft._replica cimport INFO
from regatta.raft._replica cimport WARN
from regatta.raft._replica cimport Replica
from regatta.raft._replication cimport append_accepted
from regatta.raft._replication cimport append_refused
from regatta.raft._replication cimport broadcast_append
from regatta.raft._replication cimport broadcast_heartbeat
from regatta.raft._replication cimport heartbeat_answered
from regatta.raft._replication cimport peer_unreachable
from regatta.raft._replication cimport send_append
from regatta.raft._replication cimport snapshot_reported

from regatta.raft._codec import decode_conf_change
from regatta.raft._message import MalformedMessage
from regatta.raft._ready import ReadState
from regatta.raft.errors import ProposalDropped
from regatta.raft.errors import StepError

cdef tuple CHANGE_NAMES = ("ConfChangeAddNode", "ConfChangeRemoveNode", "ConfChangeUpdateNode",
                           "ConfChangeAddLearnerNode")
cdef tuple TRANSITION_NAMES = ("ConfChangeTransitionAuto", "ConfChangeTransitionJointImplicit",
                               "ConfChangeTransitionJointExplicit")

# --- Leading -------------------------------------------------------------------------------------


cdef int become_leader(Replica replica) except -1:
    cdef Progress own = replica.membership.find(replica.node)
    if own is None:
        # It was removed while it campaigned.
        return replica.become_follower(replica.term, 0)
    replica.reset(replica.term)
    replica.leader = replica.node
    replica.role_now = ROLE_LEADER
    own.become_replicate()
    own.recently_active = True
    # There may be a change in the log that is not applied yet; to assume it is cheaper than to look.
    replica.pending_conf_index = replica.log.last_index()
    replica.first_own_index = replica.log.last_index() + 1
    # Only an entry of this term can commit what earlier leaders left.
    append_own(replica, [entry_new(replica.term, replica.first_own_index, ENTRY_NORMAL, b"")])
    if replica.logger is not None:
        replica.say(INFO, f"{replica.node:x} became leader at term {replica.term}")
    broadcast_append(replica)
    return 0


cdef int leader_tick(Replica replica) except -1:
    replica.led_ticks += 1
    replica.heartbeat_elapsed += 1
    replica.election_elapsed += 1
    if replica.election_elapsed >= replica.election_ticks:
        replica.election_elapsed = 0
        if replica.check_quorum:
            check_quorum(replica)
        # By now the target should have won; take proposals again.
        replica.transferee = 0
    if replica.role_now == ROLE_LEADER and replica.heartbeat_elapsed >= replica.heartbeat_ticks:
        replica.heartbeat_elapsed = 0
        beat(replica)
    return 0


cdef int check_quorum(Replica replica) except -1:
    cdef Progress member = replica.membership.find(replica.node)
    if member is not None:
        member.recently_active = True
    if not replica.membership.is_active():
        if replica.logger is not None:
            replica.say(WARN, f"{replica.node:x} stepped down to follower since quorum is not "
                              "active")
        replica.become_follower(replica.term, 0)
    for member in replica.membership.members:
        if member.node != replica.node:
            member.recently_active = False
    return 0


cdef int leader_step(Replica replica, Message message) except -1:
    cdef int type = message.type
    cdef Progress peer
    if type == MSG_PROP:
        return propose_entries(replica, message.entries)
    if type == MSG_READ_INDEX:
        replica.reads.add(message.sender, message.context)
        return serve_reads(replica)
    if type not in (MSG_APP_RESP, MSG_HEARTBEAT_RESP, MSG_SNAP_STATUS, MSG_UNREACHABLE,
                    MSG_TRANSFER_LEADER):
        return 0                # what only others have to answer
    peer = replica.membership.find(message.sender)
    if peer is None:
        if replica.logger is not None:
            replica.say(DEBUG,
                        f"{replica.node:x} no progress available for {message.sender:x}")
    elif type == MSG_APP_RESP:
        append_answered(replica, peer, message)
    elif type == MSG_HEARTBEAT_RESP:
        heartbeat_answered(replica, peer)
        if message.context:
            read_confirmed(replica, peer, message.context)
    elif type == MSG_SNAP_STATUS:
        snapshot_reported(replica, peer, message.reject)
    elif type == MSG_UNREACHABLE:
        peer_unreachable(replica, peer)
    else:
        transfer(replica, peer)
    return 0


cdef int append_answered(Replica replica, Progress peer, Message message) except -1:
    cdef uint64_t last_index = replica.log.last_index()
    cdef uint64_t committed = replica.log.committed
    if message.reject:
        return append_refused(replica, peer, message)
    if message.index > last_index:
        raise StepError(f"raft: {peer.node:x} acknowledged index {message.index}, beyond the last "
                        f"one of the leader, {last_index}")
    if not append_accepted(replica, peer, message):
        return 0
    if replica.log.committed > committed:
        serve_reads(replica)
    if replica.transferee == peer.node and peer.match == last_index:
        if replica.logger is not None:
            replica.say(INFO, f"{replica.node:x} sent MsgTimeoutNow to {peer.node:x} after "
                              "received MsgAppResp")
        send_timeout_now(replica, peer.node)
    return 0


# --- Proposals -----------------------------------------------------------------------------------

cdef int propose_data(Replica replica, list datas) except -1:
    cdef uint64_t term = replica.term, index = replica.log.last_index()
    cdef uint64_t size_bytes = 0
    cdef list entries = []
    cdef bytes data
    check_open(replica)
    for data in datas:
        index += 1
        size_bytes += <uint64_t>len(data)
        entries.append(entry_new(term, index, ENTRY_NORMAL, data))
    reserve(replica, size_bytes)
    append_own(replica, entries)
    broadcast_append(replica)
    return 0


cdef int propose_entries(Replica replica, list entries) except -1:
    cdef uint64_t index = replica.log.last_index()
    cdef uint64_t pending_conf_index = replica.pending_conf_index
    cdef uint64_t size_bytes = 0
    cdef list numbered = []
    cdef Entry entry
    check_open(replica)
    for entry in entries:
        index += 1
        if entry.kind == ENTRY_NORMAL:
            entry = entry_new(replica.term, index, ENTRY_NORMAL, entry.data)
        elif is_acceptable(replica, entry, pending_conf_index):
            pending_conf_index = index
            entry = entry_new(replica.term, index, entry.kind, entry.data)
        else:
            # Whoever proposed it counts on an entry; one that changes nothing takes its place.
            entry = entry_new(replica.term, index, ENTRY_NORMAL, b"")
        size_bytes += <uint64_t>len(entry.data)
        numbered.append(entry)
    reserve(replica, size_bytes)
    replica.pending_conf_index = pending_conf_index
    append_own(replica, numbered)
    broadcast_append(replica)
    return 0


cdef int check_open(Replica replica) except -1:
    # A leader that was removed, or that hands over, takes nothing.
    if replica.membership.find(replica.node) is None:
        raise ProposalDropped
    if replica.transferee:
        if replica.logger is not None:
            replica.say(DEBUG, f"{replica.node:x} [term {replica.term}] transfer leadership to "
                               f"{replica.transferee:x} is in progress; dropping proposal")
        raise ProposalDropped
    return 0


cdef int reserve(Replica replica, uint64_t size_bytes) except -1:
    # A single proposal always fits, however large, and those without data cost nothing: a leader's
    # own entries must get through when it is full.
    if (replica.uncommitted_bytes_max and replica.uncommitted_bytes and size_bytes
            and replica.uncommitted_bytes + size_bytes > replica.uncommitted_bytes_max):
        if replica.logger is not None:
            replica.say(WARN, f"{replica.node:x} appending new entries to log would exceed "
                              "uncommitted entry size limit; dropping proposal")
        raise ProposalDropped
    replica.uncommitted_bytes += size_bytes
    return 0


cdef int append_own(Replica replica, list entries) except -1:
    cdef Message message
    if entries:
        replica.log.append(entries)
        # The leader's own copy counts once it is durable, so it answers itself by message, too.
        message = message_new(MSG_APP_RESP, replica.node)
        message.index = replica.log.last_index()
        replica.send(message)
    return 0


cdef bint is_acceptable(Replica replica, Entry entry, uint64_t pending_conf_index) except -1:
    # Only one change at a time, and none that the present configuration can't be followed by.
    cdef uint64_t applied = replica.log.applied
    cdef bint joint = replica.membership.configuration.is_joint()
    cdef ConfChange change
    try:
        change = decode_conf_change(entry.kind, entry.data)
    except MalformedMessage as error:
        raise StepError(f"raft: no membership change: {error}") from None
    if not replica.validates_conf_changes:
        return True
    if pending_conf_index > applied:
        reason = (f"possible unapplied conf change at index {pending_conf_index} "
                  f"(applied to {applied})")
    elif joint and change.changes:
        reason = "must transition out of joint config first"
    elif not joint and not change.changes:
        reason = "not in joint state; refusing empty conf change"
    else:
        return True
    if replica.logger is not None:
        replica.say(INFO, f"{replica.node:x} ignoring conf change {change_text(change)} at config "
                          f"{replica.membership.configuration}: {reason}")
    return False


cdef str change_text(ConfChange change):
    cdef str text = f"transition:{TRANSITION_NAMES[change.transition]}"
    for kind, node in change.changes:
        text += f" changes:{{type:{CHANGE_NAMES[kind]} node_id:{node}}}"
    if change.context:
        text += f" context:{quoted(change.context)}"
    return text


cdef str quoted(bytes data):
    # As text where it is printable, with backslashes for the rest.
    cdef dict named = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r",
                       "\a": "\\a", "\b": "\\b", "\f": "\\f", "\v": "\\v"}
    cdef list parts = []
    for char in data.decode("utf-8", "surrogateescape"):
        code = ord(char)
        if char in named:
            parts.append(named[char])
        elif 0xDC80 <= code <= 0xDCFF:
            parts.append(f"\\x{code - 0xDC00:02x}")
        elif char.isprintable():
            parts.append(char)
        elif code < 0x80:
            parts.append(f"\\x{code:02x}")
        else:
            parts.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(parts) + '"'


# --- Reads ---------------------------------------------------------------------------------------

cdef int serve_reads(Replica replica) except -1:
    cdef uint64_t committed = replica.log.committed
    if not replica.reads.waiting:
        return 0
    # Until it has committed in its term, a leader may not know how much its predecessor committed.
    if not replica.log.has(committed, replica.term):
        return 0
    if is_alone(replica) or holds_lease(replica):
        for requester, context in replica.reads.take_waiting():
            answer_read(replica, committed, requester, context)
    elif not replica.reads.rounds:
        beat(replica)           # else they go with the next round, once this one is confirmed
    return 0


cdef int beat(Replica replica) except -1:
    # Heartbeats are sent anyway, so whatever waits goes with them.
    cdef bint is_useful = len(replica.reads.waiting) > 0 or replica.lease_reads
    if is_useful and replica.log.has(replica.log.committed, replica.term):
        replica.reads.begin(replica.node, replica.log.committed, replica.led_ticks)
    broadcast_heartbeat(replica, replica.reads.token())
    return 0


cdef int release_reads(Replica replica) except -1:
    for index, requester, context in (
            replica.reads.take_confirmed(replica.membership.configuration)):
        answer_read(replica, index, requester, context)
    return serve_reads(replica)


cdef int read_confirmed(Replica replica, Progress peer, bytes token) except -1:
    # Only a replica that remembers this term after a crash remembers to keep its promise; what it
    # acknowledged was stored together with the term.
    if replica.lease_reads and peer.match < replica.first_own_index:
        return 0
    replica.reads.answer(peer.node, token)
    return release_reads(replica)


cdef int answer_read(Replica replica, uint64_t index, uint64_t requester,
                     bytes context) except -1:
    cdef Message message
    if requester == 0 or requester == replica.node:
        replica.read_states.append(ReadState(index, context))
        return 0
    message = message_new(MSG_READ_INDEX_RESP, requester)
    message.index = index
    message.context = context
    return replica.send(message)


cdef bint is_alone(Replica replica) except -1:
    cdef tuple voters = replica.membership.configuration.voters
    return (len(voters) == 1 and voters[0] == replica.node
            and not replica.membership.configuration.is_joint())


cdef bint holds_lease(Replica replica) except -1:
    # Whoever answered a heartbeat votes for nobody during election_ticks of its own clock, of which
    # the first may have been nearly over. Half of that is the margin for clocks that differ.
    if not replica.lease_reads or replica.lease_forfeited or not replica.reads.has_lease:
        return False
    return (replica.led_ticks - replica.reads.lease_start_tick
            < (replica.election_ticks - 1) // 2)


# --- Transfer ------------------------------------------------------------------------------------

cdef int transfer(Replica replica, Progress target) except -1:
    if target.is_learner:
        if replica.logger is not None:
            replica.say(DEBUG, f"{replica.node:x} is learner. Ignored transferring leadership")
        return 0
    if replica.transferee == target.node:
        if replica.logger is not None:
            replica.say(INFO, f"{replica.node:x} [term {replica.term}] transfer leadership to "
                              f"{target.node:x} is in progress, ignores request to same node "
                              f"{target.node:x}")
        return 0
    if replica.transferee:
        if replica.logger is not None:
            replica.say(INFO, f"{replica.node:x} [term {replica.term}] abort previous "
                              f"transferring leadership to {replica.transferee:x}")
        replica.transferee = 0
    if target.node == replica.node:
        if replica.logger is not None:
            replica.say(DEBUG, f"{replica.node:x} is already leader. Ignored transferring "
                               "leadership to self")
        return 0
    if replica.logger is not None:
        replica.say(INFO, f"{replica.node:x} [term {replica.term}] starts to transfer leadership "
                          f"to {target.node:x}")
    # It must be done within an election timeout.
    replica.election_elapsed = 0
    replica.transferee = target.node
    if target.match < replica.log.last_index():
        send_append(replica, target, True)
        return 0
    send_timeout_now(replica, target.node)
    if replica.logger is not None:
        replica.say(INFO, f"{replica.node:x} sends MsgTimeoutNow to {target.node:x} immediately as "
                          f"{target.node:x} already has up-to-date log")
    return 0


cdef int send_timeout_now(Replica replica, uint64_t target) except -1:
    # The message may be late, and the election that it starts ignores leases.
    replica.lease_forfeited = True
    return replica.send(message_new(MSG_TIMEOUT_NOW, target))
