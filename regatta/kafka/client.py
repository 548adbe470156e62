"""librdkafka's side of a consumer: its properties, their check, and what only brokers know."""

import asyncio
import logging
import threading
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from confluent_kafka import Consumer
from confluent_kafka import KafkaError
from confluent_kafka import KafkaException
from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._topic import TopicDescription

from regatta.errors import StartError
from regatta.kafka_properties import TlsFiles
from regatta.kafka_properties import without_secrets

setup_timeout_ms_min, setup_timeout_ms_max = 1_000, 2**31 - 1  # what librdkafka takes
ask_interval_s = 5.0  # between questions for topics that are not there
ask_timeout_s_min, ask_timeout_s_max = 2.0, 30.0  # for one answer

# What a property that is given may change.
DEFAULTS = {
    "client.id": "regatta",
    "isolation.level": "read_committed",
    "allow.auto.create.topics": "false",
    "session.timeout.ms": "10000",
    "heartbeat.interval.ms": "3000",
    "topic.metadata.refresh.interval.ms": "10000",  # how soon new partitions are seen
    "reconnect.backoff.ms": "500",  # doubled up to 10 s, while a broker can't be reached
    "fetch.max.bytes": "10000000",
    "fetch.queue.backoff.ms": "10",  # a full queue is looked at again so soon
    "queued.max.messages.kbytes": "65536",  # fetched ahead, of each partition
    "statistics.interval.ms": "5000",
}
# What the consumer stands on; configuration refuses these.
FIXED = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "auto.offset.reset": "error",
    "enable.partition.eof": "true",
    "partition.assignment.strategy": "range,roundrobin",
}
TLS_FLAGS = {
    "ssl.ca.location": "--kafka.server-cert-filename",
    "ssl.certificate.location": "--kafka.client-cert-filename",
    "ssl.key.location": "--kafka.client-key-filename",
}
CREATION_FAILED = "Failed to create consumer: "
# For clients that speak through their errors: librdkafka writes no lines, or nobody reads them.
QUIET = {"log_level": "0"}
SILENT = logging.Logger("regatta.kafka.silent", logging.CRITICAL + 1)


def client_properties(
    brokers: Sequence[str],
    group_id: str,
    timeout_s: float,
    tls: TlsFiles | None,
    given: Mapping[str, str],
) -> dict[str, str]:
    """Return what the consumer's librdkafka is told.

    *timeout_s* limits the set-up of one connection; librdkafka takes no less than a second, and
    what is less counts as one. *given* are the properties that the user adds, which count more
    than defaults.
    """
    timeout_ms = min(max(round(timeout_s * 1000), setup_timeout_ms_min), setup_timeout_ms_max)
    return {
        **DEFAULTS,
        "socket.connection.setup.timeout.ms": str(timeout_ms),
        **(tls_properties(tls) if tls else {}),
        **given,
        "bootstrap.servers": ",".join(brokers),
        "group.id": group_id,
        **FIXED,
    }


def tls_properties(files: TlsFiles) -> dict[str, str]:
    """Return the properties of TLS with a client certificate.

    The brokers' chain is verified, their host names are not.
    """
    return {
        "security.protocol": "ssl",
        "ssl.ca.location": str(files.ca),
        "ssl.certificate.location": str(files.certificate),
        "ssl.key.location": str(files.key),
        "ssl.endpoint.identification.algorithm": "none",
    }


