"""What the consumer knows of one topic. No clock and no network in here."""

from dataclasses import dataclass, field

from regatta.engine import Position
from regatta.kafka._batch import Batch
from regatta.kafka._batch import Cursor
from regatta.kafka.backoff import Backoff
from regatta.kafka.progress import Progress
from regatta.kafka.progress import unknown


@dataclass
class Topic:
    """One topic: this node's partitions of it, and what is under way."""

    name: str
    backoff: Backoff
    progress: Progress
    id: bytes = b""  # what another topic of the same name doesn't have; empty if unknown
    cursors: dict[int, Cursor] = field(default_factory=dict)  # by partition
    in_flight: int = 0  # batches
    # Nothing is taken while a topic is held: something went wrong, and when all that is in flight
    # has come back it goes on from the stored positions.
    held: bool = False
    resume_at_s: float = 0.0
    failures: int = 0  # in a row
    # By partition. All before is applied; told to the group; the end of the partition when it was
    # reached, which may be beyond the last record: markers of transactions come after it.
    applied: dict[int, int] = field(default_factory=dict)
    committed: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    lag: int = unknown  # records that are to come
    record_count: int = 0
    byte_count: int = 0
    skipped_count: int = 0
    error_count: int = 0

    def place(self, partition: int, stored: Position | None) -> Cursor:
        """Return the partition's cursor, set to where reading goes on after *stored*.

        A topic that was made anew is read from its beginning.
        """
        cursor = self.cursors.get(partition)
        if cursor is None:
            cursor = self.cursors[partition] = Cursor(self.name, partition)
        cursor.topic_id = self.id
        cursor.previous = stored.next if stored else 0
        cursor.position = 0 if self.is_of_another(stored) else cursor.previous
        self.applied[partition] = cursor.position
        self.ends.pop(partition, None)
        return cursor

    def is_of_another(self, stored: Position | None) -> bool:
        """Whether the position is that of an earlier topic with the same name."""
        return bool(stored and stored.topic_id and self.id and stored.topic_id != self.id)

    def forget(self) -> None:
        """Drop all partitions: they may be others' now."""
        for by_partition in (self.cursors, self.applied, self.committed, self.ends):
            by_partition.clear()
        self.lag = unknown

    # Outcomes.

    def succeed(self, batch: Batch) -> None:
        """Take note that a batch is applied."""
        self.failures = 0
        self.backoff.succeed()
        for partition, position in batch.partitions:
            if partition in self.cursors:
                self.applied[partition] = position

    def fail(self, now_s: float, *, retry_at_once: bool) -> float:
        """Hold the topic and return for how long, in seconds."""
        wait_s = 0.0 if retry_at_once and not self.failures else self.backoff.wait_s()
        self.failures += 1
        self.held, self.resume_at_s = True, now_s + wait_s
        return wait_s

    # Offsets.

    def reach_end(self, partition: int, offset: int) -> None:
        """Take note that all of a partition before *offset* has been read."""
        self.ends[partition] = offset

    def done(self, partition: int) -> int:
        """Return the offset before which everything is applied, or is nothing to apply."""
        cursor, applied = self.cursors[partition], self.applied[partition]
        end = self.ends.get(partition, 0)
        return end if applied == cursor.position <= end else applied

    def uncommitted(self) -> dict[int, int]:
        """Return what the group has yet to be told, by partition."""
        done = {partition: self.done(partition) for partition in self.cursors}
        return {
            partition: offset
            for partition, offset in done.items()
            if offset and offset != self.committed.get(partition)
        }
