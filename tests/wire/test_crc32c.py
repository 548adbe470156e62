"""CRC-32C: published vectors, and a second implementation that is written as the definition is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regatta.wire import checksum


def bitwise(data: bytes, crc: int = 0) -> int:
    """Divide by the polynomial, bit by bit."""
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# The check value of the catalogues, and those of RFC 3720, B.4.
VECTORS = {
    b"": 0x00000000,
    b"123456789": 0xE3069283,
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(range(31, -1, -1)): 0x113FDB5C,
}


@pytest.mark.parametrize("hardware", [True, False])
@pytest.mark.parametrize("data", VECTORS, ids=lambda data: data[:4].hex())
def test_published_vectors(data: bytes, hardware: bool) -> None:
    assert checksum(data, hardware=hardware) == VECTORS[data]
    assert bitwise(data) == VECTORS[data]


@given(st.binary(max_size=200), st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_both_ways_agree_with_the_definition(data: bytes, offset: int, start: int) -> None:
    part = memoryview(data)[offset:]  # at every alignment
    assert checksum(part, start) == bitwise(bytes(part), start)
    assert checksum(part, start, hardware=False) == bitwise(bytes(part), start)


@given(st.binary(max_size=100), st.binary(max_size=100), st.booleans())
def test_a_checksum_goes_on_over_further_bytes(first: bytes, rest: bytes, hardware: bool) -> None:
    begun = checksum(first, hardware=hardware)
    assert checksum(rest, begun, hardware=hardware) == checksum(first + rest)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_every_single_flipped_bit_shows(content: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    assert checksum(flipped) != checksum(content)
