"""Known attacks on HTTP/2 servers. Each function makes one and says what the daemon did."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from regatta.limits import KIB
from regatta.limits import MIB
from tests.abuse import attacker as wire
from tests.abuse.attacker import Attacker
from tests.abuse.attacker import Watch
from tests.cluster.harness import KV
from tests.cluster.harness import Daemon

DURATION_S = 1.5
WINDOW_MAX = (1 << 31) - 1
LARGE_VALUE_BYTES = 2 * MIB - KIB
NO_WINDOW = {wire.INITIAL_WINDOW_SIZE: 0}
FULL_WINDOW = {wire.INITIAL_WINDOW_SIZE: WINDOW_MAX}


@dataclass(frozen=True)
class Attack:
    """An attack: its name in the table, how it should end, and what it may cost."""

    name: str
    run: Callable[[Daemon], str]
    expected: str  # in the outcome
    growth_bytes_max: int


def flood(attacker: Attacker, piece: Callable[[int], bytes], *, reads: bool) -> str:
    """Send pieces, numbered from 0, until the daemon ends it or the time is over."""
    deadline_s = time.monotonic() + DURATION_S
    count = 0
    while time.monotonic() < deadline_s and attacker.send(piece(count), reads=reads):
        count += 1
    attacker.read_for(0.3)
    attacker.close()
    return f"{attacker.outcome()} after {count:,}"


def rapid_reset(daemon: Daemon) -> str:
    def piece(number: int) -> bytes:
        streams = range(200 * number + 1, 200 * number + 201, 2)
        return b"".join(
            wire.frame(wire.HEADERS, stream, wire.call_headers(), wire.END_HEADERS)
            + wire.frame(wire.RST_STREAM, stream, bytes(3) + b"\x08")
            for stream in streams
        )

    return flood(Attacker(daemon), piece, reads=True) + " x 100 streams"


def continuation_flood(daemon: Daemon) -> str:
    attacker = Attacker(daemon)
    attacker.send(wire.frame(wire.HEADERS, 1, wire.call_headers()))
    piece = wire.frame(wire.CONTINUATION, 1, wire.literal(b"x", bytes(1000).replace(b"\0", b"v")))
    return flood(attacker, lambda number: piece, reads=True) + " frames"


def ping_flood(daemon: Daemon) -> str:
    piece = wire.frame(wire.PING, 0, bytes(8)) * 1000
    return flood(Attacker(daemon), lambda number: piece, reads=False) + " x 1,000 frames"


def settings_flood(daemon: Daemon) -> str:
    piece = wire.frame(wire.SETTINGS, 0, b"\0\4\0\1\0\0") * 1000
    return flood(Attacker(daemon), lambda number: piece, reads=False) + " x 1,000 frames"


def empty_data_flood(daemon: Daemon) -> str:
    attacker = Attacker(daemon)
    attacker.send(wire.frame(wire.HEADERS, 1, wire.call_headers(), wire.END_HEADERS))
    piece = wire.frame(wire.DATA, 1) * 100
    return flood(attacker, lambda number: piece, reads=True) + " x 100 frames"


def header_bomb(daemon: Daemon) -> str:
    """One 4,000 byte header in the table, then a thousand streams that each name it 4,000 times."""
    attacker = Attacker(daemon)
    value = b"v" * 4000
    size = len(value) - 127
    planted = b"\x40\x01x" + bytes([127, size % 128 | 128, size // 128]) + value

    def piece(number: int) -> bytes:
        block = wire.call_headers() + (planted if number == 0 else b"\xbe" * 4000)
        return wire.frame(wire.HEADERS, 2 * number + 1, block, wire.END_HEADERS | wire.END_STREAM)

    return flood(attacker, piece, reads=True) + " header lists of 16 MB"


def too_many_streams(daemon: Daemon) -> str:
    attacker = Attacker(daemon)
    for number in range(3000):
        stream = 2 * number + 1
        attacker.send(wire.frame(wire.HEADERS, stream, wire.call_headers(), wire.END_HEADERS))
    attacker.read_for(0.5)
    attacker.close()
    return f"{attacker.resets:,} of 3,000 streams refused; connection {attacker.outcome()}"


def slow_readers(daemon: Daemon) -> str:
    attackers = [Attacker(daemon, FULL_WINDOW) for _ in range(10)]
    for attacker in attackers:
        calls = b"".join(wire.call(2 * n + 1, wire.LARGE_KEY) for n in range(100))
        opened = wire.window_update(0, WINDOW_MAX - 65535)
        attacker.send(opened + calls, reads=False)
    time.sleep(DURATION_S)
    for attacker in attackers:
        attacker.close()
    return "10 connections asked for 200 MiB each; held back"


def zero_window(daemon: Daemon) -> str:
    attacker = Attacker(daemon, NO_WINDOW)
    attacker.send(b"".join(wire.call(2 * n + 1, wire.LARGE_KEY) for n in range(900)))
    attacker.read_for(DURATION_S)
    attacker.close()
    return f"900 answers of 2 MiB asked for, {attacker.data_bytes} bytes sent; held back"


def tiny_window_updates(daemon: Daemon) -> str:
    attacker = Attacker(daemon, NO_WINDOW)
    attacker.send(b"".join(wire.call(2 * n + 1, wire.LARGE_KEY) for n in range(100)))
    piece = b"".join(wire.window_update(2 * n + 1, 1) for n in range(100))
    outcome = flood(attacker, lambda number: piece, reads=True)
    return f"{outcome} x 100 updates; {attacker.data_bytes:,} bytes sent"


def reset_large_answers(daemon: Daemon) -> str:
    attacker = Attacker(daemon, FULL_WINDOW)
    attacker.send(wire.window_update(0, WINDOW_MAX - 65535))

    def piece(number: int) -> bytes:
        stream = 2 * number + 1
        reset = b"" if number < 8 else wire.frame(wire.RST_STREAM, stream - 16, bytes(3) + b"\x08")
        return wire.call(stream, wire.LARGE_KEY) + reset

    return flood(attacker, piece, reads=True) + " answers of 2 MiB"


def slow_senders(daemon: Daemon) -> str:
    attacker = Attacker(daemon)
    for number in range(900):
        stream = 2 * number + 1
        body = b"\0\0\x40\0\0" + bytes(16_000)  # of 4 MiB
        attacker.send(
            wire.frame(wire.HEADERS, stream, wire.call_headers(), wire.END_HEADERS)
            + wire.frame(wire.DATA, stream, body)
            + wire.frame(wire.DATA, stream, bytes(16_000)) * 3
        )
    attacker.read_for(DURATION_S)
    attacker.close()
    return f"900 requests of 4 MiB stall after 63 KiB; connection {attacker.outcome()}"


def silent_connections(daemon: Daemon) -> str:
    """Connections without a TLS handshake, and some that say nothing after theirs."""
    start_s = time.monotonic()
    idle = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(300)]
    silent = [wire.dial(daemon) for _ in range(100)]
    closed = 0
    for connection in [*idle, *silent]:
        connection.settimeout(max(15 - (time.monotonic() - start_s), 0.01))
        with suppress(TimeoutError):
            try:
                while connection.recv(1 << 16):
                    pass
                closed += 1
            except ConnectionError:
                closed += 1
        connection.close()
    return f"{closed} of 400 closed by {time.monotonic() - start_s:.0f} s"


ATTACKS = [
    Attack("rapid reset", rapid_reset, "GOAWAY 2", 16 * MIB),
    Attack("CONTINUATION flood", continuation_flood, "closed", 16 * MIB),
    Attack("PING flood, unread", ping_flood, "closed", 16 * MIB),
    Attack("SETTINGS flood, unread", settings_flood, "closed", 16 * MIB),
    Attack("empty DATA flood", empty_data_flood, "GOAWAY 11", 16 * MIB),
    Attack("header lists of 16 MB", header_bomb, "GOAWAY 11", 32 * MIB),
    Attack("3,000 streams at once", too_many_streams, "2,000 of 3,000 streams refused", 32 * MIB),
    Attack("window of zero", zero_window, " 0 bytes sent", 32 * MIB),
    Attack("window updates of 1 byte", tiny_window_updates, "stays open", 32 * MIB),
    Attack("reset of large answers", reset_large_answers, "stays open", 48 * MIB),
    Attack("slow readers", slow_readers, "held back", 10 * 16 * MIB),
    Attack("slow senders", slow_senders, "stays open", 96 * MIB),
    Attack("silent connections", silent_connections, "400 of 400 closed", 64 * MIB),
]


def prepare(daemon: Daemon) -> None:
    """Write what the attacks read, and have the daemon do once all that they do."""
    with daemon.channel() as channel:
        calls = KV(channel)
        calls.put(wire.put_request(wire.SMALL_KEY, b"value"), timeout=20)
        calls.put(wire.put_request(wire.LARGE_KEY, bytes(LARGE_VALUE_BYTES)), timeout=20)
        calls.range(wire.range_request(wire.LARGE_KEY), timeout=20)


def watch(daemon: Daemon, attack: Attack) -> tuple[str, Watch]:
    """Run one attack while another client calls; return what the daemon did, and the watch."""
    with Watch(daemon) as watched:
        outcome = attack.run(daemon)
    return outcome, watched
