"""The standard gRPC health service."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import ClassVar

from grpc_health.v1 import health_pb2 as pb  # type: ignore[import-untyped]

from regatta import limits
from regatta.api.context import Context
from regatta.api.service import Policy
from regatta.errors import NotFound

Status = pb.HealthCheckResponse.ServingStatus


class Health:
    """Tells whether the node serves: as a whole, named "", and each of its services."""

    descriptor = pb.DESCRIPTOR.services_by_name["Health"]
    policies: ClassVar[Mapping[str, Policy]] = {
        "Check": Policy(limits.read_timeout_s),
        "List": Policy(limits.read_timeout_s),
        "Watch": Policy(None),
    }

    def __init__(self) -> None:
        self._names = {""}
        self._serving = False
        self._changed = asyncio.Event()

    def add_services(self, names: Iterable[str]) -> None:
        """Answer for the services of these full names as well; call it before the first call."""
        self._names.update(names)

    def set_serving(self, serving: bool) -> None:
        """Say from now on that everything serves, or that nothing does; watchers are told."""
        if serving != self._serving:
            self._serving = serving
            self._changed.set()
            # Those who wait hold on to the old event, the next ones wait for the next change.
            self._changed = asyncio.Event()

    async def check(
        self, request: pb.HealthCheckRequest, context: Context
    ) -> pb.HealthCheckResponse:
        """Answer for one service; raise NotFound if there is none of that name."""
        if request.service not in self._names:
            raise NotFound("unknown service")
        return pb.HealthCheckResponse(status=self._status(request.service))

    async def list(self, request: pb.HealthListRequest, context: Context) -> pb.HealthListResponse:
        """Answer for all services."""
        return pb.HealthListResponse(
            statuses={
                name: pb.HealthCheckResponse(status=self._status(name)) for name in self._names
            }
        )

    async def watch(
        self, request: pb.HealthCheckRequest, context: Context
    ) -> AsyncGenerator[pb.HealthCheckResponse, None]:
        """Answer for one service now and after each change, until the client goes."""
        told = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status != told:
                yield pb.HealthCheckResponse(status=status)
                told = status
            else:
                await changed.wait()

    def _status(self, name: str) -> "pb.HealthCheckResponse.ServingStatus":
        if name not in self._names:
            return Status.SERVICE_UNKNOWN
        return Status.SERVING if self._serving else Status.NOT_SERVING
