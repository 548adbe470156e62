"""A certificate, and daemons with reader processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import Certificate
from tests.workers.processes import Node


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def node(tmp_path: Path, certificate: Certificate) -> Iterator[Node]:
    """A running daemon with two reader processes."""
    made = Node(tmp_path, certificate, "--api.workers=2")
    made.start()
    made.wait_for_workers(2)
    yield made
    made.kill_9()
