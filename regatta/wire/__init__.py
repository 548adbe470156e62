"""Bytes to fields and back without copies: varints, protobuf messages, checksums. No I/O."""

from regatta.wire._checksum import checksum

__all__ = ["checksum"]
