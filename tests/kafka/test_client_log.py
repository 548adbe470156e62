import logging

from regatta.kafka.client_log import Seldom


def record(text: str, created: float, level: int = logging.ERROR) -> logging.LogRecord:
    made = logging.LogRecord("client", level, "", 0, text, (), None)
    made.created = created
    return made


def test_a_line_comes_once_a_minute_whatever_its_numbers():
    seldom = Seldom()
    shown = [seldom.filter(record(f"Connect failed after {n} ms", float(n))) for n in range(150)]
    assert [n for n, is_shown in enumerate(shown) if is_shown] == [0, 60, 120]


def test_other_lines_are_not_held_back():
    seldom = Seldom()
    assert seldom.filter(record("Connect failed", 0.0))
    assert seldom.filter(record("No such host", 1.0))


def test_nothing_is_louder_than_info():
    one = record("Connect failed", 0.0)
    assert Seldom().filter(one)
    assert (one.levelno, one.levelname) == (logging.INFO, "INFO")
    quiet = record("detail", 0.0, logging.DEBUG)
    assert Seldom().filter(quiet)
    assert quiet.levelno == logging.DEBUG
