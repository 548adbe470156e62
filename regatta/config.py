"""The settings of a node: the table of flags, the frozen tree made of their values, the checks.

A flag `--api.cert-filename` becomes `settings.api.cert_filename`; durations are in seconds and end
in `_s`. FLAGS is the one place that knows names, types, defaults and meanings: parsing, `--help`,
docs/configuration.md, the keys of configuration files and the names of environment variables all
come from it.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regatta.endpoint import ENDPOINT
from regatta.endpoint import Endpoint
from regatta.errors import StartError
from regatta.flags import ADDRESS
from regatta.flags import BOOL
from regatta.flags import DURATION
from regatta.flags import HTTP_URL
from regatta.flags import MEMBERS
from regatta.flags import PATH
from regatta.flags import PROPERTIES
from regatta.flags import STRING
from regatta.flags import STRINGS
from regatta.flags import UINT
from regatta.flags import Address
from regatta.flags import Flag
from regatta.flags import Flags
from regatta.flags import Source
from regatta.flags import Values
from regatta.flags import parse_address
from regatta.flags import quoted
from regatta.kafka_properties import TlsFiles
from regatta.kafka_properties import remedy_for

default_cert_filename = "hack/server.crt"
default_key_filename = "hack/server.key"
single_node_address = Address("127.0.0.1", 5012)
KAFKA_TOPIC = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
TLS_PROTOCOL = re.compile(r"ssl$", re.IGNORECASE)
NOT_IN_A_TOPIC = re.compile(r"[^A-Za-z0-9._-]")
socket_path_bytes_max = 107  # what the system takes
workers_max = 256
log_levels = ("DEBUG", "INFO", "WARN", "ERROR")

FLAGS = Flags(
    [
        Flag("config", PATH, "", "configuration file, in place of the search for one"),
        Flag("dev-mode", BOOL, "false", "for development: readable logs, a certificate is made"),
        Flag("log-level", STRING, "DEBUG", "least level that is logged: DEBUG, INFO, WARN, ERROR"),
        Flag(
            "api.address",
            ENDPOINT,
            "localhost:8443",
            "where gRPC and REST listen: host:port or https://host:port with TLS, http://host:port "
            "without, unix:///path, or unixs:///path with TLS; an empty host is all interfaces",
        ),
        Flag(
            "api.cert-filename",
            PATH,
            default_cert_filename,
            "server certificate (PEM); not looked at without TLS",
        ),
        Flag("api.key-filename", PATH, default_key_filename, "its private key (PEM)"),
        Flag(
            "api.max-connection-age",
            DURATION,
            "0s",
            "a connection is told to go after this time, give or take 10 %, and its calls finish; "
            "0s lets it stay",
        ),
        Flag(
            "api.workers",
            UINT,
            "0",
            "reader processes beside the node, each serving reads on a core of its own",
        ),
        Flag("api.reflection-api", BOOL, "false", "serve gRPC reflection; not for production"),
        Flag(
            "rest.address",
            HTTP_URL,
            "http://127.0.0.1:8079",
            "where metrics and health are served, over plain HTTP; empty is nowhere",
        ),
        Flag("rest.read-timeout", DURATION, "5s", "time limit for reading a request there"),
        Flag("kafka.brokers", STRINGS, "localhost:9092", "addresses of the brokers"),
        Flag("kafka.timeout", DURATION, "10s", "time limit for dialling a broker"),
        Flag("kafka.group-id", STRING, "regatta-local", "consumer group"),
        Flag("kafka.topics", STRINGS, "", "topics to consume, each into the table of its name"),
        Flag(
            "kafka.check-topics",
            BOOL,
            "false",
            "wait at the start, before serving, until every topic has a partition",
        ),
        Flag("kafka.tls", BOOL, "false", "talk TLS to the brokers"),
        Flag("kafka.server-cert-filename", PATH, "", "CA that signed the brokers' certificates"),
        Flag("kafka.client-cert-filename", PATH, "", "own certificate for the brokers"),
        Flag("kafka.client-key-filename", PATH, "", "its private key"),
        Flag(
            "kafka.property",
            PROPERTIES,
            "",
            "property for librdkafka, the client that is used, as it is; repeat the flag for more",
        ),
        Flag(
            "raft.address",
            ADDRESS,
            "",
            "own public address for Raft traffic, and the node's identity; a single node without "
            f"it takes {single_node_address}",
        ),
        Flag(
            "raft.listen-address",
            ADDRESS,
            "",
            "where Raft listens if not on raft.address; the host 0.0.0.0 is all interfaces",
        ),
        Flag(
            "raft.initial-members",
            MEMBERS,
            "",
            "every node of the cluster, this one among them; only a cluster of one works so far",
        ),
        Flag("raft.cluster-id", UINT, "1", "id of the cluster"),
        Flag("raft.node-id", UINT, "1", "id of this node, from 1"),
        Flag("raft.node-host-dir", PATH, "/tmp/regatta/raft", "directory of the Raft log"),
        Flag(
            "raft.wal-dir",
            PATH,
            "",
            "another place for the Raft log, such as a fast disk that survives a power cut",
        ),
        Flag(
            "raft.state-machine-dir",
            PATH,
            "/tmp/regatta/state-machine",
            "the data; the directory made is <path>-<cluster id>-<node id>",
        ),
        Flag(
            "raft.state-machine-wal-dir",
            PATH,
            "",
            "accepted and without effect: the Raft log is the data's log",
        ),
    ],
    titles={
        "": "General",
        "api": "API: gRPC and REST",
        "rest": "Metrics and health",
        "kafka": "Kafka",
        "raft": "Raft and storage",
    },
)


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """The port that clients use."""

    address: Endpoint
    cert_filename: Path  # this and the key only count where the address is encrypted
    key_filename: Path
    max_connection_age_s: float  # 0 for no limit
    reflection_api: bool
    workers: int  # reader processes beside the node


@dataclass(frozen=True, slots=True)
class RestSettings:
    """The port that operators use."""

    address: Address | None  # None for no such port
    address_given: bool  # False where it is the default, which others may have taken
    read_timeout_s: float


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where topics are consumed from; no topics, no consumer."""

    brokers: tuple[Address, ...]
    timeout_s: float
    group_id: str
    topics: tuple[str, ...]  # each once
    check_topics: bool
    tls: TlsFiles | None  # None for no TLS
    # For librdkafka, beside what the others come to; may hold passwords, so that no log shows it.
    properties: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RaftSettings:
    """This node in its cluster, and where its files are."""

    address: Address
    listen_address: Address
    initial_members: Mapping[int, Address]
    cluster_id: int
    node_id: int
    log_dir: Path  # raft.wal-dir, else raft.node-host-dir
    data_dir: Path  # raft.state-machine-dir with the ids appended
    node_host_dir: Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a node is told at its start."""

    dev_mode: bool
    log_level: str  # one of log_levels
    api: ApiSettings
    rest: RestSettings
    kafka: KafkaSettings
    raft: RaftSettings
    warnings: tuple[
        str, ...
    ]  # what has no effect: settings accepted for others' sake, unknown keys


def load(*sources: Source, warnings: Sequence[str] = ()) -> Settings:
    """Return the settings that *sources* give, the first of them counting most.

    *warnings* are those of reading the sources; the settings hold them with their own.
    Raises StartError, marked as wrong usage, for the first thing that is wrong; it names the place.
    """
    values = FLAGS.settle(*sources)
    settings = Settings(
        dev_mode=values["dev-mode"],
        log_level=log_level(values),
        api=api_settings(values),
        rest=rest_settings(values, given=any("rest.address" in source for source in sources)),
        kafka=kafka_settings(values),
        raft=raft_settings(values),
        warnings=(*warnings, *without_effect(values)),
    )
    refuse_what_is_missing(settings, values)
    return settings


def log_level(values: Values) -> str:
    """Return the level in capitals; StartError if there is none of that name."""
    text = values["log-level"]
    if text.upper() not in log_levels:
        problem = f"{values.place('log-level')}: unknown level {quoted(text)}"
        raise wrong(problem, f"Use one of {', '.join(log_levels)}.")
    return str(text.upper())


def api_settings(values: Values) -> ApiSettings:
    """Return the checked api.* flags; the certificate may only be empty where there is no TLS."""
    address: Endpoint = needed(values, "api.address")
    if isinstance(address.where, Path) and len(os.fsencode(address.where)) > socket_path_bytes_max:
        place = values.place("api.address")
        problem = f"{place}: the path of a Unix socket has at most {socket_path_bytes_max} bytes"
        raise wrong(problem, "Choose a shorter one, such as unix:///run/regatta.sock.")
    if address.encrypted:
        needed(values, "api.cert-filename")
        needed(values, "api.key-filename")
    if values["api.max-connection-age"] < 0:
        problem = f"{values.place('api.max-connection-age')} must not be negative"
        raise wrong(problem, "Write it like 30m, or 0s for no limit.")
    if values["api.workers"] > workers_max:
        problem = f"{values.place('api.workers')} must be at most {workers_max}"
        raise wrong(problem, "One for each core that is free for reads is enough.")
    return ApiSettings(
        address=address,
        cert_filename=Path(values["api.cert-filename"]),
        key_filename=Path(values["api.key-filename"]),
        max_connection_age_s=values["api.max-connection-age"],
        reflection_api=values["api.reflection-api"],
        workers=values["api.workers"],
    )


def rest_settings(values: Values, *, given: bool) -> RestSettings:
    """Return the checked rest.* flags; *given* tells whether the address is not the default."""
    if values["rest.read-timeout"] <= 0:
        place = values.place("rest.read-timeout")
        raise wrong(f"{place} must be longer than nothing", "Write it like 5s.")
    return RestSettings(
        address=values["rest.address"],
        address_given=given,
        read_timeout_s=values["rest.read-timeout"],
    )


def kafka_settings(values: Values) -> KafkaSettings:
    """Return the checked kafka.* flags; with kafka.tls its three files must be there."""
    if values["kafka.timeout"] <= 0:
        place = values.place("kafka.timeout")
        raise wrong(f"{place} must be longer than nothing", "Write it like 10s.")
    return KafkaSettings(
        brokers=tuple(broker_address(values, text) for text in values["kafka.brokers"]),
        timeout_s=values["kafka.timeout"],
        group_id=kafka_group(values),
        topics=kafka_topics(values),
        check_topics=values["kafka.check-topics"],
        tls=kafka_tls(values) if values["kafka.tls"] else None,
        properties=kafka_properties(values),
    )


def kafka_group(values: Values) -> str:
    """Return the consumer group; StartError if it is empty or holds control characters."""
    group: str = needed(values, "kafka.group-id")
    if not group.isprintable():
        problem = f"{values.place('kafka.group-id')}: {quoted(group)} is not a group"
        raise wrong(problem, "Use letters, digits and signs.")
    return group


def kafka_topics(values: Values) -> tuple[str, ...]:
    """Return the topics, each once; StartError for what can't be one."""
    topics: tuple[str, ...] = values["kafka.topics"]
    for topic in topics:
        if KAFKA_TOPIC.fullmatch(topic):
            continue
        problem = f"{values.place('kafka.topics')}: {quoted(topic)} is not a topic"
        if NOT_IN_A_TOPIC.search(topic):
            problem += ", and regular expressions are not supported"
        remedy = "A topic has 1 to 249 letters, digits, dots, underscores and hyphens."
        if topic in (".", ".."):
            remedy = "Kafka has no topic of this name."
        raise wrong(problem, remedy)
    return tuple(dict.fromkeys(topics))


