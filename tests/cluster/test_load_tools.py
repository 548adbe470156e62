"""The load tools in bench/load must not rot, and must notice wrong answers."""

import os
import subprocess
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from bench import processes
from bench.load import floor
from bench.load import packages
from bench.load import pairs
from bench.load import syncs
from bench.load import table
from bench.load.drive import UNIMPLEMENTED
from bench.load.drive import client_module
from bench.load.h2load import Report
from bench.load.pairs import Family
from bench.load.servers import Baseline
from bench.load.servers import Target
from regatta.pb.regatta_pb2 import DeleteRangeRequest
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.cluster.harness import Server
from tests.cluster.harness import ServerError

PAIR_COUNT = 300
FAMILY = Family(b"key-", PAIR_COUNT, 100)
TIMEOUT_S = 30.0
needs_openssl = pytest.mark.skipif(
    not Path("/usr/include/openssl/ssl.h").exists(), reason="needs OpenSSL's headers (libssl-dev)"
)

SUMMARY = """
strace: Process 13140 attached with 8 threads
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
100.00    0.046142          46      1000           fdatasync
  0.00    0.000000           0         6         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.046142          46      1006         1 total
"""


@contextmanager
def client(server: Server, numbers: "array[int] | None" = None, **options: Any) -> Iterator[Any]:
    """Connect a load client that asks for all pairs, or *numbers*."""
    made = client_module().Client(
        "127.0.0.1",
        server.port,
        pairs.numbers("ascending", PAIR_COUNT) if numbers is None else numbers,
        certificate=server.certificate.certificate_path,
        **{"connections": 2, "streams": 8, **options},
    )
    try:
        yield made
    finally:
        made.close()


def call_all(server: Server, call_count: int = PAIR_COUNT, **options: Any) -> None:
    """Make *call_count* calls; raise WrongAnswer if one isn't answered rightly."""
    with client(server, **options) as load:
        load.run(TIMEOUT_S, call_count)
        assert load.answered == call_count


def puts() -> "array[int]":
    return pairs.mixed(pairs.numbers("ascending", PAIR_COUNT), 1.0, client_module().writes_from)


@pytest.fixture
def filled(daemon: Daemon) -> Daemon:
    """Return a daemon that holds all pairs of FAMILY, put by the load client."""
    call_all(daemon, numbers=puts())
    return daemon


def change(daemon: Daemon, change: Callable[[KV], object]) -> None:
    with daemon.channel() as channel:
        change(KV(channel))


@needs_openssl
def test_the_client_puts_the_pairs_that_it_expects(filled: Daemon) -> None:
    with filled.channel() as channel:
        everything = RangeRequest(table=pairs.TABLE, key=b"key-", range_end=b"key.")
        answer = KV(channel).range(everything)
    found = [(pair.key, pair.value) for pair in answer.kvs]
    assert found == [(FAMILY.key(n), FAMILY.value(n)) for n in range(PAIR_COUNT)]


@needs_openssl
@pytest.mark.parametrize("options", [{}, {"linearizable": True}, {"connections": 1, "streams": 1}])
def test_right_answers_are_accepted(filled: Daemon, options: dict[str, Any]) -> None:
    call_all(filled, **options)


@needs_openssl
def test_ranges_are_checked_pair_by_pair(filled: Daemon) -> None:
    starts = pairs.numbers("ascending", PAIR_COUNT - 100)
    call_all(filled, numbers=starts, pairs_a_range=100)
    change(filled, lambda calls: calls.delete_range(
        DeleteRangeRequest(table=pairs.TABLE, key=FAMILY.key(150))))  # fmt: skip
    with pytest.raises(client_module().WrongAnswer, match=r"another (key|number of pairs)"):
        call_all(filled, numbers=starts, pairs_a_range=100)


@needs_openssl
def test_a_wrong_value_is_noticed(filled: Daemon) -> None:
    wrong = PutRequest(table=pairs.TABLE, key=FAMILY.key(7), value=FAMILY.value(8))
    change(filled, lambda calls: calls.put(wrong))
    with pytest.raises(client_module().WrongAnswer, match="Range of 7: another value"):
        call_all(filled)


