"""The state machine: entries in, results out, and what is on disk afterwards."""

import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.errors import Code
from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import CommandResult
from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.mvcc_pb2 import Txn
from regatta.raft import Entry
from regatta.raft import EntryKind
from regatta.store import Machine
from regatta.store import Snapshot
from regatta.wire import checksum
from tests.store.storage import GROUP
from tests.store.storage import META_GROUP
from tests.store.storage import Applier
from tests.store.storage import delete
from tests.store.storage import dump
from tests.store.storage import put
from tests.store.storage import running
from tests.store.storage import settle
from tests.store.storage import wait_until

WHOLE = (b"\0", b"\0")  # key and range_end of a whole table


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def applier(path: Path) -> Iterator[Applier]:
    with running(Machine, path) as machine:
        yield Applier(machine)


def batch(kind: Command.CommandType, *pairs: tuple[bytes, bytes]) -> Command:
    return Command(type=kind, batch=[KeyValue(key=key, value=value) for key, value in pairs])


def op_put(key: bytes, value: bytes = b"value", *, prev_kv: bool = False) -> RequestOp:
    return RequestOp(request_put=RequestOp.Put(key=key, value=value, prev_kv=prev_kv))


def op_delete(key: bytes, range_end: bytes = b"", *, prev_kv: bool = False) -> RequestOp:
    body = RequestOp.DeleteRange(key=key, range_end=range_end, count=True, prev_kv=prev_kv)
    return RequestOp(request_delete_range=body)


def op_range(key: bytes, range_end: bytes = b"") -> RequestOp:
    return RequestOp(request_range=RequestOp.Range(key=key, range_end=range_end))


def txn(
    *success: RequestOp, failure: tuple[RequestOp, ...] = (), compare: list[Compare]
) -> Command:
    return Command(type=Command.TXN, txn=Txn(compare=compare, success=success, failure=failure))


def sequence(*commands: Command) -> Command:
    return Command(type=Command.SEQUENCE, sequence=commands)


def assert_counts_are_true(applier: Applier) -> None:
    """The counters of the table are what a scan of it adds up to."""
    state = applier.state()
    found = applier.key_values()
    assert state.key_count == len(found)
    stored_bytes = 0
    for kv in found:
        tail = KeyValue(create_revision=kv.create_revision, mod_revision=kv.mod_revision)
        tail.value = kv.value
        stored_bytes += 8 + len(kv.key) + 4 + len(tail.SerializeToString())
    assert state.byte_count == stored_bytes


# What is stored.


def test_a_pair_is_stored_as_documented(path: Path) -> None:
    with running(Machine, path) as machine:
        applier = Applier(machine)
        applier.apply(put(b"key", b"old"), put(b"other"), put(b"key", b"new"))
        table_id = applier.state().table_id
    data, _ = dump(path)
    key = struct.pack(">Q", table_id) + b"key"
    tail = KeyValue(create_revision=1, mod_revision=3, value=b"new").SerializeToString()
    assert data[key] == struct.pack("<I", checksum(key + tail)) + tail
    assert len(data) == 2


def test_an_empty_value_is_a_value(applier: Applier) -> None:
    applier.apply(put(b"key", b""))
    assert applier.pairs() == {b"key": b""}
    assert_counts_are_true(applier)


def test_the_largest_pair_fits(applier: Applier) -> None:
    key, value = b"k" * 1024, b"v" * (2 << 20)
    applier.apply(put(key, value))
    assert applier.pairs() == {key: value}


def test_an_empty_entry_moves_the_applied_index_and_nothing_else(applier: Applier) -> None:
    before, empty, after = applier.apply(put(b"a"), b"", put(b"b"))
    assert (before, empty, after) == ((0, False, b""),) * 3
    assert applier.pairs() == {b"a": b"value", b"b": b"value"}
    assert applier.state().applied_index == 3


