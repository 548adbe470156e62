"""Certificates that change while the port is open: handshakes see the new ones, no call fails."""

import asyncio
import datetime
import logging
import os
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from conftest import node
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric import rsa

from regatta.net import tls
from regatta.net import tls_context

Scenario = Callable[[], Coroutine[Any, Any, None]]
ECHO = "/test.Echo/Echo"


def run(scenario: Scenario) -> None:
    uvloop.run(asyncio.wait_for(scenario(), 60))


class Authority:
    """Signs certificates for localhost, numbered from 1, all of which one client trusts."""

    def __init__(self, folder: Path) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        self.file = folder / "authority.pem"
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        own = self.builder(self.name, self.key.public_key(), 1_000_000)
        signed = own.add_extension(constraints, critical=True).sign(self.key, hashes.SHA256())
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def builder(self, subject: x509.Name, key: Any, number: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        return x509.CertificateBuilder(self.name, subject, key, number, now - day, now + day)

    def issue(self, number: int, *, with_rsa: bool = False) -> tuple[bytes, bytes]:
        """Return certificate *number* and its key, as PEM."""
        key = (
            rsa.generate_private_key(public_exponent=65537, key_size=2048)
            if with_rsa
            else ec.generate_private_key(ec.SECP256R1())
        )
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        builder = self.builder(subject, key.public_key(), number)
        signed = builder.add_extension(names, critical=False).sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


class Files:
    """The two files, in three manners of replacing them."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.folder, self.authority = folder, authority
        self.cert, self.key = folder / "tls.crt", folder / "tls.key"

    def write(self, number: int, *, with_rsa: bool = False) -> None:
        """Write over both, one after the other, as cp does."""
        certificate, key = self.authority.issue(number, with_rsa=with_rsa)
        self.cert.write_bytes(certificate)
        self.key.write_bytes(key)

    def rename(self, number: int) -> None:
        """Put a new file in the place of each."""
        for path, data in zip((self.cert, self.key), self.authority.issue(number), strict=True):
            path.with_suffix(".new").write_bytes(data)
            path.with_suffix(".new").rename(path)

    def swing_link(self, number: int) -> None:
        """Turn one link to a folder with both, as Kubernetes does."""
        folder = self.folder / f"..{number}"
        folder.mkdir()
        for path, data in zip((self.cert, self.key), self.authority.issue(number), strict=True):
            (folder / path.name).write_bytes(data)
            if not path.is_symlink():
                path.symlink_to(Path("..data", path.name))
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(folder.name)
        os.rename(fresh, self.folder / "..data")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Files:
    return Files(tmp_path, authority)


@pytest.fixture
def checked_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "check_interval_s", 0.0)


class Client:
    """Shakes hands with a port and says which certificate it was shown."""

    def __init__(self, authority: Authority, version: ssl.TLSVersion | None = None) -> None:
        self.context = ssl.create_default_context(cafile=str(authority.file))
        if version is not None:
            self.context.maximum_version = version
        self.session: ssl.SSLSession | None = None
        self.reused: bool | None = False

    def shake(self, port: int) -> int:
        """Return the number of the certificate; blocking, so to be called in a thread."""
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as bare,
            self.context.wrap_socket(
                bare, server_hostname="localhost", session=self.session
            ) as secured,
        ):
            # Tickets of TLS 1.3 come with the first answer.
            secured.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            while secured.recv(4096):
                pass
            self.session, self.reused = secured.session, secured.session_reused
            shown = secured.getpeercert()
            assert shown is not None
            return int(str(shown["serialNumber"]), 16)

    async def number(self, port: int) -> int:
        return await asyncio.to_thread(self.shake, port)


@pytest.mark.usefixtures("checked_always")
@pytest.mark.parametrize("manner", [Files.write, Files.rename, Files.swing_link])
def test_no_call_fails_while_the_certificate_is_replaced_twenty_times(
    files: Files, authority: Authority, manner: Callable[[Files, int], None]
) -> None:
    async def scenario() -> None:
        manner(files, 1)
        async with node(tls_context(files.cert, files.key)) as n:
            credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
            done = asyncio.Event()
            counts = {"old": 0, "new": 0}

            def channel() -> grpc.aio.Channel:
                options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
                return grpc.aio.secure_channel(f"localhost:{n.port}", credentials, options)

            async def call(through: grpc.aio.Channel, kind: str) -> None:
                echo: Any = through.unary_unary(ECHO)
                assert await echo(b"hello", timeout=10) == b"hello"
                counts[kind] += 1

            async def use_one_connection() -> None:
                async with channel() as through:
                    while not done.is_set():
                        await call(through, "old")

            async def use_new_connections() -> None:
                while not done.is_set():
                    async with channel() as through:
                        await call(through, "new")

            load = [asyncio.create_task(use_one_connection()) for _ in range(4)]
            load += [asyncio.create_task(use_new_connections()) for _ in range(2)]
            seen = [await Client(authority).number(n.port)]
            for number in range(2, 22):
                await asyncio.to_thread(manner, files, number)
                seen.append(await Client(authority).number(n.port))
            done.set()
            await asyncio.gather(*load)
            assert seen == list(range(1, 22))
            assert counts["old"] > 100
            assert counts["new"] > 20

    run(scenario)


@pytest.mark.usefixtures("checked_always")
def test_half_replaced_pair_is_left_and_logged_once(
    files: Files, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "regatta.cert")

    async def scenario() -> None:
        files.write(1)
        async with node(tls_context(files.cert, files.key)) as n:
            certificate, key = authority.issue(2)
            files.cert.write_bytes(certificate)
            for _ in range(3):
                assert await Client(authority).number(n.port) == 1
            assert [record.getMessage() for record in caplog.records] == [
                "the old certificate stays in use: "
                f"the key {files.key} does not belong to the certificate {files.cert}"
            ]
            files.key.write_bytes(key)
            assert await Client(authority).number(n.port) == 2
            assert await Client(authority).number(n.port) == 2
            assert [record.getMessage() for record in caplog.records[1:]] == [
                f"the certificate was replaced: {files.cert}"
            ]

    run(scenario)


@pytest.mark.usefixtures("checked_always")
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda files: files.key.unlink(), "can't read {key}: No such file or directory"),
        (lambda files: files.cert.write_bytes(b""), "{cert} is not a PEM certificate"),
        (lambda files: files.key.write_bytes(b"\xff\0"), "{key} is not a PEM private key"),
        (
            lambda files: files.cert.write_bytes(files.cert.read_bytes()[:300]),
            "{cert} with {key}: ",
        ),
    ],
    ids=["gone", "empty", "nonsense", "cut"],
)
def test_files_that_can_not_be_read_leave_the_old_certificate(
    files: Files,
    authority: Authority,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Files], object],
    reason: str,
) -> None:
    async def scenario() -> None:
        files.write(1)
        async with node(tls_context(files.cert, files.key)) as n:
            damage(files)
            assert await Client(authority).number(n.port) == 1
            (line,) = [record.getMessage() for record in caplog.records]
            expected = reason.format(cert=files.cert, key=files.key)
            assert line.startswith(f"the old certificate stays in use: {expected}")
            files.write(2)
            assert await Client(authority).number(n.port) == 2

    run(scenario)


@pytest.mark.usefixtures("checked_always")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_certificate_with_another_kind_of_key_takes_the_place_of_the_old_one(
    files: Files, authority: Authority, version: ssl.TLSVersion
) -> None:
    async def scenario() -> None:
        files.write(1)
        async with node(tls_context(files.cert, files.key)) as n:
            for number, with_rsa in ((2, True), (3, False), (4, True)):
                files.write(number, with_rsa=with_rsa)
                assert await Client(authority, version).number(n.port) == number

    run(scenario)


def test_files_are_looked_at_once_a_second_at_most(
    files: Files, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    stat = tls.stamp

    def counted(path: Path) -> tls.Stamp | None:
        nonlocal looks
        looks += 1
        return stat(path)

    async def scenario() -> None:
        files.write(1)
        async with node(tls_context(files.cert, files.key)) as n:
            monkeypatch.setattr(tls, "stamp", counted)
            for _ in range(5):
                assert await Client(authority).number(n.port) == 1
            files.write(2)
            await asyncio.sleep(1.1)
            assert looks == 0
            for _ in range(5):
                assert await Client(authority).number(n.port) == 2
            assert looks == 2

    run(scenario)


@pytest.mark.usefixtures("checked_always")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_also_after_a_replacement(
    files: Files, authority: Authority, version: ssl.TLSVersion
) -> None:
    async def scenario() -> None:
        files.write(1)
        async with node(tls_context(files.cert, files.key)) as n:
            client = Client(authority, version)
            await client.number(n.port)
            assert not client.reused
            await client.number(n.port)
            assert client.reused
            files.write(2)
            for _ in range(3):
                await client.number(n.port)
                assert client.reused
            assert await Client(authority, version).number(n.port) == 2

    run(scenario)
