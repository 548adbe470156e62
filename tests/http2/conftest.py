"""The tests' CallSink; and each test ends by counting what is left over."""

import gc
from collections.abc import Iterator
from types import ModuleType

import pytest
from echosink import load_echo

from regatta.http2 import live_streams


@pytest.fixture(scope="session")
def echo() -> ModuleType:
    return load_echo()


@pytest.fixture(autouse=True)
def no_stream_is_left() -> Iterator[None]:
    before = live_streams()
    yield
    gc.collect()
    assert live_streams() == before
