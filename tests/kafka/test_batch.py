"""Records into commands, held to a model made of dictionaries and the protobuf package."""

import random
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from confluent_kafka import Consumer
from confluent_kafka import KafkaError
from confluent_kafka import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta import limits
from regatta.errors import Code
from regatta.kafka._batch import Batch
from regatta.kafka._batch import Cursor
from regatta.kafka._batch import Polled
from regatta.kafka._batch import encode
from regatta.pb.mvcc_pb2 import Command
from regatta.store import Machine
from regatta.store import Snapshot
from tests.kafka.batch_model import UNBOUNDED
from tests.kafka.batch_model import check_aside
from tests.kafka.batch_model import command_of
from tests.kafka.batch_model import cursors_of
from tests.kafka.batch_model import event
from tests.kafka.batch_model import ids_of
from tests.kafka.batch_model import model_of
from tests.kafka.batch_model import operations
from tests.kafka.batch_model import reason_of
from tests.kafka.batch_model import record
from tests.kafka.mock_cluster import MockCluster
from tests.kafka.mock_cluster import partition_count
from tests.store.storage import GROUP
from tests.store.storage import Applier
from tests.store.storage import running

WAIT_S = 30.0
# Lengths and numbers of what a batch is made of are reckoned at their longest.
PIECE_SLACK_BYTES, RUN_SLACK_BYTES = 60, 10


def only_batch(polled: Polled) -> Command:
    (batch,) = polled.batches
    return command_of(batch)


LONG_KEY, LONG_VALUE = bytes(1025), bytes(2 * 1024 * 1024 + 1)
keys = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.sampled_from([b"a", b"b", bytes(127), bytes(128), bytes(1024), None, b"", LONG_KEY]),
)
values = st.one_of(
    st.none(),
    st.binary(max_size=150),
    st.sampled_from([b"", bytes(127), bytes(20_000), LONG_VALUE]),
)
partitions = st.sampled_from([0, 1, 300, 2**31 - 1])
records = st.builds(
    record, keys, values, st.integers(0, 60), partitions, st.sampled_from(["orders", "invoices.eu"])
)
# Of these, a consumer that lost a partition or is new to it knows nothing.
strangers = st.builds(record, keys, values, st.integers(0, 9), st.just(7), st.just("orders"))
events = st.builds(
    event, st.sampled_from([KafkaError._PARTITION_EOF, KafkaError._ALL_BROKERS_DOWN])
)
unordered = st.lists(st.one_of(records, records, records, strangers, events), max_size=40)


@st.composite
def consumed(draw: st.DrawFn) -> list[Message]:
    """Records as they are polled: in runs of one partition, mostly in ascending order."""
    found: list[Message] = []
    offset = 0
    for _ in range(draw(st.integers(0, 4))):
        place = {
            "topic": draw(st.sampled_from(["orders", "invoices.eu"])),
            "partition": draw(partitions),
        }
        for key, value in draw(st.lists(st.tuples(keys, values), max_size=12)):
            offset += draw(st.integers(1, 3))
            found.append(record(key, value, offset, **place))
    return found


polls = st.one_of(unordered, consumed())
positions = st.sampled_from([0, 0, 1, 20, 2**40])
topic_ids = st.sampled_from([b"", bytes(range(16))])


@st.composite
def assignments(draw: st.DrawFn) -> list[Cursor]:
    """Cursors, of which some begin anew whatever position is stored."""
    found = [
        Cursor(topic, partition, draw(positions), draw(topic_ids))
        for topic in ("orders", "invoices.eu")
        for partition in (0, 1, 300, 2**31 - 1)
    ]
    for cursor in found:
        if draw(st.booleans()):
            cursor.previous = draw(positions)
    return found


@settings(deadline=None)
@given(polls, assignments())
def test_a_poll_is_one_command_for_each_topic(messages, assignment):
    model = model_of(assignment)
    polled = encode(messages, cursors_of(*assignment), UNBOUNDED)
    model.poll(messages, ids_of(assignment))
    commands = model.commands()
    assert [batch.topic for batch in polled.batches] == list(commands)
    for batch, command in zip(polled.batches, commands.values(), strict=True):
        assert command_of(batch) == command
        assert batch.command == command.SerializeToString()
        check_counts(batch)
    check_aside(polled, model, assignment)


