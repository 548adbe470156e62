"""Runs h2load, the HTTP/2 load generator of nghttp2, against a server and reads its figures.

h2load counts every answer with HTTP status 200 as a success, and gRPC errors have that status.
Whoever calls this checks the answers by other means; data_bytes is there for that.
"""

import re
import shutil
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.harness import Server, ServerError

WARM_UP_S = 1
# The CPU time is sampled a little inside the measured time, so that the ends don't blur it.
MARGIN_S = 0.2


@dataclass(frozen=True)
class Shape:
    """How many connections, and how many streams at a time on each."""

    connections: int
    streams: int

    def __str__(self) -> str:
        return f"{self.connections} × {self.streams}"  # noqa: RUF001


@dataclass(frozen=True)
class Load:
    """Calls of one method with one request message."""

    path: str  # for example /regatta.v1.KV/Range
    body_path: Path  # holds the message with gRPC's five-byte prefix

    @classmethod
    def make(cls, path: str, message: bytes, body_path: Path) -> "Load":
        """Write *message* to *body_path* as the body of each request."""
        body_path.write_bytes(struct.pack(">BI", 0, len(message)) + message)
        return cls(path, body_path)


@dataclass(frozen=True)
class Outcome:
    """What one run of h2load counted."""

    request_count: int  # answered, without those of the warm-up
    requests_per_s: float
    data_bytes: int  # bodies of answers, those of the warm-up included


@dataclass(frozen=True)
class Measurement:
    """One timed run, seen from both sides."""

    outcome: Outcome
    cpu_s_per_request: float  # of the server, all its threads, user and system
    resident_bytes: int  # of the server, at the end


def is_installed() -> bool:
    """Return whether h2load can be run."""
    return shutil.which("h2load") is not None


def run_counted(server: Server, load: Load, shape: Shape, request_count: int, cpu: int) -> Outcome:
    """Send exactly *request_count* requests from CPU *cpu*."""
    return _finish(_start(server, load, shape, [f"--requests={request_count}"], cpu))


def run_timed(server: Server, load: Load, shape: Shape, seconds: int, cpu: int) -> Measurement:
    """Send requests for *seconds*, after a second of warm-up, from CPU *cpu*."""
    options = [f"--duration={seconds}", f"--warm-up-time={WARM_UP_S}"]
    process = _start(server, load, shape, options, cpu)
    time.sleep(WARM_UP_S + MARGIN_S)
    started_s, cpu_before_s = time.perf_counter(), server.cpu_time_s()
    time.sleep(seconds - 2 * MARGIN_S)
    sampled_s, cpu_s = time.perf_counter() - started_s, server.cpu_time_s() - cpu_before_s
    resident_bytes = server.resident_bytes()
    outcome = _finish(process)
    cpu_s_per_request = cpu_s / sampled_s / outcome.requests_per_s
    return Measurement(outcome, cpu_s_per_request, resident_bytes)


def _start(
    server: Server, load: Load, shape: Shape, options: list[str], cpu: int
) -> subprocess.Popen[str]:
    command = [
        *("taskset", "--cpu-list", str(cpu), "h2load", *options),
        *(f"--clients={shape.connections}", f"--max-concurrent-streams={shape.streams}"),
        f"--data={load.body_path}",
        *("--header=content-type: application/grpc", "--header=te: trailers"),
        f"https://127.0.0.1:{server.port}{load.path}",
    ]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=-1
    )


def _finish(process: subprocess.Popen[str]) -> Outcome:
    output, _ = process.communicate(timeout=300)
    if process.returncode != 0:
        raise ServerError(f"h2load ended with {process.returncode}:\n{output}")
    return parse(output)


def parse(output: str) -> Outcome:
    """Read h2load's report; raise ServerError if a request failed or nothing was answered."""
    rate = re.search(r"^finished in .*, ([\d.]+) req/s", output, re.M)
    counts = re.search(
        r"^requests: .* (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
        output,
        re.M,
    )
    data = re.search(r"^traffic: .* \((\d+)\) data", output, re.M)
    if rate is None or counts is None or data is None:
        raise ServerError(f"h2load's report can't be read:\n{output}")
    done, succeeded, *troubles = map(int, counts.groups())
    if done == 0 or succeeded != done or any(troubles):
        raise ServerError(f"not every request was answered:\n{output}")
    return Outcome(done, float(rate[1]), int(data[1]))
