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

from bench.load import pairs
from bench.load.drive import client_module
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.cluster.harness import Server
from tests.cluster.harness import ServerError

SYNC_CALLS = ("fdatasync", "fsync", "msync", "syncfs", "sync")
ONE_CLIENT, MANY_CLIENTS = (1, 1), (8, 32)  # connections, streams on each
ATTACH_S = 1.0
PUTS_TIMEOUT_S = 300.0


def count_syncs(daemon: Daemon, shape: tuple[int, int], put_count: int) -> int:
    """Return how many syncs the daemon makes for *put_count* Puts, each of them checked."""
    trace = f"--trace={','.join(SYNC_CALLS)}"
    strace = subprocess.Popen(
        ["strace", "--follow-forks", "--summary-only", trace, f"--attach={daemon.process_id}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(ATTACH_S)
        put(daemon, shape, put_count)
    finally:
        strace.send_signal(signal.SIGINT)
        _, report = strace.communicate(timeout=30)
    return parse(report)


def put(server: Server, shape: tuple[int, int], put_count: int) -> None:
    """Make *put_count* Puts; raise WrongAnswer unless each of them is acknowledged."""
    module = client_module()
    client = module.Client(
        "127.0.0.1",
        server.port,
        pairs.mixed(pairs.numbers("one", 1), 1.0, module.writes_from),
        certificate=server.certificate.certificate_path,
        connections=shape[0],
        streams=shape[1],
    )
    try:
        client.run(PUTS_TIMEOUT_S, put_count)
        client.finish(PUTS_TIMEOUT_S)
        if client.answered != put_count:
            raise ServerError(f"{client.answered} of {put_count} Puts were answered in time")
    finally:
        client.close()


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
    syncs = {}
    with daemon:
        for shape in (ONE_CLIENT, MANY_CLIENTS):
            syncs[shape] = count_syncs(daemon, shape, put_count)
            put_syncs = syncs[shape] / put_count
            name = "x".join(map(str, shape))
            print(f"{name:5}: {syncs[shape]} syncs for {put_count} puts, {put_syncs:.3f} per put")
    if syncs[ONE_CLIENT] < put_count:
        print("syncs: puts were acknowledged before they were on disk", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    """Read the command line, measure, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--puts", type=int, default=2000, help="in each of the two runs")
    arguments = parser.parse_args()
    if shutil.which("strace") is None:
        print("syncs: strace is missing; install the package strace", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="regatta-syncs-") as name:
        directory = Path(name)
        try:
            return run(Daemon(directory, Certificate.make(directory)), arguments.puts)
        except (ServerError, client_module().WrongAnswer) as error:
            print(f"syncs: {error}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
