"""Stores every paragraph of `apt-cache dumpavail` and reads all of it back in several ways.

    python -m bench.load.packages

The key is the package's name, the value its whole paragraph, some 60,000 on Debian. Whatever the
daemon answers is compared with the source; the exit code is 1 if anything differs.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from bench.load.client import CALL_TIMEOUT_S, put_all
from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import KV, Certificate, Daemon, ServerError

TABLE = b"packages"
PREFIX, PREFIX_END = b"python3-", b"python3."
CONCURRENCY = 128
EVERY_KEY = b"\0"

Pairs = dict[bytes, bytes]


class DifferenceError(Exception):
    """The daemon's answer is not what was stored."""


def read_source() -> Pairs:
    """Return the paragraphs by package name, in key order; the last of several versions wins."""
    dump = subprocess.run(["apt-cache", "dumpavail"], stdout=subprocess.PIPE, check=True).stdout
    pairs: Pairs = {}
    paragraphs = [part for part in dump.split(b"\n\n") if part.strip()]
    for paragraph in paragraphs:
        name = next(
            line.removeprefix(b"Package:").strip()
            for line in paragraph.splitlines()
            if line.startswith(b"Package:")
        )
        pairs[name] = paragraph
    total_bytes = sum(map(len, pairs.values()))
    print(
        f"source: {len(paragraphs):,} paragraphs of {len(pairs):,} packages, "
        f"{total_bytes / 1e6:.1f} MB, longest {max(map(len, pairs.values())):,} bytes"
    )
    return dict(sorted(pairs.items()))


def expect_equal(what: str, found: object, expected: object) -> None:
    """Raise DifferenceError unless both are equal; dicts are compared in order as well."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for left, right in zip(found.items(), expected.items(), strict=False):
            if left != right:
                raise DifferenceError(f"{what}: found {left!r}, expected {right!r}")
        found, expected = len(found), len(expected)
    if found != expected:
        raise DifferenceError(f"{what}: found {found!r}, expected {expected!r}")


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print *what* and how long the block took, if it succeeds."""
    started_s = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - started_s:.2f} s, as in the source", flush=True)


def scan(calls: KV, start: bytes, end: bytes) -> tuple[Pairs, int]:
    """Return all pairs of [start, end) and the number of Range calls that it took."""
    pairs: Pairs = {}
    page_count = 0
    more = True
    while more:
        request = RangeRequest(table=TABLE, key=start, range_end=end, linearizable=True)
        page = calls.range(request, timeout=CALL_TIMEOUT_S)
        expect_equal("count of a page", page.count, len(page.kvs))
        pairs.update((pair.key, pair.value) for pair in page.kvs)
        page_count += 1
        more = page.more
        if more:
            start = page.kvs[-1].key + b"\0"
    return pairs, page_count


def iterate(calls: KV) -> tuple[Pairs, int]:
    """Return all pairs of the table and the number of messages that they came in."""
    request = RangeRequest(table=TABLE, key=EVERY_KEY, range_end=EVERY_KEY)
    pairs: Pairs = {}
    pages = list(calls.iterate_range(request, timeout=CALL_TIMEOUT_S))
    for page in pages:
        expect_equal("count of a page", page.count, len(page.kvs))
        pairs.update((pair.key, pair.value) for pair in page.kvs)
    expect_equal(
        "more of the pages", [page.more for page in pages], [True] * (len(pages) - 1) + [False]
    )
    return pairs, len(pages)


def check_reads(calls: KV, source: Pairs, moment: str) -> None:
    """Read everything back in every way; raise DifferenceError on the first difference."""
    with timed(f"{moment}: {len(source):,} reads of one key"):
        for key, value in source.items():
            answer = calls.range(RangeRequest(table=TABLE, key=key), timeout=CALL_TIMEOUT_S)
            found = {pair.key: pair.value for pair in answer.kvs}
            expect_equal("read of one key", found, {key: value})
    started = {key: value for key, value in source.items() if key.startswith(PREFIX)}
    with timed(f"{moment}: prefix scan of {PREFIX.decode()}*, {len(started):,} pairs"):
        found, _ = scan(calls, PREFIX, PREFIX_END)
        expect_equal("prefix scan", found, started)
    with timed(f"{moment}: count of all"):
        answer = calls.range(
            RangeRequest(table=TABLE, key=EVERY_KEY, range_end=EVERY_KEY, count_only=True),
            timeout=CALL_TIMEOUT_S,
        )
        expect_equal("count", (answer.count, len(answer.kvs)), (len(source), 0))
    with timed(f"{moment}: Range of all, page by page"):
        found, range_page_count = scan(calls, EVERY_KEY, EVERY_KEY)
        expect_equal("Range of all", found, source)
    with timed(f"{moment}: IterateRange of all"):
        found, page_count = iterate(calls)
        expect_equal("IterateRange", found, source)
    expect_equal("pages of both", page_count, range_page_count)
    print(f"{moment}: {page_count} pages either way")


def run(daemon: Daemon) -> None:
    """Store the source in *daemon*, check it, and check it again after kill -9."""
    source = read_source()
    daemon.start()
    took_s = asyncio.run(put_all(daemon, TABLE, source.items(), CONCURRENCY))
    print(
        f"stored by {len(source):,} Puts, {CONCURRENCY} at a time, in {took_s:.1f} s: "
        f"{len(source) / took_s:,.0f} puts/s with a Python client"
    )
    with daemon.channel() as channel:
        check_reads(KV(channel), source, "stored")
    daemon.kill_9()
    daemon.start()
    with daemon.channel() as channel:
        check_reads(KV(channel), source, "after kill -9")
    expect_equal("exit code of the daemon", daemon.stop(), 0)


def main() -> int:
    """Check all of it; return the exit code."""
    if shutil.which("apt-cache") is None:
        print("packages: needs apt-cache, on Debian or one of its kin", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="regatta-packages-") as name:
        directory = Path(name)
        daemon = Daemon(directory, Certificate.make(directory))
        try:
            run(daemon)
        except (DifferenceError, ServerError, grpc.RpcError) as error:
            print(f"packages: {error}", file=sys.stderr)
            return 1
        finally:
            daemon.kill_9()
    return 0


if __name__ == "__main__":
    sys.exit(main())
