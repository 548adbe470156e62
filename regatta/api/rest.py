"""The REST routes: JSON in and out, answered by the same handlers as gRPC."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from regatta import limits
from regatta.api import json_codec
from regatta.api.context import Context
from regatta.api.deadlines import Wheel
from regatta.api.service import Method
from regatta.errors import HTTP_STATUS
from regatta.errors import Code
from regatta.errors import InvalidArgument
from regatta.errors import NotFound
from regatta.errors import RegattaError

log = logging.getLogger("server.api")

Response = tuple[int, list[tuple[str, str]], bytes]  # status, headers, body
# Given the most bytes of an answer and the bytes of its request, holds room for them.
Place = Callable[[int, int], AbstractAsyncContextManager[None]]

TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
UNIT_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
METADATA_PREFIX = "grpc-metadata-"


def _unchanged(*messages: Any) -> None:
    """Leave the messages as they are."""


def _ask_for_the_count(request: Any) -> None:
    """A delete of one key tells whether there was one, also when not asked."""
    if not request.range_end:
        request.count = True


def _tell_missing_key(request: Any, response: Any) -> None:
    """A read of one key answers with the key or not at all."""
    if not request.range_end and not response.count and not response.kvs:
        raise NotFound("key not found")


def _leave_out_header(request: Any, response: Any) -> None:
    """The answer to a reset is empty."""
    response.ClearField("header")


@dataclass(frozen=True, slots=True)
class Route:
    """How a path differs from the gRPC method behind it."""

    grpc_path: str
    prepare: Callable[[Any], None] = _unchanged  # changes the request
    complete: Callable[[Any, Any], None] = _unchanged  # changes the answer, given the request


ROUTES = {
    "/v1/kv/range": Route("/regatta.v1.KV/Range", complete=_tell_missing_key),
    "/v1/kv/put": Route("/regatta.v1.KV/Put"),
    "/v1/kv/deleterange": Route("/regatta.v1.KV/DeleteRange", prepare=_ask_for_the_count),
    "/v1/maintenance/hash": Route("/regatta.v1.Maintenance/Hash"),
    "/v1/maintenance/reset": Route("/regatta.v1.Maintenance/Reset", complete=_leave_out_header),
}


def unbounded(answer_bytes_max: int, request_bytes: int) -> AbstractAsyncContextManager[None]:
    """Bound nothing: for connections that carry one request at a time."""
    return nullcontext()


class Rest:
    """The routes, joined to the methods that answer them."""

    def __init__(self, methods: Mapping[str, Method], wheel: Wheel) -> None:
        self._routes = {path: (route, methods[route.grpc_path]) for path, route in ROUTES.items()}
        self._wheel = wheel
        # How many requests were answered, by path, "other" if there is no such route, and status.
        self.counts: dict[tuple[str, int], int] = {(path, 200): 0 for path in self._routes}
        # One large body at a time: their objects take many times the body's own bytes.
        self._large_body = asyncio.Lock()

    async def handle(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        peer: str = "",
        place: Place = unbounded,
    ) -> Response:
        """Answer one HTTP request; never raises but when it is cancelled."""
        return self.counted(path, await self._handle(method, path, headers, body, peer, place))

    def counted(self, path: str, response: Response) -> Response:
        """Count the answer to a request and return it."""
        route = path.partition("?")[0]
        key = (route if route in self._routes else "other", response[0])
        self.counts[key] = self.counts.get(key, 0) + 1
        return response

    async def _handle(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        peer: str,
        place: Place,
    ) -> Response:
        found = self._routes.get(path.partition("?")[0])
        if found is None:
            return _text_response(404, "Not Found", method)
        if method != "POST":
            return _text_response(405, "Method Not Allowed", method, ("Allow", "POST"))
        try:
            answer = await self._answer(*found, headers, body, peer, place)
        except RegattaError as error:
            if error.code is Code.DATA_LOSS:
                log.error("DATA_LOSS in %s: %s", path, error)
            return self.error(error.code, str(error))
        except Exception:
            log.exception("handling a request failed: %s", path)
            return self.error(Code.INTERNAL, "internal error")
        return 200, [("Content-Type", "application/json")], answer

    def error(self, code: Code, text: str) -> Response:
        """Return the response that tells of an error."""
        body = json.dumps(
            {"error": text, "code": int(code), "message": text}, separators=(",", ":")
        )
        return HTTP_STATUS[code], [("Content-Type", "application/json")], body.encode()

    async def _answer(
        self,
        route: Route,
        method: Method,
        headers: Mapping[str, str],
        body: bytes,
        peer: str,
        place: Place,
    ) -> bytes:
        lowered = {name.lower(): value for name, value in headers.items()}
        timeout_s = _timeout_s(lowered.get("grpc-timeout"))
        if timeout_s is None:
            timeout_s = method.policy.timeout_s
        deadline_s = None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s
        context = Context(_metadata(lowered), peer, deadline_s)
        async with self._wheel.limit(timeout_s, context.expired):
            request = await self._decoded(method, body, place)
            route.prepare(request)
            room_bytes = method.policy.answer_bytes_max(request)
            if room_bytes == 0:
                return await self._call(route, method, request, context)
            async with place(room_bytes, len(body)):
                return await self._call(route, method, request, context)

    async def _call(self, route: Route, method: Method, request: Any, context: Context) -> bytes:
        response = await method.handler(request, context)
        if isinstance(response, bytes):
            response = method.response_class.FromString(response)
        route.complete(request, response)
        if response.ByteSize() <= limits.stretch_bytes_max:
            return json_codec.encode(response)
        async with self._large_body:
            return await asyncio.to_thread(json_codec.encode, response)

    async def _decoded(self, method: Method, body: bytes, place: Place) -> Message:
        request = method.request_class()
        if len(body) <= limits.stretch_bytes_max:
            json_codec.decode(request, body)
        else:
            async with place(len(body), len(body)), self._large_body:
                await asyncio.to_thread(json_codec.decode, request, body)
        return request


def _timeout_s(text: str | None) -> float | None:
    if text is None:
        return None
    match = TIMEOUT.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"invalid grpc-timeout: {text}")
    return int(match[1]) * UNIT_S[match[2]]


def _metadata(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return the headers that a gRPC client would have sent as metadata."""
    return [
        (name.removeprefix(METADATA_PREFIX).encode(), value.encode())
        for name, value in headers.items()
        if name.startswith(METADATA_PREFIX) or name == "authorization"
    ]


def _text_response(status: int, text: str, method: str, *headers: tuple[str, str]) -> Response:
    body = b"" if method == "HEAD" else f"{text}\n".encode()
    return status, [("Content-Type", "text/plain; charset=utf-8"), *headers], body
