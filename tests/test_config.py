"""The command line becomes settings, or one clear error."""

import re
from pathlib import Path

import pytest

from regatta.config import FLAGS
from regatta.config import Settings
from regatta.config import load
from regatta.durations import parse_duration
from regatta.endpoint import Endpoint
from regatta.errors import StartError
from regatta.flags import Address

TLS_FILES = ("server-cert", "client-cert", "client-key")


def settings(*arguments: str) -> Settings:
    """Return the settings that a command line gives."""
    given, rest = FLAGS.read(arguments)
    assert rest == []
    return load(given)


def refusal(*arguments: str) -> StartError:
    """Return the error that a command line meets."""
    with pytest.raises(StartError) as caught:
        settings(*arguments)
    assert caught.value.usage
    assert caught.value.remedy
    assert "\n" not in f"{caught.value}{caught.value.remedy}"
    return caught.value


def test_defaults_are_those_of_the_contract() -> None:
    assert {flag.name: (flag.kind.name, flag.default) for flag in FLAGS.by_name.values()} == {
        "config": ("path", ""),
        "dev-mode": ("bool", "false"),
        "log-level": ("string", "DEBUG"),
        "api.address": ("address", "localhost:8443"),
        "api.cert-filename": ("path", "hack/server.crt"),
        "api.key-filename": ("path", "hack/server.key"),
        "api.max-connection-age": ("duration", "0s"),
        "api.workers": ("uint", "0"),
        "api.reflection-api": ("bool", "false"),
        "rest.address": ("URL", "http://127.0.0.1:8079"),
        "rest.read-timeout": ("duration", "5s"),
        "kafka.brokers": ("strings", "localhost:9092"),
        "kafka.timeout": ("duration", "10s"),
        "kafka.group-id": ("string", "regatta-local"),
        "kafka.topics": ("strings", ""),
        "kafka.check-topics": ("bool", "false"),
        "kafka.tls": ("bool", "false"),
        "kafka.server-cert-filename": ("path", ""),
        "kafka.client-cert-filename": ("path", ""),
        "kafka.client-key-filename": ("path", ""),
        "kafka.property": ("key=value", ""),
        "raft.address": ("host:port", ""),
        "raft.listen-address": ("host:port", ""),
        "raft.initial-members": ("id=host:port,…", ""),
        "raft.cluster-id": ("uint", "1"),
        "raft.node-id": ("uint", "1"),
        "raft.node-host-dir": ("path", "/tmp/regatta/raft"),
        "raft.wal-dir": ("path", ""),
        "raft.state-machine-dir": ("path", "/tmp/regatta/state-machine"),
        "raft.state-machine-wal-dir": ("path", ""),
    }


def test_no_flags_make_a_single_node_on_loopback() -> None:
    node = settings()
    assert node.api.address == Endpoint(Address("localhost", 8443), encrypted=True)
    assert node.raft.address == node.raft.listen_address == Address("127.0.0.1", 5012)
    assert node.raft.initial_members == {1: Address("127.0.0.1", 5012)}
    assert node.raft.log_dir == Path("/tmp/regatta/raft")
    assert node.raft.data_dir == Path("/tmp/regatta/state-machine-1-1")
    assert node.kafka.topics == ()
    assert node.kafka.timeout_s == 10.0
    assert (node.dev_mode, node.log_level, node.warnings) == (False, "DEBUG", ())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--api.address", "[::1]:9000", "--dev-mode", "--log-level", "warn"],
        ["--api.address=[::1]:9000", "--dev-mode=true", "--log-level=Warn"],
        ["--api.address=a:1", "--log-level=WARN", "--api.address=[::1]:9000", "--dev-mode=T"],
    ],
    ids=["spaces", "equals", "the last one wins"],
)
def test_a_flag_takes_its_value_after_a_space_or_an_equals_sign(arguments: list[str]) -> None:
    node = settings(*arguments)
    assert node.api.address.where == Address("::1", 9000)
    assert str(node.api.address) == "https://[::1]:9000"
    assert node.dev_mode
    assert node.log_level == "WARN"


