"""How much is sent, taken and handed out at a time."""

import pytest

from regatta.raft import Entry
from regatta.raft import HardState
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import ProposalDropped
from tests.raft.replicas import Replicas
from tests.raft.replicas import single
from tests.raft.replicas import work

ENTRY_BYTES = Entry(1, 9, data=b"x" * 100).size


def replicating(**settings):
    """Return a leader of term 1 to whom node 2 has answered, and its storage."""
    core, storage = single(**settings)
    core.campaign()
    work(core, storage)
    core.step(Message(MessageType.VOTE_RESP, sender=2, to=1, term=1))
    work(core, storage)
    core.step(Message(MessageType.APP_RESP, sender=2, to=1, term=1, index=1))
    work(core, storage)
    return core, storage


def appends_to_2(messages):
    return [
        [entry.index for entry in message.entries]
        for message in messages
        if message.type == MessageType.APP and message.to == 2
    ]


def test_an_append_keeps_to_its_size():
    core, storage = replicating(message_bytes_max=3 * ENTRY_BYTES)
    core.propose_batch([b"x" * 100] * 7)
    assert appends_to_2(work(core, storage)) == [[2, 3, 4]]
    # The broadcast sent one message; the answer to it brings all the rest.
    core.step(Message(MessageType.APP_RESP, sender=2, to=1, term=1, index=4))
    assert appends_to_2(work(core, storage)) == [[5, 6, 7], [8]]


def test_an_append_holds_one_entry_even_if_that_is_too_large():
    core, storage = replicating(message_bytes_max=1)
    core.propose_batch([b"x" * 100] * 2)
    assert appends_to_2(work(core, storage)) == [[2]]


def test_in_flight_messages_are_counted():
    core, storage = replicating(inflight_messages_max=2)
    for _ in range(4):
        core.propose(b"x")
    sent = [indexes for indexes in appends_to_2(work(core, storage)) if indexes]
    assert sent == [[2], [3]]
    core.step(Message(MessageType.APP_RESP, sender=2, to=1, term=1, index=2))
    sent = [indexes for indexes in appends_to_2(work(core, storage)) if indexes]
    assert sent == [[4, 5]]


def test_in_flight_bytes_are_counted():
    core, storage = replicating(inflight_bytes_max=2 * ENTRY_BYTES, message_bytes_max=ENTRY_BYTES)
    for _ in range(4):
        core.propose(b"x" * 100)
    sent = [indexes for indexes in appends_to_2(work(core, storage)) if indexes]
    assert sent == [[2], [3]]
    core.step(Message(MessageType.APP_RESP, sender=2, to=1, term=1, index=3))
    sent = [indexes for indexes in appends_to_2(work(core, storage)) if indexes]
    assert sent == [[4], [5]]


def test_uncommitted_proposals_are_bounded_until_they_are_applied():
    replicas = Replicas(uncommitted_bytes_max=200)
    leader = replicas.elect(1)
    leader.propose(b"x" * 150)
    with pytest.raises(ProposalDropped):
        leader.propose(b"x" * 51)
    leader.propose(b"x" * 50)
    with pytest.raises(ProposalDropped):
        leader.propose_batch([b"x"])
    leader.propose(b"")  # what has no data costs nothing
    replicas.settle()
    leader.propose(b"x" * 200)
    replicas.settle()
    assert [len(data) for data in replicas.data(2)] == [150, 50, 200]


def test_one_proposal_is_taken_even_if_it_is_too_large():
    replicas = Replicas(uncommitted_bytes_max=10)
    leader = replicas.elect(1)
    leader.propose(b"x" * 100)
    with pytest.raises(ProposalDropped):
        leader.propose(b"x")


def test_a_batch_is_taken_whole_or_not_at_all():
    replicas = Replicas(uncommitted_bytes_max=10)
    leader = replicas.elect(1)
    leader.propose(b"x")
    last_index = leader.last_index
    with pytest.raises(ProposalDropped):
        leader.propose_batch([b"y", b"x" * 10])
    assert leader.last_index == last_index
    replicas.settle()
    assert replicas.data(1) == [b"x"]


def test_forwarded_proposals_count_in_the_leaders_quota():
    replicas = Replicas(uncommitted_bytes_max=10)
    leader = replicas.elect(1)
    leader.propose(b"x")
    proposal = Message(MessageType.PROP, sender=2, to=1, entries=[Entry(data=b"x" * 10)])
    with pytest.raises(ProposalDropped):
        leader.step(proposal)


def test_a_new_leader_begins_with_an_empty_quota():
    replicas = Replicas(uncommitted_bytes_max=10)
    leader = replicas.elect(1)
    replicas.cut = {1}
    leader.propose(b"x" * 10)
    replicas.settle()
    replicas.elect(2)
    replicas.cut = set()
    replicas.tick()
    replicas.settle()
    replicas.elect(1).propose(b"y" * 10)


def test_what_is_being_applied_is_bounded():
    entries = [Entry(1, index, data=b"x" * 100) for index in range(1, 6)]
    core, _ = single(
        entries,
        HardState(1, 0, 5),
        committed_bytes_max=2 * entries[0].size,
        async_storage_writes=True,
    )
    ready = core.ready()
    assert [entry.index for entry in ready.committed_entries] == [1, 2]
    assert core.applying == 2
    assert core.applied == 0
    assert not core.has_ready()
    core.step(ready.messages[-1].responses[0])
    assert core.applied == 2
    assert [entry.index for entry in core.ready().committed_entries] == [3, 4]


def test_sizes_are_those_of_the_encoding():
    entries = [Entry(1, index, data=b"x" * 100) for index in range(1, 4)]
    for bytes_max, count in ((2 * entries[0].size - 1, 1), (2 * entries[0].size, 2)):
        core, _ = single(entries, HardState(1, 0, 3), committed_bytes_max=bytes_max)
        assert len(core.ready().committed_entries) == count
