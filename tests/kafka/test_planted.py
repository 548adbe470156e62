"""The tests of the rule for batches fail when the check of the position is switched off."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka.planted import IGNORES_POSITIONS
from tests.kafka.planted import patched
from tests.kafka.planted import running_from
from tests.kafka.planted import without_position_check
from tests.simulation.planting import UnknownText

ROOT = Path(__file__).parents[2]

TESTS_OF_THE_RULE = "tests/store/test_positions.py"
WHERE = "import regatta.store._positions as module; print(module.__file__)"
# The first example that fails will do.
PYTEST = """
import sys, pytest
from hypothesis import Phase, settings
settings.register_profile("first", phases=[Phase.generate], database=None)
settings.load_profile("first")
sys.exit(pytest.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def copy() -> Path:
    return without_position_check()


def test_a_process_of_the_copy_has_the_planted_bug(copy: Path) -> None:
    command = [*running_from(copy), sys.executable, "-c", WHERE]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert Path(found).is_relative_to(copy)


@pytest.mark.parametrize("test", ["TestRuleAndModel", "test_a_batch_from_elsewhere_is_refused"])
def test_the_tests_of_the_rule_fail_without_it(copy: Path, test: str) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-o", f"pythonpath={copy} {ROOT}", "-k", test]
    done = subprocess.run(
        [*running_from(copy), sys.executable, "-c", PYTEST, *options, TESTS_OF_THE_RULE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "1 failed" in done.stdout


def test_a_patch_of_text_that_is_gone_is_refused() -> None:
    with pytest.raises(UnknownText, match=r"_positions\.pyx has 0 times"):
        patched(IGNORES_POSITIONS._replace(before="no such line\n"))
