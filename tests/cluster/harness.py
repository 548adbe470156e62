"""Starts, kills and calls whole servers. Tests and load tools share it.

Servers are separate processes, reached over TLS like any client reaches them.
"""

import datetime
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health_pb2

from regatta.pb import regatta_pb2

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 40.0  # the daemon gives calls in flight 30 s

# A retry inside the client could turn one request into two writes.
CHANNEL_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)


class ServerError(Exception):
    """A server ended by itself, or did not do in time what it was asked to."""


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for localhost and its key, as PEM files."""

    certificate_path: Path
    key_path: Path

    @classmethod
    def make(cls, directory: Path) -> Self:
        """Write a new certificate and its key to *directory*, valid for two days."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(key, hashes.SHA256())
        )
        made = cls(directory / "server.crt", directory / "server.key")
        made.certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key_path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return made

    def client_credentials(self) -> grpc.ChannelCredentials:
        """Return credentials that trust this certificate alone."""
        return grpc.ssl_channel_credentials(self.certificate_path.read_bytes())


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nobody listens at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Server:
    """A process that serves gRPC over TLS on 127.0.0.1; subclasses say what its command is."""

    def __init__(self, directory: Path, certificate: Certificate) -> None:
        """Keep everything of this server under *directory*, an existing folder."""
        self.directory = directory
        self.certificate = certificate
        self.port = free_port()
        self.stderr_path = directory / "stderr.log"
        # Put before the command, for example ("taskset", "--cpu-list", "0").
        self.command_prefix: Sequence[str] = ()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Return the command line that starts this server."""
        raise NotImplementedError

    @property
    def process_id(self) -> int:
        """The id of the running process. Raises ServerError if there is none."""
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process.pid

    @property
    def stderr(self) -> str:
        """All that the server has written to standard error, over all its starts."""
        return self.stderr_path.read_text(errors="replace") if self.stderr_path.exists() else ""

    def start(self) -> None:
        """Start the server and return once its health check answers SERVING."""
        self.launch()
        self.wait_until_serving()

    def launch(self) -> None:
        """Start the process without waiting for anything."""
        if self._process is not None:
            raise ServerError("the server is running already")
        with self.stderr_path.open("ab") as stderr:
            self._process = subprocess.Popen(
                [*self.command_prefix, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )

    def wait_until_serving(self) -> None:
        """Return once the health check answers SERVING; raise ServerError after 30 s."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self._process is None or self._process.poll() is not None:
                raise ServerError(f"the server ended while starting:\n{self.stderr}")
            if self._is_serving():
                return
            time.sleep(0.02)
        raise ServerError(f"no health check was answered in time:\n{self.stderr}")

    def _is_serving(self) -> bool:
        # Knocking first is cheaper than a gRPC channel, which backs off after a refusal.
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        with self.channel() as channel:
            check = unary(channel, "grpc.health.v1.Health", "Check", health_pb2.HealthCheckResponse)
            try:
                answer = check(health_pb2.HealthCheckRequest(), timeout=2)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def kill_9(self) -> None:
        """Kill the process with SIGKILL and wait until it is gone."""
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def stop(self) -> int:
        """Ask the process to stop with SIGTERM; return its exit code."""
        if self._process is None:
            raise ServerError("the server is not running")
        self._process.terminate()
        try:
            return self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill_9()
            raise ServerError(f"the server did not stop in time:\n{self.stderr}") from None
        finally:
            self._process = None

    def restart(self) -> int:
        """Stop and start on the same port and directories; return the exit code of the stop."""
        exit_code = self.stop()
        self.start()
        return exit_code

    def channel(self, compression: grpc.Compression | None = None) -> grpc.Channel:
        """Return a new blocking channel to this server; the caller closes it."""
        return grpc.secure_channel(
            f"localhost:{self.port}",
            self.certificate.client_credentials(),
            CHANNEL_OPTIONS,
            compression,
        )

    def aio_channel(self) -> grpc.aio.Channel:
        """Return a new asyncio channel to this server; the caller closes it."""
        return grpc.aio.secure_channel(
            f"localhost:{self.port}", self.certificate.client_credentials(), CHANNEL_OPTIONS
        )

    def cpu_time_s(self) -> float:
        """Return the CPU time that the process used so far, all threads, user and system."""
        # The second field, the command's name, may hold spaces; all after its ")" is plain.
        fields = Path(f"/proc/{self.process_id}/stat").read_text().rpartition(")")[2].split()
        user_ticks, system_ticks = int(fields[11]), int(fields[12])
        return (user_ticks + system_ticks) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Return the memory that the process holds in RAM, mapped files included."""
        pages = int(Path(f"/proc/{self.process_id}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill_9()


class Daemon(Server):
    """The regatta daemon, a single node with its own directories."""

    def __init__(self, directory: Path, certificate: Certificate, *flags: str) -> None:
        """Add *flags* to the command line, for example "--api.reflection-api"."""
        super().__init__(directory, certificate)
        self.flags = flags
        self.raft_port = free_port()
        self.rest_port = free_port()

    def command(self) -> list[str]:
        """Return the command line of the daemon."""
        return [
            *(sys.executable, "-m", "regatta", "--dev-mode"),
            f"--api.address=127.0.0.1:{self.port}",
            f"--api.cert-filename={self.certificate.certificate_path}",
            f"--api.key-filename={self.certificate.key_path}",
            f"--rest.address=http://127.0.0.1:{self.rest_port}",
            f"--raft.address=127.0.0.1:{self.raft_port}",
            f"--raft.node-host-dir={self.directory / 'raft'}",
            f"--raft.state-machine-dir={self.directory / 'state-machine'}",
            *self.flags,
        ]

    def environments(self) -> list[Path]:
        """Return the folders of the LMDB environments: the log's and the data's."""
        return sorted(path.parent for path in self.directory.rglob("data.mdb"))


def unary(channel: Any, service: str, method: str, answer: type) -> Any:
    """Return a callable for a unary method; *answer* is the class of its response."""
    return channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,  # type: ignore[attr-defined]
    )


class KV:
    """The calls of regatta.v1.KV on a channel, blocking or asyncio like the channel itself."""

    def __init__(self, channel: Any) -> None:
        service = "regatta.v1.KV"
        self.range = unary(channel, service, "Range", regatta_pb2.RangeResponse)
        self.put = unary(channel, service, "Put", regatta_pb2.PutResponse)
        self.delete_range = unary(channel, service, "DeleteRange", regatta_pb2.DeleteRangeResponse)
        self.txn = unary(channel, service, "Txn", regatta_pb2.TxnResponse)
        self.iterate_range = channel.unary_stream(
            f"/{service}/IterateRange",
            request_serializer=regatta_pb2.RangeRequest.SerializeToString,
            response_deserializer=regatta_pb2.RangeResponse.FromString,
        )
