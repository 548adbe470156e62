"""Every page of a sound environment is accounted for; of a damaged one, the first bad page is told.

LMDB itself never opens a damaged file in this process: it may die of it.
"""

import os
import pickle
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from regatta.errors import StartError
from regatta.store._check import check_pages

PAGE = 4096
FLIPS = int(os.environ.get("REGATTA_PAGE_FLIPS", "400"))


def make(path: Path, pairs: dict[bytes, bytes], rounds: int = 1) -> dict[bytes, bytes]:
    """Write *pairs*, then replace or delete some of them at random, round by round."""
    chance = random.Random(7)
    with lmdb.open(str(path), max_dbs=2, map_size=1 << 30) as environment:
        data = environment.open_db(b"data")
        environment.open_db(b"meta")
        for number in range(rounds):
            with environment.begin(write=True, db=data) as transaction:
                for key, value in pairs.items():
                    if number == 0 or chance.random() < 0.1:
                        transaction.put(key, value)
                    elif chance.random() < 0.1:
                        transaction.delete(key)
        with environment.begin(db=data) as transaction:
            return dict(transaction.cursor())


def last_page(path: Path) -> int:
    with lmdb.open(str(path), readonly=True, lock=False) as environment:
        number: int = environment.info()["last_pgno"]
        return number


def fault(path: Path) -> str:
    with pytest.raises(StartError) as caught:
        check_pages(path)
    assert "\n" not in str(caught.value)
    assert "from a copy" in caught.value.remedy
    return str(caught.value).removeprefix(f"{path}/data.mdb is damaged: ")


@pytest.mark.parametrize("value_size", [0, 100, 3000, 10_000])
def test_every_page_of_a_sound_environment_is_in_use_or_free(
    tmp_path: Path, value_size: int
) -> None:
    make(tmp_path, {b"%06d" % i * 10: bytes(value_size) for i in range(2000)}, rounds=20)
    assert check_pages(tmp_path) + 2 == last_page(tmp_path) + 1


def test_an_empty_environment_is_sound(tmp_path: Path) -> None:
    make(tmp_path, {})
    assert check_pages(tmp_path) + 2 == last_page(tmp_path) + 1


def pages_of(content: bytes, kind: int) -> list[int]:
    """Return the numbers of all pages of a kind: 1 branch, 2 leaf, 4 large value, 8 meta."""
    count = len(content) // PAGE
    return [i for i in range(count) if struct.unpack_from("<H", content, i * PAGE + 10)[0] == kind]


Damage = Callable[[bytearray, int], None]


def patch(offset: int, replacement: bytes) -> Damage:
    def damage(content: bytearray, page: int) -> None:
        start = page * PAGE + offset
        content[start : start + len(replacement)] = replacement

    return damage


def point_to(number: int) -> Damage:
    """Make the second child of a branch another page."""

    def damage(content: bytearray, page: int) -> None:
        (offset,) = struct.unpack_from("<H", content, page * PAGE + 18)
        struct.pack_into("<HHH", content, page * PAGE + offset, number, 0, 0)

    return damage


def swap_keys(content: bytearray, page: int) -> None:
    first, second = struct.unpack_from("<HH", content, page * PAGE + 16)
    struct.pack_into("<HH", content, page * PAGE + 16, second, first)


@pytest.mark.parametrize(
    ("kind", "damage", "expected"),
    [
        (2, patch(0, b"\xff" * PAGE), "page {page} bears another number"),
        (2, patch(0, bytes(PAGE)), "page {page} bears another number"),
        (2, patch(10, b"\x01\x00"), "page {page} is of the wrong kind"),
        (1, patch(10, b"\x02\x00"), "page {page} is of the wrong kind"),
        (2, patch(12, b"\xff\xff"), "page {page} has impossible bounds"),
        (2, patch(16, b"\xff\x0f"), "page {page} has a node outside of it"),
        (2, swap_keys, "page {page} has keys out of order"),
        (1, point_to(60_000), "page 60000 is referred to, but is outside of the file"),
        (1, point_to(0), "page 0 is referred to, but is outside of the file"),
        (4, patch(10, b"\x02\x00"), "page {page} is not the large value that it should be"),
        (8, patch(16, b"\xff" * 4), "page {page} is no head of a database"),
    ],
)
def test_damage_is_told(tmp_path: Path, kind: int, damage: Damage, expected: str) -> None:
    small = {b"%06d" % i * 10: b"value" for i in range(2000)}
    make(tmp_path, small | {b"9" * 10: bytes(10_000)})
    file = tmp_path / "data.mdb"
    content = bytearray(file.read_bytes())
    page = pages_of(bytes(content), kind)[-1]
    damage(content, page)
    file.write_bytes(content)
    assert fault(tmp_path) == expected.format(page=page)


def test_a_child_that_belongs_to_two_parents_is_told(tmp_path: Path) -> None:
    make(tmp_path, {b"%06d" % i * 10: b"value" for i in range(2000)})
    file = tmp_path / "data.mdb"
    content = bytearray(file.read_bytes())
    (branch, *_) = pages_of(bytes(content), 1)
    (offset,) = struct.unpack_from("<H", content, branch * PAGE + 16)
    (first_child,) = struct.unpack_from("<H", content, branch * PAGE + offset)
    point_to(first_child)(content, branch)
    file.write_bytes(content)
    assert fault(tmp_path) == f"page {first_child} is in use twice"


def test_a_file_that_is_too_short_is_told(tmp_path: Path) -> None:
    make(tmp_path, {b"%06d" % i * 10: b"value" for i in range(2000)})
    file = tmp_path / "data.mdb"
    file.write_bytes(file.read_bytes()[: 10 * PAGE])
    assert fault(tmp_path).endswith(" is missing")


KEYS = """
import lmdb, pickle, sys
from pathlib import Path
found = []
for path in sorted(Path(sys.argv[1]).iterdir()):
    environment = lmdb.open(str(path), max_dbs=2, readonly=True, lock=False)
    try:
        with environment.begin(environment.open_db(b"data", create=False)) as transaction:
            found.append([key for key, _ in transaction.cursor()])
    except lmdb.NotFoundError:
        found.append(None)
    environment.close()
sys.stdout.buffer.write(pickle.dumps(found))
"""


def test_what_passes_with_a_flipped_byte_still_has_every_key(tmp_path: Path) -> None:
    sound = tmp_path / "sound"
    keys = sorted(make(sound, {b"%06d" % i * 4: b"" for i in range(1500)}))
    content = (sound / "data.mdb").read_bytes()
    chance = random.Random(11)
    passed: list[Path] = []
    for number in range(FLIPS):
        path = tmp_path / "flipped" / f"{number:03}"
        path.mkdir(parents=True)
        flipped = bytearray(content)
        # The heads of pages more often than their share.
        offset = chance.randrange(2 * PAGE, len(content))
        if chance.random() < 0.5:
            offset = offset // PAGE * PAGE + chance.randrange(64)
        flipped[offset] ^= 1 << chance.randrange(8)
        (path / "data.mdb").write_bytes(flipped)
        try:
            check_pages(path)
            passed.append(path)
        except StartError:
            shutil.rmtree(path)
    assert FLIPS // 10 < len(passed) < FLIPS * 9 // 10
    command = [sys.executable, "-c", KEYS, tmp_path / "flipped"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    for path, found in zip(passed, pickle.loads(done.stdout), strict=True):
        if found is None:
            continue  # the database's own name was hit: opening refuses that
        # A flip within a key that stays in its place makes another key, which no order tells.
        wrong = [key for key, right in zip(found, keys, strict=True) if key != right]
        assert len(wrong) <= 1, path
