"""Runs all scenario files below a folder: python -m tests.conformance FOLDER

Prints a diff for each file whose output differs, and fails if there is one.
"""

import argparse
import sys
import time
from pathlib import Path

from tests.conformance.scenarios import run_file
from tests.conformance.scenarios import scenario_files


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if all files passed."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance")
    parser.add_argument("folder", type=Path, help="runs all *.txt below it; or one file")
    paths = scenario_files(folder := parser.parse_args(arguments).folder)
    if not paths:
        print(f"There is no scenario in {folder}.", file=sys.stderr)
        return 1
    begin_s = time.monotonic()
    outcomes = [run_file(path) for path in paths]
    for outcome in outcomes:
        print(outcome.report, end="")
    directive_count = sum(outcome.directive_count for outcome in outcomes)
    failed_count = sum(bool(outcome.report) for outcome in outcomes)
    took_s = time.monotonic() - begin_s
    print(f"{directive_count} directives in {took_s:.2f} s")
    print(f"{len(outcomes) - failed_count} passed, {failed_count} failed")
    return 1 if failed_count else 0


if __name__ == "__main__":
    sys.exit(main())
