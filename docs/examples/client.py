"""An example client: puts four pairs through gRPC, reads them through gRPC and through REST.

Usage: client.py [ADDRESS [CERTIFICATE]], by default localhost:8443 and hack/server.crt. ADDRESS is
host:port, or a URL like that of --api.address: https://host:port, http://host:port, unix:///path
or unixs:///path. The certificate is only needed for host:port, https and unixs.
"""

import base64
import http.client
import json
import os
import socket
import ssl
import sys
from pathlib import Path

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # errors reach us as exceptions

import grpc

from regatta.pb.regatta_pb2 import PutRequest
from regatta.pb.regatta_pb2 import PutResponse
from regatta.pb.regatta_pb2 import RangeRequest
from regatta.pb.regatta_pb2 import RangeResponse

PAIRS = [
    (b"table_1", b"key_1", b"table_1value_1"),
    (b"table_1", b"key_2", b"table_1value_2"),
    (b"table_2", b"key_1", b"table_2value_1"),
    (b"table_2", b"key_2", b"table_2value_2"),
]
timeout_s = 5.0


def main(address: str = "localhost:8443", certificate: str = "hack/server.crt") -> int:
    """Put and read the pairs, print them, and return the exit code."""
    scheme, slashes, place = address.partition("://")
    if not slashes:
        scheme, place = "https", address
    try:
        encrypted = scheme in ("https", "unixs")
        trusted = Path(certificate).read_bytes() if encrypted else None
        through_grpc(f"unix:{place}" if scheme.startswith("unix") else place, trusted)
        through_rest(scheme, place, certificate)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            return fail(f"no answer from {address}: start Regatta with `make run`")
        return fail(f"{address} answered {error.code().name}: {error.details()}")
    except FileNotFoundError:
        return fail(f"there is no {certificate} yet: start Regatta with `make run`, which makes it")
    except (OSError, http.client.HTTPException) as error:
        return fail(f"REST on {address} failed: {error}")
    return 0


def fail(problem: str) -> int:
    """Print what is wrong and return the exit code."""
    print(f"client.py: {problem}", file=sys.stderr)
    return 1


def through_grpc(target: str, certificate: bytes | None) -> None:
    """Put every pair, then read every pair; without a certificate, in plain text."""
    with open_channel(target, certificate) as channel:
        put = channel.unary_unary(
            "/regatta.v1.KV/Put",
            request_serializer=PutRequest.SerializeToString,
            response_deserializer=PutResponse.FromString,
        )
        get = channel.unary_unary(
            "/regatta.v1.KV/Range",
            request_serializer=RangeRequest.SerializeToString,
            response_deserializer=RangeResponse.FromString,
        )
        for table, key, value in PAIRS:
            answer = put(PutRequest(table=table, key=key, value=value), timeout=timeout_s)
            show("gRPC Put", table, key, value, f"revision {answer.header.revision}")
        for table, key, _ in PAIRS:
            found = get(RangeRequest(table=table, key=key), timeout=timeout_s)
            for pair in found.kvs:
                show("gRPC Range", table, pair.key, pair.value, f"revision {pair.mod_revision}")


def open_channel(target: str, certificate: bytes | None) -> grpc.Channel:
    """Return a gRPC channel; *certificate* is the one to trust."""
    if certificate is None:
        return grpc.insecure_channel(target)
    # A Unix socket has no host name that the certificate could be for.
    options = [("grpc.default_authority", "localhost")] if target.startswith("unix:") else []
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(certificate), options)


def through_rest(scheme: str, place: str, certificate: str) -> None:
    """Read every pair; bytes travel as base64."""
    connection = open_connection(scheme, place, certificate)
    for table, key, _ in PAIRS:
        body = {"table": base64.b64encode(table).decode(), "key": base64.b64encode(key).decode()}
        connection.request("POST", "/v1/kv/range", json.dumps(body))
        response = connection.getresponse()
        answer = json.load(response)
        if response.status != 200:
            raise OSError(f"HTTP {response.status} {answer['message']}")
        for pair in answer["kvs"]:
            found = base64.b64decode(pair["key"]), base64.b64decode(pair["value"])
            show("REST range", table, *found, f"HTTP {response.status}")
    connection.close()


def open_connection(scheme: str, place: str, certificate: str) -> http.client.HTTPConnection:
    """Return an HTTP connection; over a Unix socket the host is localhost."""
    if scheme == "http":
        return http.client.HTTPConnection(place, timeout=timeout_s)
    if scheme == "https":
        context = ssl.create_default_context(cafile=certificate)
        return http.client.HTTPSConnection(place, context=context, timeout=timeout_s)
    connection = http.client.HTTPConnection("localhost", timeout=timeout_s)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(place)
    if scheme == "unixs":
        context = ssl.create_default_context(cafile=certificate)
        connection.sock = context.wrap_socket(connection.sock, server_hostname="localhost")
    return connection


def show(call: str, table: bytes, key: bytes, value: bytes, note: str) -> None:
    """Print one pair on a line."""
    print(f"{call:10}  {table.decode()}/{key.decode()} = {value.decode()}  ({note})")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
