cimport cython
from libc.stdint cimport uint64_t

from regatta.raft._election cimport CAMPAIGN_ELECTION
from regatta.raft._election cimport CAMPAIGN_PRE_VOTE
from regatta.raft._election cimport accept_term
from regatta.raft._election cimport campaign
from regatta.raft._election cimport follower_tick
from regatta.raft._election cimport vote_requested
from regatta.raft._follower cimport candidate_step
from regatta.raft._follower cimport follower_step
from regatta.raft._leader cimport leader_step
from regatta.raft._leader cimport leader_tick
from regatta.raft._leader cimport propose_data
from regatta.raft._leader cimport propose_entries
from regatta.raft._leader cimport release_reads
from regatta.raft._leader cimport serve_reads
from regatta.raft._log cimport entries_size
from regatta.raft._membership cimport Membership
from regatta.raft._message cimport ENTRY_CONF_CHANGE_V2
from regatta.raft._message cimport MSG_APP_RESP
from regatta.raft._message cimport MSG_BEAT
from regatta.raft._message cimport MSG_CHECK_QUORUM
from regatta.raft._message cimport MSG_FORGET_LEADER
from regatta.raft._message cimport MSG_HEARTBEAT_RESP
from regatta.raft._message cimport MSG_HUP
from regatta.raft._message cimport MSG_PRE_VOTE
from regatta.raft._message cimport MSG_PRE_VOTE_RESP
from regatta.raft._message cimport MSG_PROP
from regatta.raft._message cimport MSG_READ_INDEX
from regatta.raft._message cimport MSG_READ_INDEX_RESP
from regatta.raft._message cimport MSG_SNAP_STATUS
from regatta.raft._message cimport MSG_STORAGE_APPEND
from regatta.raft._message cimport MSG_STORAGE_APPEND_RESP
from regatta.raft._message cimport MSG_STORAGE_APPLY
from regatta.raft._message cimport MSG_STORAGE_APPLY_RESP
from regatta.raft._message cimport MSG_TRANSFER_LEADER
from regatta.raft._message cimport MSG_UNREACHABLE
from regatta.raft._message cimport MSG_VOTE
from regatta.raft._message cimport MSG_VOTE_RESP
from regatta.raft._message cimport ROLE_FOLLOWER
from regatta.raft._message cimport ROLE_LEADER
from regatta.raft._message cimport ConfChange
from regatta.raft._message cimport ConfState
from regatta.raft._message cimport Entry
from regatta.raft._message cimport HardState
from regatta.raft._message cimport Message
from regatta.raft._message cimport Snapshot
from regatta.raft._message cimport append_thread
from regatta.raft._message cimport apply_thread
from regatta.raft._message cimport entry_new
from regatta.raft._message cimport hard_state_is_empty
from regatta.raft._message cimport hard_state_new
from regatta.raft._message cimport is_storage_thread
from regatta.raft._message cimport message_new
from regatta.raft._progress cimport Progress
from regatta.raft._ready cimport Ready
from regatta.raft._replica cimport DEBUG
from regatta.raft._replica cimport INFO
from regatta.raft._replica cimport Replica
from regatta.raft._replication cimport advance_commit
from regatta.raft._replication cimport broadcast_append
from regatta.raft._replication cimport send_append
from regatta.raft._storage cimport Storage

from regatta.raft._codec import encode_conf_change
from regatta.raft._message import Role
from regatta.raft._ready import SoftState
from regatta.raft._ready import Status
from regatta.raft.errors import ProposalDropped
from regatta.raft.errors import StepError


