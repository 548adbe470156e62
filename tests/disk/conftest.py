"""Daemons on disks that fail, and the table of what came of it, which the run prints at its end."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.harness import Certificate
from tests.disk.faults import DiskDaemon
from tests.disk.faults import Outcome

outcomes: list[str] = []


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One certificate for all daemons of a test run."""
    return Certificate.make(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def daemon(tmp_path: Path, certificate: Certificate) -> Iterator[DiskDaemon]:
    """A daemon that the test starts itself; its directories are in ``disk``."""
    daemon = DiskDaemon(tmp_path, certificate)
    yield daemon
    daemon.kill_9()


@pytest.fixture
def report(tmp_path: Path) -> Callable[[Outcome], None]:
    """Return a function that puts a line into the table."""
    return lambda outcome: outcomes.append(outcome.text(tmp_path))


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    """Return a function that mounts a file system for the test: path, then mount's arguments."""
    mounted: list[Path] = []

    def mount_at(path: Path, *arguments: str) -> None:
        path.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", *arguments, path], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"needs the right to mount file systems: {done.stderr.strip()}")
        mounted.append(path)

    yield mount_at
    for path in filter(Path.is_mount, reversed(mounted)):
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.fixture
def strace() -> Callable[..., tuple[str, ...]]:
    """Return a function that makes a command's prefix out of injections."""
    program = shutil.which("strace")
    if program is None or subprocess.run([program, "-o", "/dev/null", "true"]).returncode != 0:
        pytest.skip("needs strace, and the right to trace")

    def prefix(*injections: str) -> tuple[str, ...]:
        calls = ",".join(injection.partition(":")[0] for injection in injections)
        expressions = [f"trace={calls}", *(f"inject={injection}" for injection in injections)]
        options = [word for expression in expressions for word in ("-e", expression)]
        return (program, "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", *options)

    return prefix


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what clients and operators saw of each fault."""
    if outcomes:
        terminalreporter.section("faults of the disk")
        for outcome in outcomes:
            terminalreporter.write_line(outcome)
