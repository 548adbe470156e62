from typing import Self, final

from regatta.http2 import CallSink
from regatta.measure import NativeCalls
from regatta.table._range import RangeSink
from regatta.table._write import WriteSink

@final
class NodeSink(CallSink):
    """Answers what *reads* and *writes* do, for the sessions of one thread."""

    def __new__(cls, reads: RangeSink, writes: WriteSink) -> Self: ...
    @property
    def calls(self) -> dict[str, NativeCalls]:
        """What was answered by either, by the method's path."""
