"""What the conformance files can't show: safety under splits, restarts, removal, lost leaders."""

import pytest

from regatta.raft import ChangeKind
from regatta.raft import ConfChange
from regatta.raft import Config
from regatta.raft import ConfState
from regatta.raft import Core
from regatta.raft import Entry
from regatta.raft import HardState
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import ProgressState
from regatta.raft import ProposalDropped
from regatta.raft import Role
from regatta.raft import Snapshot
from tests.conformance.storage import MemoryStorage
from tests.raft.replicas import ELECTION_TICKS
from tests.raft.replicas import Replicas
from tests.raft.replicas import messages_of
from tests.raft.replicas import single
from tests.raft.replicas import work


def elected(core, storage, term):
    """Make a replica of three leader with the vote of node 2."""
    core.campaign()
    work(core, storage)
    core.step(Message(MessageType.VOTE_RESP, sender=2, to=1, term=term))
    assert core.role == Role.LEADER


def test_an_older_terms_entry_is_not_committed_by_counting():
    """Raft paper, figure 8: it may be on a majority and yet be replaced."""
    entries = [Entry(1, 1), Entry(2, 2, data=b"older")]
    core, storage = single(entries, HardState(term=3))
    elected(core, storage, term=4)
    work(core, storage)
    # Nodes 1 and 2 have the entry of term 2, which is a majority.
    core.step(Message(MessageType.APP_RESP, sender=2, to=1, term=4, index=2))
    assert core.committed == 0
    # The leader's own entry, once it is there, takes the older ones along.
    core.step(Message(MessageType.APP_RESP, sender=2, to=1, term=4, index=3))
    assert core.committed == 3


def test_a_leader_counts_itself_only_once_its_entry_is_durable():
    core, _ = single(voters=(1,), async_storage_writes=True)
    core.campaign()
    append = core.ready().messages[-1]
    assert append.type == MessageType.STORAGE_APPEND
    assert core.role == Role.CANDIDATE  # its own vote isn't durable yet
    for response in append.responses:
        core.step(response)
    assert core.role == Role.LEADER
    core.propose(b"x")
    append = core.ready().messages[-1]
    assert core.committed == 0
    for response in append.responses:
        core.step(response)
    assert core.committed == 2


def test_committed_entries_wait_until_they_are_stable_here():
    core, storage = single(async_storage_writes=True)
    entries = [Entry(1, 1, data=b"x")]
    core.step(Message(MessageType.APP, sender=2, to=1, term=1, commit=1, entries=entries))
    assert core.committed == 1
    ready = core.ready()
    assert ready.committed_entries == []
    storage.append(ready.entries)
    for response in ready.messages[-1].responses:
        if response.to == 1:
            core.step(response)
    assert [entry.index for entry in core.ready().committed_entries] == [1]


def test_an_append_stored_for_an_older_term_is_not_taken_for_the_new_one():
    core, _ = single(async_storage_writes=True)
    old = [Entry(1, 1, data=b"old")]
    core.step(Message(MessageType.APP, sender=2, to=1, term=1, entries=old))
    late = core.ready().messages[-1].responses
    new = [Entry(2, 1, data=b"new")]
    core.step(Message(MessageType.APP, sender=3, to=1, term=2, commit=1, entries=new))
    for response in late:
        if response.to == 1:
            core.step(response)
    ready = core.ready()
    assert ready.entries == new
    assert ready.committed_entries == []


def test_a_vote_is_given_once_a_term_even_across_a_restart():
    core, storage = single()
    core.step(Message(MessageType.VOTE, sender=2, to=1, term=5))
    assert [message.reject for message in work(core, storage)] == [False]
    again, _ = single(hard_state=storage.hard_state)
    again.step(Message(MessageType.VOTE, sender=3, to=1, term=5))
    assert [message.reject for message in messages_of(again)] == [True]
    again.step(Message(MessageType.VOTE, sender=2, to=1, term=5))
    assert [message.reject for message in messages_of(again)] == [False]


def test_a_shorter_log_gets_no_vote():
    core, _ = single([Entry(1, 1), Entry(2, 2)], HardState(term=2))
    for log_term, index in ((1, 9), (2, 1), (0, 0)):
        core.step(Message(MessageType.VOTE, sender=2, to=1, term=9, log_term=log_term, index=index))
        assert [message.reject for message in messages_of(core)] == [True], (log_term, index)
    core.step(Message(MessageType.VOTE, sender=3, to=1, term=9, log_term=2, index=2))
    assert [message.reject for message in messages_of(core)] == [False]


