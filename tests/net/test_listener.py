"""Opening and closing the port."""

import asyncio
import contextlib
import random
import socket
import time
from pathlib import Path

import grpc
import ngh2
import pytest
import uvloop
from conftest import echo
from conftest import node
from conftest import rest
from conftest import write_certificate

from regatta.errors import StartError
from regatta.http2 import Call
from regatta.net import listen
from regatta.net import listener as listener_module
from regatta.net import tls_context
from regatta.server import connection_age


def test_port_in_use_is_one_readable_line() -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(StartError) as caught:
                await listen("127.0.0.1", port, None, None, echo, rest)
        assert str(caught.value) == f"can't listen on 127.0.0.1:{port}: Address already in use"

    uvloop.run(scenario())


@pytest.mark.parametrize("host", ["no-such-host.invalid", "bad host name"])
def test_unknown_host_is_one_readable_line(host: str) -> None:
    async def scenario() -> None:
        with pytest.raises(StartError, match=f"^can't resolve {host}: [^\n]+$"):
            await listen(host, 0, None, None, echo, rest)

    uvloop.run(scenario())


def test_address_of_another_machine_is_one_readable_line() -> None:
    async def scenario() -> None:
        with pytest.raises(StartError, match=r"^can't listen on 192\.0\.2\.1:8443: [^\n]+$"):
            await listen("192.0.2.1", 8443, None, None, echo, rest)

    uvloop.run(scenario())


def test_localhost_means_all_its_addresses_on_one_port() -> None:
    async def scenario() -> None:
        found = await asyncio.get_running_loop().getaddrinfo("localhost", 0)
        async with node(host="localhost") as n:
            addresses = n.listener.addresses
            assert "127.0.0.1" in [host for host, _ in addresses]
            assert {host for host, _ in addresses} <= {address[0] for *_, address in found}
            assert len({port for _, port in addresses}) == 1
            for host, port in addresses:
                _, writer = await asyncio.open_connection(host, port)
                writer.close()

    uvloop.run(scenario())


