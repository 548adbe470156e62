"""Runs h2spec against the daemon and, on the same machine, against nghttpd.

    python -m tests.http2.h2spec

Prints each group of cases with what both pass, over TLS and without, then each case in which they
differ or fail. Exits with 1 if there is a case that nghttpd passes and the daemon does not; where
there is no nghttpd, it is known which those are. Exits with 0 and a loud word if h2spec is not
here.
"""

import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

import grpc

from tests.cluster.harness import CHANNEL_OPTIONS
from tests.cluster.harness import Certificate
from tests.cluster.harness import Daemon
from tests.cluster.harness import free_port

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 240  # for one run over all cases
CASE_TIMEOUT_S = 2  # for a server that says nothing where it should
# What nghttpd 1.52 doesn't pass either, for where it is not there to be compared with. A stream
# that was left out is taken for one that is over: to tell them, all would have to be remembered.
NGHTTPD_FAILS = frozenset({"http2/5.1.1 #2"})

Case = tuple[str, str]  # section and number, what is done
Outcomes = dict[Case, bool]


def find(name: str) -> str | None:
    """Return the path of a program: made in build/bin, or on the search path."""
    return which(name, path=str(ROOT / "build/bin")) or which(name) or which(f"/usr/sbin/{name}")


def run_h2spec(port: int, *, tls: bool, path: str) -> Outcomes:
    """Run every case, the strict ones too; return which passed."""
    program = find("h2spec")
    assert program is not None
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-t", "-k"] if tls else []
        finished = subprocess.run(
            [
                *(program, "--strict", *options, "-p", str(port), "-P", path),
                *("-o", str(CASE_TIMEOUT_S), "-j", str(report)),
            ],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        if not report.exists():
            raise SystemExit(f"h2spec made no report:\n{finished.stdout}{finished.stderr}")
        return read_report(report)


def read_report(report: Path) -> Outcomes:
    """Return the outcomes in h2spec's JUnit file."""
    outcomes: Outcomes = {}
    # What a failed case has received is in the report as it came, be it text or not.
    text = re.sub(r"[^\t\n\x20-\x7e]", "?", report.read_text(errors="replace"))
    for suite in ElementTree.fromstring(text).iter("testsuite"):
        for number, case in enumerate(suite.iter("testcase"), 1):
            passed = case.find("failure") is None and case.find("error") is None
            section = f"{suite.attrib['package']} #{number}"
            outcomes[section, case.attrib["classname"]] = passed
    return outcomes


@contextmanager
def nghttpd(folder: Path, certificate: Certificate, *, tls: bool) -> Iterator[int]:
    """Run nghttpd on files in *folder*; yield its port."""
    port = free_port()
    program = find("nghttpd")
    assert program is not None
    files = [str(certificate.key_path), str(certificate.certificate_path)]
    (folder / "page").write_bytes(bytes(1000))
    command = [program, "-d", str(folder), *([] if tls else ["--no-tls"]), str(port)]
    process = subprocess.Popen(command + (files if tls else []), stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        yield port
    finally:
        process.terminate()
        process.wait(10)


class PlainDaemon(Daemon):
    """The daemon without TLS."""

    def command(self) -> list[str]:
        """Return the command line, with a URL for an address."""
        return [
            argument.replace("--api.address=", "--api.address=http://")
            for argument in super().command()
        ]

    def channel(self) -> grpc.Channel:
        """Return a channel without TLS; the caller closes it."""
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", CHANNEL_OPTIONS)


def run_all(*, tls: bool) -> dict[str, Outcomes]:
    """Run all cases against both servers, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        certificate = Certificate.make(folder)
        outcomes: dict[str, Outcomes] = {}
        daemon = Daemon(folder, certificate) if tls else PlainDaemon(folder, certificate)
        with daemon:
            outcomes["regatta"] = run_h2spec(daemon.port, tls=tls, path="/no/such/path")
        if find("nghttpd"):
            with nghttpd(folder, certificate, tls=tls) as port:
                outcomes["nghttpd"] = run_h2spec(port, tls=tls, path="/page")
        return outcomes


def print_table(outcomes: dict[str, Outcomes]) -> list[Case]:
    """Print groups and failed cases; return the cases that only nghttpd passes."""
    groups = {name: Counter(group_of(case) for case in cases) for name, cases in outcomes.items()}
    passed = {
        name: Counter(group_of(case) for case, fine in cases.items() if fine)
        for name, cases in outcomes.items()
    }
    print(f"{'':34}" + "".join(f"{name:>14}" for name in outcomes))
    for group in groups["regatta"]:
        figures = [f"{passed[name][group]} of {groups[name][group]}" for name in outcomes]
        print(f"{group:34}" + "".join(f"{text:>14}" for text in figures))
    totals = [f"{sum(cases.values())} of {len(cases)}" for cases in outcomes.values()]
    print(f"{'all':34}" + "".join(f"{text:>14}" for text in totals))
    for case in sorted({case for cases in outcomes.values() for case in cases}):
        fine = [name for name, cases in outcomes.items() if cases.get(case)]
        if len(fine) < len(outcomes):
            print(f"  passed by {' and '.join(fine) or 'none'}: {case[0]}: {case[1]}")
    rival = outcomes.get("nghttpd", {})
    return [case for case, fine in rival.items() if fine and not outcomes["regatta"].get(case)]


def group_of(case: Case) -> str:
    """Return what the table calls the case's group: generic, http2 or hpack, with its chapter."""
    specification, _, section = case[0].partition("/")
    return f"{specification} {section.partition('.')[0].partition(' ')[0]}"


def main() -> int:
    """Run all, print the tables, and return the exit code."""
    if not find("h2spec"):
        print("SKIPPED: h2spec is not here. `make h2spec` builds it where Go is.", file=sys.stderr)
        return 0
    if not find("nghttpd"):
        print("nghttpd is not here: nothing to compare with.", file=sys.stderr)
    worse: list[Case] = []
    for tls in (True, False):
        print(f"\nh2spec, {'TLS' if tls else 'plain'}")
        outcomes = run_all(tls=tls)
        worse += print_table(outcomes)
        if "nghttpd" not in outcomes:
            failed = [case for case, fine in outcomes["regatta"].items() if not fine]
            worse += [case for case in failed if case[0] not in NGHTTPD_FAILS]
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
