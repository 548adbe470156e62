"""The port: accepts connections, and knows them all until it stops."""

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from regatta.errors import StartError
from regatta.http2 import Call
from regatta.http2 import CallSink
from regatta.net._protocol import Connection
from regatta.net.http1 import Http1
from regatta.net.http1 import Rest
from regatta.net.unix_socket import SocketFile
from regatta.net.unix_socket import bind_unix

handshake_timeout_s = 10.0
hello_timeout_s = 10.0  # for a peer to begin to speak after that
goodbye_s = 0.5  # for a peer to answer the end of a TLS connection when we stop
silence_s = 120  # of a peer that acknowledges nothing, or leaves no room to send, before it is gone
flush_timeout_s = 10.0  # for the last bytes of a connection to leave, at any other time

logger = logging.getLogger("server")


class Listener:
    """One open port, on one address or several. Made by listen()."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, age_s: Callable[[], float] | None = None
    ) -> None:
        """*age_s* says for each new connection when it is told to go; None lets all stay."""
        self._loop = loop
        self._age_s = age_s
        self.hello_timeout_s = hello_timeout_s
        self._servers: list[asyncio.Server] = []
        self._socket_file: SocketFile | None = None
        # Each with the timer of its age, if it has one.
        self._connections: dict[Connection, asyncio.TimerHandle | None] = {}
        self._busy: set[Connection] = set()  # those that may still owe an answer
        self._stopping = False
        self._all_settled = asyncio.Event()
        self._all_settled.set()
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Return every (IP address, port) that is listened on; none for a Unix socket."""
        sockets = [listening for server in self._servers for listening in server.sockets]
        names = [listening.getsockname() for listening in sockets]
        return [name[:2] for name in names if isinstance(name, tuple)]

    @property
    def connection_count(self) -> int:
        """Return the number of connections that are open, handshakes not counted."""
        return len(self._connections)

    @property
    def stream_count(self) -> int:
        """Return the number of HTTP/2 streams that are open, over all connections."""
        # A copy, since other threads may ask.
        return sum(connection.stream_count for connection in list(self._connections))

    async def stop(self, grace_s: float) -> None:
        """Accept no more, tell all peers, and wait for calls in flight, up to *grace_s*.

        What is not answered by then is cut off.
        """
        self._stopping = True
        for server in self._servers:
            server.close()
        if self._socket_file is not None:
            self._socket_file.remove()
        for connection in list(self._connections):
            connection.start_drain()
        if not await within(grace_s, self._all_settled):
            logger.warning("%d connections are cut off in mid-call", len(self._busy))
        # Some peers never answer TLS's good-bye: no call is lost with them.
        elif await within(goodbye_s, self._all_closed):
            return
        for connection in list(self._connections):
            connection.abort()
        await self._all_closed.wait()

    def add(self, server: asyncio.Server) -> None:
        """Take over one listening server."""
        self._servers.append(server)

    def own(self, socket_file: SocketFile) -> None:
        """Remove the file of the socket at the end."""
        self._socket_file = socket_file

    def opened(self, connection: Connection) -> None:
        """Note a new connection; called by itself."""
        self._connections[connection] = (
            self._loop.call_later(self._age_s(), connection.start_drain) if self._age_s else None
        )
        self._busy.add(connection)
        self._all_closed.clear()
        self._all_settled.clear()
        if self._stopping:
            # It was still shaking hands when we stopped.
            self._loop.call_soon(connection.start_drain)

    def settled(self, connection: Connection) -> None:
        """Note that a connection owes no answer any more; called by itself."""
        self._busy.discard(connection)
        if not self._busy:
            self._all_settled.set()

    def closed(self, connection: Connection) -> None:
        """Forget a connection; called by itself."""
        self.settled(connection)
        age_timer = self._connections.pop(connection, None)
        if age_timer is not None:
            age_timer.cancel()
        if not self._connections:
            self._all_closed.set()


async def within(timeout_s: float, event: asyncio.Event) -> bool:
    """Wait for *event*; say whether it came in time."""
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return False
    return True


