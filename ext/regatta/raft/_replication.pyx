from libc.stdint cimport uint64_t

from regatta.raft._message cimport MSG_APP
from regatta.raft._message cimport MSG_HEARTBEAT
from regatta.raft._message cimport MSG_SNAP
from regatta.raft._message cimport PROGRESS_PROBE
from regatta.raft._message cimport PROGRESS_REPLICATE
from regatta.raft._message cimport PROGRESS_SNAPSHOT
from regatta.raft._message cimport Message
from regatta.raft._message cimport Snapshot
from regatta.raft._message cimport message_new
from regatta.raft._progress cimport Progress
from regatta.raft._replica cimport DEBUG
from regatta.raft._replica cimport Replica

from regatta.raft._storage import Compacted
from regatta.raft._storage import SnapshotTemporarilyUnavailable
from regatta.raft._storage import Unavailable

# --- Sending -------------------------------------------------------------------------------------


cdef bint send_append(Replica replica, Progress peer, bint even_if_empty) except -1:
    cdef uint64_t previous_term = 0, size_bytes = 0
    cdef list entries = []
    cdef Message message
    if peer.is_paused():
        return False
    if not replica.log.find_term(peer.next - 1, &previous_term):
        return send_snapshot(replica, peer)
    # A full window lets no entries through, yet the peer is told of the commit.
    if peer.sending != PROGRESS_REPLICATE or not peer.window.is_full():
        try:
            entries = replica.log.entries(
                peer.next, replica.log.last_index() + 1, replica.message_bytes_max, &size_bytes)
        except (Compacted, Unavailable):
            return send_snapshot(replica, peer)
    if not entries and not even_if_empty:
        return False
    message = message_new(MSG_APP, peer.node)
    message.index = peer.next - 1
    message.log_term = previous_term
    message.entries = entries
    message.commit = replica.log.committed
    replica.send(message)
    peer.sent_entries(<uint64_t>len(entries), size_bytes)
    peer.sent_commit_index(replica.log.committed)
    return True


cdef bint send_snapshot(Replica replica, Progress peer) except -1:
    cdef Snapshot snapshot = None
    cdef Message message
    if not peer.recently_active:
        if replica.logger is not None:
            replica.say(DEBUG, f"ignore sending snapshot to {peer.node:x} since it is not recently "
                               "active")
        return False
    try:
        snapshot = replica.log.newest_snapshot()
    except SnapshotTemporarilyUnavailable:
        pass
    if snapshot is None or snapshot.index == 0:
        if replica.logger is not None:
            replica.say(DEBUG, f"{replica.node:x} failed to send snapshot to {peer.node:x} because "
                               "snapshot is temporarily unavailable")
        return False
    if replica.logger is not None:
        replica.say(DEBUG, f"{replica.node:x} [firstindex: {replica.log.first_index()}, commit: "
                           f"{replica.log.committed}] sent snapshot[index: {snapshot.index}, "
                           f"term: {snapshot.term}] to {peer.node:x} [{peer}]")
    peer.become_snapshot(snapshot.index)
    if replica.logger is not None:
        replica.say(DEBUG, f"{replica.node:x} paused sending replication messages to "
                           f"{peer.node:x} [{peer}]")
    message = message_new(MSG_SNAP, peer.node)
    message.snapshot = snapshot
    replica.send(message)
    return True


cdef int broadcast_append(Replica replica) except -1:
    cdef Progress peer
    for peer in replica.membership.members:
        if peer.node != replica.node:
            send_append(replica, peer, True)
    return 0


cdef int broadcast_heartbeat(Replica replica, bytes token) except -1:
    cdef Progress peer
    cdef Message message
    for peer in replica.membership.members:
        if peer.node == replica.node:
            continue
        message = message_new(MSG_HEARTBEAT, peer.node)
        # The peer must not commit what it may not have.
        message.commit = min(peer.match, replica.log.committed)
        message.context = token
        replica.send(message)
        peer.sent_commit_index(message.commit)
    return 0


