"""Loads _floor.pyx, compiled against the project's own store."""

from functools import cache
from pathlib import Path
from types import ModuleType

from bench.compiled import compiled


@cache
def load_floor() -> ModuleType:
    """Return the module; its Floor is the table to write to."""
    return compiled(Path(__file__).with_name("_floor.pyx"))
