"""What a leader keeps of its peers: the appends under way, bounded by number and bytes."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.raft import Config
from regatta.raft import ConfState
from regatta.raft import Core
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import ProgressState
from regatta.raft import Snapshot
from tests.conformance.storage import MemoryStorage

LEADER, PEER = 1, 2
begin_index = 5

proposals = st.tuples(st.just("propose"), st.integers(0, 200))
answers = st.tuples(st.just("answer"), st.integers(0, 30))


class Leader:
    """A leader that has heard from its only peer, and that writes to memory."""

    def __init__(self, **limits):
        voters = ConfState([LEADER, PEER])
        self.storage = MemoryStorage(Snapshot(begin_index, 1, voters))
        self.core = Core(
            Config(
                node=LEADER,
                election_ticks=10,
                heartbeat_ticks=1,
                draw_timeout=lambda low, high: high,
                applied=begin_index,
                **limits,
            ),
            self.storage,
        )
        self.core.campaign()
        self.turn()
        self.hear(MessageType.VOTE_RESP)
        self.turn()

    def hear(self, kind, **fields):
        self.core.step(Message(kind, to=LEADER, sender=PEER, term=self.core.term, **fields))

    def turn(self):
        """Do what is to be done, and return the appends with entries that went to the peer."""
        appends = []
        while self.core.has_ready():
            ready = self.core.ready()
            self.storage.append(ready.entries)
            self.core.advance()
            appends += [m for m in ready.messages if m.type == MessageType.APP and m.entries]
        return appends

    @property
    def peer(self):
        return self.core.status().progress[PEER]


@settings(deadline=None)
@given(
    st.lists(st.one_of(proposals, answers), max_size=60),
    st.integers(1, 20),
    st.one_of(st.just(0), st.integers(1, 1000)),
)
def test_what_is_under_way_is_counted_and_bounded(actions, count_max, bytes_max):
    leader = Leader(inflight_messages_max=count_max, inflight_bytes_max=bytes_max)
    leader.hear(MessageType.APP_RESP, index=leader.core.last_index)
    under_way = deque()
    for action, amount in actions:
        if action == "propose":
            leader.core.propose(bytes(amount))
        elif under_way:
            # The oldest so many have arrived; the last one's answer stands for all of them.
            for _ in range(min(amount, len(under_way) - 1)):
                under_way.popleft()
            leader.hear(MessageType.APP_RESP, index=under_way.popleft()[0])
        for append in leader.turn():
            outstanding_bytes = sum(size for _, size in under_way)
            assert len(under_way) < count_max
            assert not bytes_max or outstanding_bytes < bytes_max
            size_bytes = sum(entry.size for entry in append.entries)
            under_way.append((append.entries[-1].index, size_bytes))
        outstanding_bytes = sum(size for _, size in under_way)
        window = leader.peer.window
        assert (window.count, window.size_bytes) == (len(under_way), outstanding_bytes)
        is_full = len(under_way) == count_max or 0 < bytes_max <= outstanding_bytes
        assert window.full == is_full
        assert leader.peer.paused == is_full
        waiting = leader.core.last_index >= leader.peer.next
        assert not waiting or is_full, "entries wait though there is room"


def test_the_window_holds_far_more_than_it_has_room_for_at_first():
    leader = Leader()
    leader.hear(MessageType.APP_RESP, index=leader.core.last_index)
    first = leader.core.last_index + 1
    for _ in range(1000):
        leader.core.propose(b"x")
    assert len(leader.turn()) == leader.peer.window.count == 1000
    leader.hear(MessageType.APP_RESP, index=first + 499)
    assert leader.peer.window.count == 500
    for _ in range(600):
        leader.core.propose(b"x")
    leader.turn()
    assert leader.peer.window.count == 1100
    leader.hear(MessageType.APP_RESP, index=leader.core.last_index)
    assert (leader.peer.window.count, leader.peer.window.size_bytes) == (0, 0)


def test_a_peer_that_was_not_heard_from_is_probed_with_one_append_at_a_time():
    leader = Leader()
    assert leader.peer.state is ProgressState.PROBE
    assert leader.peer.paused
    leader.core.propose(b"x")
    assert leader.turn() == []
    leader.hear(MessageType.APP_RESP, index=begin_index + 1)
    assert leader.peer.state is ProgressState.REPLICATE
    assert [len(append.entries) for append in leader.turn()] == [1]


def test_a_refusal_moves_back_to_where_the_peer_may_agree_but_never_behind_what_it_has():
    leader = Leader()
    leader.hear(MessageType.APP_RESP, index=begin_index + 1)
    for _ in range(4):
        leader.core.propose(b"x")
    leader.turn()
    assert leader.peer.next == begin_index + 6
    leader.hear(MessageType.APP_RESP, reject=True, index=begin_index + 4, reject_hint=1, log_term=1)
    assert (leader.peer.match, leader.peer.next) == (begin_index + 1, begin_index + 2)
    assert leader.peer.state is ProgressState.PROBE
    before = str(leader.peer)
    leader.hear(MessageType.APP_RESP, reject=True, index=begin_index, reject_hint=1, log_term=1)
    assert str(leader.peer) == before, "a refusal that was overtaken counts for nothing"


@pytest.mark.parametrize("name", ["match", "next", "window", "recently_active", "state"])
def test_progress_is_for_reading(name):
    with pytest.raises(AttributeError):
        setattr(Leader().peer, name, 1)
