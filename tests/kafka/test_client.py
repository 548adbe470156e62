"""What librdkafka is told, how wrong properties and files end the start, and questions to brokers.

The brokers are librdkafka's mock cluster, and a real one for what that does not tell.
"""

import asyncio
import base64
import datetime
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from confluent_kafka import KafkaError
from confluent_kafka import KafkaException
from confluent_kafka import Uuid
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin import TopicDescription
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from regatta.errors import StartError
from regatta.kafka import client
from regatta.kafka.client import admin_client
from regatta.kafka.client import check_client
from regatta.kafka.client import client_properties
from regatta.kafka.client import id_of
from regatta.kafka.client import topic_ids
from regatta.kafka.client import wait_for_topics
from regatta.kafka_properties import REMEDIES
from regatta.kafka_properties import TlsFiles
from tests.kafka.broker import Broker
from tests.kafka.mock_cluster import MockCluster

NOBODY = "127.0.0.1:1"
KEY_PASSWORD = "a passphrase"


def properties(
    broker: str = NOBODY, tls: TlsFiles | None = None, timeout_s: float = 10.0, **given: str
) -> dict[str, str]:
    """Return a consumer's properties; an underscore in a name stands for a dot."""
    return client_properties([broker], "group", timeout_s, tls, dotted(given))


def dotted(given: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "."): value for name, value in given.items()}


def refusal(tls: TlsFiles | None = None, **given: str) -> StartError:
    """Return the error that the check ends with."""
    with pytest.raises(StartError) as caught:
        check_client(properties(tls=tls, **given), dotted(given))
    assert caught.value.usage
    assert caught.value.remedy
    assert "\n" not in f"{caught.value}{caught.value.remedy}"
    return caught.value


def write_pair(directory: Path, name: str) -> None:
    """Write a self-signed certificate and its key, plain and encrypted."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    password = serialization.BestAvailableEncryption(KEY_PASSWORD.encode())
    for suffix, encryption in (("key", serialization.NoEncryption()), ("encrypted", password)):
        form = serialization.PrivateFormat.PKCS8
        data = key.private_bytes(serialization.Encoding.PEM, form, encryption)
        (directory / f"{name}.{suffix}").write_bytes(data)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A CA, a certificate and its key that librdkafka takes."""
    directory = tmp_path_factory.mktemp("tls")
    for name in ("ca", "own", "other"):
        write_pair(directory, name)
    (directory / "junk").write_text("junk")
    return TlsFiles(directory / "ca.crt", directory / "own.crt", directory / "own.key")


def topics_of(cluster: MockCluster) -> set[str]:
    """Return the names of all topics."""
    admin = AdminClient({"bootstrap.servers": cluster.address, "log_level": 0})
    return set(admin.list_topics(timeout=10).topics)


@pytest.fixture
def cluster() -> MockCluster:
    """A cluster without topics."""
    return MockCluster()


# Properties.


def test_the_consumer_sees_only_committed_records_and_commits_by_itself_alone() -> None:
    told = properties()
    assert told["bootstrap.servers"] == NOBODY
    assert told["group.id"] == "group"
    assert told["isolation.level"] == "read_committed"
    assert told["enable.auto.commit"] == told["enable.auto.offset.store"] == "false"
    assert told["auto.offset.reset"] == "error"
    assert told["allow.auto.create.topics"] == "false"
    assert "security.protocol" not in told


def test_several_brokers_are_one_list() -> None:
    told = client_properties(["a:1", "[::1]:2"], "group", 10.0, None, {})
    assert told["bootstrap.servers"] == "a:1,[::1]:2"


@pytest.mark.parametrize(
    ("timeout_s", "told"),
    [(10.0, "10000"), (1.5, "1500"), (0.3, "1000"), (1e-9, "1000"), (1e9, "2147483647")],
)
def test_the_dialling_limit_is_kept_within_what_librdkafka_takes(
    timeout_s: float, told: str
) -> None:
    found = properties(timeout_s=timeout_s)
    assert found["socket.connection.setup.timeout.ms"] == told
    check_client(found, {})


def test_a_given_property_counts_more_than_a_default_and_less_than_what_must_be() -> None:
    told = properties(isolation_level="read_uncommitted", client_id="me", auto_offset_reset="x")
    assert told["isolation.level"] == "read_uncommitted"
    assert told["client.id"] == "me"
    assert told["auto.offset.reset"] == "error"


