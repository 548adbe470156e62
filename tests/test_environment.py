"""Environment variables as settings."""

import pytest

from regatta.config import FLAGS
from regatta.config import load
from regatta.environment import names_of
from regatta.environment import read_environment
from regatta.errors import StartError
from regatta.flags import Address


def test_no_two_flags_share_a_variable() -> None:
    names = [name for flag in FLAGS.by_name.values() for name in names_of(flag)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "name", ["REGATTA_RAFT_INITIAL_MEMBERS", "RAFT_INITIAL_MEMBERS", "RAFT.INITIAL-MEMBERS"]
)
@pytest.mark.parametrize("text", ["1=a:1,2=b:2", "1=a:1 2=b:2", " 1=a:1,\n 2=b:2 "])
def test_every_form_of_a_name_is_read_and_lists_split_at_commas_and_space(
    name: str, text: str
) -> None:
    source, warnings = read_environment(FLAGS, {name: text})
    assert FLAGS.settle(source)["raft.initial-members"] == (
        (1, Address("a", 1)),
        (2, Address("b", 2)),
    )
    assert warnings == []


@pytest.mark.parametrize(
    ("text", "properties"),
    [
        ("a=1,2", {"a": "1,2"}),
        ("a=1 b=2=3\tc=", {"a": "1", "b": "2=3", "c": ""}),
        ("a=1 b=2\n", {"a": "1 b=2"}),
        ("\n  a=1, 2 \r\n\n b=x y\n", {"a": "1, 2", "b": "x y"}),
    ],
)
def test_properties_stand_one_a_line_or_between_white_space(
    text: str, properties: dict[str, str]
) -> None:
    source, _ = read_environment(FLAGS, {"KAFKA_PROPERTY": text})
    assert load(source).kafka.properties == properties


def test_a_wrong_property_in_the_environment_is_not_shown() -> None:
    source, _ = read_environment(
        FLAGS, {"KAFKA_PROPERTY": "sasl.username=me sasl.password hunter2"}
    )
    with pytest.raises(StartError) as caught:
        load(source)
    assert str(caught.value) == (
        "KAFKA_PROPERTY in the environment: what is given is not key=value"
    )


def test_the_longest_name_counts_most() -> None:
    environment = {"RAFT.NODE-ID": "1", "RAFT_NODE_ID": "2", "REGATTA_RAFT_NODE_ID": "3"}
    for name, node_id in (("REGATTA_RAFT_NODE_ID", 3), ("RAFT_NODE_ID", 2), ("RAFT.NODE-ID", 1)):
        source, _ = read_environment(FLAGS, environment)
        assert load(source).raft.node_id == node_id
        del environment[name]


@pytest.mark.parametrize("text", ["", " , "])
def test_empty_variables_are_ignored(text: str) -> None:
    environment = {"REGATTA_KAFKA_BROKERS": text, "KAFKA_BROKERS": "b:2", "RAFT_WAL_DIR": ""}
    source, _ = read_environment(FLAGS, environment)
    assert set(source) == {"kafka.brokers"}
    assert load(source).kafka.brokers == (Address("b", 2),)


def test_the_file_is_named_by_the_long_name_alone() -> None:
    source, _ = read_environment(FLAGS, {"CONFIG": "/other", "config": "/other"})
    assert source == {}
    source, _ = read_environment(FLAGS, {"CONFIG": "/other", "REGATTA_CONFIG": "/mine"})
    assert source["config"].texts == ["/mine"]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("RAFT_NODE_ID", "x", 'RAFT_NODE_ID in the environment: "x" is not a whole number'),
        ("RAFT.NODE-ID", "0", "RAFT.NODE-ID in the environment must not be 0"),
        ("LOG_LEVEL", "loud", 'LOG_LEVEL in the environment: unknown level "loud"'),
        ("DEV_MODE", "yes\n", 'DEV_MODE in the environment: "yes\\n" is not true or false'),
        ("KAFKA_TIMEOUT", "-1s", "KAFKA_TIMEOUT in the environment must be longer than nothing"),
        ("KAFKA_BROKERS", "a", 'KAFKA_BROKERS in the environment: "a" is not host:port'),
        ("KAFKA_TOPICS", "a/b", 'KAFKA_TOPICS in the environment: "a/b" is not a topic'),
        ("API_ADDRESS", "ftp://a", 'API_ADDRESS in the environment: "ftp://a" is not host:port'),
        ("RAFT_ADDRESS", "a:0", "RAFT_ADDRESS in the environment: a:0 is not an address"),
        ("RAFT_INITIAL_MEMBERS", "1=a:1", "raft address must be set with RAFT_INITIAL_MEMBERS in"),
        ("KAFKA_TLS", "1", "KAFKA_TLS in the environment is on, and --kafka.server-cert-filename"),
    ],
)
def test_a_mistake_names_its_variable(name: str, text: str, problem: str) -> None:
    source, _ = read_environment(FLAGS, {name: text})
    with pytest.raises(StartError) as caught:
        load(source)
    assert str(caught.value).startswith(problem)
    assert caught.value.usage
    assert caught.value.remedy
    assert "\n" not in f"{caught.value}{caught.value.remedy}"


def test_only_a_slip_of_the_pen_is_warned_of() -> None:
    others = {"REGATTA_SERVICE_HOST": "a", "REGATTA_PORT_8443_TCP_PORT": "1", "RAFT_ADRESS": "b"}
    source, warnings = read_environment(FLAGS, {**others, "REGATTA_RAFT_ADRESS": "a:1"})
    assert source == {}
    assert warnings == [
        "REGATTA_RAFT_ADRESS in the environment is unknown: did you mean REGATTA_RAFT_ADDRESS?"
    ]
