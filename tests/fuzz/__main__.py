"""Feed a target with inputs that follow from their numbers.

    python -m tests.fuzz http2 --inputs 1000000

Input 4711 is the same in each run with the same --seed; a finding is looked into with
`--first 4711 --inputs 1`, or from the beginning of its block where what came before matters.
Blocks run in processes of their own, so that one survives what kills the other. The exit code
is 1 if there was any finding: a death, a hang, an exception, or memory that was not given back.
"""

import argparse
import ctypes
import gc
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from ctypes import c_uint64
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from random import Random

from tests.fuzz.targets import TARGETS

BLOCK = 50_000  # inputs in one process
HANG_S = 60
FINDINGS_MAX = 10
WARM_SHARE = 0.2  # of a block, after which its memory is measured first
LEAK_BYTES_AN_INPUT_MAX = 2
# Buffers that are shared, caches, and tables that double grow now and then, but not for ever.
STEPS_BYTES_MAX = 256 << 10

fork = multiprocessing.get_context("fork")


def heap_meter() -> Callable[[], int] | None:
    """Return what tells the bytes that are allocated, which only AddressSanitizer's heap does."""
    try:
        count = ctypes.CDLL(None).__sanitizer_get_current_allocated_bytes
    except AttributeError:
        return None
    count.restype = ctypes.c_size_t

    def measure() -> int:
        gc.collect()
        return int(count())

    return measure


def work(name: str, first: int, last: int, seed: int, directory: Path, current: c_uint64) -> None:
    """Run inputs *first* to *last*, the latter left out, in a process of their own."""
    measure, warm, before = heap_meter(), first + int((last - first) * WARM_SHARE), 0
    try:
        with TARGETS[name](directory) as run:
            for number in range(first, last):
                current.value = number
                if number == warm and measure:
                    before = measure()
                run(Random(seed << 40 | number))
            if measure:
                check_memory(measure() - before, last - warm)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(3)
    os._exit(0)


def check_memory(grown_bytes: int, inputs: int) -> None:
    """Fail if inputs leave memory behind, beyond what grows in steps."""
    bytes_max = STEPS_BYTES_MAX + LEAK_BYTES_AN_INPUT_MAX * inputs
    assert grown_bytes < bytes_max, f"{grown_bytes:,} bytes leaked by {inputs:,} inputs"


def run_block(name: str, first: int, last: int, seed: int) -> tuple[int, str]:
    """Run a block; return the number after the last input that was run, and what was found."""
    current = RawValue(c_uint64, first)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="regatta-fuzz-", dir=memory) as directory:
        process = fork.Process(
            target=work, args=(name, first, last, seed, Path(directory), current)
        )
        process.start()
        seen = -1
        while process.is_alive():
            process.join(HANG_S)
            if process.is_alive() and current.value == seen:
                process.kill()
                process.join()
                return current.value + 1, f"hangs for {HANG_S} s"
            seen = current.value
    if process.exitcode == 0:
        return last, ""
    return current.value + 1, f"ends the process with {process.exitcode}"


def fuzz(name: str, first: int, inputs: int, seed: int) -> int:
    """Run all inputs of a target, print totals, and return the number of findings."""
    start_s, number, findings = time.monotonic(), first, 0
    while number < first + inputs and findings < FINDINGS_MAX:
        block_first = number
        number, found = run_block(name, number, min(number + BLOCK, first + inputs), seed)
        if (number - first) % (4 * BLOCK) == 0:
            print(f"{name}: {number - first:,} inputs so far", flush=True)
        if found:
            findings += 1
            print(
                f"{name}: input {number - 1} {found}; its block began at {block_first}", flush=True
            )
    elapsed_s = time.monotonic() - start_s
    count = number - first
    print(
        f"{name}: {count:,} inputs in {elapsed_s:.0f} s ({count / elapsed_s:,.0f}/s), "
        f"seed {seed}, {findings} findings",
        flush=True,
    )
    return findings


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="target", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--inputs", type=int, default=20_000, help="for each target")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target is called {', '.join(unknown)}")
    watched = "with" if heap_meter() else "WITHOUT"
    print(f"{watched} AddressSanitizer", flush=True)
    names = arguments.targets or list(TARGETS)
    found = [fuzz(name, arguments.first, arguments.inputs, arguments.seed) for name in names]
    return 1 if any(found) else 0


if __name__ == "__main__":
    sys.exit(main())