# --- Committing ----------------------------------------------------------------------------------

cdef bint advance_commit(Replica replica) except -1:
    cdef uint64_t index = replica.membership.committed_index()
    # An older term's entry that a quorum has may still be replaced by another leader; only one of
    # this term, committed, makes all before it safe (Raft paper, figure 8).
    if index <= replica.log.committed or not replica.log.has(index, replica.term):
        return False
    replica.log.commit_to(index)
    return True


# --- Answers -------------------------------------------------------------------------------------

cdef bint append_accepted(Replica replica, Progress peer, Message message) except -1:
    cdef bint is_own = peer.node == replica.node
    peer.recently_active = True
    # While probing even an old answer shows where the logs agree.
    if not peer.acknowledged(message.index) and not (
            peer.match == message.index and peer.sending == PROGRESS_PROBE):
        return False
    if peer.sending == PROGRESS_PROBE:
        peer.become_replicate()
    elif peer.sending == PROGRESS_REPLICATE:
        peer.window.release(message.index)
    elif peer.match + 1 >= replica.log.first_index():
        end_snapshot(replica, peer)
    if advance_commit(replica):
        broadcast_append(replica)
    elif not is_own and peer.lacks_commit(replica.log.committed):
        send_append(replica, peer, True)
    if not is_own:
        # There may be room for more than one message now.
        while send_append(replica, peer, False):
            pass
    return True


cdef int end_snapshot(Replica replica, Progress peer) except -1:
    if replica.logger is not None:
        replica.say(DEBUG, f"{replica.node:x} recovered from needing snapshot, resumed sending "
                           f"replication messages to {peer.node:x} [{peer}]")
    peer.become_probe()
    peer.become_replicate()
    return 0


cdef int append_refused(Replica replica, Progress peer, Message message) except -1:
    cdef uint64_t hint = message.reject_hint, term = 0
    peer.recently_active = True
    if replica.logger is not None:
        replica.say(DEBUG, f"{replica.node:x} received MsgAppResp(rejected, hint: (index "
                           f"{message.reject_hint}, term {message.log_term})) from "
                           f"{peer.node:x} for index {message.index}")
    if message.log_term > 0:
        # Where our terms are higher than the peer's at its hint, our logs can't agree.
        hint = replica.log.last_within_term(hint, message.log_term, &term)
    if not peer.refused(message.index, hint):
        return 0
    if replica.logger is not None:
        replica.say(DEBUG, f"{replica.node:x} decreased progress of {peer.node:x} to [{peer}]")
    if peer.sending == PROGRESS_REPLICATE:
        peer.become_probe()
    send_append(replica, peer, True)
    return 0


cdef int heartbeat_answered(Replica replica, Progress peer) except -1:
    peer.recently_active = True
    # It lives: try again what may have been lost.
    peer.resume()
    if peer.match < replica.log.last_index() or peer.sending == PROGRESS_PROBE:
        send_append(replica, peer, True)
    return 0


# --- The driver's reports ------------------------------------------------------------------------

cdef int peer_unreachable(Replica replica, Progress peer) except -1:
    # What is on its way is probably lost.
    if peer.sending == PROGRESS_REPLICATE:
        peer.become_probe()
    if replica.logger is not None:
        replica.say(DEBUG, f"{replica.node:x} failed to send message to {peer.node:x} because it "
                           f"is unreachable [{peer}]")
    return 0


cdef int snapshot_reported(Replica replica, Progress peer, bint failed) except -1:
    if peer.sending != PROGRESS_SNAPSHOT:
        return 0
    if failed:
        peer.lose_snapshot()
    peer.become_probe()
    if replica.logger is not None:
        outcome = "failed" if failed else "succeeded"
        replica.say(DEBUG, f"{replica.node:x} snapshot {outcome}, resumed sending replication "
                           f"messages to {peer.node:x} [{peer}]")
    # The peer may still be installing it, so wait until it is heard from.
    peer.pause()
    return 0
