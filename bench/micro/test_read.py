"""What a read is made of, each part by itself and the whole way in memory.

python -m pytest -s bench/micro/test_read.py

Every part returns a digest of what it has made, so that nobody makes it faster by doing less.
"""

import argparse
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import dataset
from bench import replay
from bench.compiled import compiled
from regatta.api import json_codec
from regatta.http2._coding import compress
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from regatta.store import Snapshot
from regatta.store import View
from regatta.store._env import Environment
from regatta.wire._snappy import unframe

KEY, VALUE = "key-%012d", b"v" * 100
PAIR_COUNT = 100_000
COUNT = 10_000  # of operations in a round
ANSWER_PAIR_COUNT = 100
DIGESTS = {
    "LMDB get": 3159096295,
    "lookup": 3159096295,
    "record encode": 3838270958,
    "request decode": 343650534,
    "read": "9594e4b798c0f2de",
    "read, snappy": "9594e4b798c0f2de",
    "100 pairs": "9ca0e2fa752911f2",
    "snappy out": "c73377194e910559",
    "snappy in": "315d01b53d6e3aff",
    "JSON out": "6d6122262cb76fab",
    "JSON in": "bab0a170394d1b10",
}


@pytest.fixture(scope="module")
def parts() -> ModuleType:
    """The compiled loops."""
    return compiled(Path(__file__).with_name("_parts.pyx"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A data environment with one table."""
    keys = [(KEY % number).encode() for number in range(PAIR_COUNT)]
    made = dataset.make(tmp_path_factory.mktemp("data"), "regatta", keys, VALUE)
    yield made
    made.close()


def tell(benchmark: BenchmarkFixture, what: str, digest: object, count: int) -> None:
    """Print the best time of one operation, and hold the digest to the one on file."""
    best_ns = benchmark.stats.stats.min / count * 1e9  # type: ignore[union-attr]
    benchmark.extra_info["ns"] = round(best_ns)
    print(f"{what}: {best_ns:,.0f} ns, digest {digest!r}")
    assert digest == DIGESTS[what]


def random_keys(environment: Environment) -> tuple[int, list[bytes]]:
    """Return the table's id and the keys to ask for."""
    table = Snapshot(environment).find(b"regatta")
    assert table is not None
    chance = random.Random(1)
    return table.table_id, [(KEY % chance.randrange(PAIR_COUNT)).encode() for _ in range(COUNT)]


def test_lmdb_get(benchmark: BenchmarkFixture, parts: ModuleType, environment: Environment) -> None:
    digest = benchmark(parts.read_pairs, environment, *random_keys(environment))
    tell(benchmark, "LMDB get", digest, COUNT)


def test_lookup(benchmark: BenchmarkFixture, parts: ModuleType, environment: Environment) -> None:
    digest = benchmark(parts.look_up_pairs, View(environment), *random_keys(environment))
    tell(benchmark, "lookup", digest, COUNT)


def test_record_encode(benchmark: BenchmarkFixture, parts: ModuleType) -> None:
    digest = benchmark(parts.encode_records, (KEY % 1).encode(), VALUE, COUNT)
    tell(benchmark, "record encode", digest, COUNT)


def test_request_decode(benchmark: BenchmarkFixture, parts: ModuleType) -> None:
    request = RangeRequest(table=b"regatta", key=(KEY % 1).encode(), limit=7, linearizable=True)
    digest = benchmark(parts.decode_requests, request.SerializeToString(), COUNT)
    tell(benchmark, "request decode", digest, COUNT)


@pytest.mark.parametrize(
    ("what", "call", "snappy"),
    [("read", "key", False), ("read, snappy", "key", True), ("100 pairs", "range100", False)],
)
def test_a_read_through_the_session(
    benchmark: BenchmarkFixture, what: str, call: str, snappy: bool
) -> None:
    options = {"echo": False, "call": call, "snappy": snappy, "table": "regatta", "key": KEY}
    arguments = argparse.Namespace(
        **options, same_key=False, keys=PAIR_COUNT, value_bytes=len(VALUE), streams=32, batches=100
    )
    sink, pieces, output_bytes = replay.record(arguments)
    benchmark.pedantic(replay.replay, (sink, pieces, output_bytes), rounds=20, warmup_rounds=2)
    session = replay.make_session(sink)
    answers = hashlib.sha256()
    for piece in pieces:
        session.receive(piece)
        while output := session.output(1 << 20):
            answers.update(output)
    session.close()
    tell(benchmark, what, answers.hexdigest()[:16], arguments.streams * arguments.batches)


def answer_of_100() -> RangeResponse:
    answer = RangeResponse(count=ANSWER_PAIR_COUNT)
    for number in range(ANSWER_PAIR_COUNT):
        key = (KEY % number).encode()
        answer.kvs.append(
            KeyValue(key=key, value=VALUE, mod_revision=number, create_revision=number)
        )
    return answer


def test_snappy_out(benchmark: BenchmarkFixture) -> None:
    message = answer_of_100().SerializeToString(deterministic=True)
    packed = benchmark(compress, "snappy", message)
    assert packed is not None
    assert unframe(packed, len(message)) == message
    tell(benchmark, "snappy out", hashlib.sha256(packed).hexdigest()[:16], 1)


def test_snappy_in(benchmark: BenchmarkFixture) -> None:
    message = answer_of_100().SerializeToString(deterministic=True)
    packed = compress("snappy", message)
    assert packed is not None
    found = benchmark(unframe, packed, len(message))
    assert found == message
    tell(benchmark, "snappy in", hashlib.sha256(found).hexdigest()[:16], 1)


def test_json_out(benchmark: BenchmarkFixture) -> None:
    made = benchmark(json_codec.encode, answer_of_100())
    assert len(json.loads(made)["kvs"]) == ANSWER_PAIR_COUNT
    tell(benchmark, "JSON out", hashlib.sha256(made).hexdigest()[:16], 1)


def test_json_in(benchmark: BenchmarkFixture) -> None:
    body = json_codec.encode(RangeRequest(table=b"regatta", key=(KEY % 1).encode(), limit=7))

    def decode() -> RangeRequest:
        request = RangeRequest()
        json_codec.decode(request, body)
        return request

    request = benchmark(decode)
    digest = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()[:16]
    tell(benchmark, "JSON in", digest, 1)
