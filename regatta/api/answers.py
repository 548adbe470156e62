"""What is said of calls in the same manner by all that answer them: router, reader process."""

import asyncio
from collections.abc import Collection

from regatta import limits
from regatta.http2 import Call
from regatta.http2 import compress


def why_unknown(path: bytes, methods: Collection[bytes]) -> str:
    """Return the text for a *path* that is not one of the *methods* served."""
    root, _, rest = path.partition(b"/")
    service, slash, method = rest.rpartition(b"/")
    if root or not slash:
        return f"malformed method name: {text_of(path)}"
    if any(served.split(b"/")[1] == service for served in methods):
        return f"unknown method {text_of(method)} for service {text_of(service)}"
    return f"unknown service {text_of(service)}"


async def send(call: Call, message: bytes) -> None:
    """Answer *message*; a long one is compressed in a thread, if the call wants that."""
    packed = None
    if call.encoding != "identity" and len(message) > limits.stretch_bytes_max:
        packed = await asyncio.to_thread(compress, call.encoding, message)
    call.send_message(packed or message, compressed=packed is not None)


def text_of(data: bytes) -> str:
    """Return bytes that should be ASCII as text."""
    return data.decode("utf-8", "replace")
