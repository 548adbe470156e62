"""Every planted bug is caught, by the seed that is known to catch it."""

from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.mutants import hunt
from tests.simulation.planting import Mutant
from tests.simulation.planting import Patch
from tests.simulation.planting import UnknownText
from tests.simulation.planting import copy_with
from tests.simulation.planting import patched

step_count = 5_000


@pytest.fixture(scope="module")
def copy() -> Path:
    return copy_with(MUTANTS)


@pytest.mark.parametrize("number", range(1, len(MUTANTS) + 1), ids=lambda n: MUTANTS[n - 1].name)
def test_a_planted_bug_is_caught(copy, number):
    seed = MUTANTS[number - 1].seed
    assert hunt(copy, number, seed, 1, step_count) is not None


def test_a_copy_without_a_planted_bug_fails_nowhere(copy):
    """Else it would be the copy that is caught."""
    assert hunt(copy, 0, 0, 5, step_count) is None


def test_a_patch_of_text_that_is_gone_is_refused():
    stale = Mutant("stale", 0, [Patch("simulation/disk.py", "no such line\n", "PLANTED\n")])
    with pytest.raises(UnknownText, match=r"stale: simulation/disk.py has 0 times"):
        patched([stale])
