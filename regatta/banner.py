"""What a node says when it is ready: in dev mode a few lines for a person, else log lines."""

import logging
import shlex
from pathlib import Path

from regatta.config import Settings
from regatta.endpoint import Endpoint
from regatta.flags import Address

volatile_directory = "/tmp/"  # emptied by a reboot on most systems


def announce(settings: Settings, endpoint: Endpoint, log: logging.Logger) -> None:
    """Tell where the node, which listens on *endpoint*, can be reached and where its data is."""
    if not settings.dev_mode:
        log.info("serving gRPC and REST on %s", endpoint)
        log.info("data in %s, Raft log in %s", settings.raft.data_dir, settings.raft.log_dir)
        return
    try:
        print(banner(settings, endpoint), flush=True)
    except OSError:
        log.info("serving gRPC and REST on %s", endpoint)  # standard output is closed


def banner(settings: Settings, endpoint: Endpoint) -> str:
    """Return the lines for a person."""
    lines = [
        "",
        f"  Regatta is ready: gRPC and REST on {endpoint}",
        "",
        f"  data          {settings.raft.data_dir}",
        f"  Raft log      {settings.raft.log_dir}",
    ]
    if endpoint.encrypted:
        lines.append(f"  certificate   {settings.api.cert_filename}")
    lines.append("")
    if is_volatile(settings):
        lines += [
            "  What is written here may not survive a reboot: /tmp is not for keeping. To keep it,",
            "  pass --raft.state-machine-dir and --raft.node-host-dir.",
            "",
        ]
    lines += ["  Try this in another terminal:", f"    {curl_command(endpoint)}"]
    if settings.api.reflection_api:
        lines.append(f"    {grpcurl_command(endpoint)}")
    return "\n".join([*lines, ""])


def is_volatile(settings: Settings) -> bool:
    """Return whether a directory of the node is under /tmp."""
    directories = (settings.raft.data_dir, settings.raft.log_dir)
    return any(
        str(directory.absolute()).startswith(volatile_directory) for directory in directories
    )


def curl_command(endpoint: Endpoint) -> str:
    """Return a command that writes a pair; curl is nearly everywhere."""
    options = "-k " if endpoint.encrypted else ""
    if isinstance(endpoint.where, Path):
        options += f"--unix-socket {shlex.quote(str(endpoint.where))} "
    scheme = "https" if endpoint.encrypted else "http"
    body = '{"table":"dGFibGVfMQ==","key":"a2V5XzE=","value":"dGFibGVfMXZhbHVlXzE="}'
    return f"curl {options}{scheme}://{reachable(endpoint)}/v1/kv/put -d '{body}'"


def grpcurl_command(endpoint: Endpoint) -> str:
    """Return a command that lists the services, for nodes with reflection."""
    security = "-insecure" if endpoint.encrypted else "-plaintext"
    if isinstance(endpoint.where, Path):
        return f"grpcurl {security} -unix {shlex.quote(str(endpoint.where))} list"
    return f"grpcurl {security} {reachable(endpoint)} list"


def reachable(endpoint: Endpoint) -> str:
    """Return the host and port for a client on this machine; any host does for a Unix socket."""
    if isinstance(endpoint.where, Path):
        return "localhost"
    host, port = endpoint.where
    return str(Address("localhost" if host in ("", "0.0.0.0", "::") else host, port))