def kafka_properties(values: Values) -> dict[str, str]:
    """Return the properties for librdkafka; StartError for those that are not for users to set."""
    properties: dict[str, str] = dict(values["kafka.property"])
    place = values.place("kafka.property")
    for name, value in properties.items():
        if remedy := remedy_for(name):
            raise wrong(f"{place}: {quoted(name)} can't be given", remedy)
        if values["kafka.tls"] and name == "security.protocol" and not TLS_PROTOCOL.search(value):
            problem = f"{place}: security.protocol is one without TLS, and --kafka.tls is on"
            raise wrong(problem, "Use ssl or sasl_ssl, or leave out --kafka.tls.")
    return properties


def broker_address(values: Values, text: str) -> Address:
    """Return a broker's host and port; StartError if it is not one."""
    try:
        address = parse_address(text)
        if not address.host or not address.port:
            raise ValueError(text)
        return address
    except ValueError:
        problem = f"{values.place('kafka.brokers')}: {quoted(text)} is not host:port"
        raise wrong(problem, f"Write it like {ADDRESS.example}.") from None


def kafka_tls(values: Values) -> TlsFiles:
    """Return the three files of kafka.tls; StartError if one is not given or not there."""
    return TlsFiles(
        ca=kafka_file(values, "kafka.server-cert-filename"),
        certificate=kafka_file(values, "kafka.client-cert-filename"),
        key=kafka_file(values, "kafka.client-key-filename"),
    )


