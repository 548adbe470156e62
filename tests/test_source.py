"""Rules about the source that no other tool checks."""

import ast
import asyncio
import logging
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
lines_max = 900

# Layer to what it may import beside itself, errors and limits; a dotted name allows only that
# module. Only names further up in this table may be on the right.
EVERYTHING = {"*"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "limits": set(),
    "measure": set(),
    "pb": set(),
    "wire": set(),
    "http2": {"wire"},
    "raft": {"wire"},
    "store": {"measure", "wire", "raft._message", "raft._storage", "raft._stable"},
    "peer": {"raft", "wire"},
    "table": {"measure", "raft", "store", "peer", "wire", "http2"},
    "engine": {"measure", "table", "peer", "pb", "wire", "store"},
    "replication": {"engine", "pb", "wire"},
    "kafka_properties": set(),
    "kafka": {"engine", "kafka_properties", "measure", "wire"},
    "api": {"engine", "measure", "pb", "wire", "http2"},
    "net": {"http2", "api"},
    "logs": set(),
    "workers": {"measure", "store", "table", "http2", "api", "net", "logs"},
    "admin": {"measure", "engine", "kafka", "api", "net", "workers"},
    "durations": set(),
    "flags": {"durations"},
    "endpoint": {"flags"},
    "config": {"durations", "flags", "endpoint", "kafka_properties"},
    "environment": {"flags"},
    "config_forms": set(),
    "config_file": {"flags", "environment", "config_forms"},
    "certificate": {"config"},
    "banner": {"config", "flags", "endpoint"},
    "topics": {"admin", "config", "engine", "kafka"},
    "server": EVERYTHING,
    "cli": EVERYTHING,
    "__main__": EVERYTHING,
}
LAYERS = list(ALLOWED)

# What a line imports from regatta, Cython's cimport included.
IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+regatta[ \t]+c?import[ \t]+(\w+)"
    r"|from[ \t]+regatta\.([\w.]+)|c?import[ \t]+regatta\.([\w.]+))",
    re.MULTILINE,
)
SEVERAL_AT_ONCE = re.compile(
    r"^[ \t]*from[ \t]+(?:regatta[ \t]+c?import[ \t]+(?:\(|\w+(?: as \w+)?,)|\.)", re.MULTILINE
)
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX)\b|/(?:work|root|home)/\w|\.\./shared")

TEXT_SUFFIXES = {".py", ".pyx", ".pxd", ".pyi", ".md", ".toml", ".txt", ".proto", ".yaml", ""}
SKIPPED = {"third_party", "build", "dist", "hack", "__pycache__"}


def files_of_the_project() -> list[Path]:
    """Return every text file that people write, relative to the root."""
    found = []
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") or part.endswith(".egg-info") for part in parts)
        if hidden or SKIPPED & set(parts) or path.suffix not in TEXT_SUFFIXES:
            continue
        if path.is_file():
            found.append(path.relative_to(ROOT))
    return found


def is_generated(path: Path) -> bool:
    return path.parts[:2] == ("regatta", "pb")


FILES = files_of_the_project()
WRITTEN = [path for path in FILES if not is_generated(path)]
CODE = [path for path in WRITTEN if path.suffix in {".py", ".pyx", ".pxd", ".pyi"}]
MODULES = [path for path in CODE if path.parts[0] == "regatta" or path.parts[:1] == ("ext",)]
PYTHON = [path for path in MODULES if path.suffix == ".py"]
CYTHON = [path for path in MODULES if path.suffix == ".pyx"]


def layer_of(path: Path) -> str | None:
    """Return the layer of a module, or None for the package itself."""
    inner = path.with_suffix("").parts
    inner = inner[inner.index("regatta") + 1 :]
    return None if inner[0] == "__init__" else inner[0]


def imports_of(text: str) -> list[str]:
    """Return the dotted names below regatta that *text* imports."""
    return ["".join(match) for match in IMPORT.findall(text)]


def is_allowed(layer: str, target: str) -> bool:
    """Tell whether a module of *layer* may import *target*."""
    allowed = ALLOWED[layer]
    if target.split(".")[0] in {layer, "errors", "limits", "__version__"} or allowed == EVERYTHING:
        return True
    return any(target == name or target.startswith(f"{name}.") for name in allowed)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_down(path):
    layer = layer_of(path)
    text = (ROOT / path).read_text()
    if layer is None:
        assert not imports_of(text), f"{path}: the package itself imports nothing"
        return
    assert layer in ALLOWED, f"{path}: give the new layer a place in ALLOWED"
    for target in imports_of(text):
        assert is_allowed(layer, target), f"{path} must not import regatta.{target}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_are_absolute_and_one_name_a_line(path):
    match = SEVERAL_AT_ONCE.search((ROOT / path).read_text())
    assert match is None, f"{path}: {match and match[0].strip()}"


