"""How long to wait before something is tried again."""

import random

first_s = 0.5
longest_s = 60.0
growth = 1.5
jitter = 0.5  # of the wait, up or down


class Backoff:
    """Waits that grow with every failure, with chance in them so that nodes don't move in step."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._next_s = first_s

    def wait_s(self) -> float:
        """Return how long to wait after one more failure."""
        mean_s = self._next_s
        self._next_s = min(mean_s * growth, longest_s)
        return min(mean_s * self._chance.uniform(1 - jitter, 1 + jitter), longest_s)

    def succeed(self) -> None:
        """Begin anew: it worked."""
        self._next_s = first_s