def test_after_a_restart_it_goes_on_from_what_is_stored():
    replicas = Replicas()
    replicas.elect(1).propose(b"a")
    replicas.settle()
    before = replicas[2]
    replicas.start(2)
    after = replicas[2]
    assert after.role == Role.FOLLOWER
    assert (after.term, after.vote) == (before.term, before.vote)
    assert (after.committed, after.last_index) == (before.committed, before.last_index)
    assert not after.has_ready() or after.applied == 0
    replicas.settle()
    assert replicas.data(2) == [b"a"]  # applied=0: everything is handed out again


def test_what_was_applied_is_not_handed_out_again():
    replicas = Replicas()
    replicas.elect(1).propose(b"a")
    replicas.settle()
    replicas.start(2, applied=replicas[2].applied)
    replicas.settle()
    assert replicas.data(2) == []


def test_what_was_applied_counts_as_committed_after_a_restart():
    core, _ = single([Entry(1, 1), Entry(1, 2)], HardState(term=1, commit=1), applied=2)
    assert core.committed == core.applied == 2


@pytest.mark.parametrize(
    ("hard_state", "applied", "text"),
    [
        (HardState(1, 0, 3), 0, "the log ends at 2"),
        (HardState(1, 0, 2), 3, "the log ends at 2"),
    ],
)
def test_a_log_that_lacks_what_is_committed_is_refused(hard_state, applied, text):
    with pytest.raises(ValueError, match=text):
        single([Entry(1, 1), Entry(1, 2)], hard_state, applied=applied)


def test_a_state_machine_behind_the_compacted_log_is_refused():
    storage = MemoryStorage(Snapshot(7, 1, ConfState(voters=(1,))))
    config = Config(1, ELECTION_TICKS, 1, lambda low, high: low, applied=3)
    with pytest.raises(ValueError, match="begins after 7, but only 3 was applied"):
        Core(config, storage)


def test_a_deposed_leaders_entries_are_replaced():
    replicas = Replicas()
    replicas.elect(1)
    replicas.cut = {1}
    replicas[1].propose(b"lost")
    replicas.settle()
    replicas.elect(2).propose(b"kept")
    replicas.settle()
    assert replicas.data(1) == []
    replicas.cut = set()
    replicas.tick()
    replicas.settle()
    assert replicas.data(1) == replicas.data(2) == replicas.data(3) == [b"kept"]
    assert replicas.storages[1].all_entries() == replicas.storages[2].all_entries()


def test_a_leader_alone_steps_down_with_check_quorum():
    replicas = Replicas(check_quorum=True)
    replicas.elect(1)
    replicas.cut = {1}
    replicas.tick(2 * ELECTION_TICKS)
    assert replicas[1].role == Role.FOLLOWER


def test_a_leader_that_is_heard_leads_on_with_check_quorum():
    replicas = Replicas(check_quorum=True, pre_vote=True)
    replicas.elect(1)
    for _ in range(5 * ELECTION_TICKS):
        replicas.tick()
        replicas.settle()
    assert replicas[1].role == Role.LEADER
    assert replicas[1].term == 1


def test_pre_vote_keeps_the_term_of_who_was_away():
    replicas = Replicas(pre_vote=True, check_quorum=True)
    replicas.elect(1)
    replicas.cut = {3}
    for _ in range(5 * ELECTION_TICKS):
        replicas.tick()
        replicas.settle()
    assert replicas[3].term == 1
    replicas.cut = set()
    replicas.tick()
    replicas.settle()
    assert replicas[1].role == Role.LEADER


def test_a_follower_that_forgets_its_leader_may_vote_and_remembers_it_when_heard():
    replicas = Replicas(check_quorum=True)
    replicas.elect(1)
    replicas[2].forget_leader()
    assert replicas[2].leader == 0
    request = Message(MessageType.VOTE, sender=3, to=2, term=2, log_term=1, index=1)
    replicas.tick()
    replicas.settle()
    assert replicas[2].leader == 1
    replicas[2].step(request)
    assert messages_of(replicas[2]) == []  # it knows its leader again: refused in silence
    replicas[2].forget_leader()
    replicas[2].step(request)
    assert [message.reject for message in messages_of(replicas[2])] == [False]


