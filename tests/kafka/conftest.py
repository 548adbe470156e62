"""A broker for the whole run, and the table of faults, which the run prints at its end."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.cluster.harness import Certificate
from tests.kafka.broker import Broker
from tests.kafka.broker import BrokerError
from tests.kafka.broker import class_path
from tests.kafka.broker import missing_programs
from tests.kafka.faults import Outcome
from tests.kafka.faults import TopicDaemon
from tests.kafka.records import Account
from tests.kafka.records import Writer

outcomes: list[Outcome] = []
topic_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One certificate for all daemons of a test run."""
    return Certificate.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The broker of the run; tests take ``broker``."""
    if missing := missing_programs():
        pytest.skip(f"a Kafka broker needs {' and '.join(missing)}")
    try:
        class_path()
    except BrokerError as error:  # no network, for one
        pytest.skip(f"a Kafka broker can't be had: {error}")
    with Broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def broker(shared_broker: Broker) -> Iterator[Broker]:
    """A broker that runs, whatever the test before has done to it."""
    yield shared_broker
    shared_broker.recover()


@pytest.fixture
def topic() -> str:
    """The name of a topic that no other test uses; the test makes it."""
    return f"topic-{next(topic_numbers)}"


@pytest.fixture
def account() -> Account:
    """What the broker has committed of what the test has written."""
    return Account()


@pytest.fixture
def writer(broker: Broker, account: Account) -> Writer:
    """A producer that keeps the account."""
    return Writer(broker.address, account)


@pytest.fixture
def daemon_of(
    tmp_path: Path, broker: Broker, certificate: Certificate
) -> Iterator[Callable[..., TopicDaemon]]:
    """Return a function that makes a daemon, for the test to start: topics, then flags.

    *address* is that of another listener of the broker, *name* that of the daemon's folder.
    """
    made: list[TopicDaemon] = []

    def make(
        topics: Sequence[str], *flags: str, address: str = "", name: str = "daemon"
    ) -> TopicDaemon:
        known = (tmp_path / name, certificate, address or broker.address)
        made.append(TopicDaemon(*known, topics, *flags))
        return made[-1]

    yield make
    for daemon in made:
        daemon.kill_9()


@pytest.fixture
def report() -> Callable[[Outcome], None]:
    """Return a function that puts a line into the table."""
    return outcomes.append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many records each fault has lost and doubled."""
    if outcomes:
        terminalreporter.section("faults between topics and tables")
        for outcome in outcomes:
            terminalreporter.write_line(outcome.text())
