"""Changes of the membership: what always holds, and what they come to."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regatta.raft import ChangeKind
from regatta.raft import Config
from regatta.raft import Configuration
from regatta.raft import ConfState
from regatta.raft import Core
from regatta.raft import Membership
from regatta.raft import MembershipError
from regatta.raft import Snapshot
from tests.conformance.storage import MemoryStorage

ADD, LEARN, REMOVE = ChangeKind.ADD_NODE, ChangeKind.ADD_LEARNER_NODE, ChangeKind.REMOVE_NODE

changes = st.lists(st.tuples(st.sampled_from(ChangeKind), st.integers(0, 6)), max_size=5)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("simple"), changes),
        st.tuples(st.just("enter"), changes, st.booleans()),
        st.tuples(st.just("leave")),
    ),
    max_size=12,
)


def carry_out(membership, step, last_index):
    if step[0] == "simple":
        return membership.simple(step[1], last_index)
    if step[0] == "enter":
        return membership.enter_joint(step[1], last_index, step[2])
    return membership.leave_joint()


def seen(membership):
    """Return all there is to see of a membership."""
    progress = {node: str(each) for node, each in membership.progress.items()}
    return str(membership.configuration), progress


def walk(taken):
    """Yield the membership before and after each step that was possible."""
    membership = Membership()
    for last_index, step in enumerate(taken):
        before = seen(membership)
        try:
            changed = carry_out(membership, step, last_index)
        except MembershipError:
            assert seen(membership) == before, "a change that failed left something behind"
            continue
        assert seen(membership) == before, "a change changed the membership that it began with"
        yield membership, changed
        membership = changed


def check_configuration(configuration):
    voters, outgoing = set(configuration.voters), set(configuration.voters_outgoing)
    learners, learners_next = set(configuration.learners), set(configuration.learners_next)
    assert voters
    assert not (voters | outgoing) & learners
    assert learners_next <= outgoing - voters
    assert 0 not in voters | outgoing | learners
    assert configuration.joint == bool(outgoing)
    if not outgoing:
        assert not learners_next
        assert not configuration.auto_leave
    for ids in (configuration.voters, outgoing, learners, learners_next):
        assert list(ids) == sorted(ids)


def check_progress(membership):
    configuration = membership.configuration
    members = {*configuration.voters, *configuration.voters_outgoing, *configuration.learners}
    assert list(membership.progress) == sorted(members)
    for node, progress in membership.progress.items():
        assert progress.node == node
        assert progress.is_learner == (node in configuration.learners)
        assert progress.match < progress.next


def majorities(voters):
    return [set(each) for each in combinations(voters, len(voters) // 2 + 1)]


@given(steps)
def test_whatever_changes_the_parts_of_a_configuration_fit_together(taken):
    for _, membership in walk(taken):
        check_configuration(membership.configuration)
        check_progress(membership)


@given(steps)
def test_any_two_majorities_around_a_change_share_a_voter(taken):
    # Two leaders of one term would need majorities without one. A decision of a joint
    # configuration has a majority of either half.
    for before, after in walk(taken):
        old, new = before.configuration, after.configuration
        halves_before = [half for half in (old.voters, old.voters_outgoing) if half]
        halves_after = [half for half in (new.voters, new.voters_outgoing) if half]
        if not halves_before:
            continue  # the first voter of all
        assert any(
            all(one & other for one in majorities(half) for other in majorities(next_half))
            for half in halves_before
            for next_half in halves_after
        )


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6, unique=True), st.integers(1, 6), changes)
def test_entering_and_leaving_comes_to_what_was_asked_for(members, voter_count, asked):
    membership = Membership()
    for place, node in enumerate(members):
        membership = membership.simple([(ADD if place < voter_count else LEARN, node)], 0)
    parts = dict.fromkeys(membership.configuration.voters, ADD)
    parts |= dict.fromkeys(membership.configuration.learners, LEARN)
    for kind, node in asked:
        if node and kind is not ChangeKind.UPDATE_NODE:
            parts[node] = kind
    wanted = Configuration(
        [node for node, part in parts.items() if part is ADD],
        learners=[node for node, part in parts.items() if part is LEARN],
    )
    if not wanted.voters:
        with pytest.raises(MembershipError, match="removed all voters"):
            membership.enter_joint(asked, 1)
        return
    joint = membership.enter_joint(asked, 1)
    assert joint.configuration.voters_outgoing == membership.configuration.voters
    assert joint.leave_joint().configuration == wanted
    if len({*wanted.voters} ^ {*membership.configuration.voters}) <= 1:
        assert membership.simple(asked, 1).configuration == wanted


def test_a_member_that_stays_keeps_its_progress_and_one_that_returns_begins_anew():
    membership = Membership().simple([(ADD, 1)], 0).simple([(ADD, 2)], 5)
    kept = membership.simple([(ADD, 3)], 9)
    assert kept.progress[2] is membership.progress[2]
    assert [each.next for each in kept.progress.values()] == [1, 5, 9]
    assert membership.simple([(REMOVE, 2), (ADD, 2)], 20).progress[2].next == 20


def test_a_demoted_voter_keeps_voting_until_the_joint_configuration_is_left():
    membership = Membership().simple([(ADD, 1)], 0).simple([(ADD, 2)], 1)
    joint = membership.enter_joint([(LEARN, 1)], 9, auto_leave=True)
    assert str(joint.configuration) == "voters=(2)&&(1 2) learners_next=(1) autoleave"
    assert not joint.progress[1].is_learner
    left = joint.leave_joint()
    assert str(left.configuration) == "voters=(2) learners=(1)"
    assert left.progress[1].is_learner
    assert not joint.progress[1].is_learner


def test_ids_are_written_in_hexadecimal():
    assert str(Membership().simple([(ADD, 0xAB)], 0).configuration) == "voters=(ab)"
    assert str(Configuration()) == "voters=()"


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (lambda one: one.enter_joint([], 1).simple([], 1), "simple config change in joint config"),
        (lambda one: one.simple([(ADD, 2), (ADD, 3)], 1), "more than one voter changed without"),
        (lambda one: one.simple([(REMOVE, 1)], 1), "removed all voters"),
        (lambda one: one.enter_joint([], 1).enter_joint([], 1), "config is already joint"),
        (lambda one: Membership().enter_joint([(ADD, 1)], 1), "make a zero-voter config joint"),
        (lambda one: one.leave_joint(), "can't leave a non-joint config"),
    ],
)
def test_an_impossible_change_says_why(step, text):
    with pytest.raises(MembershipError, match=text):
        step(Membership().simple([(ADD, 1)], 0))


def begin_with(conf_state):
    """Return a core that finds *conf_state* in its storage."""
    config = Config(
        node=1,
        election_ticks=10,
        heartbeat_ticks=1,
        draw_timeout=lambda low, high: high,
        applied=7,
    )
    return Core(config, MemoryStorage(Snapshot(7, 1, conf_state)))


@given(steps)
def test_every_configuration_that_can_be_reached_is_found_again_at_a_start(taken):
    for _, membership in walk(taken):
        reached = membership.configuration
        conf_state = ConfState(
            reached.voters,
            reached.voters_outgoing,
            reached.learners,
            reached.learners_next,
            reached.auto_leave,
        )
        core = begin_with(conf_state)
        assert core.conf_state == conf_state
        assert core.configuration == reached


@pytest.mark.parametrize(
    "conf_state",
    [
        ConfState(learners=[1]),
        ConfState([1, 2], learners=[2]),
        ConfState([1], learners_next=[2]),
        ConfState([1], [1, 2], learners_next=[1]),
        ConfState([1], [2], learners_next=[3]),
        ConfState([1], auto_leave=True),
        ConfState([0, 1]),
        ConfState([], [1, 2]),
    ],
)
def test_a_start_with_a_configuration_that_no_change_leads_to_is_refused(conf_state):
    with pytest.raises(MembershipError):
        begin_with(conf_state)
