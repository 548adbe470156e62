"""Starts, pauses and kills a real Apache Kafka broker on the loopback interface.

Maven fetches the broker once and then works without a network.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka import KafkaError
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions
from confluent_kafka.cimpl import NewTopic

from tests.cluster.harness import free_port
from tests.kafka.certificates import BrokerCertificates

POM_PATH = Path(__file__).parent / "pom.xml"
CLASS_PATH_PATH = Path(__file__).parents[2] / "build" / "kafka" / "class-path"
PROGRAMS = {"java": "a Java runtime, version 17 or later", "mvn": "Maven"}

FETCH_TIMEOUT_S = 300.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
REQUEST_TIMEOUT_S = 20.0

NO_COORDINATOR = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
}

# Of a topic whose old values go away as soon as can be.
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": str(1 << 20),
    "segment.ms": "10",
    "min.cleanable.dirty.ratio": "0.01",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "100",
    "delete.retention.ms": "0",
}

USER, PASSWORD = "regatta", "a secret"
MESSAGE_BYTES_MAX = 4 << 20

JAVA = (
    *("java", "-Xmx512m", "-Xms128m", "-XX:+UseSerialGC"),
    *("-XX:TieredStopAtLevel=1", "-Xshare:auto"),  # what a process that lives for a minute wants
    *(
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
    ),
)


class BrokerError(Exception):
    """The broker ended by itself, or did not do in time what it was asked to."""


def missing_programs() -> list[str]:
    """Return what a broker needs and is not there, in words."""
    return [words for name, words in PROGRAMS.items() if shutil.which(name) is None]


def class_path() -> str:
    """Return the class path of the broker, fetched if it is not here yet."""
    if not _is_fetched():
        CLASS_PATH_PATH.parent.mkdir(parents=True, exist_ok=True)
        goal = ("dependency:build-classpath", f"-Dmdep.outputFile={CLASS_PATH_PATH}")
        done = subprocess.run(
            ["mvn", "-q", "-B", "-f", POM_PATH, *goal],
            capture_output=True,
            text=True,
            timeout=FETCH_TIMEOUT_S,
        )
        if done.returncode != 0:
            raise BrokerError(f"Maven can't fetch the broker:\n{done.stdout}{done.stderr}")
    return CLASS_PATH_PATH.read_text().strip()


def _is_fetched() -> bool:
    if not CLASS_PATH_PATH.exists():
        return False
    is_newest = CLASS_PATH_PATH.stat().st_mtime >= POM_PATH.stat().st_mtime
    return is_newest and all(map(os.path.exists, CLASS_PATH_PATH.read_text().strip().split(":")))


class Broker:
    """A cluster of one: broker and controller in one process, with data of its own.

    Three listeners: without anything, with TLS where clients show certificates, and with a
    password (SASL PLAIN, without TLS). The ports stay the same over all starts.
    """

    def __init__(self, directory: Path) -> None:
        """Keep everything under *directory*, an existing folder."""
        self.directory = directory
        self.certificates = BrokerCertificates.make(directory)
        self.port = free_port()
        self.tls_port = free_port()
        self.password_port = free_port()
        self._controller_port = free_port()
        self._log_path = directory / "broker.log"
        self._properties_path = directory / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: AdminClient | None = None

    @property
    def address(self) -> str:
        """The listener without TLS or password."""
        return f"127.0.0.1:{self.port}"

    @property
    def tls_address(self) -> str:
        """The listener with TLS."""
        return f"127.0.0.1:{self.tls_port}"

    @property
    def password_address(self) -> str:
        """The listener with a password."""
        return f"127.0.0.1:{self.password_port}"

    @property
    def process_id(self) -> int:
        """The id of the running process."""
        if self._process is None:
            raise BrokerError("the broker is not running")
        return self._process.pid

    @property
    def log(self) -> str:
        """All that the broker has said, over all its starts."""
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    # --- The process -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start the broker and return once it answers; its data are made at the first start."""
        if self._process is not None:
            raise BrokerError("the broker is running already")
        if not self._properties_path.exists():
            self._format()
        self._process = self._launch("kafka.Kafka", str(self._properties_path))
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Stop the broker in good order."""
        self._end(signal.SIGTERM)

    def kill_9(self) -> None:
        """Kill the broker, if it runs."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let the process stand still; its connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        self._signal(signal.SIGCONT)

    def recover(self) -> None:
        """See to it that the broker runs, after a test that has failed half-way perhaps."""
        if self._process is None:
            self.start()
        else:
            self.resume()

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

    def _launch(self, main_class: str, *arguments: str) -> subprocess.Popen[bytes]:
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                [*JAVA, "-cp", class_path(), main_class, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )

    def _format(self) -> None:
        self._properties_path.write_text(
            "".join(f"{key}={value}\n" for key, value in self._properties().items())
        )
        arguments = ("format", "-t", "regatta-test-cluster-0", "-c", str(self._properties_path))
        formatter = self._launch("kafka.tools.StorageTool", *arguments)
        if formatter.wait(START_TIMEOUT_S) != 0:
            raise BrokerError(f"the broker's storage can't be made:\n{self.log}")

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                raise BrokerError(f"the broker ended while starting:\n{self.log}")
            with contextlib.suppress(KafkaException):
                if self.admin.list_topics(timeout=0.5).brokers:
                    return
        raise BrokerError(f"the broker did not answer in time:\n{self.log}")

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise BrokerError("the broker is not running")
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise BrokerError(f"the broker did not stop in time:\n{self.log}") from None
        finally:
            self._process = None

    def _properties(self) -> dict[str, object]:
        listeners = {
            "PLAINTEXT": self.port,
            "SSL": self.tls_port,
            "SASL_PLAINTEXT": self.password_port,
            "CONTROLLER": self._controller_port,
        }
        urls = [f"{name}://127.0.0.1:{port}" for name, port in listeners.items()]
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
            "SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT",
            "listeners": ",".join(urls),
            "advertised.listeners": ",".join(urls[:3]),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.certificates.broker_path,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.certificates.authority_path,
            "ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
                f'{module} required user_{USER}="{PASSWORD}";'
            ),
            "log.dirs": self.directory / "data",
            "auto.create.topics.enable": "false",
            "message.max.bytes": MESSAGE_BYTES_MAX,
            # One of everything: there are no other brokers.
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.num.partitions": 1,
            "transaction.state.log.min.isr": 1,
            # Quick to notice: members that come and go, its own restart after a kill.
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 100,
            "broker.session.timeout.ms": 1000,
            "broker.heartbeat.interval.ms": 200,
            "controlled.shutdown.enable": "false",
            # Quick to clean: old values of compacted topics, deleted topics.
            "log.cleaner.backoff.ms": 100,
            "log.cleaner.dedupe.buffer.size": 4 << 20,
            "log.segment.delete.delay.ms": 500,
            "num.network.threads": 2,
            "num.io.threads": 2,
        }

    # --- Topics ----------------------------------------------------------------------------------

    @property
    def admin(self) -> AdminClient:
        """A client that manages topics and groups."""
        if self._admin is None:
            # A broker that starts is asked often.
            quick = {"reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 100, "log_level": 0}
            self._admin = AdminClient({"bootstrap.servers": self.address, **quick})
        return self._admin

    def create_topic(
        self, topic: str, partition_count: int = 1, config: Mapping[str, str] | None = None
    ) -> None:
        """Make a topic with settings of its own, for example {"cleanup.policy": "compact"}."""
        made = NewTopic(topic, partition_count, 1, config=dict(config or {}))
        _wait_for(self.admin.create_topics([made]).values())
        self._wait_for_partitions(topic, partition_count)

    def add_partitions(self, topic: str, partition_count: int) -> None:
        """Give a topic more partitions, *partition_count* in all."""
        _wait_for(self.admin.create_partitions([NewPartitions(topic, partition_count)]).values())
        self._wait_for_partitions(topic, partition_count)

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and all its records, and wait until nobody sees it."""
        _wait_for(self.admin.delete_topics([topic]).values())
        _wait_until(lambda: topic not in self.admin.list_topics(timeout=REQUEST_TIMEOUT_S).topics)

    def delete_records(self, topic: str, partition: int, first_kept_offset: int) -> None:
        """Delete the records of a partition below an offset."""
        below = TopicPartition(topic, partition, first_kept_offset)
        _wait_for(self.admin.delete_records([below]).values())

    def members(self, group_id: str) -> dict[str, set[tuple[str, int]]]:
        """Return the members of a group, by id, and the topics and partitions of each."""
        described = _ask_coordinator(lambda: self.admin.describe_consumer_groups([group_id]))
        return {
            member.member_id: {
                (assigned.topic, assigned.partition)
                for assigned in member.assignment.topic_partitions
            }
            for member in described.members
        }

    def committed(self, group_id: str, topic: str) -> dict[int, int]:
        """Return the offsets that a group has committed, by partition."""
        asked = ConsumerGroupTopicPartitions(group_id)
        found = _ask_coordinator(lambda: self.admin.list_consumer_group_offsets([asked]))
        places = found.topic_partitions or []
        return {place.partition: place.offset for place in places if place.topic == topic}

    def _wait_for_partitions(self, topic: str, partition_count: int) -> None:
        """Wait until each partition has a leader; making it is over a little earlier."""

        def is_there() -> bool:
            found = self.admin.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
            leaders = [partition.leader for partition in found.partitions.values()]
            return len(leaders) == partition_count and min(leaders) >= 0

        _wait_until(is_there)


def _wait_for(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.result(REQUEST_TIMEOUT_S)


def _ask_coordinator(question: Callable[[], dict[str, Future[Any]]]) -> Any:
    """Ask one question, again and again while the groups' coordinator is being found or loads."""
    deadline_s = time.monotonic() + REQUEST_TIMEOUT_S
    while True:
        (future,) = question().values()
        try:
            return future.result(REQUEST_TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() not in NO_COORDINATOR or time.monotonic() > deadline_s:
                raise
        time.sleep(0.1)


def _wait_until(is_done: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + REQUEST_TIMEOUT_S
    while not is_done():
        if time.monotonic() > deadline_s:
            raise BrokerError("the broker did not get it done in time")
        time.sleep(0.02)