def check_counts(batch: Batch) -> None:
    """See that a batch tells of itself what its command holds."""
    pieces = command_of(batch).sequence
    assert batch.record_count == sum(len(operations(piece)) for piece in pieces)
    assert batch.skipped_count == sum(piece.source.skipped for piece in pieces)
    assert batch.partitions == tuple(
        (piece.source.partition, piece.source.next) for piece in pieces
    )


@settings(deadline=None)
@given(polls, assignments(), st.integers(0, 2000))
def test_batches_are_split_at_their_bound(messages, assignment, bytes_max):
    model = model_of(assignment)
    polled = encode(messages, cursors_of(*assignment), bytes_max)
    model.poll(messages, ids_of(assignment))
    found: dict[str, dict[int, Command]] = {}
    for batch in polled.batches:
        check_counts(batch)
        is_single = batch.record_count + batch.skipped_count == 1
        assert len(batch.command) <= bytes_max or is_single
        for piece in command_of(batch).sequence:
            join(found.setdefault(batch.topic, {}), piece)
    assert found == model.pieces
    for batch, later in zip(polled.batches, polled.batches[1:], strict=False):
        if batch.topic == later.topic:
            assert len(batch.command) + slack_bytes(batch) + first_bytes(later) > bytes_max
    check_aside(polled, model, assignment)


def join(pieces: dict[int, Command], piece: Command) -> None:
    """Put a partition's piece behind the one from the batch before, where it must begin."""
    before = pieces.setdefault(piece.source.partition, piece)
    if before is piece:
        return
    assert piece.source.previous == before.source.next
    before.source.next = piece.source.next
    before.source.skipped += piece.source.skipped
    for run in piece.sequence:
        if before.sequence and before.sequence[-1].type == run.type:
            before.sequence[-1].batch.extend(run.batch)
        else:
            before.sequence.append(run)


def first_bytes(batch: Batch) -> int:
    """Return what the first record of a batch adds at most, with a piece and a run of its own."""
    piece = command_of(batch).sequence[0]
    pair_bytes = sum(pair.ByteSize() for run in piece.sequence[:1] for pair in run.batch[:1])
    return pair_bytes + piece.source.ByteSize() + PIECE_SLACK_BYTES + RUN_SLACK_BYTES


def slack_bytes(batch: Batch) -> int:
    """Return by how much a batch may be reckoned larger than it is."""
    pieces = command_of(batch).sequence
    run_count = sum(len(piece.sequence) for piece in pieces)
    return PIECE_SLACK_BYTES * len(pieces) + RUN_SLACK_BYTES * run_count


@settings(deadline=None)
@given(st.lists(polls, max_size=4), assignments(), st.sampled_from([100, 1000, UNBOUNDED]))
def test_each_poll_goes_on_where_the_one_before_ended(several, assignment, bytes_max):
    cursors, stored = cursors_of(*assignment), model_of(assignment).stored
    tables: dict[str, dict[bytes, bytes | None]] = {}
    model = model_of(assignment)
    for messages in several:
        for batch in encode(messages, cursors, bytes_max).batches:
            for piece in command_of(batch).sequence:
                place = piece.source.topic, piece.source.partition
                assert piece.source.previous == stored[place]
                stored[place] = piece.source.next
                tables.setdefault(batch.topic, {}).update(operations(piece))
        model.poll(messages, ids_of(assignment))
    assert stored == model.stored
    assert set(tables) == set(model.pieces)


# What the contract says in so many words.


def test_a_null_value_deletes_and_an_empty_one_is_stored():
    messages = [record(b"a", None, 0), record(b"b", b"", 1), record(b"a", b"", 2)]
    (piece,) = only_batch(encode(messages, cursors_of(Cursor("orders", 0, 0)), UNBOUNDED)).sequence
    assert operations(piece) == [(b"a", None), (b"b", b""), (b"a", b"")]
    assert [run.type for run in piece.sequence] == [Command.DELETE_BATCH, Command.PUT_BATCH]


