"""What reads cost in session, codec and store, 32 in a batch, and that they say what they should.

python -m pytest bench/micro/test_reads.py
"""

import argparse
import hashlib

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench import replay
from tests.http2.h2peer import frame
from tests.http2.h2peer import peer
from tests.http2.h2peer import request_headers

STREAMS, BATCHES = 32, 100
# Of the messages that answer for some first keys: a change of these bytes is one for clients.
DIGESTS = {
    "key": "7f2c319e1d5c822d",
    "key-linearizable": "7f2c319e1d5c822d",
    "range10": "795feb5452a77c40",
    "range100": "56e3b0145de7fc24",
    "limit100": "ef5651c6717deae5",
    "count100": "cd092a26288a1f67",
    "keys100": "38438e6487254bc6",
    "filter100": "56e3b0145de7fc24",
    "iterate100": "56e3b0145de7fc24",
}


@pytest.fixture(scope="module", params=replay.CALLS)
def arguments(request: pytest.FixtureRequest) -> argparse.Namespace:
    return argparse.Namespace(
        echo=False,
        snappy=False,
        same_key=False,
        call=request.param,
        table="t",
        key="key-%012d",
        keys=20_000,
        value_bytes=100,
        streams=STREAMS,
        batches=BATCHES,
    )


def digest(arguments: argparse.Namespace) -> str:
    """Return a digest of the answers to every hundredth request."""
    sink, path, request = replay.make_target(arguments)
    found = hashlib.sha256()
    with peer(sink, replay.decline) as made:
        for number in range(0, arguments.keys, 100):
            answer = made.ask(frame(request(number)), request_headers(path))
            assert answer.status == 0
            (message,) = answer.messages
            found.update(message)
    return found.hexdigest()[:16]


def test_reads(benchmark: BenchmarkFixture, arguments: argparse.Namespace) -> None:
    assert digest(arguments) == DIGESTS[arguments.call]
    sink, pieces, output_bytes = replay.record(arguments)
    benchmark.extra_info["requests"] = STREAMS * BATCHES
    benchmark.extra_info["answer_bytes"] = output_bytes // (STREAMS * BATCHES)
    benchmark.pedantic(replay.replay, args=(sink, pieces, output_bytes), rounds=7, warmup_rounds=1)
    least_ns = benchmark.stats.stats.min / (STREAMS * BATCHES) * 1e9
    print(f"{arguments.call}: {least_ns:,.0f} ns a request")
