"""Compiles codec.pyx, through which the tests reach the C-level codecs."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from Cython.Build import cythonize  # type: ignore[import-untyped,unused-ignore]
from setuptools import Distribution, Extension  # type: ignore[import-untyped,unused-ignore]
from setuptools.command.build_ext import build_ext  # type: ignore[import-untyped,unused-ignore]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def codec(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module; made anew for each run, which takes some seconds."""
    folder = tmp_path_factory.mktemp("codec")
    extension = Extension("codec", [str(Path(__file__).with_name("codec.pyx"))])
    made = cythonize(  # type: ignore[no-untyped-call,unused-ignore]
        extension, include_path=[str(ROOT / "ext")], build_dir=str(folder), quiet=True
    )
    command = build_ext(Distribution({"ext_modules": made}))
    command.build_lib = str(folder)
    command.build_temp = str(folder / "objects")
    command.ensure_finalized()
    command.run()
    spec = importlib.util.spec_from_file_location("codec", next(folder.glob("codec.*.so")))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