def test_tls_verifies_the_chain_and_not_the_host_name(files: TlsFiles) -> None:
    told = properties(tls=files)
    assert told["security.protocol"] == "ssl"
    assert told["ssl.ca.location"] == str(files.ca)
    assert told["ssl.endpoint.identification.algorithm"] == "none"
    assert "enable.ssl.certificate.verification" not in told  # it is on by default
    check_client(told, {})


def test_what_the_consumer_stands_on_can_not_be_given() -> None:
    assert client.FIXED.keys() | {"bootstrap.servers", "group.id"} <= REMEDIES.keys()


# The check.


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"nope": "1"}, '--kafka.property: No such configuration property: "nope"'),
        ({"session_timeout_ms": "abc"}, "--kafka.property: Invalid value for configuration prop"),
        ({"session_timeout_ms": "-5"}, '--kafka.property: Configuration property "session.timeou'),
        ({"security_protocol": "foo"}, '--kafka.property: Invalid value "foo" for configuration'),
        ({"fetch_max_bytes": "10"}, "--kafka.property: `fetch.max.bytes` must be >= `message.max"),
        (
            {"security_protocol": "sasl_ssl", "sasl_mechanism": "PLAIN"},
            "--kafka.property: sasl.username and sasl.password must be set",
        ),
        ({"default_topic_config": "a"}, "--kafka.property: 'str' object"),
    ],
)
def test_a_wrong_property_is_told_in_one_line(given: dict[str, str], problem: str) -> None:
    assert str(refusal(None, **given)).startswith(problem)


@pytest.mark.parametrize("name", ["sasl.password", "ssl.key.password", "sasl.oauthbearer.config"])
def test_secrets_are_not_in_errors(name: str) -> None:
    given = {name: "hunter2", "security.protocol": "hunter2"}
    with pytest.raises(StartError) as caught:
        check_client(client_properties([NOBODY], "group", 10.0, None, given), given)
    assert "hunter2" not in str(caught.value)
    assert "***" in str(caught.value)


def test_the_check_writes_nothing_and_waits_for_nobody() -> None:
    code = (
        "from regatta.kafka.client import *\n"
        "for given in ({'acks': '1'}, {'security.protocol': 'ssl', 'ssl.ca.location': '/no'}):\n"
        "    told = client_properties(['no.such.host.invalid:1'], 'g', 1.0, None, given)\n"
        "    try:\n"
        "        check_client(told, given)\n"
        "    except StartError as error:\n"
        "        assert 'ssl.ca.location' in str(error)\n"
    )
    begin_s = time.monotonic()
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - begin_s < 4


@pytest.mark.parametrize(
    ("field", "name", "problem"),
    [
        ("ca", "junk", "--kafka.server-cert-filename: PATH is not a PEM certificate"),
        ("ca", "nowhere", "--kafka.server-cert-filename: can't read PATH: No such file"),
        ("certificate", "junk", "--kafka.client-cert-filename: PATH is not a PEM certificate"),
        ("certificate", "own.key", "--kafka.client-cert-filename: PATH is not a PEM certificate"),
        ("key", "junk", "--kafka.client-key-filename: PATH is not a PEM private key"),
        ("key", "own.encrypted", "--kafka.client-key-filename: PATH is not a PEM private key"),
        ("key", "other.key", "--kafka.client-key-filename: PATH does not belong to the certif"),
    ],
)
def test_a_wrong_tls_file_is_named_with_its_flag(
    files: TlsFiles, field: str, name: str, problem: str
) -> None:
    path = files.ca.parent / name
    error = refusal(files._replace(**{field: path}))
    assert str(error).startswith(problem.replace("PATH", str(path)))


def test_an_encrypted_key_is_taken_with_its_password(files: TlsFiles) -> None:
    encrypted = files._replace(key=files.key.with_suffix(".encrypted"))
    check_client(properties(tls=encrypted, ssl_key_password=KEY_PASSWORD), {})
    error = refusal(encrypted, ssl_key_password="wrong")
    assert str(error).startswith("--kafka.client-key-filename: ")


def test_a_tls_file_given_as_a_property_is_named_as_one(files: TlsFiles) -> None:
    error = refusal(files, ssl_ca_location="/nowhere")
    assert str(error).startswith("--kafka.property: ssl.ca.location failed: ")


