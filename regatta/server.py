"""Puts the parts of a node together, runs it until a signal, and takes it down in order."""

import asyncio
import gc
import logging
import os
import random
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from regatta import banner
from regatta import limits
from regatta.admin import Admin
from regatta.admin import Node
from regatta.admin import View
from regatta.api.deadlines import Wheel
from regatta.api.health import Health
from regatta.api.kv import KV
from regatta.api.maintenance import Maintenance
from regatta.api.rest import Rest
from regatta.api.router import Router
from regatta.api.service import methods_of
from regatta.api.standard import with_standard_services
from regatta.config import ApiSettings
from regatta.config import KafkaSettings
from regatta.config import RestSettings
from regatta.config import Settings
from regatta.endpoint import Endpoint
from regatta.engine import Engine
from regatta.engine import NodeSink
from regatta.errors import StartError
from regatta.flags import Address
from regatta.http2 import Call
from regatta.net import Listener
from regatta.net import Rest as RestFunction
from regatta.net import SocketFile
from regatta.net import bind_shares
from regatta.net import listen
from regatta.net import serve_sockets
from regatta.net import tls_context
from regatta.store.node import open_stores

if TYPE_CHECKING:
    from regatta.topics import Topics
    from regatta.workers.supervisor import Workers

STOPPED, FAILED = 0, 1


async def serve(settings: Settings, log: logging.Logger) -> int:
    """Run a node and return its exit code. Raises StartError when it can't start."""
    raise_descriptor_limit()
    # Before anything is opened: a certificate that can't be read is the commonest mistake.
    tls = api_tls(settings.api)
    topics = topics_of(settings.kafka)
    stop = Stop(asyncio.get_running_loop(), log)
    view = View()
    admin = await open_admin(settings.rest, view, log)
    try:
        await run(settings, log, tls, topics, stop, view)
    finally:
        await admin.close()
    log.info("stopped")
    return stop.exit_code


async def run(
    settings: Settings,
    log: logging.Logger,
    tls: ssl.SSLContext | None,
    topics: "Topics | None",
    stop: "Stop",
    view: View,
) -> None:
    """Open the storage, serve until *stop*, and close it all."""
    # In a thread, so that operators are answered meanwhile.
    stores = await asyncio.to_thread(
        open_stores, settings.raft.log_dir, settings.raft.data_dir, report_signals=True
    )
    view.phase = "the log is being replayed"
    engine = await asyncio.to_thread(Engine, stores, settings.raft.node_id, stop.fail)
    try:
        engine.attach(asyncio.get_running_loop())
        if topics and not await stop.comes_after(topics.wait(log, view)):
            return
        router, health = build_router(engine, settings)
        endpoint = settings.api.address
        sink = engine.sink(read_only_tables(settings.kafka))
        methods = tuple(path.decode() for path in router.methods)
        port = Port(
            sink, lambda peer: router.connection(peer).dispatch, router.rest.handle, methods
        )
        listener, workers = await open_ports(settings, tls, port, engine)
        # What is there now stays: the collector need not look at it again.
        gc.freeze()
        health.set_serving(True)
        consumer = topics.consume(engine) if topics else None
        view.serving(Node(engine, router, sink, listener, consumer, workers))
        banner.announce(settings, with_port_of(endpoint, listener), log)
        await stop.wait()
        view.phase = "the node is stopping"
        if consumer is not None:
            await consumer.stop()
        if workers is not None:
            await workers.stop()
        await take_down(listener, router, health, stop)
    finally:
        view.node = None
        await engine.close()
        stores.close()


class Port(NamedTuple):
    """What answers the calls that come by a port; see listen()."""

    sink: NodeSink
    connect: Callable[[str], Callable[[Call], None]]
    rest: RestFunction
    methods: tuple[str, ...]  # gRPC paths that are served


async def open_ports(
    settings: Settings, tls: ssl.SSLContext | None, port: Port, engine: Engine
) -> tuple[Listener, "Workers | None"]:
    """Open the clients' port, for the node and its reader processes, if it has any."""
    age_s = connection_age(settings.api.max_connection_age_s, random.Random())
    where = place(settings.api.address)
    if not settings.api.workers:
        return await listen(*where, tls, port.sink, port.connect, port.rest, age_s), None
    shares = await bind_shares(*where, 1 + settings.api.workers)
    listener = await serve_sockets(shares[0], tls, port.sink, port.connect, port.rest, age_s)
    if isinstance(where[0], Path):
        listener.own(SocketFile(where[0]))
    return listener, await start_workers(settings, shares[1:], port, engine)


