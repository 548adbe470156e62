"""Compiles echo.pyx, the tests' CallSink, once for each state of its sources."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from Cython.Build import cythonize
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("echo.pyx")


def build_echo() -> Path:
    """Compile the module unless that was done for these very sources; return its file."""
    sources = [SOURCE, *sorted((ROOT / "ext/regatta/http2").glob("*.pxd"))]
    version = f"{sys.version} {[path.read_text() for path in sources]}"
    folder = ROOT / "build/tests" / hashlib.sha256(version.encode()).hexdigest()[:16]
    if not list(folder.glob("echo.*.so")):
        extension = Extension("echo", [str(SOURCE)], extra_compile_args=["-O3"])
        made = cythonize(
            extension, include_path=[str(ROOT / "ext")], build_dir=str(folder), quiet=True
        )
        include_dirs = [str(ROOT / "third_party/nghttp2/lib/includes"), str(ROOT / "build/include")]
        command = build_ext(Distribution({"ext_modules": made, "include_dirs": include_dirs}))
        command.build_lib = str(folder)
        command.build_temp = str(folder / "objects")
        command.ensure_finalized()
        command.run()
    return next(folder.glob("echo.*.so"))


def load_echo() -> ModuleType:
    """Return the module; its Echo() is the sink."""
    spec = importlib.util.spec_from_file_location("echo", build_echo())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
