"""Durations as Go writes them: 300ms, 1m30s, 1.5h."""

import re
from fractions import Fraction

SECONDS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "\u00b5s": Fraction(1, 10**6),  # the micro sign
    "\u03bcs": Fraction(1, 10**6),  # the Greek letter mu
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
NUMBER_AND_UNIT = re.compile(rf"([0-9]+\.?[0-9]*|\.[0-9]+)({'|'.join(SECONDS)})")
seconds_max = Fraction(2**63 - 1, 10**9)  # what Go's int64 of nanoseconds holds
text_length_max = 100  # far above any honest duration; keeps the arithmetic small


def parse_duration(text: str) -> float:
    """Return *text* in seconds; it may have a sign, and "0" needs no unit.

    Raises ValueError for anything that Go would not read.
    """
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if digits == "0":
        return 0.0
    if not digits or len(text) > text_length_max:
        raise ValueError(text)
    total, position = Fraction(0), 0
    while position < len(digits):
        part = NUMBER_AND_UNIT.match(digits, position)
        if part is None:
            raise ValueError(text)
        total += Fraction(part[1]) * SECONDS[part[2]]
        position = part.end()
    if total > seconds_max:
        raise ValueError(text)
    return float(sign * total)
