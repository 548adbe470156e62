"""Messages that no honest member sends: they are refused or come to nothing, and never a crash."""

import contextlib
import random

import pytest

from regatta.raft import APPEND_THREAD
from regatta.raft import APPLY_THREAD
from regatta.raft import ConfState
from regatta.raft import Entry
from regatta.raft import HardState
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import ProposalDropped
from regatta.raft import Role
from regatta.raft import Snapshot
from regatta.raft import StepError
from tests.raft.replicas import refuses
from tests.raft.replicas import single
from tests.raft.replicas import state_of
from tests.raft.replicas import work

HUGE = 2**64 - 1
LOG = [Entry(1, 1), Entry(1, 2), Entry(2, 3)]


def follower():
    """Return a follower at term 2 with three entries, two of them committed."""
    return single(LOG, HardState(term=2, commit=2))[0]


def leader():
    """Return a leader at term 3 with four entries, none of whose peers has answered."""
    core, storage = single(LOG, HardState(term=2, commit=2))
    core.campaign()
    work(core, storage)
    core.step(Message(MessageType.VOTE_RESP, sender=2, to=1, term=3))
    work(core, storage)
    assert core.role == Role.LEADER
    return core


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Message(MessageType.HEARTBEAT, term=2, commit=4), "beyond the last one"),
        (Message(MessageType.HEARTBEAT, term=2, commit=HUGE), "out of range"),
        (Message(MessageType.HEARTBEAT, term=HUGE), "out of range"),
        (Message(MessageType.APP, term=2, index=HUGE, log_term=2), "out of range"),
        (Message(MessageType.APP, term=2, index=3, log_term=2, commit=HUGE), "out of range"),
        (
            Message(MessageType.APP, term=2, index=3, log_term=2, entries=[Entry(2, 5)]),
            "stands where 4 should",
        ),
        (
            Message(
                MessageType.APP, term=2, index=3, log_term=2, entries=[Entry(2, 4), Entry(2, 6)]
            ),
            "stands where 5 should",
        ),
        (
            Message(MessageType.APP, term=2, index=3, log_term=2, entries=[Entry(2, HUGE)]),
            "stands where 4 should",
        ),
        (
            Message(MessageType.APP, term=2, index=3, log_term=2, entries=[Entry(2, 1)]),
            "stands where 4 should",
        ),
        (
            Message(MessageType.APP, term=2, index=3, log_term=2, entries=[Entry(1, 4)]),
            "below the one before",
        ),
        (
            Message(MessageType.APP, term=2, index=3, log_term=2, entries=[Entry(3, 4)]),
            "from the future",
        ),
        (Message(MessageType.SNAP, term=2), "no snapshot"),
        (
            Message(MessageType.SNAP, term=2, snapshot=Snapshot(HUGE, 1, ConfState((1,)))),
            "from the future",
        ),
        (
            Message(MessageType.SNAP, term=2, snapshot=Snapshot(9, 3, ConfState((1,)))),
            "from the future",
        ),
        (
            Message(
                MessageType.SNAP, term=2, snapshot=Snapshot(9, 2, ConfState((1, 2), learners=(2,)))
            ),
            "membership",
        ),
        (
            Message(MessageType.SNAP, term=2, snapshot=Snapshot(9, 2, ConfState(learners=(1, 2)))),
            "membership",
        ),
        (Message(MessageType.VOTE, index=9, log_term=9), "a vote is for no term"),
        (Message(MessageType.PRE_VOTE, index=9, log_term=9), "a vote is for no term"),
        (Message(MessageType.PROP), "nothing in a proposal"),
        (Message(MessageType.HUP), "cannot step raft local message"),
        (Message(MessageType.BEAT), "cannot step raft local message"),
        (Message(MessageType.CHECK_QUORUM), "cannot step raft local message"),
        (Message(MessageType.UNREACHABLE), "cannot step raft local message"),
        (Message(MessageType.SNAP_STATUS), "cannot step raft local message"),
        (Message(MessageType.STORAGE_APPEND_RESP, index=3), "cannot step raft local message"),
        (Message(MessageType.STORAGE_APPLY_RESP), "cannot step raft local message"),
    ],
)
def test_a_follower_refuses(message, reason):
    core = follower()
    message.sender, message.to = 2, 1
    before = state_of(core)
    assert reason in refuses(core, message)
    assert state_of(core) == before
    assert core.ready().messages == []


def test_a_type_that_is_none_is_refused():
    message = Message(sender=2, to=1)
    for message.type in (-1, 24, 2**31 - 1, -(2**31)):
        assert "no type of message" in refuses(follower(), message)


def test_strangers_are_not_answered():
    core = leader()
    for type in (
        MessageType.APP_RESP,
        MessageType.VOTE_RESP,
        MessageType.HEARTBEAT_RESP,
        MessageType.READ_INDEX_RESP,
        MessageType.PRE_VOTE_RESP,
    ):
        message = Message(type, sender=9, to=1, term=3, index=1)
        assert refuses(core, message) == "raft: cannot step as peer not found"


