"""Compiles the tests' CallSink, and ends each test by counting what is left over."""

import gc
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from Cython.Build import cythonize
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

from regatta.http2 import live_streams

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("echo.pyx")


def build_echo() -> Path:
    """Compile echo.pyx unless that was done for these very sources, and return the module."""
    sources = [SOURCE, *sorted((ROOT / "ext/regatta/http2").glob("*.pxd"))]
    version = f"{sys.version} {[path.read_text() for path in sources]}"
    folder = ROOT / "build/tests" / hashlib.sha256(version.encode()).hexdigest()[:16]
    if not list(folder.glob("echo.*.so")):
        extension = Extension("echo", [str(SOURCE)])
        made = cythonize(
            extension, include_path=[str(ROOT / "ext")], build_dir=str(folder), quiet=True
        )
        include_dirs = [
            str(ROOT / "third_party/nghttp2/lib/includes"),
            str(ROOT / "build/include"),
        ]
        command = build_ext(Distribution({"ext_modules": made, "include_dirs": include_dirs}))
        command.build_lib = str(folder)
        command.build_temp = str(folder / "objects")
        command.ensure_finalized()
        command.run()
    return next(folder.glob("echo.*.so"))


@pytest.fixture(scope="session")
def echo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("echo", build_echo())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def no_stream_is_left() -> Iterator[None]:
    before = live_streams()
    yield
    gc.collect()
    assert live_streams() == before