def test_directories_carry_the_ids_and_the_log_may_live_elsewhere() -> None:
    node = settings(
        "--raft.state-machine-dir=/data/state/",
        "--raft.cluster-id=0x10",
        "--raft.node-id=18446744073709551615",
        "--raft.wal-dir=/fast",
    )
    assert node.raft.data_dir == Path("/data/state-16-18446744073709551615")
    assert node.raft.log_dir == Path("/fast")
    assert node.raft.node_host_dir == Path("/tmp/regatta/raft")


def test_a_list_may_repeat_its_flag_or_use_commas() -> None:
    node = settings("--kafka.brokers=a:1,b:2", "--kafka.brokers", "c:3")
    assert node.kafka.brokers == (Address("a", 1), Address("b", 2), Address("c", 3))


def test_a_topic_that_is_named_twice_counts_once() -> None:
    node = settings("--kafka.topics=b,a,b", "--kafka.topics=a", "--kafka.topics=...")
    assert node.kafka.topics == ("b", "a", "...")
    assert not node.kafka.check_topics
    assert settings("--kafka.check-topics").kafka.check_topics


def test_properties_add_up_and_their_values_are_taken_as_they_are() -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAB==\n"
    node = settings(
        "--kafka.property=sasl.oauthbearer.config=principal=me, scope=a=b",
        *("--kafka.property", "debug=broker,topic"),
        *("--kafka.property", f"ssl.ca.pem={pem}"),
        "--kafka.property=client.id=first",
        "--kafka.property= client.id=",
        "--kafka.property=test.mock.num.brokers=1",
    )
    assert node.kafka.properties == {
        "sasl.oauthbearer.config": "principal=me, scope=a=b",
        "debug": "broker,topic",
        "ssl.ca.pem": pem,
        "client.id": "",  # the last one counts
        "test.mock.num.brokers": "1",
    }
    assert settings().kafka.properties == settings("--kafka.property=").kafka.properties == {}


@pytest.mark.parametrize("text", ["sasl.password:hunter2", "=hunter2", " =hunter2", "a=hunter2\0"])
def test_what_is_no_property_is_refused_without_being_shown(text: str) -> None:
    error = refusal(f"--kafka.property={text}")
    assert str(error) == "--kafka.property: what is given is not key=value"
    assert "hunter2" not in error.remedy


def test_settings_in_a_log_do_not_show_properties() -> None:
    assert "hunter2" not in repr(settings("--kafka.property=sasl.password=hunter2"))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("bootstrap.servers", "Use --kafka.brokers."),
        ("metadata.broker.list", "Use --kafka.brokers."),
        ("group.id", "Use --kafka.group-id."),
        ("enable.auto.commit", "Leave it out: positions are kept with the data"),
        ("auto.commit.enable", "Leave it out: positions are kept with the data"),
        ("enable.auto.offset.store", "Leave it out: positions are kept with the data"),
        ("auto.offset.reset", "Leave it out: positions are kept with the data"),
        ("offset.store.method", "Leave it out: positions are kept with the data"),
        ("enable.partition.eof", "Leave it out: "),
        ("partition.assignment.strategy", "Leave it out: partitions are given and taken back"),
        ("group.protocol", "Leave it out: partitions are given and taken back"),
        ("group.remote.assignor", "Leave it out: partitions are given and taken back"),
        ("error_cb", "Leave it out: it takes code, not text."),
        ("rebalance_cb", "Leave it out: it takes code, not text."),
        ("logger", "Leave it out: it takes code, not text."),
        ("default.topic.config", "Give its entries one by one."),
    ],
)
def test_a_property_that_is_for_regatta_to_set_is_refused(name: str, remedy: str) -> None:
    error = refusal(f"--kafka.property={name}=hunter2")
    assert str(error) == f'--kafka.property: "{name}" can\'t be given'
    assert error.remedy.startswith(remedy)


def test_a_property_may_not_switch_tls_off_again(tmp_path: Path) -> None:
    (tmp_path / "pem").touch()
    tls = ["--kafka.tls", *(f"--kafka.{name}-filename={tmp_path / 'pem'}" for name in TLS_FILES)]
    for protocol in ("plaintext", "SASL_PLAINTEXT", "nope"):
        error = refusal(*tls, f"--kafka.property=security.protocol={protocol}")
        assert str(error) == (
            "--kafka.property: security.protocol is one without TLS, and --kafka.tls is on"
        )
        settings(f"--kafka.property=security.protocol={protocol}")
    for protocol in ("ssl", "SASL_SSL"):
        settings(*tls, f"--kafka.property=security.protocol={protocol}")


