"""Opening and closing the port."""

import asyncio
import socket
import time
from pathlib import Path

import grpc
import pytest
import uvloop
from conftest import echo
from conftest import node
from conftest import rest
from conftest import write_certificate

from regatta.errors import StartError
from regatta.http2 import Call
from regatta.net import listen
from regatta.net import tls_context


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
