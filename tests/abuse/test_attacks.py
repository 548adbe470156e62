"""No attack costs the daemon more than it may, or another client its answers."""

from collections.abc import Iterator

import pytest

from tests.abuse.attacks import ATTACKS
from tests.abuse.attacks import Attack
from tests.abuse.attacks import prepare
from tests.abuse.attacks import watch
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("daemon")
    with Daemon(folder, Certificate.make(folder)) as daemon:
        prepare(daemon)
        yield daemon


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name for attack in ATTACKS])
def test_attack_is_bounded_and_others_are_served(daemon: Daemon, attack: Attack) -> None:
    outcome, watched = watch(daemon, attack)
    assert watched.peak_bytes - watched.before_bytes <= attack.growth_bytes_max, outcome
    assert watched.failures == []
    assert watched.answered > 0
    assert watched.slowest_s < 5
    assert attack.expected in outcome