async def listen(
    host: str | Path,
    port: int,
    tls: ssl.SSLContext | None,
    sink: CallSink | None,
    connect: Callable[[str], Callable[[Call], None]],
    rest: Rest,
    age_s: Callable[[], float] | None = None,
) -> Listener:
    """Open *port* on every address that *host* has; 0 picks a free one, the same on all.

    A path as the host opens a Unix socket there, without a port. *sink* gets what comes over HTTP/2
    first; what it declines goes to the function that *connect* returns for the connection's peer
    address, which is empty for a Unix socket. *rest* gets what comes over HTTP/1.1.
    *age_s*, asked for each connection, says after how many seconds it is drained.
    Raises StartError when the name is unknown or the port or path can't be had.
    """
    sockets = [bind_unix(host)] if isinstance(host, Path) else await bind(host, port)
    listener = await serve_sockets(sockets, tls, sink, connect, rest, age_s)
    if isinstance(host, Path):
        listener.own(SocketFile(host))
    return listener


async def serve_sockets(
    sockets: Sequence[socket.socket],
    tls: ssl.SSLContext | None,
    sink: CallSink | None,
    connect: Callable[[str], Callable[[Call], None]],
    rest: Rest,
    age_s: Callable[[], float] | None = None,
) -> Listener:
    """Accept connections on *sockets*, which listen already; the rest is as for listen()."""
    loop = asyncio.get_running_loop()
    listener = Listener(loop, age_s)
    http1 = Http1(rest)

    def make_connection() -> Connection:
        return Connection(loop, listener, sink, connect, http1.make_protocol)

    for listening in sockets:
        is_unix = listening.family == socket.AF_UNIX
        serve = loop.create_unix_server if is_unix else loop.create_server
        server = await serve(
            make_connection,
            sock=listening,
            ssl=tls,
            ssl_handshake_timeout=handshake_timeout_s if tls else None,
            ssl_shutdown_timeout=flush_timeout_s if tls else None,
        )
        listener.add(server)
    return listener


async def bind_shares(host: str | Path, port: int, share_count: int) -> list[list[socket.socket]]:
    """Return listening sockets for so many processes, each of which has its share of connections.

    The kernel spreads connections over the shares; those of a Unix socket are one and the same
    socket. Raises StartError, as listen() does, also when another process has the port: sharing it
    is for those who were given a share.
    """
    if isinstance(host, Path):
        bound = bind_unix(host)
        return [[bound], *([bound.dup()] for _ in range(share_count - 1))]
    alone = await bind(host, port)
    port = alone[0].getsockname()[1]
    for bound in alone:
        bound.close()
    return [await bind(host, port, shared=True) for _ in range(share_count)]


async def bind(host: str, port: int, *, shared: bool = False) -> list[socket.socket]:
    """Return a bound socket for each address of *host*; an empty one means all addresses.

    If they are *shared*, others of this user may bind the same port, and share it.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise StartError(f"can't resolve {host}: {error.strerror}") from None
    sockets: list[socket.socket] = []
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            if sockets and port == 0:
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            bound = bind_one(family, address, needed=len(found) == 1, shared=shared)
            if bound is not None:
                sockets.append(bound)
    except StartError:
        for bound in sockets:
            bound.close()
        raise
    if not sockets:
        raise StartError(f"can't listen on {host}: none of its addresses is on this machine")
    return sockets


def bind_one(
    family: int, address: tuple[Any, ...], *, needed: bool, shared: bool = False
) -> socket.socket | None:
    """Bind one address; None if the machine does not have it and it is not *needed*."""
    absent = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    bound: socket.socket | None = None
    try:
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        notice_silence(bound)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(address)
        bound.listen(1024)
    except OSError as error:
        if bound is not None:
            bound.close()
        if error.errno in absent and not needed:
            return None
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StartError(f"can't listen on {address[0]}:{address[1]}: {reason}") from None
    return bound


def notice_silence(bound: socket.socket) -> None:
    """Have the kernel end the connections of peers that have vanished, or that read no more.

    What is set on the listening socket holds for those that it accepts.
    """
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, max(silence_s // 2, 1))
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(silence_s // 8, 1))
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_s * 1000)
