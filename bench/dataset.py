"""Makes a data environment to measure on, by the state machine itself."""

import os
import threading
import time
from pathlib import Path

from regatta.pb.mvcc_pb2 import Command
from regatta.pb.mvcc_pb2 import KeyValue
from regatta.raft import Entry
from regatta.store import Machine
from regatta.store._env import Environment

META_GROUP, GROUP, TERM = 1000, 10001, 1
pairs_a_batch = 1000


def make(directory: Path, table: str, keys: list[bytes], value: bytes) -> Environment:
    """Fill a new environment with one table in which every key has *value*; return it open."""
    environment = Environment(directory, checkpointed=True)
    machine = Machine(environment, os.eventfd(0))
    create = Command(type=Command.PUT, kv=KeyValue(key=table.encode()))
    machine.apply(META_GROUP, [Entry(TERM, 1, data=create.SerializeToString())])
    for index, first in enumerate(range(0, len(keys), pairs_a_batch), 1):
        pairs = [KeyValue(key=key, value=value) for key in keys[first : first + pairs_a_batch]]
        command = Command(type=Command.PUT_BATCH, batch=pairs)
        machine.apply(GROUP, [Entry(TERM, index, data=command.SerializeToString())])
    thread = threading.Thread(target=machine.run)
    thread.start()
    machine.flush()
    while machine.committed < machine.queued and not machine.failure:
        time.sleep(0.01)
    machine.close()
    thread.join()
    assert not machine.failure, machine.failure
    assert not any(code for code, _, _ in machine.take_results())
    return environment
