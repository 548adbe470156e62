"""The operators' port: /metrics, /healthz and /readyz over plain HTTP.

Every connection carries one request, so that nothing can stay open here unnoticed.
"""

import asyncio
import gzip
import logging
from collections.abc import Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from regatta.net.http1 import ClientFaults
from regatta.net.listener import bind

logger = logging.getLogger("admin")

connections_max = 256  # at once; more are closed unheard
answer_s_max = 60.0  # from the limit for reading a request on, for taking its answer
goodbye_s = 1.0  # for answers under way when the node stops


class Admin:
    """Answers operators, from before the node is ready until after it has stopped serving."""

    def __init__(
        self,
        problem: Callable[[], str],
        scrape: Callable[[str], tuple[bytes, str]],
        read_timeout_s: float,
    ) -> None:
        """Ask *problem* why the node is not ready, "" if it is, and *scrape* for the metrics.

        *scrape* is called in a thread, with an Accept header, and returns the text and its type.
        """
        self._problem = problem
        self._scrape = scrape
        self._read_timeout_s = read_timeout_s
        self._loop = asyncio.get_running_loop()
        self._http = web.Server(self._answer, access_log=None, logger=ClientFaults(logger))
        self._servers: list[asyncio.Server] = []
        self._answering: set[object] = set()  # connections whose request has been read
        self._scraping = asyncio.Lock()

    async def listen(self, host: str, port: int) -> int:
        """Open *port*, 0 for a free one, on every address of *host*; return it.

        Raises StartError if it can't be had.
        """
        for bound in await bind(host, port):
            port = bound.getsockname()[1]
            self._servers.append(await self._loop.create_server(self._connect, sock=bound))
        return port

    async def close(self) -> None:
        """Take no more requests and end those under way."""
        for server in self._servers:
            server.close()
        await self._http.shutdown(goodbye_s)

    def _connect(self) -> RequestHandler:
        full = len(self._http.connections) >= connections_max
        connection: RequestHandler = self._http()
        self._loop.call_later(0 if full else self._read_timeout_s, self._end_reading, connection)
        return connection

    def _end_reading(self, connection: RequestHandler) -> None:
        """Close a connection that has not sent its request by now."""
        if connection not in self._answering:
            abort(connection)
            return
        self._answering.discard(connection)
        if connection.transport is not None:
            self._loop.call_later(answer_s_max, abort, connection)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._answering.add(request.protocol)
        response = await self._respond(request)
        response.headers["Server"] = "regatta"
        response.force_close()
        return response

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        path = request.path
        if path not in ("/metrics", "/healthz", "/readyz"):
            return web.Response(status=404, text="Not Found\n")
        if request.method not in ("GET", "HEAD"):
            return web.Response(
                status=405, text="Method Not Allowed\n", headers={"Allow": "GET, HEAD"}
            )
        if path == "/metrics":
            return await self._metrics(request)
        problem = self._problem() if path == "/readyz" else ""
        return web.Response(status=503, text=f"{problem}\n") if problem else web.Response()

    async def _metrics(self, request: web.BaseRequest) -> web.Response:
        zipped = wants_gzip(request.headers.get("Accept-Encoding", ""))

        def make_body() -> tuple[bytes, str]:
            text, content_type = self._scrape(request.headers.get("Accept", ""))
            return gzip.compress(text, 6) if zipped else text, content_type

        # One at a time: a scrape of many tables is large.
        async with self._scraping:
            body, content_type = await asyncio.to_thread(make_body)
        headers = {"Content-Type": content_type, "Vary": "Accept-Encoding"}
        if zipped:
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)


def abort(connection: RequestHandler) -> None:
    """Close a connection at once, unless it is closed already."""
    if connection.transport is not None:
        connection.transport.abort()


def wants_gzip(accept_encoding: str) -> bool:
    """Return whether an Accept-Encoding header asks for gzip."""
    for part in accept_encoding.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
