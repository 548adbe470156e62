"""Prints the positions that are stored with a table, as JSON; for a process of its own.

An environment is opened once in a process at most, and the tests' own may have others open.
"""

import json
import sys
from pathlib import Path

from regatta.store import Snapshot
from regatta.store._env import Environment


def positions(directory: Path, table: str) -> list[tuple[str, int, int, int, int]]:
    """Return (topic, partition, next offset, applied, skipped) of each, of a node that is down."""
    environment = Environment(directory, checkpointed=True)
    snapshot = Snapshot(environment)
    state = snapshot.find(table.encode())
    if state is None:
        return []
    return [
        (found.topic, found.partition, found.next, found.applied, found.skipped)
        for found in snapshot.positions(state.group)
    ]


if __name__ == "__main__":
    json.dump(positions(Path(sys.argv[1]), sys.argv[2]), sys.stdout)
