"""Unix sockets: who may connect, what becomes of their files, that curl and gRPC get through."""

import asyncio
import fcntl
import os
import shutil
import socket
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from conftest import echo
from conftest import rest

from regatta.errors import StartError
from regatta.net import Listener
from regatta.net import listen
from regatta.net import tls_context
from regatta.net.unix_socket import bind_unix

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(asyncio.wait_for(scenario(), 30))


@asynccontextmanager
async def node(path: Path, certificate: tuple[Path, Path] | None = None) -> AsyncIterator[Listener]:
    tls = tls_context(*certificate) if certificate else None
    listener = await listen(path, 0, tls, None, lambda peer: echo, rest)
    try:
        yield listener
    finally:
        await listener.stop(0.5)


def refusal(path: Path) -> str:
    """Return the line that tells why nobody can listen at *path*."""
    with pytest.raises(StartError) as caught:
        bind_unix(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@needs_curl
@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("version", ["--http1.1", "--http2", "--http2-prior-knowledge"])
def test_curl_speaks_every_version_over_a_unix_socket(
    tmp_path: Path, certificate: tuple[Path, Path], encrypted: bool, version: str
) -> None:
    async def scenario() -> None:
        path = tmp_path / "socket"
        async with node(path, certificate if encrypted else None) as listener:
            assert listener.addresses == []
            process = await asyncio.create_subprocess_exec(
                *("curl", "-sk", "--max-time", "20", version, "--unix-socket", str(path)),
                *("-w", " %{http_version}", "-d", "hello"),
                f"{'https' if encrypted else 'http'}://localhost/v1/x",
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
            # Without TLS there is no upgrade: who asks for one goes on with HTTP/1.1.
            old = version == "--http1.1" or (version == "--http2" and not encrypted)
            assert output == (b"h1:hello 1.1" if old else b"h2:hello 2")

    run(scenario)


def test_grpc_calls_come_through_a_unix_socket(tmp_path: Path) -> None:
    async def scenario() -> None:
        channel = grpc.aio.insecure_channel(f"unix:{tmp_path}/socket")
        async with node(tmp_path / "socket"), channel:
            assert await channel.unary_unary("/a.B/C")(b"hello", timeout=10) == b"hello"

    run(scenario)


def test_the_socket_is_for_its_owner_and_group_and_gone_after_the_stop(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "socket"
        before = os.umask(0o077)
        try:
            async with node(path):
                assert stat.filemode(path.stat().st_mode) == "srw-rw----"
        finally:
            os.umask(before)
        assert list(tmp_path.iterdir()) == []

    run(scenario)


def test_the_file_of_another_is_left_alone_at_the_stop(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "socket"
        async with node(path):
            path.unlink()
            path.write_text("mine")
        assert path.read_text() == "mine"

    run(scenario)


def test_a_stop_survives_a_directory_that_is_gone(tmp_path: Path) -> None:
    async def scenario() -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        async with node(folder / "socket"):
            shutil.rmtree(folder)

    run(scenario)


def test_the_file_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    bind_unix(path).close()  # as after kill -9: the file stays
    assert path.is_socket()
    listening = bind_unix(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listening.close()


def test_a_socket_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listening = bind_unix(path)
    assert refusal(path) == f"can't listen on {path}: Address already in use"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listening.close()


def test_a_socket_whose_queue_is_full_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as client:
        busy.bind(str(path))
        busy.listen(0)
        client.connect(str(path))
        assert refusal(path) == f"can't listen on {path}: Address already in use"


def test_another_kind_of_socket_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as busy:
        busy.bind(str(path))
        assert refusal(path) == f"can't listen on {path}: Address already in use"


def test_what_is_no_socket_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    assert refusal(path) == f"can't listen on {path}: there is a file that is no socket"
    assert path.read_text() == "mine"
    link = tmp_path / "link"
    link.symlink_to(path)
    assert refusal(link) == f"can't listen on {link}: there is a file that is no socket"


def test_a_path_that_can_not_be_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none" / "socket"
    problem = f"can't listen on {path}: {path.parent}: No such file or directory"
    assert refusal(path) == problem
    assert "AF_UNIX path too long" in refusal(tmp_path / ("a" * 200))


def test_of_two_that_start_at_once_one_is_refused(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    assert refusal(tmp_path / "socket").endswith("another process is doing so right now")
    os.close(directory)
