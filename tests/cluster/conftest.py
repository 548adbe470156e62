"""Fixtures of the tests that need a whole server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import Certificate, Daemon


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