def test_the_operators_port_knows_whether_its_address_was_given() -> None:
    default = settings()
    assert default.rest.address == Address("127.0.0.1", 8079)
    assert not default.rest.address_given
    given = settings("--rest.address=http://127.0.0.1:8079/", "--rest.read-timeout=300ms")
    assert given.rest.address == default.rest.address
    assert given.rest.address_given
    assert given.rest.read_timeout_s == 0.3
    assert settings("--rest.address=").rest.address is None


def test_a_cluster_of_one_is_accepted() -> None:
    node = settings("--raft.address=a:5012", "--raft.initial-members=1=a:5012")
    assert node.raft.initial_members == {1: Address("a", 5012)}


def test_the_flag_without_effect_is_accepted_with_a_warning() -> None:
    (warning,) = settings("--raft.state-machine-wal-dir=/x").warnings
    assert "--raft.state-machine-wal-dir has no effect" in warning


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("--rest.address=127.0.0.1:8079", '--rest.address: "127.0.0.1:8079" is not an http:// URL'),
        ("--rest.address=https://a:1", '--rest.address: "https://a:1" is not an http:// URL'),
        ("--rest.address=http://a", '--rest.address: "http://a" is not an http:// URL'),
        ("--rest.address=http://a:1/x", '--rest.address: "http://a:1/x" is not an http:// URL'),
        ("--api.max-connection-age=-1s", "--api.max-connection-age must not be negative"),
        ("--rest.read-timeout=0", "--rest.read-timeout must be longer than nothing"),
        ("--kafka.timeout=10 parsecs", '--kafka.timeout: "10 parsecs" is not a duration'),
        ("--kafka.timeout=0", "--kafka.timeout must be longer than nothing"),
        ("--kafka.timeout=-1s", "--kafka.timeout must be longer than nothing"),
        ("--kafka.brokers=a", '--kafka.brokers: "a" is not host:port'),
        ("--kafka.brokers=a:1,,b:2", '--kafka.brokers: "a:1,,b:2" is not a list'),
        ("--kafka.brokers=:1", '--kafka.brokers: ":1" is not host:port'),
        ("--kafka.brokers=a:0", '--kafka.brokers: "a:0" is not host:port'),
        ("--kafka.topics=a,b/c", '--kafka.topics: "b/c" is not a topic, and regular expressions'),
        ("--kafka.topics=^orders", '--kafka.topics: "^orders" is not a topic, and regular expr'),
        ("--kafka.topics=orders.*", '--kafka.topics: "orders.*" is not a topic, and regular exp'),
        ("--kafka.topics=a\n", '--kafka.topics: "a\\n" is not a topic'),
        ("--kafka.topics=.", '--kafka.topics: "." is not a topic'),
        ("--kafka.topics=a,..", '--kafka.topics: ".." is not a topic'),
        ("--kafka.topics=" + "a" * 250, '--kafka.topics: "aaaaa'),
        ("--kafka.group-id=a\0b", '--kafka.group-id: "a\\u0000b" is not a group'),
        ("--kafka.group-id=", "--kafka.group-id must not be empty"),
        ("--raft.node-id=0", "--raft.node-id must not be 0"),
        ("--raft.node-id=-1", '--raft.node-id: "-1" is not a whole number below 2^64'),
        ("--raft.node-id=1.5", '--raft.node-id: "1.5" is not a whole number below 2^64'),
        ("--raft.node-id=", '--raft.node-id: "" is not a whole number below 2^64'),
        ("--raft.cluster-id=18446744073709551616", "--raft.cluster-id: "),
        ("--raft.cluster-id=0x10000000000000000", "--raft.cluster-id: "),
        ("--raft.cluster-id=\u0663", "--raft.cluster-id: "),
        ("--raft.address=:5012", "--raft.address: :5012 is not an address"),
        ("--raft.address=a:0", "--raft.address: a:0 is not an address"),
        ("--raft.initial-members=1=a:1", "raft address must be set"),
        ("--raft.node-host-dir=", "--raft.node-host-dir must not be empty"),
        ("--raft.state-machine-dir=", "--raft.state-machine-dir must not be empty"),
        ("--api.address=", "--api.address must not be empty"),
        ("--api.address=localhost", '--api.address: "localhost" is not host:port or a URL'),
        ("--api.address=localhost:65536", '--api.address: "localhost:65536" is not host:port'),
        ("--api.address=[127.0.0.1]:1", '--api.address: "[127.0.0.1]:1" is not host:port'),
        ("--api.address=ftp://a:1", '--api.address: "ftp://a:1" is not host:port or a URL'),
        ("--api.address=unix:///" + "a" * 108, "--api.address: the path of a Unix socket has at"),
        ("--api.cert-filename=", "--api.cert-filename must not be empty"),
        ("--raft.wal-dir=a\0b", '--raft.wal-dir: "a\\u0000b" is not a path'),
        ("--log-level=a\nb", '--log-level: unknown level "a\\nb"'),
        ("--dev-mode=yes", '--dev-mode: "yes" is not true or false'),
        ("--log-level=loud", '--log-level: unknown level "loud"'),
    ],
)
def test_a_wrong_value_is_named_with_its_flag(argument: str, problem: str) -> None:
    assert str(refusal(argument)).startswith(problem)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ("1=a:1,2=b:2", "a node can't form a cluster yet"),
        ("1=a:1,1=b:2", "--raft.initial-members names one id twice"),
        ("2=b:2", "--raft.initial-members lacks this node, 1=a:1"),
        ("1=b:1", "--raft.initial-members lacks this node, 1=a:1"),
        ("a:1", '--raft.initial-members: "a:1" is not a list of id=host:port'),
    ],
)
def test_wrong_members_are_refused(members: str, problem: str) -> None:
    assert str(refusal("--raft.address=a:1", f"--raft.initial-members={members}")) == problem