def test_the_membership_moves_with_the_data(path: Path) -> None:
    with running(Machine, path) as machine:
        applier = Applier(machine)
        applier.apply(put(b"a"))
        assert applier.state().membership == b""
        machine.set_membership(GROUP, b"one", 2, 7)
        settle(machine)
        assert machine.take_results() == [(0, False, b"")]
    with running(Machine, path) as machine:
        state = Applier(machine).state()
        assert (state.membership, state.applied_index, state.applied_term) == (b"one", 2, 7)
        machine.set_membership(GROUP, b"replayed", 2, 7)
        machine.set_membership(GROUP, b"two", 3, 7)
        settle(machine)
        assert Applier(machine).state().membership == b"two"
        assert Applier(machine).pairs() == {b"a": b"value"}


def test_a_group_is_given_its_first_membership_once(path: Path) -> None:
    with running(Machine, path) as machine:
        machine.set_membership(META_GROUP, b"first")
        machine.set_membership(META_GROUP, b"second")
        settle(machine)
        assert machine.take_results() == [(0, False, b"")] * 2
        (catalogue,) = Snapshot(machine.environment).groups()
        assert (catalogue.membership, catalogue.applied_index) == (b"first", 0)


def test_a_table_begins_with_the_members_of_the_catalogue(path: Path) -> None:
    with running(Machine, path) as machine:
        machine.set_membership(META_GROUP, b"members")
        machine.apply(META_GROUP, [Entry(1, 1, data=create(b"table"))])
        settle(machine)
        found = Snapshot(machine.environment).find(b"table")
        assert found is not None
        assert found.membership == b"members"


def test_the_longest_membership_fits(path: Path) -> None:
    name, members = b"n" * 255, b"m" * 512
    with running(Machine, path) as machine:
        machine.set_membership(META_GROUP, members)
        machine.apply(META_GROUP, [Entry(1, 1, data=create(name))])
        settle(machine)
        found = Snapshot(machine.environment).find(name)
        assert found is not None
        assert (found.name, found.membership) == (name, members)
        for size in (0, 513):
            with pytest.raises(ValueError, match=f"a membership of {size} bytes"):
                machine.set_membership(META_GROUP, bytes(size))


def test_the_applied_index_moves_with_the_data(path: Path) -> None:
    with running(Machine, path) as machine:
        applier = Applier(machine)
        applier.apply(put(b"a"), put(b"b"))
        machine.apply(GROUP, [Entry(9, 3, EntryKind.CONF_CHANGE, b"not a command")])
        settle(machine)
    with running(Machine, path) as machine:
        state = Applier(machine).state()
        assert (state.applied_index, state.applied_term) == (3, 9)


# Results.


def test_results_come_in_the_order_of_the_entries(applier: Applier) -> None:
    commands = [delete(b"%03d" % i, count=True) for i in range(300)]
    applier.apply(*[put(b"%03d" % i) for i in range(0, 300, 3)])
    results = [CommandResult.FromString(result) for _, _, result in applier.apply(*commands)]
    deleted = [result.responses[0].response_delete_range.deleted for result in results]
    assert deleted == [int(i % 3 == 0) for i in range(300)]


def test_a_put_returns_the_previous_pair_if_asked(applier: Applier) -> None:
    (_, _, first), (_, _, second), (_, _, silent) = applier.apply(
        put(b"key", b"one", prev_kvs=True), put(b"key", b"two", prev_kvs=True), put(b"key")
    )
    assert not CommandResult.FromString(first).responses[0].response_put.HasField("prev_kv")
    previous = CommandResult.FromString(second).responses[0].response_put.prev_kv
    assert previous == KeyValue(key=b"key", create_revision=1, mod_revision=1, value=b"one")
    assert silent == b""


def test_a_delete_returns_the_previous_pairs_if_asked(applier: Applier) -> None:
    applier.apply(put(b"a", b"1"), put(b"b", b"2"), put(b"c", b"3"))
    ((_, _, result),) = applier.apply(delete(b"a", b"c", prev_kvs=True))
    answer = CommandResult.FromString(result).responses[0].response_delete_range
    assert [(kv.key, kv.value) for kv in answer.prev_kvs] == [(b"a", b"1"), (b"b", b"2")]
    assert answer.deleted == 2
    assert applier.pairs() == {b"c": b"3"}


