"""What is known of librdkafka's properties: which ones are Regatta's to set, which are secret.

Configuration needs this without loading librdkafka.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

POSITIONS = "Leave it out: positions are kept with the data, and Kafka's are only for its tools."
READING = "Leave it out: the consumer stands on the value that it sets."
ASSIGNMENT = "Leave it out: partitions are given and taken back all at once."
CODE = "Leave it out: it takes code, not text."

# What to do in place of giving a property that --kafka.property does not take.
REMEDIES = {
    "bootstrap.servers": "Use --kafka.brokers.",
    "metadata.broker.list": "Use --kafka.brokers.",
    "group.id": "Use --kafka.group-id.",
    "enable.auto.commit": POSITIONS,
    "auto.commit.enable": POSITIONS,
    "enable.auto.offset.store": POSITIONS,
    "auto.offset.reset": POSITIONS,
    "offset.store.method": POSITIONS,
    "enable.partition.eof": READING,
    "partition.assignment.strategy": ASSIGNMENT,
    "group.protocol": ASSIGNMENT,
    "group.remote.assignor": ASSIGNMENT,
    "default.topic.config": "Give its entries one by one.",
    "interceptors": CODE,
    "logger": CODE,
    "on_commit": CODE,
    "on_delivery": CODE,
    "opaque": CODE,
}
SECRET = re.compile(r"password|passphrase|secret|\.key\.pem|oauthbearer\.config")
hidden = "***"


class TlsFiles(NamedTuple):
    """The PEM files of kafka.tls."""

    ca: Path  # signed the brokers' certificates
    certificate: Path  # this node's own
    key: Path


def remedy_for(name: str) -> str:
    """Return what to do in place of giving the property *name*; empty if it may be given."""
    return CODE if name.endswith("_cb") else REMEDIES.get(name, "")


def without_secrets(text: str, properties: Mapping[str, str]) -> str:
    """Return *text* with the values of all secret *properties* in it made unreadable."""
    secrets = [value for name, value in properties.items() if value and SECRET.search(name)]
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, hidden)
    return text
