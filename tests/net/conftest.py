"""A certificate, and a listener whose calls and REST requests are answered in the test itself."""

import datetime
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from regatta.http2 import Call
from regatta.http2 import live_streams
from regatta.net import Listener
from regatta.net import listen


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for localhost; return its file and its key's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_certificate(tmp_path_factory.mktemp("tls"))


@dataclass
class Node:
    """A listener, and what has reached it."""

    listener: Listener
    calls: list[Call] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.listener.addresses[0][1]


def echo(call: Call) -> None:
    """Answer a call with what it brought: gRPC messages one by one, a plain body at its end."""

    def go_on() -> None:
        if call.is_grpc:
            while (message := call.next_message()) is not None:
                call.send_message(message)
            if call.ended:
                call.finish()
        elif call.ended and not call.cancelled:
            call.respond(200, [(b"content-type", b"text/plain")], b"h2:" + call.take_body())

    call.listener = go_on
    go_on()


async def rest(
    method: str, path: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, list[tuple[str, str]], bytes]:
    return 200, [("Content-Type", "text/plain"), ("X-Path", f"{method} {path}")], b"h1:" + body


@asynccontextmanager
async def node(
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    on_call: Callable[[Call], None] = echo,
) -> AsyncIterator[Node]:
    before = live_streams()
    listener = await listen(host, 0, tls, None, lambda peer: on_call, rest)
    try:
        yield Node(listener)
    finally:
        await listener.stop(0.5)
    assert listener.connection_count == 0
    assert live_streams() == before
