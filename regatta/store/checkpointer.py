"""Makes checkpoints of the data in a thread of its own, while turns go on."""

import errno
import os
import threading
import time

from regatta import limits
from regatta.store._machine import Machine

no_room = (errno.ENOSPC, errno.EDQUOT)


class Checkpointer:
    """Sees that what a machine has applied survives a power cut before long.

    Whoever counts on that looks at `durable`; *wake_descriptor*, an eventfd, is written when it
    has changed.
    """

    def __init__(self, machine: Machine, wake_descriptor: int) -> None:
        self.durable = 0  # how many of the machine's items no power cut can take
        self.failure = ""  # why there will be none any more
        self._machine = machine
        self._wake_descriptor = wake_descriptor
        self._changed = threading.Condition()
        self._is_asked = False
        self._is_hurried = False
        self._is_closed = False

    def ask(self, *, at_once: bool = False) -> None:
        """Have a checkpoint made of what is committed by now, within the interval or *at_once*."""
        if self._is_asked and self._is_hurried >= at_once:
            return
        with self._changed:
            self._is_asked = True
            self._is_hurried |= at_once
            self._changed.notify()

    def close(self) -> None:
        """Have the last one made, and end the thread. The machine must have ended before."""
        with self._changed:
            self._is_asked = self._is_closed = True
            self._changed.notify()

    def run(self) -> None:
        """Be the thread, until close() or a failure."""
        made_s = float("-inf")
        is_last = False
        while not is_last and not self.failure:
            with self._changed:
                self._changed.wait_for(lambda: self._is_asked)
                self._changed.wait_for(
                    lambda: self._is_hurried or self._is_closed,
                    max(0.0, made_s + limits.checkpoint_interval_s - time.monotonic()),
                )
                self._is_asked = self._is_hurried = False
                is_last = self._is_closed
            made_s = time.monotonic()
            self._make()
            os.eventfd_write(self._wake_descriptor, 1)

    def _make(self) -> None:
        committed = self._machine.committed
        environment = self._machine.environment
        try:
            environment.checkpoint()
        except OSError as error:
            if error.errno in no_room:
                self._is_asked = True
            else:
                self.failure = f"a checkpoint failed in {environment.path}: {error.strerror}"
        else:
            self.durable = committed
