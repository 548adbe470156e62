"""Whatever happens to brokers, groups and nodes: no record is lost, and none is counted twice.

Each test is a line of the table that the run prints at its end. REGATTA_KAFKA_FAULTS=all for the
long forms, REGATTA_KAFKA_KILLS for more kills.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.cluster.test_maintenance import Maintenance
from tests.kafka.broker import COMPACTED
from tests.kafka.broker import PASSWORD
from tests.kafka.broker import USER
from tests.kafka.broker import Broker
from tests.kafka.faults import ForeignMember
from tests.kafka.faults import Outcome
from tests.kafka.faults import Scene
from tests.kafka.faults import Stream
from tests.kafka.faults import TopicDaemon
from tests.kafka.faults import assert_equal
from tests.kafka.faults import is_long
from tests.kafka.faults import long_form
from tests.kafka.faults import outcome_of
from tests.kafka.faults import records
from tests.kafka.faults import wait_until
from tests.kafka.planted import running_from
from tests.kafka.planted import without_position_check
from tests.kafka.records import KEY_BYTES_MAX
from tests.kafka.records import VALUE_BYTES_MAX
from tests.kafka.records import Account
from tests.kafka.records import Writer

DaemonOf = Callable[..., TopicDaemon]
Report = Callable[[Outcome], None]

KILL_COUNT = int(os.environ.get("REGATTA_KAFKA_KILLS", "5"))
LOSS_COUNT = 5
SCALE = 5 if is_long else 1
# New partitions and topics show when the client asks for them.
ASKS_OFTEN = "--kafka.property=topic.metadata.refresh.interval.ms=500"

pytestmark = pytest.mark.timeout(120 if is_long else 60)


def fill(writer: Writer, topic: str, partition_count: int, record_count: int, seed: int) -> None:
    """Write *record_count* records into each partition."""
    chance = random.Random(seed)
    for partition in range(partition_count):
        for key, value in records(chance, partition, record_count):
            writer.send(topic, partition, key, value)
    writer.flush()


def test_a_broker_is_killed_and_starts_again(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 4)
    writer = Writer(broker.address, account)
    daemon = daemon_of([topic])
    daemon.start()
    kill_count = 4 if is_long else 1
    with Stream(writer, topic, 4, 20_000 if is_long else 4_000):
        for _ in range(kill_count):
            wait_until(lambda: bool(daemon.table(topic)), 20, "something is consumed")
            time.sleep(0.3)
            broker.kill_9()
            time.sleep(0.2)
            broker.start()
            time.sleep(0.5)
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    name = "broker killed with -9 and started again, under load"
    report(scene.judge(name, topic, f"{kill_count} kills, 4 partitions"))


def test_a_broker_stands_still(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 4)
    pause_s = 15 if is_long else 2
    daemon = daemon_of([topic])
    daemon.start()
    with Stream(Writer(broker.address, account), topic, 4, 10_000):
        wait_until(lambda: bool(daemon.table(topic)), 20, "something is consumed")
        broker.pause()
        time.sleep(pause_s)
        assert daemon.table(topic)  # reads go on
        broker.resume()
        time.sleep(0.5)
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    report(scene.judge(f"broker stood still for {pause_s} s", topic, "SIGSTOP under load"))


@pytest.mark.timeout(60 + 15 * KILL_COUNT)
def test_a_daemon_is_killed_while_it_catches_up(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    partition_count = 4
    broker.create_topic(topic, partition_count)
    writer = Writer(broker.address, account)
    chance = random.Random(os.environ.get("REGATTA_KAFKA_SEED", "1"))
    # A small session: the group waits for the killed member that long.
    daemon = daemon_of([topic], "--kafka.property=session.timeout.ms=1000")
    fill(writer, topic, partition_count, 10_000, 0)
    kills_on_the_way = kills_while_starting = 0
    before: dict[int, int] = {}
    for round_number in range(1, KILL_COUNT + 1):
        fill(writer, topic, partition_count, 5_000, round_number)
        daemon.launch()
        if chance.random() < 0.15:
            time.sleep(chance.uniform(0, 2))
            kills_while_starting += 1
        else:
            daemon.wait_until_assigned()
            time.sleep(chance.uniform(0, 0.15))
        daemon.kill_9()
        after = positions_of(daemon, topic)
        kills_on_the_way += before != after and after != account.ends(topic)
        before = after
    daemon.start()
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    assert kills_on_the_way
    name = f"daemon killed with -9 at {KILL_COUNT} random moments"
    note = (
        f"{kills_on_the_way} of them in the middle of catching up, "
        f"{kills_while_starting} while it started; {partition_count} partitions"
    )
    report(scene.judge(name, topic, note))


def positions_of(daemon: TopicDaemon, topic: str) -> dict[int, int]:
    """Return the stored positions of a daemon that is down and may never have run."""
    if not list(daemon.directory.glob("state-machine*/data.mdb")):
        return {}
    return {stored.partition: stored.next for stored in daemon.positions(topic)}


def test_foreign_members_join_and_leave(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 12)
    writer = Writer(broker.address, account)
    fill(writer, topic, 12, 1_000 * SCALE, 1)
    chance = random.Random(1)
    daemon = daemon_of([topic])
    daemon.start()
    visit_count = 25 if is_long else 3
    taken = 0
    with Stream(writer, topic, 12, 20_000):
        for _ in range(visit_count):
            with ForeignMember(broker.address, daemon.group_id, topic) as foreigner:
                wait_until(lambda f=foreigner: bool(f.partition_count_max), 20, "it has a share")  # type: ignore[misc]
                time.sleep(chance.uniform(0, 0.5))
            taken += foreigner.partition_count_max
            time.sleep(chance.uniform(0, 0.7))
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    name = f"foreign members joined and left the group {visit_count} times, under load"
    report(scene.judge(name, topic, f"{taken} times a partition was taken away; 12 partitions"))


@long_form
def test_a_daemon_stands_still_while_others_have_its_partitions(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 12)
    scene = Scene(broker, daemon_of([topic]), account)
    scene.daemon.start()
    lose_partitions(scene, topic)
    note = f"{LOSS_COUNT} times, until the group had given all 12 partitions to another member"
    report(scene.judge("daemon stood still longer than its session", topic, note))


@long_form
def test_partitions_are_lost_with_batches_in_flight(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 12)
    scene = Scene(broker, slow(daemon_of([topic])), account)
    scene.daemon.start()
    lose_partitions(scene, topic)
    refused_count = scene.daemon.stderr.count("another batch came first")
    note = f"every sync took a second longer; stale batches were refused {refused_count} times"
    report(scene.judge("partitions lost with batches in flight", topic, note))


@long_form
def test_without_the_check_of_the_position_records_are_doubled(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account
) -> None:
    broker.create_topic(topic, 12)
    scene = Scene(broker, slow(daemon_of([topic])), account)
    scene.daemon.command_prefix = (
        *scene.daemon.command_prefix,
        *running_from(without_position_check()),
    )
    scene.daemon.start()
    lose_partitions(scene, topic)
    with pytest.raises(AssertionError, match=r"keys differ|[1-9]\d* (lost|doubled)") as caught:
        scene.judge("control", topic, "")
    print(caught.value)


def slow(daemon: TopicDaemon) -> TopicDaemon:
    """Make every sync of the daemon's data a second longer, when it has started."""
    strace = shutil.which("strace")
    if strace is None or subprocess.run([strace, "-o", "/dev/null", "true"]).returncode != 0:
        pytest.skip("needs strace, and the right to trace")
    delay = "inject=fdatasync:delay_enter=1000000:when=5+"  # of each thread
    options = ("-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null")
    daemon.command_prefix = (strace, *options, "-e", "trace=fdatasync", "-e", delay)
    return daemon


