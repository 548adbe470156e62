"""Malformed requests of every kind, over gRPC and REST, on the sockets of a running daemon.

Each is answered with the code and text that say what is wrong, and the connection goes on
wherever the protocol lets it.
"""

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import grpc
import ngh2
import pytest

from regatta.pb.mvcc_pb2 import RequestOp
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import TxnRequest
from tests.cluster.harness import Daemon
from tests.cluster.tables import Table

TIMEOUT_S = 20.0
PUT, RANGE, TXN = PutRequest, RangeRequest, TxnRequest


def connected(daemon: Daemon, protocol: str) -> ssl.SSLSocket:
    """Return a TLS connection that has agreed on *protocol*."""
    trust = ssl.create_default_context(cafile=str(daemon.certificate.certificate_path))
    trust.set_alpn_protocols([protocol])
    plain = socket.create_connection(("127.0.0.1", daemon.port), timeout=TIMEOUT_S)
    return trust.wrap_socket(plain, server_hostname="localhost")


# Protobuf.

OVERLONG = b"\x80" * 10 + b"\x01"
BAD_TXN = b"\x0a\x01t\x1a\x08\x12\x06\x0a\x01k\x12\x09v"

MALFORMED = [
    (PUT, "Put", b"\x0a\x05t", "table: 5 bytes announced, 1 there"),
    (PUT, "Put", b"\x0a\x01t\x12\xff\xff\xff\xff\x0fk", "key: 4294967295 bytes announced, 1 there"),
    (PUT, "Put", b"\x0a\x01t\x12" + OVERLONG, "key: a varint has more than 10 bytes"),
    (PUT, "Put", b"\x0a\x01t\x20\xff", "prev_kv: cut short"),
    (PUT, "Put", b"\x0a\x01t\xff", "the tag at byte 3: cut short"),
    (PUT, "Put", b"\x07", "field number 0 does not exist"),
    (PUT, "Put", b"\x1e", "value: wire type 6 does not exist"),
    (PUT, "Put", b"\x1f\x01", "value: wire type 7 does not exist"),
    (PUT, "Put", b"\x1b\x08\x01", "value: the group has no end"),
    (PUT, "Put", b"\x1c", "value: a group ends that did not begin"),
    (RANGE, "Range", b"\x0a\x01t\x20" + OVERLONG, "limit: a varint has more than 10 bytes"),
    (RANGE, "IterateRange", b"\x0a\x01t\x12\x02k", "key: 2 bytes announced, 1 there"),
    (TXN, "Txn", BAD_TXN, "success[0].request_put.value: 9 bytes announced, 1 there"),
]  # fmt: skip


@pytest.fixture(scope="module")
def channel(shared_daemon: Daemon) -> Iterator[grpc.Channel]:
    """One connection for all malformed messages of this module."""
    with shared_daemon.channel() as channel:
        yield channel


def sender(channel: grpc.Channel, method: str) -> Callable[[bytes], bytes]:
    """Return what sends a request's bytes and returns the last answer's."""
    call: Any = channel.unary_stream(f"/regatta.v1.KV/{method}")
    return lambda data: list(call(data, timeout=TIMEOUT_S))[-1]


def code_and_text(send: Callable[[bytes], bytes], data: bytes) -> tuple[str, str]:
    """Return the error that a request is answered with."""
    with pytest.raises(grpc.RpcError) as caught:
        send(data)
    return caught.value.code().name, caught.value.details() or ""


@pytest.mark.parametrize(
    ("kind", "method", "data", "fault"), MALFORMED, ids=[case[-1] for case in MALFORMED]
)
def test_a_malformed_message_is_refused_by_field(
    channel: grpc.Channel, kind: type, method: str, data: bytes, fault: str
) -> None:
    name = kind.DESCRIPTOR.full_name  # type: ignore[attr-defined]
    expected = ("INVALID_ARGUMENT", f"cannot decode {name}: {fault}")
    assert code_and_text(sender(channel, method), data) == expected


def test_a_field_of_another_wire_type_is_an_unknown_one(channel: grpc.Channel) -> None:
    # As protobuf has it: key as a number, table as fixed 32 bits.
    for data, text in (
        (b"\x0a\x01t\x10\x05", "key must be set"),
        (b"\x0dabcd\x12\x01k", "table must be set"),
        (b"\x0a\x01t\x13\x08\x01\x14", "key must be set"),
    ):
        for method in ("Put", "Range", "IterateRange", "DeleteRange"):
            assert code_and_text(sender(channel, method), data) == ("INVALID_ARGUMENT", text)


