"""What a process has used, as Linux tells it."""

import os
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(process_id: int) -> float:
    """Return the CPU time that all threads of a process have used, user and system."""
    return _cpu_s(Path(f"/proc/{process_id}/stat"))[1]


def thread_cpu_s(process_id: int) -> dict[tuple[int, str], float]:
    """Return the same for each thread that runs, by its id and its name."""
    found = {}
    for path in Path(f"/proc/{process_id}/task").iterdir():
        try:
            name, used_s = _cpu_s(path / "stat")
        except OSError:  # it has just ended
            continue
        found[int(path.name), name] = used_s
    return found


def peak_bytes(process_id: int) -> int:
    """Return the most memory that a process has had in RAM, pages of mapped files included."""
    return _status_bytes(process_id, "VmHWM")


def own_bytes(process_id: int) -> int:
    """Return what it has in RAM now that is no page of a file."""
    return _status_bytes(process_id, "RssAnon")


def sleeps(process_id: int) -> int:
    """Return how often its threads have gone to sleep of themselves."""
    count = 0
    for path in Path(f"/proc/{process_id}/task").glob("*/status"):
        for line in path.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                count += int(line.split()[1])
    return count


def tree_cpu_s(process_id: int) -> float:
    """Return the CPU time of a process and its children, to the nanosecond where it runs on."""
    return sum(_exact_cpu_s(member) for member in tree(process_id))


def tree_own_bytes(process_id: int) -> int:
    """Return what a process and its children have in RAM that is no page of a file."""
    return sum(own_bytes(member) for member in tree(process_id))


def tree_resident_bytes(process_id: int) -> int:
    """Return what they have in RAM, shared pages of files counted once."""
    members = tree(process_id)
    return tree_own_bytes(process_id) + max(_status_bytes(each, "RssFile") for each in members)


def tree(process_id: int) -> list[int]:
    """Return the process and all below it that run."""
    found = [process_id]
    for path in Path(f"/proc/{process_id}/task").glob("*/children"):
        for child in path.read_text().split():
            found += tree(int(child))
    return found


def _exact_cpu_s(process_id: int) -> float:
    # The scheduler's own count, for stat's is in hundredths of a second; it knows no ended threads.
    paths = Path(f"/proc/{process_id}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in paths) / 1e9


def _status_bytes(process_id: int, field: str) -> int:
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {process_id} has no {field}")


def _cpu_s(path: Path) -> tuple[str, float]:
    # The second field, the name, may hold spaces; all after its ")" is plain.
    head, _, rest = path.read_text().rpartition(")")
    fields = rest.split()
    return head.partition("(")[2], (int(fields[11]) + int(fields[12])) / TICKS_PER_S
