"""Consumes a topic to its end in a process of its own, without a daemon.

    python -m bench.kafka.consume bare|floor|logged --brokers=ADDRESS --topic=TOPIC \
        --records=COUNT DIRECTORY

bare throws the records away; floor commits each poll's to a data environment in DIRECTORY; logged
commits them to a log environment before that, fully synced, as the very command that the daemon
would put into its log. All in one thread. Prints a Result as JSON.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING
from confluent_kafka import Consumer
from confluent_kafka import KafkaException
from confluent_kafka import Message
from confluent_kafka import TopicPartition

from bench import processes
from bench.checkpoints import checkpointing
from bench.kafka import topics
from bench.kafka.floor import load_floor
from regatta.kafka._batch import Cursor
from regatta.kafka._batch import encode
from regatta.kafka.client import client_properties
from regatta.kafka.consumer import batch_bytes_max
from regatta.kafka.consumer import poll_s
from regatta.kafka.consumer import records_max
from regatta.store._env import Environment
from regatta.store._env import sync_counts

CONTENDERS = ("bare", "floor", "logged")
STAND_STILL_S = 30.0
PARTITIONS_MAX = 64
BROKER_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Result:
    """What it took to consume a topic, from the assignment to the last record."""

    record_count: int
    took_s: float
    cpu_s: float
    peak_bytes: int
    own_bytes: int  # in RAM at the end, without pages of files
    data_bytes: int  # size of the data file
    sync_count: int
    key_count: int  # 0 where nothing is kept
    digest: str


class Clock:
    """Notes when the partitions are assigned, and what was used by then."""

    def __init__(self) -> None:
        self.begin_s = self.begin_cpu_s = self.end_s = self.end_cpu_s = 0.0

    def on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Read every partition from its beginning."""
        for partition in partitions:
            partition.offset = OFFSET_BEGINNING
        consumer.assign(partitions)
        self.begin_s, self.begin_cpu_s = time.monotonic(), processes.cpu_s(os.getpid())


def properties(address: str, group_id: str) -> dict[str, Any]:
    """Return the client's properties, which are the daemon's."""
    return dict(client_properties([address], group_id, BROKER_TIMEOUT_S, None, {}))


def consume(
    address: str,
    topic: str,
    record_count: int,
    write: Callable[[list[Message]], int],
    clock: Clock,
) -> None:
    """Poll as the daemon does until *write* has had all records."""
    consumer = Consumer(properties(address, f"bench-{os.getpid()}"))
    consumer.subscribe([topic], on_assign=clock.on_assign)
    done, deadline_s = 0, time.monotonic() + STAND_STILL_S
    try:
        while done < record_count:
            first = consumer.poll(poll_s)
            if first is not None:
                done += write([first, *consumer.consume(records_max - 1, 0)])
                deadline_s = time.monotonic() + STAND_STILL_S
            elif time.monotonic() > deadline_s:
                raise TimeoutError(f"{done:,} of {record_count:,} records came")
    finally:
        clock.end_s, clock.end_cpu_s = time.monotonic(), processes.cpu_s(os.getpid())
        consumer.close()


def throw_away(messages: list[Message]) -> int:
    """Do nothing with a poll's messages; return how many of them are records."""
    return sum(message.error() is None for message in messages)


class Logging:
    """Writes the log's share of a batch before the data's."""

    def __init__(self, floor: Any, topic: str) -> None:
        self._floor = floor
        cursors = {partition: Cursor(topic, partition) for partition in range(PARTITIONS_MAX)}
        self._cursors = {topic: cursors}

    def write(self, messages: list[Message]) -> int:
        """Commit one poll's messages to both environments."""
        for batch in encode(messages, self._cursors, batch_bytes_max).batches:
            self._floor.write_log(batch.command)
        count: int = self._floor.write(messages)
        return count


def run(contender: str, address: str, topic: str, record_count: int, directory: Path) -> Result:
    """Consume the whole topic; raise if what was kept is not what is in it."""
    data = Environment(directory / "data", checkpointed=True)
    log = Environment(directory / "log") if contender == "logged" else None
    floor = load_floor().Floor(data, log)
    write = {"bare": throw_away, "floor": floor.write, "logged": Logging(floor, topic).write}
    clock = Clock()
    sync_count, _ = sync_counts()
    try:
        with nullcontext() if contender == "bare" else checkpointing(data):
            consume(address, topic, record_count, write[contender], clock)
        return Result(
            record_count=record_count,
            took_s=clock.end_s - clock.begin_s,
            cpu_s=clock.end_cpu_s - clock.begin_cpu_s,
            peak_bytes=processes.peak_bytes(os.getpid()),
            own_bytes=processes.own_bytes(os.getpid()),
            data_bytes=os.stat(directory / "data" / "data.mdb").st_size,
            sync_count=sync_counts()[0] - sync_count,
            key_count=floor.key_count,
            digest="" if contender == "bare" else topics.digest(record_count, floor.read),
        )
    finally:
        data.close()
        if log is not None:
            log.close()


def main() -> None:
    """Read the command line and consume."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--records", type=int, required=True)
    given = parser.parse_args()
    for name in ("data", "log"):
        (given.directory / name).mkdir(parents=True)
    try:
        result = run(given.contender, given.brokers, given.topic, given.records, given.directory)
    except (KafkaException, OSError) as error:
        raise SystemExit(f"consume: {error}") from None
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
