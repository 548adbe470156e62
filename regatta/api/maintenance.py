"""The service regatta.v1.Maintenance."""

from collections.abc import Mapping
from typing import ClassVar

from regatta import limits
from regatta.api.context import Context
from regatta.api.service import Policy
from regatta.engine import META_GROUP
from regatta.engine import Engine
from regatta.errors import InvalidArgument
from regatta.errors import NotFound
from regatta.pb.regatta_pb2 import DESCRIPTOR
from regatta.pb.regatta_pb2 import HashRequest
from regatta.pb.regatta_pb2 import HashResponse
from regatta.pb.regatta_pb2 import ResetRequest
from regatta.pb.regatta_pb2 import ResetResponse
from regatta.pb.regatta_pb2 import ResponseHeader


class Maintenance:
    """Handlers of regatta.v1.Maintenance."""

    descriptor = DESCRIPTOR.services_by_name["Maintenance"]
    # A hash reads everything there is, so it has a write's time.
    policies: ClassVar[Mapping[str, Policy]] = {
        "Hash": Policy(limits.write_timeout_s),
        "Reset": Policy(limits.write_timeout_s),
    }

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def hash(self, request: HashRequest, context: Context) -> HashResponse:
        """Answer a digest over every table, key and value."""
        snapshot = self._engine.snapshot()
        value = await self._engine.in_thread(snapshot, snapshot.hash)
        return HashResponse(header=self._header(), hash=value)

    async def reset(self, request: ResetRequest, context: Context) -> ResetResponse:
        """Empty every table; with one node, NODE and CLUSTER are the same."""
        if request.operation not in ResetRequest.Operation.values():
            raise InvalidArgument(f"operation {request.operation} is not known")
        if request.member_id not in (0, self._engine.node):
            raise NotFound(f"member_id {request.member_id} is not in this cluster")
        context.proposed = True
        await self._engine.empty_all_tables()
        return ResetResponse(header=self._header())

    def _header(self) -> ResponseHeader:
        term, leader = self._engine.leader(META_GROUP)
        return ResponseHeader(
            shard_id=META_GROUP,
            replica_id=self._engine.node,
            raft_term=term,
            raft_leader_id=leader,
        )
