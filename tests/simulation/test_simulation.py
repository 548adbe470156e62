"""The simulation in a short form; `make simulate` has many more seeds and longer ones."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from regatta.raft import Entry
from regatta.raft import HardState
from tests.simulation.disk import LogDisk
from tests.simulation.invariants import Violation
from tests.simulation.simulation import Failure
from tests.simulation.simulation import Simulation

ROOT = Path(__file__).parents[2]
FINGERPRINT = (
    "from tests.simulation.simulation import Simulation\n"
    "simulation = Simulation(7)\n"
    "print(simulation.run(2_000), simulation.now, simulation.random.random(), simulation.trace)\n"
)


@pytest.mark.parametrize("first", range(1_000_000, 1_000_040, 10))
def test_nothing_that_must_hold_is_violated(first):
    for seed in range(first, first + 10):
        totals = Simulation(seed).run(2_000)
        assert totals.steps == 2_000
        assert totals.elections > 0


def test_all_kinds_of_faults_and_changes_come_up():
    totals = Simulation(0).totals
    for seed in range(2_000_000, 2_000_040):
        totals.add(Simulation(seed).run(2_000))
    assert len(totals.faults) == 16
    assert min(totals.faults.values()) > 0
    assert totals.membership_changes > 20
    assert totals.snapshots > 5
    assert totals.reads > 500


def test_a_seed_replays_identically_in_another_process():
    """Whatever order sets have there: the hashes of strings differ."""
    prints = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        prints.add(
            subprocess.run(
                [sys.executable, "-c", FINGERPRINT],
                cwd=ROOT,
                env=environment,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
    assert len(prints) == 1


def test_a_failure_names_seed_and_step_and_shows_the_last_events():
    simulation = Simulation(11)

    def fail(_: object) -> bool:
        raise Violation("linearizable read", "not one")

    simulation.after(2_000, fail)
    with pytest.raises(Failure) as caught:
        simulation.run(5_000)
    text = str(caught.value)
    assert f"seed 11 fails at step {simulation.step}" in text
    assert "linearizable read: not one" in text
    assert "receives HEARTBEAT" in text


def test_a_crash_leaves_what_was_synced_and_a_beginning_of_the_rest():
    """The writes that were not synced: any number of them, and of an append any part."""
    lengths = set()
    for seed in range(200):
        disk = LogDisk(0, 0)
        disk.append([Entry(term=1, index=1)])
        disk.sync(disk.asked_count)
        disk.set_hard_state(HardState(term=2))
        disk.append([Entry(term=2, index=index) for index in range(2, 6)])
        disk.crash(Random(seed), disk.asked_count)
        assert disk.read(1, 2, 0) == [Entry(term=1, index=1)]
        assert disk.last_index == 1 or disk.state.term == 2
        lengths.add(disk.last_index)
    assert lengths == {1, 2, 3, 4, 5}
