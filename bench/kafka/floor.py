"""Compiles _floor.pyx against the project's own store, once for each state of its sources."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from Cython.Build import cythonize
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parents[2]
SOURCE = Path(__file__).with_name("_floor.pyx")
# What setup.py gives the daemon's modules.
COMPILE = ["-O3", "-fvisibility=hidden"]
DIRECTIVES = {"language_level": 3, "wraparound": False, "boundscheck": False, "cdivision": True}


def build_floor() -> Path:
    """Compile the module unless that was done for these very sources; return its file."""
    contracts = [*(ROOT / "ext/regatta/store").glob("*.pxd")]
    contracts += [*(ROOT / "ext/regatta/wire").glob("*.pxd")]
    version = f"{sys.version} {[path.read_text() for path in [SOURCE, *sorted(contracts)]]}"
    folder = ROOT / "build/bench" / hashlib.sha256(version.encode()).hexdigest()[:16]
    if not list(folder.glob("_floor.*.so")):
        extension = Extension("_floor", [str(SOURCE)], extra_compile_args=COMPILE)
        made = cythonize(
            extension,
            include_path=[str(ROOT / "ext")],
            build_dir=str(folder),
            compiler_directives=DIRECTIVES,
            quiet=True,
        )
        include_dirs = [str(ROOT / "third_party/lmdb/lib")]
        command = build_ext(Distribution({"ext_modules": made, "include_dirs": include_dirs}))
        command.build_lib = str(folder)
        command.build_temp = str(folder / "objects")
        command.ensure_finalized()
        command.run()
    return next(folder.glob("_floor.*.so"))


def load_floor() -> ModuleType:
    """Return the module; its Floor is the table to write to."""
    spec = importlib.util.spec_from_file_location("_floor", build_floor())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