def lose_partitions(scene: Scene, topic: str) -> None:
    """Let the daemon stand still, under load, until another member has its partitions."""
    daemon = scene.daemon
    with Stream(Writer(scene.broker.address, scene.account), topic, 12, 20_000):
        for _ in range(LOSS_COUNT):
            daemon.wait_until_assigned()
            time.sleep(0.5)
            with ForeignMember(scene.broker.address, daemon.group_id, topic) as foreigner:
                os.kill(daemon.process_id, signal.SIGSTOP)
                wait_until(lambda f=foreigner: f.partition_count_max == 12, 20, "it has all")  # type: ignore[misc]
                os.kill(daemon.process_id, signal.SIGCONT)
                time.sleep(0.5)
    scene.wait_until_consumed(topic)


def test_a_compacted_topic_with_tombstones(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 2, COMPACTED)
    writer = Writer(broker.address, account)
    chance = random.Random(1)
    turn_count = 10 * SCALE
    for _ in range(turn_count):
        for partition in range(2):
            for key, value in records(chance, partition, 500, key_count=100):
                if key:  # the broker takes no others here
                    writer.send(topic, partition, key, value)
        writer.flush()
        time.sleep(0.05)
    time.sleep(1)  # for the cleaner
    daemon = daemon_of([topic])
    daemon.start()
    scene = Scene(broker, daemon, account)
    scene.wait_until_equal(topic)
    outcome = scene.judge("compacted topic with tombstones", topic, "", counts=False)
    read = sum(stored.applied + stored.skipped for stored in daemon.positions(topic))
    assert read < outcome.committed * 0.9, "the cleaner has not run"
    report(outcome.noted(f"{read:,} records were left to read after the broker's cleaner"))