@cython.final
cdef class Core:

    def __init__(self, config, Storage storage not None, log=None):
        cdef Replica replica = Replica(config, storage, log)
        self.replica = replica
        self.async_storage_writes = config.async_storage_writes
        self.steps_on_advance = []
        restart(replica, storage, config.applied)
        self.told_leader = replica.leader
        self.told_role = replica.role_now
        self.told_hard_state = self.hard_state()

    # --- Time, proposals, reads ------------------------------------------------------------------

    cpdef int tick(self) except -1:
        if self.replica.grace_ticks:
            self.replica.grace_ticks -= 1
        if self.replica.role_now == ROLE_LEADER:
            return leader_tick(self.replica)
        return follower_tick(self.replica)

    def campaign(self):
        campaign(self.replica, CAMPAIGN_PRE_VOTE if self.replica.pre_vote else CAMPAIGN_ELECTION)

    def propose(self, bytes data not None):
        self.propose_batch([data])

    cpdef int propose_batch(self, list datas) except -1:
        cdef Message message
        if not datas:
            return 0
        if self.replica.role_now == ROLE_LEADER:
            return propose_data(self.replica, datas)
        message = message_new(MSG_PROP, 0)
        for data in datas:
            message.entries.append(Entry(data=data))
        return self.step_own(message)

    def propose_conf_change(self, ConfChange change not None):
        cdef Message message = message_new(MSG_PROP, 0)
        kind, data = encode_conf_change(change)
        message.entries.append(Entry(0, 0, kind, data))
        self.step_own(message)

    def read_index(self, bytes context not None):
        cdef Message message = message_new(MSG_READ_INDEX, 0)
        message.context = context
        self.step_own(message)

    def transfer_leader(self, uint64_t node):
        cdef Message message = message_new(MSG_TRANSFER_LEADER, 0)
        message.sender = node
        step_by_role(self.replica, message)

    def forget_leader(self):
        self.step_own(message_new(MSG_FORGET_LEADER, 0))

    def report_unreachable(self, uint64_t node):
        cdef Message message = message_new(MSG_UNREACHABLE, 0)
        message.sender = node
        step_by_role(self.replica, message)

    def report_snapshot(self, uint64_t node, bint ok):
        cdef Message message = message_new(MSG_SNAP_STATUS, 0)
        message.sender = node
        message.reject = not ok
        step_by_role(self.replica, message)

    cdef int step_own(self, Message message) except -1:
        message.sender = self.replica.node
        return step_by_role(self.replica, message)

    cpdef int step(self, Message message) except -1:
        check_message(self.replica, message)
        return step_any(self.replica, message)

    # --- Membership ------------------------------------------------------------------------------

    def apply_conf_change(self, ConfChange change not None):
        cdef Replica replica = self.replica
        cdef Membership changed = replica.membership.changed(change, replica.log.last_index())
        replica.set_membership(changed)
        if replica.role_now == ROLE_LEADER:
            lead_on(replica)
        return changed.configuration.conf_state()

    # --- Ready -----------------------------------------------------------------------------------

    cpdef bint has_ready(self) except -1:
        cdef Replica replica = self.replica
        return (len(replica.messages) > 0 or len(replica.messages_after_append) > 0
                or replica.log.handed <= replica.log.last_index()
                or replica.log.has_entries_to_apply(self.async_storage_writes)
                or (replica.log.snapshot is not None and not replica.log.snapshot_handed)
                or self.soft_state_changed() or self.hard_state_changed()
                or len(replica.read_states) > 0)

    cpdef Ready ready(self):
        cdef Replica replica = self.replica
        cdef Ready ready = Ready.__new__(Ready)
        if self.steps_on_advance:
            raise RuntimeError("the last Ready was not followed by advance()")
        if self.soft_state_changed():
            ready.soft_state = self.soft_state()
        if self.hard_state_changed():
            ready.hard_state = self.hard_state()
        ready.entries = replica.log.entries_to_store()
        if replica.log.snapshot is not None and not replica.log.snapshot_handed:
            ready.snapshot = replica.log.snapshot
        ready.committed_entries = replica.log.entries_to_apply(self.async_storage_writes)
        ready.read_states = replica.read_states
        # What is only committed is found again after a crash.
        ready.must_sync = len(ready.entries) > 0 or (
            replica.term != self.told_hard_state.term or replica.vote != self.told_hard_state.vote)
        if self.async_storage_writes:
            ready.messages = messages_to_all(replica, ready)
        else:
            ready.messages = messages_to_others(replica)
            self.steps_on_advance = own_messages(replica, ready)
        self.accept(ready)
        return ready

    cdef int accept(self, Ready ready) except -1:
        cdef Replica replica = self.replica
        if ready.soft_state is not None:
            self.told_leader = replica.leader
            self.told_role = replica.role_now
        if ready.hard_state is not None:
            self.told_hard_state = ready.hard_state
        replica.messages, replica.messages_after_append, replica.read_states = [], [], []
        return replica.log.accept(ready.committed_entries, self.async_storage_writes)

    cpdef int advance(self) except -1:
        cdef list steps = self.steps_on_advance
        cdef Message message
        if self.async_storage_writes:
            raise RuntimeError("with asynchronous storage writes their answers are stepped")
        self.steps_on_advance = []
        for message in steps:
            step_any(self.replica, message)
        return 0

    # --- Looking ---------------------------------------------------------------------------------

    cdef bint soft_state_changed(self) noexcept:
        return (self.told_leader != self.replica.leader
                or self.told_role != self.replica.role_now)

    cdef bint hard_state_changed(self) noexcept:
        cdef Replica replica = self.replica
        return (replica.log.committed != self.told_hard_state.commit
                or replica.term != self.told_hard_state.term
                or replica.vote != self.told_hard_state.vote)

    cdef object soft_state(self):
        return SoftState(self.replica.leader, Role(self.replica.role_now))

    cdef HardState hard_state(self):
        return hard_state_new(self.replica.term, self.replica.vote, self.replica.log.committed)

    def status(self):
        cdef bint leads = self.replica.role_now == ROLE_LEADER
        return Status(
            self.replica.node, self.hard_state(), self.soft_state(), self.replica.log.applied,
            self.replica.membership.configuration,
            self.replica.membership.progress if leads else {}, self.replica.transferee)

    @property
    def node(self):
        return self.replica.node

    @property
    def term(self):
        return self.replica.term

    @property
    def vote(self):
        return self.replica.vote

    @property
    def role(self):
        return Role(self.replica.role_now)

    @property
    def leader(self):
        return self.replica.leader

    @property
    def committed(self):
        return self.replica.log.committed

    @property
    def applied(self):
        return self.replica.log.applied

    @property
    def applying(self):
        return self.replica.log.applying

    @property
    def first_index(self):
        return self.replica.log.first_index()

    @property
    def last_index(self):
        return self.replica.log.last_index()

    @property
    def configuration(self):
        return self.replica.membership.configuration

    @property
    def conf_state(self):
        return self.replica.membership.configuration.conf_state()

    @property
    def lead_transferee(self):
        return self.replica.transferee

    @property
    def election_elapsed(self):
        return self.replica.election_elapsed

    @property
    def election_timeout(self):
        return self.replica.timeout_ticks

    @election_timeout.setter
    def election_timeout(self, uint64_t ticks):
        self.replica.timeout_ticks = ticks


