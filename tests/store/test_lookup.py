"""Lookups in LMDB's pages without LMDB."""

import struct
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import dataset
from regatta.store import Snapshot
from regatta.store import View
from regatta.store._env import Environment
from tests.store import pages

TABLE_ID = (1).to_bytes(8, "big")
# Keys with much in common, of lengths around those of words.
user_keys = st.binary(min_size=1, max_size=20).map(
    lambda key: bytes(b"aab"[byte % 3] for byte in key)
)
key_sets = st.sets(user_keys | st.binary(min_size=1, max_size=40), min_size=1, max_size=150)


@pytest.fixture(scope="module")
def lookups() -> ModuleType:
    return pages.lookups()


def stored(keys: set[bytes]) -> list[bytes]:
    return sorted(TABLE_ID + key for key in keys)


@given(
    present=key_sets,
    absent=key_sets,
    leaf_pairs=st.integers(1, 30),
    branch_pages=st.integers(2, 20),
)
def test_each_key_that_is_there_is_found_and_no_other(
    lookups: ModuleType,
    present: set[bytes],
    absent: set[bytes],
    leaf_pairs: int,
    branch_pages: int,
) -> None:
    pairs = [(key, b"value of " + key) for key in stored(present)]
    data, root, depth = pages.tree(pairs, leaf_pairs, branch_pages)
    asked = stored(present | absent)
    found = lookups.find(data, pages.PAGE_BYTES, root, depth, asked)
    assert found == [dict(pairs).get(key) for key in asked]


@given(present=key_sets, places=st.lists(st.tuples(st.integers(0), st.integers(0, 255))))
def test_damaged_pages_do_no_harm(
    lookups: ModuleType, present: set[bytes], places: list[tuple[int, int]]
) -> None:
    keys = stored(present)
    made, root, depth = pages.tree([(key, b"v" * 60) for key in keys], 20, 4)
    data = bytearray(made)
    for place, byte in places:
        data[place % len(data)] = byte
    for value in lookups.find(bytes(data), pages.PAGE_BYTES, root, depth, keys):
        assert value is None or value in bytes(data)


@pytest.mark.parametrize(
    ("offset", "field"),
    [
        (10, struct.pack("=H", 5)),  # a page of another kind
        (12, struct.pack("=H", 15)),  # no room for its own head
        (12, struct.pack("=H", 16)),  # no nodes
        (12, struct.pack("=H", 4098)),  # more of them than a page has room for
        (16, struct.pack("=2H", 4089, 4089)),  # nodes that begin outside of it
        (16, struct.pack("=2H", 65535, 65535)),
    ],
)
def test_a_page_that_makes_no_sense_is_left_to_lmdb(
    lookups: ModuleType, offset: int, field: bytes
) -> None:
    keys = stored({b"a", b"b"})
    leaf, root, depth = pages.tree([(key, b"v") for key in keys], 2, 2)
    branch, top, levels = pages.tree([(key, b"v") for key in keys], 1, 2)
    for data, number, height in ((leaf, root, depth), (branch, top, levels)):
        at = number * pages.PAGE_BYTES + offset
        damaged = data[:at] + field + data[at + len(field) :]
        assert lookups.find(data, pages.PAGE_BYTES, number, height, keys) == [b"v", b"v"]
        assert lookups.find(damaged, pages.PAGE_BYTES, number, height, keys) == [None, None]


@pytest.mark.parametrize(
    ("node", "what"),
    [
        (struct.pack("=IHH", 5000, 0, 9), "a value that goes on outside of the page"),
        (struct.pack("=IHH", 1, pages.LARGE, 9), "a value that is on other pages"),
        (struct.pack("=IHH", 1, 0, 4090), "a key that goes on outside of the page"),
        (struct.pack("=IHH", 1, 0, 8), "a shorter key"),
    ],
)
def test_a_node_that_makes_no_sense_is_left_to_lmdb(
    lookups: ModuleType, node: bytes, what: str
) -> None:
    [key] = stored({b"a"})
    data = bytes(2 * pages.PAGE_BYTES) + pages.page(2, pages.LEAF, [node + key + b"v"])
    assert lookups.find(data, pages.PAGE_BYTES, 2, 1, [key]) == [None], what


def test_a_page_that_is_not_there_is_left_to_lmdb(lookups: ModuleType) -> None:
    keys = stored({b"a"})
    data, root, _ = pages.tree([(keys[0], b"v")], 1, 2)
    assert lookups.find(data, pages.PAGE_BYTES, root + 1, 1, keys) == [None]
    lost = data + pages.page(3, pages.BRANCH, [pages.branch_node(b"", 4)])
    assert lookups.find(lost, pages.PAGE_BYTES, 3, 2, keys) == [None]
    assert lookups.find(data, pages.PAGE_BYTES, root, 0, keys) == [None]


KEYS = [b"key %07d" % (number * 7) for number in range(30_000)]


def stored_id_of(environment: Environment) -> bytes:
    state = Snapshot(environment).find(b"table")
    assert state is not None
    return state.table_id.to_bytes(8, "big")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    directory: Path = tmp_path_factory.mktemp("lookups")
    environment = dataset.make(directory, "table", KEYS, b"v" * 100)
    yield environment
    environment.close()


def test_lmdb_s_own_pages_are_understood(lookups: ModuleType, environment: Environment) -> None:
    """Every pair of three levels of pages is found without LMDB's help."""
    view = View(environment)
    table_id = stored_id_of(environment)
    found = lookups.find_in(view, [table_id + key for key in KEYS])
    assert all(value is not None and value.endswith(b"v" * 100) for value in found)
    absent = [table_id + key + b"0" for key in KEYS[:1000]]
    assert lookups.find_in(view, absent) == [None] * 1000