@pytest.mark.parametrize("key_bytes", [1, limits.key_bytes_max])
@pytest.mark.parametrize("value_bytes", [0, limits.value_bytes_max])
def test_what_is_just_within_the_limits_is_stored(key_bytes, value_bytes):
    pair = bytes(key_bytes), bytes(value_bytes)
    polled = encode([record(*pair)], cursors_of(Cursor("orders", 0, 0)), UNBOUNDED)
    (piece,) = only_batch(polled).sequence
    assert operations(piece) == [pair]
    assert polled.skips == []


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (None, b"v", "its key is null"),
        (None, None, "its key is null"),
        (b"", b"v", "its key is empty"),
        (b"", None, "its key is empty"),
        (bytes(1025), b"v", "its key has 1,025 bytes"),
        (bytes(1025), None, "its key has 1,025 bytes"),
        (b"k", bytes(2_097_153), "its value has 2,097,153 bytes"),
    ],
)
def test_what_can_not_be_stored_is_skipped_and_moves_the_position(key, value, reason):
    cursor = Cursor("orders", 5, 7)
    polled = encode([record(key, value, 9, 5)], cursors_of(cursor), UNBOUNDED)
    (batch,) = polled.batches
    (piece,) = command_of(batch).sequence
    assert not piece.sequence
    assert (piece.source.previous, piece.source.next, piece.source.skipped) == (7, 10, 1)
    assert (batch.record_count, batch.skipped_count, batch.partitions) == (0, 1, ((5, 10),))
    (skip,) = polled.skips
    assert (skip.topic, skip.partition, skip.offset, skip.reason) == ("orders", 5, 9, reason)
    assert cursor.position == 10


def test_skips_do_not_part_a_run():
    messages = [record(b"a", b"1", 0), record(None, b"", 1), record(b"b", b"2", 2)]
    (piece,) = only_batch(encode(messages, cursors_of(Cursor("orders", 0, 0)), UNBOUNDED)).sequence
    assert len(piece.sequence) == 1


def test_records_of_a_stale_fetch_are_passed_over():
    cursor = Cursor("orders", 0, 5)
    messages = [record(b"a", b"1", offset) for offset in (3, 4, 5, 5, 4, 6)]
    polled = encode(messages, cursors_of(cursor), UNBOUNDED)
    assert polled.batches[0].record_count == 2
    assert cursor.position == 7
    again = encode(messages, cursors_of(cursor), UNBOUNDED)
    assert (again.batches, again.skips, again.events) == ([], [], [])
    assert cursor.position == 7


def test_records_without_a_cursor_are_passed_over():
    messages = [record(b"a"), record(b"a", partition=1), record(b"a", topic="other"), Message()]
    cursor = Cursor("orders", 2, 0)
    assert encode(messages, cursors_of(cursor), UNBOUNDED).batches == []
    assert encode(messages, {}, UNBOUNDED).batches == []
    assert cursor.position == 0


def test_a_record_larger_than_a_batch_has_one_of_its_own():
    messages = [record(b"a", bytes(size), offset) for offset, size in enumerate((9, 9000, 9))]
    polled = encode(messages, cursors_of(Cursor("orders", 0, 0)), 1000)
    assert [batch.record_count for batch in polled.batches] == [1, 1, 1]
    assert [batch.partitions for batch in polled.batches] == [((0, 1),), ((0, 2),), ((0, 3),)]


def test_a_cursor_that_is_moved_is_where_the_next_poll_begins():
    cursor = Cursor("orders", 0, 5)
    messages = [record(b"a", b"1", offset) for offset in range(10)]
    encode(messages, cursors_of(cursor), UNBOUNDED)
    cursor.position, cursor.previous, cursor.topic_id = 2, 99, b"another"
    (piece,) = only_batch(encode(messages, cursors_of(cursor), UNBOUNDED)).sequence
    assert (piece.source.previous, piece.source.next) == (99, 10)
    assert operations(piece) == [(b"a", b"1")] * 8
    assert (cursor.position, cursor.previous) == (10, 10)
    assert piece.source.topic_id == b"another"


