cimport cython
from libc.stdint cimport uint64_t

from regatta.raft._membership cimport Configuration

from regatta.raft._quorum import committed_index

cdef enum:
    TOKEN_BYTES = 8


@cython.final
cdef class Round:
    cdef uint64_t number
    cdef uint64_t index         # the answer to its reads
    cdef uint64_t tick          # when it began
    cdef list reads             # (requester, context)


@cython.final
cdef class Reads:

    def __cinit__(self):
        self.clear()

    cdef void clear(self):
        self.waiting = []
        self.rounds = []
        self.number = 0
        self.answered = {}
        self.has_lease = False

    cdef int add(self, uint64_t requester, bytes context) except -1:
        self.waiting.append((requester, context))
        return 0

    cdef int begin(self, uint64_t node, uint64_t index, uint64_t tick) except -1:
        cdef Round begun = Round.__new__(Round)
        self.number += 1
        begun.number = self.number
        begun.index = index
        begun.tick = tick
        begun.reads = self.take_waiting()
        self.rounds.append(begun)
        self.answered[node] = self.number
        return 0

    cdef bytes token(self):
        if not self.rounds:
            return b""
        return int(self.number).to_bytes(TOKEN_BYTES, "big")

    cdef int answer(self, uint64_t node, bytes token) except -1:
        cdef uint64_t number
        if len(token) != TOKEN_BYTES:
            return 0
        number = int.from_bytes(token, "big")
        # Answers overtake each other, and one that we never asked for counts for nothing.
        if self.answered.get(node, 0) < number <= self.number:
            self.answered[node] = number
        return 0

    cdef list take_confirmed(self, Configuration configuration):
        cdef list taken = []
        cdef Round oldest
        confirmed = committed_index(
            configuration.voters, configuration.voters_outgoing, self.answered)
        while self.rounds:
            oldest = <Round>self.rounds[0]
            if oldest.number > confirmed:
                break
            del self.rounds[0]
            self.has_lease = True
            self.lease_start_tick = oldest.tick
            for requester, context in oldest.reads:
                taken.append((oldest.index, requester, context))
        return taken

    cdef list take_waiting(self):
        cdef list taken = self.waiting
        self.waiting = []
        return taken
