"""REST over HTTP/1.1: aiohttp parses the requests, the same function as for HTTP/2 answers them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict

from regatta.limits import rest_body_bytes_max

RestAnswer = tuple[int, list[tuple[str, str]], bytes]

# (method, path with query, headers, body) to (status, headers, body)
Rest = Callable[[str, str, Mapping[str, str], bytes], Awaitable[RestAnswer]]

body_timeout_s = 60.0  # for a request's body to come

logger = logging.getLogger("server")


class ClientFaults(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's logger. It reports malformed requests as errors with a trace; they are neither."""

    def exception(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


class Http1:
    """Makes the protocol objects for HTTP/1.1 connections."""

    def __init__(self, rest: Rest) -> None:
        """Answer all requests by *rest*. To be made while the event loop runs."""
        self._rest = rest
        self._loop = asyncio.get_running_loop()
        self._server = web.Server(
            self._answer,
            request_factory=self._make_request,
            access_log=None,
            logger=ClientFaults(logger),
        )

    def make_protocol(self) -> RequestHandler:
        """Return the protocol of one new connection."""
        return self._server()

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        return web.BaseRequest(
            message,
            payload,
            protocol,
            writer,
            task,
            self._loop,
            client_max_size=rest_body_bytes_max,
        )

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if (request.content_length or 0) > rest_body_bytes_max:
                return too_large()
            body = await asyncio.wait_for(request.read(), body_timeout_s)
        except web.HTTPRequestEntityTooLarge:
            return too_large()
        except TimeoutError:
            return refuse(408, "Request Timeout\n")
        try:
            status, headers, answer = await self._rest(
                request.method, request.raw_path, request.headers, body
            )
        except Exception:
            logger.exception("the handler of %s failed", request.raw_path)
            status, headers, answer = 500, [], b""
        named = CIMultiDict(headers)
        named.setdefault("Server", "regatta")
        return web.Response(status=status, headers=named, body=answer)


def too_large() -> web.Response:
    """Return the answer to a body over the limit."""
    return refuse(413, "Request Entity Too Large\n")


def refuse(status: int, text: str) -> web.Response:
    """Return the answer to a request whose body is not read to its end."""
    response = web.Response(status=status, text=text)
    response.force_close()
    return response
