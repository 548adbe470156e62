"""Random scenarios between nodes, held to what another implementation printed, byte for byte."""

from pathlib import Path

import pytest

from tests.conformance.scenarios import run_file
from tests.conformance.scenarios import scenario_files

SCENARIOS = scenario_files(Path(__file__).parent / "generated")


def test_all_scenarios_are_there():
    assert len(SCENARIOS) == 20


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_cores_say_and_do_what_is_recorded(path):
    outcome = run_file(path)
    assert not outcome.report, f"{outcome.failed_count} directives differ\n{outcome.report}"
