"""What a node says when it is ready: in dev mode a few lines for a person, else log lines."""

import logging

from regatta.config import Settings
from regatta.flags import Address

volatile_directory = "/tmp/"  # emptied by a reboot on most systems


def announce(settings: Settings, address: Address, log: logging.Logger) -> None:
    """Tell where the node, which listens on *address*, can be reached and where its data is."""
    if not settings.dev_mode:
        log.info("serving gRPC and REST on %s", address)
        log.info("data in %s, Raft log in %s", settings.raft.data_dir, settings.raft.log_dir)
        return
    try:
        print(banner(settings, address), flush=True)
    except OSError:
        log.info("serving gRPC and REST on %s", address)  # standard output is closed


def banner(settings: Settings, address: Address) -> str:
    """Return the lines for a person."""
    lines = [
        "",
        f"  Regatta is ready: gRPC and REST with TLS on {address}",
        "",
        f"  data          {settings.raft.data_dir}",
        f"  Raft log      {settings.raft.log_dir}",
        f"  certificate   {settings.api.cert_filename}",
        "",
    ]
    if is_volatile(settings):
        lines += [
            "  What is written here may not survive a reboot: /tmp is not for keeping. To keep it,",
            "  pass --raft.state-machine-dir and --raft.node-host-dir.",
            "",
        ]
    return "\n".join(
        [*lines, "  Try this in another terminal:", f"    {first_command(address)}", ""]
    )


def is_volatile(settings: Settings) -> bool:
    """Return whether a directory of the node is under /tmp."""
    directories = (settings.raft.data_dir, settings.raft.log_dir)
    return any(
        str(directory.absolute()).startswith(volatile_directory) for directory in directories
    )


def first_command(address: Address) -> str:
    """Return a command that writes a pair; curl is nearly everywhere."""
    reachable = Address(
        "localhost" if address.host in ("", "0.0.0.0", "::") else address.host, address.port
    )
    body = '{"table":"dGFibGVfMQ==","key":"a2V5XzE=","value":"dGFibGVfMXZhbHVlXzE="}'
    return f"curl -k https://{reachable}/v1/kv/put -d '{body}'"
