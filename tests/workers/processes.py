"""A daemon with reader processes, and which of them has which connection."""

import os
import re
import time
from pathlib import Path

from tests.cluster.harness import Daemon
from tests.cluster.test_bad_input import H2

WAIT_S = 20.0


class Node(Daemon):
    """The daemon, with its processes by their ids."""

    @property
    def worker_pids(self) -> list[int]:
        """The ids of the reader processes that run, in no order."""
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and is_worker_of(entry, self.process_id)
        ]

    def wait_for_workers(self, count: int, other_than: tuple[int, ...] = ()) -> list[int]:
        """Return the ids of *count* processes that serve, none of them *other_than*."""
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            found = [pid for pid in self.worker_pids if pid not in other_than]
            if len(found) == count and all(self._is_listening(pid) for pid in found):
                return found
            time.sleep(0.02)
        raise AssertionError(f"{count} workers did not start:\n{self.stderr}")

    def _is_listening(self, pid: int) -> bool:
        # It opens the data before it accepts connections.
        try:
            maps = Path(f"/proc/{pid}/maps").read_text()
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return False
        catches = re.search(r"SigCgt:\s*([0-9a-f]+)", status)
        return "data.mdb" in maps and catches is not None and bool(int(catches[1], 16) & 1 << 14)

    def process_of(self, client_port: int) -> int:
        """Return the id of the process that has accepted the connection from that port."""
        server = f"0100007F:{self.port:04X}"
        client = f"0100007F:{client_port:04X}"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if (fields[1], fields[2]) == (server, client):
                link = f"socket:[{fields[9]}]"
                for pid in (self.process_id, *self.worker_pids):
                    if link in links_of(pid):
                        return pid
        raise AssertionError(f"nobody has the connection from port {client_port}")

    def connections(self) -> dict[int, H2]:
        """Return a connection to the node and to each of its processes, by their ids."""
        wanted = {self.process_id, *self.worker_pids}
        found: dict[int, H2] = {}
        for _ in range(500):
            made = H2(self)
            pid = self.process_of(made.socket.getsockname()[1])
            if pid in found:
                made.socket.close()
            else:
                found[pid] = made
            if found.keys() >= wanted:
                return found
        raise AssertionError(f"of {wanted} only {set(found)} accept connections")


def links_of(pid: int) -> set[str]:
    """Return what a process has open."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(entry))
        except OSError:
            continue
    return found


def is_worker_of(entry: Path, node: int) -> bool:
    """Tell whether a folder of /proc is that of a reader process of *node*."""
    try:
        command = (entry / "cmdline").read_bytes()
        parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return False
    return b"regatta.workers.process" in command and int(parent) == node
