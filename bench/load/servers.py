"""What the load table drives: servers of its own, and any that is given by a URL."""

import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lmdb

from bench.load import baseline
from bench.load import pairs
from bench.load.pairs import Family
from tests.cluster.harness import START_TIMEOUT_S
from tests.cluster.harness import Certificate
from tests.cluster.harness import Server
from tests.cluster.harness import ServerError
from tests.cluster.harness import free_port


def everything(options: tuple[str, ...]) -> bool:
    """Say that all kinds of calls are worth a try."""
    return True


@dataclass(frozen=True)
class Target:
    """A server to drive."""

    name: str
    url: str
    certificate: str  # PEM file; empty for plain HTTP
    process_id: int | None  # None: it runs elsewhere, nothing is known of its CPU and memory
    # Which options of drive it can't be asked with; what it doesn't implement is found out.
    takes: Callable[[tuple[str, ...]], bool] = everything

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read NAME,URL[,CERTIFICATE[,PROCESS]]; raise ValueError."""
        name, url, certificate, process = [*text.split(","), "", "", ""][:4]
        if not url.startswith(("http://", "https://")) or not name:
            raise ValueError(f"{text!r} is not NAME,URL[,CERTIFICATE[,PROCESS]]")
        return cls(name, url, certificate, int(process) if process else None)

    @classmethod
    def of(
        cls, name: str, server: Server, takes: Callable[[tuple[str, ...]], bool] = everything
    ) -> "Target":
        """Return the target that a running server of ours is."""
        url, certificate = f"https://127.0.0.1:{server.port}", server.certificate.certificate_path
        return cls(name, url, str(certificate), server.process_id, takes)


class Baseline(Server):
    """The server of bench/load/baseline.py."""

    def command(self) -> list[str]:
        """Return the command line of the baseline server."""
        return [
            *(sys.executable, "-m", "bench.load.baseline", str(self.directory / "store")),
            f"--port={self.port}",
            f"--certificate={self.certificate.certificate_path}",
            f"--key={self.certificate.key_path}",
        ]

    def fill(self, families: list[Family]) -> None:
        """Store all pairs of *families* before the start, which Puts would take minutes for."""
        (self.directory / "store").mkdir()
        store = baseline.Store(self.directory / "store")
        for family in families:
            numbers = range(family.pair_count)
            store.fill((family.key(number), family.value(number)) for number in numbers)
        store.close()

    @staticmethod
    def takes(options: tuple[str, ...]) -> bool:
        """Say whether it can be driven with these options."""
        return "--snappy" not in options


class Prototype(Server):
    """A built prototype of the read path: one key, serializable, one table, without compression."""

    def __init__(self, directory: Path, certificate: Certificate, source: Path) -> None:
        """*source* is the folder with its serve.py and its compiled module."""
        super().__init__(directory, certificate)
        self.source = source
        self.plain_port = free_port()

    def command(self) -> list[str]:
        """Return its command line."""
        return [
            *(sys.executable, str(self.source / "serve.py"), f"--dir={self.directory / 'data'}"),
            *(f"--port={self.port}", f"--plain={self.plain_port}"),
        ]

    def fill(self, family: Family) -> None:
        """Make its data as it reads them, a database for each table; give it the certificate."""
        folder = self.directory / "data"
        folder.mkdir()
        with lmdb.open(str(folder), map_size=baseline.MAP_BYTES, max_dbs=64) as environment:
            table = environment.open_db(pairs.TABLE)
            with environment.begin(write=True) as transaction:
                for number in range(family.pair_count):
                    transaction.put(family.key(number), family.value(number), db=table)
        shutil.copy(self.certificate.certificate_path, folder / "cert.pem")
        shutil.copy(self.certificate.key_path, folder / "key.pem")

    def wait_until_serving(self) -> None:
        """Return once it takes connections, for it has no health check; raise ServerError."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise ServerError(f"the prototype takes no connection:\n{self.stderr}")

    @staticmethod
    def takes(options: tuple[str, ...]) -> bool:
        """Say whether it can be driven with these options."""
        return not options or options == ("--keys=one",)