@pytest.mark.parametrize("steps_down", [False, True])
def test_a_removed_leader_steps_down_if_told_to(steps_down):
    replicas = Replicas(steps_down_on_removal=steps_down)
    replicas.elect(1).propose_conf_change(ConfChange([(ChangeKind.REMOVE_NODE, 1)]))
    replicas.settle()
    assert replicas[1].conf_state == replicas[2].conf_state == ConfState(voters=(2, 3))
    assert replicas[1].role == (Role.FOLLOWER if steps_down else Role.LEADER)
    with pytest.raises(ProposalDropped):
        replicas[1].propose(b"x")
    replicas.elect(2).propose(b"y")
    replicas.settle()
    assert replicas.data(3) == [b"y"]


def test_a_second_membership_change_waits_for_the_first_to_be_applied():
    replicas = Replicas()
    leader = replicas.elect(1)
    for node in (4, 5):
        leader.propose_conf_change(ConfChange([(ChangeKind.ADD_NODE, node)]))
    replicas.settle()
    assert leader.conf_state == ConfState(voters=(1, 2, 3, 4))


def test_a_change_that_can_not_be_applied_fails_everywhere_alike_and_is_passed_over():
    replicas = Replicas()
    leader = replicas.elect(1)
    leader.propose_conf_change(ConfChange([(ChangeKind.REMOVE_NODE, node) for node in (1, 2, 3)]))
    replicas.settle()
    assert replicas.impossible == {1: 1, 2: 1, 3: 1}
    # And nothing is in the way of the next one.
    leader.propose_conf_change(ConfChange([(ChangeKind.ADD_LEARNER_NODE, 3)]))
    replicas.settle()
    expected = ConfState(voters=(1, 2), learners=(3,))
    assert [core.conf_state for core in replicas.cores.values()] == [expected] * 3


def test_a_dropped_proposal_leaves_no_trace_of_a_membership_change():
    replicas = Replicas(uncommitted_bytes_max=10)
    leader = replicas.elect(1)
    leader.propose(b"0123456789")
    with pytest.raises(ProposalDropped):
        leader.propose_conf_change(ConfChange([(ChangeKind.ADD_NODE, 4)]))
    replicas.settle()
    leader.propose_conf_change(ConfChange([(ChangeKind.ADD_NODE, 4)]))
    replicas.settle()
    assert leader.conf_state == ConfState(voters=(1, 2, 3, 4))


def test_proposals_are_dropped_where_nobody_leads():
    replicas = Replicas()
    with pytest.raises(ProposalDropped):
        replicas[1].propose(b"x")
    replicas[1].campaign()
    with pytest.raises(ProposalDropped):
        replicas[1].propose_batch([b"x", b"y"])
    with pytest.raises(ProposalDropped):
        replicas[1].propose_conf_change(ConfChange())


def test_followers_forward_proposals_unless_told_not_to():
    replicas = Replicas()
    replicas.elect(1)
    replicas[2].propose_batch([b"a", b"b"])
    replicas.settle()
    assert replicas.data(3) == [b"a", b"b"]
    replicas = Replicas(forwards_proposals=False)
    replicas.elect(1)
    with pytest.raises(ProposalDropped):
        replicas[2].propose(b"a")


def test_proposals_wait_while_leadership_is_handed_over():
    replicas = Replicas()
    leader = replicas.elect(1)
    leader.transfer_leader(2)
    assert leader.lead_transferee == 2
    with pytest.raises(ProposalDropped):
        leader.propose(b"x")
    replicas.settle()
    assert replicas[2].role == Role.LEADER


def test_a_transfer_that_fails_is_given_up_after_an_election_timeout():
    replicas = Replicas()
    leader = replicas.elect(1)
    replicas.cut = {2}
    leader.transfer_leader(2)
    for _ in range(ELECTION_TICKS):
        leader.tick()
    assert leader.lead_transferee == 0
    leader.propose(b"x")


def test_an_empty_batch_proposes_nothing():
    replicas = Replicas()
    leader = replicas.elect(1)
    leader.propose_batch([])
    assert not leader.has_ready()


def test_an_unreachable_peer_is_probed():
    replicas = Replicas()
    leader = replicas.elect(1)
    assert leader.status().progress[2].state == ProgressState.REPLICATE
    leader.report_unreachable(2)
    leader.report_unreachable(99)
    assert leader.status().progress[2].state == ProgressState.PROBE