def test_wrong_certificate_files_are_named(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert_file, key_file = certificate
    other = tmp_path / "other"
    other.mkdir()
    _, other_key = write_certificate(other)
    junk = tmp_path / "junk.pem"
    junk.write_text("not a certificate")
    for cert, key, problem in (
        (tmp_path / "none.pem", key_file, f"can't read {tmp_path}/none.pem: No such file"),
        (cert_file, tmp_path / "none.pem", f"can't read {tmp_path}/none.pem: No such file"),
        (tmp_path, key_file, f"can't read {tmp_path}: Is a directory"),
        (cert_file, other_key, f"the key {other_key} does not belong to the certificate"),
        (junk, key_file, f"{junk} is not a PEM certificate"),
        (cert_file, junk, f"{junk} is not a PEM private key"),
    ):
        with pytest.raises(StartError) as caught:
            tls_context(cert, key)
        assert str(caught.value).startswith(problem)
        assert "\n" not in str(caught.value)


def test_stop_lets_a_call_in_flight_finish() -> None:
    calls: list[Call] = []

    async def scenario() -> None:
        async with node(on_call=calls.append) as n:
            port = n.port
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                pending = asyncio.ensure_future(channel.unary_unary("/t/Slow")(b"x"))
                while not calls:
                    await asyncio.sleep(0.01)
                stopping = asyncio.ensure_future(n.listener.stop(10))
                await asyncio.sleep(0.1)
                assert not stopping.done()
                with pytest.raises(OSError, match="refused"):
                    await asyncio.open_connection("127.0.0.1", port)
                calls[0].send_message(b"y")
                calls[0].finish()
                assert await pending == b"y"
                await asyncio.wait_for(stopping, 5)

    uvloop.run(scenario())


def test_stop_cuts_off_what_is_not_done_in_time() -> None:
    calls: list[Call] = []

    async def scenario() -> None:
        async with (
            node(on_call=calls.append) as n,
            grpc.aio.insecure_channel(f"127.0.0.1:{n.port}") as channel,
        ):
            pending = asyncio.ensure_future(channel.unary_unary("/t/Slow")(b"x"))
            while not calls:
                await asyncio.sleep(0.01)
            start = time.monotonic()
            await n.listener.stop(0.3)
            assert 0.25 < time.monotonic() - start < 5
            assert calls[0].cancelled
            with pytest.raises(grpc.aio.AioRpcError):
                await pending

    uvloop.run(scenario())


def test_stop_closes_idle_http1_and_undecided_connections_at_once() -> None:
    async def scenario() -> None:
        async with node() as n:
            kept, writer = await asyncio.open_connection("127.0.0.1", n.port)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await kept.readuntil(b"h1:")
            silent, _ = await asyncio.open_connection("127.0.0.1", n.port)
            while n.listener.connection_count < 2:
                await asyncio.sleep(0.01)
            start = time.monotonic()
            await n.listener.stop(10)
            assert time.monotonic() - start < 2
            assert await kept.read() == b""
            assert await silent.read() == b""
            writer.close()

    uvloop.run(scenario())


def test_stop_lets_a_busy_http1_connection_finish() -> None:
    async def scenario() -> None:
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def slow(*request: object) -> tuple[int, list[tuple[str, str]], bytes]:
            asked.set()
            await go_on.wait()
            return 200, [], b"done"

        listener = await listen("127.0.0.1", 0, None, None, echo, slow)
        reader, writer = await asyncio.open_connection(*listener.addresses[0])
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await asked.wait()
        stopping = asyncio.ensure_future(listener.stop(10))
        await asyncio.sleep(0.1)
        assert not stopping.done()
        go_on.set()
        assert (await reader.read()).endswith(b"\r\n\r\ndone")
        await asyncio.wait_for(stopping, 5)
        writer.close()

    uvloop.run(scenario())


def test_rest_that_raises_is_answered_500(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async def broken(*request: object) -> tuple[int, list[tuple[str, str]], bytes]:
            raise RuntimeError("a fault")

        listener = await listen("127.0.0.1", 0, None, None, echo, broken)
        reader, writer = await asyncio.open_connection(*listener.addresses[0])
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await reader.readline()) == b"HTTP/1.1 500 Internal Server Error\r\n"
        writer.close()
        await listener.stop(1)

    uvloop.run(scenario())
    assert [record.name for record in caplog.records] == ["server"]


class DeafClient:
    """A client that says its preface, makes requests and never answers anything."""

    def __init__(self, port: int) -> None:
        self.client = ngh2.Connection(ngh2.Role.CLIENT)
        self.client.initiate_connection()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)

    def ask(self, path: bytes = b"/t/Call") -> None:
        self.client.send_request(
            [
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":authority", b"localhost"),
                (b":path", path),
                (b"content-type", b"application/grpc"),
            ],
            end_stream=True,
        )

    def send(self) -> None:
        self.socket.sendall(self.client.data_to_send())


def test_peer_that_never_answers_the_ping_does_not_hold_up_the_stop() -> None:
    async def scenario() -> None:
        async with node() as n:
            deaf = DeafClient(n.port)
            deaf.send()
            while n.listener.connection_count < 1:
                await asyncio.sleep(0.01)
            start = time.monotonic()
            await n.listener.stop(30)
            assert time.monotonic() - start < 5
            deaf.socket.close()

    uvloop.run(asyncio.wait_for(scenario(), 20))


def test_call_of_a_peer_that_never_answers_the_ping_is_finished() -> None:
    calls: list[Call] = []

    async def scenario() -> None:
        async with node(on_call=calls.append) as n:
            deaf = DeafClient(n.port)
            deaf.ask()
            deaf.send()
            while not calls:
                await asyncio.sleep(0.01)
            stopping = asyncio.ensure_future(n.listener.stop(30))
            await asyncio.sleep(1.5)
            assert not stopping.done()
            calls[0].send_message(b"the answer")
            calls[0].finish()
            await asyncio.wait_for(stopping, 5)
            assert not calls[0].cancelled
            assert b"the answer" in b"".join(iter(lambda: deaf.socket.recv(1 << 16), b""))
            deaf.socket.close()

    uvloop.run(asyncio.wait_for(scenario(), 20))


