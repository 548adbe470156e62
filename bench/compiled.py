"""Compiles the benchmarks' own Cython modules, once for each state of their sources."""

import hashlib
import importlib.util
import sys
from glob import glob
from pathlib import Path
from types import ModuleType

from Cython.Build import cythonize
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parents[1]
BENCH = ROOT / "bench"
LMDB, NGHTTP2 = "third_party/lmdb/lib", "third_party/nghttp2/lib"
# What setup.py gives the daemon's modules.
COMPILE = ["-O3", "-fvisibility=hidden"]
DIRECTIVES = {"language_level": 3, "wraparound": False, "boundscheck": False, "cdivision": True}
NGHTTP2_MACROS = [(name, "1") for name in (
    "NGHTTP2_STATICLIB", "HAVE_ARPA_INET_H", "HAVE_NETINET_IN_H", "HAVE_TIME_H",
    "HAVE_CLOCK_GETTIME", "HAVE_DECL_CLOCK_MONOTONIC")]  # fmt: skip


def compiled(source: Path, *, nghttp2: bool = False, libraries: tuple[str, ...] = ()) -> ModuleType:
    """Return the module that *source*, a .pyx file, compiles to.

    With *nghttp2*, the C library is compiled in; *libraries* are the system's, to link with.
    """
    name = source.stem
    folder = ROOT / "build/bench" / _digest(source)
    if not list(folder.glob(f"{name}.*.so")):
        _build(name, source, folder, nghttp2, libraries)
    spec = importlib.util.spec_from_file_location(name, next(folder.glob(f"{name}.*.so")))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _digest(source: Path) -> str:
    contracts = [source, *source.parent.glob("*.pxd"), *BENCH.glob("*.pxd")]
    for layer in ("store", "wire", "http2", "table"):
        contracts += (ROOT / "ext/regatta" / layer).glob("*.pxd")
    version = f"{sys.version} {[path.read_text() for path in sorted(contracts)]}"
    return f"{source.stem}-{hashlib.sha256(version.encode()).hexdigest()[:16]}"


def _build(
    name: str, source: Path, folder: Path, nghttp2: bool, libraries: tuple[str, ...]
) -> None:
    extension = Extension(
        name,
        [str(source)],
        include_dirs=[str(ROOT / LMDB), str(ROOT / NGHTTP2 / "includes")],
        libraries=list(libraries),
        extra_compile_args=COMPILE,
    )
    made = cythonize(
        extension,
        include_path=[str(ROOT / "ext"), str(BENCH), str(source.parent)],
        build_dir=str(folder),
        compiler_directives=DIRECTIVES,
        quiet=True,
    )
    if nghttp2:
        made[0].sources += sorted(glob(str(ROOT / NGHTTP2 / "*.c")))
        made[0].define_macros += NGHTTP2_MACROS
    command = build_ext(Distribution({"ext_modules": made}))
    command.build_lib = str(folder)
    command.build_temp = str(folder / "objects")
    command.ensure_finalized()
    command.run()