def kafka_file(values: Values, name: str) -> Path:
    """Return the path of a file that kafka.tls needs."""
    text = values[name]
    if not text:
        problem = f"{values.place('kafka.tls')} is on, and --{name} is not given"
        raise wrong(problem, "Name the PEM file.")
    if not Path(text).is_file():
        problem = f"{values.place(name)}: there is no file {text}"
        raise wrong(problem, "Name a PEM file that exists.")
    return Path(text)


def raft_settings(values: Values) -> RaftSettings:
    """Return the checked raft.* flags; a single node need not say its address."""
    cluster_id, node_id = values["raft.cluster-id"], values["raft.node-id"]
    if node_id == 0:
        place = values.place("raft.node-id")
        raise wrong(f"{place} must not be 0", "Number the nodes from 1.")
    address = values["raft.address"]
    if address is None and values["raft.initial-members"]:
        place = values.place("raft.initial-members")
        remedy = f"Pass --raft.address=<this node's address in {place}>."
        raise wrong(f"raft address must be set with {place}", remedy)
    address = address or single_node_address
    if not address.host or not address.port:
        raise wrong(
            f"{values.place('raft.address')}: {address} is not an address that others can reach",
            "Give a host and a port other than 0.",
        )
    node_host_dir = needed(values, "raft.node-host-dir")
    state_machine_dir = Path(needed(values, "raft.state-machine-dir"))
    return RaftSettings(
        address=address,
        listen_address=values["raft.listen-address"] or address,
        initial_members=members(values, node_id, address),
        cluster_id=cluster_id,
        node_id=node_id,
        log_dir=Path(values["raft.wal-dir"] or node_host_dir),
        data_dir=Path(f"{state_machine_dir}-{cluster_id}-{node_id}"),
        node_host_dir=Path(node_host_dir),
    )