def test_every_cut_of_a_message_is_refused_or_read_as_protobuf_reads_it(
    channel: grpc.Channel, table: Table
) -> None:
    table.put(b"key")
    operation = RequestOp(request_range=RequestOp.Range(key=b"key", limit=300))
    data = TxnRequest(table=table.name, success=[operation, operation]).SerializeToString()
    send = sender(channel, "Txn")
    for size in range(len(data) + 1):
        try:
            TxnRequest.FromString(data[:size])
        except Exception:
            code, text = code_and_text(send, data[:size])
            assert code == "INVALID_ARGUMENT"
            assert text.startswith("cannot decode regatta.v1.TxnRequest: ")
            assert "not a valid message" not in text
        else:
            if size <= len(table.name) + 1:
                assert code_and_text(send, data[:size])[1] == "table must be set"
            else:
                assert send(data[:size])


class H2:
    """An HTTP/2 connection by hand, for what no gRPC client sends."""

    def __init__(self, daemon: Daemon) -> None:
        self.socket = connected(daemon, "h2")
        self.client = ngh2.Connection(ngh2.Role.CLIENT, ngh2.Configuration())
        self.client.initiate_connection({})

    def ask(
        self,
        path: str,
        body: bytes,
        content_type: str | None = "application/grpc",
        *,
        coding: str = "",
        more: Sequence[tuple[bytes, bytes]] = (),
    ) -> tuple[dict[str, str], bytes]:
        """Send one request; return the headers and trailers of the answer, and its body."""
        headers = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"localhost")]
        headers.append((b":path", path.encode()))
        if content_type is not None:
            headers.append((b"content-type", content_type.encode()))
        if coding:
            headers.append((b"grpc-encoding", coding.encode()))
        headers += more
        stream = self.client.send_request(headers)
        self.client.send_data(stream, body, end_stream=True)
        found: dict[str, str] = {}
        answer = b""
        while True:
            if data := self.client.data_to_send():
                self.socket.sendall(data)
            received = self.socket.recv(65536)
            assert received, "the daemon closed the connection"
            self.client.receive_data(received)
            for event in self.client.events():
                match event:
                    case ngh2.ResponseReceived(_, pairs) | ngh2.TrailersReceived(_, pairs):
                        found |= {name.decode(): value.decode() for name, value in pairs}
                    case ngh2.DataReceived():
                        answer += event.data
                    case ngh2.StreamClosed(closed, _) if closed == stream:
                        return found, answer


@pytest.fixture(scope="module")
def h2(shared_daemon: Daemon) -> H2:
    """One HTTP/2 connection that all the requests of this module share."""
    return H2(shared_daemon)


def frame(message: bytes, flag: int = 0, size: int | None = None) -> bytes:
    """Return a gRPC message with its prefix."""
    announced = len(message) if size is None else size
    return bytes([flag]) + announced.to_bytes(4, "big") + message


GOOD = RangeRequest(table=b"no table", key=b"k").SerializeToString()


@pytest.mark.parametrize("method", ["Range", "Put", "Txn"])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", 12),
        (b"\0\0", 13),
        (frame(GOOD, size=len(GOOD) + 1), 13),
        (frame(GOOD) + b"\0", 13),
        (frame(GOOD, flag=1), 13),
        (frame(GOOD, flag=2), 13),
        (frame(GOOD, flag=0xFF), 13),
        (frame(b"", size=0xFFFFFFFF), 8),
        (frame(GOOD) + frame(GOOD), 12),
    ],
    ids=["none", "prefix cut", "cut", "rest", "compressed", "flag 2", "flag 255", "4 GiB", "two"],
)
def test_a_malformed_frame_ends_its_call_alone(h2: H2, method: str, body: bytes, code: int) -> None:
    headers, _ = h2.ask(f"/regatta.v1.KV/{method}", body)
    assert headers[":status"] == "200"
    assert headers["grpc-status"] == str(code), headers
    assert headers["grpc-message"]
    assert h2.ask("/regatta.v1.KV/Range", frame(GOOD))[0]["grpc-status"] == "5"


def test_a_content_type_that_is_not_grpc_is_rest(h2: H2) -> None:
    for content_type in ("application/json", "text/plain", "", None, "application/grp"):
        headers, body = h2.ask("/regatta.v1.KV/Range", frame(GOOD), content_type)
        assert (headers[":status"], body) == ("404", b"Not Found\n")
        headers, body = h2.ask("/v1/kv/range", b"{}", content_type)
        assert (headers[":status"], json.loads(body)["message"]) == ("400", "table must be set")


