import random

import pytest

from regatta.engine import Position
from regatta.kafka.backoff import Backoff
from regatta.kafka.progress import Progress
from regatta.kafka.topic import Topic

OLD, NEW = b"o" * 16, b"n" * 16


@pytest.fixture
def topic() -> Topic:
    return Topic("orders", Backoff(random.Random(1)), Progress(0.0))


def stored(next_offset: int, topic_id: bytes = b"") -> Position:
    return Position("orders", 0, next_offset, 0, 0, topic_id)


def test_without_a_position_a_partition_is_read_from_its_beginning(topic):
    cursor = topic.place(0, None)
    assert (cursor.previous, cursor.position, topic.done(0)) == (0, 0, 0)


def test_reading_goes_on_from_the_stored_position(topic):
    cursor = topic.place(0, stored(500))
    assert (cursor.previous, cursor.position, topic.done(0)) == (500, 500, 500)


def test_a_topic_made_anew_is_read_from_its_beginning(topic):
    topic.id = NEW
    position = stored(500, OLD)
    assert topic.is_of_another(position)
    cursor = topic.place(0, position)
    assert (cursor.previous, cursor.position, cursor.topic_id) == (500, 0, NEW)


@pytest.mark.parametrize(("now", "then"), [(NEW, b""), (b"", OLD), (OLD, OLD)])
def test_a_topic_is_the_same_unless_both_ids_are_known(topic, now, then):
    topic.id = now
    assert not topic.is_of_another(stored(500, then))
    assert topic.place(0, stored(500, then)).position == 500


def test_only_a_first_refusal_is_tried_again_at_once(topic):
    assert topic.fail(10.0, retry_at_once=True) == 0.0
    assert topic.resume_at_s == 10.0
    assert 0.25 <= topic.fail(10.0, retry_at_once=True) <= 0.75
    assert topic.held


def test_any_other_trouble_waits(topic):
    assert topic.fail(10.0, retry_at_once=False) >= 0.25


def test_the_end_of_a_partition_counts_as_done_only_when_all_before_is(topic):
    cursor = topic.place(0, stored(500))
    topic.reach_end(0, 503)
    assert topic.uncommitted() == {0: 503}
    cursor.position = 504  # another record came
    assert topic.uncommitted() == {0: 500}


def test_offsets_are_committed_once(topic):
    topic.place(0, stored(500))
    topic.committed |= topic.uncommitted()
    assert topic.uncommitted() == {}


def test_an_empty_topic_commits_nothing(topic):
    topic.place(0, None)
    assert topic.uncommitted() == {}
