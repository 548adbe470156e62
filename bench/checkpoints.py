"""Checkpoints beside a loop that commits, as a daemon makes them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from regatta import limits
from regatta.store._env import Environment


@contextmanager
def checkpointing(environment: Environment) -> Iterator[None]:
    """Make checkpoints of *environment* meanwhile, and one at the end."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(limits.checkpoint_interval_s):
            environment.checkpoint()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        environment.checkpoint()
