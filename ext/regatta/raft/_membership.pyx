cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.stdlib cimport malloc

from regatta.raft._message cimport CHANGE_ADD_LEARNER_NODE
from regatta.raft._message cimport CHANGE_ADD_NODE
from regatta.raft._message cimport CHANGE_REMOVE_NODE
from regatta.raft._message cimport TRANSITION_AUTO
from regatta.raft._message cimport TRANSITION_JOINT_EXPLICIT
from regatta.raft._message cimport ConfChange
from regatta.raft._message cimport ConfState
from regatta.raft._progress cimport Progress
from regatta.raft._progress cimport progress_new
from regatta.raft._quorum cimport VOTE_WON
from regatta.raft._quorum cimport joint_vote
from regatta.raft._quorum cimport majority_index
from regatta.raft._quorum cimport majority_vote


class MembershipError(ValueError):
    """The change is not possible in the present configuration."""


@cython.final
cdef class Configuration:

    def __cinit__(self, voters=(), voters_outgoing=(), learners=(), learners_next=(),
                  bint auto_leave=False):
        self.voters = tuple(sorted(voters))
        self.voters_outgoing = tuple(sorted(voters_outgoing))
        self.learners = tuple(sorted(learners))
        self.learners_next = tuple(sorted(learners_next))
        self.auto_leave = auto_leave

    @property
    def joint(self):
        return self.is_joint()

    cdef bint has_voter(self, uint64_t node):
        return node in self.voters or node in self.voters_outgoing

    cdef tuple all_voters(self):
        if not self.is_joint():
            return self.voters
        return tuple(sorted({*self.voters, *self.voters_outgoing}))

    cdef ConfState conf_state(self):
        return ConfState(self.voters, self.voters_outgoing, self.learners, self.learners_next,
                         self.auto_leave)

    def __eq__(self, other):
        if not isinstance(other, Configuration):
            return NotImplemented
        return self.conf_state() == (<Configuration>other).conf_state()

    def __str__(self):
        text = f"voters={ids_text(self.voters)}"
        if self.is_joint():
            text += f"&&{ids_text(self.voters_outgoing)}"
        if self.learners:
            text += f" learners={ids_text(self.learners)}"
        if self.learners_next:
            text += f" learners_next={ids_text(self.learners_next)}"
        return text + " autoleave" if self.auto_leave else text

    def __repr__(self):
        return f"<Configuration {self}>"


cdef str ids_text(tuple ids):
    return f"({' '.join([f'{node:x}' for node in ids])})"


cdef class Draft:
    """A configuration in the making: the algebra of changes, on sets of ids."""
    cdef set incoming
    cdef set outgoing
    cdef set learners
    cdef set learners_next
    cdef set newcomers          # whoever was no member at some time since the draft was begun
    cdef bint auto_leave

    def __cinit__(self, Configuration configuration):
        self.incoming = set(configuration.voters)
        self.outgoing = set(configuration.voters_outgoing)
        self.learners = set(configuration.learners)
        self.learners_next = set(configuration.learners_next)
        self.auto_leave = configuration.auto_leave
        self.newcomers = set()

    cdef int apply(self, changes) except -1:
        cdef int kind
        cdef uint64_t node
        for kind, node in changes:
            if node == 0:
                continue        # no node has this id: an operation that was voided
            if kind == CHANGE_ADD_NODE:
                self.add_voter(node)
            elif kind == CHANGE_ADD_LEARNER_NODE:
                self.add_learner(node)
            elif kind == CHANGE_REMOVE_NODE:
                self.remove(node)
        if not self.incoming:
            raise MembershipError("removed all voters")
        return 0

    cdef int welcome(self, node) except -1:
        # Whoever is removed and added in one change starts anew, too.
        if not (node in self.incoming or node in self.outgoing or node in self.learners):
            self.newcomers.add(node)
        return 0

    cdef int add_voter(self, node) except -1:
        self.welcome(node)
        self.learners.discard(node)
        self.learners_next.discard(node)
        self.incoming.add(node)
        return 0

    cdef int add_learner(self, node) except -1:
        self.welcome(node)
        self.incoming.discard(node)
        # The outgoing half still counts on its vote: it can't be a learner before that half goes.
        if node in self.outgoing:
            self.learners_next.add(node)
        else:
            self.learners.add(node)
        return 0

    cdef int remove(self, node) except -1:
        self.incoming.discard(node)
        self.learners.discard(node)
        self.learners_next.discard(node)
        return 0

    cdef Configuration configuration(self):
        return Configuration(self.incoming, self.outgoing, self.learners, self.learners_next,
                             self.auto_leave)