# --- Starting ------------------------------------------------------------------------------------

cdef int restart(Replica replica, Storage storage, uint64_t applied) except -1:
    # Go on from what storage has. A hard state may be older than what was applied, for a commit
    # alone is not synced.
    cdef HardState hard_state
    cdef ConfState conf_state
    cdef uint64_t last_index = replica.log.last_index()
    hard_state, conf_state = storage.initial_state()
    if hard_state.commit > last_index or applied > last_index:
        raise ValueError(f"the log ends at {last_index}, before its commit {hard_state.commit} "
                         f"or what was applied, {applied}")
    if 0 < applied < replica.log.applied:
        raise ValueError(f"the log begins after {replica.log.applied}, but only {applied} was "
                         "applied")
    replica.set_membership(replica.membership.rebuilt(conf_state, last_index))
    replica.term = hard_state.term
    replica.vote = hard_state.vote
    replica.log.commit_to(max(hard_state.commit, applied))
    if applied:
        replica.log.applied_to(applied, 0)
    if replica.lease_reads and hard_state.term:
        replica.grace_ticks = replica.election_ticks
    replica.become_follower(replica.term, 0)
    if replica.logger is not None:
        peers = ",".join(
            [f"{node:x}" for node in replica.membership.configuration.all_voters()])
        replica.say(INFO, f"newRaft {replica.node:x} [peers: [{peers}], term: {replica.term}, "
                          f"commit: {replica.log.committed}, applied: {replica.log.applied}, "
                          f"lastindex: {last_index}, lastterm: {replica.log.last_term()}]")
    return 0