def test_aborted_transactions(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 4)
    daemon = daemon_of([topic])
    writer = Writer(broker.address, account, {"transactional.id": topic})
    chance = random.Random(1)
    sent_count = aborted_count = 0
    daemon.start()
    for number in range(20 * SCALE):
        aborts = chance.random() < 0.4
        with writer.transaction(commits=not aborts):
            for partition in range(4):
                for key, value in records(chance, partition, 100):
                    writer.send(topic, partition, key, value)
        sent_count += 400
        aborted_count += 400 * aborts
        assert len(account.records) == sent_count - aborted_count, number
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    note = f"{aborted_count:,} more records were of transactions that were aborted"
    report(scene.judge("producer with transactions", topic, note))


def test_records_that_no_table_can_hold(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 2)
    writer = Writer(broker.address, account)
    large, too_large = bytes(VALUE_BYTES_MAX), bytes(VALUE_BYTES_MAX + 1)
    longest, too_long = b"k" * KEY_BYTES_MAX, b"k" * (KEY_BYTES_MAX + 1)
    for partition in range(2):
        mark = b"%d/" % partition
        for turn in range(3):
            value = b"%d" % turn
            pairs = [
                *((mark + b"first", value), (mark + b"large", too_large), (None, value)),
                *((mark + b"empty", b""), (b"", value), (mark + b"large", large)),
                *((too_long, value), (mark + longest[2:], value), (None, None), (b"", b"")),
                *((mark + b"large", too_large), (b"", too_large), (too_long, None)),
                *((mark + b"gone", value), (mark + b"gone", None), (mark + b"last", value)),
            ]
            writer.send_all(topic, partition, pairs)
    daemon = daemon_of([topic])
    daemon.start()
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    for reason in ("key is null", "key is empty", "key has 1,025 bytes", "has 2,097,153 bytes"):
        assert daemon.has_logged(reason)
    note = "values over 2 MiB, keys over 1,024 bytes, null and empty keys"
    report(scene.judge("records that no table can hold in between", topic, note))


def test_a_topic_gets_more_partitions(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 1)
    writer = Writer(broker.address, account)
    daemon = daemon_of([topic], ASKS_OFTEN)
    fill(writer, topic, 1, 2_000, 1)
    daemon.start()
    wait_until(lambda: bool(daemon.table(topic)), 20, "something is consumed")
    broker.add_partitions(topic, 6)
    # A producer that has known the topic learns of them late.
    fill(Writer(broker.address, account), topic, 6, 1_000, 2)
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    report(scene.judge("partitions added while running", topic, "1, then 6"))


