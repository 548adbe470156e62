"""Fixtures of the tests that need a whole server."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import KV
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.cluster.tables import Table

table_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One certificate for all daemons of a test run."""
    return Certificate.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def stopped_daemon(tmp_path: Path, certificate: Certificate) -> Iterator[Daemon]:
    """A daemon with fresh directories that the test starts itself."""
    daemon = Daemon(tmp_path, certificate)
    yield daemon
    daemon.kill_9()


@pytest.fixture
def daemon(stopped_daemon: Daemon) -> Daemon:
    """A running daemon with fresh directories."""
    stopped_daemon.start()
    return stopped_daemon


@pytest.fixture(scope="module")
def shared_daemon(
    tmp_path_factory: pytest.TempPathFactory, certificate: Certificate
) -> Iterator[Daemon]:
    """A running daemon that the tests of a module share; each keeps to its own tables."""
    with Daemon(tmp_path_factory.mktemp("daemon"), certificate) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def calls(shared_daemon: Daemon) -> Iterator[KV]:
    """The blocking calls of the shared daemon."""
    with shared_daemon.channel() as channel:
        yield KV(channel)


@pytest.fixture
def table(calls: KV) -> Table:
    """A table of the shared daemon that no other test uses, not there before its first write."""
    return Table(calls, b"table_%d" % next(table_numbers))