# --- Messages in ---------------------------------------------------------------------------------

cdef int check_message(Replica replica, Message message) except -1:
    # What no honest member or driver sends, and what would have to be handled everywhere else.
    cdef int type = message.type
    if not MSG_HUP <= type <= MSG_FORGET_LEADER:
        raise StepError(f"raft: {type} is no type of message")
    if (message.term | message.log_term | message.index | message.commit) >> 63:
        raise StepError("raft: a number is out of range")
    if is_storage_thread(message.sender):
        return 0
    if type in (MSG_HUP, MSG_BEAT, MSG_UNREACHABLE, MSG_SNAP_STATUS, MSG_CHECK_QUORUM,
                MSG_STORAGE_APPEND, MSG_STORAGE_APPEND_RESP, MSG_STORAGE_APPLY,
                MSG_STORAGE_APPLY_RESP):
        raise StepError("raft: cannot step raft local message")
    if type in (MSG_APP_RESP, MSG_VOTE_RESP, MSG_HEARTBEAT_RESP, MSG_READ_INDEX_RESP,
                MSG_PRE_VOTE_RESP) and replica.membership.find(message.sender) is None:
        raise StepError("raft: cannot step as peer not found")
    if message.term == 0 and type in (MSG_VOTE, MSG_VOTE_RESP, MSG_PRE_VOTE, MSG_PRE_VOTE_RESP):
        raise StepError("raft: a vote is for no term")
    if type == MSG_PROP and not message.entries:
        raise StepError("raft: there is nothing in a proposal")
    return 0


cdef int step_any(Replica replica, Message message) except -1:
    cdef int type = message.type
    cdef bint is_timely = accept_term(replica, message)
    if type == MSG_STORAGE_APPEND_RESP:
        return appended(replica, message, is_timely)
    if not is_timely:
        return 0
    if type == MSG_VOTE or type == MSG_PRE_VOTE:
        return vote_requested(replica, message)
    if type == MSG_STORAGE_APPLY_RESP:
        return applied(replica, message.entries)
    if type == MSG_HUP:
        return campaign(replica, CAMPAIGN_PRE_VOTE if replica.pre_vote else CAMPAIGN_ELECTION)
    return step_by_role(replica, message)


cdef int step_by_role(Replica replica, Message message) except -1:
    if replica.role_now == ROLE_LEADER:
        return leader_step(replica, message)
    if replica.role_now == ROLE_FOLLOWER:
        return follower_step(replica, message)
    return candidate_step(replica, message)


# --- What storage and the state machine have done ------------------------------------------------

cdef int appended(Replica replica, Message message, bint is_timely) except -1:
    cdef Snapshot snapshot = message.snapshot
    # A snapshot that is stored stays so, whoever leads now; entries may have been replaced.
    if is_timely and message.index:
        replica.log.stored_to(message.index, message.log_term)
    if snapshot is not None:
        if snapshot.index > replica.log.committed:
            raise StepError("raft: a snapshot was stored that nobody sent")
        replica.log.stored_snapshot(snapshot.index)
        applied_to(replica, max(snapshot.index, replica.log.applied), 0)
    return 0


cdef int applied(Replica replica, list entries) except -1:
    cdef uint64_t index, data_bytes = 0
    cdef Entry entry
    if not entries:
        return 0
    index = (<Entry>entries[len(entries) - 1]).index
    if index > replica.log.applying:
        raise StepError(f"raft: {index} was applied, which was not asked for")
    for entry in entries:
        data_bytes += <uint64_t>len(entry.data)
    replica.uncommitted_bytes -= min(replica.uncommitted_bytes, data_bytes)
    # A snapshot that was stored while they were applied may have gone beyond them.
    return applied_to(replica, max(index, replica.log.applied), entries_size(entries))


cdef int applied_to(Replica replica, uint64_t index, uint64_t size_bytes) except -1:
    replica.log.applied_to(index, size_bytes)
    if (replica.role_now == ROLE_LEADER and replica.membership.configuration.auto_leave
            and index >= replica.pending_conf_index):
        leave_joint(replica)
    return 0