def check_client(properties: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Make a client and drop it; nothing is connected.

    Raises StartError, marked as wrong usage, that names the flag at fault: of a TLS file, or
    --kafka.property for what the user has *given*.
    """
    # Without brokers, lest dropping the client wait for a look-up of their names.
    alone = {name: value for name, value in properties.items() if name != "bootstrap.servers"}
    try:
        Consumer(alone, logger=SILENT).close()
    except KafkaException as error:
        text = error.args[0].str().removeprefix(CREATION_FAILED)
    except (TypeError, ValueError, AttributeError) as error:
        text = str(error)  # the binding's own checks
    else:
        return
    for name, flag in TLS_FLAGS.items():
        if text.startswith(f"{name} ") and name not in given:
            raise wrong_file(flag, Path(properties[name]), text)
    text = " ".join(without_secrets(text, given).split())
    raise StartError(
        f"--kafka.property: {text}" if given else f"the Kafka client can't be made: {text}",
        "librdkafka checks the properties; docs/kafka.md tells where they are listed.",
        usage=True,
    )


def wrong_file(flag: str, path: Path, text: str) -> StartError:
    """Return the error of a TLS file that librdkafka refuses with *text*, which is no help."""
    try:
        path.read_bytes()
    except OSError as error:
        problem, remedy = f"can't read {path}: {error.strerror}", "Name a file that can be read."
    else:
        if "mismatch" in text:
            problem = f"{path} does not belong to the certificate"
            remedy = "Name the key of --kafka.client-cert-filename."
        elif flag == TLS_FLAGS["ssl.key.location"]:
            problem = f"{path} is not a PEM private key that can be read"
            remedy = "For an encrypted one give --kafka.property ssl.key.password=…"
        else:
            problem, remedy = f"{path} is not a PEM certificate", "Name a PEM file."
    return StartError(f"{flag}: {problem}", remedy, usage=True)


async def wait_for_topics(
    properties: Mapping[str, str], topics: Sequence[str], on_waiting: Callable[[str], None]
) -> None:
    """Return once each of *topics* has a partition; no topic is created by asking.

    *on_waiting* is told in one line what is waited for and why, at first and after every question.
    May be cancelled at any moment: a question that has no answer yet is left to its time limit of
    30 s at most.
    """
    search = Search(properties, topics)
    on_waiting(search.describe())
    while True:
        await in_daemon_thread(search.ask)
        if not search.missing:
            return
        on_waiting(search.describe())
        await asyncio.sleep(ask_interval_s)


class Search:
    """The topics that have no partition yet."""

    def __init__(self, properties: Mapping[str, str], topics: Sequence[str]) -> None:
        self.missing = list(topics)
        # Short at first, so that it is soon known why nobody answers, longer for slow brokers.
        self._timeout_s = ask_timeout_s_min
        self._problem = ""
        self._client = Consumer({**properties, **QUIET}, logger=SILENT, error_cb=self._on_error)

    def ask(self) -> None:
        """Ask the brokers for the topics that are missing; blocks up to 30 s."""
        self._problem = ""
        try:
            self.missing = [topic for topic in self.missing if not self._has_partition(topic)]
        except KafkaException as error:
            reason = error.args[0].str()
            self._client.poll(0)  # lets librdkafka say more, through _on_error
            self._problem = self._problem or reason
            self._timeout_s = min(2 * self._timeout_s, ask_timeout_s_max)
        if not self.missing:
            self._client.close()

    def describe(self) -> str:
        """Return in one line what is missing."""
        found = f"waiting for a partition of {', '.join(self.missing)}"
        return f"{found}: {self._problem}" if self._problem else found

    def _has_partition(self, topic: str) -> bool:
        return bool(self._client.list_topics(topic, self._timeout_s).topics[topic].partitions)

    def _on_error(self, error: KafkaError) -> None:
        self._problem = error.str()


async def in_daemon_thread(work: Callable[[], None]) -> None:
    """Run *work* in a thread that nothing waits for, neither a cancelled caller nor the exit."""
    done: Future[None] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            work()
            done.set_result(None)
        except Exception as error:
            done.set_exception(error)

    threading.Thread(target=run, name="regatta-kafka-topics", daemon=True).start()
    await asyncio.wrap_future(done)


def admin_client(properties: Mapping[str, str]) -> AdminClient:
    """Return a client for topic_ids() that connects like the consumer of *properties*."""
    return AdminClient({**properties, **QUIET}, logger=SILENT)


def topic_ids(admin: AdminClient, topics: Sequence[str], timeout_s: float) -> dict[str, bytes]:
    """Return the 16 bytes that tell each topic from later ones of its name; blocks.

    Empty for a topic whose id can't be told: brokers before 2.8 have none, and brokers that are
    away, or a topic that is gone, don't answer in time.
    """
    answers = admin.describe_topics(TopicCollection(list(topics)), request_timeout=timeout_s)
    return {topic: id_of(answers[topic], timeout_s) for topic in topics}


def id_of(answer: Future[TopicDescription], timeout_s: float) -> bytes:
    """Return the id in a description that is awaited, empty where it has none."""
    try:
        found = answer.result(timeout_s + 1)  # librdkafka's own limit comes first
    except (KafkaException, TimeoutError):
        return b""
    topic_id = b64decode(f"{found.topic_id}==")  # shown without its padding
    return topic_id if any(topic_id) else b""
