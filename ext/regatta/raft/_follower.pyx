from libc.stdint cimport uint64_t

from regatta.raft._election cimport CAMPAIGN_TRANSFER
from regatta.raft._election cimport campaign
from regatta.raft._election cimport vote_answered
from regatta.raft._membership cimport Membership
from regatta.raft._message cimport MSG_APP
from regatta.raft._message cimport MSG_APP_RESP
from regatta.raft._message cimport MSG_FORGET_LEADER
from regatta.raft._message cimport MSG_HEARTBEAT
from regatta.raft._message cimport MSG_HEARTBEAT_RESP
from regatta.raft._message cimport MSG_PRE_VOTE_RESP
from regatta.raft._message cimport MSG_PROP
from regatta.raft._message cimport MSG_READ_INDEX
from regatta.raft._message cimport MSG_READ_INDEX_RESP
from regatta.raft._message cimport MSG_SNAP
from regatta.raft._message cimport MSG_TIMEOUT_NOW
from regatta.raft._message cimport MSG_TRANSFER_LEADER
from regatta.raft._message cimport MSG_VOTE_RESP
from regatta.raft._message cimport Entry
from regatta.raft._message cimport Message
from regatta.raft._message cimport Snapshot
from regatta.raft._message cimport message_new
from regatta.raft._replica cimport DEBUG
from regatta.raft._replica cimport ERROR
from regatta.raft._replica cimport INFO
from regatta.raft._replica cimport Replica
from regatta.raft._replica cimport role_name

from regatta.raft._membership import MembershipError
from regatta.raft._ready import ReadState
from regatta.raft.errors import ProposalDropped
from regatta.raft.errors import StepError


cdef int follower_step(Replica replica, Message message) except -1:
    cdef int type = message.type
    if type == MSG_APP or type == MSG_HEARTBEAT or type == MSG_SNAP:
        check_leaders_message(replica, message)
        replica.election_elapsed = 0
        replica.leader = message.sender
        if type == MSG_APP:
            append(replica, message)
        elif type == MSG_HEARTBEAT:
            heartbeat(replica, message)
        else:
            install(replica, message.snapshot)
    elif type == MSG_PROP:
        forward_proposal(replica, message)
    elif type == MSG_READ_INDEX:
        if has_leader(replica, "index reading msg"):
            forward(replica, message)
    elif type == MSG_TRANSFER_LEADER:
        if has_leader(replica, "leader transfer msg"):
            forward(replica, message)
    elif type == MSG_READ_INDEX_RESP:
        replica.read_states.append(ReadState(message.index, message.context))
    elif type == MSG_FORGET_LEADER:
        forget_leader(replica)
    elif type == MSG_TIMEOUT_NOW:
        if replica.logger is not None:
            replica.say(INFO, f"{replica.node:x} [term {replica.term}] received MsgTimeoutNow from "
                              f"{message.sender:x} and starts an election to get leadership.")
        campaign(replica, CAMPAIGN_TRANSFER)
    return 0


cdef int candidate_step(Replica replica, Message message) except -1:
    cdef int type = message.type
    if type == MSG_APP or type == MSG_HEARTBEAT or type == MSG_SNAP:
        check_leaders_message(replica, message)
        replica.become_follower(replica.term, message.sender)
        follower_step(replica, message)
    elif type == MSG_VOTE_RESP or type == MSG_PRE_VOTE_RESP:
        vote_answered(replica, message)
    elif type == MSG_PROP:
        has_leader(replica, "proposal")     # it says that there is none
        raise ProposalDropped
    elif type == MSG_TIMEOUT_NOW and replica.logger is not None:
        replica.say(DEBUG, f"{replica.node:x} [term {replica.term} state "
                           f"{role_name(replica.role_now)}] ignored MsgTimeoutNow from "
                           f"{message.sender:x}")
    return 0


# --- The leader's messages -----------------------------------------------------------------------

# No honest leader sends what is refused here. Nothing is changed before it is known to be sound.
cdef int check_leaders_message(Replica replica, Message message) except -1:
    if message.type == MSG_APP:
        check_entries(replica, message)
    elif message.type == MSG_HEARTBEAT:
        # What it knows us to have is all that it may tell us to commit.
        if message.commit > replica.log.last_index():
            raise StepError(f"raft: heartbeat commits index {message.commit}, beyond the last one, "
                            f"{replica.log.last_index()}")
    elif message.snapshot is None:
        raise StepError("raft: there is no snapshot in a snapshot message")
    elif message.snapshot.index >> 63 or (
            message.term and message.snapshot.term > replica.term):
        raise StepError("raft: the snapshot is from the future")
    return 0


cdef int check_entries(Replica replica, Message message) except -1:
    cdef uint64_t index = message.index, term = message.log_term
    cdef Py_ssize_t i
    cdef Entry entry
    for i in range(len(message.entries)):
        entry = <Entry>message.entries[i]
        index += 1
        if entry.index != index:
            raise StepError(f"raft: entry {entry.index} stands where {index} should")
        if entry.term < term:
            raise StepError(f"raft: the term of entry {entry.index} is below the one before")
        term = entry.term
    if term > replica.term:
        raise StepError(f"raft: the entry at index {index} is from the future")
    return 0