def members(values: Values, node_id: int, address: Address) -> dict[int, Address]:
    """Return the address of every node by its id; no pairs mean this node alone."""
    pairs = values["raft.initial-members"]
    place = values.place("raft.initial-members")
    found = dict(pairs) or {node_id: address}
    if pairs and len(found) < len(pairs):
        raise wrong(f"{place} names one id twice", "Give every node its own id.")
    if found.get(node_id) != address:
        raise wrong(
            f"{place} lacks this node, {node_id}={address}",
            "Name every node of the cluster, with the same list on all of them.",
        )
    return found


def without_effect(values: Values) -> tuple[str, ...]:
    """Return one line for each flag that was given and has no effect."""
    if not values["raft.state-machine-wal-dir"]:
        return ()
    return (
        f"{values.place('raft.state-machine-wal-dir')} has no effect: the Raft log is the data's "
        "log (--raft.wal-dir places it)",
    )


def refuse_what_is_missing(settings: Settings, values: Values) -> None:
    """Raise StartError where the settings ask for what this version can't do yet."""
    if len(settings.raft.initial_members) > 1:
        raise wrong(
            "a node can't form a cluster yet",
            f"Start a single node, without {values.place('raft.initial-members')}.",
        )


def needed(values: Values, name: str) -> Any:
    """Return the flag's value; StartError if it is empty."""
    if not values[name]:
        default = FLAGS.by_name[name].default
        raise wrong(f"{values.place(name)} must not be empty", f"Leave it out to have {default}.")
    return values[name]


def wrong(problem: str, remedy: str) -> StartError:
    """Return the error of settings that can't be used."""
    return StartError(problem, remedy, usage=True)
