"""Counts the daemon's disk syncs per acknowledged Put, with strace.

    python -m bench.load.syncs [--puts=2000]

One client at a time must see at least one sync per Put: nothing is acknowledged before it is on
disk. With many clients one sync serves many Puts: the group commit. The exit code is 1 if a
lone client gets an answer without a sync.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc

from bench.load import h2load
from bench.load.client import CALL_TIMEOUT_S
from bench.load.h2load import Load, Shape
from regatta.pb.regatta_pb2 import PutRequest
from tests.cluster.harness import KV, Certificate, Daemon, ServerError

SYNC_CALLS = ("fdatasync", "fsync", "msync", "sync_file_range", "syncfs", "sync")
ONE_CLIENT, MANY_CLIENTS = Shape(1, 1), Shape(8, 32)
LOAD_CPU = 1
ATTACH_S = 1.0


def count_syncs(daemon: Daemon, load: Load, shape: Shape, put_count: int) -> int:
    """Return how many syncs the daemon makes for *put_count* Puts, each of them checked."""
    trace = f"--trace={','.join(SYNC_CALLS)}"
    strace = subprocess.Popen(
        ["strace", "--follow-forks", "--summary-only", trace, f"--attach={daemon.process_id}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    put = PutRequest.FromString(load.body_path.read_bytes()[5:])
    try:
        time.sleep(ATTACH_S)
        with daemon.channel() as channel:
            call = KV(channel).put
            revision_before = call(put, timeout=CALL_TIMEOUT_S).header.revision
            h2load.run_counted(daemon, load, shape, put_count - 2, LOAD_CPU)
            revisions = call(put, timeout=CALL_TIMEOUT_S).header.revision - revision_before + 1
    finally:
        strace.send_signal(signal.SIGINT)
        _, report = strace.communicate(timeout=30)
    if revisions != put_count:
        raise ServerError(f"{put_count} puts made {revisions} revisions")
    return parse(report)


def parse(report: str) -> int:
    """Return the sum of all calls in strace's summary; raise ServerError if there is none."""
    # Columns: % time, seconds, usecs/call, calls, errors (often blank), syscall.
    rows = [line.split() for line in report.splitlines()]
    counts = [int(row[3]) for row in rows if row and row[-1] in SYNC_CALLS]
    if not counts:
        raise ServerError(f"strace saw no sync:\n{report}")
    return sum(counts)


def run(daemon: Daemon, put_count: int) -> int:
    """Measure both shapes, print them, return the exit code."""
    put = PutRequest(table=b"regatta", key=b"key", value=b"v" * 100).SerializeToString()
    load = Load.make("/regatta.v1.KV/Put", put, daemon.directory / "put.bin")
    syncs = {}
    with daemon:
        for shape in (ONE_CLIENT, MANY_CLIENTS):
            syncs[shape] = count_syncs(daemon, load, shape, put_count)
            per_put = syncs[shape] / put_count
            print(f"{shape!s:6}: {syncs[shape]} syncs for {put_count} puts, {per_put:.3f} per put")
    if syncs[ONE_CLIENT] < put_count:
        print("syncs: puts were acknowledged before they were on disk", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Read the command line, measure, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--puts", type=int, default=2000, help="in each of the two runs")
    arguments = parser.parse_args()
    for tool, package in (("h2load", "nghttp2-client"), ("strace", "strace")):
        if shutil.which(tool) is None:
            print(f"syncs: {tool} is missing; install the package {package}", file=sys.stderr)
            return 2
    with tempfile.TemporaryDirectory(prefix="regatta-syncs-") as name:
        directory = Path(name)
        try:
            return run(Daemon(directory, Certificate.make(directory)), arguments.puts)
        except (ServerError, grpc.RpcError) as error:
            print(f"syncs: {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
