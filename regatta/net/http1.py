"""REST over HTTP/1.1: aiohttp parses the requests, the same function as for HTTP/2 answers them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion10
from aiohttp.http import HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict

from regatta.limits import rest_body_bytes_max

RestAnswer = tuple[int, list[tuple[str, str]], bytes]

# (method, path with query, headers, body) to (status, headers, body)
Rest = Callable[[str, str, Mapping[str, str], bytes], Awaitable[RestAnswer]]

body_timeout_s = 60.0  # for a request's body to come
LAST_ANSWERS = {413: "Request Entity Too Large"}  # as HTTP/2 is told; Python names it otherwise
MALFORMED = web.RequestKey("malformed", bool)  # the version is none that is spoken here

logger = logging.getLogger("server")


class ClientFaults(logging.LoggerAdapter[logging.Logger]):
    """aiohttp's logger. It reports malformed requests as errors with a trace; they are neither."""

    def exception(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.debug(msg, *args)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs


class Protocol(RequestHandler):
    """One connection. What is no HTTP/1.1 is refused without an echo of it, and ends it."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what could not be parsed."""
        self.logger.debug("a malformed request: %s", message)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        return last_answer(status)


class Http1:
    """Makes the protocol objects for HTTP/1.1 connections."""

    def __init__(self, rest: Rest) -> None:
        """Answer all requests by *rest*. To be made while the event loop runs."""
        self._rest = rest
        self._loop = asyncio.get_running_loop()
        self._server = web.Server(
            self._answer,
            request_factory=self._make_request,
        )
        self._options: dict[str, Any] = {"access_log": None, "logger": ClientFaults(logger)}

    def make_protocol(self) -> RequestHandler:
        """Return the protocol of one new connection."""
        return Protocol(self._server, loop=self._loop, **self._options)

    def _make_request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        malformed = message.version not in (HttpVersion10, HttpVersion11)
        request = web.BaseRequest(
            message._replace(version=HttpVersion11) if malformed else message,
            payload,
            protocol,
            writer,
            task,
            self._loop,
            client_max_size=rest_body_bytes_max,
        )
        request[MALFORMED] = malformed
        return request

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request[MALFORMED]:
            return last_answer(400)
        try:
            if (request.content_length or 0) > rest_body_bytes_max:
                return last_answer(413)
            body = await asyncio.wait_for(request.read(), body_timeout_s)
        except web.HTTPRequestEntityTooLarge:
            return last_answer(413)
        except TimeoutError:
            return last_answer(408)
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


def last_answer(status: int) -> web.Response:
    """Return an answer after which the connection is closed, what else came on it unread."""
    text = LAST_ANSWERS.get(status, HTTPStatus(status).phrase)
    response = web.Response(status=status, text=f"{text}\n", headers={"Server": "regatta"})
    response.force_close()
    return response
