"""Reads single keys at a fixed rate, from a process of its own, and tells what they cost.

    python -m bench.kafka.reads --port=PORT --certificate=FILE --process=ID --table=TABLE \
        --keys=COUNT --rate=2000 --seconds=10

Open loop: each read has its moment on a schedule and is sent then, whether or not those before it
have been answered, and its latency counts from that moment, so a server (or this client) that is
late is late for everything that waits behind. Prints a Reads as JSON.
"""

import argparse
import json
import random
import select
import socket
import ssl
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ngh2

from bench import processes
from bench.kafka import topics
from regatta.pb.regatta_pb2 import RangeRequest

RECEIVE_BYTES = 1 << 16
CONNECTION_COUNT = 4
WAIT_S_MAX = 10.0  # for the answers that are still out at the end
WARM_UP_S = 1.0


@dataclass(frozen=True)
class Reads:
    """What so many reads have cost, and how long they took."""

    read_count: int
    found_count: int  # with a pair in the answer
    took_s: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    main_cpu_s: float  # of the server's main thread meanwhile
    process_cpu_s: float  # of the whole server


class Connection:
    """One HTTP/2 connection over TLS, with reads under way on it."""

    def __init__(self, port: int, certificate: Path) -> None:
        context = ssl.create_default_context(cafile=str(certificate))
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = context.wrap_socket(plain, server_hostname="localhost")
        self._socket.setblocking(False)
        self._due: dict[int, float] = {}  # by stream: when it should have been sent
        self._unsent = b""
        self._session = ngh2.Connection(ngh2.Role.CLIENT)
        self._session.initiate_connection({})
        self.latencies_s: list[float] = []
        self.failures: list[str] = []
        self.found_count = 0
        self.flush()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    @property
    def waiting_count(self) -> int:
        """How many reads have no answer yet."""
        return len(self._due)

    def send(self, headers: list[tuple[bytes, bytes]], body: bytes, due_s: float) -> None:
        """Send a read that was due at *due_s*."""
        stream = self._session.send_request(headers)
        self._session.send_data(stream, body, end_stream=True)
        self._due[stream] = due_s
        self.flush()

    def flush(self) -> None:
        """Write what there is to write."""
        self._unsent += self._session.data_to_send()
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except (ssl.SSLWantWriteError, BlockingIOError):
            pass  # the next read, or the next answer, tries again

    def receive(self) -> None:
        """Take all answers that are there."""
        try:
            while data := self._socket.recv(RECEIVE_BYTES):
                self._session.receive_data(data)
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        now_s = time.monotonic()
        for event in self._session.events():
            if type(event) is ngh2.DataReceived:
                # Without a pair there is a header alone.
                self.found_count += len(event.data) > topics.VALUE_BYTES
            elif type(event) is ngh2.TrailersReceived:
                self.latencies_s.append(now_s - self._due.pop(event.stream_id))
                if (b"grpc-status", b"0") not in event.headers:
                    self.failures.append(str(event.headers))
        self.flush()


def headers_of() -> list[tuple[bytes, bytes]]:
    """Return the headers of a call of Range."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"localhost"),
        (b":path", b"/regatta.v1.KV/Range"),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    ]


def body_of(table: str, number: int) -> bytes:
    """Return the gRPC message that reads one key."""
    message = RangeRequest(table=table.encode(), key=topics.key_of(number)).SerializeToString()
    return b"\0" + len(message).to_bytes(4, "big") + message


def read_all(
    connections: list[Connection], bodies: list[bytes], rate: float
) -> tuple[float, float]:
    """Send *rate* reads a second and wait for all answers; return the begin and the end."""
    headers = headers_of()
    begin_s = time.monotonic() + 0.01
    sent_count = 0
    deadline_s = begin_s + len(bodies) / rate + WAIT_S_MAX
    while sent_count < len(bodies) or any(one.waiting_count for one in connections):
        now_s = time.monotonic()
        due_count = min(int((now_s - begin_s) * rate) + 1, len(bodies)) if now_s >= begin_s else 0
        for number in range(sent_count, due_count):
            one = connections[number % len(connections)]
            one.send(headers, bodies[number], begin_s + number / rate)
        sent_count = max(due_count, sent_count)
        if now_s > deadline_s:
            raise TimeoutError("reads were not answered in time")
        wait_s = 0.1
        if sent_count < len(bodies):
            wait_s = max(begin_s + sent_count / rate - time.monotonic(), 0)
        for one in select.select(connections, [], [], wait_s)[0]:
            one.receive()
    return begin_s, time.monotonic()


def measure(given: argparse.Namespace) -> Reads:
    """Read at the given rate after a second of warm-up, and return what came of it."""
    chance = random.Random(topics.SEED + 2)
    numbers = [chance.randrange(given.keys) for _ in range(int(given.rate * given.seconds))]
    bodies = [body_of(given.table, number) for number in numbers]
    connections = [Connection(given.port, given.certificate) for _ in range(CONNECTION_COUNT)]
    read_all(connections, bodies[: int(given.rate * WARM_UP_S)], given.rate)
    for one in connections:
        one.latencies_s.clear()
        one.found_count = 0
    before_s, main_before_s = cpu_of(given.process)
    begin_s, end_s = read_all(connections, bodies, given.rate)
    after_s, main_after_s = cpu_of(given.process)
    if failures := [text for one in connections for text in one.failures]:
        raise ValueError(f"{len(failures)} reads failed: {failures[0]}")
    latencies_s = sorted(latency_s for one in connections for latency_s in one.latencies_s)
    return Reads(
        read_count=len(latencies_s),
        found_count=sum(one.found_count for one in connections),
        took_s=end_s - begin_s,
        p50_ms=latencies_s[len(latencies_s) // 2] * 1e3,
        p99_ms=latencies_s[len(latencies_s) * 99 // 100] * 1e3,
        longest_ms=latencies_s[-1] * 1e3,
        main_cpu_s=main_after_s - main_before_s,
        process_cpu_s=after_s - before_s,
    )


def cpu_of(process_id: int) -> tuple[float, float]:
    """Return the CPU time of a process and of its main thread."""
    threads: dict[tuple[int, str], Any] = processes.thread_cpu_s(process_id)
    main_s = next(used_s for (thread, _), used_s in threads.items() if thread == process_id)
    return processes.cpu_s(process_id), main_s


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--process", type=int, required=True)
    parser.add_argument("--table", required=True)
    parser.add_argument("--keys", type=int, required=True)
    parser.add_argument("--rate", type=float, default=2_000)
    parser.add_argument("--seconds", type=float, default=10)
    print(json.dumps(asdict(measure(parser.parse_args()))))


if __name__ == "__main__":
    main()
