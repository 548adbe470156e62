from typing import Self, final

from typing_extensions import Buffer

from regatta.http2 import CallSink
from regatta.measure import NativeCalls
from regatta.store import View
from regatta.table._leaders import Leaders

@final
class RangeSink(CallSink):
    """Answers Range and IterateRange from the newest snapshot, one for each batch of calls."""

    def __new__(
        cls, view: View, replica: int, leaders: Leaders, counts: Buffer | None = None
    ) -> Self:
        """Count calls in *counts*, 2 * 35 unsigned 64-bit numbers, if it is given."""
    @property
    def calls(self) -> dict[str, NativeCalls]:
        """What was answered here, by the method's path."""
