"""Runs regatta with the threads' names known to the system, as newer Pythons do by themselves.

python -m bench.kafka.named FLAGS
"""

import contextlib
import sys
import threading
from pathlib import Path

from regatta.cli import main


def name_thread(*_: object) -> None:
    """Give the present thread its name; called once by each thread, before all else."""
    sys.setprofile(None)
    path = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
    with contextlib.suppress(OSError):
        path.write_text(threading.current_thread().name.removeprefix("regatta-")[:15])


if __name__ == "__main__":
    threading.setprofile(name_thread)
    sys.exit(main())