def test_previous_pairs_that_fit_no_answer_are_refused_and_kept(applier: Applier) -> None:
    applier.apply(*[put(b"%d" % i, bytes(1 << 20)) for i in range(5)])
    ((code, _, text),) = applier.apply(delete(*WHOLE, prev_kvs=True))
    assert (code, text) == (
        Code.RESOURCE_EXHAUSTED,
        b"the previous pairs exceed 4 MiB; nothing was changed",
    )
    assert applier.state().key_count == 5
    assert_counts_are_true(applier)


# Replay.


def test_entries_that_are_applied_already_change_nothing(path: Path) -> None:
    with running(Machine, path) as machine:
        Applier(machine).apply(put(b"key", b"one"), delete(b"key"), put(b"key", b"three"))
    with running(Machine, path) as machine:
        applier = Applier(machine)
        applier.next_index = 1
        before = applier.key_values()
        applier.apply(put(b"key", b"one"), delete(b"key"), put(b"key", b"three"))
        assert applier.key_values() == before
        assert applier.state().applied_index == 3


def test_a_gap_is_never_applied_over(applier: Applier) -> None:
    applier.apply(put(b"key"))
    applier.next_index = 3
    applier.queue(put(b"key", b"after the gap"))
    wait_until(lambda: applier.machine.failure)
    assert "a write failed" in str(applier.machine.failure)
    assert applier.pairs() == {b"key": b"value"}
    assert applier.machine.take_results() == []


# Commands that are not as they should be.

HALF = txn(op_put(b"half"), op_put(b"done"), compare=[]).txn.SerializeToString()
MALFORMED = {
    "no message": b"\x07",
    "unknown type": Command(type=17).SerializeToString(),  # type: ignore[arg-type]
    "no key": put(b"").SerializeToString(),
    "key too long": put(b"k" * 1025).SerializeToString(),
    "delete without a key": delete(b"").SerializeToString(),
    "a transaction that breaks off": b"\x10\x05\x3a" + bytes([len(HALF) + 1]) + HALF + b"\x12",
    "a transaction with a malformed operation": b"\x10\x05\x3a"
    + bytes([len(HALF) + 3])
    + HALF
    + b"\x12\x01\x07",
    "a malformed pair in a batch": b"\x10\x03\x32\x01\x07",
    "an overlong key in a batch": batch(Command.PUT_BATCH, (b"k" * 1025, b"")).SerializeToString(),
    "sequences too deep": sequence(
        sequence(sequence(sequence(sequence(put(b"deep")))))
    ).SerializeToString(),
}


