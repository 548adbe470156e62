"""What a handler may know of the call that it answers."""

from collections.abc import Iterable

from regatta.errors import DeadlineExceeded


class Context:
    """One call, of gRPC or REST."""

    __slots__ = ("_headers", "deadline_s", "peer", "proposed")

    def __init__(
        self, headers: Iterable[tuple[bytes, bytes]], peer: str, deadline_s: float | None
    ) -> None:
        self._headers = headers
        # The client's address; empty if unknown.
        self.peer = peer
        # On the clock of the event loop, in seconds; None for a call that may take for ever.
        # The router keeps it: handlers are cancelled in time.
        self.deadline_s = deadline_s
        # Set by handlers once a write has been proposed: its outcome is unknown from then on.
        self.proposed = False

    def metadata(self, name: str) -> str | None:
        """Return the first value that the client sent under *name*, in lower case, or None."""
        wanted = name.encode()
        for key, value in self._headers:
            if key == wanted:
                return value.decode("latin-1")
        return None

    def expired(self) -> DeadlineExceeded:
        """Return the error that tells of the deadline, and of a write that may yet happen."""
        if self.proposed:
            text = "context deadline exceeded: the write may still take effect"
        else:
            text = "context deadline exceeded"
        return DeadlineExceeded(text)