def lagging_group():
    """Return a group whose node 3 needs a snapshot that is on its way."""
    replicas = Replicas()
    leader = replicas.elect(1)
    replicas.cut = {3}
    leader.propose(b"x")
    replicas.settle()
    replicas.storages[1].compact(leader.applied)
    replicas.cut = set()
    leader.report_unreachable(3)
    leader.tick()
    replicas.work(1)
    replicas.deliver()
    replicas.work(3)
    for message in replicas.network:
        if message.sender == 3:
            leader.step(message)
    replicas.network = []
    assert leader.status().progress[3].state == ProgressState.SNAPSHOT
    return replicas, leader


@pytest.mark.parametrize("ok", [True, False])
def test_a_reported_snapshot_is_followed_by_probing_once_the_peer_is_heard(ok):
    replicas, leader = lagging_group()
    pending = leader.status().progress[3].pending_snapshot
    messages_of(leader)  # the snapshot itself, which is lost here
    leader.report_snapshot(3, ok)
    progress = leader.status().progress[3]
    assert progress.state == ProgressState.PROBE
    # After a success it goes on behind the snapshot, after a failure where it was.
    assert progress.next == (pending + 1 if ok else progress.match + 1)
    assert progress.paused
    leader.propose(b"y")
    assert [m.to for m in messages_of(leader, MessageType.APP)] == [2]
    # The snapshot never came, so whatever is sent next leads to another one.
    for _ in range(5):
        replicas.tick()
        replicas.settle()
    assert replicas[3].committed == leader.committed


def test_reports_of_snapshots_that_nobody_sent_change_nothing():
    replicas = Replicas()
    leader = replicas.elect(1)
    leader.report_snapshot(2, False)
    leader.report_snapshot(99, True)
    replicas[2].report_snapshot(1, True)
    assert leader.status().progress[2].state == ProgressState.REPLICATE


def test_a_candidate_that_is_removed_meanwhile_does_not_lead():
    core, storage = single()
    core.campaign()
    work(core, storage)
    core.apply_conf_change(ConfChange([(ChangeKind.REMOVE_NODE, 1)]))
    for node in (2, 3):
        core.step(Message(MessageType.VOTE_RESP, sender=node, to=1, term=1))
    assert core.role == Role.FOLLOWER


def test_an_apply_answer_may_come_after_a_snapshot_went_beyond_it():
    entries = [Entry(1, 1, data=b"x"), Entry(1, 2, data=b"x"), Entry(1, 3, data=b"x")]
    core, storage = single(
        entries, HardState(1, 0, 3), async_storage_writes=True, committed_bytes_max=1
    )
    late = core.ready().messages[-1].responses[0]
    snapshot = Snapshot(9, 1, ConfState(voters=(1, 2, 3)))
    core.step(Message(MessageType.SNAP, sender=2, to=1, term=1, snapshot=snapshot))
    append = core.ready().messages[-1]
    storage.apply_snapshot(append.snapshot)
    for response in append.responses:
        if response.to == 1:
            core.step(response)
    assert core.applied == 9
    core.step(late)
    assert core.applied == 9
    # And its bytes no longer count: the next entry is handed out.
    entry = Entry(1, 10, data=b"y")
    core.step(
        Message(
            MessageType.APP, sender=2, to=1, term=1, index=9, log_term=1, commit=10, entries=[entry]
        )
    )
    append = core.ready().messages[-1]
    storage.append(append.entries)
    for response in append.responses:
        if response.to == 1:
            core.step(response)
    assert core.ready().committed_entries == [entry]


def test_the_older_of_two_readies_must_be_done_first():
    core, _ = single(voters=(1,))
    core.campaign()
    core.ready()
    with pytest.raises(RuntimeError, match="advance"):
        core.ready()
    core.advance()
    assert core.role == Role.LEADER


@pytest.mark.parametrize(
    "settings",
    [
        {"node": 0},
        {"node": 2**64 - 1},
        {"node": 2**64 - 2},
        {"heartbeat_ticks": 0},
        {"heartbeat_ticks": 10},
        {"inflight_messages_max": 0},
        {"lease_reads": True},
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings):
    good = {"node": 1, "election_ticks": 10, "heartbeat_ticks": 1, "draw_timeout": max}
    Config(**good)
    with pytest.raises(ValueError):  # noqa: PT011
        Config(**{**good, **settings})
