"""Encodings of protobuf messages: proper ones, odd ones and damaged ones."""

from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.message import Message
from hypothesis import strategies as st

small = st.binary(max_size=6)
numbers = st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1))
flags = st.booleans()
cuts = st.integers(0, 12)

# Whatever bytes: unknown fields, groups, and what is no message at all.
unknown = st.sampled_from(
    [
        b"",
        b"\xf8\x07\x01",
        b"\xfa\x07\x03abc",
        b"\xf9\x07" + bytes(8),
        b"\xfd\x07" + bytes(4),
        b"\xfb\x07\xfc\x07",
        b"\xfb\x07\x0b\x08\x01\x0c\x12\x01x\xfc\x07",
        b"\xfb\x07\x00\x01\xfc\x07",  # in a group, protobuf takes no notice of the number 0
        b"\xfb\x07\xfb\x07\xfc\x07",  # a group that is not closed
        b"\xfb\x07\x0c",  # closed as another one
        b"\xfc\x07",
        b"\x07",
        b"\x06\x00",
        b"\x00\x00",
    ]
)


T = TypeVar("T", bound=Message)


def parse(kind: type[T], data: bytes) -> T | None:
    try:
        return kind.FromString(data)
    except DecodeError:
        return None


def damaged(message: Message, before: bytes, after: bytes, cut: int) -> bytes:
    data = before + message.SerializeToString() + after
    return data[: max(0, len(data) - cut)] if cut < 4 else data


# Encodings that no encoder writes and every decoder must read: fields in any order and number,
# varints with bytes to spare, values wider than their type, known fields of another wire type.


def varint(value: int, spare: int = 0) -> bytes:
    """Return *value* in up to *spare* bytes more than it needs, ten in all."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    spare = min(spare, 9 - len(encoded))
    if not spare:
        return bytes([*encoded, value])
    return bytes([*encoded, value | 0x80, *[0x80] * (spare - 1), 0])


def number_field(number: int, value: int, spare: int) -> bytes:
    return varint(number << 3) + varint(value, spare)


def bytes_field(number: int, data: bytes, spare: int) -> bytes:
    return varint(number << 3 | 2) + varint(len(data), spare) + data


def fixed_field(number: int, wide: bool) -> bytes:
    return varint(number << 3 | (1 if wide else 5)) + bytes(range(8 if wide else 4))


def odd_messages(
    *numbers_taken: int, nested: dict[int, st.SearchStrategy[bytes]] | None = None
) -> st.SearchStrategy[bytes]:
    """Generate messages out of fields of these numbers; *nested* ones hold such messages."""
    of_messages = nested or {}
    taken = st.sampled_from([*numbers_taken, 17, 1000])
    some = [
        st.builds(number_field, taken, numbers, st.integers(0, 9)),
        st.builds(bytes_field, taken, small, st.integers(0, 3)),
        st.builds(fixed_field, st.sampled_from([*numbers_taken, *of_messages]), st.booleans()),
        *[
            st.builds(bytes_field, st.just(number), inside, st.integers(0, 3))
            for number, inside in of_messages.items()
        ],
    ]
    return st.lists(st.one_of(some), max_size=8).map(b"".join)
