"""Sockets and TLS: one port for gRPC, REST over HTTP/2 and REST over HTTP/1.1.

ALPN, or without it the first bytes, tells HTTP/2 from HTTP/1.1. listen() opens the port,
bind_shares() with serve_sockets() for several processes; tls_context() reads the certificate.
"""

from regatta.net.http1 import Rest
from regatta.net.listener import Listener
from regatta.net.listener import bind_shares
from regatta.net.listener import listen
from regatta.net.listener import serve_sockets
from regatta.net.tls import tls_context
from regatta.net.unix_socket import SocketFile

__all__ = [
    "Listener",
    "Rest",
    "SocketFile",
    "bind_shares",
    "listen",
    "serve_sockets",
    "tls_context",
]