@pytest.mark.parametrize("payload", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_command_is_refused_and_the_rest_goes_on(
    applier: Applier, payload: bytes
) -> None:
    before, bad, after = applier.apply(put(b"before"), payload, put(b"after"))
    assert bad[0] == Code.INTERNAL
    assert bad[2]
    assert (before, after) == ((0, False, b""),) * 2
    assert applier.pairs() == {b"before": b"value", b"after": b"value"}
    assert applier.state().applied_index == 3
    assert_counts_are_true(applier)


def test_a_group_that_does_not_exist_is_told(applier: Applier) -> None:
    applier.machine.apply(77777, [Entry(1, 1, data=put(b"key").SerializeToString())])
    settle(applier.machine)
    ((code, _, text),) = applier.machine.take_results()
    assert (code, text) == (Code.INTERNAL, b"the log names a group that does not exist")
    assert applier.machine.failure is None


# Transactions, batches, sequences.


def test_a_transaction_answers_each_operation(applier: Applier) -> None:
    applier.apply(put(b"a", b"1"), put(b"b", b"2"))
    ((code, failed, result),) = applier.apply(
        txn(
            op_range(b"a"),
            op_put(b"a", b"3", prev_kv=True),
            op_delete(b"b"),
            op_range(*WHOLE),
            compare=[Compare(key=b"a", value=b"1")],
        )
    )
    assert (code, failed) == (0, False)
    answers = CommandResult.FromString(result).responses
    assert answers[0].response_range.kvs[0].value == b"1"
    assert answers[1].response_put.prev_kv.value == b"1"
    assert answers[2].response_delete_range.deleted == 1
    assert [(kv.key, kv.value) for kv in answers[3].response_range.kvs] == [(b"a", b"3")]
    assert_counts_are_true(applier)


def test_the_failure_branch_is_told(applier: Applier) -> None:
    compare = [Compare(key=b"missing")]
    results = applier.apply(txn(op_put(b"a"), failure=(op_put(b"b"),), compare=compare))
    assert [failed for _, failed, _ in results] == [True]
    assert applier.pairs() == {b"b": b"value"}


@pytest.mark.parametrize(
    ("result", "holds"),
    [("EQUAL", "b"), ("GREATER", "a"), ("LESS", "c"), ("NOT_EQUAL", "ac")],
)
def test_comparisons_order_values_as_bytes(applier: Applier, result: str, holds: str) -> None:
    applier.apply(put(b"key", b"b"))
    for value in "abc":
        compare = Compare(key=b"key", value=value.encode(), result=getattr(Compare, result))
        ((_, failed, _),) = applier.apply(txn(compare=[compare]))
        assert failed == (value not in holds)


def test_an_answer_that_is_too_large_undoes_the_transaction(applier: Applier) -> None:
    applier.apply(*[put(b"big%d" % i, bytes(1 << 20)) for i in range(3)])
    ranges = [op_range(b"big", b"bih")] * 6
    ((code, _, text),) = applier.apply(
        txn(op_put(b"new"), op_delete(b"big0"), *ranges, *ranges, compare=[])
    )
    assert code == Code.RESOURCE_EXHAUSTED
    assert b"nothing was changed" in text
    assert sorted(applier.pairs()) == [b"big0", b"big1", b"big2"]
    assert_counts_are_true(applier)


def test_a_refused_command_in_a_sequence_leaves_the_others(applier: Applier) -> None:
    ((code, _, _),) = applier.apply(
        sequence(put(b""), txn(op_put(b"a"), op_put(b"b"), compare=[]), put(b"c"))
    )
    assert code == Code.INTERNAL
    assert sorted(applier.pairs()) == [b"a", b"b", b"c"]
    assert_counts_are_true(applier)


def test_a_dummy_does_nothing(applier: Applier) -> None:
    assert applier.apply(Command(type=Command.DUMMY)) == [(0, False, b"")]
    assert applier.state().applied_index == 1


keys = st.sampled_from([b"a", b"aa", b"b", b"c\xff", b"d" * 1024])
ends = st.one_of(st.none(), st.sampled_from([b"b", b"c", b"\0", b"a", b"\xff"]))
values = st.sampled_from([b"", b"1", b"2" * 200, b"3" * 5000])
pairs = st.lists(st.tuples(keys, values), max_size=4)
operations = st.one_of(
    st.builds(op_put, keys, values, prev_kv=st.booleans()),
    st.builds(op_delete, keys, ends.map(lambda end: end or b""), prev_kv=st.booleans()),
    st.builds(op_range, keys, ends.map(lambda end: end or b"")),
)
simple = st.one_of(
    st.builds(put, keys, values, prev_kvs=st.booleans()),
    st.builds(delete, keys, ends, prev_kvs=st.booleans(), count=st.booleans()),
    st.just(delete(*WHOLE)),
    pairs.map(lambda some: batch(Command.PUT_BATCH, *some)),
    pairs.map(lambda some: batch(Command.DELETE_BATCH, *some)),
    st.just(put(b"")),
    st.builds(
        lambda success, failure, compare: txn(*success, failure=tuple(failure), compare=compare),
        st.lists(operations, max_size=4),
        st.lists(operations, max_size=2),
        st.lists(
            st.builds(lambda key, value: Compare(key=key, value=value), keys, values), max_size=1
        ),
    ),
)
commands = st.one_of(simple, st.lists(simple, max_size=3).map(lambda some: sequence(*some)))


def in_range(key: bytes, start: bytes, end: bytes) -> bool:
    return key == start if not end else key >= start and (end == b"\0" or key < end)


def model_apply(model: dict[bytes, bytes], command: Command) -> None:
    """Do to a dict what *command* does to a table."""

    def remove(start: bytes, end: bytes) -> None:
        for key in [key for key in model if in_range(key, start, end)]:
            del model[key]

    if command.type == Command.PUT and command.kv.key:
        model[command.kv.key] = command.kv.value
    elif command.type == Command.DELETE:
        remove(command.kv.key, command.range_end)
    elif command.type == Command.PUT_BATCH:
        model.update((kv.key, kv.value) for kv in command.batch)
    elif command.type == Command.DELETE_BATCH:
        for kv in command.batch:
            model.pop(kv.key, None)
    elif command.type == Command.SEQUENCE:
        for part in command.sequence:
            model_apply(model, part)
    elif command.type == Command.TXN:
        holds = all(model.get(one.key) == one.value for one in command.txn.compare)
        for operation in command.txn.success if holds else command.txn.failure:
            body = getattr(operation, str(operation.WhichOneof("request")))
            if isinstance(body, RequestOp.Put):
                model[body.key] = body.value
            elif isinstance(body, RequestOp.DeleteRange):
                remove(body.key, body.range_end)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(commands, min_size=1, max_size=6), min_size=1, max_size=4))