@pytest.mark.parametrize("running", [True, pytest.param(False, marks=long_form)])
def test_a_topic_is_deleted_and_made_again(
    broker: Broker,
    daemon_of: DaemonOf,
    topic: str,
    account: Account,
    report: Report,
    running: bool,
) -> None:
    broker.create_topic(topic, 2)
    daemon = daemon_of([topic], ASKS_OFTEN)
    fill(Writer(broker.address, account), topic, 2, 2_000, 1)
    daemon.start()
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    if not running:
        assert daemon.stop() == 0
    broker.delete_topic(topic)
    account.renew(topic)
    if running:
        time.sleep(2)
        assert daemon.table(topic)  # it is survived, with all that was there
    broker.create_topic(topic, 2)
    # Fewer records than before, so that the old positions are beyond the end.
    fill(Writer(broker.address, account), topic, 2, 1_500, 2)
    if not running:
        daemon.start()
    scene.wait_until_equal(topic)
    assert daemon.has_logged("made anew")
    name = f"topic deleted and made again, daemon {'running' if running else 'stopped'}"
    report(scene.judge(name, topic, "the new topic's records came on top of the table"))


def test_a_topic_is_made_again_with_more_records_than_before(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic)
    daemon = daemon_of([topic])
    fill(Writer(broker.address, account), topic, 1, 1_000, 1)
    daemon.start()
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    assert daemon.stop() == 0
    broker.delete_topic(topic)
    account.renew(topic)
    broker.create_topic(topic)
    fill(Writer(broker.address, account), topic, 1, 3_000, 2)
    daemon.start()
    scene.wait_until_equal(topic)
    assert daemon.has_logged("made anew")
    note = "the old position is one of the new topic, too; its id tells them apart"
    report(scene.judge("topic made again with more records", topic, note))


def test_records_are_deleted_while_the_daemon_is_down(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 2)
    writer = Writer(broker.address, account)
    daemon = daemon_of([topic])
    fill(writer, topic, 2, 1_000, 1)
    daemon.start()
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    assert daemon.stop() == 0
    fill(writer, topic, 2, 1_000, 2)
    broker.delete_records(topic, 0, 700)  # all of them were read
    broker.delete_records(topic, 1, 1_300)
    account.drop(topic, 1, range(1_000, 1_300))
    daemon.start()
    scene.wait_until_consumed(topic)
    assert daemon.has_logged("partition 1: records 1000 to 1299 were removed")
    assert not daemon.has_logged("partition 0: records")
    note = "300 records were gone before they were read, which a line of the log tells"
    report(scene.judge("records deleted below and above the position", topic, note))


def test_two_daemons_share_a_group(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 6)
    daemons = [daemon_of([topic], name=name) for name in ("one", "other")]
    for daemon in daemons:
        daemon.start()
    group_id = daemons[0].group_id

    def shares() -> list[int]:
        return sorted(len(share) for share in broker.members(group_id).values())

    # Each begins with what it reads first, so nothing is written before they have shared.
    wait_until(lambda: shares() == [3, 3], 20, "both have a share")
    fill(Writer(broker.address, account), topic, 6, 1_000 * SCALE, 1)
    Scene(broker, daemons[0], account).wait_until_consumed(topic)
    tables = [daemon.table(topic) for daemon in daemons]
    assert not tables[0].keys() & tables[1].keys()
    pairs = tables[0] | tables[1]
    assert_equal(account.table(topic), pairs)
    assert [daemon.stop() for daemon in daemons] == [0, 0]
    stored = [
        position for daemon in daemons for position in daemon.positions(topic) if position.next
    ]
    note = "3 partitions each, no key in both tables"
    report(outcome_of("two daemons in one group", account, topic, pairs, stored, note))


def test_a_table_is_emptied_while_it_is_filled(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 4)
    fill(Writer(broker.address, account), topic, 4, 20_000 * SCALE, 1)
    daemon = daemon_of([topic])
    reset_count = empty_on_the_way(Scene(broker, daemon, account), topic)
    name = "table emptied in the middle of catching up"
    note = f"{reset_count} times; each time it is filled anew from the oldest record"
    report(Scene(broker, daemon, account).judge(name, topic, note))


def empty_on_the_way(scene: Scene, topic: str) -> int:
    """Start the daemon and empty its table while batches are in flight; return how many times."""
    scene.daemon.start()
    reset_count = 3
    with scene.daemon.channel() as channel:
        for _ in range(reset_count):
            wait_until(lambda: len(scene.daemon.table(topic)) > 200, 20, "it has begun")
            Maintenance(channel).reset()
    scene.wait_until_consumed(topic)
    return reset_count


