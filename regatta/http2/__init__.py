"""HTTP/2 and gRPC, without a socket: bytes in, calls and bytes out.

A Session is one connection. Its owner feeds it what the peer sent and writes what output()
gives. A CallSink answers hot calls natively; every other call comes to Python as a Call.
"""

from regatta.http2._call import Call
from regatta.http2._coding import compress
from regatta.http2._session import Session
from regatta.http2._sink import CallSink
from regatta.http2._stream import live_streams

__all__ = ["Call", "CallSink", "Session", "compress", "live_streams"]
