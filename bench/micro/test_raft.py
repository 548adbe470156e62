"""What agreement costs: encoding, one step, and a proposal's way through a group of three.

python -m pytest -s bench/micro/test_raft.py
"""

import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from regatta.raft import Core
from regatta.raft import Entry
from regatta.raft import Message
from regatta.raft import MessageType
from regatta.raft import Snapshot
from regatta.raft import decode_message
from regatta.raft import encode_message
from tests.raft.group import FIRST_INDEX
from tests.raft.group import FIRST_TERM
from tests.raft.group import Group
from tests.raft.group import Replica

DATA = b"v" * 100
# Batches from one round to the next; the logs are compacted in between.
BATCHES = 200


def append_of(entry_count: int, term: int = FIRST_TERM, after: int = FIRST_INDEX) -> Message:
    entries = [Entry(term, after + 1 + count, 0, DATA) for count in range(entry_count)]
    return Message(
        MessageType.APP,
        to=1,
        sender=2,
        term=term,
        log_term=FIRST_TERM,
        index=after,
        entries=entries,
        commit=after,
    )


@pytest.mark.parametrize("entry_count", [0, 1, 64])
def test_encode_an_append(benchmark: BenchmarkFixture, entry_count: int) -> None:
    message = append_of(entry_count)
    assert decode_message(benchmark(encode_message, message)) == message


@pytest.mark.parametrize("entry_count", [0, 1, 64])
def test_decode_an_append(benchmark: BenchmarkFixture, entry_count: int) -> None:
    message = append_of(entry_count)
    assert benchmark(decode_message, encode_message(message)) == message


@pytest.mark.parametrize("entry_count", [0, 1, 64])
def test_step_an_append(benchmark: BenchmarkFixture, entry_count: int) -> None:
    message = append_of(entry_count)

    def follower() -> tuple[tuple[Core, Message], dict[str, object]]:
        core = Replica(1, (1, 2, 3)).core
        core.step(Message(MessageType.HEARTBEAT, to=1, sender=2, term=FIRST_TERM))
        core.ready()
        return (core, message), {}

    benchmark.pedantic(lambda core, one: core.step(one), setup=follower, rounds=2000)
    core, _ = follower()[0]
    core.step(message)
    assert core.last_index == FIRST_INDEX + entry_count


def commit_batches(group: Group, leader: Core, batch: list[bytes]) -> None:
    for _ in range(BATCHES):
        leader.propose_batch(batch)
        group.run()


def compact(group: Group) -> None:
    """Forget what is applied, so that the logs don't grow from round to round."""
    for replica in group.replicas.values():
        storage, applied = replica.storage, replica.core.applied
        storage.compact(applied)
        storage.history = [Snapshot(applied, replica.core.term)]


@pytest.mark.parametrize("encoded", [False, True], ids=["", "encoded"])
@pytest.mark.parametrize("batch_size", [1, 64, 1024])
def test_propose_until_committed_in_a_group_of_three(
    benchmark: BenchmarkFixture, batch_size: int, encoded: bool
) -> None:
    group = Group()
    if encoded:
        group.send = lambda message: group.deliver(decode_message(encode_message(message)))
    leader = group.elect(1)
    before = leader.committed
    batch = [DATA] * batch_size
    round_s: list[float] = []

    def one_round() -> None:
        start_s = time.process_time()
        commit_batches(group, leader, batch)
        round_s.append(time.process_time() - start_s)

    benchmark.pedantic(one_round, setup=lambda: compact(group), rounds=10, warmup_rounds=1)
    proposals = len(round_s) * BATCHES * batch_size
    for replica in group.replicas.values():
        assert replica.applied_count >= replica.core.applied - FIRST_INDEX
        assert replica.core.committed == before + proposals
    rate = BATCHES * batch_size / min(round_s)
    benchmark.extra_info["proposals/s"] = round(rate)
    print(f"batches of {batch_size}{', encoded' * encoded}: {rate:,.0f} proposals/s of CPU time")