def test_a_long_value_is_cut_off_in_its_error() -> None:
    assert len(str(refusal("--raft.node-id=" + "9" * 100_000))) < 300


def test_the_certificate_only_counts_where_there_is_tls() -> None:
    for address in ("http://a:1", "unix:///run/regatta.sock"):
        settings(f"--api.address={address}", "--api.cert-filename=", "--api.key-filename=")
    for address in ("a:1", "https://a:1", "unixs:///run/regatta.sock"):
        refusal(f"--api.address={address}", "--api.key-filename=")


def test_kafka_tls_needs_its_three_files(tmp_path: Path) -> None:
    given = ["--kafka.tls"]
    for name in TLS_FILES:
        assert f"--kafka.{name}-filename is not given" in str(refusal(*given))
        path = tmp_path / name
        given.append(f"--kafka.{name}-filename={path}")
        assert f"--kafka.{name}-filename: there is no file {path}" in str(refusal(*given))
        path.touch()
    assert settings(*given).kafka.tls == tuple(tmp_path / name for name in TLS_FILES)
    assert settings(*given[1:]).kafka.tls is None


@pytest.mark.parametrize(
    ("argument", "remedy"),
    [
        ("--api.adress=a:1", "Did you mean --api.address?"),
        ("--raft.nodeid", "Did you mean --raft.node-id?"),
        ("-dev-mode", "Did you mean --dev-mode?"),
        ("--raft_node_host_dir=x", "Did you mean --raft.node-host-dir?"),
        ("--zzz", "See `regatta --help` for all flags."),
    ],
)
def test_an_unknown_flag_suggests_the_nearest(argument: str, remedy: str) -> None:
    error = refusal(argument)
    assert str(error) == f"unknown flag: {argument.partition('=')[0]}"
    assert error.remedy == remedy


def test_a_flag_at_the_end_needs_its_value() -> None:
    error = refusal("--raft.address")
    assert str(error) == "--raft.address needs a value"
    assert error.remedy == "Write --raft.address=<host:port>."


def test_what_follows_two_dashes_is_no_flag() -> None:
    assert FLAGS.read(["--", "--dev-mode", "-h"]) == ({}, ["--dev-mode", "-h"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300ms", 0.3),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("+2us", 2e-6),
        ("2\u00b5s", 2e-6),
        ("2\u03bcs", 2e-6),
        ("1ns", 1e-9),
        ("-1m", -60.0),
        ("0", 0.0),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "1", "s", "1 s", "1h 2m", "1d", ".s", "+", "--1s", "\u0663s", "2562048h", "9" * 5000],
)
def test_what_go_does_not_read_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_duration(text)