def test_a_cursor_keeps_its_place():
    cursor = Cursor("orders", 3, 4, b"id")
    assert (cursor.topic, cursor.partition) == ("orders", 3)
    assert (cursor.position, cursor.topic_id) == (4, b"id")
    for name in ("topic", "partition"):
        with pytest.raises(AttributeError):
            setattr(cursor, name, getattr(cursor, name))
    with pytest.raises(TypeError):
        Cursor(None, 0, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (record("text", offset=1), "are bytes, not str"),  # type: ignore[arg-type]
        (record(b"k", 5, offset=1), "are bytes, not int"),  # type: ignore[arg-type]
        (Message(topic="orders", partition=0, key=b"k"), "integer"),
        ("no message", "'str'"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_record_of_bytes_moves_no_cursor(bad, complaint):
    cursor = Cursor("orders", 0, 0)
    with pytest.raises(TypeError, match=complaint):
        encode([record(b"a"), bad], cursors_of(cursor), UNBOUNDED)
    assert cursor.position == 0


def test_a_list_that_another_thread_empties_does_no_harm():
    # Values so large that the copying, which is done without the GIL, takes milliseconds.
    stop = threading.Event()
    messages: list[Message] = []

    def empty() -> None:
        while not stop.is_set():
            messages.clear()

    thread = threading.Thread(target=empty)
    thread.start()
    try:
        for _ in range(30):
            messages += [record(b"key", b"v" * (1 << 20), offset) for offset in range(20)]
            for batch in encode(messages, cursors_of(Cursor("orders", 0)), UNBOUNDED).batches:
                (piece,) = command_of(batch).sequence
                assert set(operations(piece)) == {(b"key", b"v" * (1 << 20))}
    finally:
        stop.set()
        thread.join()


# The state machine, and what it makes of the batches.


@settings(deadline=None)
@given(st.lists(polls, max_size=4), st.sampled_from([100, 1000, UNBOUNDED]))
def test_the_state_machine_takes_every_batch_once(several, bytes_max):
    assignment = [
        Cursor(topic, part) for topic in ("orders", "invoices.eu") for part in (0, 1, 300)
    ]
    cursors, model, table = cursors_of(*assignment), model_of(assignment), {}
    counts = dict.fromkeys(model.next, (0, 0))
    with TemporaryDirectory() as folder, running(Machine, Path(folder)) as machine:
        applier = Applier(machine)
        for messages in several:
            for batch in encode(messages, cursors, bytes_max).batches:
                assert applier.apply(batch.command)[0][0] == Code.OK
                assert applier.apply(batch.command)[0][0] == Code.ABORTED
                for piece in command_of(batch).sequence:
                    put_all(table, operations(piece))
                    place = piece.source.topic, piece.source.partition
                    applied, skipped = counts[place]
                    applied += len(operations(piece))
                    counts[place] = applied, skipped + piece.source.skipped
            model.poll(messages, ids_of(assignment))
        assert applier.pairs() == table
        found = Snapshot(machine.environment).positions(GROUP)
    assert {(one.topic, one.partition): one.next for one in found} == {
        place: position for place, position in model.stored.items() if position > 0
    }
    for one in found:
        assert (one.applied, one.skipped) == counts[one.topic, one.partition]


def put_all(table: dict[bytes, bytes], pairs: list[tuple[bytes, bytes | None]]) -> None:
    """Put and delete in order."""
    for key, value in pairs:
        table.pop(key, None)
        if value is not None:
            table[key] = value


# Messages of librdkafka itself, from the cluster that it can play.


def test_consumed_records_are_encoded():
    chance = random.Random(1)
    good: list[bytes | None] = [b"key %d" % number for number in range(50)]
    some_keys, some_values = [*good, None, b"", bytes(1025)], [b"value", b"", None, bytes(5000)]
    pairs = [(chance.choice(some_keys), chance.choice(some_values)) for _ in range(3000)]
    cluster = MockCluster()
    for partition in range(partition_count):
        cluster.produce("orders", pairs[partition::partition_count], partition)
    consumer = Consumer(
        {
            "bootstrap.servers": cluster.address,
            "group.id": "readers",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    consumer.subscribe(["orders"])
    assignment = [Cursor("orders", partition) for partition in range(partition_count)]
    ended, pieces = set(), {cursor.partition: [] for cursor in assignment}
    skips = 0
    deadline_s = time.monotonic() + WAIT_S
    while len(ended) < partition_count:
        assert time.monotonic() < deadline_s, "waited too long"
        polled = encode(consumer.consume(500, 0.2), cursors_of(*assignment), 100_000)
        skips += len(polled.skips)
        for one in polled.events:
            assert one.error().code() == KafkaError._PARTITION_EOF, one.error()
            ended.add(one.partition())
        for batch in polled.batches:
            assert len(batch.command) <= 100_000
            for piece in command_of(batch).sequence:
                pieces[piece.source.partition] += operations(piece)
    consumer.close()
    for partition, found in pieces.items():
        sent = pairs[partition::partition_count]
        assert found == [pair for pair in sent if reason_of(*pair) is None]
    assert skips == sum(reason_of(*pair) is not None for pair in pairs)
    assert all(cursor.position == len(pairs) // partition_count for cursor in assignment)
