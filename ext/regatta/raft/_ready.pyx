cimport cython

from dataclasses import dataclass
from typing import NamedTuple

from regatta.raft._message import Role


class SoftState(NamedTuple):
    """What need not survive a crash: the leader's id, 0 if none is known, and the own role."""

    leader: int
    role: Role


@dataclass(frozen=True, slots=True)
class ReadState:
    """A read that may be served once *index* is applied. *context* is what it was asked with."""

    index: int
    context: bytes


@cython.final
cdef class Ready:

    def __repr__(self):
        return (f"<Ready entries={len(self.entries)} committed={len(self.committed_entries)} "
                f"messages={len(self.messages)} must_sync={self.must_sync}>")


@dataclass
class Status:
    """What a replica looks like at the moment. *progress* is a leader's alone, and it lives on."""

    node: int
    hard_state: object
    soft_state: SoftState
    applied: int
    configuration: object
    progress: dict
    lead_transferee: int
