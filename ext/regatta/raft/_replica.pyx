cimport cython
from libc.stdint cimport uint64_t

from regatta.raft._log cimport Log
from regatta.raft._membership cimport Membership
from regatta.raft._membership cimport membership_new
from regatta.raft._message cimport MSG_APP_RESP
from regatta.raft._message cimport MSG_PRE_VOTE
from regatta.raft._message cimport MSG_PRE_VOTE_RESP
from regatta.raft._message cimport MSG_PROP
from regatta.raft._message cimport MSG_READ_INDEX
from regatta.raft._message cimport MSG_VOTE
from regatta.raft._message cimport MSG_VOTE_RESP
from regatta.raft._message cimport ROLE_CANDIDATE
from regatta.raft._message cimport ROLE_FOLLOWER
from regatta.raft._message cimport ROLE_PRE_CANDIDATE
from regatta.raft._message cimport Message
from regatta.raft._progress cimport Progress
from regatta.raft._reads cimport Reads
from regatta.raft._storage cimport Storage

cdef tuple MESSAGE_NAMES = (
    "MsgHup", "MsgBeat", "MsgProp", "MsgApp", "MsgAppResp", "MsgVote", "MsgVoteResp", "MsgSnap",
    "MsgHeartbeat", "MsgHeartbeatResp", "MsgUnreachable", "MsgSnapStatus", "MsgCheckQuorum",
    "MsgTransferLeader", "MsgTimeoutNow", "MsgReadIndex", "MsgReadIndexResp", "MsgPreVote",
    "MsgPreVoteResp", "MsgStorageAppend", "MsgStorageAppendResp", "MsgStorageApply",
    "MsgStorageApplyResp", "MsgForgetLeader",
)
cdef tuple ROLE_NAMES = ("StateFollower", "StateCandidate", "StateLeader", "StatePreCandidate")


cdef str message_name(int type):
    return MESSAGE_NAMES[type]


cdef str role_name(int role):
    return ROLE_NAMES[role]


@cython.final
cdef class Replica:

    def __cinit__(self, config, Storage storage not None, log=None):
        committed_bytes_max = config.committed_bytes_max
        if committed_bytes_max is None:
            committed_bytes_max = config.message_bytes_max
        self.node = config.node
        self.logger = log
        self.log = Log(storage, committed_bytes_max, log)
        self.membership = membership_new(config.inflight_messages_max, config.inflight_bytes_max)
        self.election_ticks = config.election_ticks
        self.heartbeat_ticks = config.heartbeat_ticks
        self.draw_timeout = config.draw_timeout
        self.check_quorum = config.check_quorum
        self.pre_vote = config.pre_vote
        self.lease_reads = config.lease_reads
        self.forwards_proposals = config.forwards_proposals
        self.validates_conf_changes = config.validates_conf_changes
        self.steps_down_on_removal = config.steps_down_on_removal
        self.message_bytes_max = config.message_bytes_max
        self.uncommitted_bytes_max = config.uncommitted_bytes_max
        self.votes = {}
        self.reads = Reads()
        self.messages, self.messages_after_append, self.read_states = [], [], []

    cdef int say(self, int level, str text) except -1:
        # Callers look for a logger first, so that no text is made for nobody.
        self.logger(level, text)
        return 0

    cdef int send(self, Message message) except -1:
        cdef int type = message.type
        if message.sender == 0:
            message.sender = self.node
        if type in (MSG_VOTE, MSG_VOTE_RESP, MSG_PRE_VOTE, MSG_PRE_VOTE_RESP):
            pass                # whoever makes them says for which term they are
        elif type != MSG_PROP and type != MSG_READ_INDEX:
            message.term = self.term
        if type in (MSG_APP_RESP, MSG_VOTE_RESP, MSG_PRE_VOTE_RESP):
            self.messages_after_append.append(message)
        else:
            self.messages.append(message)
        return 0

    cdef bint is_promotable(self):
        cdef Progress own = self.membership.find(self.node)
        return own is not None and not own.is_learner and self.log.snapshot is None

    cdef int set_membership(self, Membership membership) except -1:
        self.membership = membership
        if self.logger is not None:
            self.say(INFO,
                     f"{self.node:x} switched to configuration {membership.configuration}")
        return 0

    cdef int become_follower(self, uint64_t term, uint64_t leader) except -1:
        self.reset(term)
        self.leader = leader
        self.role_now = ROLE_FOLLOWER
        if self.logger is not None:
            self.say(INFO, f"{self.node:x} became follower at term {self.term}")
        return 0

    cdef int become_candidate(self) except -1:
        self.reset(self.term + 1)
        self.vote = self.node
        self.role_now = ROLE_CANDIDATE
        if self.logger is not None:
            self.say(INFO, f"{self.node:x} became candidate at term {self.term}")
        return 0

    cdef int become_pre_candidate(self) except -1:
        # It asks whether it could win, and nothing else changes by that: neither term nor vote.
        self.votes = {}
        self.leader = 0
        self.role_now = ROLE_PRE_CANDIDATE
        if self.logger is not None:
            self.say(INFO, f"{self.node:x} became pre-candidate at term {self.term}")
        return 0

    cdef int reset(self, uint64_t term) except -1:
        cdef Progress member
        cdef uint64_t last_index = self.log.last_index()
        if term != self.term:
            self.term = term
            self.vote = 0
        self.leader = 0
        self.transferee = 0
        self.votes = {}
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.timeout_ticks = self.draw_timeout(self.election_ticks, 2 * self.election_ticks - 1)
        for member in self.membership.members:
            member.reset(last_index + 1)
            if member.node == self.node:
                member.acknowledged(last_index)
        self.pending_conf_index = 0
        self.uncommitted_bytes = 0
        self.reads.clear()
        self.led_ticks = 0
        self.lease_forfeited = False
        return 0
