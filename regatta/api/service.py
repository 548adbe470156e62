"""What a service is to the router: a protobuf description, handlers, and a policy a method.

A service is any object with `descriptor` and `policies` and one method for each method of the
descriptor, named in snake case. By the kind of method, handlers are:

    unary           async def put(self, request, context) -> Message | bytes
    server stream   def iterate_range(self, request, context) -> AsyncGenerator[Message | bytes]
    client stream   async def restore(self, requests, context) -> Message | bytes
    bidirectional   def reflect(self, requests, context) -> AsyncGenerator[Message | bytes]

*requests* is an asynchronous iterator. Bytes are an answer that is encoded already. Handlers
raise RegattaError for everything that the caller should be told.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from regatta.api import broken_field
from regatta.errors import InvalidArgument
from regatta.measure import CallCounts


def small(request: Any) -> int:
    """Answer 0 as the answer's largest size: too small to be worth counting."""
    return 0


@dataclass(frozen=True, slots=True)
class Policy:
    """What the router must know about a method beside its types."""

    # How long a call may take if its client does not say; of a server stream only the time to
    # its first answer. None: for ever, and such calls are ended first when the node stops.
    timeout_s: float | None
    # The most bytes that the answer to a request can have, or one answer of a stream. 0 for
    # small ones: these are made at once, the others one after the other for each connection.
    answer_bytes_max: Callable[[Any], int] = small
    # Server streams only: how long the client may leave an answer unread, and the whole stream's
    # time. Beyond them the call ends with RESOURCE_EXHAUSTED.
    idle_s_max: float | None = None
    total_s_max: float | None = None


class Service(Protocol):
    """The part of a service that is the same for all of them."""

    @property
    def descriptor(self) -> ServiceDescriptor:
        """The protobuf description, which names the service and its methods."""

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Method name, as in the description, to policy."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service, ready to be called."""

    path: str  # /package.Service/Method
    request_class: type[Message]
    response_class: type[Message]
    streams_requests: bool
    streams_answers: bool
    handler: Callable[..., Any]
    policy: Policy
    counts: CallCounts  # of the calls that came over gRPC

    def decode(self, data: bytes) -> Message:
        """Return the request in *data*; raise InvalidArgument, naming the field at fault."""
        try:
            return self.request_class.FromString(data)
        except DecodeError:
            name = self.request_class.DESCRIPTOR.full_name
            fault = broken_field.describe(self.request_class, data)
            raise InvalidArgument(f"cannot decode {name}: {fault}") from None


def methods_of(services: Iterable[Service]) -> dict[str, Method]:
    """Return path to method; raise TypeError if a service lacks a handler or a policy."""
    return {
        method.path: method
        for service in services
        for method in (_method(service, description) for description in service.descriptor.methods)
    }


def _method(service: Service, description: MethodDescriptor) -> Method:
    handler = getattr(service, _snake_case(description.name), None)
    policy = service.policies.get(description.name)
    if handler is None or policy is None:
        missing = "handler" if handler is None else "policy"
        raise TypeError(f"{type(service).__name__} has no {missing} for {description.full_name}")
    return Method(
        path=f"/{service.descriptor.full_name}/{description.name}",
        request_class=GetMessageClass(description.input_type),
        response_class=GetMessageClass(description.output_type),
        streams_requests=bool(description.client_streaming),
        streams_answers=bool(description.server_streaming),
        handler=handler,
        policy=policy,
        counts=CallCounts(),
    )


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
