from typing import final

from confluent_kafka import Message

@final
class Cursor:
    """Where a consumer is in a partition."""

    position: int  # the offset of the next record to be taken
    # What is stored once all that was taken is applied: the same, unless the topic was made anew or
    # lost records.
    previous: int
    topic_id: bytes  # empty if unknown
    def __init__(
        self, topic: str, partition: int, position: int = 0, topic_id: bytes = b""
    ) -> None: ...
    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...

@final
class Batch:
    """An encoded Command with records of one topic, and what the log should say about it."""

    @property
    def topic(self) -> str: ...
    @property
    def command(self) -> bytes: ...
    @property
    def record_count(self) -> int:
        """Records that put or delete a pair."""
    @property
    def skipped_count(self) -> int:
        """Records that can't be stored, which are only counted."""
    @property
    def partitions(self) -> tuple[tuple[int, int], ...]:
        """Each partition in the batch, with its position once the batch is applied."""

@final
class Skip:
    """A record that no table can hold, and why."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def reason(self) -> str:
        """End of a sentence that begins with the record, such as "its key is empty"."""

@final
class Polled:
    """What became of one poll's messages."""

    @property
    def batches(self) -> list[Batch]:
        """Batches of one topic stand in the order in which they must be applied."""
    @property
    def skips(self) -> list[Skip]: ...
    @property
    def events(self) -> list[Message]:
        """Messages that are errors, or tell of a partition's end; in their order."""

def encode(
    messages: list[Message], cursors: dict[str, dict[int, Cursor]], batch_bytes_max: int
) -> Polled:
    """Make commands of records, and move the cursors behind them.

    *cursors* are found by topic and partition. Records without a cursor, and those below their
    cursor's position, are passed over: they are left from before a seek or a revocation.

    A topic's records are in one command of *batch_bytes_max* bytes at most, or in several; a
    record that is larger has one of its own. Each partition in it is a Command of its own with a
    source, which leads from the position before to the one after its records.

    The GIL is let go of while keys and values are copied. Raises TypeError for a key or a value
    that is not bytes; then no cursor has moved.
    """
