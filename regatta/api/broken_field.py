"""Says which field of an undecodable protobuf message is at fault, and how.

protobuf itself only says that there is one. This looks a second time, at messages that were
refused already, so nothing depends on both agreeing in every corner.
"""

from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

VARINT, FIXED64, BYTES, GROUP, GROUP_END, FIXED32 = range(6)
varint_bytes_max = 10
fields_max = 1000  # a look at more would hold up the event loop
depth_max = 100  # of nested messages and groups

UNKNOWN = "not a valid message"


class Fault(Exception):
    """What is wrong, led by the path of the field."""


def describe(kind: type[Message], data: bytes) -> str:
    """Return what is wrong with *data*, which is no message of *kind*."""
    descriptor: Any = kind.DESCRIPTOR
    try:
        _Walk(data).message(descriptor, len(data), "", 1)
    except Fault as fault:
        return str(fault)
    return UNKNOWN


class _Walk:
    """One pass over a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._fields_left = fields_max

    def message(self, descriptor: Descriptor | None, end: int, where: str, depth: int) -> None:
        """Walk one message up to *end*; *descriptor* is None for an unknown one, a group."""
        counts: dict[int, int] = {}
        while self._at < end:
            number, kind = self._tag(end, where)
            field = descriptor.fields_by_number.get(number) if descriptor else None
            name = f"{where}{field.name if field else f'field {number}'}"
            if field is not None and field.is_repeated:
                index = counts[number] = counts.get(number, -1) + 1
                name += f"[{index}]"
            self._value(field, number, kind, end, name, depth)

    def _tag(self, end: int, where: str) -> tuple[int, int]:
        place = f"{where.removesuffix('.')}: " if where else ""
        if self._fields_left == 0:
            raise Fault(UNKNOWN)
        self._fields_left -= 1
        tag = self._varint(end, f"{place}the tag at byte {self._at}")
        number, kind = tag >> 3, tag & 7
        if not 1 <= number < 1 << 29:
            raise Fault(f"{place}field number {number} does not exist")
        return number, kind

    def _value(
        self, field: FieldDescriptor | None, number: int, kind: int, end: int, name: str, depth: int
    ) -> None:
        if kind == VARINT:
            self._varint(end, name)
        elif kind in (FIXED64, FIXED32):
            self._skip(8 if kind == FIXED64 else 4, end, name)
        elif kind == BYTES:
            self._bytes(field, end, name, depth)
        elif kind == GROUP:
            self._group(number, end, name, depth)
        elif kind == GROUP_END:
            raise Fault(f"{name}: a group ends that did not begin")
        else:
            raise Fault(f"{name}: wire type {kind} does not exist")

    def _bytes(self, field: FieldDescriptor | None, end: int, name: str, depth: int) -> None:
        size = self._varint(end, name)
        start = self._at
        self._skip(size, end, name)
        if field is None:
            return
        if field.type == FieldDescriptor.TYPE_STRING:
            try:
                self._data[start : self._at].decode()
            except UnicodeDecodeError as error:
                raise Fault(f"{name}: not UTF-8 at byte {error.start}") from None
        elif field.message_type is not None:
            if depth == depth_max:
                raise Fault(f"{name}: nested too deeply")
            self._at = start
            self.message(field.message_type, start + size, f"{name}.", depth + 1)

    def _group(self, number: int, end: int, name: str, depth: int) -> None:
        """Skip a group, of which the schema has none, up to its end tag."""
        open_numbers = [number]
        while open_numbers:
            if self._at >= end:
                raise Fault(f"{name}: the group has no end")
            number, kind = self._tag(end, f"{name}.")
            if kind == GROUP:
                if depth + len(open_numbers) > depth_max:
                    raise Fault(f"{name}: nested too deeply")
                open_numbers.append(number)
            elif kind == GROUP_END:
                if open_numbers.pop() != number:
                    raise Fault(f"{name}: the group ends as another one")
            else:
                self._value(None, number, kind, end, f"{name}.field {number}", depth)

    def _varint(self, end: int, name: str) -> int:
        value = 0
        for index in range(varint_bytes_max):
            if self._at >= end:
                raise Fault(f"{name}: cut short")
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return value
        raise Fault(f"{name}: a varint has more than {varint_bytes_max} bytes")

    def _skip(self, size: int, end: int, name: str) -> None:
        if size > end - self._at:
            raise Fault(f"{name}: {size} bytes announced, {end - self._at} there")
        self._at += size