@needs_openssl
def test_a_missing_pair_is_noticed(filled: Daemon) -> None:
    delete = DeleteRangeRequest(table=pairs.TABLE, key=FAMILY.key(7))
    change(filled, lambda calls: calls.delete_range(delete))
    with pytest.raises(client_module().WrongAnswer, match="Range of 7"):
        call_all(filled)


@needs_openssl
def test_an_error_of_grpc_is_no_success(filled: Daemon) -> None:
    with pytest.raises(client_module().WrongAnswer, match="no success, grpc-status 5"):
        call_all(filled, table=b"none")


@needs_openssl
def test_compressed_answers_are_checked_too(filled: Daemon) -> None:
    starts = pairs.numbers("ascending", PAIR_COUNT - 100)
    answer_bytes = []
    for snappy in (False, True):
        with client(filled, starts, pairs_a_range=100, snappy=snappy) as load:
            load.run(TIMEOUT_S, len(starts))
            assert load.answered == len(starts)
            answer_bytes.append(load.answer_bytes)
    assert answer_bytes[1] < answer_bytes[0] / 2
    call_all(filled, numbers=puts(), snappy=True)
    wrong = PutRequest(table=pairs.TABLE, key=FAMILY.key(150), value=FAMILY.value(8))
    change(filled, lambda calls: calls.put(wrong))
    with pytest.raises(client_module().WrongAnswer, match="another value"):
        call_all(filled, numbers=starts, pairs_a_range=100, snappy=True)


@needs_openssl
def test_a_method_that_is_not_there_is_told_from_a_wrong_answer(
    certificate: Certificate, tmp_path: Path
) -> None:
    bare = grpc.server(ThreadPoolExecutor(1))
    credentials = grpc.ssl_server_credentials(
        [(certificate.key_path.read_bytes(), certificate.certificate_path.read_bytes())]
    )
    server = Server(tmp_path, certificate)
    server.port = bare.add_secure_port("127.0.0.1:0", credentials)
    bare.start()
    try:
        with pytest.raises(client_module().Unimplemented):
            call_all(server)
        command = [sys.executable, "-m", "bench.load.drive", f"https://127.0.0.1:{server.port}"]
        command.append(f"--certificate={certificate.certificate_path}")
        assert subprocess.run(command, stderr=subprocess.DEVNULL).returncode == UNIMPLEMENTED
    finally:
        bare.stop(None).wait()


@needs_openssl
def test_a_server_that_ends_is_noticed(filled: Daemon) -> None:
    with client(filled) as load:
        load.run(0.05)
        filled.kill_9()
        with pytest.raises(client_module().WrongAnswer, match="the connection ended"):
            load.run(TIMEOUT_S)


@needs_openssl
def test_the_open_loop_keeps_its_rate(filled: Daemon) -> None:
    with client(filled, rate=500.0) as load:
        took_s = load.run(0.5)
        load.finish(TIMEOUT_S)
        assert load.answered <= 500 * took_s + 1
        assert load.answered >= 250 * took_s
        assert 0 < load.latency_s(0.5) <= load.latency_s(0.99) <= load.latency_max_s * 1.04


@needs_openssl
def test_the_baseline_answers_what_the_daemon_does(
    certificate: Certificate, tmp_path: Path
) -> None:
    (tmp_path / "baseline").mkdir()
    other = Baseline(tmp_path / "baseline", certificate)
    other.fill([FAMILY])
    with other:
        call_all(other)
        call_all(other, numbers=pairs.numbers("ascending", 200), pairs_a_range=100)
        call_all(other, numbers=puts())
        call_all(other, linearizable=True)


@needs_openssl
@pytest.mark.skipif(
    not {table.SERVER_CPU, table.LOAD_CPU} <= os.sched_getaffinity(0), reason="needs two cores"
)
def test_the_table_has_a_line_for_each_server() -> None:
    options = ["--runs=1", "--seconds=0.1", "--pairs=200", "--only=write 1x1"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.load.table", *options], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| write")]
    assert [line[2] for line in lines] == ["regatta", "baseline", "floor"]
    assert all(int(line[3].replace(",", "")) > 0 for line in lines)
    assert {line.count("|") for line in done.stdout.splitlines() if line.startswith("|")} == {13}


