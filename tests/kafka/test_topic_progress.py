import random

from regatta.kafka.backoff import Backoff
from regatta.kafka.progress import Progress
from regatta.kafka.progress import duration
from regatta.kafka.progress import unknown


def test_a_topic_that_is_behind_says_so_every_few_seconds():
    progress = Progress(begin_s=100.0)
    assert progress.line(101.0, 10_000, 90_000) == ""
    line = progress.line(105.0, 50_000, 50_000)
    assert line == "10,000 records/s, 50,000 behind, caught up in about 5.0 s"
    assert progress.line(109.0, 80_000, 20_000) == ""


def test_the_end_of_catching_up_is_said_once():
    progress = Progress(begin_s=100.0)
    assert (
        progress.line(104.0, 40_000, 0) == "caught up: 40,000 records in 4.0 s (10,000 records/s)"
    )
    for second in range(105, 200):
        assert progress.line(float(second), 40_000 + 10 * second, second % 2) == ""


def test_a_start_with_nothing_to_do_is_up_to_date():
    assert Progress(begin_s=100.0).line(101.0, 0, 0) == "up to date"


def test_falling_behind_again_begins_anew():
    progress = Progress(begin_s=0.0)
    assert progress.line(1.0, 100, 0).startswith("caught up")
    assert progress.line(10.0, 1_000, 100_000).endswith("caught up in about 16.7 min")
    assert progress.line(20.0, 101_000, 0) == (
        "caught up: 100,000 records in 10.0 s (10,000 records/s)"
    )


def test_a_topic_that_stands_still_says_so():
    assert Progress(0.0).line(5.0, 0, 10_000) == "0 records/s, 10,000 behind, standing still"


def test_nothing_is_said_while_the_end_is_unknown():
    progress = Progress(0.0)
    assert progress.line(5.0, 1_000, unknown) == ""
    assert progress.line(10.0, 1_000, 0).startswith("caught up")


def test_times_are_readable():
    assert [duration(s) for s in (0.04, 59.9, 60, 5_399, 5_400)] == [
        *("0.0 s", "59.9 s"),
        *("1.0 min", "90.0 min", "1.5 h"),
    ]


def test_waits_grow_up_to_a_minute_and_begin_anew_after_a_success():
    backoff = Backoff(random.Random(1))
    waits = [backoff.wait_s() for _ in range(30)]
    for number, wait_s in enumerate(waits):
        mean_s = min(0.5 * 1.5**number, 60.0)
        assert 0.5 * mean_s <= wait_s <= min(1.5 * mean_s, 60.0)
    assert len(set(waits)) > 20
    backoff.succeed()
    assert backoff.wait_s() <= 0.75
