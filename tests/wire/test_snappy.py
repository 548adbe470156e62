"""The decoder of Snappy's framed format, held to the library's encoder and decoder."""

import random

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regatta.wire import checksum
from regatta.wire._snappy import unframe

MIB = 1 << 20
IDENTIFIER = b"\xff\x06\x00\x00sNaPpY"


def chunk(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "little") + body


def masked(data: bytes) -> bytes:
    crc = checksum(data)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def stored(data: bytes) -> bytes:
    """Return a chunk that holds *data* as it is."""
    return chunk(1, masked(data) + data)


def block(data: bytes, elements: bytes) -> bytes:
    """Return a chunk of *elements*, which stand for *data*."""
    size = bytearray()
    left = len(data)
    while left > 0x7F:
        size.append(left & 0x7F | 0x80)
        left >>= 7
    size.append(left)
    return chunk(0, masked(data) + bytes(size) + elements)


def compress(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress(data)) or IDENTIFIER


# Bytes that are repeated near and far, and some that are not.
pieces = st.lists(
    st.one_of(
        st.binary(max_size=70),
        st.builds(lambda data, times: data * times, st.binary(max_size=9), st.integers(0, 300)),
        st.builds(
            lambda seed, size: random.Random(seed).randbytes(size),
            st.integers(),
            st.integers(0, 70_000),
        ),
    ),
    max_size=8,
).map(b"".join)


@settings(max_examples=300, deadline=None)
@given(pieces)
def test_what_the_library_packs_is_unpacked(data: bytes) -> None:
    assert unframe(compress(data), len(data)) == data


@settings(max_examples=300, deadline=None)
@given(pieces, st.data())
def test_what_is_damaged_is_refused_or_the_same_to_both(data: bytes, draw: st.DataObject) -> None:
    packed = bytearray(compress(data))
    for _ in range(draw.draw(st.integers(1, 3))):
        packed[draw.draw(st.integers(0, len(packed) - 1))] = draw.draw(st.integers(0, 255))
    del packed[draw.draw(st.sampled_from([len(packed), len(packed), len(packed) - 1, 11])) :]
    found = unframe(bytes(packed), len(data))
    if isinstance(found, bytes):
        assert found == bytes(cramjam.snappy.decompress(bytes(packed)))


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=300))
def test_elements_of_any_bytes_are_refused_or_the_same_to_both(data: bytes, rest: bytes) -> None:
    for packed in (rest, IDENTIFIER + rest, IDENTIFIER + block(data, rest)):
        found = unframe(packed, 1 << 16)
        if isinstance(found, bytes) and packed:
            assert found == bytes(cramjam.snappy.decompress(packed))


ELEMENTS = {
    "a literal": (b"abc", b"\x08abc"),
    "a literal with its size in one byte": (b"a" * 60, b"\xf0\x3b" + b"a" * 60),
    "in two": (b"a" * 300, b"\xf4\x2b\x01" + b"a" * 300),
    "in three": (b"a" * 300, b"\xf8\x2b\x01\x00" + b"a" * 300),
    "in four": (b"a" * 300, b"\xfc\x2b\x01\x00\x00" + b"a" * 300),
    "a copy with one byte of distance": (b"abcdabcd", b"\x0cabcd\x01\x04"),
    "with two": (b"abcdabcd", b"\x0cabcd\x0e\x04\x00"),
    "with four": (b"abcdabcd", b"\x0cabcd\x0f\x04\x00\x00\x00"),
    "a copy of itself": (b"ab" * 6, b"\x04ab\x19\x02"),
    "a far one": (
        bytes(range(250)) * 3 + b"\0\1\2\3",
        b"\xf4\xed\x02" + bytes(range(250)) * 3 + b"\x41\xee",
    ),
    "nothing": (b"", b""),
}


@pytest.mark.parametrize(("data", "elements"), ELEMENTS.values(), ids=ELEMENTS)
def test_every_kind_of_element(data: bytes, elements: bytes) -> None:
    packed = IDENTIFIER + block(data, elements)
    assert bytes(cramjam.snappy.decompress(packed)) == data
    assert unframe(packed, len(data)) == data


WRONG = {
    "no identifier": stored(b"abc"),
    "another identifier": b"\xff\x06\x00\x00sNaPpX" + stored(b"abc"),
    "a short identifier": b"\xff\x05\x00\x00sNaPp" + stored(b"abc"),
    "a head that is cut": IDENTIFIER + b"\x01\x04\x00",
    "a chunk that is cut": IDENTIFIER + stored(b"abc")[:-1],
    "no checksum": IDENTIFIER + b"\x01\x03\x00\x00abc",
    "another checksum": IDENTIFIER + chunk(1, masked(b"abd") + b"abc"),
    "more than a block may hold": IDENTIFIER + stored(bytes(65_537)),
    "a chunk that must not be skipped": IDENTIFIER + chunk(2, b"abc"),
    "the last of those": IDENTIFIER + chunk(0x7F, b"abc"),
    "a block without a size": IDENTIFIER + chunk(0, masked(b"")),
    "a size that goes on": IDENTIFIER + chunk(0, masked(b"") + b"\x80"),
    "fewer bytes than its size": IDENTIFIER + block(b"abcd", b"\x08abc"),
    "more bytes than its size": IDENTIFIER + block(b"ab", b"\x08abc"),
    "a literal that is cut": IDENTIFIER + block(b"abc", b"\x08ab"),
    "a literal's size that is cut": IDENTIFIER + block(b"abc", b"\xf4\x02"),
    "a literal of 4 GiB": IDENTIFIER + block(b"abc", b"\xfc\xff\xff\xff\xff" + b"abc"),
    "a copy from before the start": IDENTIFIER + block(b"abcdabcd", b"\x0cabcd\x01\x05"),
    "a copy from nowhere": IDENTIFIER + block(b"abcdabcd", b"\x0cabcd\x01\x00"),
    "a copy that is cut": IDENTIFIER + block(b"abcdabcd", b"\x0cabcd\x0e\x04"),
    "a copy of too many": IDENTIFIER + block(b"abcdabc", b"\x0cabcd\x01\x04"),
}


@pytest.mark.parametrize("packed", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused(packed: bytes) -> None:
    with pytest.raises(cramjam.DecompressionError):
        cramjam.snappy.decompress(packed)
    assert unframe(packed, MIB) is None


def test_chunks_may_be_padding_of_no_concern_or_a_further_identifier() -> None:
    packed = (
        IDENTIFIER
        + chunk(0xFE, bytes(99))
        + stored(b"ab")
        + chunk(0x80, b"whatever")
        + IDENTIFIER
        + chunk(0xFD, b"")
        + stored(b"")
        + stored(b"cd")
    )
    assert unframe(packed, 4) == b"abcd"
    assert unframe(IDENTIFIER, 0) == b""
    assert unframe(b"", 0) == b""


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000, 4 * MIB])
def test_the_limit_is_that_of_what_comes_out(size: int) -> None:
    data = bytes(size)
    packed = compress(data)
    assert unframe(packed, size) == data
    if size:
        assert unframe(packed, size - 1) == size


def test_a_bomb_is_told_by_its_heads() -> None:
    bomb = IDENTIFIER + block(bytes(65_536), b"") * 20_000
    assert unframe(bomb, 4 * MIB) == 65_536 * 20_000
