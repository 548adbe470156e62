from libc.stdint cimport uint64_t

from regatta.raft._leader cimport become_leader
from regatta.raft._message cimport MSG_APP
from regatta.raft._message cimport MSG_APP_RESP
from regatta.raft._message cimport MSG_HEARTBEAT
from regatta.raft._message cimport MSG_PRE_VOTE
from regatta.raft._message cimport MSG_PRE_VOTE_RESP
from regatta.raft._message cimport MSG_SNAP
from regatta.raft._message cimport MSG_STORAGE_APPEND_RESP
from regatta.raft._message cimport MSG_VOTE
from regatta.raft._message cimport MSG_VOTE_RESP
from regatta.raft._message cimport ROLE_LEADER
from regatta.raft._message cimport ROLE_PRE_CANDIDATE
from regatta.raft._message cimport Message
from regatta.raft._message cimport message_new
from regatta.raft._quorum cimport VOTE_LOST
from regatta.raft._quorum cimport VOTE_WON
from regatta.raft._replica cimport DEBUG
from regatta.raft._replica cimport INFO
from regatta.raft._replica cimport WARN
from regatta.raft._replica cimport Replica
from regatta.raft._replica cimport message_name

cdef bytes TRANSFER_CONTEXT = b"transfer"

# --- Campaigns -----------------------------------------------------------------------------------


cdef int follower_tick(Replica replica) except -1:
    replica.election_elapsed += 1
    if replica.election_elapsed >= replica.timeout_ticks and replica.is_promotable():
        replica.election_elapsed = 0
        campaign(replica, CAMPAIGN_PRE_VOTE if replica.pre_vote else CAMPAIGN_ELECTION)
    return 0


cdef int campaign(Replica replica, int kind) except -1:
    if replica.role_now == ROLE_LEADER:
        if replica.logger is not None:
            replica.say(DEBUG, f"{replica.node:x} ignoring MsgHup because already leader")
        return 0
    if not replica.is_promotable():
        if replica.logger is not None:
            replica.say(WARN, f"{replica.node:x} is unpromotable and can not campaign")
        return 0
    # It would count votes by a membership that is out of date.
    if replica.log.has_conf_change_to_apply():
        if replica.logger is not None:
            replica.say(WARN, f"{replica.node:x} cannot campaign at term {replica.term} since "
                              "there are still pending configuration changes to apply")
        return 0
    if replica.logger is not None:
        replica.say(INFO, f"{replica.node:x} is starting a new election at term {replica.term}")
    if kind == CAMPAIGN_PRE_VOTE:
        replica.become_pre_candidate()
        ask_for_votes(replica, MSG_PRE_VOTE, replica.term + 1, b"")
    else:
        replica.become_candidate()
        ask_for_votes(replica, MSG_VOTE, replica.term,
                      TRANSFER_CONTEXT if kind == CAMPAIGN_TRANSFER else b"")
    return 0


cdef int ask_for_votes(Replica replica, int type, uint64_t term, bytes context) except -1:
    cdef uint64_t last_index = replica.log.last_index(), last_term = replica.log.last_term()
    cdef uint64_t node
    cdef Message message
    for node in replica.membership.configuration.all_voters():
        if node == replica.node:
            # Its own vote counts once it is durable, so it goes by message, too.
            message = message_new(answer_to(type), node)
            message.term = term
        else:
            if replica.logger is not None:
                replica.say(INFO, f"{replica.node:x} [logterm: {last_term}, index: {last_index}] "
                                  f"sent {message_name(type)} request to {node:x} at term "
                                  f"{replica.term}")
            message = message_new(type, node)
            message.term = term
            message.index = last_index
            message.log_term = last_term
            message.context = context
        replica.send(message)
    return 0


cdef int answer_to(int type) noexcept:
    return MSG_PRE_VOTE_RESP if type == MSG_PRE_VOTE else MSG_VOTE_RESP


cdef int vote_answered(Replica replica, Message message) except -1:
    cdef bint is_pre = replica.role_now == ROLE_PRE_CANDIDATE
    cdef int result
    if message.type != (MSG_PRE_VOTE_RESP if is_pre else MSG_VOTE_RESP):
        return 0                # an answer to an older question
    replica.votes.setdefault(message.sender, not message.reject)
    if replica.logger is not None:
        say_count(replica, message)
    result = replica.membership.vote_result(replica.votes)
    if result == VOTE_WON and is_pre:
        replica.become_candidate()
        ask_for_votes(replica, MSG_VOTE, replica.term, b"")
    elif result == VOTE_WON:
        become_leader(replica)
    elif result == VOTE_LOST:
        # The answer to a pre-vote may carry the next term, which is nobody's yet.
        replica.become_follower(replica.term, 0)
    return 0


cdef int say_count(Replica replica, Message message) except -1:
    cdef str name = message_name(message.type)
    outcome = f"{name} rejection" if message.reject else name
    granted, rejected = replica.membership.tally(replica.votes)
    replica.say(INFO, f"{replica.node:x} received {outcome} from {message.sender:x} at term "
                      f"{replica.term}")
    replica.say(INFO, f"{replica.node:x} has received {granted} {name} votes and {rejected} vote "
                      "rejections")
    return 0


