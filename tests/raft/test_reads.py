"""Linearizable reads: who confirms them, how many share that, and when a lease will do."""

import pytest

from regatta.raft import ChangeKind
from regatta.raft import ConfChange
from regatta.raft import ConfState
from regatta.raft import Entry
from regatta.raft import HardState
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import ReadState
from regatta.raft import Role
from regatta.raft import Snapshot
from tests.conformance.storage import MemoryStorage
from tests.raft.replicas import ELECTION_TICKS
from tests.raft.replicas import Replicas
from tests.raft.replicas import messages_of
from tests.raft.replicas import single
from tests.raft.replicas import work

LEASE_TICKS = (ELECTION_TICKS - 1) // 2


def heartbeats(messages):
    return [message for message in messages if message.type == MessageType.HEARTBEAT]


def test_a_read_waits_for_a_quorum():
    replicas = Replicas()
    leader = replicas.elect(1)
    replicas.cut = {2, 3}
    leader.read_index(b"r")
    replicas.settle()
    assert replicas.read_states[1] == []
    replicas.cut = {3}
    replicas.tick()
    replicas.settle()
    assert replicas.read_states[1] == [ReadState(leader.committed, b"r")]


def test_one_confirmation_serves_all_reads_that_wait():
    replicas = Replicas()
    leader = replicas.elect(1)
    leader.read_index(b"first")
    for number in range(100):
        leader.read_index(b"%d" % number)
    sent = heartbeats(replicas.deliver())
    assert len(sent) == 2  # one round, to two peers
    sent = []
    while delivered := replicas.deliver():
        sent += heartbeats(delivered)
    assert len(sent) == 2  # the others share the round after it
    contexts = [state.context for state in replicas.read_states[1]]
    assert contexts == [b"first", *[b"%d" % number for number in range(100)]]


def test_a_read_is_not_confirmed_by_answers_to_heartbeats_sent_before_it_came():
    replicas = Replicas()
    leader = replicas.elect(1)
    leader.read_index(b"early")
    replicas.deliver()
    replicas.work(2)
    replicas.work(3)
    late_answers, replicas.network = replicas.network, []
    leader.read_index(b"late")
    for message in late_answers:
        leader.step(message)
    replicas.work(1)
    assert [state.context for state in replicas.read_states[1]] == [b"early"]


def test_a_leader_that_was_deposed_unaware_confirms_nothing():
    replicas = Replicas()
    replicas.elect(1)
    replicas.cut = {1}
    replicas.elect(2).propose(b"newer")
    replicas.settle()
    replicas[1].read_index(b"stale")
    replicas.settle()
    replicas.cut = set()
    replicas.settle()
    replicas.tick()
    replicas.settle()
    assert replicas[1].role == Role.FOLLOWER
    assert replicas.read_states[1] == []


def test_a_new_leader_reads_only_after_its_first_commit():
    core, storage = single([Entry(1, 1, data=b"x")], HardState(term=1))
    core.campaign()
    work(core, storage)
    core.step(Message(MessageType.VOTE_RESP, sender=2, to=1, term=2))
    core.read_index(b"r")
    assert heartbeats(work(core, storage)) == []
    core.step(Message(MessageType.APP_RESP, sender=2, to=1, term=2, index=2))
    beat = heartbeats(messages_of(core))[0]
    answer = Message(MessageType.HEARTBEAT_RESP, sender=2, to=1, term=2, context=beat.context)
    core.step(answer)
    assert core.ready().read_states == [ReadState(2, b"r")]


def test_the_only_voter_answers_at_once():
    replicas = Replicas(voters=(1,), learners=(2,))
    leader = replicas.elect(1)
    leader.read_index(b"r")
    assert leader.ready().read_states == [ReadState(leader.committed, b"r")]


def test_the_only_voter_does_not_answer_before_it_has_committed_in_its_term():
    # What it acknowledged before a restart may be beyond the commit that it remembers.
    core, storage = single([Entry(1, 1), Entry(1, 2)], HardState(1, 1, 1), voters=(1,))
    core.campaign()
    core.read_index(b"r")
    core.ready()
    core.advance()
    core.read_index(b"r")
    ready = core.ready()
    assert core.role == Role.LEADER
    assert ready.read_states == []
    storage.append(ready.entries)
    core.advance()
    assert core.ready().read_states == [ReadState(3, b"r")]


def test_a_removed_leader_does_not_answer_for_the_only_voter_left():
    replicas = Replicas(voters=(1, 2))
    leader = replicas.elect(1)
    leader.propose_conf_change(ConfChange([(ChangeKind.REMOVE_NODE, 1)]))
    replicas.settle()
    assert leader.role == Role.LEADER
    replicas.cut = {2}
    leader.read_index(b"r")
    replicas.settle()
    assert replicas.read_states[1] == []


def test_followers_and_learners_ask_their_leader():
    replicas = Replicas(learners=(4,))
    leader = replicas.elect(1)
    for node in (2, 4):
        replicas[node].read_index(b"%d" % node)
    replicas.settle()
    assert replicas.read_states[2] == [ReadState(leader.committed, b"2")]
    assert replicas.read_states[4] == [ReadState(leader.committed, b"4")]
    assert replicas.read_states[1] == []


def test_a_read_where_nobody_leads_is_forgotten():
    replicas = Replicas()
    replicas[2].read_index(b"r")
    assert not replicas[2].has_ready()


