from typing import Self, final

from regatta.http2 import CallSink
from regatta.store import View

@final
class RangeSink(CallSink):
    """Answers Range of one key from the newest snapshot, one snapshot for each batch of calls."""

    def __new__(cls, view: View, replica: int, term: int, leader: int) -> Self: ...
