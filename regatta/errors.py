"""Every error that a caller can meet, with its gRPC code and HTTP status.

The edge turns any RegattaError into an answer; code below the edge only raises.
"""

from enum import IntEnum


class Code(IntEnum):
    """gRPC status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 408,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


class RegattaError(Exception):
    """Base of all errors that reach a caller; str() is the text that the caller sees."""

    code = Code.UNKNOWN

    @property
    def http_status(self) -> int:
        """Return the HTTP status that goes with the code."""
        return HTTP_STATUS[self.code]


class InvalidArgument(RegattaError):
    """The request is wrong whatever the state of the database."""

    code = Code.INVALID_ARGUMENT


class DeadlineExceeded(RegattaError):
    """The call's time ran out; a write may still take effect, and the text says so."""

    code = Code.DEADLINE_EXCEEDED


class NotFound(RegattaError):
    """What the request names is not there."""

    code = Code.NOT_FOUND


class ResourceExhausted(RegattaError):
    """A bound was reached: too large, too long, no space."""

    code = Code.RESOURCE_EXHAUSTED


class FailedPrecondition(RegattaError):
    """The request can't be done in the database's present state."""

    code = Code.FAILED_PRECONDITION


class Aborted(RegattaError):
    """Something else came first: look at the database again before trying anew."""

    code = Code.ABORTED


class Unimplemented(RegattaError):
    """No such service, method or encoding."""

    code = Code.UNIMPLEMENTED


class Internal(RegattaError):
    """A fault of ours."""

    code = Code.INTERNAL


class Unavailable(RegattaError):
    """Try again: nothing was done."""

    code = Code.UNAVAILABLE


class DataLoss(RegattaError):
    """Stored bytes are damaged."""

    code = Code.DATA_LOSS


class StartError(Exception):
    """The node can't start. str() is one line; *remedy* says what to do, and may be empty."""

    def __init__(self, problem: str, remedy: str = "", *, usage: bool = False) -> None:
        super().__init__(problem)
        self.remedy = remedy
        # True for what the command line got wrong: exit code 2 rather than 1.
        self.usage = usage


def error_of(code: int, text: str) -> RegattaError:
    """Return the error whose gRPC code is *code*; one that has no class is an Internal."""
    for kind in RegattaError.__subclasses__():
        if kind.code == code:
            return kind(text)
    return Internal(text)
