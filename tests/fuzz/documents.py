"""JSON bodies of the REST routes, and what fuzzing makes of them."""

import json
from random import Random
from typing import Any

from tests.fuzz.mutation import below
from tests.fuzz.mutation import mutate_bytes
from tests.fuzz.mutation import pick

BODIES: tuple[dict[str, Any], ...] = (
    {"table": "dGFibGU=", "key": "a2V5"},
    {"table": "dGFibGU=", "key": "a2V5", "rangeEnd": "AA==", "limit": "10", "keys_only": True},
    {"table": "dGFibGU=", "key": "AA==", "range_end": "AA==", "countOnly": True, "limit": 5},
    {"table": "dGFibGU=", "key": "a2V5", "min_mod_revision": "1", "max_create_revision": 1e3},
    {"table": "dGFibGU=", "key": "a2V5", "value": "dmFsdWU=", "prevKv": True},
    {"table": "dGFibGU=", "key": "a2V5Mg", "value": None, "unknown": {"deep": [1, [2, {}]]}},
    {"table": "dGFibGU=", "key": "a2V5", "count": False, "prev_kv": False},
    {"operation": "CLUSTER", "member_id": "1"},
    {"operation": 0},
    {
        "table": "dGFibGU=",
        "compare": [{"result": "GREATER", "key": "a2V5", "value": "YQ==", "target": 0}],
        "success": [{"request_put": {"key": "a2V5", "value": "Yg=="}}, {"requestRange": {}}],
        "failure": [{"request_delete_range": {"key": "a2V5", "count": True}}],
    },
    {},
)
NAMES = ("table", "key", "rangeEnd", "limit", "value", "success", "compare", "operation", "", "\0")
SCALARS = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 2**64, 10**30, 1.5, 1e300, -0.0),
    *("", "AA==", "AA", "A", "=", "a b", "a\nb==", "-_-_", "\ud800", "\x00", "1", "-1", "1e3"),
    *("1e999999999", "0x10", "NaN", "CLUSTER", "NODE", "no such name", "é", "A" * 400),
)
# Put in place of a part of the text.
TOKENS = (
    *(b"NaN", b"Infinity", b"-", b"1e999", b"01", b"1e-999999999", b"[" * 40, b'{"a":' * 40),
    *(b'"\\ud800"', b'"\\u0000"', b"\xff", b"\xef\xbb\xbf", b"/*", b",", b":", b"}", b"]", b"\0"),
    *(b'"', b"\\", b"null", b"1" * 500, b"[" * 3000),
)


def any_value(chance: Random, depth: int = 2) -> Any:
    """Return any JSON value."""
    turn = chance.random()
    if not depth or turn < 0.7:
        return pick(chance, SCALARS)
    if turn < 0.85:
        return [any_value(chance, depth - 1) for _ in range(below(chance, 3))]
    return {pick(chance, NAMES): any_value(chance, depth - 1) for _ in range(below(chance, 3))}


def change(chance: Random, value: Any) -> Any:
    """Return *value* with one change somewhere in it."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = pick(chance, list(value))
        changed = {**value, name: change(chance, value[name])}
        if chance.random() < 0.3:
            changed[pick(chance, NAMES)] = changed.pop(name)
        return changed
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = below(chance, len(value))
        changed_list = [*value[:at], change(chance, value[at]), *value[at + 1 :]]
        return changed_list * 2 if chance.random() < 0.2 else changed_list
    return any_value(chance)


def document(chance: Random) -> bytes:
    """Return the bytes of a body: proper, with wrong values in it, or broken as text."""
    value: Any = pick(chance, BODIES)
    for _ in range(below(chance, 4)):
        value = change(chance, value)
    text = json.dumps(value, ensure_ascii=chance.random() < 0.7).encode(errors="surrogatepass")
    turn = chance.random()
    if turn < 0.6:
        return text
    if turn < 0.8:
        at = below(chance, len(text) + 1)
        return text[:at] + pick(chance, TOKENS) + text[at + below(chance, 8) :]
    return mutate_bytes(chance, text)
