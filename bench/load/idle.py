"""What connections cost that ask for nothing: memory of each, and how often the daemon wakes up.

    python -m bench.load.idle [--connections=10000] [--reads=1] [--seconds=60] [--flag=...]

Every connection is TLS and HTTP/2 and has made --reads calls before it falls silent. Wake-ups are
the times that any thread of the daemon has given up the CPU of itself, and with `strace` also
its system calls.
"""

import argparse
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import ngh2

from bench import processes
from bench.load.pairs import TABLE
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.cluster.harness import ServerError
from tests.http2.h2peer import frame
from tests.http2.h2peer import request_headers

QUIET_S = 5.0  # after the last call, before anything is counted
HEADERS = request_headers(b"/regatta.v1.KV/Range")


def connect(port: int, context: ssl.SSLContext, read_count: int) -> ssl.SSLSocket:
    """Return a connection that has made so many reads; raise ServerError if one fails."""
    plain = socket.create_connection(("127.0.0.1", port))
    made = context.wrap_socket(plain, server_hostname="localhost")
    client = ngh2.Connection(ngh2.Role.CLIENT)
    client.initiate_connection({})
    body = RangeRequest(table=TABLE, key=b"key").SerializeToString()
    made.sendall(client.data_to_send())
    client.receive_data(made.recv(65536))
    for _ in range(read_count):
        stream = client.send_request(HEADERS)
        client.send_data(stream, frame(body), end_stream=True)
        made.sendall(client.data_to_send())
        while not any(type(event) is ngh2.TrailersReceived for event in client.events()):
            if not (data := made.recv(65536)):
                raise ServerError("a connection was ended")
            client.receive_data(data)
    if rest := client.data_to_send():
        made.sendall(rest)
    return made


def count_calls(process_id: int, seconds: float) -> str:
    """Return strace's table of system calls in *seconds*."""
    with tempfile.NamedTemporaryFile("r") as table:
        tracer = subprocess.Popen(
            ["strace", "-f", "-c", "-o", table.name, "-p", str(process_id)],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(seconds)
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        return table.read()


def measure(daemon: Daemon, given: argparse.Namespace, stack: ExitStack) -> None:
    """Connect, fall silent, and tell what that costs."""
    with daemon.channel() as channel:
        KV(channel).put(PutRequest(table=TABLE, key=b"key", value=b"v" * 100))
    context = ssl.create_default_context(cafile=str(daemon.certificate.certificate_path))
    context.set_alpn_protocols(["h2"])
    connect(daemon.port, context, 1).close()
    time.sleep(1)
    before = processes.own_bytes(daemon.process_id)
    for _ in range(given.connections):
        stack.enter_context(connect(daemon.port, context, given.reads))
    time.sleep(QUIET_S)
    grown = processes.own_bytes(daemon.process_id) - before
    if given.connections:
        print(
            f"{given.connections:,} idle TLS connections, {given.reads} reads each: "
            f"{grown / given.connections / 1024:.1f} KiB each, "
            f"{processes.own_bytes(daemon.process_id) / 2**20:.0f} MiB in all",
            flush=True,
        )
    sleeps = processes.sleeps(daemon.process_id)
    cpu_s = processes.tree_cpu_s(daemon.process_id)
    time.sleep(given.seconds)
    sleeps = processes.sleeps(daemon.process_id) - sleeps
    cpu_ms = (processes.tree_cpu_s(daemon.process_id) - cpu_s) * 1e3
    print(f"{sleeps} wake-ups and {cpu_ms:.2f} ms of CPU in {given.seconds:g} s", flush=True)
    if shutil.which("strace"):
        print(f"strace, {given.seconds:g} s:")
        print(count_calls(daemon.process_id, given.seconds) or "no system call at all")
    with daemon.channel() as channel:
        found = KV(channel).range(RangeRequest(table=TABLE, key=b"key"))
    if found.count != 1:
        raise ServerError("the pair is not found any more")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--reads", type=int, default=1, help="of each connection")
    parser.add_argument("--seconds", type=float, default=60.0, help="of silence that is watched")
    parser.add_argument("--flag", action="append", default=[], help="a flag for the daemon")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="regatta-idle-") as name, ExitStack() as stack:
        directory = Path(name)
        daemon = Daemon(directory, Certificate.make(directory), *given.flag)
        stack.enter_context(daemon)
        measure(daemon, given, stack)


if __name__ == "__main__":
    main()