def test_stop_lets_a_stream_in_flight_finish() -> None:
    calls: list[Call] = []

    async def scenario() -> None:
        async with (
            node(on_call=calls.append) as n,
            grpc.aio.insecure_channel(f"127.0.0.1:{n.port}") as channel,
        ):
            stream = channel.unary_stream("/t/Stream")(b"x")
            while not calls:
                await asyncio.sleep(0.01)
            calls[0].send_message(b"0")
            assert await stream.read() == b"0"
            stopping = asyncio.ensure_future(n.listener.stop(20))
            for number in range(1, 20):
                await asyncio.sleep(0.1)
                calls[0].send_message(b"%d" % number)
                assert await stream.read() == b"%d" % number
            assert not stopping.done()
            calls[0].finish()
            assert await stream.read() == grpc.aio.EOF
            await asyncio.wait_for(stopping, 5)

    uvloop.run(asyncio.wait_for(scenario(), 30))


def test_old_connection_is_told_to_go_and_its_calls_finish() -> None:
    calls: list[Call] = []

    async def scenario() -> None:
        listener = await listen(
            "127.0.0.1", 0, None, None, lambda peer: calls.append, rest, lambda: 0.3
        )
        port = listener.addresses[0][1]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            first = asyncio.ensure_future(channel.unary_unary("/t/First")(b"x"))
            await asyncio.sleep(0.8)
            second = asyncio.ensure_future(channel.unary_unary("/t/Second")(b"x"))
            while len(calls) < 2:
                await asyncio.sleep(0.01)
            # The second call came on a connection of its own, and the first one goes on.
            assert listener.connection_count == 2
            for call in calls:
                call.send_message(call.path)
                call.finish()
            assert [await first, await second] == [b"/t/First", b"/t/Second"]
            while listener.connection_count:
                await asyncio.sleep(0.01)
        await listener.stop(1)

    uvloop.run(asyncio.wait_for(scenario(), 20))


def test_old_http1_connection_is_closed_after_its_answer() -> None:
    async def scenario() -> None:
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def slow(*request: object) -> tuple[int, list[tuple[str, str]], bytes]:
            asked.set()
            await go_on.wait()
            return 200, [], b"done"

        listener = await listen("127.0.0.1", 0, None, None, echo, slow, lambda: 0.3)
        address = listener.addresses[0]
        busy, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await asked.wait()
        await asyncio.sleep(0.6)
        assert listener.connection_count == 1
        go_on.set()
        assert (await busy.read()).endswith(b"\r\n\r\ndone")
        writer.close()
        idle, writer = await asyncio.open_connection(*address)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await idle.read()).endswith(b"\r\n\r\ndone")
        writer.close()
        await asyncio.wait_for(listener.stop(10), 5)

    uvloop.run(asyncio.wait_for(scenario(), 20))


def test_ages_differ_by_up_to_a_tenth() -> None:
    assert connection_age(0, random.Random(1)) is None
    age = connection_age(100, random.Random(1))
    assert age is not None
    ages = [age() for _ in range(1000)]
    assert 90 <= min(ages) < 91
    assert 109 < max(ages) <= 110


@pytest.mark.parametrize("hello", [b"", b"PRI * HTTP"])
def test_peer_that_does_not_begin_to_speak_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, hello: bytes
) -> None:
    monkeypatch.setattr(listener_module, "hello_timeout_s", 0.5)

    async def scenario() -> None:
        async with node() as n:
            reader, writer = await asyncio.open_connection("127.0.0.1", n.port)
            writer.write(hello)
            start = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            assert 0.4 < time.monotonic() - start < 5
            writer.close()

    uvloop.run(asyncio.wait_for(scenario(), 20))


def test_peer_that_reads_no_more_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "silence_s", 2)

    async def scenario() -> None:
        async with node() as n:
            _, writer = await asyncio.open_connection("127.0.0.1", n.port, limit=1024)
            request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000\r\n\r\n"
            writer.write(request + bytes(8_000_000))
            await writer.drain()
            start = time.monotonic()
            while n.listener.connection_count:
                await asyncio.sleep(0.1)
            assert time.monotonic() - start > 1.5
            writer.close()

    uvloop.run(asyncio.wait_for(scenario(), 30))
