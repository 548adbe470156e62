"""What checking a record's checksum costs beside the read that it is part of.

python -m pytest bench/micro/test_checksum.py
"""

import argparse
import timeit
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import replay
from regatta.wire import checksum

KEY = bytes(8) + b"key-%012d" % 1  # with the table's id
TAIL = b"\x10\x90\x4e\x18\x90\x4e\x22\x64" + b"v" * 100
SHARE_MAX = 0.05


def best_ns(work: Callable[[], object], count: int = 20_000) -> float:
    return min(timeit.repeat(work, number=count, repeat=15)) / count * 1e9


def check_ns() -> float:
    """Return what the two checksums cost without the calls from Python around them."""
    empty_ns = best_ns(lambda: checksum(b""))
    key_ns = best_ns(lambda: checksum(KEY)) - empty_ns
    return key_ns + best_ns(lambda: checksum(TAIL)) - empty_ns


@pytest.fixture(scope="module")
def read_ns() -> float:
    """What a single-key read costs in session, codec and store, 32 in a batch."""
    options = {"table": "t", "key": "key-%012d", "keys": 100_000, "value_bytes": 100}
    arguments = argparse.Namespace(
        **options, echo=False, snappy=False, same_key=False, call="key", streams=32, batches=400
    )
    sink, pieces, output_bytes = replay.record(arguments)
    best_s = min(replay.replay(sink, pieces, output_bytes) for _ in range(replay.rounds))
    read_count: int = arguments.streams * arguments.batches
    return best_s / read_count * 1e9


@pytest.mark.parametrize("size", [16, 100, 1024, 65_536])
@pytest.mark.parametrize("hardware", [True, False])
def test_checksum(benchmark: BenchmarkFixture, size: int, hardware: bool) -> None:
    data = bytes(size)
    assert benchmark(checksum, data, hardware=hardware) == checksum(data)


def test_the_check_is_a_small_part_of_a_read(read_ns: float) -> None:
    share = check_ns() / read_ns
    print(f"check {check_ns():.0f} ns of a read of {read_ns:.0f} ns: {share:.1%}")
    assert share < SHARE_MAX