async def start_workers(
    settings: Settings, sockets: list[list[socket.socket]], port: Port, engine: Engine
) -> "Workers":
    """Start a reader process for each share of the clients' port, and see to it that they run."""
    # It takes a while to load, and only these nodes need it.
    from regatta.workers.process import Task
    from regatta.workers.shared import SharedMemory
    from regatta.workers.supervisor import Workers

    api, raft = settings.api, settings.raft
    memory, descriptor = SharedMemory.make(len(sockets))
    engine.share_leaders(memory.share)
    node_socket = raft.log_dir / "workers.sock"
    task = Task(
        number=0,
        node_id=raft.node_id,
        data_dir=str(raft.data_dir),
        node_socket=str(node_socket),
        memory=descriptor,
        methods=port.methods,
        sockets=(),
        cert_filename=str(api.cert_filename) if api.address.encrypted else "",
        key_filename=str(api.key_filename) if api.address.encrypted else "",
        max_connection_age_s=api.max_connection_age_s,
        log_level=settings.log_level,
        dev_mode=settings.dev_mode,
    )
    node_port = await listen(node_socket, 0, None, port.sink, port.connect, port.rest)
    workers = Workers(task, memory, sockets, node_port, engine.forget_dead_readers)
    workers.start()
    return workers


def api_tls(api: ApiSettings) -> ssl.SSLContext | None:
    """Return the TLS settings of the clients' port, None if it speaks plain text."""
    if not api.address.encrypted:
        return None
    return tls_context(api.cert_filename, api.key_filename)


def place(endpoint: Endpoint) -> tuple[str | Path, int]:
    """Return the host and port to listen on; for a Unix socket its path, and 0."""
    where = endpoint.where
    return (where, 0) if isinstance(where, Path) else (where.host, where.port)


def with_port_of(endpoint: Endpoint, listener: Listener) -> Endpoint:
    """Return *endpoint* with the port that was found where it asked for any."""
    if isinstance(endpoint.where, Path):
        return endpoint
    found = Address(endpoint.where.host, listener.addresses[0][1])
    return Endpoint(found, endpoint.encrypted)


def topics_of(kafka: KafkaSettings) -> "Topics | None":
    """Return the topics to consume, None if there are none. Raises StartError for wrong settings.

    librdkafka takes a while to load, and only these nodes need it.
    """
    if not kafka.topics:
        return None
    from regatta.topics import Topics

    return Topics(kafka)


def build_router(engine: Engine, settings: Settings) -> tuple[Router, Health]:
    """Join the services to the router."""
    services, health = with_standard_services(
        [KV(engine, read_only_tables(settings.kafka)), Maintenance(engine)],
        reflection=settings.api.reflection_api,
    )
    methods = methods_of(services)
    wheel = Wheel()
    return Router(methods, wheel, Rest(methods, wheel)), health


def read_only_tables(kafka: KafkaSettings) -> frozenset[bytes]:
    """Return the tables that only their topics write to."""
    return frozenset(topic.encode() for topic in kafka.topics)


async def take_down(listener: Listener, router: Router, health: Health, stop: "Stop") -> None:
    """Let the calls in flight finish, within the grace that is left."""
    health.set_serving(False)
    grace_s = 0.0 if stop.failed else limits.stop_grace_s
    router.end_endless_calls()
    await listener.stop(grace_s)
    await router.close()


def connection_age(mean_s: float, chance: random.Random) -> Callable[[], float] | None:
    """Return what says how old a connection gets: *mean_s*, 10 % more or less; None for no limit.

    Clients that came together would otherwise all come back together.
    """
    return (lambda: mean_s * chance.uniform(0.9, 1.1)) if mean_s else None


async def open_admin(settings: RestSettings, view: View, log: logging.Logger) -> Admin:
    """Open the operators' port. Its default is given up where others have it already."""
    admin = Admin(view.problem, view.scrape, settings.read_timeout_s)
    if settings.address is None:
        return admin
    try:
        port = await admin.listen(*settings.address)
    except StartError as error:
        if settings.address_given:
            raise
        log.warning("no metrics: %s; --rest.address moves them", error)
        return admin
    log.info("serving metrics and health on http://%s", settings.address._replace(port=port))
    return admin


def raise_descriptor_limit() -> None:
    """Allow as many open files, and so connections, as the system lets this user have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Stop:
    """The end of a node: the first signal asks for it, a second one does not wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: logging.Logger) -> None:
        self.exit_code = STOPPED
        self._log = log
        self._wanted = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)

    @property
    def failed(self) -> bool:
        """Whether the node stops because it can't go on."""
        return self.exit_code == FAILED

    async def wait(self) -> None:
        """Wait until the node has a reason to stop."""
        await self._wanted.wait()

    async def comes_after(self, work: Coroutine[None, None, None]) -> bool:
        """Do *work*; False, with it cancelled, when the node has to stop before its end."""
        working, stopping = asyncio.create_task(work), asyncio.create_task(self.wait())
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not working.done():
            working.cancel()
            return False
        await working  # raises what went wrong
        return True

    def fail(self, problem: str) -> None:
        """Stop the node, which can't go on because of *problem*."""
        self._log.error("the node stops: %s", problem)
        self.exit_code = FAILED
        self._wanted.set()

    def _on_signal(self, number: signal.Signals) -> None:
        name = signal.Signals(number).name
        if self._wanted.is_set():
            self._log.warning("%s again: leaving at once", name)
            logging.shutdown()
            # Acknowledged writes are on disk; nothing else may be waited for.
            os._exit(FAILED)
        self._log.info(
            "%s: waiting up to %.0f s for calls in flight; again to leave at once",
            name,
            limits.stop_grace_s,
        )
        self._wanted.set()
