"""What a whole-table delete leaves behind is discarded, turn by turn, and all of it."""

import subprocess
import sys
import time

from tests.cluster.harness import KV
from tests.cluster.harness import Daemon
from tests.cluster.tables import ZERO
from tests.cluster.tables import Table
from tests.cluster.tables import op_put

TABLE_COUNT = 3
PAIR_COUNT = 45_000  # in each table: several turns' work
TXN_PAIRS = 5_000
DISCARD_S_MAX = 15.0

# Other processes read the environment, as one may be open only once in each.
COUNT_PAIRS = """
import sys, lmdb
with lmdb.open(sys.argv[1], readonly=True, max_dbs=2) as environment:
    with environment.begin() as transaction:
        print(transaction.stat(environment.open_db(b"data", transaction))["entries"])
"""


def stored_pair_count(daemon: Daemon) -> int:
    """Return the number of pairs that a daemon has on disk, of tables present and past."""
    (data,) = (path for path in daemon.environments() if "state-machine" in str(path))
    command = [sys.executable, "-c", COUNT_PAIRS, str(data)]
    return int(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)


def test_a_deleted_table_leaves_no_pair_on_disk(daemon: Daemon) -> None:
    with daemon.channel() as channel:
        tables = [Table(KV(channel), b"table_%d" % number) for number in range(TABLE_COUNT)]
        for table in tables:
            for start in range(0, PAIR_COUNT, TXN_PAIRS):
                keys = (b"%08d" % number for number in range(start, start + TXN_PAIRS))
                table.txn(success=[op_put(key) for key in keys])
        for table in tables:
            assert table.delete(ZERO, ZERO, count=True).deleted == PAIR_COUNT
            table.put(b"new", b"value")
            assert table.pairs() == {b"new": b"value"}
    deadline_s = time.monotonic() + DISCARD_S_MAX
    while stored_pair_count(daemon) > TABLE_COUNT and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert stored_pair_count(daemon) == TABLE_COUNT