def test_without_the_check_of_the_position_records_are_lost(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 4)
    fill(Writer(broker.address, account), topic, 4, 20_000 * SCALE, 1)
    daemon = daemon_of([topic])
    daemon.command_prefix = running_from(without_position_check())
    scene = Scene(broker, daemon, account)
    empty_on_the_way(scene, topic)
    with pytest.raises(AssertionError, match=r"keys differ|lost") as caught:
        scene.judge("control", topic, "")
    print(caught.value)


def test_tls_with_a_client_certificate(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic)
    files = broker.certificates
    flags = (
        "--kafka.tls",
        f"--kafka.server-cert-filename={files.authority_path}",
        f"--kafka.client-cert-filename={files.client_path}",
        f"--kafka.client-key-filename={files.client_key_path}",
    )
    fill(Writer(broker.address, account), topic, 1, 2_000, 1)
    daemon = daemon_of([topic], *flags, address=broker.tls_address)
    daemon.start()
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    note = "client certificate demanded, the broker's is of another host name"
    report(scene.judge("TLS", topic, note))


def test_a_broker_of_another_authority_is_not_trusted(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account
) -> None:
    broker.create_topic(topic)
    files = broker.certificates
    flags = (
        "--kafka.tls",
        f"--kafka.server-cert-filename={files.stranger_authority_path}",
        f"--kafka.client-cert-filename={files.client_path}",
        f"--kafka.client-key-filename={files.client_key_path}",
    )
    fill(Writer(broker.address, account), topic, 1, 10, 1)
    daemon = daemon_of([topic], *flags, address=broker.tls_address)
    daemon.start()
    wait_until(lambda: daemon.has_logged("certificate verify failed"), 20, lambda: daemon.stderr)
    assert daemon.table(topic) == {}
    assert daemon.stop() == 0


def test_a_password(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic)
    flags = (
        "--kafka.property=security.protocol=sasl_plaintext",
        "--kafka.property=sasl.mechanism=PLAIN",
        f"--kafka.property=sasl.username={USER}",
        f"--kafka.property=sasl.password={PASSWORD}",
    )
    fill(Writer(broker.address, account), topic, 1, 2_000, 1)
    daemon = daemon_of([topic], *flags, address=broker.password_address)
    daemon.start()
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    assert PASSWORD not in daemon.stderr
    report(scene.judge("SASL PLAIN", topic, "by way of kafka.property"))


def test_a_stop_leaves_the_group_at_once(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 4)
    daemon = daemon_of([topic])
    fill(Writer(broker.address, account), topic, 4, 10_000, 1)
    daemon.start()
    wait_until(lambda: bool(daemon.table(topic)), 20, "something is consumed")
    assert len(broker.members(daemon.group_id)) == 1
    began_s = time.monotonic()
    assert daemon.stop() == 0
    stop_s = time.monotonic() - began_s
    assert not broker.members(daemon.group_id)
    assert stop_s < 5
    stored = positions_of(daemon, topic)
    assert stored != account.ends(topic), "it had read everything"
    assert broker.committed(daemon.group_id, topic) == stored
    daemon.start()
    scene = Scene(broker, daemon, account)
    scene.wait_until_consumed(topic)
    note = f"the stop took {stop_s:.1f} s, and there was no member right after it"
    report(scene.judge("stopped in the middle of catching up", topic, note))


@long_form
def test_a_table_is_emptied_while_members_come_and_go(
    broker: Broker, daemon_of: DaemonOf, topic: str, account: Account, report: Report
) -> None:
    broker.create_topic(topic, 12)
    fill(Writer(broker.address, account), topic, 12, 10_000, 1)
    scene = Scene(broker, slow(daemon_of([topic])), account)
    scene.daemon.start()
    visit_count = 6
    with scene.daemon.channel() as channel:
        for _ in range(visit_count):
            scene.daemon.wait_until_assigned()
            with ForeignMember(broker.address, scene.daemon.group_id, topic) as foreigner:
                Maintenance(channel).reset()
                wait_until(lambda f=foreigner: bool(f.partition_count_max), 20, "it has a share")  # type: ignore[misc]
    scene.wait_until_consumed(topic)
    note = f"{visit_count} times, with batches in flight; every sync took a second longer"
    report(scene.judge("table emptied while members come and go", topic, note))