@pytest.mark.parametrize("index", [5, 6, 2**62])
def test_an_acknowledgement_beyond_the_leaders_log_is_refused(index):
    core = leader()
    message = Message(MessageType.APP_RESP, sender=2, to=1, term=3, index=index)
    assert "beyond the last one of the leader" in refuses(core, message)
    assert core.status().progress[2].match == 0
    assert core.committed == 2


@pytest.mark.parametrize("reject_hint", [0, 1, 4, 5, HUGE])
@pytest.mark.parametrize("index", [0, 3, 4, 2**62])
@pytest.mark.parametrize("log_term", [0, 1, 2, 2**62])
def test_refusals_with_any_hint_leave_progress_sound(index, reject_hint, log_term):
    core = leader()
    core.step(
        Message(
            MessageType.APP_RESP,
            sender=2,
            to=1,
            term=3,
            index=index,
            reject=True,
            reject_hint=reject_hint,
            log_term=log_term,
        )
    )
    progress = core.status().progress[2]
    assert progress.match == 0
    assert 1 <= progress.next <= core.last_index + 1


def test_a_commit_beyond_what_was_sent_reaches_only_that_far():
    core = follower()
    core.step(Message(MessageType.APP, sender=2, to=1, term=2, index=2, log_term=1, commit=2**62))
    assert core.committed == 2


def test_a_conflict_below_the_commit_is_answered_with_the_commit():
    core = follower()
    core.step(
        Message(MessageType.APP, sender=2, to=1, term=2, index=0, entries=[Entry(2, 1)], commit=1)
    )
    answers = core.ready().messages
    assert [(answer.index, answer.reject) for answer in answers] == [(2, False)]
    assert core.last_index == 3


def test_storage_answers_that_nobody_asked_for_are_refused_or_ignored():
    core = follower()
    for message in (
        Message(
            MessageType.STORAGE_APPEND_RESP,
            sender=APPEND_THREAD,
            term=2,
            snapshot=Snapshot(9, 2),
        ),
        Message(MessageType.STORAGE_APPLY_RESP, sender=APPLY_THREAD, entries=[Entry(1, 2)]),
        Message(MessageType.STORAGE_APPLY_RESP, sender=APPLY_THREAD, entries=[Entry(1, HUGE)]),
    ):
        assert refuses(core, message)
    for index in (1, 3, 4, 2**62):
        core.step(
            Message(MessageType.STORAGE_APPEND_RESP, sender=APPEND_THREAD, term=2, index=index)
        )
    assert state_of(core) == state_of(follower())


def test_a_forwarded_membership_change_that_is_none_is_refused():
    core = leader()
    core.step(Message(MessageType.APP_RESP, sender=2, to=1, term=3, index=4))
    for kind in (1, 2):
        message = Message(MessageType.PROP, sender=2, to=1, entries=[Entry(0, 0, kind, b"\xff")])
        assert "no membership change" in refuses(core, message)
    assert core.last_index == 4


def any_message(rng):
    """Return a message of any type with numbers that are near the sound ones, or far."""

    def number():
        return rng.choice((0, 1, 2, 3, 4, 5, 6, 2**32, 2**62, 2**63, HUGE))

    entries = [
        Entry(number(), rng.choice((3, 4, 5, number())), rng.randrange(3), rng.randbytes(2))
        for _ in range(rng.randrange(4))
    ]
    snapshot = None
    if rng.random() < 0.3:
        ids = [tuple(rng.sample(range(1, 6), rng.randrange(4))) for _ in range(4)]
        snapshot = Snapshot(number(), number(), ConfState(*ids, rng.random() < 0.5))
    return Message(
        rng.randrange(24),
        to=1,
        sender=rng.choice((0, 1, 2, 3, 9, APPEND_THREAD, APPLY_THREAD)),
        term=rng.choice((2, 3, 3, 3, 4, number())),
        log_term=number(),
        index=number(),
        entries=entries,
        commit=number(),
        vote=number(),
        snapshot=snapshot,
        reject=rng.random() < 0.3,
        reject_hint=number(),
        context=rng.randbytes(rng.choice((0, 8))),
    )


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("checks", [False, True])
def test_any_messages_give_step_errors_at_most(seed, asynchronous, checks):
    rng = random.Random(seed)
    core, storage = single(
        LOG,
        HardState(term=2, commit=2),
        async_storage_writes=asynchronous,
        check_quorum=checks,
        pre_vote=checks,
        lease_reads=checks,
        uncommitted_bytes_max=8,
        log=lambda level, text: None,
    )
    for _ in range(200):
        with contextlib.suppress(StepError, ProposalDropped):
            core.step(any_message(rng))
        if rng.random() < 0.1:
            core.campaign()
        core.tick()
        assert core.applied <= core.applying <= core.committed <= core.last_index
        if not asynchronous and core.has_ready():
            ready = core.ready()
            if ready.snapshot is not None:
                storage.apply_snapshot(ready.snapshot)
            storage.append(ready.entries)
            core.advance()