@cython.final
cdef class Membership:

    def __cinit__(self, uint64_t window_count_max=0x7FFFFFFF, uint64_t window_bytes_max=0):
        self.window_count_max = window_count_max
        self.window_bytes_max = window_bytes_max
        self.configuration = Configuration()
        self.members, self.incoming, self.outgoing = [], [], []

    def __dealloc__(self):
        free(self.acknowledged)

    @property
    def progress(self):
        return {(<Progress>member).node: member for member in self.members}

    cdef Progress find(self, uint64_t node):
        cdef Py_ssize_t i
        for i in range(len(self.members)):
            if (<Progress>self.members[i]).node == node:
                return <Progress>self.members[i]
        return None

    cdef uint64_t committed_index(self) noexcept:
        cdef uint64_t index = half_index(self.incoming, self.acknowledged)
        return min(index, half_index(self.outgoing, self.acknowledged))

    cdef bint is_active(self) noexcept:
        return joint_vote(half_activity(self.incoming), half_activity(self.outgoing)) == VOTE_WON

    cdef int vote_result(self, dict votes) except -1:
        return joint_vote(half_result(self.incoming, votes), half_result(self.outgoing, votes))

    cdef tuple tally(self, dict votes):
        cdef Progress member
        cdef Py_ssize_t granted = 0, answered = 0
        for member in self.members:
            if not member.is_learner and member.node in votes:
                answered += 1
                granted += bool(votes[member.node])
        return granted, answered - granted

    # --- Changes ---------------------------------------------------------------------------------

    def simple(self, changes, uint64_t last_index):
        if self.configuration.is_joint():
            raise MembershipError("can't apply simple config change in joint config")
        cdef Draft draft = Draft(self.configuration)
        draft.apply(changes)
        if len(draft.incoming.symmetric_difference(self.configuration.voters)) > 1:
            raise MembershipError("more than one voter changed without entering joint config")
        return membership_of(draft, self, last_index)

    def enter_joint(self, changes, uint64_t last_index, bint auto_leave=False):
        if self.configuration.is_joint():
            raise MembershipError("config is already joint")
        if not self.configuration.voters:
            raise MembershipError("can't make a zero-voter config joint")
        cdef Draft draft = Draft(self.configuration)
        draft.outgoing = set(self.configuration.voters)
        draft.apply(changes)
        draft.auto_leave = auto_leave
        return membership_of(draft, self, last_index)

    def leave_joint(self):
        if not self.configuration.is_joint():
            raise MembershipError("can't leave a non-joint config")
        cdef Draft draft = Draft(self.configuration)
        draft.learners |= draft.learners_next
        draft.learners_next = set()
        draft.outgoing = set()
        draft.auto_leave = False
        return membership_of(draft, self, 0)    # nobody joins by that

    cdef Membership changed(self, ConfChange change, uint64_t last_index):
        cdef bint explicit = change.transition == TRANSITION_JOINT_EXPLICIT
        if change.transition == TRANSITION_AUTO:
            if not change.changes:
                return self.leave_joint()
            if len(change.changes) == 1:
                return self.simple(change.changes, last_index)
        return self.enter_joint(change.changes, last_index, not explicit)

    cdef Membership rebuilt(self, ConfState conf_state, uint64_t last_index):
        cdef Membership made = membership_new(self.window_count_max, self.window_bytes_max)
        voters = additions(CHANGE_ADD_NODE, conf_state.voters)
        learners = additions(CHANGE_ADD_LEARNER_NODE, conf_state.learners)
        if conf_state.voters_outgoing:
            for change in additions(CHANGE_ADD_NODE, conf_state.voters_outgoing):
                made = made.simple((change,), last_index)
            leaving = [(CHANGE_REMOVE_NODE, node) for node in conf_state.voters_outgoing]
            next_learners = additions(CHANGE_ADD_LEARNER_NODE, conf_state.learners_next)
            made = made.enter_joint(
                leaving + voters + learners + next_learners, last_index, conf_state.auto_leave)
        else:
            for change in voters + learners:
                made = made.simple((change,), last_index)
        # No sequence of changes leads to a state that, say, has a node as voter and learner.
        if made.configuration.conf_state() != conf_state:
            raise MembershipError(f"no configuration is described by {conf_state}")
        return made


cdef Membership membership_new(uint64_t window_count_max, uint64_t window_bytes_max):
    return Membership(window_count_max, window_bytes_max)


cdef list additions(int kind, tuple nodes):
    return [(kind, node) for node in nodes]


# What *draft* makes of *old*: the members that stay keep their progress.
cdef Membership membership_of(Draft draft, Membership old, uint64_t last_index):
    cdef Membership made = membership_new(old.window_count_max, old.window_bytes_max)
    cdef Progress member
    made.configuration = draft.configuration()
    for node in sorted(draft.incoming | draft.outgoing | draft.learners):
        member = None if node in draft.newcomers else old.find(node)
        if member is None:
            member = progress_new(
                node, max(last_index, <uint64_t>1), old.window_count_max, old.window_bytes_max)
        # *old* stays as it was, so a member that changes sides is copied.
        if member.is_learner != (node in draft.learners):
            member = member.as_learner(not member.is_learner)
        made.members.append(member)
    made.incoming = [made.find(node) for node in made.configuration.voters]
    made.outgoing = [made.find(node) for node in made.configuration.voters_outgoing]
    made.acknowledged = <uint64_t *>malloc((len(made.members) + 1) * sizeof(uint64_t))
    if made.acknowledged == NULL:
        raise MemoryError
    return made


# --- One half of a configuration, as a list of Progress ------------------------------------------

cdef uint64_t half_index(list voters, uint64_t *acknowledged) noexcept:
    cdef Py_ssize_t i, count = len(voters)
    for i in range(count):
        acknowledged[i] = (<Progress>voters[i]).match
    return majority_index(acknowledged, count)


cdef int half_activity(list voters) noexcept:
    cdef Py_ssize_t i, active = 0, count = len(voters)
    for i in range(count):
        active += (<Progress>voters[i]).recently_active
    return majority_vote(active, count - active, count)


cdef int half_result(list voters, dict votes) except -1:
    cdef Progress voter
    cdef Py_ssize_t granted = 0, answered = 0
    for voter in voters:
        if voter.node in votes:
            answered += 1
            granted += bool(votes[voter.node])
    return majority_vote(granted, answered - granted, len(voters))
