"""The read path against protobuf's own reading of the same bytes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.errors import Code
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from regatta.store import Machine
from regatta.store import View
from regatta.table._leaders import Leaders
from regatta.table._range import RangeSink
from tests.http2.h2peer import Peer
from tests.http2.h2peer import frame
from tests.http2.h2peer import peer
from tests.http2.h2peer import request_headers
from tests.store.storage import GROUP
from tests.store.storage import Applier
from tests.store.storage import put
from tests.store.storage import running

PATH = b"/regatta.v1.KV/Range"
PAIRS = {b"a": b"1", b"empty": b"", b"k" * 1024: b"v" * 300}
REVISIONS = dict(zip(PAIRS, (1, 2, 3), strict=True))


@pytest.fixture(scope="module")
def applier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applier]:
    with running(Machine, tmp_path_factory.mktemp("range") / "data") as machine:
        applier = Applier(machine)
        applier.apply(*[put(*pair) for pair in PAIRS.items()])
        yield applier


def ask(applier: Applier, message: bytes) -> Peer:
    """Send one Range; what was declined is in the peer's calls."""
    leaders = Leaders()
    leaders.set(GROUP, 3, 8)
    sink = RangeSink(View(applier.machine.environment), 7, leaders)
    with peer(sink) as made:
        made.ask(frame(message), request_headers(PATH))
        return made


numbers = st.sampled_from([0, 1, 5, 2**63 - 1, -1])
requests = st.builds(
    RangeRequest,
    table=st.sampled_from([b"table", b"table", b"table", b"", b"other", b"t" * 300]),
    key=st.sampled_from([*PAIRS, *PAIRS, b"missing", b"", b"k" * 1025]),
    range_end=st.sampled_from([b"", b"", b"z", b"\0"]),
    limit=numbers,
    linearizable=st.booleans(),
    keys_only=st.booleans(),
    count_only=st.booleans(),
    min_mod_revision=st.sampled_from([0, 0, 0, 2]),
    max_create_revision=st.sampled_from([0, 0, 0, 2]),
)
# Fields again in other order, explicit defaults, unknown fields, groups.
extras = st.sampled_from(
    [
        b"",
        b"\x1a\x00",
        b"\x1a\x01z",
        b"\x20\x00",
        b"\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x30\x00",
        b"\x40\x00",
        b"\x40\x05",
        b"\xfa\x07\x03abc",
        b"\xf8\x07\x01",
        b"\xf9\x07" + bytes(8),
        b"\xfd\x07" + bytes(4),
        b"\xfb\x07\x08\x01\xfc\x07",
        b"\xfb\x07\x08\x01",
        b"\x12\x05",
        b"\x07",
        b"\x00\x00",
    ]
)


def served(request: RangeRequest) -> bool:
    """Whether a request is one for the read path."""
    return (
        bool(request.table)
        and 1 <= len(request.key) <= 1024
        and len(request.range_end) <= 1024
        and request.limit >= 0
        and not (request.keys_only and request.count_only)
        and min(
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        )
        >= 0
    )


@settings(max_examples=400, deadline=None)
@given(requests, st.lists(extras, max_size=3), st.integers(0, 20))
def test_a_request_is_read_as_protobuf_reads_it(
    applier: Applier, request: RangeRequest, more: list[bytes], cut: int
) -> None:
    message = b"".join([*more[:1], request.SerializeToString(), *more[1:]])
    if cut < 5:
        message = message[: len(message) - cut]
    made = ask(applier, message)
    try:
        request = RangeRequest.FromString(message)
    except DecodeError:
        assert made.calls
        return
    if made.calls:
        # A field that was set and unset again may be declined; the router reads it right.
        assert not served(request) or more
        return
    assert served(request)
    (answer,) = made.answers.values()
    if request.table != b"table":
        assert (answer.status, answer.message) == (Code.NOT_FOUND, b"table not found")
        return
    assert answer.status == 0
    check_answer(request, RangeResponse.FromString(answer.messages[0]))


def selected(request: RangeRequest) -> list[bytes]:
    """Return the keys that a request asks for, whatever its limit."""
    end = request.range_end or request.key + b"\0"
    lowest = max(request.min_mod_revision, request.min_create_revision)
    highest = min(request.max_mod_revision or 2**63, request.max_create_revision or 2**63)
    return [
        key
        for key in sorted(PAIRS)
        if request.key <= key
        and (key < end or end == b"\0")
        and lowest <= REVISIONS[key] <= highest
    ]


def check_answer(request: RangeRequest, response: RangeResponse) -> None:
    header = response.header
    assert (header.shard_id, header.replica_id) == (GROUP, 7)
    assert (header.raft_term, header.raft_leader_id) == (3, 8)
    found = selected(request)
    taken = found[: request.limit or None]
    assert response.count == len(taken)
    assert response.more == (len(taken) < len(found))
    assert [kv.key for kv in response.kvs] == ([] if request.count_only else taken)
    for kv in response.kvs:
        assert kv.value == (b"" if request.keys_only else PAIRS[kv.key])
        assert kv.create_revision == kv.mod_revision == REVISIONS[kv.key]


def test_an_empty_range_end_hides_no_other_field(applier: Applier) -> None:
    message = RangeRequest(table=b"table", key=b"a").SerializeToString()
    (answer,) = ask(applier, message + b"\x40\x05\x1a\x00").answers.values()
    assert not RangeResponse.FromString(answer.messages[0]).kvs
    assert ask(applier, message + b"\x20" + b"\xff" * 9 + b"\x01\x1a\x00").calls


def test_the_header_tells_the_term_and_leader_of_the_moment(applier: Applier) -> None:
    leaders = Leaders()
    message = RangeRequest(table=b"table", key=b"missing").SerializeToString()
    with peer(RangeSink(View(applier.machine.environment), 7, leaders)) as made:
        for term, leader in ((0, 0), (2, 7), (2**40, 2**60)):
            leaders.set(GROUP, term, leader)
            answer = made.ask(frame(message), request_headers(PATH))
            header = RangeResponse.FromString(answer.messages[0]).header
            assert (header.raft_term, header.raft_leader_id) == (term, leader)


def test_each_batch_sees_the_newest_writes(tmp_path: Path) -> None:
    with running(Machine, tmp_path / "data") as machine:
        applier = Applier(machine)
        request = RangeRequest(table=b"table", key=b"key").SerializeToString()
        with peer(RangeSink(View(machine.environment), 1, Leaders())) as made:
            for i in range(20):
                applier.apply(put(b"key", b"%d" % i))
                answer = made.ask(frame(request), request_headers(PATH))
                assert RangeResponse.FromString(answer.messages[0]).kvs[0].value == b"%d" % i
