"""What all tests stand on."""

import os
from pathlib import Path

import pytest

from regatta.http2 import _session


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test another build than the one that was asked for, by its folder."""
    wanted = os.environ.get("REGATTA_TESTED")
    if wanted and not Path(_session.__file__).is_relative_to(wanted):
        raise pytest.UsageError(f"{_session.__file__} is tested, which is not in {wanted}")
