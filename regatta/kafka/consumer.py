"""The thread that keeps tables in step with their topics."""

import asyncio
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from confluent_kafka import OFFSET_BEGINNING
from confluent_kafka import Consumer as Client
from confluent_kafka import KafkaError
from confluent_kafka import KafkaException
from confluent_kafka import Message
from confluent_kafka import TopicPartition

from regatta.engine import Engine
from regatta.errors import Aborted
from regatta.errors import RegattaError
from regatta.kafka._batch import Cursor
from regatta.kafka._batch import Skip
from regatta.kafka._batch import encode
from regatta.kafka.backoff import Backoff
from regatta.kafka.client_log import Seldom
from regatta.kafka.client_log import repeat_s
from regatta.kafka.feed import Feed
from regatta.kafka.progress import Progress
from regatta.kafka.progress import unknown
from regatta.kafka.topic import Topic

log = logging.getLogger("regatta.consumer")
client_log = log.getChild("client")
client_log.addFilter(Seldom())

records_max = 1_000  # of one poll, and so of one batch
batch_bytes_max = 4 * 1024 * 1024  # of one batch's command, unless a single record takes more
poll_s = 0.2  # how long to wait for a record; a stop may have to wait as long
upkeep_s = 1.0  # between commits to the group, and looks at the lag
compare_s = 3.0  # between looks at the stored positions while nothing is in flight
identify_s = 30.0  # between looks whether a topic was made anew
identify_timeout_s = 5.0
watermark_timeout_s = 5.0
settle_s = 5.0  # for what is in flight when partitions are given up or the node stops
skip_lines_max = 100  # of one poll


@dataclass(frozen=True)
class TopicReading:
    """A topic's numbers, for operators."""

    topic: str
    record_count: int  # these count since the start of the node
    byte_count: int  # of keys and values
    skipped_count: int
    error_count: int
    offset: int  # the sum of the positions of this node's partitions
    lag: int  # records still to come in this node's partitions, or `unknown`
    queue_length: int  # records fetched and not yet polled


@dataclass(frozen=True)
class FetchSettings:
    """How records are fetched, for operators."""

    min_bytes: int
    max_bytes: int
    max_wait_s: float
    queue_capacity: int  # records


@dataclass(frozen=True)
class Reading:
    """The consumer's numbers, for operators."""

    topics: tuple[TopicReading, ...] = ()
    dial_count: int = 0  # connections made to brokers
    fetch_count: int = 0  # requests for records
    timeout_count: int = 0  # requests without an answer
    rebalance_count: int = 0


