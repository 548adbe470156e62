"""Sockets and TLS: one port for gRPC, REST over HTTP/2 and REST over HTTP/1.1.

ALPN, or without it the first bytes, tells HTTP/2 from HTTP/1.1. listen() opens the port,
tls_context() reads the certificate.
"""

from regatta.net.http1 import Rest
from regatta.net.listener import Listener, listen
from regatta.net.tls import tls_context

__all__ = ["Listener", "Rest", "listen", "tls_context"]