def test_a_grpc_message_to_a_rest_route_is_an_unknown_method(h2: H2) -> None:
    headers, _ = h2.ask("/v1/kv/range", frame(GOOD))
    assert (headers["grpc-status"], headers["grpc-message"]) == ("12", "unknown service v1/kv")


# JSON.


class Rest(NamedTuple):
    """The REST routes over one connection that is never made anew."""

    send: Callable[[str, bytes], tuple[int, bytes]]

    def refusal(self, body: bytes, path: str = "/v1/kv/range") -> str:
        """Return the text of a 400."""
        status, answer = self.send(path, body)
        assert status == 400, answer
        fields = json.loads(answer)
        assert fields == {"error": fields["message"], "code": 3, "message": fields["message"]}
        return str(fields["message"])


@pytest.fixture(scope="module")
def rest_http1(shared_daemon: Daemon) -> Iterator[Rest]:
    """REST over HTTP/1.1."""
    trust = ssl.create_default_context(cafile=str(shared_daemon.certificate.certificate_path))
    connection = http.client.HTTPSConnection(
        "localhost", shared_daemon.port, timeout=TIMEOUT_S, context=trust
    )
    connection.connect()
    connection.auto_open = 0  # a connection that was closed is an error

    def send(path: str, body: bytes) -> tuple[int, bytes]:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()

    yield Rest(send)
    connection.close()


@pytest.fixture(params=["HTTP/1.1", "HTTP/2"])
def rest(request: pytest.FixtureRequest, rest_http1: Rest, h2: H2) -> Rest:
    """REST over each version of HTTP."""
    if request.param == "HTTP/1.1":
        return rest_http1

    def send(path: str, body: bytes) -> tuple[int, bytes]:
        headers, answer = h2.ask(path, body, "application/json")
        return int(headers[":status"]), answer

    return Rest(send)


HOSTILE = [
    (b"\xef\xbb\xbf{}", "illegal JSON: Unexpected UTF-8 BOM"),
    ("{}".encode("utf-16"), "illegal JSON: not UTF-8 at byte 0"),
    (b'{"table":"\xc3\x28"}', "illegal JSON: not UTF-8 at byte 10"),
    (b'{"table":"\xed\xa0\x80"}', "illegal JSON: not UTF-8 at byte 10"),
    (b'{"table":"\\ud800"}', "table: illegal base64 data at input byte 0"),
    (b'{"table":"dA==","table":"dA=="}', 'illegal JSON: "table" is given twice'),
    (b'{"a":{"b":1,"b":1}}', 'illegal JSON: "b" is given twice'),
    (b'{"key":"aw==","rangeEnd":"AA==","range_end":"AA=="}', "range_end: given twice"),
    (b"[]", "the body is not an object"),
    (b'[{"table":"dA=="}]', "the body is not an object"),
    (b"null null", "illegal JSON: Extra data"),
    (b"1", "the body is not an object"),
    (b'"{}"', "the body is not an object"),
    (b"{} {}", "illegal JSON: Extra data"),
    (b'{"table":"dA=="}\0', "illegal JSON: Extra data"),
    (b'{"table":"dA==",}', "illegal JSON: "),
    (b"{'table':1}", "illegal JSON: "),
    (b'{"table":"dA=="', "illegal JSON: "),
    (b'{"limit":NaN}', "illegal JSON: NaN is not a number"),
    (b'{"limit":-Infinity}', "illegal JSON: -Infinity is not a number"),
    (b'{"limit":1e400}', "limit: out of range"),
    (b'{"limit":1e-400}', "limit: not an integer"),
    (b'{"limit":01}', "illegal JSON: "),
    (b'{"limit":' + b"9" * 100_000 + b"}", ""),
    (b'{"limit":"0x10"}', "limit: not an integer"),
    (b'{"limit":"' + b"9" * 100_000 + b'"}', "limit: out of range"),
    (b'{"keys_only":"yes"}', "keys_only: not true or false"),
    (b'{"table":{"a":1}}', "table: not a base64 string"),
    (b'{"table":["dA=="]}', "table: not a base64 string"),
    (b'{"table":"dA=","key":"aw=="}', "table: illegal base64 data at input byte 2"),
    (b'{"table":"dA==","key":"a w="}', "key: illegal base64 data at input byte 1"),
    (b'{"table":"dA==","key":"a===="}', "key: illegal base64 data at input byte 1"),
    (b'{"table":"d+-_/w=="} ', "key must be set"),
    (b'{"a":' * 33 + b"1" + b"}" * 33, "illegal JSON: nested deeper than 32 levels"),
    (b'{"a":' + b"[" * 1_000_000, "illegal JSON: "),
    (b"[" * 8_000_000, "illegal JSON: nested deeper than 32 levels"),
    (b'{"a' * 100_000, "illegal JSON: "),
]  # fmt: skip