def test_the_table_and_its_counts_are_those_of_a_model(
    tmp_path_factory: pytest.TempPathFactory, turns: list[list[Command]]
) -> None:
    model: dict[bytes, bytes] = {}
    with running(Machine, tmp_path_factory.mktemp("model") / "data") as machine:
        applier = Applier(machine)
        for turn in turns:
            assert len(applier.apply(*turn)) == len(turn)
            for command in turn:
                model_apply(model, command)
            assert applier.pairs() == model
            assert_counts_are_true(applier)


@pytest.mark.parametrize("seed", range(3))
def test_batches_of_every_order_and_size_are_those_of_a_model(applier: Applier, seed: int) -> None:
    # Pages split and overflow under the cursor that a batch goes through the table with.
    chance = random.Random(seed)
    model: dict[bytes, bytes] = {}
    for _ in range(12):
        numbers = [chance.randrange(3_000) for _ in range(1_500)]
        numbers = chance.choice((numbers, sorted(numbers), sorted(numbers, reverse=True)))
        sizes = [chance.choice((0, 1, 100, 100, 1_500, 9_000)) for _ in numbers]
        pairs = [
            (b"%05d" % number, chance.randbytes(size))
            for number, size in zip(numbers, sizes, strict=True)
        ]
        gone = [(b"%05d" % chance.randrange(3_000), b"") for _ in range(500)]
        puts, deletes = batch(Command.PUT_BATCH, *pairs), batch(Command.DELETE_BATCH, *gone)
        for command in (puts, deletes):
            model_apply(model, command)
        applier.apply(sequence(puts, deletes))
        assert applier.pairs() == model
        assert_counts_are_true(applier)


# Tables.


def create(name: bytes) -> bytes:
    return Command(kv=KeyValue(key=name)).SerializeToString()


def test_a_table_is_created_once(applier: Applier) -> None:
    applier.apply(put(b"key"))
    before = applier.state()
    names = (b"table", b"other", b"other")
    entries = [Entry(1, index, data=create(name)) for index, name in enumerate(names, 2)]
    applier.machine.apply(META_GROUP, entries)
    settle(applier.machine)
    assert applier.machine.take_results() == [(0, False, b"")] * 3
    assert applier.state() == before
    found = Snapshot(applier.machine.environment).find(b"other")
    assert found is not None
    assert (found.group, found.key_count) == (GROUP + 1, 0)
    assert found.table_id != before.table_id


