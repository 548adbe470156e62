def compress(encoding: str, message: bytes) -> bytes | None:
    """Return *message* in that encoding, or None if that is not worth while. For any thread."""