cdef int leave_joint(Replica replica) except -1:
    configuration = replica.membership.configuration
    try:
        propose_entries(replica, [entry_new(0, 0, ENTRY_CONF_CHANGE_V2, b"")])
    except ProposalDropped as error:
        # It is tried again when the next entry is applied.
        if replica.logger is not None:
            replica.say(DEBUG, "not initiating automatic transition out of joint configuration "
                               f"{configuration}: {error}")
        return 0
    if replica.logger is not None:
        replica.say(INFO, "initiating automatic transition out of joint configuration "
                          f"{configuration}")
    return 0


# A leader goes on with a new membership.
cdef int lead_on(Replica replica) except -1:
    cdef Progress own = replica.membership.find(replica.node)
    cdef Progress peer
    if own is None or own.is_learner:
        if replica.steps_down_on_removal:
            replica.become_follower(replica.term, 0)
        return 0
    if advance_commit(replica):
        # Fewer may be needed for a quorum now.
        broadcast_append(replica)
        serve_reads(replica)
    else:
        for peer in replica.membership.members:
            if peer.node != replica.node:
                send_append(replica, peer, False)
    release_reads(replica)
    if replica.transferee and not replica.membership.configuration.has_voter(replica.transferee):
        replica.transferee = 0
    return 0


# --- Messages out --------------------------------------------------------------------------------

cdef list messages_to_others(Replica replica):
    # Synchronous mode: the driver sends them all after it has stored what is in the Ready.
    cdef list messages = replica.messages
    cdef Message message
    for message in replica.messages_after_append:
        if message.to != replica.node:
            messages.append(message)
    return messages


cdef list own_messages(Replica replica, Ready ready):
    cdef list messages = []
    cdef Message message
    for message in replica.messages_after_append:
        if message.to == replica.node:
            messages.append(message)
    if needs_append_answer(replica, ready):
        messages.append(append_answer(replica, ready))
    if ready.committed_entries:
        messages.append(apply_answer(replica, ready))
    return messages


cdef list messages_to_all(Replica replica, Ready ready):
    # Asynchronous mode: storage and state machine get theirs as the peers do.
    cdef list messages = replica.messages
    cdef list promises = replica.messages_after_append
    if (ready.entries or promises or ready.snapshot is not None
            or (ready.hard_state is not None and not hard_state_is_empty(ready.hard_state))):
        messages.append(append_request(replica, ready))
    if ready.committed_entries:
        messages.append(apply_request(replica, ready))
    return messages


cdef Message append_request(Replica replica, Ready ready):
    cdef Message request = message_new(MSG_STORAGE_APPEND, append_thread())
    request.sender = replica.node
    request.entries = ready.entries
    request.snapshot = ready.snapshot
    if ready.hard_state is not None:
        request.term = ready.hard_state.term
        request.vote = ready.hard_state.vote
        request.commit = ready.hard_state.commit
    request.responses = replica.messages_after_append
    if needs_append_answer(replica, ready):
        request.responses.append(append_answer(replica, ready))
    return request


cdef bint needs_append_answer(Replica replica, Ready ready) except -1:
    return len(replica.log.unstable) > 0 or ready.snapshot is not None


cdef Message append_answer(Replica replica, Ready ready):
    # Names the last entry even if that was handed out earlier: appends are done in order, and an
    # earlier answer may have been ignored since its term had passed.
    cdef Message answer = message_new(MSG_STORAGE_APPEND_RESP, replica.node)
    answer.sender = append_thread()
    answer.term = replica.term
    if replica.log.unstable:
        answer.index = replica.log.last_index()
        answer.log_term = replica.log.last_term()
    answer.snapshot = ready.snapshot
    return answer


cdef Message apply_request(Replica replica, Ready ready):
    cdef Message request = message_new(MSG_STORAGE_APPLY, apply_thread())
    request.sender = replica.node
    request.entries = ready.committed_entries
    request.responses = [apply_answer(replica, ready)]
    return request


cdef Message apply_answer(Replica replica, Ready ready):
    cdef Message answer = message_new(MSG_STORAGE_APPLY_RESP, replica.node)
    answer.sender = apply_thread()
    answer.entries = ready.committed_entries
    return answer
