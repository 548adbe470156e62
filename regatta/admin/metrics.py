"""Gives the numbers that the parts of a node count their names; docs/metrics.md explains each.

Nothing here runs unless somebody asks.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client import GCCollector
from prometheus_client import PlatformCollector
from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.core import InfoMetricFamily
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from regatta import __version__
from regatta import limits
from regatta.admin.view import Node
from regatta.api.rest import Rest
from regatta.api.service import Method
from regatta.engine import META_GROUP
from regatta.engine import Engine
from regatta.errors import Code
from regatta.measure import Histogram
from regatta.measure import NativeCalls
from regatta.net import Listener

# As gRPC's Go library writes them, which is what alerts look for.
CODE_NAMES = {
    code: "OK"
    if code is Code.OK
    else "Canceled"
    if code is Code.CANCELLED
    else code.name.title().replace("_", "")
    for code in Code
}


def render(node: Node | None, accept: str) -> tuple[bytes, str]:
    """Return all metrics in the form that an Accept header asks for, and its content type.

    A *node* that is still starting has only the metrics of its process. For any thread.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(NodeCollector(node))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class NodeCollector(Collector):
    """What prometheus-client asks for the metrics of a node."""

    def __init__(self, node: Node | None) -> None:
        self._node = node

    def describe(self) -> Iterable[Metric]:
        """Return nothing: a node's names can't clash."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return every metric with its value now."""
        yield InfoMetricFamily(
            "regatta_build", "Version of Regatta.", value={"version": __version__}
        )
        if self._node is None:
            return
        yield from call_metrics(self._node.router.methods.values(), self._node.native_calls)
        yield from rest_metrics(self._node.router.rest)
        yield from connection_metrics(self._node.listener)
        yield from store_metrics(self._node.engine)
        yield from table_metrics(self._node.engine)
        if self._node.consumer is not None:
            from regatta.admin.kafka_metrics import kafka_metrics

            yield from kafka_metrics(self._node.consumer, self._node.engine)


@dataclass(frozen=True)
class CallTotals:
    """The counts of a method, those of the native way included."""

    started: int
    received: int
    sent: int
    handled: list[int]
    cumulated: list[int]
    total_s: float


def totals(method: Method, natives: Sequence[Mapping[str, NativeCalls]]) -> CallTotals:
    """Add up the calls of a method that Python answered and those of *natives*, by path."""
    counts = method.counts
    total = CallTotals(
        counts.started,
        counts.received,
        counts.sent,
        counts.handled,
        counts.time.cumulated(),
        counts.time.total_s,
    )
    for native in filter(None, (calls.get(method.path) for calls in natives)):
        # It has one request, and an answer if it ends well.
        handled, time = native.handled, native.time
        begun = sum(handled) + native.kept_count
        total = CallTotals(
            total.started + begun,
            total.received + begun,
            total.sent + handled[Code.OK],
            add(total.handled, handled),
            add(total.cumulated, time.cumulated()),
            total.total_s + time.total_s,
        )
    return total


def add(left: list[int], right: list[int]) -> list[int]:
    """Return the sums of two lists, element by element."""
    return [a + b for a, b in zip(left, right, strict=True)]


def call_metrics(
    methods: Iterable[Method], natives: Sequence[Mapping[str, NativeCalls]]
) -> Iterator[Metric]:
    """Return the metrics of gRPC calls: every method is there, called or not."""
    labels = ("grpc_type", "grpc_service", "grpc_method")
    started = CounterMetricFamily("grpc_server_started", "Calls begun.", labels=labels)
    received = CounterMetricFamily("grpc_server_msg_received", "Messages received.", labels=labels)
    sent = CounterMetricFamily("grpc_server_msg_sent", "Messages sent.", labels=labels)
    handled = CounterMetricFamily(
        "grpc_server_handled", "Calls ended, by code.", labels=(*labels, "grpc_code")
    )
    time = HistogramMetricFamily(
        "grpc_server_handling_seconds", "Time from a call's headers to its end.", labels=labels
    )
    for method in methods:
        _, service, name = method.path.split("/")
        where = (grpc_type(method), service, name)
        total = totals(method, natives)
        started.add_metric(where, total.started)
        received.add_metric(where, total.received)
        sent.add_metric(where, total.sent)
        for code, code_name in CODE_NAMES.items():
            handled.add_metric((*where, code_name), total.handled[code])
        bounds_s = method.counts.time.bounds_s
        time.add_metric(where, buckets(bounds_s, total.cumulated), total.total_s)
    yield from (started, received, sent, handled, time)


def grpc_type(method: Method) -> str:
    """Return what a kind of method is called in labels."""
    if method.streams_requests:
        return "bidi_stream" if method.streams_answers else "client_stream"
    return "server_stream" if method.streams_answers else "unary"


def buckets(bounds_s: tuple[float, ...], cumulated: list[int]) -> list[tuple[str, float]]:
    """Return a histogram's buckets as prometheus-client wants them."""
    names = [*map(str, bounds_s), "+Inf"]
    return list(zip(names, map(float, cumulated), strict=True))