class Consumer:
    """Consumes topics into the tables of their names until it is stopped.

    Positions are stored with the data, so what happens to the thread, to the group or to the
    brokers can neither lose a record nor apply one twice: after any trouble reading goes on from
    what is stored.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        topics: Sequence[str],
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        topic_ids: Callable[[float], dict[str, bytes]],
    ) -> None:
        """*topic_ids* asks a broker for the topics' ids, for at most so many seconds."""
        self.reading = Reading()  # made anew every second
        self.topics = tuple(topics)
        self.group_id = str(properties["group.id"])
        self.settings = FetchSettings(
            min_bytes=int(properties.get("fetch.min.bytes", 1)),
            max_bytes=int(properties.get("fetch.max.bytes", 52_428_800)),
            max_wait_s=int(properties.get("fetch.wait.max.ms", 500)) / 1_000,
            queue_capacity=int(properties.get("queued.min.messages", 100_000)),
        )
        self._properties = properties
        self._engine = engine
        self._topic_ids = topic_ids
        self._feed = Feed(engine, loop)
        begin_s = time.monotonic()
        self._topics = {
            name: Topic(name, Backoff(random.Random()), Progress(begin_s)) for name in topics
        }
        self._flowing: dict[str, dict[int, Cursor]] = {}  # the cursors of topics that aren't held
        self._statistics: dict[str, Any] = {}
        self._rebalance_count = 0
        self._generation = 0  # moves whenever partitions come or go
        self._logged: dict[str, float] = {}  # when which trouble was last logged
        self._upkeep_at_s = self._compare_at_s = self._identify_at_s = 0.0
        self._identifying = False
        self._identified: SimpleQueue[dict[str, bytes]] = SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="regatta-kafka", daemon=True)

    def start(self) -> None:
        """Begin to consume; brokers that can't be reached are tried for ever."""
        log.info("consuming %s", ", ".join(self._topics))
        self._thread.start()

    async def stop(self) -> None:
        """Let what is in flight finish for a few seconds, tell the group, and leave it."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    # The thread.

    def _run(self) -> None:
        backoff = Backoff(random.Random())
        while not self._stopping.is_set():
            try:
                self._consume(backoff)
            except Exception:
                wait_s = backoff.wait_s()
                log.exception("consuming has failed; beginning anew in %.1f s", wait_s)
                self._stopping.wait(wait_s)

    def _consume(self, backoff: Backoff) -> None:
        client = Client(
            dict(self._properties) | {"error_cb": self._on_error, "stats_cb": self._on_statistics},
            logger=client_log,
        )
        try:
            client.subscribe(
                list(self._topics),
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            while not self._stopping.is_set():
                if self._turn(client):
                    backoff.succeed()
            self._settle(client)
            self._commit(client, asynchronous=False)
        finally:
            client.close()  # leaves the group
            self._drop_partitions()

    def _turn(self, client: Client) -> bool:
        """Take what has come from either side; return whether records came."""
        self._take_outcomes(client, poll_s if self._feed.is_full else 0.0)
        found = not self._feed.is_full and self._poll(client)
        self._look_after(client, time.monotonic())
        return found

    def _poll(self, client: Client) -> bool:
        # consume() by itself would wait for the whole number of records.
        first = client.poll(poll_s)
        if first is None:
            return False
        generation = self._generation
        others = client.consume(records_max - 1, 0)
        if generation != self._generation:
            # Partitions were taken away and given back meanwhile: some of these records may be from
            # before, and taking one would pass over those that were given up with the partition.
            self._assign(client)
            return False
        polled = encode([first, *others], self._flowing, batch_bytes_max)
        for batch in polled.batches:
            topic = self._topics[batch.topic]
            topic.in_flight += 1
            topic.record_count += batch.record_count + batch.skipped_count
            topic.byte_count += len(batch.command)
            self._feed.submit(batch)
        self._note_skips(polled.skips)
        for event in polled.events:
            self._on_event(client, event)
        return True

    def _note_skips(self, skips: Sequence[Skip]) -> None:
        for skip in skips:
            self._topics[skip.topic].skipped_count += 1
        for skip in skips[:skip_lines_max]:
            log.warning(
                "skipped a record that can't be stored: topic %s, partition %d, offset %d: %s",
                *(skip.topic, skip.partition, skip.offset, skip.reason),
            )
        if len(skips) > skip_lines_max:
            last = skips[-1]
            log.warning(
                "skipped %d more, up to topic %s, partition %d, offset %d",
                *(len(skips) - skip_lines_max, last.topic, last.partition, last.offset),
            )

    # Outcomes.

    def _take_outcomes(self, client: Client, wait_s: float) -> None:
        for outcome in self._feed.take(wait_s):
            topic = self._topics[outcome.batch.topic]
            topic.in_flight -= 1
            if outcome.error is None:
                if topic.failures:
                    log.info("topic %s goes on", topic.name)
                topic.succeed(outcome.batch)
            elif not topic.held:
                self._hold(client, topic, outcome.error)

    def _hold(self, client: Client, topic: Topic, error: RegattaError) -> None:
        wait_s = topic.fail(time.monotonic(), retry_at_once=isinstance(error, Aborted))
        self._flowing.pop(topic.name, None)
        self._pause(client, topic)
        level = logging.WARNING if topic.failures > 1 or wait_s else logging.INFO
        log.log(level, "topic %s: %s; going on in %.1f s", topic.name, error, wait_s)

    def _pause(self, client: Client, topic: Topic) -> None:
        try:
            client.pause(partitions_of(topic))
        except KafkaException as error:  # what is fetched meanwhile is dropped
            log.debug("can't pause topic %s: %s", topic.name, error)

    def _unpause(self, client: Client, topic: Topic) -> None:
        try:
            client.resume(partitions_of(topic))
        except KafkaException as error:
            log.warning("can't go on with topic %s: %s", topic.name, error)

    def _resume(self, client: Client, topic: Topic) -> None:
        """Go on from the stored positions."""
        stored = {position.partition: position for position in self._positions(topic)}
        try:
            for partition in topic.cursors:
                self._place(topic, partition, stored.get(partition))
                client.seek(target(topic.cursors[partition]))
            client.resume(partitions_of(topic))
        except KafkaException as error:  # no longer ours, or not yet
            wait_s = topic.fail(time.monotonic(), retry_at_once=False)
            self._warn(f"topic {topic.name}: {error}; going on in {wait_s:.1f} s")
            self._assign(client)
            return
        topic.held = False
        self._flowing[topic.name] = topic.cursors

    def _positions(self, topic: Topic) -> list[Any]:
        found = self._engine.positions(topic.name.encode())
        return [position for position in found if position.topic == topic.name]

    def _place(self, topic: Topic, partition: int, stored: Any) -> None:
        topic.place(partition, stored)
        if topic.is_of_another(stored):
            log.error(
                "topic %s was made anew: partition %d is read from its beginning, on top of what "
                "the table holds",
                *(topic.name, partition),
            )

    # The group.

    def _on_assign(self, client: Client, partitions: list[TopicPartition]) -> None:
        self._rebalance_count += 1
        self._drop_partitions()
        ids = self._identify()
        for topic in self._topics.values():
            topic.id = ids.get(topic.name, topic.id)
            stored = {position.partition: position for position in self._positions(topic)}
            for found in partitions:
                if found.topic == topic.name:
                    self._place(topic, found.partition, stored.get(found.partition))
        self._assign(client)
        for topic in self._topics.values():
            if not topic.held:
                self._flowing[topic.name] = topic.cursors
            if topic.cursors:
                places = ", ".join(f"{p}@{c.position}" for p, c in sorted(topic.cursors.items()))
                log.info("topic %s: reading partitions %s", topic.name, places)

    def _assign(self, client: Client) -> None:
        """Read every partition of this node on from its cursor.

        That wakes partitions, too, of which the broker has said that there is no such offset:
        librdkafka has stopped to fetch them, and seek() works only where it fetches.
        """
        topics = self._topics.values()
        client.assign([target(cursor) for topic in topics for cursor in topic.cursors.values()])
        for topic in topics:
            if topic.held:
                self._pause(client, topic)
            else:
                # A partition that was given up while it was paused comes back paused.
                self._unpause(client, topic)

    def _on_revoke(self, client: Client, partitions: list[TopicPartition]) -> None:
        self._settle(client)
        self._commit(client, asynchronous=False)
        self._drop_partitions()
        client.unassign()

    def _on_lost(self, client: Client, partitions: list[TopicPartition]) -> None:
        self._drop_partitions()
        client.unassign()

    def _drop_partitions(self) -> None:
        self._generation += 1
        self._flowing.clear()
        for topic in self._topics.values():
            topic.forget()

    def _settle(self, client: Client) -> None:
        """Wait a while for what is in flight; what comes later is no harm, but isn't told."""
        self._flowing.clear()
        deadline_s = time.monotonic() + settle_s
        while not self._feed.is_empty and time.monotonic() < deadline_s:
            self._take_outcomes(client, poll_s)

    def _commit(self, client: Client, *, asynchronous: bool) -> None:
        """Tell the group what is applied. Nobody here reads that: it shows the lag to others."""
        offsets = []
        for topic in self._topics.values():
            for partition, offset in topic.uncommitted().items():
                topic.committed[partition] = offset
                offsets.append(TopicPartition(topic.name, partition, offset))
        if not offsets:
            return
        try:
            if asynchronous:
                client.commit(offsets=offsets, asynchronous=True)
            else:
                client.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            log.info("can't commit offsets to the group now: %s", error)
            for place in offsets:
                self._topics[place.topic].committed.pop(place.partition, None)

    # What librdkafka tells.

    def _on_event(self, client: Client, event: Message) -> None:
        error, partition, offset = event.error(), event.partition(), event.offset()
        topic = self._topics.get(event.topic() or "")
        if error is None:
            return
        if error.fatal():
            raise KafkaException(error)
        if topic is None or partition is None:
            self._warn(error.str())
        elif error.code() == KafkaError._PARTITION_EOF and offset is not None:
            if partition in topic.cursors:
                topic.reach_end(partition, offset)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            self._come_back_into_range(client, topic, partition)
        else:
            topic.error_count += 1
            self._warn(f"topic {topic.name}: {error.str()}")

    def _come_back_into_range(self, client: Client, topic: Topic, partition: int) -> None:
        """The broker doesn't have the offset that was asked for: go on with its oldest record."""
        cursor = topic.cursors.get(partition)
        if cursor is None or topic.held:
            return
        topic.error_count += 1
        place = TopicPartition(topic.name, partition)
        try:
            oldest, end = client.get_watermark_offsets(place, timeout=watermark_timeout_s)
            if oldest <= cursor.position <= end:
                oldest = cursor.position  # it was only for a moment
            elif cursor.position < oldest:
                log.error(
                    "topic %s, partition %d: records %d to %d were removed before they were read; "
                    "going on with the oldest that is left",
                    *(topic.name, partition, cursor.position, oldest - 1),
                )
            else:
                log.error(
                    "topic %s, partition %d ends at %d, but was read up to %d: it was cut off or "
                    "made anew, and is read from its oldest record, on top of what the table holds",
                    *(topic.name, partition, end, cursor.position),
                )
            cursor.position = topic.applied[partition] = oldest
            self._assign(client)
        except KafkaException as error:
            self._flowing.pop(topic.name, None)
            wait_s = topic.fail(time.monotonic(), retry_at_once=False)
            self._warn(f"topic {topic.name}: {error}; going on in {wait_s:.1f} s")

    def _on_error(self, error: KafkaError) -> None:
        # Single connections come and go, and librdkafka logs it.
        if error.code() not in (KafkaError._TRANSPORT, KafkaError._RESOLVE):
            self._warn(error.str())

    def _on_statistics(self, text: str) -> None:
        self._statistics = json.loads(text)

    def _warn(self, text: str) -> None:
        """Log trouble that may come again and again, but not each time."""
        now_s = time.monotonic()
        if now_s - self._logged.get(text, -repeat_s) >= repeat_s:
            self._logged = {t: at_s for t, at_s in self._logged.items() if now_s - at_s < repeat_s}
            self._logged[text] = now_s
            log.warning("%s", text)

    # What is done now and then.

    def _look_after(self, client: Client, now_s: float) -> None:
        for topic in self._topics.values():
            if topic.held and not topic.in_flight and now_s >= topic.resume_at_s:
                self._resume(client, topic)
        if now_s >= self._upkeep_at_s:
            self._upkeep_at_s = now_s + upkeep_s
            self._commit(client, asynchronous=True)
            self._measure(client, now_s)
        if now_s >= self._compare_at_s:
            self._compare_at_s = now_s + compare_s
            self._compare(client)
        self._identify_now_and_then(client, now_s)

    def _measure(self, client: Client, now_s: float) -> None:
        for topic in self._topics.values():
            topic.lag = lag_of(client, topic)
            line = topic.progress.line(now_s, topic.record_count, topic.lag)
            if line:
                log.getChild(topic.name).info("topic %s: %s", topic.name, line)
        self.reading = self._read()

    def _compare(self, client: Client) -> None:
        """See to it that positions which others moved, or took away, are heeded."""
        for topic in self._topics.values():
            if topic.held or topic.in_flight or not topic.cursors:
                continue
            stored = {position.partition: position.next for position in self._positions(topic)}
            for partition, cursor in topic.cursors.items():
                found = stored.get(partition, 0)
                if found != cursor.previous and not topic.held:
                    reason = f"the position of partition {partition} is {found} now"
                    self._hold(client, topic, Aborted(reason))

    def _identify(self) -> dict[str, bytes]:
        try:
            return self._topic_ids(identify_timeout_s)
        except KafkaException as error:
            self._warn(f"can't tell whether topics were made anew: {error}")
            return {}

    def _identify_now_and_then(self, client: Client, now_s: float) -> None:
        """Find topics that were made anew while they are being read."""
        if not self._identifying:
            if now_s >= self._identify_at_s:
                self._identify_at_s, self._identifying = now_s + identify_s, True
                # An answer may take seconds, which neither records nor the end should wait for.
                threading.Thread(
                    target=lambda: self._identified.put(self._identify()),
                    name="regatta-kafka-ids",
                    daemon=True,
                ).start()
        elif not self._identified.empty():
            self._identifying = False
            self._heed_ids(client, self._identified.get())

    def _heed_ids(self, client: Client, ids: Mapping[str, bytes]) -> None:
        for topic in self._topics.values():
            found = ids.get(topic.name, b"")
            if found and topic.id and found != topic.id and not topic.held:
                self._hold(client, topic, Aborted("the topic was made anew"))
            topic.id = found or topic.id

    def _read(self) -> Reading:
        brokers = self._statistics.get("brokers", {}).values()
        return Reading(
            topics=tuple(self._read_topic(topic) for topic in self._topics.values()),
            dial_count=sum(broker["connects"] for broker in brokers),
            fetch_count=sum(broker.get("req", {}).get("Fetch", 0) for broker in brokers),
            timeout_count=sum(broker["req_timeouts"] for broker in brokers),
            rebalance_count=self._rebalance_count,
        )

    def _read_topic(self, topic: Topic) -> TopicReading:
        partitions = self._statistics.get("topics", {}).get(topic.name, {}).get("partitions", {})
        return TopicReading(
            topic=topic.name,
            record_count=topic.record_count,
            byte_count=topic.byte_count,
            skipped_count=topic.skipped_count,
            error_count=topic.error_count,
            offset=sum(topic.applied.values()),
            lag=topic.lag,
            queue_length=sum(partition["fetchq_cnt"] for partition in partitions.values()),
        )


def partitions_of(topic: Topic) -> list[TopicPartition]:
    """Return this node's partitions of *topic*."""
    return [TopicPartition(topic.name, partition) for partition in topic.cursors]


def target(cursor: Cursor) -> TopicPartition:
    """Return where to read on: the cursor's position, of which 0 stands for the oldest record."""
    return TopicPartition(cursor.topic, cursor.partition, cursor.position or OFFSET_BEGINNING)


def lag_of(client: Client, topic: Topic) -> int:
    """Return how many records of *topic* are to come, or `unknown`."""
    total = 0
    for place in partitions_of(topic):
        known = client.get_watermark_offsets(place, cached=True)
        if known is None or known[1] < 0:
            return unknown
        total += max(known[1] - topic.done(place.partition), 0)
    return total if topic.cursors else unknown