cdef int append(Replica replica, Message message) except -1:
    cdef Message answer = message_new(MSG_APP_RESP, message.sender)
    cdef uint64_t last_sent = message.index + <uint64_t>len(message.entries)
    if message.index < replica.log.committed:
        # An old message: what is committed here is what the leader has.
        answer.index = replica.log.committed
    elif replica.log.append_after(message.index, message.log_term, message.entries):
        # What lies behind it may be an older leader's, and must not be committed with it.
        replica.log.commit_to(min(message.commit, last_sent))
        answer.index = last_sent
    else:
        refuse_append(replica, message, answer)
    return replica.send(answer)


cdef int refuse_append(Replica replica, Message message, Message answer) except -1:
    cdef uint64_t hint_term = 0
    if replica.logger is not None:
        replica.say(DEBUG, f"{replica.node:x} [logterm: "
                           f"{replica.log.term_or_zero(message.index)}, index: {message.index}] "
                           f"rejected MsgApp [logterm: {message.log_term}, index: "
                           f"{message.index}] from {message.sender:x}")
    answer.index = message.index
    answer.reject = True
    # The leader need not try indexes where our terms are beyond what it has there.
    answer.reject_hint = replica.log.last_within_term(
        min(message.index, replica.log.last_index()), message.log_term, &hint_term)
    answer.log_term = hint_term
    return 0


cdef int heartbeat(Replica replica, Message message) except -1:
    cdef Message answer = message_new(MSG_HEARTBEAT_RESP, message.sender)
    replica.log.commit_to(message.commit)
    answer.context = message.context
    return replica.send(answer)


cdef int install(Replica replica, Snapshot snapshot) except -1:
    cdef Message answer = message_new(MSG_APP_RESP, replica.leader)
    cdef bint is_restored = restore(replica, snapshot)
    answer.index = replica.log.last_index() if is_restored else replica.log.committed
    if replica.logger is not None:
        outcome = "restored" if is_restored else "ignored"
        replica.say(INFO, f"{replica.node:x} [commit: {replica.log.committed}] {outcome} snapshot "
                          f"[index: {snapshot.index}, term: {snapshot.term}]")
    return replica.send(answer)


cdef bint restore(Replica replica, Snapshot snapshot) except -1:
    cdef Membership membership
    if snapshot.index <= replica.log.committed:
        return False
    if replica.log.has(snapshot.index, snapshot.term):
        # The log has it all, and what follows besides.
        if replica.logger is not None:
            say_snapshot(replica, "fast-forwarded commit to", snapshot)
        replica.log.commit_to(snapshot.index)
        return False
    try:
        membership = replica.membership.rebuilt(snapshot.conf_state, snapshot.index)
    except MembershipError as error:
        raise StepError(f"raft: the snapshot's membership: {error}") from None
    replica.log.restore(snapshot)
    replica.set_membership(membership)
    if replica.logger is not None:
        say_snapshot(replica, "restored", snapshot)
    return True


cdef int say_snapshot(Replica replica, str action, Snapshot snapshot) except -1:
    return replica.say(INFO, f"{replica.node:x} [commit: {replica.log.committed}, lastindex: "
                             f"{replica.log.last_index()}, lastterm: {replica.log.last_term()}] "
                             f"{action} snapshot [index: {snapshot.index}, term: "
                             f"{snapshot.term}]")


# --- What is meant for the leader ----------------------------------------------------------------

cdef bint has_leader(Replica replica, str dropped) except -1:
    if replica.leader == 0 and replica.logger is not None:
        replica.say(INFO,
                    f"{replica.node:x} no leader at term {replica.term}; dropping {dropped}")
    return replica.leader != 0


cdef int forward_proposal(Replica replica, Message message) except -1:
    if not has_leader(replica, "proposal"):
        raise ProposalDropped
    if not replica.forwards_proposals:
        if replica.logger is not None:
            replica.say(INFO, f"{replica.node:x} not forwarding to leader {replica.leader:x} at "
                              f"term {replica.term}; dropping proposal")
        raise ProposalDropped
    return forward(replica, message)


cdef int forward(Replica replica, Message message) except -1:
    # The sender stays who it was: a transfer's target, a read's requester.
    cdef Message forwarded = message_new(message.type, replica.leader)
    forwarded.sender = message.sender
    forwarded.entries = message.entries
    forwarded.context = message.context
    return replica.send(forwarded)


cdef int forget_leader(Replica replica) except -1:
    if replica.lease_reads:
        # Its leader may answer reads on the promise that nobody votes for another.
        if replica.logger is not None:
            replica.say(ERROR, "ignoring MsgForgetLeader due to ReadOnlyLeaseBased")
        return 0
    if replica.leader:
        if replica.logger is not None:
            replica.say(INFO, f"{replica.node:x} forgetting leader {replica.leader:x} at term "
                              f"{replica.term}")
        replica.leader = 0
    return 0
