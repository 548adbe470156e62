"""Builds a copy of the package with a planted bug: a batch is applied whatever the stored position.

Nothing that is shipped knows of it. Only the module that holds the rule is compiled anew; the copy
is made again when any source has changed. A daemon of it is started with

    daemon.command_prefix = running_from(without_position_check())
"""

import shutil
import sys
from hashlib import sha256
from pathlib import Path

from Cython.Build import cythonize  # type: ignore[import-untyped,unused-ignore]
from setuptools import Distribution, Extension  # type: ignore[import-untyped,unused-ignore]
from setuptools.command.build_ext import build_ext  # type: ignore[import-untyped,unused-ignore]

from tests.simulation.planting import Patch
from tests.simulation.planting import UnknownText

ROOT = Path(__file__).parents[2]
COPIES = ROOT / "build" / "planted"
MODULE = "regatta.store._positions"

IGNORES_POSITIONS = Patch(
    "regatta/store/_positions.pyx",
    "    if code == 0 and position.next != source.previous:\n",
    "    if False:\n",
)


def without_position_check() -> Path:
    """Return the folder of the copy, which is made if need be; that takes some seconds."""
    source = patched(IGNORES_POSITIONS)
    folder = COPIES / digest_with(source)
    if not (folder / ".made").exists():
        shutil.rmtree(COPIES, ignore_errors=True)
        shutil.copytree(ROOT / "regatta", folder / "regatta")
        compile_module(source, folder)
        (folder / ".made").touch()
    return folder


def running_from(folder: Path) -> tuple[str, ...]:
    """Return what to put before a command so that Python finds the package in *folder* first."""
    return ("env", f"PYTHONPATH={folder}", "PYTHONSAFEPATH=1")


def patched(patch: Patch) -> str:
    """Return the patched source. Raises UnknownText if the patch is of another one."""
    text = (ROOT / "ext" / patch.path).read_text()
    if text.count(patch.before) != 1:
        raise UnknownText(f"{patch.path} has {text.count(patch.before)} times:\n{patch.before}")
    return text.replace(patch.before, patch.after)


def digest_with(source: str) -> str:
    """Return a name for a copy of the package as it is now, with *source* in it."""
    digest = sha256(f"{sys.version}\n{source}".encode())
    for path in sorted((ROOT / "regatta").rglob("*")):
        if path.suffix in {".py", ".so"}:
            digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def compile_module(source: str, folder: Path) -> None:
    """Put the module made of *source* in the place of the one in *folder*."""
    cython = folder / "cython"
    shutil.copytree(ROOT / "ext", cython, ignore=shutil.ignore_patterns("*.pyx"))
    path = cython / IGNORES_POSITIONS.path
    path.write_text(source)
    extension = Extension(
        MODULE, [str(path)], include_dirs=[str(ROOT / "third_party" / "lmdb" / "lib")]
    )
    made = cythonize(  # type: ignore[no-untyped-call,unused-ignore]
        [extension],
        include_path=[str(cython)],
        build_dir=str(folder / "c"),
        compiler_directives={"language_level": 3, "cdivision": True, "wraparound": False},
        quiet=True,
    )
    command = build_ext(Distribution({"ext_modules": made}))
    command.build_lib = str(folder)
    command.build_temp = str(folder / "objects")
    command.ensure_finalized()
    command.run()
