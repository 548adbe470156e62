"""Builds a copy of the core and of the simulation in which bugs can be switched on.

Nothing that is shipped knows of it: sources are copied to build/mutants and patched there, and each
patch is guarded by `planted(number)`, a switch in a module that only the copy has. So one compiled
copy serves all mutants; it is made again when any source or patch has changed.
"""

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from Cython.Build import cythonize  # type: ignore[import-untyped,unused-ignore]
from setuptools import Distribution, Extension  # type: ignore[import-untyped,unused-ignore]
from setuptools.command.build_ext import build_ext  # type: ignore[import-untyped,unused-ignore]

ROOT = Path(__file__).parents[2]
COPIES = ROOT / "build" / "mutants"

SWITCH_CONTRACT = "cpdef bint planted(int number) noexcept nogil\n"
SWITCH = '''
cdef int active = 0


cpdef bint planted(int number) noexcept nogil:
    return number == active


def plant(int number):
    """Switch on one bug, and every other off."""
    global active
    active = number
'''


class Patch(NamedTuple):
    """Whole lines of a file, and what takes their place, with PLANTED for the condition."""

    path: str
    before: str
    after: str


@dataclass
class Mutant:
    """A planted bug: what is wrong, a seed that is known to catch it, and how it is made."""

    name: str
    seed: int
    patches: list[Patch] = field(default_factory=list)


class UnknownText(Exception):
    """A patch names text that is not there, or is there twice."""


def read_mutants() -> list[Mutant]:
    """Read mutants.txt, which describes its form itself."""
    mutants: list[Mutant] = []
    text = Path(__file__).with_name("mutants.txt").read_text()
    for section in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        head, _, body = section.partition("\n")
        found = re.fullmatch(r"(.*) \(seed (\d+)\)", head)
        if found is None:
            raise ValueError(f"{head!r} is no name with a seed")
        mutant = Mutant(found[1], int(found[2]))
        for hunk in re.split(r"^@ ", body, flags=re.MULTILINE)[1:]:
            path, _, lines = hunk.rstrip("\n").partition("\n")
            mutant.patches.append(Patch(path, _side(lines, " -"), _side(lines, " +")))
        mutants.append(mutant)
    return mutants


def _side(lines: str, marks: str) -> str:
    return "".join(f"{line[1:]}\n" for line in lines.split("\n") if line[:1] in marks)


def copy_with(mutants: Sequence[Mutant]) -> Path:
    """Return the folder of a copy in which the mutants, numbered from 1, can be switched on."""
    sources = patched(mutants)
    digest = sha256(sys.version.encode())
    for path, text in sources.items():
        digest.update(f"{path}\n{text}\n".encode())
    folder = COPIES / digest.hexdigest()[:16]
    if not (folder / ".made").exists():
        shutil.rmtree(COPIES, ignore_errors=True)
        _make(folder, sources)
        (folder / ".made").touch()
    return folder


def patched(mutants: Sequence[Mutant]) -> dict[str, str]:
    """Return all sources of the copy by path. Raises UnknownText."""
    sources = {
        f"{path.parent.name}/{path.name}": path.read_text()
        for folder in ("ext/regatta/raft", "tests/simulation")
        for path in sorted((ROOT / folder).iterdir())
        if path.suffix in {".pyx", ".pxd", ".py"}
    }
    touched = set()
    for number, mutant in enumerate(mutants, start=1):
        for path, before, after in mutant.patches:
            count = sources[path].count(before)
            if count != 1:
                raise UnknownText(f"{mutant.name}: {path} has {count} times:\n{before}")
            text = after.replace("PLANTED", f"planted({number})")
            sources[path] = sources[path].replace(before, text)
            touched.add(path)
    for path in touched:
        verb = "cimport" if path.endswith(".pyx") else "import"
        line = f"from regatta.raft._planted {verb} planted\n"
        # Behind the imports from __future__, which must be first.
        first = re.search(r"^(from (?!__future__)|import |cimport )", sources[path], re.MULTILINE)
        assert first is not None
        sources[path] = sources[path][: first.start()] + line + sources[path][first.start() :]
    return sources | {"raft/_planted.pyx": SWITCH, "raft/_planted.pxd": SWITCH_CONTRACT}


def _make(folder: Path, sources: Mapping[str, str]) -> None:
    cython = folder / "cython"
    for path, text in sources.items():
        parent = cython / "regatta" if path.startswith("raft/") else folder / "tests"
        (parent / path).parent.mkdir(parents=True, exist_ok=True)
        (parent / path).write_text(text)
    (cython / "regatta" / "__init__.pxd").touch()  # else raft would be a package of its own
    _copy_python(folder / "regatta")
    pattern = Extension(
        "*", [f"{cython}/regatta/raft/*.pyx"], extra_compile_args=["-O1"], include_dirs=["ext"]
    )
    made = cythonize(  # type: ignore[no-untyped-call,unused-ignore]
        [pattern],
        include_path=[str(cython), str(ROOT / "ext")],
        build_dir=str(folder / "c"),
        compiler_directives={"language_level": 3, "cdivision": True, "wraparound": False},
        nthreads=os.cpu_count(),
        quiet=True,
    )
    command = build_ext(Distribution({"ext_modules": made}))
    command.build_lib = str(folder)
    command.build_temp = str(folder / "objects")
    command.parallel = os.cpu_count()
    command.ensure_finalized()
    command.run()


def _copy_python(package: Path) -> None:
    """Put what the core stands on beside it: Python as it is, compiled modules as they are."""
    own = ROOT / "regatta"
    for source in [*own.glob("*.py"), *own.glob("raft/*.py"), *own.glob("wire/*")]:
        if source.suffix in {".py", ".so"}:
            target = package / source.relative_to(own)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
