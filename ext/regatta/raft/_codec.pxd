"""The binary encoding of what replicas send and keep, as proto/regatta/pb/raft.proto has it.

An encoding is made in two passes: its size, then its bytes into room of just that size, so that
an entry's data is copied once.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

from regatta.raft._message cimport Entry
from regatta.raft._message cimport Message
from regatta.wire._reader cimport Slice

cdef enum:                      # how many of something one message may hold
    ENTRIES_MAX = 1048576
    RESPONSES_MAX = 65536
    MEMBERS_MAX = 1024          # in each list of a ConfState
    CHANGES_MAX = 1024

# Raises ValueError for a list over its bound, TypeError for a field that holds what it must not.
cdef size_t message_size(Message message) except? 0
# Both write in place and return the byte after; the caller has made room for message_size or
# entry_size bytes, and let nothing change since.
cdef uint8_t *message_write(uint8_t *at, Message message) except NULL
cdef uint8_t *entry_write(uint8_t *at, Entry entry) except NULL

# Both copy what they keep, and raise MalformedMessage.
cdef Message message_decode(Slice encoded)
cdef Entry entry_decode(Slice encoded)
