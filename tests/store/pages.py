"""Makes trees of pages as LMDB lays them out, and the module that looks for keys in them."""

import struct
from pathlib import Path
from types import ModuleType

from bench.compiled import compiled

PAGE_BYTES = 4096
BRANCH, LEAF = 1, 2
LARGE = 1  # flag of a node whose value is elsewhere
Pairs = list[tuple[bytes, bytes]]


def lookups() -> ModuleType:
    """Return the compiled lookups.pyx."""
    return compiled(Path(__file__).with_name("lookups.pyx"))


def page(number: int, kind: int, nodes: list[bytes]) -> bytes:
    """Lay out a page: its head, where the nodes are, and they from its end on."""
    offsets, end = [], PAGE_BYTES
    for node in nodes:
        end -= (len(node) + 1) & ~1
        offsets.append(end)
    lower = 16 + 2 * len(nodes)
    assert lower <= end, "too much for a page"
    made = bytearray(PAGE_BYTES)
    struct.pack_into("=QHHHH", made, 0, number, 0, kind, lower, end)
    struct.pack_into(f"={len(nodes)}H", made, 16, *offsets)
    for node, offset in zip(nodes, offsets, strict=True):
        made[offset : offset + len(node)] = node
    return bytes(made)


def leaf_node(key: bytes, value: bytes) -> bytes:
    """Return a node with a value of its own."""
    return struct.pack("=IHH", len(value), 0, len(key)) + key + value


def branch_node(key: bytes, child: int) -> bytes:
    """Return a node that leads to the page *child*, which holds the keys from *key* on."""
    return struct.pack("=IHH", child & 0xFFFF_FFFF, child >> 32, len(key)) + key


def tree(pairs: Pairs, leaf_pairs: int, branch_pages: int) -> tuple[bytes, int, int]:
    """Lay out sorted pairs, so many on a leaf and so many pages below a branch.

    Returns the pages, of which the first two are left blank, the root's number, and the depth.
    """
    pages: list[bytes] = [bytes(PAGE_BYTES)] * 2
    level: list[tuple[bytes, int]] = []
    for at in range(0, len(pairs), leaf_pairs):
        level.append((pairs[at][0], len(pages)))
        nodes = [leaf_node(*pair) for pair in pairs[at : at + leaf_pairs]]
        pages.append(page(len(pages), LEAF, nodes))
    depth = 1
    while len(level) > 1:
        above: list[tuple[bytes, int]] = []
        for at in range(0, len(level), branch_pages):
            (first, child), *others = level[at : at + branch_pages]
            above.append((first, len(pages)))
            # LMDB leaves out a branch's first key.
            nodes = [branch_node(b"", child), *[branch_node(*other) for other in others]]
            pages.append(page(len(pages), BRANCH, nodes))
        level, depth = above, depth + 1
    return b"".join(pages), level[0][1], depth