def test_the_table_of_layers_has_no_way_up():
    for layer, allowed in ALLOWED.items():
        for target in allowed - EVERYTHING:
            assert LAYERS.index(target.split(".")[0]) < LAYERS.index(layer), (layer, target)


def test_imports_of_every_form_are_seen():
    text = (
        "from regatta import limits\n"
        "    from regatta.http2 import Call\n"
        "from regatta.raft._storage cimport Storage\n"
        "cimport regatta.wire._reader\n"
        "import regatta.errors as errors\n"
        "from regattas import other\n"
        "from google import regatta\n"
    )
    seen = ["limits", "http2", "raft._storage", "wire._reader", "errors"]
    assert imports_of(text) == seen
    for bad in ("from regatta import a, b", "from regatta import (\n", "from . import a"):
        assert SEVERAL_AT_ONCE.search(bad)
    assert not SEVERAL_AT_ONCE.search("from regatta.errors import A, B")


def test_an_import_that_reaches_up_is_refused():
    assert not is_allowed("http2", "api.router")
    assert not is_allowed("store", "raft._core")
    assert is_allowed("store", "raft._storage")
    assert is_allowed("api", "engine")


@pytest.mark.parametrize("path", CODE, ids=str)
def test_files_are_short_enough_to_read(path):
    line_count = len((ROOT / path).read_text().splitlines())
    assert line_count <= lines_max, f"{path} has {line_count} lines: split it"


@pytest.mark.parametrize(
    "path", [path for path in WRITTEN if path.name != "test_source.py"], ids=str
)
def test_nothing_is_left_unfinished_or_tied_to_one_machine(path):
    try:
        lines = (ROOT / path).read_text().splitlines()
    except UnicodeDecodeError:
        pytest.skip("not text")
    for number, line in enumerate(lines, start=1):
        match = UNFINISHED.search(line)
        assert match is None, f"{path}:{number}: {match and match[0]}"


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


# What a class of ours takes over from these is described there.
INHERITED = {
    name
    for base in (asyncio.BufferedProtocol, asyncio.Protocol, logging.LoggerAdapter, logging.Handler)
    for name in dir(base)
}


def public_definitions(body: list[ast.stmt]) -> list[Definition]:
    """Return the public functions and classes of a module, and the methods of these classes."""
    found: list[Definition] = []
    for node in body:
        if isinstance(node, Definition):
            if node.name.startswith("_") or node.name in INHERITED:
                continue
            found.append(node)
            if isinstance(node, ast.ClassDef):
                found += public_definitions(node.body)
    return found


@pytest.mark.parametrize("path", PYTHON, ids=str)
def test_everything_public_has_a_docstring(path):
    module = ast.parse((ROOT / path).read_text())
    assert ast.get_docstring(module), f"{path}: the module has no docstring"
    for node in public_definitions(module.body):
        assert ast.get_docstring(node), f"{path}:{node.lineno}: {node.name} has no docstring"


# A definition of Cython that Python can see, up to the end of its signature. What only Cython
# sees is described by comments in the .pxd.
CYTHON_DEFINITION = re.compile(
    r"^[ \t]*(?:def|class)[ \t]+([a-zA-Z]\w*)[^\n:]*(?:\([^)]*\))?[^\n]*:[ \t]*(?:#[^\n]*)?\n"
    r"(\s*\"\"\")?",
    re.MULTILINE,
)


@pytest.mark.parametrize("path", CYTHON, ids=str)
def test_everything_public_in_cython_has_a_docstring(path):
    text = (ROOT / path).read_text()
    contract = ROOT / path.with_suffix(".pxd")
    openings = [text, contract.read_text() if contract.exists() else ""]
    assert any(opening.startswith('"""') for opening in openings), f"{path}: no docstring"
    described = described_in_stub(path)
    for match in CYTHON_DEFINITION.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        is_described = match[2] or match[1] in described | INHERITED
        assert is_described, f"{path}:{line}: {match[1]} has no docstring, nor has its stub"


def described_in_stub(path: Path) -> set[str]:
    """Return the names that have a docstring in the stub of a compiled module."""
    stub = ROOT / Path(*path.parts[1:]).with_suffix(".pyi")
    if not stub.exists():
        return set()
    definitions = public_definitions(ast.parse(stub.read_text()).body)
    return {node.name for node in definitions if ast.get_docstring(node)}


def test_cython_definitions_of_every_form_are_seen():
    text = (
        "cdef class A:\n"
        "    def put(self, bytes key):\n"
        "        return key\n"
        "    def _hidden(self):\n"
        "        pass\n"
        "    def get(self, bytes key,\n"
        "            int count=0):  # why\n"
        '        """Return it."""\n'
    )
    found = [(match[1], bool(match[2])) for match in CYTHON_DEFINITION.finditer(text)]
    assert found == [("put", False), ("get", True)]