def test_learners_confirm_nothing():
    replicas = Replicas(voters=(1, 2, 3), learners=(4, 5))
    leader = replicas.elect(1)
    replicas.cut = {2, 3}
    leader.read_index(b"r")
    replicas.settle()
    assert replicas.read_states[1] == []


def test_a_joint_membership_confirms_with_both_halves():
    joint = ConfState(voters=(1, 4, 5), voters_outgoing=(1, 2, 3))
    replicas = Replicas(voters=(1, 2, 3, 4, 5))
    for node in list(replicas.cores):
        replicas.storages[node] = MemoryStorage(Snapshot(conf_state=joint))
        replicas.start(node)
    leader = replicas.elect(1)
    replicas.cut = {2, 3}
    leader.read_index(b"r")
    replicas.settle()
    assert replicas.read_states[1] == []
    replicas.cut = {2, 4}
    replicas.tick()
    replicas.settle()
    assert [state.context for state in replicas.read_states[1]] == [b"r"]


@pytest.mark.parametrize("context", [b"", b"x", b"\xff" * 8, b"\xff" * 9, bytes(8)])
def test_a_heartbeat_answer_with_another_context_confirms_nothing(context):
    core, storage = single()
    core.campaign()
    work(core, storage)
    core.step(Message(MessageType.VOTE_RESP, sender=2, to=1, term=1))
    work(core, storage)
    core.step(Message(MessageType.APP_RESP, sender=2, to=1, term=1, index=1))
    core.read_index(b"r")
    core.step(Message(MessageType.HEARTBEAT_RESP, sender=2, to=1, term=1, context=context))
    assert core.ready().read_states == []


# --- Leases --------------------------------------------------------------------------------------


def leased_group(**settings):
    """Return a group whose leader has just confirmed its lease."""
    replicas = Replicas(check_quorum=True, lease_reads=True, **settings)
    leader = replicas.elect(1)
    replicas.tick()
    replicas.settle()
    return replicas, leader


def answers_alone(leader):
    """Ask whether a leader answers a read without sending anything."""
    leader.ready()
    leader.advance()
    leader.read_index(b"r")
    ready = leader.ready()
    leader.advance()
    return bool(ready.read_states) and not ready.messages


def test_under_a_lease_the_leader_answers_alone():
    _, leader = leased_group()
    assert answers_alone(leader)


def test_a_lease_ends_before_any_follower_could_vote_even_at_twice_the_pace():
    replicas, leader = leased_group()
    replicas.cut = {1}
    for ticks in range(LEASE_TICKS + 3):
        # The first tick after the heartbeat may come at once: a follower's count is one ahead.
        assert answers_alone(leader) == (ticks < LEASE_TICKS)
        assert 2 * ticks + 1 < ELECTION_TICKS or not answers_alone(leader)
        leader.tick()


def test_a_lease_runs_from_when_its_heartbeat_was_sent():
    replicas, leader = leased_group()
    replicas.tick()
    replicas.deliver()
    replicas.cut = {2, 3}
    replicas.settle()
    replicas.cut = set()
    # The last heartbeat that was answered was sent a tick ago.
    for _ in range(LEASE_TICKS - 2):
        leader.tick()
    assert answers_alone(leader)
    leader.tick()
    assert not answers_alone(leader)


def test_without_a_lease_reads_are_confirmed_as_ever():
    replicas, leader = leased_group()
    replicas.cut = {1}
    for _ in range(LEASE_TICKS):
        leader.tick()
    replicas.cut = set()
    assert not answers_alone(leader)
    replicas.tick()
    replicas.settle()
    assert [state.context for state in replicas.read_states[1]] == [b"r"]


def test_who_may_have_told_another_to_campaign_has_no_lease():
    replicas, leader = leased_group()
    leader.transfer_leader(2)
    assert not answers_alone(leader)
    # Even when it has given up: the message may arrive later, and that vote ignores leases.
    for _ in range(ELECTION_TICKS):
        leader.tick()
        for node in (2, 3):
            leader.step(Message(MessageType.HEARTBEAT_RESP, sender=node, to=1, term=1))
    assert leader.lead_transferee == 0
    replicas.network = []
    assert not answers_alone(leader)


def test_after_a_restart_a_promise_made_before_it_is_kept():
    replicas, _ = leased_group()
    replicas.start(2)
    request = Message(MessageType.VOTE, sender=3, to=2, term=2, log_term=1, index=1)
    for _ in range(ELECTION_TICKS):
        replicas[2].step(request)
        assert messages_of(replicas[2]) == []
        replicas[2].tick()
    replicas[2].step(request)
    assert [message.reject for message in messages_of(replicas[2])] == [False]


def test_who_has_stored_nothing_of_the_term_renews_no_lease():
    # It may crash before the term is durable, and have made no promise then.
    core, storage = single(check_quorum=True, lease_reads=True)
    core.campaign()
    work(core, storage)
    core.step(Message(MessageType.VOTE_RESP, sender=2, to=1, term=1))
    work(core, storage)
    core.step(Message(MessageType.APP_RESP, sender=2, to=1, term=1, index=1))
    for node, expected in ((3, False), (2, True)):
        core.tick()
        context = heartbeats(work(core, storage))[0].context
        core.step(Message(MessageType.HEARTBEAT_RESP, sender=node, to=1, term=1, context=context))
        work(core, storage)
        assert answers_alone(core) == expected


def test_under_leases_no_leader_is_forgotten():
    replicas, _ = leased_group()
    replicas[2].forget_leader()
    assert replicas[2].leader == 1
