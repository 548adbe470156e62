"""Reads the operators' port of a running daemon."""

import gzip
import http.client
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.harness import Daemon

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, unpacked where it is packed."""
        zipped = self.headers.get("content-encoding") == "gzip"
        return (gzip.decompress(self.body) if zipped else self.body).decode()


def fetch(daemon: Daemon, path: str, method: str = "GET", **headers: str) -> Answer:
    """Make one request; an underscore in the name of a header stands for a hyphen."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.rest_port, timeout=TIMEOUT_S)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()


class Metrics:
    """Every sample of one scrape."""

    def __init__(self, text: str) -> None:
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """Return the value of one sample; KeyError if there is none."""
        return self._values[name, frozenset(labels.items())]

    def labels(self, name: str) -> list[dict[str, str]]:
        """Return the labels of every sample of that name."""
        return [dict(labels) for found, labels in self._values if found == name]

    def changes_since(self, before: "Metrics", prefix: str) -> dict[tuple[str, ...], float]:
        """Return what has grown of the samples whose names begin with *prefix*.

        The keys are the name and the values of the labels in the order of the labels' names.
        """
        changes = {}
        for (name, labels), value in self._values.items():
            difference = value - before._values.get((name, labels), 0.0)
            if name.startswith(prefix) and difference:
                changes[name, *(text for _, text in sorted(labels))] = difference
        return changes


def scrape(daemon: Daemon) -> Metrics:
    """Return the metrics of a daemon now."""
    return Metrics(fetch(daemon, "/metrics").text)
