"""Drives a server with nghttp2's h2load, which sends one body over and over.

It takes an answer with any gRPC status for a success. So its answers are checked by their size: all
messages together must be as large as that many right ones.
"""

import math
import re
import resource
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.load import pairs
from bench.load.drive import Result
from bench.load.drive import result_of
from bench.load.pairs import Family
from bench.load.servers import Target
from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import ServerError

PATH = "/regatta.v1.KV/Range"
TIMEOUT_S = 600.0
COUNTS = re.compile(r"requests: .* (\d+) done, (\d+) succeeded")
DATA = re.compile(r"\((\d+)\) data$", re.MULTILINE)
FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s),")
TIMES = re.compile(r"time for request: +\S+ +([\d.]+)(us|ms|s) +([\d.]+)(us|ms|s)")
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Report:
    """What h2load tells of its calls, as `drive.result_of` asks a client for it."""

    answered: int
    failed_count: int
    answer_bytes: int
    took_s: float
    latency_mean_s: float
    latency_max_s: float

    @classmethod
    def read(cls, text: str) -> "Report":
        """Read what it has printed; raise ServerError if that makes no sense."""
        found = [pattern.search(text) for pattern in (COUNTS, DATA, FINISHED, TIMES)]
        if None in found:
            raise ServerError(f"h2load says:\n{text}")
        counts, data, finished, times = (match.groups() for match in found if match)
        return cls(
            answered=int(counts[0]),
            failed_count=int(counts[0]) - int(counts[1]),
            answer_bytes=int(data[0]),
            took_s=float(finished[0]) * SECONDS[finished[1]],
            latency_mean_s=float(times[2]) * SECONDS[times[3]],
            latency_max_s=float(times[0]) * SECONDS[times[1]],
        )

    def latency_s(self, share: float) -> float:
        """It doesn't tell."""
        return math.nan

    def is_right(self, message_bytes: int, under_way: int) -> bool:
        """Say whether all answers are of *message_bytes*, but for some *under_way* at the end."""
        more_bytes = self.answer_bytes - self.answered * message_bytes
        return not self.failed_count and 0 <= more_bytes <= under_way * message_bytes


def is_there() -> bool:
    """Say whether h2load is installed."""
    return shutil.which("h2load") is not None


def drive(
    target: Target, family: Family, shape: str, seconds: float, cpus: str, message_bytes: int
) -> Result:
    """Ask for one key of *family* for some *seconds*.

    *message_bytes* is the size of a right answer with its prefix; raises ServerError if the answers
    were of another. CPU times have the connecting in them.
    """
    process = target.process_id
    connections, streams = map(int, shape.split("x"))
    server_s = None if process is None else processes.tree_cpu_s(process)
    own_s = children_cpu_s()
    text = run(target, request_for(family), connections, streams, seconds, cpus)
    own_s = children_cpu_s() - own_s
    report = Report.read(text)
    if not report.is_right(message_bytes, connections * streams):
        raise ServerError(f"{target.name}: answers of other sizes than {message_bytes}:\n{text}")
    if server_s is not None:
        server_s = processes.tree_cpu_s(process) - server_s
    return result_of(report, report.took_s, own_s, server_s, process)


def request_for(family: Family) -> bytes:
    """Return the gRPC message that asks for the pair in the middle of *family*."""
    (number,) = pairs.numbers("one", family.pair_count)
    request = RangeRequest(table=pairs.TABLE, key=family.key(number)).SerializeToString()
    return b"\0" + len(request).to_bytes(4, "big") + request


def run(
    target: Target, message: bytes, connections: int, streams: int, seconds: float, cpus: str
) -> str:
    """Run h2load and return what it prints."""
    with tempfile.NamedTemporaryFile() as body:
        Path(body.name).write_bytes(message)
        command = [
            *("taskset", "--cpu-list", cpus, "h2load", f"--duration={seconds:g}"),
            *(f"--clients={connections}", f"--max-concurrent-streams={streams}"),
            *("-H", "content-type: application/grpc", "-H", "te: trailers"),
            *(f"--data={body.name}", target.url + PATH),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode != 0:
        raise ServerError(f"{target.name}: h2load: {done.stdout[-300:]}{done.stderr[-300:]}")
    return done.stdout


def children_cpu_s() -> float:
    """Return the CPU time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
