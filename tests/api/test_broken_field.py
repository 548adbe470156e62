"""Which field of an undecodable message is named."""

import time

import pytest
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.api import broken_field
from regatta.pb.mvcc_pb2 import Compare
from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import TxnRequest

OVERLONG = b"\x80" * 10 + b"\x01"

FAULTS = [
    (PutRequest, b"\x0a\x05t", "table: 5 bytes announced, 1 there"),
    (PutRequest, b"\x0a\x01t\x12", "key: cut short"),
    (PutRequest, b"\x1a\xff\xff\xff\xff\x07v", "value: 2147483647 bytes announced, 1 there"),
    (PutRequest, b"\x12" + OVERLONG, "key: a varint has more than 10 bytes"),
    (PutRequest, b"\x20\xff", "prev_kv: cut short"),
    (PutRequest, b"\x20" + OVERLONG, "prev_kv: a varint has more than 10 bytes"),
    (RangeRequest, b"\x20" + b"\xff" * 10, "limit: a varint has more than 10 bytes"),
    (RangeRequest, b"\x0a\x01t\x80", "the tag at byte 3: cut short"),
    (PutRequest, OVERLONG, "the tag at byte 0: a varint has more than 10 bytes"),
    (PutRequest, b"\x07", "field number 0 does not exist"),
    (PutRequest, b"\x02\x00", "field number 0 does not exist"),
    (PutRequest, b"\x16", "key: wire type 6 does not exist"),
    (PutRequest, b"\x1f", "value: wire type 7 does not exist"),
    (PutRequest, b"\x0d\x00", "table: 4 bytes announced, 1 there"),
    (PutRequest, b"\xc9\x3e\x00", "field 1001: 8 bytes announced, 1 there"),
    (PutRequest, b"\x14", "key: a group ends that did not begin"),
    (PutRequest, b"\x13\x08\x01", "key: the group has no end"),
    (PutRequest, b"\x13\x1c", "key: the group ends as another one"),
    (PutRequest, b"\x13\x0b\x0a\x05\x0c\x14", "key.field 1: 5 bytes announced, 2 there"),
    (PutRequest, b"\x13" * 200, "key: nested too deeply"),
    (HealthCheckRequest, b"\x0a\x03a\xffb", "service: not UTF-8 at byte 1"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "data", "fault"), FAULTS, ids=[fault for *_, fault in FAULTS])
def test_the_field_and_its_fault_are_named(kind, data, fault):
    with pytest.raises(DecodeError):
        kind.FromString(data)
    assert broken_field.describe(kind, data) == fault


def wrapped(tag: int, inner: bytes) -> bytes:
    return bytes([tag, len(inner)]) + inner


def test_the_path_leads_into_nested_and_repeated_messages():
    good = TxnRequest(
        table=b"t",
        compare=[Compare(key=b"k")],
        success=[RequestOp(request_put=RequestOp.Put(key=b"k")), RequestOp()],
    ).SerializeToString()
    bad = good + wrapped(0x1A, wrapped(0x12, b"\x0a\x01k\x12\x09v"))
    assert broken_field.describe(TxnRequest, bad) == (
        "success[2].request_put.value: 9 bytes announced, 1 there"
    )
    bad = good + wrapped(0x12, b"\x1a\x01k\x80")
    assert broken_field.describe(TxnRequest, bad) == (
        f"compare[1]: the tag at byte {len(bad) - 1}: cut short"
    )


def test_a_long_message_is_not_searched_to_its_end():
    data = b"\x12\x01k" * 1_300_000 + b"\x07"
    seconds = []
    for _ in range(5):
        begin_s = time.perf_counter()
        assert broken_field.describe(PutRequest, data) == broken_field.UNKNOWN
        seconds.append(time.perf_counter() - begin_s)
    assert min(seconds) < 0.1


messages = st.one_of(
    st.binary(max_size=60),
    st.builds(
        lambda message, cut, more: message.SerializeToString()[:cut] + more,
        st.builds(
            TxnRequest,
            table=st.binary(max_size=5),
            compare=st.lists(st.builds(Compare, key=st.binary(max_size=5)), max_size=3),
            success=st.lists(
                st.builds(RequestOp.Put, key=st.binary(max_size=5)).map(
                    lambda put: RequestOp(request_put=put)
                ),
                max_size=3,
            ),
        ),
        st.integers(0, 60),
        st.binary(max_size=4),
    ),
)


@settings(max_examples=1000, deadline=None)
@given(messages)
def test_every_message_that_protobuf_refuses_has_a_fault_and_no_other(data):
    described = broken_field.describe(TxnRequest, data)
    try:
        TxnRequest.FromString(data)
    except DecodeError:
        # Tags of more than five bytes are legal here, and nowhere written.
        assert described != broken_field.UNKNOWN or b"\x80\x80" in data
    else:
        assert described == broken_field.UNKNOWN
