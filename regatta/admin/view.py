"""What a node shows of itself: its metrics, and whether it is ready."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regatta.api.router import Router
from regatta.engine import Engine
from regatta.engine import NodeSink
from regatta.measure import NativeCalls
from regatta.net import Listener

if TYPE_CHECKING:  # the others do without librdkafka, or gRPC's client
    from regatta.kafka import Consumer
    from regatta.workers.supervisor import Workers


@dataclass(frozen=True, slots=True)
class Node:
    """The parts of a node that have something to tell."""

    engine: Engine
    router: Router
    sink: NodeSink
    listener: Listener
    consumer: "Consumer | None"  # None where no topic is consumed
    workers: "Workers | None"  # None where there are no reader processes

    @property
    def native_calls(self) -> list[dict[str, NativeCalls]]:
        """Return what was answered without Python, by the node and by each of its processes."""
        return [self.sink.calls, *(self.workers.calls if self.workers else [])]


class View:
    """A node as operators see it, from its start to its end."""

    def __init__(self) -> None:
        # Why the node does not serve: it is on its way up or down. Empty while it serves.
        self.phase = "the node is starting"
        self.node: Node | None = None

    def serving(self, node: Node) -> None:
        """Show *node* from now on, which is ready."""
        self.phase, self.node = "", node

    def problem(self) -> str:
        """Return why the node is not ready, in one line; empty if it is."""
        if self.phase or self.node is None:
            return self.phase
        engine = self.node.engine
        if engine.failure:
            return f"storage has failed: {engine.failure}"
        return f"writes are waiting: {engine.stall}" if engine.stall else ""

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in the form that an Accept header asks for, and its content type.

        For any thread.
        """
        # Imported when it is needed: the start does not wait for prometheus-client.
        from regatta.admin.metrics import render

        return render(self.node, accept)
