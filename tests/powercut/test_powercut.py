"""A node survives power cuts: nothing that was acknowledged is lost, nothing is damaged.

REGATTA_CUTS is the number of cut points (100 if unset), REGATTA_CUT_SEED varies everything. Many
cut points come from several recordings, each of a daemon that is killed and started again.
"""

import multiprocessing
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections import defaultdict
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.powercut.check import Expectation
from tests.powercut.check import check_found
from tests.powercut.check import check_in_child
from tests.powercut.clients import tables_of
from tests.powercut.disk import Disk
from tests.powercut.load import read_all
from tests.powercut.recording import Recording
from tests.powercut.recording import Replay
from tests.powercut.recording import record
from tests.powercut.trace import Call

CUT_COUNT = int(os.environ.get("REGATTA_CUTS", "100"))
SEED = os.environ.get("REGATTA_CUT_SEED", "1")
CUTS_A_RECORDING = 200
CONTROL_CUT_COUNT = 40
DAEMON_CUT_COUNT = max(3, CUT_COUNT // 50)
CHECKS_AT_ONCE = 2
CHECK_TIMEOUT_S = 60.0

# Of all cut points. What is left over goes to every moment alike.
SHARES = {
    "first start": 0.15,
    "later start": 0.1,
    "checkpoint": 0.2,
    "compaction": 0.15,
    "table replacement": 0.15,
    "append and apply": 0.1,
    "apply": 0.1,
}


# Checking one cut, in a process of its own.

# Each child is a fork of a process that has imported everything and opened nothing.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.powercut.check"])


def problem_after_cut(root: Path, recording: Recording, expected: Expectation) -> str:
    """Start a node on the directories under *root*; return what is wrong, or ""."""
    log_dir, data_dir = (
        root / path.parent.relative_to(recording.root)
        for path in (recording.log_path, recording.data_path)
    )
    here, there = processes.Pipe(duplex=False)
    child = processes.Process(target=check_in_child, args=(there, log_dir, data_dir, expected))
    child.start()
    there.close()
    try:
        return str(here.recv()) if here.poll(CHECK_TIMEOUT_S) else "the start hangs"
    except EOFError:
        child.join()
        return f"the process ended with {child.exitcode}"
    finally:
        child.kill()
        child.join()
        here.close()


# Making cuts.


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder in memory, where there is one: the checks sync a lot."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Recording]:
    """Recordings of daemons under load, each with a load of its own."""
    strace = shutil.which("strace")
    if (
        strace is None
        or subprocess.run([strace, "-o", "/dev/null", "true"], check=False).returncode
    ):
        pytest.skip("strace is not there or may not be used")
    count = max(1, CUT_COUNT // CUTS_A_RECORDING)
    return [
        record(
            tmp_path_factory.mktemp("recording"),
            f"{SEED}/{number}",
            client_count=6,
            run_count=3,
            write_count=60 if count == 1 else 150,
        )
        for number in range(count)
    ]


def choose(recording: Recording, count: int, chance: random.Random) -> list[tuple[int, str]]:
    """Return the positions of *count* cuts with their phases, in order; some positions twice."""
    replay = Replay(recording)
    positions: dict[str, list[int]] = defaultdict(list)
    for position in replay.positions():
        positions[replay.phase].append(position)
    wanted = [phase for phase, share in SHARES.items() for _ in range(round(share * count))]
    everywhere = [(position, phase) for phase, found in positions.items() for position in found]
    chosen = [(chance.choice(positions[phase]), phase) for phase in wanted if positions[phase]]
    chosen += chance.choices(everywhere, k=count - len(chosen))
    return sorted(chosen)


def lay_out(tree: dict[Path, bytes | None], root: Path, chance: random.Random) -> None:
    """Write what a cut left to *root*."""
    for path, contents in tree.items():
        place = root / path
        if contents is None:
            place.mkdir()
        elif path.name == "lock.mdb":
            # Written through a mapping, which no trace shows: it may hold anything.
            place.write_bytes(chance.choice((b"", contents, chance.randbytes(len(contents)))))
        else:
            place.write_bytes(contents)


@dataclass(slots=True)
class Outcome:
    """What became of the cuts."""

    phases: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def cut_power(
    recording: Recording,
    cuts: list[tuple[int, str]],
    seed: str,
    scratch: Path,
    check: Callable[[Path, Recording, Expectation], str],
    disk: Disk | None = None,
) -> Outcome:
    """Make *cuts* in *recording*, and let *check* tell what is wrong after each."""
    outcome = Outcome()
    replay = Replay(recording, disk)
    phases = defaultdict(list)
    for position, phase in cuts:
        phases[position].append(phase)

    def examine(root: Path, expected: Expectation, name: str) -> None:
        problem = check(root, recording, expected)
        if problem:
            outcome.problems.append(f"{name}: {problem}")
        shutil.rmtree(root)

    with ThreadPoolExecutor(CHECKS_AT_ONCE) as checks:
        waiting: deque[Future[None]] = deque()
        for position in replay.positions():
            for number, phase in enumerate(phases.get(position, ())):
                name = f"{phase}, seed {seed}, step {position}, cut {number}"
                chance = random.Random(name)
                root = Path(tempfile.mkdtemp(dir=scratch))
                lay_out(replay.disk.after_cut(chance), root / "node", chance)
                tables = tables_of(replay.clients)
                expected = Expectation(replay.histories(), tables, dict(replay.fed))
                waiting.append(checks.submit(examine, root / "node", expected, name))
                outcome.phases[phase] += 1
                if len(waiting) > CHECKS_AT_ONCE:
                    waiting.popleft().result()
        while waiting:
            waiting.popleft().result()
    return outcome


# The claims.


@pytest.mark.timeout(120 + CUT_COUNT)
def test_acknowledged_writes_survive_power_cuts(recordings: list[Recording], scratch: Path) -> None:
    phases: Counter[str] = Counter()
    problems: list[str] = []
    began_s = time.monotonic()
    for number, recording in enumerate(recordings):
        seed = f"{SEED}/{number}"
        cuts = choose(recording, CUT_COUNT // len(recordings), random.Random(seed))
        outcome = cut_power(recording, cuts, seed, scratch, problem_after_cut)
        phases += outcome.phases
        problems += outcome.problems
    took_s = time.monotonic() - began_s
    for phase, count in sorted(phases.items()):
        print(f"{phase}: {count} cuts")
    writes = sum(recording.acknowledged_count for recording in recordings)
    feeds = [recording.fed_count for recording in recordings]
    print(f"{len(recordings)} recordings with {writes} acknowledged writes, {sum(feeds)} feeds")
    print(f"{phases.total()} cuts in {took_s:.0f} s, {len(problems)} with problems")
    assert not problems, "\n".join(problems)
    assert all(feeds)


def test_the_whole_daemon_starts_after_power_cuts(
    recordings: list[Recording], scratch: Path, tmp_path: Path
) -> None:
    certificate = Certificate.make(tmp_path)

    def problem_of_daemon(root: Path, recording: Recording, expected: Expectation) -> str:
        daemon = Daemon(root, certificate)
        try:
            daemon.start()
            check_found(read_all(daemon, expected.tables), expected)
            assert daemon.stop() == 0, daemon.stderr
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            daemon.kill_9()
        return ""

    cuts = choose(recordings[0], DAEMON_CUT_COUNT, random.Random(SEED))
    outcome = cut_power(recordings[0], cuts, SEED, scratch, problem_of_daemon)
    print(f"{outcome.phases.total()} starts of the daemon, {len(outcome.problems)} with problems")
    assert not outcome.problems, "\n".join(outcome.problems)


class WithoutLogSyncs(Disk):
    """A disk on which the log is never synced."""

    def heeds(self, call: Call) -> bool:
        return call.path.parent.name != "raft"


def test_without_syncs_of_the_log_power_cuts_lose_writes(
    recordings: list[Recording], scratch: Path
) -> None:
    recording = recordings[0]
    cuts = choose(recording, CONTROL_CUT_COUNT, random.Random(SEED))
    disk = WithoutLogSyncs(recording.root)
    outcome = cut_power(recording, cuts, SEED, scratch, problem_after_cut, disk)
    print(f"{len(outcome.problems)} of {len(cuts)} cuts with problems, for example")
    print("\n".join(outcome.problems[:5]))
    assert len(outcome.problems) > CONTROL_CUT_COUNT / 4


class WithoutLogMetaSyncs(Disk):
    """A disk on which the log's commits are synced as the data's are, all but the meta page."""

    def heeds(self, call: Call) -> bool:
        return call.path.parent.name != "raft" or call.name in ("fdatasync", "fsync")


def test_with_the_flags_of_the_data_the_log_would_lose_writes(
    recordings: list[Recording], scratch: Path
) -> None:
    recording = recordings[0]
    replay = Replay(recording)
    answered = [
        (position, replay.phase)
        for position in replay.positions()
        if recording.steps[position].call.data.startswith(b"answered")
    ]
    cuts = sorted(random.Random(SEED).choices(answered, k=2 * CONTROL_CUT_COUNT))
    disk = WithoutLogMetaSyncs(recording.root)
    outcome = cut_power(recording, cuts, SEED, scratch, problem_after_cut, disk)
    print(f"{len(outcome.problems)} of {len(cuts)} cuts with problems, for example")
    print("\n".join(outcome.problems[:5]))
    # The clients miss writes, or the data has what the log has not.
    losses = ("HistoryError: missing", "entries are applied")
    assert [one for one in outcome.problems if any(loss in one for loss in losses)]
    assert not any("is damaged" in problem for problem in outcome.problems)


class WithoutDataSyncs(Disk):
    """A disk on which the data is not synced before its checkpoint is written."""

    def heeds(self, call: Call) -> bool:
        return not (call.path.name == "data.mdb" and call.path.parent.name != "raft")


class WithoutCheckpointSyncs(Disk):
    """A disk on which a checkpoint is not synced before one counts on it."""

    def heeds(self, call: Call) -> bool:
        return call.path.name != "checkpoint"


@pytest.mark.parametrize("make_disk", [WithoutDataSyncs, WithoutCheckpointSyncs])
def test_without_its_syncs_a_checkpoint_is_worth_nothing(
    recordings: list[Recording], scratch: Path, make_disk: type[Disk]
) -> None:
    recording = recordings[0]
    replay = Replay(recording)
    positions = [(position, replay.phase) for position in replay.positions()]
    later = positions[len(positions) // 2 :]
    cuts = sorted(random.Random(SEED).choices(later, k=CONTROL_CUT_COUNT))
    disk = make_disk(recording.root)
    outcome = cut_power(recording, cuts, SEED, scratch, problem_after_cut, disk)
    print(f"{len(outcome.problems)} of {len(cuts)} cuts with problems, for example")
    print("\n".join(outcome.problems[:5]))
    assert len(outcome.problems) > CONTROL_CUT_COUNT / 4