@pytest.mark.parametrize("name", [b"", b"n" * 256])
def test_a_malformed_table_name_is_refused(applier: Applier, name: bytes) -> None:
    applier.machine.apply(META_GROUP, [Entry(1, 2, data=create(name))])
    settle(applier.machine)
    assert [code for code, _, _ in applier.machine.take_results()] == [Code.INTERNAL]
    assert len(applier.groups()) == 2


def test_many_tables_keep_their_pairs_apart(path: Path) -> None:
    with running(Machine, path) as machine:
        for i in range(100):
            machine.apply(META_GROUP, [Entry(1, i + 1, data=create(b"table-%d" % i))])
        for i in range(100):
            payload = put(b"key", b"%d" % i).SerializeToString()
            machine.apply(GROUP + i, [Entry(1, 1, data=payload)])
        settle(machine)
        assert {code for code, _, _ in machine.take_results()} == {0}
    with running(Machine, path) as machine:
        for i in range(100):
            assert Applier(machine, b"table-%d" % i).pairs() == {b"key": b"%d" % i}


def test_emptying_a_table_takes_a_new_id_and_removes_the_old_pairs(path: Path) -> None:
    with running(Machine, path) as machine:
        applier = Applier(machine)
        applier.apply(*[put(b"%d" % i) for i in range(1000)])
        old_id = applier.state().table_id
        ((_, _, result),) = applier.apply(delete(*WHOLE, count=True))
        deleted = CommandResult.FromString(result).responses[0].response_delete_range.deleted
        assert deleted == 1000
        applier.apply(put(b"after"))
        assert applier.pairs() == {b"after": b"value"}
        assert applier.state().table_id != old_id
        wait_until(lambda: machine.environment.entry_count == 1)
    data, meta = dump(path)
    assert [key[8:] for key in data] == [b"after"]
    assert not [key for key in meta if key[:1] == b"x"]


PAIR_COUNT = 150_000  # more than a few turns of discarding take

EMPTY_AND_DIE = f"""
import os, signal, sys
from pathlib import Path
from regatta.pb.mvcc_pb2 import Command, KeyValue
from regatta.store import Machine
from tests.store.storage import Applier, delete, running
with running(Machine, Path(sys.argv[1])) as machine:
    applier = Applier(machine)
    for start in range(0, {PAIR_COUNT}, 10_000):
        pairs = [KeyValue(key=b"%d" % i) for i in range(start, start + 10_000)]
        applier.apply(Command(type=Command.PUT_BATCH, batch=pairs))
    applier.apply(delete(b"\\0", b"\\0"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_discarding_goes_on_after_a_kill_in_the_middle(path: Path) -> None:
    child = subprocess.run([sys.executable, "-c", EMPTY_AND_DIE, path], check=False)
    assert child.returncode == -signal.SIGKILL
    data, meta = dump(path)
    assert 0 < len(data) < PAIR_COUNT
    assert [key for key in meta if key[:1] == b"x"]
    with running(Machine, path) as machine:
        wait_until(lambda: machine.environment.entry_count == 0)
        applier = Applier(machine)
        assert applier.pairs() == {}
        applier.apply(put(b"key"))
    data, meta = dump(path)
    assert len(data) == 1
    assert not [key for key in meta if key[:1] == b"x"]


def test_an_idle_machine_sleeps(applier: Applier) -> None:
    applier.apply(put(b"a"), delete(*WHOLE), put(b"b"))
    wait_until(lambda: applier.machine.environment.entry_count == 1)
    time.sleep(0.05)  # the turn that finds nothing left
    turns, cpu_s = applier.machine.turns, os.times().user
    time.sleep(0.2)
    assert applier.machine.turns == turns
    assert os.times().user - cpu_s < 0.15
