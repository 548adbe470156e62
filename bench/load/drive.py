"""Drives one server with calls of one kind, checks every answer, and prints a Result as JSON.

    python -m bench.load.drive https://127.0.0.1:8443 --certificate=server.crt --shape=8x32 \
        [--keys=zipfian] [--writes=0.05] [--pairs-a-range=100] [--linearizable] [--snappy] \
        [--rate=5000] [--seconds=4] [--process=ID]
    python -m bench.load.drive URL --certificate=FILE --fill

The second form stores the pairs that the first one asks for. Without --rate, the loop is closed:
an answer brings the next call. With it, calls are due at fixed moments, and their latency counts
from these. --process is the server, whose CPU time and memory are then told, too.
"""

import argparse
import json
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from bench import processes
from bench.compiled import compiled
from bench.load import pairs
from bench.load.pairs import Family

WARM_UP_S = 1.0
ANSWER_TIMEOUT_S = 30.0
FILL_TIMEOUT_S = 600.0
UNIMPLEMENTED = 3  # exit code where the server has no such method or encoding


@dataclass(frozen=True)
class Result:
    """What a measured stretch has shown.

    Latencies are of single calls, in milliseconds, not a number where the client doesn't tell them.
    """

    request_count: int
    took_s: float
    answer_bytes: int
    mean_ms: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    client_cpu_s: float
    server_cpu_s: float | None  # of the server and its children, all threads
    own_bytes: int | None  # of the server in RAM at the end, without pages of files
    resident_bytes: int | None  # with them


@cache
def client_module() -> ModuleType:
    """Return the compiled load client; needs a C compiler and OpenSSL's headers."""
    source = Path(__file__).with_name("_client.pyx")
    return compiled(source, nghttp2=True, libraries=("ssl", "crypto"))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--certificate", help="PEM file to trust; needed for https")
    parser.add_argument("--shape", default="8x32", help="connections x streams (%(default)s)")
    parser.add_argument("--family", default="key-", help="first four bytes of the keys")
    parser.add_argument("--pairs", type=int, default=100_000, help="in the table, of this family")
    parser.add_argument("--value-bytes", type=int, default=100)
    parser.add_argument("--keys", choices=pairs.DISTRIBUTIONS, default="zipfian")
    parser.add_argument("--writes", type=float, default=0.0, help="share of Puts, 0 to 1")
    parser.add_argument("--pairs-a-range", type=int, default=0, help="0: one key, no range")
    parser.add_argument("--linearizable", action="store_true")
    parser.add_argument("--snappy", action="store_true")
    parser.add_argument("--rate", type=float, default=0.0, help="calls a second; 0: closed loop")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=pairs.SEED)
    parser.add_argument("--process", type=int, help="the server's id")
    parser.add_argument("--fill", action="store_true", help="put every pair once, then end")
    parser.add_argument("--check", action="store_true", help="read every pair once, then end")
    return parser.parse_args()


def calls_of(given: argparse.Namespace, mark: int) -> "array[int]":
    """Return the numbers of the calls to make."""
    if given.fill or given.check:
        return pairs.mixed(pairs.numbers("ascending", given.pairs), float(given.fill), mark)
    starts = max(given.pairs - given.pairs_a_range, 1)  # so that each range is full
    return pairs.mixed(pairs.numbers(given.keys, starts, given.seed), given.writes, mark)


def measure(given: argparse.Namespace) -> Result:
    """Warm up, make calls for the time that was asked for, and return what was seen."""
    module = client_module()
    url = urlsplit(given.url)
    connections, streams = map(int, given.shape.split("x"))
    family = Family(given.family.encode(), given.pairs, given.value_bytes)
    client = module.Client(
        url.hostname,
        url.port,
        calls_of(given, module.writes_from),
        certificate=given.certificate if url.scheme == "https" else None,
        table=pairs.TABLE,
        family=family.name,
        value_size=family.value_bytes,
        connections=connections,
        streams=streams,
        pairs_a_range=given.pairs_a_range,
        linearizable=given.linearizable,
        snappy=given.snappy,
        rate=given.rate,
    )
    try:
        if given.fill or given.check:
            took_s = client.run(FILL_TIMEOUT_S, given.pairs)
            client.finish(ANSWER_TIMEOUT_S)
            if client.answered != given.pairs:
                raise module.WrongAnswer(f"only {client.answered} pairs in {took_s:.0f} s")
            return result_of(client, took_s, 0.0, None, None)
        client.run(WARM_UP_S)
        client.forget()
        server_s = None if given.process is None else processes.tree_cpu_s(given.process)
        own_s = time.process_time()
        took_s = client.run(given.seconds)
        own_s = time.process_time() - own_s
        if server_s is not None:
            server_s = processes.tree_cpu_s(given.process) - server_s
        found = result_of(client, took_s, own_s, server_s, given.process)
        client.finish(ANSWER_TIMEOUT_S)
        return found
    finally:
        client.close()


def result_of(
    seen: Any, took_s: float, own_s: float, server_s: float | None, process: int | None
) -> Result:
    """Ask the client *seen*, and the system about the server."""
    return Result(
        request_count=seen.answered,
        took_s=took_s,
        answer_bytes=seen.answer_bytes,
        mean_ms=seen.latency_mean_s * 1e3,
        p50_ms=seen.latency_s(0.5) * 1e3,
        p99_ms=seen.latency_s(0.99) * 1e3,
        longest_ms=seen.latency_max_s * 1e3,
        client_cpu_s=own_s,
        server_cpu_s=server_s,
        own_bytes=None if process is None else processes.tree_own_bytes(process),
        resident_bytes=None if process is None else processes.tree_resident_bytes(process),
    )


def main() -> int:
    """Measure and print; 1 if an answer was wrong, with one line that says which."""
    given = parse_arguments()
    try:
        result = measure(given)
    except client_module().Unimplemented as error:
        print(f"drive: {error}", file=sys.stderr)
        return UNIMPLEMENTED
    except (client_module().WrongAnswer, OSError) as error:
        print(f"drive: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