@needs_openssl
def test_the_floor_commits_and_syncs_each_batch(tmp_path: Path) -> None:
    found = floor.measure(tmp_path, 8, 0.2, 1000)
    assert found.put_count > 0
    assert found.put_count % 8 == 0
    # One for the log's transaction; the data has its checkpoints.
    assert found.sync_count >= found.put_count // 8 + 2


def test_zipfian_numbers_prefer_few_pairs_and_are_the_same_each_time() -> None:
    numbers = pairs.numbers("zipfian", 1000)
    assert numbers == pairs.numbers("zipfian", 1000)
    shares = [count / len(numbers) for _, count in Counter(numbers).most_common()]
    # The harmonic sum of 1000 ** 0.99 is 7.7.
    assert shares[0] == pytest.approx(1 / 7.7, rel=0.05)
    assert shares[0] / shares[9] == pytest.approx(10**0.99, rel=0.1)
    assert len(shares) == 1000


def test_a_share_of_calls_becomes_writes() -> None:
    calls = pairs.mixed(pairs.numbers("uniform", 1000), 0.05, 1 << 31)
    assert sum(call >> 31 for call in calls) / len(calls) == pytest.approx(0.05, rel=0.1)


H2LOAD_SAYS = """
finished in 2.00s, 583152.00 req/s, 99.55MB/s
requests: 1000 total, 1256 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 199.10MB (208768) total, 2.22MB (2332) headers (space savings 94.74%), 165.73KB (149149) data
                     min         max         mean         sd        +/- sd
time for request:      107us      3.42ms       241us        75us    96.82%
"""  # noqa: E501


def test_what_h2load_says_is_read_and_checked() -> None:
    report = Report.read(H2LOAD_SAYS)
    assert report == Report(1000, 0, 149149, 2.0, pytest.approx(241e-6), pytest.approx(3.42e-3))
    assert report.is_right(149, 1)
    assert not report.is_right(149, 0)  # one more than were done
    assert not report.is_right(150, 8)
    # An error is a success to it, without a message.
    failed = Report.read(H2LOAD_SAYS.replace("(149149) data", "(0) data"))
    assert not failed.is_right(149, 8)
    with pytest.raises(ServerError, match="h2load says"):
        Report.read("something else")


def test_a_target_is_read() -> None:
    found = Target.parse("other,https://127.0.0.1:8443,server.crt,77")
    assert found == Target("other", "https://127.0.0.1:8443", "server.crt", 77)
    assert Target.parse("plain,http://localhost:80").process_id is None
    with pytest.raises(ValueError, match="is not NAME"):
        Target.parse("https://127.0.0.1:8443")


def test_what_a_tree_of_processes_uses_is_counted() -> None:
    own_s = processes.tree_cpu_s(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "sum(range(10**7)); input()"], stdin=-1) as child:
        members = processes.tree(os.getpid())
        child.communicate(b"\n")
    assert child.pid in members
    assert processes.tree_cpu_s(os.getpid()) >= own_s > 0
    assert processes.tree_resident_bytes(os.getpid()) > processes.tree_own_bytes(os.getpid()) > 0


@pytest.mark.parametrize(
    "found",
    [{b"a": b"1"}, {b"a": b"1", b"b": b"3"}, {b"b": b"2", b"a": b"1"}, {}],
    ids=["missing", "changed", "other order", "nothing"],
)
def test_package_check_refuses_any_difference(found: dict[bytes, bytes]) -> None:
    with pytest.raises(packages.DifferenceError):
        packages.expect_equal("scan", found, {b"a": b"1", b"b": b"2"})


def test_strace_summary_is_summed() -> None:
    assert syncs.parse(SUMMARY) == 1006
    with pytest.raises(ServerError):
        syncs.parse("strace: attach: Operation not permitted")
