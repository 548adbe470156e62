"""Protobuf messages as JSON, as lenient on input as the clients of the REST routes expect.

The mapping is protobuf's own, with differences: output has the schema's names except that a
header's are those of the REST era, input takes either spelling, base64 may be URL-safe or
unpadded, and unknown fields are skipped. Only what the REST routes need is here: no maps, no
floating point, no well-known types.
"""

import base64
import functools
import json
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from decimal import InvalidOperation
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from regatta import limits
from regatta.errors import InvalidArgument

# Full field name to the name that REST prints; both are read.
PRINTED_NAMES = {
    "regatta.v1.ResponseHeader.shard_id": "cluster_id",
    "regatta.v1.ResponseHeader.replica_id": "member_id",
}

# Type to smallest and largest value.
INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
WIDE = {FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64}

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
BASE64 = re.compile(r"[A-Za-z0-9+/]*")
URL_SAFE = str.maketrans("-_", "+/")


def encode(message: Message) -> bytes:
    """Return *message* as compact JSON: defaults left out, fields in the order of their numbers."""
    return json.dumps(_object_of(message), separators=(",", ":")).encode()


def decode(message: Message, body: bytes) -> None:
    """Fill *message*, which is empty, from JSON; an empty *body* is an empty message.

    Raises InvalidArgument, which names the field at fault.
    """
    value = _parsed(body)
    if value is not None:
        _fill(message, value, "")


def _parsed(body: bytes) -> Any:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"illegal JSON: not UTF-8 at byte {error.start}") from None
    if not text.strip():
        return None
    try:
        value = json.loads(
            text,
            parse_float=Decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except RecursionError:
        raise _too_deep() from None
    except (ValueError, InvalidOperation) as error:
        raise InvalidArgument(f"illegal JSON: {error}") from None
    if body.count(b"[") + body.count(b"{") > limits.json_depth_max:
        _check_depth(value)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, whose names must differ: readers disagree on which of two counts."""
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"{json.dumps(counts.most_common(1)[0][0])} is given twice")
    return found


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(limits.json_depth_max):
        level = [child for node in level for child in _children(node)]
    if any(isinstance(node, dict | list) for node in level):
        raise _too_deep()


def _children(node: Any) -> Any:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def _too_deep() -> InvalidArgument:
    return InvalidArgument(f"illegal JSON: nested deeper than {limits.json_depth_max} levels")


@functools.cache
def _names(descriptor: Descriptor) -> dict[str, FieldDescriptor]:
    """Return every spelling of every field's name."""
    names = {}
    for field in descriptor.fields:
        printed = _printed_name(field)
        for name in (field.name, field.json_name, printed, _camel_case(printed)):
            names[name] = field
    return names


def _printed_name(field: FieldDescriptor) -> str:
    return PRINTED_NAMES.get(field.full_name, field.name)


def _camel_case(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


# Output


def _object_of(message: Message) -> dict[str, Any]:
    found = {}
    for field, value in message.ListFields():
        convert = _converter(field)
        found[_printed_name(field)] = (
            [convert(item) for item in value] if field.is_repeated else convert(value)
        )
    return found


def _converter(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return _object_of
    if field.type == FieldDescriptor.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    if field.cpp_type in WIDE:
        return str
    if field.enum_type is not None:
        return functools.partial(_enum_name, field.enum_type)
    return lambda value: value


def _enum_name(enum: EnumDescriptor, number: int) -> str | int:
    value = enum.values_by_number.get(number)
    return number if value is None else value.name


# Input


def _fill(message: Message, value: Any, where: str) -> None:
    """Set the fields of *message* from *value*; *where* is the path to it, for errors."""
    if not isinstance(value, dict):
        raise _wrong(where, "not an object")
    names = _names(message.DESCRIPTOR)
    seen = set()
    for name, item in value.items():
        field = names.get(name)
        if field is None or item is None:
            continue
        place = f"{where}.{field.name}" if where else field.name
        if field.number in seen:
            raise _wrong(place, "given twice, in two spellings")
        seen.add(field.number)
        _set(message, field, item, place)


def _set(message: Message, field: FieldDescriptor, item: Any, where: str) -> None:
    oneof = field.containing_oneof
    if oneof is not None and message.WhichOneof(oneof.name) not in (None, field.name):
        raise _wrong(where, f"another field of {oneof.name} is set")
    if field.is_repeated:
        if not isinstance(item, list):
            raise _wrong(where, "not an array")
        target = getattr(message, field.name)
        for index, element in enumerate(item):
            place = f"{where}[{index}]"
            if field.message_type is not None:
                _fill(target.add(), element, place)
            else:
                target.append(_scalar(field, element, place))
    elif field.message_type is not None:
        target = getattr(message, field.name)
        target.SetInParent()
        _fill(target, item, where)
    else:
        setattr(message, field.name, _scalar(field, item, where))


def _scalar(field: FieldDescriptor, item: Any, where: str) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes(item, where)
    if field.enum_type is not None:
        return _enum(field.enum_type, item, where)
    if field.cpp_type in INTEGERS:
        return _integer(item, *INTEGERS[field.cpp_type], where)
    if field.type == FieldDescriptor.TYPE_BOOL and isinstance(item, bool):
        return item
    if field.type == FieldDescriptor.TYPE_STRING and isinstance(item, str):
        return _string(item, where)
    wanted = "true or false" if field.type == FieldDescriptor.TYPE_BOOL else "a string"
    raise _wrong(where, f"not {wanted}")


def _integer(item: Any, smallest: int, largest: int, where: str) -> int:
    """Return a number, or the number that a string holds; 1.0 and 1e3 are integers as well."""
    if isinstance(item, str) and NUMBER.fullmatch(item):
        item = Decimal(item)
    if isinstance(item, bool) or not isinstance(item, int | Decimal):
        raise _wrong(where, "not an integer")
    # The magnitude first: the integer in 1e999999 would have a million digits.
    if isinstance(item, Decimal) and item.adjusted() > 20:
        raise _wrong(where, "out of range")
    number = int(item)
    if number != item:
        raise _wrong(where, "not an integer")
    if not smallest <= number <= largest:
        raise _wrong(where, "out of range")
    return number


def _enum(enum: EnumDescriptor, item: Any, where: str) -> int:
    """Return the value of a name, or any number: a newer client may know more of them."""
    if not isinstance(item, str):
        return _integer(item, *INTEGERS[FieldDescriptor.CPPTYPE_INT32], where)
    # The package's look-up fails on what can't be UTF-8.
    value = enum.values_by_name.get(_string(item, where))
    if value is None:
        raise _wrong(where, f"unknown value {json.dumps(item)}")
    return int(value.number)


def _bytes(item: Any, where: str) -> bytes:
    """Return what base64 holds: standard or URL-safe, padded or not, with line breaks or not."""
    if not isinstance(item, str):
        raise _wrong(where, "not a base64 string")
    text = item.translate(URL_SAFE)
    if "\n" in text or "\r" in text:
        text = text.replace("\n", "").replace("\r", "")
    match = BASE64.match(text)
    size = match.end() if match else 0
    padding = text[size:]
    if size % 4 == 1 or padding not in ("", "=" * (-size % 4)):
        raise _wrong(where, f"illegal base64 data at input byte {size}")
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _string(item: str, where: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in item):
        raise _wrong(where, "a lone surrogate is no character")
    return item


def _wrong(where: str, what: str) -> InvalidArgument:
    return InvalidArgument(f"{where}: {what}" if where else f"the body is {what}")
