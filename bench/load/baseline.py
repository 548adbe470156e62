"""The obvious server to compare with: grpc.aio, uvloop and the lmdb package.

    python -m bench.load.baseline DIRECTORY --port=PORT --certificate=FILE --key=FILE

It answers Range of one key and Put, with the bytes with which regatta answers for the same data,
and is written without tricks, but without waste either. A stored record is the encoded KeyValue.
"""

import argparse
import asyncio
import os
import signal
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import lmdb
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.regatta_pb2 import (
    PutRequest,
    PutResponse,
    RangeRequest,
    RangeResponse,
    ResponseHeader,
)

SHARD_ID = 10001  # of the first table, the only one here
MAP_BYTES = 8 << 30
_REVISION_KEY = b"revision"


class Store:
    """One table in an LMDB environment: user key to encoded KeyValue."""

    def __init__(self, directory: Path) -> None:
        self._environment = lmdb.open(str(directory), map_size=MAP_BYTES, max_dbs=2)
        self._pairs = self._environment.open_db(b"pairs")
        self._meta = self._environment.open_db(b"meta")

    def fill(self, pairs: Iterable[KeyValue]) -> None:
        """Store *pairs* with the revisions that they carry, in one transaction."""
        with self._environment.begin(write=True) as transaction:
            revision = 0
            for pair in pairs:
                transaction.put(pair.key, pair.SerializeToString(), db=self._pairs)
                revision = max(revision, pair.mod_revision)
            transaction.put(_REVISION_KEY, struct.pack(">Q", revision), db=self._meta)

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded KeyValue of *key*, or None."""
        with self._environment.begin(db=self._pairs) as transaction:
            record: bytes | None = transaction.get(key)
            return record

    def put(self, key: bytes, value: bytes) -> int:
        """Store one pair durably; return the revision of the write."""
        with self._environment.begin(write=True) as transaction:
            stored = transaction.get(_REVISION_KEY, db=self._meta)
            revision: int = struct.unpack(">Q", stored)[0] + 1 if stored else 1
            old = transaction.get(key, db=self._pairs)
            create_revision = KeyValue.FromString(old).create_revision if old else revision
            pair = KeyValue(
                key=key, create_revision=create_revision, mod_revision=revision, value=value
            )
            transaction.put(key, pair.SerializeToString(), db=self._pairs)
            transaction.put(_REVISION_KEY, struct.pack(">Q", revision), db=self._meta)
        return revision

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()


class KVService:
    """The two methods of regatta.v1.KV that the comparison needs."""

    def __init__(self, store: Store, raft_term: int) -> None:
        self._store = store
        self._header = ResponseHeader(
            shard_id=SHARD_ID, replica_id=1, raft_term=raft_term, raft_leader_id=1
        )
        # LMDB has one writer at a time; a thread of its own keeps its syncs off the event loop.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")

    async def range(
        self, request: RangeRequest, context: grpc.aio.ServicerContext[RangeRequest, RangeResponse]
    ) -> RangeResponse:
        """Answer one key."""
        record = self._store.get(request.key)
        if record is None:
            return RangeResponse(header=self._header)
        return RangeResponse(header=self._header, kvs=[KeyValue.FromString(record)], count=1)

    async def put(
        self, request: PutRequest, context: grpc.aio.ServicerContext[PutRequest, PutResponse]
    ) -> PutResponse:
        """Store one pair; answer when it is on disk."""
        loop = asyncio.get_running_loop()
        revision = await loop.run_in_executor(
            self._writer, self._store.put, request.key, request.value
        )
        header = ResponseHeader()
        header.CopyFrom(self._header)
        header.revision = revision
        return PutResponse(header=header)

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what a gRPC server needs to route calls here."""
        return grpc.method_handlers_generic_handler(
            "regatta.v1.KV",
            {
                "Range": grpc.unary_unary_rpc_method_handler(
                    self.range,
                    request_deserializer=RangeRequest.FromString,
                    response_serializer=RangeResponse.SerializeToString,
                ),
                "Put": grpc.unary_unary_rpc_method_handler(
                    self.put,
                    request_deserializer=PutRequest.FromString,
                    response_serializer=PutResponse.SerializeToString,
                ),
            },
        )


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    store = Store(arguments.directory)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((KVService(store, arguments.raft_term).handler(),))
    health_service = health.aio.HealthServicer()
    await health_service.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
    credentials = grpc.ssl_server_credentials(
        [(arguments.key.read_bytes(), arguments.certificate.read_bytes())]
    )
    server.add_secure_port(f"127.0.0.1:{arguments.port}", credentials)
    await server.start()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await server.stop(grace=1)
    store.close()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--raft-term", type=int, default=1, help="for the headers of answers")
    arguments = parser.parse_args()
    os.makedirs(arguments.directory, exist_ok=True)
    uvloop.run(serve(arguments))


if __name__ == "__main__":
    main()
