"""The port with real sockets, TLS and clients: curl, grpcio, and bare sockets."""

import asyncio
import shutil
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import ngh2
import pytest
import uvloop
from conftest import Node
from conftest import node

from regatta.http2 import Call
from regatta.limits import MIB
from regatta.net import tls_context

Scenario = Callable[[], Coroutine[Any, Any, None]]
preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
settings = b"\0\0\0\4\0\0\0\0\0"
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")


def run(scenario: Scenario) -> None:
    uvloop.run(asyncio.wait_for(scenario(), 30))


async def curl(*arguments: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sk", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


@needs_curl
@pytest.mark.parametrize("encrypted", [True, False])
def test_curl_speaks_http2_and_http1_on_one_port(
    certificate: tuple[Path, Path], encrypted: bool
) -> None:
    async def scenario() -> None:
        async with node(tls_context(*certificate) if encrypted else None) as n:
            url = f"{'https' if encrypted else 'http'}://127.0.0.1:{n.port}/v1/x?y=1"
            http2 = "--http2" if encrypted else "--http2-prior-knowledge"
            shown = ("-w", " %{http_version} %{http_code}", "-d", "hello")
            assert await curl(url, *shown, http2) == b"h2:hello 2 200"
            assert await curl(url, *shown, "--http1.1") == b"h1:hello 1.1 200"
            headers = await curl(url, "--http1.1", "-D", "-", "-o", "/dev/null")
            assert b"X-Path: GET /v1/x?y=1\r\n" in headers
            assert b"Server: regatta\r\n" in headers

    run(scenario)


@needs_curl
@pytest.mark.parametrize("version", ["--http2", "--http1.1"])
@pytest.mark.parametrize(
    ("size", "status"), [(8 * MIB, b"200"), (8 * MIB + 1, b"413"), (20 * MIB, b"413")]
)
def test_bodies_end_at_eight_mebibytes(
    certificate: tuple[Path, Path], tmp_path: Path, version: str, size: int, status: bytes
) -> None:
    async def scenario() -> None:
        body = tmp_path / "body"
        body.write_bytes(bytes(size))
        async with node(tls_context(*certificate)) as n:
            for more in ([], ["-H", "transfer-encoding: chunked"]):
                output = await curl(
                    f"https://127.0.0.1:{n.port}/",
                    *(version, "--data-binary", f"@{body}", "-o", "/dev/null"),
                    *("-w", "%{http_code}", "-H", "expect:"),
                    *(more if version == "--http1.1" else []),
                )
                assert output == status

    run(scenario)


async def dial(n: Node, certificate: tuple[Path, Path]) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(certificate[0].read_bytes())
    options = [
        ("grpc.ssl_target_name_override", "localhost"),
        ("grpc.max_receive_message_length", -1),
    ]
    return grpc.aio.secure_channel(f"127.0.0.1:{n.port}", credentials, options)


def test_grpc_client_makes_calls_of_all_four_kinds(certificate: tuple[Path, Path]) -> None:
    async def scenario() -> None:
        async def requests() -> Any:
            for message in (b"a", b"b" * MIB, b"c"):
                yield message

        async with node(tls_context(*certificate)) as n, await dial(n, certificate) as channel:
            expected = [b"a", b"b" * MIB, b"c"]
            assert await channel.unary_unary("/t/Unary")(b"x" * (4 * MIB)) == b"x" * (4 * MIB)
            assert [m async for m in channel.unary_stream("/t/Stream")(b"one")] == [b"one"]
            assert [m async for m in channel.stream_stream("/t/Both")(requests())] == expected
            answers = await asyncio.gather(
                *(channel.unary_unary("/t/U")(b"%d" % i) for i in range(500))
            )
            assert answers == [b"%d" % i for i in range(500)]

    run(scenario)


def test_grpc_client_sees_status_text_and_trailers(certificate: tuple[Path, Path]) -> None:
    def answer(call: Call) -> None:
        call.finish(5, "100 % fehlt: ä", [(b"x-more", b"yes")])

    async def scenario() -> None:
        async with (
            node(tls_context(*certificate), on_call=answer) as n,
            await dial(n, certificate) as channel,
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/t/Unary")(b"x")
            assert caught.value.code() == grpc.StatusCode.NOT_FOUND
            assert caught.value.details() == "100 % fehlt: ä"
            assert ("x-more", "yes") in tuple(caught.value.trailing_metadata())

    run(scenario)


def test_grpc_client_that_sends_too_much_is_told(certificate: tuple[Path, Path]) -> None:
    async def scenario() -> None:
        async with node(tls_context(*certificate)) as n, await dial(n, certificate) as channel:
            for _ in range(20):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary("/t/Unary")(bytes(5 * MIB))
                assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "(5242880 vs. 4194304)" in (caught.value.details() or "")

    run(scenario)


def test_grpc_client_that_cancels_leaves_nothing(certificate: tuple[Path, Path]) -> None:
    calls: list[Call] = []

    async def scenario() -> None:
        async with (
            node(tls_context(*certificate), on_call=calls.append) as n,
            await dial(n, certificate) as channel,
        ):
            waiting = [asyncio.ensure_future(channel.unary_unary("/t/U")(b"x")) for _ in range(50)]
            await until(lambda: len(calls) == 50)
            for call in waiting[:25]:
                call.cancel()
            await until(lambda: sum(call.cancelled for call in calls) == 25)
            for call in calls:
                call.send_message(b"y")
                call.finish()
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert answers[25:] == [b"y"] * 25

    run(scenario)


def test_reader_of_a_long_stream_that_stops_costs_a_bounded_buffer(
    certificate: tuple[Path, Path],
) -> None:
    piece, pieces_sent = bytes(64 * 1024), 0

    def produce(call: Call) -> None:
        def go_on() -> None:
            nonlocal pieces_sent
            while call.writable and not call.cancelled:
                call.send_message(piece)
                pieces_sent += 1

        call.listener = go_on
        go_on()

    async def scenario() -> None:
        async with (
            node(tls_context(*certificate), on_call=produce) as n,
            await dial(n, certificate) as channel,
        ):
            stream = channel.unary_stream("/t/Endless")(b"go")
            assert len(await stream.read()) == len(piece)
            await asyncio.sleep(0.5)
            before = pieces_sent
            await asyncio.sleep(0.5)
            assert pieces_sent == before
            assert pieces_sent * len(piece) < 32 * MIB
            for _ in range(1000):
                assert len(await stream.read()) == len(piece)
            assert pieces_sent > 1000
            stream.cancel()

    run(scenario)


def test_first_bytes_may_come_one_by_one() -> None:
    async def scenario() -> None:
        async with node() as n:
            for hello, answer in (
                (preface + settings, b"\0\0"),
                (b"PROPFIND / HTTP/1.1\r\nhost: x\r\n\r\n", b"HTTP/1.1 200 OK"),
                (b"POST / HTTP/1.1\r\nhost: x\r\n\r\n", b"HTTP/1.1 200 OK"),
            ):
                reader, writer = await asyncio.open_connection("127.0.0.1", n.port)
                for byte in hello:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0)
                assert (await reader.readexactly(len(answer))) == answer
                writer.close()

    run(scenario)


@pytest.mark.parametrize("encrypted", [True, False])
@pytest.mark.parametrize(
    "garbage", [b"", b"\0", b"\x16\x03\1", b"\xff" * 5000, b"GET", b"BREW / X\r\n\r\n", preface[:9]]
)
def test_peers_that_vanish_or_talk_nonsense_leave_nothing(
    certificate: tuple[Path, Path],
    encrypted: bool,
    garbage: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with node(tls_context(*certificate) if encrypted else None) as n:
            for _ in range(5):
                _, writer = await asyncio.open_connection("127.0.0.1", n.port)
                writer.write(garbage)
                await writer.drain()
                await asyncio.sleep(0.01)
                writer.transport.abort()
            await until(lambda: n.listener.connection_count == 0)

    run(scenario)
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


def test_peer_that_vanishes_in_a_call_cancels_it(certificate: tuple[Path, Path]) -> None:
    calls: list[Call] = []

    async def scenario() -> None:
        trusting = ssl.create_default_context(cafile=str(certificate[0]))
        trusting.set_alpn_protocols(["h2"])
        client = ngh2.Connection(ngh2.Role.CLIENT)
        client.initiate_connection()
        client.send_request(
            [
                (b":method", b"POST"),
                (b":scheme", b"https"),
                (b":authority", b"localhost"),
                (b":path", b"/t/Stream"),
                (b"content-type", b"application/grpc"),
            ]
        )
        async with node(tls_context(*certificate), on_call=calls.append) as n:
            _, writer = await asyncio.open_connection(
                "127.0.0.1", n.port, ssl=trusting, server_hostname="localhost"
            )
            writer.write(client.data_to_send())
            await until(lambda: len(calls) == 1)
            assert n.listener.connection_count == 1
            writer.transport.abort()
            await until(lambda: n.listener.connection_count == 0)
            assert calls[0].cancelled

    run(scenario)


def test_old_tls_is_refused_and_alpn_is_answered(certificate: tuple[Path, Path]) -> None:
    assert tls_context(*certificate).minimum_version == ssl.TLSVersion.TLSv1_2

    async def scenario() -> None:
        async with node(tls_context(*certificate)) as n:
            for offered in ("h2", "http/1.1"):
                client = ssl.create_default_context(cafile=str(certificate[0]))
                client.set_alpn_protocols([offered])
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", n.port, ssl=client, server_hostname="localhost"
                )
                chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
                assert chosen == offered
                writer.close()

    run(scenario)


def test_tls_without_alpn_is_told_by_the_first_bytes(certificate: tuple[Path, Path]) -> None:
    async def scenario() -> None:
        client = ssl.create_default_context(cafile=str(certificate[0]))
        async with node(tls_context(*certificate)) as n:
            for hello, answer in (
                (preface + settings, b"\0\0"),
                (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"HTTP/1.1 200 OK"),
            ):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", n.port, ssl=client, server_hostname="localhost"
                )
                writer.write(hello)
                assert (await reader.readexactly(len(answer))) == answer
                writer.close()

    run(scenario)


@pytest.mark.parametrize(
    ("hello", "answer"),
    [
        (b"INVALID CONNECTION PREFACE\r\n\r\n", b""),
        (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"HTTP/1.0 400 Bad Request\r\n"),
        (b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
        (b"x" * 9000, b"HTTP/1.0 400 Bad Request\r\n"),
    ],
)
def test_what_is_neither_http1_nor_http2_gets_no_answer(hello: bytes, answer: bytes) -> None:
    async def scenario() -> None:
        async with node() as n:
            for cut in (0, 1, 7, 20):
                reader, writer = await asyncio.open_connection("127.0.0.1", n.port)
                writer.write(hello[:cut])
                await asyncio.sleep(0.01)
                writer.write(hello[cut:])
                assert (await reader.readline()) == answer
                writer.close()

    run(scenario)
