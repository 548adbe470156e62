"""Starts a node's reader processes, starts them again when they die, and ends them with it."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import regatta
from regatta import limits
from regatta.measure import NativeCalls
from regatta.net import Listener
from regatta.workers.process import Task
from regatta.workers.shared import SharedMemory

RESTART_S = (0.1, 5.0)  # first wait and longest, after deaths in a row
STEADY_S = 30.0  # who has lived so long is forgiven what was before

log = logging.getLogger("server.worker")


class Workers:
    """The reader processes of a node."""

    def __init__(
        self,
        task: Task,
        memory: SharedMemory,
        sockets: list[list[socket.socket]],
        node_port: Listener,
        on_death: Callable[[], None],
    ) -> None:
        """*task* is that of all but number and *sockets*, of which each process has its own.

        *node_port* is where the node takes what they hand on. *on_death* is called when one has
        died: it may have left something behind.
        """
        self._task = task
        self._memory = memory
        self._sockets = sockets
        self._node_port = node_port
        self._on_death = on_death
        self._stopping = asyncio.Event()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def calls(self) -> list[dict[str, NativeCalls]]:
        """Return what each process has answered by itself, by the method's path."""
        return [self._memory.calls(number) for number in range(len(self._sockets))]

    def start(self) -> None:
        """Start all of them, and see to it that they run."""
        for number in range(len(self._sockets)):
            self._keepers.append(asyncio.create_task(self._keep(number)))

    async def stop(self) -> None:
        """Have them finish their calls in flight, as the node does, and end."""
        self._stopping.set()
        for process in list(self._processes.values()):
            process.send_signal(signal.SIGTERM)
        # Connections that nobody has accepted yet are refused, rather than left to wait.
        for sockets in self._sockets:
            for bound in sockets:
                bound.close()
        _, late = await asyncio.wait(self._keepers, timeout=limits.stop_grace_s + 5)
        for process in list(self._processes.values()):
            process.kill()
        if late:
            await asyncio.wait(late)
        await self._node_port.stop(0)

    async def _keep(self, number: int) -> None:
        loop = asyncio.get_running_loop()
        wait_s = RESTART_S[0]
        while True:
            begun_s = loop.time()
            end = await self._run(number)
            if self._stopping.is_set():
                return
            self._on_death()
            if loop.time() - begun_s > STEADY_S:
                wait_s = RESTART_S[0]
            log.warning("worker %d %s; starting it again in %.1f s", number, end, wait_s)
            try:
                await asyncio.wait_for(self._stopping.wait(), wait_s)
                return
            except TimeoutError:
                wait_s = min(2 * wait_s, RESTART_S[1])

    async def _run(self, number: int) -> str:
        """Run one process from its start to its end, and tell how it ended."""
        try:
            code = await self._run_process(number)
        except OSError as error:
            return f"can't be started: {error.strerror}"
        return f"has died (signal {-code})" if code < 0 else f"has died (exit code {code})"

    async def _run_process(self, number: int) -> int:
        sockets = tuple(bound.fileno() for bound in self._sockets[number])
        task = replace(self._task, number=number, sockets=sockets)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "regatta.workers.process"),
            stdin=asyncio.subprocess.PIPE,
            pass_fds=(task.memory, *sockets),
            # A terminal's Ctrl-C is for the node, which tells us when.
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": python_path()},
        )
        self._processes[number] = process
        try:
            assert process.stdin is not None
            process.stdin.write(task.encode())
            if self._stopping.is_set():
                process.send_signal(signal.SIGTERM)
            return await process.wait()
        finally:
            del self._processes[number]


def python_path() -> str:
    """Return PYTHONPATH with the place of the very package that we run from first."""
    here = str(Path(regatta.__file__).parents[1])
    return os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