@pytest.mark.parametrize(("body", "text"), HOSTILE, ids=[repr(body[:30]) for body, _ in HOSTILE])
def test_a_hostile_body_is_refused_and_the_connection_goes_on(
    rest: Rest, body: bytes, text: str
) -> None:
    assert rest.refusal(body).startswith(text)
    assert rest.send("/v1/maintenance/hash", b"")[0] == 200


# HTTP/1.1 that two parsers could read in two ways.

HEAD = b"POST /v1/maintenance/hash HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

AMBIGUOUS = {
    "both lengths": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, chunked first": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two different lengths": b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nabcde",
    "two lengths in one": b"Content-Length: 0, 5\r\n\r\nabcde",
    "signed length": b"Content-Length: +0\r\n\r\n",
    "negative length": b"Content-Length: -1\r\n\r\n",
    "hexadecimal length": b"Content-Length: 0x0\r\n\r\n",
    "spaced length": b"Content-Length: 1 0\r\n\r\n0123456789",
    "empty length": b"Content-Length:\r\n\r\n",
    "length before a blank": b"Content-Length : 0\r\n\r\n",
    "unknown coding": b"Transfer-Encoding: cow\r\n\r\n",
    "chunked in the middle": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked by another byte": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "folded header": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "size of no chunk": b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n",
    "signed chunk": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "prefixed chunk": b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "underscored chunk": b"Transfer-Encoding: chunked\r\n\r\n0_2\r\n{}\r\n0\r\n\r\n",
    "endless chunk size": b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
    "chunk longer than told": b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "bare line feed in a chunk": b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
    "zero byte in a header": b"X: a\0b\r\n\r\n",
    "bare carriage return": b"X: a\rContent-Length: 5\r\n\r\n",
    "header without a name": b": a\r\n\r\n",
    "header without a colon": b"Content-Length\r\n\r\n",
}  # fmt: skip


def read_all(connection: ssl.SSLSocket) -> bytes:
    """Return everything up to the end that the daemon makes."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return received


@pytest.mark.parametrize("rest_of_request", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_an_ambiguous_request_is_answered_400_and_its_connection_closed(
    shared_daemon: Daemon, rest_of_request: bytes
) -> None:
    with connected(shared_daemon, "http/1.1") as connection:
        connection.sendall(HEAD + rest_of_request + SMUGGLED)
        received = read_all(connection)
    assert received.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), received[:200]
    # What was hidden behind it is not answered.
    assert received.count(b"HTTP/1.") == 1


@pytest.mark.parametrize(
    "request_line",
    [
        b"POST /v1/kv/range HTTP/1.1 x",
        b"POST /v1/kv/range",
        b"POST /v1/kv/range HTTP/0.9",
        b"POST /v1/kv/range HTTP/2.0",
        b"POST /v1/kv/range HTTP/9.9.9",
        b"P\0ST / HTTP/1.1",
        b"PO ST / HTTP/1.1",
        b"GET /\x7f\x01 HTTP/1.1",
        b"x" * 100_000,
    ],
    ids=lambda line: repr(line[:28]),
)
def test_a_malformed_request_line_is_answered_400(
    shared_daemon: Daemon, request_line: bytes
) -> None:
    with connected(shared_daemon, "http/1.1") as connection:
        connection.sendall(request_line + b"\r\nHost: localhost\r\n\r\n")
        received = read_all(connection)
    assert received.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert received.endswith(b"\r\n\r\nBad Request\n")
    assert b"aiohttp" not in received


def test_chunks_and_pipelined_requests_that_are_well_formed_are_answered(
    shared_daemon: Daemon,
) -> None:
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n"
    last = (
        b"POST /v1/kv/put HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    )
    with connected(shared_daemon, "http/1.1") as connection:
        connection.sendall(chunked + HEAD + b"Content-Length: 0\r\n\r\n" + last)
        received = read_all(connection)
    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert received.count(b"HTTP/1.1 400 Bad Request") == 1


def test_no_bad_input_was_a_fault_of_the_daemon(shared_daemon: Daemon) -> None:
    # The last test of the module: all of the above were answered on purpose.
    assert "Traceback" not in shared_daemon.stderr
    assert "ERROR" not in shared_daemon.stderr