# Waiting for topics.


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for missing topics ten times a second."""
    monkeypatch.setattr(client, "ask_interval_s", 0.1)


@pytest.mark.usefixtures("impatient")
def test_waiting_ends_when_every_topic_has_a_partition(cluster: MockCluster) -> None:
    told: list[str] = []

    async def scene() -> None:
        found = wait_for_topics(properties(cluster.address), ["a", "b"], told.append)
        waiting = asyncio.create_task(found)
        while len(told) < 3:
            await asyncio.sleep(0.01)
        assert set(told) == {"waiting for a partition of a, b"}
        assert topics_of(cluster) == set()  # asking creates nothing
        cluster.produce("b", [(b"key", b"value")])
        while told[-1] != "waiting for a partition of a":
            await asyncio.sleep(0.01)
        assert not waiting.done()
        cluster.produce("a", [(b"key", b"value")])
        await waiting

    asyncio.run(asyncio.wait_for(scene(), 20))


def test_topics_that_are_there_are_found_at_once(cluster: MockCluster) -> None:
    cluster.produce("a", [(b"key", b"value")])
    waiting = wait_for_topics(properties(cluster.address), ["a"], lambda text: None)
    asyncio.run(asyncio.wait_for(waiting, client.ask_interval_s - 1))


def test_waiting_says_why_no_broker_answers() -> None:
    told: list[str] = []

    async def scene() -> None:
        waiting = asyncio.create_task(wait_for_topics(properties(), ["a"], told.append))
        while len(told) < 2:
            await asyncio.sleep(0.01)
        waiting.cancel()

    asyncio.run(asyncio.wait_for(scene(), 20))
    assert told[0] == "waiting for a partition of a"
    assert told[1].startswith("waiting for a partition of a: 127.0.0.1:1/bootstrap: Connect to ")
    assert "Connection refused" in told[1]


def test_waiting_ends_at_once_when_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    # The question is out for longer than the test lasts.
    monkeypatch.setattr(client, "ask_timeout_s_min", 30.0)

    async def scene() -> None:
        waiting = wait_for_topics(properties(), ["a"], lambda text: None)
        await asyncio.wait_for(waiting, 0.5)

    begin_s = time.monotonic()
    with pytest.raises(TimeoutError):
        asyncio.run(scene())
    assert time.monotonic() - begin_s < 5


# Topic ids. The mock cluster has no controller, whom librdkafka asks.


def test_a_topic_that_is_made_anew_has_another_id(broker: Broker, topic: str) -> None:
    admin = admin_client(properties(broker.address))
    broker.create_topic(topic, 3)
    first = topic_ids(admin, [topic], 10.0)[topic]
    assert len(first) == 16
    broker.add_partitions(topic, 4)
    assert topic_ids(admin, [topic, "no-such-topic"], 10.0) == {topic: first, "no-such-topic": b""}
    broker.delete_topic(topic)
    broker.create_topic(topic, 3)
    second = topic_ids(admin, [topic], 10.0)[topic]
    assert len(second) == 16
    assert second != first


def test_waiting_ends_with_a_topic_of_a_real_broker(broker: Broker, topic: str) -> None:
    broker.create_topic(topic)
    waiting = wait_for_topics(properties(broker.address), [topic], lambda text: None)
    asyncio.run(asyncio.wait_for(waiting, 20))


def described(topic_id: Uuid) -> Future[TopicDescription]:
    answer: Future[TopicDescription] = Future()
    answer.set_result(TopicDescription("a", topic_id, False, []))
    return answer


def test_a_topics_id_is_its_16_bytes() -> None:
    high, low = 0x0123456789ABCDEF, -2
    expected = high.to_bytes(8, "big") + (2**64 + low).to_bytes(8, "big")
    assert id_of(described(Uuid(high, low)), 1.0) == expected
    # Those of Java are shown with - and _ for + and /, librdkafka's are not.
    assert base64.b64encode(b"\xff" * 16).startswith(str(Uuid(-1, -1)).encode())


def test_a_broker_without_topic_ids_tells_none() -> None:
    assert id_of(described(Uuid(0, 0)), 1.0) == b""


def test_a_topic_that_is_gone_has_no_id() -> None:
    answer: Future[TopicDescription] = Future()
    answer.set_exception(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))
    assert id_of(answer, 1.0) == b""


def test_brokers_that_are_away_tell_no_ids_within_the_limit() -> None:
    begin_s = time.monotonic()
    assert topic_ids(admin_client(properties()), ["a", "b"], 0.5) == {"a": b"", "b": b""}
    assert 0.4 < time.monotonic() - begin_s < 5
