"""What a log line looks like, how many are written, and that writing never stops the daemon."""

import json
import logging
import os
import re
import subprocess
import sys
import time

import pytest

from regatta.logs import LineHandler
from regatta.logs import Sampler

TIMESTAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}"


def run(script: str, *, dev_mode: bool = False, level: str = "DEBUG") -> list[str]:
    """Run *script* in a process of its own and return the lines of its standard error."""
    process = subprocess.run(
        [sys.executable, "-c", prelude(dev_mode=dev_mode, level=level) + script],
        stderr=subprocess.PIPE,
        timeout=20,
        check=True,
        text=True,
        env={**os.environ, "TZ": "Asia/Kolkata"},
    )
    return process.stderr.splitlines()


def prelude(*, dev_mode: bool = False, level: str = "DEBUG") -> str:
    """Return the lines that set up `log` for a script."""
    return (
        "import logging\n"
        "from regatta.logs import configure\n"
        f"log = configure({level!r}, dev_mode={dev_mode})\n"
    )


def record(message: str, *, at_s: float, level: int = logging.INFO) -> logging.LogRecord:
    """Return a record made at a given time."""
    made = logging.LogRecord("regatta", level, "a.py", 1, message, (), None)
    made.created = at_s
    return made


def test_a_line_is_one_json_object() -> None:
    (line,) = run('log.info("tables: %d, \\"quoted\\"\\n, \u00e9", 3)')
    fields = json.loads(line)
    assert list(fields) == ["level", "ts", "logger", "caller", "msg"]
    assert fields["level"] == "info"
    assert re.fullmatch(TIMESTAMP, fields["ts"])
    assert fields["ts"].endswith("+0530")
    assert fields["logger"] == "root"
    assert fields["caller"] == "<string>:4"
    assert fields["msg"] == 'tables: 3, "quoted"\n, \u00e9'


def test_loggers_below_ours_lose_the_prefix_and_levels_are_named() -> None:
    lines = [
        json.loads(line)
        for line in run(
            'server = logging.getLogger("regatta.server.api")\n'
            'server.debug("a"); server.warning("b"); server.error("c"); server.critical("d")'
        )
    ]
    assert [line["level"] for line in lines] == ["debug", "warn", "error", "error"]
    assert {line["logger"] for line in lines} == {"server.api"}


def test_json_has_a_trace_from_error_up() -> None:
    script = 'def outer():\n  log.warning("a")\n  log.error("b")\nouter()\n'
    script += 'try:\n  1 / 0\nexcept ZeroDivisionError:\n  log.exception("c")\n'
    warning, error, exception = map(json.loads, run(script))
    assert "stacktrace" not in warning
    assert error["stacktrace"].splitlines()[-1].strip().endswith("in outer")
    assert exception["stacktrace"].endswith("ZeroDivisionError: division by zero")


def test_dev_mode_is_tab_separated_with_a_trace_from_warn_up() -> None:
    lines = run('log.info("a")\nlog.warning("b")', dev_mode=True)
    timestamp, *rest = lines[0].split("\t")
    assert re.fullmatch(TIMESTAMP, timestamp)
    assert rest == ["INFO", "root", "<string>:4", "a"]
    assert lines[1].split("\t")[1] == "WARN"
    assert lines[2].startswith('  File "<string>", line 5')


@pytest.mark.parametrize("dev_mode", [False, True])
def test_the_level_holds_in_both_modes(dev_mode: bool) -> None:
    lines = run('log.info("a")\nlog.error("b")', dev_mode=dev_mode, level="ERROR")
    assert not any("INFO" in line or '"a"' in line for line in lines)
    assert "b" in lines[0]


def test_libraries_do_not_chat_at_debug() -> None:
    script = (
        'logging.getLogger("asyncio").debug("a")\nlogging.getLogger("aiohttp.access").info("b")'
    )
    script += '\nlogging.getLogger("asyncio").error("c")\nimport warnings\nwarnings.warn("d")'
    lines = [json.loads(line) for line in run(script)]
    assert [line["logger"] for line in lines] == ["asyncio", "py.warnings"]


def test_half_a_surrogate_pair_is_still_json() -> None:
    (line,) = run('log.info("a\\udc80b")')
    assert json.loads(line)["msg"] == "a\udc80b"


def test_equal_lines_are_thinned_within_a_second() -> None:
    sampler = Sampler()
    passed = [number for number in range(1, 1001) if sampler.passes(record("same", at_s=5.5))]
    assert passed == [*range(1, 101), *range(200, 1001, 100)]
    assert sampler.passes(record("other", at_s=5.6))
    assert sampler.passes(record("same", at_s=5.7, level=logging.ERROR))
    assert sampler.passes(record("same", at_s=6.0))


def test_a_closed_reader_of_standard_error_does_no_harm() -> None:
    script = (
        'import time\nfor i in range(20):\n  log.info("%d", i); time.sleep(0.01)\nprint("done")'
    )
    process = subprocess.Popen(
        [sys.executable, "-c", prelude() + script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    assert process.stdout is not None
    process.stderr.close()
    assert process.stdout.read() == b"done\n"
    process.stdout.close()
    assert process.wait(20) == 0


def test_a_stalled_reader_costs_lines_and_no_time() -> None:
    reading, writing = os.pipe()
    handler = LineHandler(logging.Formatter("%(message)s"), writing)
    begin_s = time.monotonic()
    for number in range(2000):
        handler.handle(record(f"{number} " + 1000 * "x", at_s=0.0))
    assert time.monotonic() - begin_s < 5.0
    # The pipe holds 64 KiB, the queue the rest; a reader that comes back gets all of them.
    with open(reading, "rb") as lines:
        assert [int(lines.readline().split()[0]) for _ in range(2000)] == list(range(2000))
