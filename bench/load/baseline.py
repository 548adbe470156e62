"""The obvious server to compare with: grpc.aio, uvloop and the lmdb package.

    python -m bench.load.baseline DIRECTORY --port=PORT --certificate=FILE --key=FILE

It answers Range of one key or of a small range, and Put, as regatta does, and is written without
tricks, but without waste either. A stored record is the encoded KeyValue.
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
from grpc_health.v1 import health
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc

from regatta.pb.mvcc_pb2 import KeyValue
from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import PutResponse
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse
from regatta.pb.regatta_pb2 import ResponseHeader

SHARD_ID = 10001  # of the first table, the only one here
MAP_BYTES = 8 << 30
_REVISION_KEY = b"revision"


class Store:
    """One table in an LMDB environment: user key to encoded KeyValue."""

    def __init__(self, directory: Path) -> None:
        self._environment = lmdb.open(str(directory), map_size=MAP_BYTES, max_dbs=2)
        self._pairs = self._environment.open_db(b"pairs")
        self._meta = self._environment.open_db(b"meta")

    def fill(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Store *pairs* in one transaction, each with a revision of its own."""
        with self._environment.begin(write=True) as transaction:
            revision = self._revision(transaction)
            for key, value in pairs:
                revision += 1
                pair = KeyValue(
                    key=key, create_revision=revision, mod_revision=revision, value=value
                )
                transaction.put(key, pair.SerializeToString(), db=self._pairs)
            transaction.put(_REVISION_KEY, struct.pack(">Q", revision), db=self._meta)

    def get(self, key: bytes) -> bytes | None:
        """Return the encoded KeyValue of *key*, or None."""
        with self._environment.begin(db=self._pairs) as transaction:
            record: bytes | None = transaction.get(key)
            return record

    def scan(self, start: bytes, end: bytes) -> list[bytes]:
        """Return the encoded KeyValues of all keys from *start* to before *end*."""
        found = []
        with self._environment.begin(db=self._pairs) as transaction:
            cursor = transaction.cursor()
            if cursor.set_range(start):
                for key, record in cursor:
                    if key >= end:
                        break
                    found.append(record)
        return found

    def put(self, key: bytes, value: bytes) -> int:
        """Store one pair durably; return the revision of the write."""
        with self._environment.begin(write=True) as transaction:
            revision = self._revision(transaction) + 1
            old = transaction.get(key, db=self._pairs)
            create_revision = KeyValue.FromString(old).create_revision if old else revision
            pair = KeyValue(
                key=key, create_revision=create_revision, mod_revision=revision, value=value
            )
            transaction.put(key, pair.SerializeToString(), db=self._pairs)
            transaction.put(_REVISION_KEY, struct.pack(">Q", revision), db=self._meta)
        return revision

    def _revision(self, transaction: lmdb.Transaction) -> int:
        stored = transaction.get(_REVISION_KEY, db=self._meta)
        revision: int = struct.unpack(">Q", stored)[0] if stored else 0
        return revision

    def close(self) -> None:
        """Close the environment."""
        self._environment.close()


class KVService:
    """The two methods of regatta.v1.KV that the comparison needs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._header = ResponseHeader(
            shard_id=SHARD_ID, replica_id=1, raft_term=1, raft_leader_id=1
        )
        # LMDB has one writer at a time; a thread of its own keeps its syncs off the event loop.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")

    async def range(
        self, request: RangeRequest, context: grpc.aio.ServicerContext[RangeRequest, RangeResponse]
    ) -> RangeResponse:
        """Answer one key or a range."""
        if request.range_end:
            records = self._store.scan(request.key, request.range_end)
        else:
            record = self._store.get(request.key)
            records = [] if record is None else [record]
        pairs = [KeyValue.FromString(record) for record in records]
        return RangeResponse(header=self._header, kvs=pairs, count=len(pairs))

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
    server.add_generic_rpc_handlers((KVService(store).handler(),))
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
    arguments = parser.parse_args()
    os.makedirs(arguments.directory, exist_ok=True)
    uvloop.run(serve(arguments))


if __name__ == "__main__":
    main()
