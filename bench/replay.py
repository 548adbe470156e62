"""Replay recorded client bytes through a Session in memory: no socket, no TLS.

    python -m bench.replay --streams 32
    python -m bench.replay --call range100       # 100 pairs from a random key on; see CALLS
    python -m bench.replay --same-key            # which is in the processor's cache
    python -m bench.replay --snappy              # as the official clients ask
    python -m bench.replay --echo                # the protocol alone: the tests' sink answers

What it prints is the CPU time of a call in protocol, codec and store, and for answers larger than
a kilobyte, what copying their bytes would take. Requests come in batches of --streams, as they do
from a client that keeps so many calls in flight.
"""

import argparse
import atexit
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cramjam
import ngh2

from bench import dataset
from regatta.http2 import CallSink
from regatta.http2 import Session
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.store import View
from regatta.table._leaders import Leaders
from regatta.table._range import RangeSink

rounds = 7
RANGE, ITERATE = b"/regatta.v1.KV/Range", b"/regatta.v1.KV/IterateRange"
# What a call asks for beside the table and the first key: the method, how many keys from there to
# range_end (0 for none), and options.
CALLS: dict[str, tuple[bytes, int, dict[str, Any]]] = {
    "key": (RANGE, 0, {}),
    "key-linearizable": (RANGE, 0, {"linearizable": True}),
    "range10": (RANGE, 10, {}),
    "range100": (RANGE, 100, {}),
    "limit100": (RANGE, 1000, {"limit": 100}),
    "count100": (RANGE, 100, {"count_only": True}),
    "keys100": (RANGE, 100, {"keys_only": True}),
    "filter100": (RANGE, 100, {"min_mod_revision": 1}),
    "iterate100": (ITERATE, 100, {}),
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--echo", action="store_true", help="answer by the tests' echo sink")
    parser.add_argument("--call", default="key", choices=CALLS, help="what is asked (%(default)s)")
    parser.add_argument("--same-key", action="store_true", help="all calls ask for the same")
    parser.add_argument("--snappy", action="store_true", help="requests are compressed")
    parser.add_argument("--table", default="regatta")
    parser.add_argument("--key", default="key-%012d", help="how keys look (%(default)s)")
    parser.add_argument("--keys", type=int, default=100_000, help="how many there are")
    parser.add_argument("--value-bytes", type=int, default=100, help="how long values are")
    parser.add_argument("--streams", type=int, default=32, help="requests in a batch")
    parser.add_argument("--batches", type=int, default=400)
    return parser.parse_args()


def make_target(arguments: argparse.Namespace) -> tuple[CallSink, bytes, Callable[[int], bytes]]:
    """Return the sink, the method's path, and what makes the n-th key's request."""
    if arguments.echo:
        sys.path.insert(0, str(Path(__file__).parents[1] / "tests/http2"))
        from echosink import load_echo

        return load_echo().Echo(), b"/test/Echo", lambda n: (arguments.key % n).encode()

    keys = [(arguments.key % n).encode() for n in range(arguments.keys)]
    directory = Path(tempfile.mkdtemp(prefix="regatta-replay-"))
    atexit.register(shutil.rmtree, directory)
    environment = dataset.make(directory, arguments.table, keys, b"v" * arguments.value_bytes)
    sink = RangeSink(View(environment), replica=1, leaders=Leaders())

    path, count, options = CALLS[arguments.call]

    def request(n: int) -> bytes:
        n = min(n, arguments.keys - count)
        message = RangeRequest(table=arguments.table.encode(), key=keys[n], **options)
        if count:
            message.range_end = (arguments.key % (n + count)).encode()
        return message.SerializeToString()

    return sink, path, request


def decline(call: object) -> None:
    sys.exit(f"the sink declined a call: {call}")


def make_session(sink: CallSink) -> Session:
    return Session(sink, decline, lambda: None)


def record(arguments: argparse.Namespace) -> tuple[CallSink, list[bytes], int]:
    """Return the sink, the client's bytes, one piece a batch, and the bytes of all answers.

    Every request was answered with status 0 by then.
    """
    sink, path, request = make_target(arguments)
    session = make_session(sink)
    client = ngh2.Connection(ngh2.Role.CLIENT)
    client.initiate_connection({4: 1 << 20})
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"localhost:8443"),
        (b":path", path),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
        *([(b"grpc-encoding", b"snappy")] if arguments.snappy else []),
    ]
    pieces: list[bytes] = []
    output_bytes = 0

    def exchange() -> int:
        nonlocal output_bytes
        answered = 0
        while piece := client.data_to_send():  # again for its window's updates
            pieces.append(piece)
            session.receive(piece)
            while output := session.output(1 << 20):
                output_bytes += len(output)
                client.receive_data(output)
            answered += sum(
                type(event) is ngh2.TrailersReceived and event.headers == ((b"grpc-status", b"0"),)
                for event in client.events()
            )
        return answered

    exchange()
    chance = random.Random(1)
    for _ in range(arguments.batches):
        for _ in range(arguments.streams):
            message = request(chance.randrange(arguments.keys) if not arguments.same_key else 0)
            if arguments.snappy:
                message = bytes(cramjam.snappy.compress(message))
            stream = client.send_request(headers)
            prefix = bytes([arguments.snappy]) + len(message).to_bytes(4, "big")
            client.send_data(stream, prefix + message, end_stream=True)
        answered = exchange()
        assert answered == arguments.streams, f"{answered} of {arguments.streams} answered"
    session.close()
    return sink, pieces, output_bytes


def replay(sink: CallSink, pieces: list[bytes], output_bytes: int) -> float:
    """Return the seconds that one pass takes; the answers' size must be the recorded one."""
    session = make_session(sink)
    sent = 0
    start = time.perf_counter()
    for piece in pieces:
        session.receive(piece)
        while output := session.output(1 << 20):
            sent += len(output)
    elapsed = time.perf_counter() - start
    session.close()
    assert sent == output_bytes
    return elapsed


def copy(size: int) -> float:
    """Return the seconds that copying *size* bytes takes, each time from another place."""
    source = memoryview(bytearray(64 << 20))
    target = memoryview(bytearray(size))
    places = [place * size for place in range(len(source) // size)]
    random.Random(1).shuffle(places)
    start = time.perf_counter()
    for place in places:
        target[:] = source[place : place + size]
    return (time.perf_counter() - start) / len(places)


def main() -> None:
    arguments = parse_arguments()
    sink, pieces, output_bytes = record(arguments)
    requests = arguments.batches * arguments.streams
    best = min(replay(sink, pieces, output_bytes) for _ in range(rounds)) / requests
    print(f"streams={arguments.streams}: {best * 1e9:.0f} ns a request, {1 / best:,.0f} requests/s")
    answer_bytes = output_bytes // requests
    if answer_bytes > 1024:
        copy_s = min(copy(answer_bytes) for _ in range(rounds))
        print(
            f"  {answer_bytes:,} bytes an answer, {answer_bytes / best / 1e9:.2f} GB/s; "
            f"copying them {copy_s * 1e9:,.0f} ns, {answer_bytes / copy_s / 1e9:.2f} GB/s"
        )


if __name__ == "__main__":
    main()