def rest_metrics(rest: Rest) -> Iterator[Metric]:
    """Return the metrics of REST."""
    requests = CounterMetricFamily(
        "regatta_rest_requests", "REST requests answered.", labels=("path", "code")
    )
    for (path, status), count in sorted(rest.counts.copy().items()):
        requests.add_metric((path, str(status)), count)
    yield requests


def connection_metrics(listener: Listener) -> Iterator[Metric]:
    """Return the metrics of the clients' port."""
    yield GaugeMetricFamily(
        "regatta_api_connections", "Connections open.", value=listener.connection_count
    )
    yield GaugeMetricFamily(
        "regatta_api_streams", "HTTP/2 streams open.", value=listener.stream_count
    )


def store_metrics(engine: Engine) -> Iterator[Metric]:
    """Return the metrics of the two environments and the threads that write them."""
    pending_count, pending_bytes = engine.pending
    yield GaugeMetricFamily(
        "regatta_pending_writes", "Writes that wait for their answer.", value=pending_count
    )
    yield GaugeMetricFamily("regatta_pending_write_bytes", "Their size.", value=pending_bytes)
    store = StoreFamilies()
    for name, writer in engine.writers.items():
        state = writer.environment.state()
        queued, done = writer.queued, writer.committed
        store.count("turns", "Transactions committed and synced.", name, writer.turns)
        store.count("items", "Entries and other work written by them.", name, done)
        store.time("turn_seconds", "Time of a turn, its sync included.", name, writer.turn_time)
        store.time(
            "sync_seconds",
            "Time of a sync of the data file.",
            name,
            writer.environment.sync_time,
        )
        gauges: Mapping[str, tuple[str, float]] = {
            "queue_items": ("Work that waits for the thread.", queued - done),
            "queue_bytes": ("Memory it takes.", max(0, writer.queued_bytes - writer.done_bytes)),
            "stalled": ("1 while a turn is being tried again.", float(bool(writer.stalled))),
            "page_bytes": ("Size of a page.", state.page_bytes),
            "pages": ("Pages in the file.", state.page_count),
            "free_pages": ("Pages in the file that hold nothing.", state.free_page_count),
            "map_bytes": ("What the file may grow to.", state.map_bytes),
            "entries": ("Pairs or log entries.", state.entry_count),
            "depth": ("Pages on the way to an entry.", state.depth),
            "readers": ("Read transactions kept open.", state.reader_count),
            "reader_slots": ("Readers at once, at most so far.", state.reader_slots),
        }
        for suffix, (text, value) in gauges.items():
            store.gauge(suffix, text, name, value)
    yield from store.families.values()


class StoreFamilies:
    """Metric families whose one label is the environment, made when first needed."""

    def __init__(self) -> None:
        self.families: dict[str, Any] = {}

    def count(self, suffix: str, text: str, environment: str, value: float) -> None:
        """Add a counter."""
        self._family(CounterMetricFamily, suffix, text).add_metric((environment,), value)

    def gauge(self, suffix: str, text: str, environment: str, value: float) -> None:
        """Add a gauge."""
        self._family(GaugeMetricFamily, suffix, text).add_metric((environment,), value)

    def time(self, suffix: str, text: str, environment: str, time: Histogram) -> None:
        """Add a histogram."""
        family = self._family(HistogramMetricFamily, suffix, text)
        family.add_metric((environment,), buckets(time.bounds_s, time.cumulated()), time.total_s)

    def _family(self, kind: type[Any], suffix: str, text: str) -> Any:
        name = f"regatta_store_{suffix}"
        if name not in self.families:
            self.families[name] = kind(name, text, labels=("environment",))
        return self.families[name]


def table_metrics(engine: Engine) -> Iterator[Metric]:
    """Return the metrics of groups and tables, of the first limits.metrics_tables_max of them."""
    groups = engine.snapshot().groups()
    yield GaugeMetricFamily(
        "regatta_tables",
        "Tables that there are.",
        value=sum(group.group != META_GROUP for group in groups),
    )
    of_group, of_table = ("shardid", "replicaid"), ("table", "shard_id")
    has_leader = GaugeMetricFamily(
        "dragonboat_raftnode_has_leader", "1 if the group has a leader.", labels=of_group
    )
    term = GaugeMetricFamily("dragonboat_raftnode_term", "The group's term.", labels=of_group)
    applied = GaugeMetricFamily("regatta_applied_index", "The last entry applied.", labels=of_table)
    keys = GaugeMetricFamily("regatta_table_keys", "Pairs in the table.", labels=of_table)
    size = GaugeMetricFamily("regatta_table_bytes", "Size of its keys and values.", labels=of_table)
    for group in groups[: limits.metrics_tables_max + 1]:
        replica = (str(group.group), str(engine.node))
        group_term, leader = engine.leader(group.group)
        has_leader.add_metric(replica, float(leader != 0 and not engine.failure))
        term.add_metric(replica, group_term)
        if group.group == META_GROUP:
            continue
        table = (group.name.decode("utf-8", "backslashreplace"), str(group.group))
        applied.add_metric(table, group.applied_index)
        keys.add_metric(table, group.key_count)
        size.add_metric(table, group.byte_count)
    yield from (has_leader, term, applied, keys, size)
