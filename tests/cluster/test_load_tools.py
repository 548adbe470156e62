"""The load tools in bench/load must not rot, and must notice wrong answers."""

import asyncio
from pathlib import Path

import pytest

from bench.load import h2load, packages, syncs
from bench.load.compare import Baseline, check_every_answer, copy_to_baseline, load_daemon
from regatta.pb.regatta_pb2 import PutRequest
from tests.cluster.harness import KV, Certificate, Daemon, ServerError

PAIR_COUNT = 50

REPORT = """
finished in 4.00s, 4753.33 req/s, 928.86KB/s
requests: 14260 total, 14260 started, 14260 done, {succeeded} succeeded, {failed} failed, \
0 errored, 0 timeout
status codes: 14260 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 2.72MB (2853456) total, 55.98KB (57327) headers (space savings 96.26%), \
2.60MB (2722896) data
"""


SUMMARY = """
strace: Process 13140 attached with 8 threads
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
100.00    0.046142          46      1000           fdatasync
  0.00    0.000000           0         6         1 fsync
------ ----------- ----------- --------- --------- ----------------
100.00    0.046142          46      1006         1 total
"""


def test_baseline_answers_with_the_same_bytes_until_one_changes(
    daemon: Daemon, certificate: Certificate, tmp_path: Path
) -> None:
    (tmp_path / "baseline").mkdir()
    other = Baseline(tmp_path / "baseline", certificate)
    load_daemon(daemon, PAIR_COUNT)
    copy_to_baseline(daemon, other)
    with other:
        asyncio.run(check_every_answer(daemon, other, PAIR_COUNT))
        with other.channel() as channel:
            KV(channel).put(PutRequest(key=b"key-%012d" % 7, value=b"changed"))
        with pytest.raises(ServerError, match="key-000000000007"):
            asyncio.run(check_every_answer(daemon, other, PAIR_COUNT))


def test_h2load_report_is_read() -> None:
    outcome = h2load.parse(REPORT.format(succeeded=14260, failed=0))
    assert outcome == h2load.Outcome(14260, 4753.33, 2722896)


@pytest.mark.parametrize(
    "report", [REPORT.format(succeeded=14259, failed=1), "h2load: connection refused"]
)
def test_h2load_report_of_a_failed_request_is_refused(report: str) -> None:
    with pytest.raises(ServerError):
        h2load.parse(report)


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
