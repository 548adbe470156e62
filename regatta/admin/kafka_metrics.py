"""The metrics of topics: what the consumer counts, and what is stored with the tables."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.core import Metric
from prometheus_client.core import UnknownMetricFamily

from regatta.engine import Engine
from regatta.kafka import Consumer

# Names that dashboards know from before, with their labels. They count and yet don't end in
# _total, which a counter would; what is common to all topics has an empty topic.
READER_LABELS = ("topic", "group_id")


def kafka_metrics(consumer: Consumer, engine: Engine) -> Iterator[Metric]:
    """Return everything about the topics that this node consumes."""
    yield from reader_metrics(consumer)
    yield from position_metrics(consumer, engine)


def reader_metrics(consumer: Consumer) -> Iterator[Metric]:
    """Return what this node has read since its start, and how it is set to read."""
    reading, settings = consumer.reading, consumer.settings
    group = consumer.group_id
    of_all = {
        "dial_count": ("Connections made to brokers.", reading.dial_count),
        "fetch_count": ("Requests for records.", reading.fetch_count),
        "rebalance_count": ("Times that partitions were assigned.", reading.rebalance_count),
        "timeout_count": ("Requests that were not answered in time.", reading.timeout_count),
        "min_bytes": ("What a broker waits to have before it answers.", settings.min_bytes),
        "max_bytes": ("What a broker sends at once.", settings.max_bytes),
        "max_wait_seconds": ("How long a broker waits for that.", settings.max_wait_s),
        "queue_capacity": ("Records that are fetched ahead.", settings.queue_capacity),
    }
    for suffix, (text, value) in of_all.items():
        family = UnknownMetricFamily(f"kafka_reader_{suffix}", text, labels=READER_LABELS)
        family.add_metric(("", group), value)
        yield family
    of_each = {
        "message_count": ("Records read.", "record_count"),
        "message_bytes": ("Size of their keys and values.", "byte_count"),
        "error_count": ("Errors of a topic.", "error_count"),
        "offset": ("Offsets before which all is applied, added up.", "offset"),
        "lag": ("Records that are still to come.", "lag"),
        "queue_length": ("Records fetched and not yet read.", "queue_length"),
    }
    for suffix, (text, attribute) in of_each.items():
        family = UnknownMetricFamily(f"kafka_reader_{suffix}", text, labels=READER_LABELS)
        for topic in reading.topics:
            family.add_metric((topic.topic, group), getattr(topic, attribute))
        yield family


def position_metrics(consumer: Consumer, engine: Engine) -> Iterator[Metric]:
    """Return what is stored beside the data: the same on every node, whoever consumed it."""
    labels = ("topic", "partition")
    position = GaugeMetricFamily(
        "regatta_kafka_position", "Offset before which all is applied.", labels=labels
    )
    applied = CounterMetricFamily(
        "regatta_kafka_applied_records", "Records applied to the table.", labels=labels
    )
    skipped = CounterMetricFamily(
        "regatta_kafka_skipped_records", "Records that can't be stored.", labels=labels
    )
    for topic in consumer.topics:
        for stored in engine.positions(topic.encode()):
            where = (stored.topic, str(stored.partition))
            position.add_metric(where, stored.next)
            applied.add_metric(where, stored.applied)
            skipped.add_metric(where, stored.skipped)
    yield from (position, applied, skipped)
