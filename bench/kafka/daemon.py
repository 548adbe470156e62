"""A daemon that catches up with topics, and what that takes."""

import re
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench import processes
from bench.kafka import topics
from bench.kafka.consume import Result
from regatta.pb.regatta_pb2 import RangeRequest
from tests.cluster.harness import KV
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.cluster.harness import ServerError

ASSIGN_TIMEOUT_S = 60.0
CATCH_UP_TIMEOUT_S = 300.0
CALL_TIMEOUT_S = 60.0
# A look costs the daemon some milliseconds, so it is taken when it can be expected to tell much.
LOOK_S_MIN, LOOK_S_MAX = 0.02, 1.0
ASSIGNED = r"^(\S+)\t.*\ttopic {topic}: reading partitions "


@dataclass(frozen=True)
class Daemons(Result):
    """What it took a daemon, with the CPU time of each of its threads by name."""

    threads_s: dict[str, float]


class TopicDaemon(Daemon):
    """A daemon that consumes topics, each with a thread name that the system knows."""

    def __init__(
        self, directory: Path, certificate: Certificate, address: str, consumed: Sequence[str]
    ) -> None:
        """Consume the topics *consumed* from the broker at *address*, in a group of its own."""
        super().__init__(directory, certificate)
        self.consume(address, consumed)

    def consume(self, address: str, consumed: Sequence[str]) -> None:
        """Consume other topics from the next start on."""
        self.flags = (
            f"--kafka.brokers={address}",
            f"--kafka.group-id=bench-{time.time_ns()}",
            f"--kafka.topics={','.join(consumed)}",
            "--log-level=INFO",
        )

    def command(self) -> list[str]:
        """Return the command line of the daemon."""
        python, option, _, *flags = super().command()
        return [python, option, "bench.kafka.named", *flags]

    def metric(self, name: str) -> dict[str, float]:
        """Return the values of a metric, by its labels as they are written."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest_port}/metrics") as answer:
            text = answer.read().decode()
        found = re.findall(rf"^{name}(\{{.*?\}})? (\S+)$", text, re.M)
        return {labels: float(value) for labels, value in found}

    def position(self, topic: str) -> int:
        """Return how many of a topic's records are applied, partitions added up."""
        stored = self.metric("regatta_kafka_position")
        return int(sum(value for labels, value in stored.items() if f'topic="{topic}"' in labels))

    def wait_until_assigned(self, topic: str) -> float:
        """Return when the topic's partitions were assigned: seconds since 1970."""
        deadline_s = time.monotonic() + ASSIGN_TIMEOUT_S
        pattern = re.compile(ASSIGNED.format(topic=re.escape(topic)), re.M)
        while time.monotonic() < deadline_s:
            if found := pattern.findall(self.stderr):
                return datetime.strptime(found[-1], "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
            time.sleep(0.01)
        raise ServerError(f"no partition of {topic} was assigned in time:\n{self.stderr[-5000:]}")

    def wait_until_applied(self, topic: str, record_count: int) -> None:
        """Return once all records are applied."""
        begin_s = time.monotonic()
        while (done := self.position(topic)) < record_count:
            elapsed_s = time.monotonic() - begin_s
            if elapsed_s > CATCH_UP_TIMEOUT_S:
                raise ServerError(f"{done:,} of {record_count:,} applied:\n{self.stderr[-5000:]}")
            left_s = elapsed_s * (record_count - done) / max(done, 1)
            time.sleep(min(max(left_s / 2, LOOK_S_MIN), LOOK_S_MAX) if done else LOOK_S_MIN)

    def key_count(self, table: str) -> int:
        """Return how many keys a table holds."""
        with self.channel() as channel:
            request = RangeRequest(
                table=table.encode(), key=b"\0", range_end=b"\0", count_only=True
            )
            count: int = KV(channel).range(request, timeout=CALL_TIMEOUT_S).count
        return count

    def digest(self, table: str, record_count: int) -> str:
        """Return the digest of a table's sample."""
        with self.channel() as channel:
            call = KV(channel).range

            def read(key: bytes) -> bytes | None:
                request = RangeRequest(table=table.encode(), key=key)
                answer = call(request, timeout=CALL_TIMEOUT_S)
                return answer.kvs[0].value if answer.kvs else None

            return topics.digest(record_count, read)

    def threads_s(self) -> dict[str, float]:
        """Return the CPU time of the daemon's threads by name; those of one name are added up."""
        found: dict[str, float] = {}
        for (thread, name), used_s in processes.thread_cpu_s(self.process_id).items():
            shown = "main" if thread == self.process_id else name
            found[shown] = found.get(shown, 0.0) + used_s
        return found


def catch_up(
    directory: Path, certificate: Certificate, address: str, topic: str, record_count: int
) -> Daemons:
    """Let a daemon with empty directories consume the whole topic; raise if its table is wrong."""
    with TopicDaemon(directory, certificate, address, [topic]) as daemon:
        begin_s = daemon.wait_until_assigned(topic)
        begin_cpu_s, begin_threads_s = daemon.cpu_time_s(), daemon.threads_s()
        daemon.wait_until_applied(topic, record_count)
        took_s = time.time() - begin_s
        cpu_s, threads_s = daemon.cpu_time_s() - begin_cpu_s, daemon.threads_s()
        (data,) = daemon.directory.glob("state-machine*/**/data.mdb")
        return Daemons(
            record_count=record_count,
            took_s=took_s,
            cpu_s=cpu_s,
            peak_bytes=processes.peak_bytes(daemon.process_id),
            own_bytes=processes.own_bytes(daemon.process_id),
            data_bytes=data.stat().st_size,
            sync_count=int(sum(daemon.metric("regatta_store_sync_seconds_count").values())),
            key_count=daemon.key_count(topic),
            digest=daemon.digest(topic, record_count),
            threads_s={
                name: used_s - begin_threads_s.get(name, 0.0) for name, used_s in threads_s.items()
            },
        )
