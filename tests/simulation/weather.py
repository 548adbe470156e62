"""What a seed makes of the world: how large the group is, how it is set up, and what befalls it."""

from dataclasses import dataclass, field
from random import Random

# Simulated time is counted in units; a tick of a perfect clock lasts this many.
tick_units = 100

no_bound = 2**64 - 1

# How often each fault strikes in ordinary weather, relative to the others.
FAULTS = {
    "crash": 8,
    "crash_leader": 5,
    "power_cut": 1,
    "partition": 5,
    "isolate_leader": 5,
    "cut_one_way": 5,
    "pause": 5,
    "clock": 4,
    "transfer": 6,
    "change": 16,
    "compact": 10,
    "campaign": 3,
    "forget_leader": 2,
}


@dataclass
class Weather:
    """One seed's choices. Durations are in units, probabilities in 0 to 1, sizes in bytes."""

    node_count: int
    voters: tuple[int, ...]
    learners: tuple[int, ...]
    core: dict[str, int | bool]  # what Config is given beside the node, the ticks and the door
    recent_bytes_max: int  # of each log's memory
    is_encoded: bool  # whether messages cross the network as bytes

    clock_error: float  # clocks go at 1 - error to 1 + error, if it is not 1.0: then at 0.5 to 2
    drop: float
    duplicate: float
    straggle: float  # a message takes up to straggle_units_max
    delay_units_max: int
    straggle_units_max: int
    sync_units_max: int
    apply_units_max: int

    fault_units: int  # from one fault to the next, on average
    outage_units_max: int  # how long a fault lasts
    write_units: int  # from one client's write to the next, on average
    read_units: int
    batch_max: int  # writes proposed at once
    payload_bytes_max: int
    faults: dict[str, int] = field(default_factory=lambda: dict(FAULTS))

    @property
    def has_leases(self) -> bool:
        return bool(self.core["lease_reads"])

    @property
    def election_units(self) -> int:
        """Return how long the shortest election timeout is on a perfect clock."""
        return self.core["election_ticks"] * tick_units

    @property
    def longest_election_units(self) -> int:
        """Return how long the longest that may be drawn is."""
        return (2 * self.core["election_ticks"] - 1) * tick_units


def forecast(random: Random) -> Weather:
    """Draw the weather of one seed."""
    core = _options(random)
    # An entry or a few in each message: that takes many steps, so there are fewer of everything.
    is_slow = core["message_bytes_max"] < 500
    node_count = random.choice((3, 3, 4, 5) if is_slow else (3, 3, 4, 5, 5, 6, 7))
    voter_count = random.randint(min(3, node_count), node_count)
    if random.random() < 0.5:
        voter_count = node_count
    learner_count = random.randint(0, node_count - voter_count)
    weather = Weather(
        node_count=node_count,
        voters=tuple(range(1, voter_count + 1)),
        learners=tuple(range(voter_count + 1, voter_count + learner_count + 1)),
        core=core,
        recent_bytes_max=random.choice((0, 200, 2_000, 256_000)),
        is_encoded=random.random() < 0.15,
        clock_error=random.choice((0.0, 0.1, 1.0, 1.0)),
        drop=random.choice((0.0, 0.01, 0.03, 0.1)),
        duplicate=random.choice((0.0, 0.01, 0.05)),
        straggle=random.choice((0.0, 0.02, 0.1)),
        delay_units_max=random.choice((10, 30, 80)),
        straggle_units_max=random.choice((200, 600, 2_000)),
        sync_units_max=random.choice((5, 30, 100, 500)),
        apply_units_max=random.choice((3, 20, 100, 400)),
        fault_units=random.choice((150, 300, 600, 1_200)),
        outage_units_max=random.choice((300, 1_000, 2_500)),
        write_units=random.choice((40, 80, 150)),
        read_units=random.choice((60, 120, 400)),
        batch_max=random.choice((3, 8, 16)),
        payload_bytes_max=random.choice((0, 20, 120)),
    )
    if is_slow:
        weather.batch_max, weather.payload_bytes_max, weather.write_units = 4, 0, 150
        core["inflight_messages_max"] = random.choice((2, 3))
    if random.random() < 0.15:
        _gather_a_storm(weather, random)
    # A write takes less than half an election timeout: else nobody would be elected.
    weather.sync_units_max = min(weather.sync_units_max, weather.election_units // 2)
    if weather.has_leases:
        _keep_to_the_clock_bound(weather, random)
    return weather


def _options(random: Random) -> dict[str, int | bool]:
    with_leases = random.random() < 0.25
    with_quorum_checks = with_leases or random.random() < 0.75
    return {
        "election_ticks": random.choice((4, 6, 10)),
        "heartbeat_ticks": random.choice((1, 1, 2)),
        "pre_vote": with_leases or random.random() < 0.6,
        "check_quorum": with_quorum_checks,
        "lease_reads": with_leases,
        "steps_down_on_removal": random.random() < 0.5,
        "forwards_proposals": random.random() < 0.7,
        "message_bytes_max": random.choice((0, 100, 100, 500, 500, no_bound, no_bound)),
        "committed_bytes_max": random.choice((1, 300, no_bound)),
        "uncommitted_bytes_max": random.choice((0, 0, 2_000)),
        "inflight_messages_max": random.choice((1, 3, 256)),
        "inflight_bytes_max": random.choice((0, 0, 1_000)),
    }


def _gather_a_storm(weather: Weather, random: Random) -> None:
    """Let hardly a leader live to finish what it has begun, while clients ask for much."""
    weather.core["election_ticks"] = 4
    weather.core["message_bytes_max"] = random.choice((0, 100, 100))
    weather.batch_max, weather.payload_bytes_max = 8, 0
    weather.write_units = weather.read_units = 60
    weather.core["inflight_messages_max"] = 3
    weather.fault_units = random.choice((300, 600, 900))
    weather.outage_units_max = random.choice((600, 1_500))
    weather.delay_units_max = random.choice((10, 30))
    weather.faults.update(crash_leader=30, isolate_leader=30, transfer=10)


def _keep_to_the_clock_bound(weather: Weather, random: Random) -> None:
    """Leave out what a lease assumes away: bad clocks, stopped processes, elections by hand."""
    weather.clock_error = random.choice((0.0, 0.1))
    weather.core["election_ticks"] = 10
    # A leader that is cut off while it is asked for reads: there a lease must not be too long.
    weather.read_units = 20
    weather.outage_units_max = 2_500
    weather.faults["isolate_leader"] = 20
    for fault in ("pause", "clock", "campaign", "forget_leader"):
        weather.faults[fault] = 0
