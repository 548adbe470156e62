"""A reader process: serves reads from the node's data, and hands everything else to the node.

    python -m regatta.workers.process

The node starts it, and tells on standard input what it is to do: one line of JSON, a Task. The
input stays open after that; its end is the end of the node, however it came about.
"""

import asyncio
import gc
import json
import logging
import os
import random
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from regatta import limits
from regatta import logs
from regatta.net import Listener
from regatta.net import serve_sockets
from regatta.net import tls_context
from regatta.store import View
from regatta.store._env import Environment
from regatta.table._range import RangeSink
from regatta.workers.forward import Forwarder
from regatta.workers.shared import SharedMemory

ORPHANED = 3  # exit code


@dataclass(frozen=True, slots=True)
class Task:
    """What a reader process is to do."""

    number: int  # of the process, from 0
    node_id: int
    data_dir: str
    node_socket: str  # where the node takes what is handed on
    memory: int  # descriptor of the memory in common
    methods: tuple[str, ...]  # gRPC paths that are served
    sockets: tuple[int, ...]  # descriptors that listen for clients
    cert_filename: str  # empty for no TLS
    key_filename: str
    max_connection_age_s: float  # 0 for no limit
    log_level: str
    dev_mode: bool

    def encode(self) -> bytes:
        """Return the line that tells it."""
        return json.dumps(asdict(self)).encode() + b"\n"


def main() -> int:
    """Serve until the node says stop or is gone."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as told:
        task = Task(**json.loads(told.readline()))
    log = logs.configure(task.log_level, dev_mode=task.dev_mode)
    # The node hears of it, and says when we are to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return uvloop.run(serve(task, log))


async def serve(task: Task, log: logging.Logger) -> int:
    """Open the data, serve until the node says stop, and let calls in flight finish."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_reader(sys.stdin.fileno(), leave)
    memory = SharedMemory(task.memory)
    environment = Environment(task.data_dir, read_only=True)
    sink = RangeSink(View(environment), task.node_id, memory.leaders(), memory.counts(task.number))
    forwarder = Forwarder(Path(task.node_socket), {path.encode() for path in task.methods})
    listener = await open_listener(task, sink, forwarder)
    gc.freeze()
    log.debug("worker %d serves", task.number)
    await stopping.wait()
    await listener.stop(limits.stop_grace_s)
    await forwarder.close()
    return 0


async def open_listener(task: Task, sink: RangeSink, forwarder: Forwarder) -> Listener:
    """Accept connections on the sockets that the node has bound."""
    tls = None
    if task.cert_filename:
        tls = tls_context(Path(task.cert_filename), Path(task.key_filename))
    age_s, chance = task.max_connection_age_s, random.Random()
    return await serve_sockets(
        [socket.socket(fileno=descriptor) for descriptor in task.sockets],
        tls,
        sink,
        lambda peer: forwarder.dispatch,
        forwarder.rest,
        (lambda: age_s * chance.uniform(0.9, 1.1)) if age_s else None,
    )


def leave() -> None:
    """End at once: the node is gone, and nobody can answer what we would hand on."""
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main())
