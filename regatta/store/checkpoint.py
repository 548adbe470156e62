"""The file that says which state of the data a power cut can't take, and the way back to it.

The data is committed without a sync: what its file holds after a power cut is anything. A
checkpoint names a state of which every page was synced, and of which none is used again before the
next checkpoint is on the disk, too. Its meta page, which names the root of everything else, is kept
here; every start puts it back, and the log is applied from there on.
"""

import errno
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

from regatta.errors import StartError

file_name = "checkpoint"
# What a meta page says, on 64-bit machines: its own number first (8 bytes), the size of a page (4
# bytes) further in, and last the id of the transaction that wrote it (8 bytes).
meta_bytes = 152
page_bytes_offset = 40
transaction_offset = 144

# A slot: checksum (CRC-32) and size of what follows, then that. All is within one sector of 512
# bytes, and each slot has a block of its own.
slot_bytes = 4096
slot_count = 2
head = struct.Struct("<II")
remedy = (
    "restore the directory from a copy; if there is none, remove it and the log's: "
    "the node starts empty"
)


class CheckpointFile:
    """Two slots: the next checkpoint is written over the older one."""

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)
        self._path = self._directory / file_name
        self._descriptor = -1
        self._next_slot = 0

    @property
    def descriptor(self) -> int:
        """What a sync after `write` is done with, -1 before there is a checkpoint."""
        return self._descriptor

    def make(self, meta: bytes) -> None:
        """Make the file, of *meta* alone; it is on the disk when this returns."""
        unfinished = self._path.with_suffix(".new")
        with unfinished.open("wb") as file:
            os.chmod(file.fileno(), 0o600)
            file.write(encode(meta).ljust(slot_count * slot_bytes, b"\0"))
            file.flush()
            os.fdatasync(file.fileno())
        unfinished.rename(self._path)
        sync_directory(self._directory)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        self._next_slot = 1

    def write(self, meta: bytes) -> None:
        """Write *meta* to the slot of the older checkpoint; it counts once the file is synced.

        Raises OSError, and the other slot is as it was.
        """
        if not os.path.samestat(os.fstat(self._descriptor), os.stat(self._path)):
            raise OSError(errno.ESTALE, f"{self._path} was replaced while it was in use")
        written = os.pwrite(self._descriptor, encode(meta), self._next_slot * slot_bytes)
        if written != head.size + len(meta):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def keep_written(self) -> None:
        """What was written is synced: the next one goes to the other slot."""
        self._next_slot = 1 - self._next_slot

    def restore(self) -> None:
        """Take the file of the data back to the newest checkpoint, if there is one.

        Nobody may have it open. Raises StartError if the two files don't belong together.
        """
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._refusal(error) from None
        try:
            # A killed process may have written what only the kernel has: first it, then what
            # builds on it.
            os.fdatasync(self._descriptor)
            meta = self._newest()
            with (self._directory / "data.mdb").open("r+b", buffering=0) as file:
                put_back(meta, file.fileno())
            # It knows of newer transactions.
            (self._directory / "lock.mdb").unlink(missing_ok=True)
        except OSError as error:
            raise self._refusal(error) from None
        except ValueError as error:
            raise StartError(f"can't start from {self._path}: {error}", remedy) from None

    def _refusal(self, error: OSError) -> StartError:
        return StartError(
            f"can't restore {self._directory} to its checkpoint: {error.strerror}",
            "check that the directory is there, writable and not full",
        )

    def _newest(self) -> bytes:
        slots = [
            decode(os.pread(self._descriptor, slot_bytes, number * slot_bytes))
            for number in range(slot_count)
        ]
        newest = max((slot for slot in slots if slot is not None), key=transaction_of, default=None)
        if newest is None:
            raise ValueError("it is damaged")
        self._next_slot = 1 - slots.index(newest)
        return newest

    def remove(self) -> None:
        """Forget all checkpoints: the file of the data is gone."""
        with suppress(FileNotFoundError):
            self._path.unlink()
            sync_directory(self._directory)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def restore(directory: Path) -> None:
    """Take the data in *directory* back to its newest checkpoint, if there is one.

    Raises StartError as `CheckpointFile.restore` does.
    """
    file = CheckpointFile(directory)
    try:
        file.restore()
    finally:
        file.close()


def missing_checkpoint(directory: str) -> StartError:
    """Return what to say where there was a checkpoint once, and is none."""
    return StartError(f"{directory}/{file_name} is missing", remedy)


def encode(meta: bytes) -> bytes:
    """Return what a slot holds."""
    if len(meta) != meta_bytes:
        raise ValueError(f"a meta page of {len(meta)} bytes")
    return head.pack(zlib.crc32(meta), len(meta)) + meta


def decode(slot: bytes) -> bytes | None:
    """Return the meta page in *slot*, None if there is none that is whole."""
    if len(slot) < head.size + meta_bytes:
        return None
    checksum, size = head.unpack_from(slot)
    meta = slot[head.size : head.size + meta_bytes]
    return meta if size == meta_bytes and zlib.crc32(meta) == checksum else None


def transaction_of(meta: bytes) -> int:
    """Return the id of the transaction that wrote a meta page."""
    return int.from_bytes(meta[transaction_offset : transaction_offset + 8], "little")


def put_back(meta: bytes, descriptor: int) -> None:
    """Write *meta* to both places that a data file has for it, and sync it.

    Raises ValueError if the file is older than the checkpoint, whose sync took its pages along.
    """
    transaction = transaction_of(meta)
    page_bytes = int.from_bytes(meta[page_bytes_offset : page_bytes_offset + 4], "little")
    places = (0, page_bytes)
    found = max(transaction_of(os.pread(descriptor, meta_bytes, place)) for place in places)
    if found < transaction:
        raise ValueError("data.mdb beside it is older, or not the file that it was made of")
    for number, place in enumerate(places):
        # Even transactions write the first place and odd ones the second: the other takes the
        # state as that of the transaction before.
        its_transaction = transaction if transaction % 2 == number else max(transaction - 1, 0)
        page = (
            number.to_bytes(8, "little")
            + meta[8:transaction_offset]
            + its_transaction.to_bytes(8, "little")
        )
        os.pwrite(descriptor, page, place)
    os.fdatasync(descriptor)


def sync_directory(path: Path) -> None:
    """Sync a directory itself, so that files made in it survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