# --- Terms ---------------------------------------------------------------------------------------

cdef bint accept_term(Replica replica, Message message) except -1:
    if message.term == 0 or message.term == replica.term:
        return True             # without a term it comes from this node itself
    if message.term > replica.term:
        return accept_higher_term(replica, message)
    answer_lower_term(replica, message)
    return False


cdef bint accept_higher_term(Replica replica, Message message) except -1:
    cdef int type = message.type
    cdef bint is_vote = type == MSG_VOTE or type == MSG_PRE_VOTE
    cdef uint64_t ticks
    if is_vote and message.context != TRANSFER_CONTEXT:
        ticks = promised_ticks(replica)
        if ticks:
            if replica.logger is not None:
                tail = vote_tail(replica, message, "from")
                replica.say(INFO, f"{vote_head(replica)} ignored {tail}: lease is not expired "
                                  f"(remaining ticks: {ticks})")
            return False
    if type == MSG_PRE_VOTE or (type == MSG_PRE_VOTE_RESP and not message.reject):
        return True             # about a term that may never be
    if replica.logger is not None:
        replica.say(INFO, f"{replica.node:x} [term: {replica.term}] received a "
                          f"{message_name(type)} message with higher term from "
                          f"{message.sender:x} [term: {message.term}]")
    replica.become_follower(
        message.term, message.sender if type in (MSG_APP, MSG_HEARTBEAT, MSG_SNAP) else 0)
    return True


cdef uint64_t promised_ticks(Replica replica) noexcept:
    # How long this replica must go on not to vote for anybody but its leader.
    cdef uint64_t ticks = replica.grace_ticks
    if (replica.check_quorum and replica.leader
            and replica.election_elapsed < replica.election_ticks):
        ticks = max(ticks, replica.election_ticks - replica.election_elapsed)
    return ticks


cdef int answer_lower_term(Replica replica, Message message) except -1:
    cdef int type = message.type
    cdef Message answer
    if (replica.check_quorum or replica.pre_vote) and type in (MSG_HEARTBEAT, MSG_APP):
        # Where votes are refused or asked beforehand, nothing else would tell a leader that was
        # away of the higher term, and we could not follow it.
        replica.send(message_new(MSG_APP_RESP, message.sender))
    elif type == MSG_PRE_VOTE:
        # The answer tells a candidate that fell behind our term.
        if replica.logger is not None:
            replica.say(INFO,
                        f"{vote_head(replica)} rejected {vote_tail(replica, message, 'from')}")
        answer = message_new(MSG_PRE_VOTE_RESP, message.sender)
        answer.term = replica.term
        answer.reject = True
        replica.send(answer)
    elif type == MSG_STORAGE_APPEND_RESP and message.index:
        # Since it was asked for, another leader may have replaced these entries.
        if replica.logger is not None:
            replica.say(INFO, f"{replica.node:x} [term: {replica.term}] ignored entry appends "
                              f"from a MsgStorageAppendResp message with lower term "
                              f"[term: {message.term}]")
    elif type != MSG_STORAGE_APPEND_RESP and replica.logger is not None:
        replica.say(INFO, f"{replica.node:x} [term: {replica.term}] ignored a "
                          f"{message_name(type)} message with lower term from "
                          f"{message.sender:x} [term: {message.term}]")
    return 0


# --- Votes ---------------------------------------------------------------------------------------

cdef int vote_requested(Replica replica, Message message) except -1:
    cdef bint is_pre = message.type == MSG_PRE_VOTE
    cdef Message answer = message_new(answer_to(message.type), message.sender)
    cdef bint is_free = (replica.vote == message.sender
                         or (replica.vote == 0 and replica.leader == 0)
                         or (is_pre and message.term > replica.term))
    if is_free and replica.log.is_covered_by(message.index, message.log_term):
        if replica.logger is not None:
            replica.say(INFO,
                        f"{vote_head(replica)} cast {vote_tail(replica, message, 'for')}")
        # Of a pre-vote, the term that it asks about; the candidate would ignore ours.
        answer.term = message.term
        if not is_pre:
            replica.election_elapsed = 0
            replica.vote = message.sender
    else:
        if replica.logger is not None:
            replica.say(INFO,
                        f"{vote_head(replica)} rejected {vote_tail(replica, message, 'from')}")
        answer.term = replica.term
        answer.reject = True
    return replica.send(answer)


cdef str vote_head(Replica replica):
    return (f"{replica.node:x} [logterm: {replica.log.last_term()}, index: "
            f"{replica.log.last_index()}, vote: {replica.vote:x}]")


cdef str vote_tail(Replica replica, Message message, str relation):
    return (f"{message_name(message.type)} {relation} {message.sender:x} [logterm: "
            f"{message.log_term}, index: {message.index}] at term {replica.term}")
