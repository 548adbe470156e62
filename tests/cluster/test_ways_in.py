"""The daemon, started each way it can listen and be configured, driven with curl and grpcurl."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.harness import Certificate
from tests.cluster.harness import free_port

ROOT = Path(__file__).parents[2]
PUT = '{"table":"dGFibGVfMQ==","key":"a2V5XzE=","value":"dGFibGVfMXZhbHVlXzE="}'
RANGE = '{"table":"dGFibGVfMQ==","key":"a2V5XzE="}'

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")


def find_grpcurl() -> str | None:
    """Return where grpcurl is, on the path or where Go installs it."""
    return shutil.which("grpcurl") or shutil.which("grpcurl", path=Path.home() / "go/bin")


def command(directory: Path, *flags: str) -> list[str]:
    return [
        *(sys.executable, "-m", "regatta", "--api.reflection-api", "--rest.address="),
        f"--raft.node-host-dir={directory / 'raft'}",
        f"--raft.state-machine-dir={directory / 'state-machine'}",
        *flags,
    ]


def clean_environment(**variables: str) -> dict[str, str]:
    """Return an environment in which nothing but *variables* configures a node."""
    search_path = os.environ.get("PYTHONPATH", str(ROOT))
    return {"PATH": os.environ["PATH"], "PYTHONPATH": search_path, **variables}


@contextmanager
def daemon(
    directory: Path, *flags: str, variables: Mapping[str, str] | None = None, exit_code: int = 0
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a daemon in *directory*; yield it, ready, and the file with its log.

    At the end it is told to stop, and must end with *exit_code*.
    """
    log = directory / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command(directory, *flags),
            cwd=directory,
            env=clean_environment(**(variables or {})),
            stdout=stderr,
            stderr=stderr,
        )
    try:
        deadline_s = time.monotonic() + 20
        while "serving gRPC and REST on" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.02)
        yield process, log
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == exit_code
    finally:
        process.kill()
        process.wait(20)


def output(*words: str) -> str:
    """Run a client to its end and return what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(directory: Path, *flags: str, **variables: str) -> tuple[int, list[str]]:
    """Run a daemon that does not start; return its exit code and lines."""
    done = subprocess.run(
        command(directory, *flags),
        cwd=directory,
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stdout == ""
    return done.returncode, done.stderr.splitlines()


@needs_curl
@pytest.mark.parametrize("scheme", ["", "https", "http", "unix", "unixs"])
def test_curl_grpcurl_and_our_client_reach_the_daemon(
    tmp_path: Path, certificate: Certificate, scheme: str
) -> None:
    place = f"localhost:{free_port()}"
    path = tmp_path / "api.sock"
    is_unix, encrypted = scheme.startswith("unix"), scheme in ("", "https", "unixs")
    address = f"{scheme}://{path if is_unix else place}" if scheme else place
    files = [
        f"--api.cert-filename={certificate.certificate_path}",
        f"--api.key-filename={certificate.key_path}",
    ]
    where = ["--unix-socket", str(path)] if is_unix else []
    url = f"{'https' if encrypted else 'http'}://{'localhost' if is_unix else place}/v1/kv/"
    # Without TLS no certificate is there to be looked at.
    with daemon(tmp_path, f"--api.address={address}", *(files if encrypted else [])):
        put = output("curl", "-sSk", *where, f"{url}put", "-d", PUT)
        assert json.loads(put)["header"]["revision"] == "2"
        for version, shown in (
            ("--http1.1", "1.1"),
            ("--http2" if encrypted else "--http2-prior-knowledge", "2"),
        ):
            more = [version, "-w", "\n%{http_version}", "-d", RANGE]
            answer, spoken = output("curl", "-sSk", *where, f"{url}range", *more).split("\n")
            assert (spoken, json.loads(answer)["count"]) == (shown, "1")
        if grpcurl := find_grpcurl():
            security = "-insecure" if encrypted else "-plaintext"
            target = ["-unix", str(path)] if is_unix else [place]
            more = [security, "-max-time", "15", "-d", RANGE, *target, "regatta.v1.KV/Range"]
            found = json.loads(output(grpcurl, *more))
            assert found["kvs"][0]["value"] == "dGFibGVfMXZhbHVlXzE="
        client = [sys.executable, str(ROOT / "docs/examples/client.py"), address]
        lines = output(*client, str(certificate.certificate_path)).splitlines()
        assert [line[:10] for line in lines] == 4 * ["gRPC Put  "] + 4 * ["gRPC Range"] + 4 * [
            "REST range"
        ]
    assert not path.exists()


def test_a_socket_file_outlives_kill_9_and_is_taken_over_but_never_stolen(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    address = f"--api.address=unix://{path}"
    with daemon(tmp_path, address, exit_code=-signal.SIGKILL) as (process, _):
        process.kill()
    assert path.is_socket()
    with daemon(tmp_path, address):
        other = tmp_path / "other"
        other.mkdir()
        code, lines = refusal(other, address)
        assert code == 1
        assert f"regatta: can't listen on {path}: Address already in use" in lines
        assert path.is_socket()
    assert not path.exists()


def test_flag_environment_and_file_of_a_daemon_count_in_this_order(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "api: {address: 'unix:///none/file', adress: 1}\nlog-level: INFO\nraft: {node-id: 3}"
    )
    variables = {
        "API_ADDRESS": "unix:///none/environment",
        "REGATTA_RAFT_NODE_ID": "4",
        "RAFT.CLUSTER-ID": "5",
    }
    with daemon(tmp_path, f"--api.address=unix://{tmp_path}/flag", variables=variables) as (_, log):
        assert (tmp_path / "state-machine-5-4").is_dir()
        messages = [json.loads(line)["msg"] for line in log.read_text().splitlines()]
        assert messages[:2] == [
            "settings read from config.yaml",
            'unknown key "api.adress" in config.yaml: did you mean api.address?',
        ]
        assert f"serving gRPC and REST on unix://{tmp_path}/flag" in messages


def test_every_source_is_named_with_its_mistake(tmp_path: Path) -> None:
    number = "Number the nodes from 1."
    assert refusal(tmp_path, "--raft.node-id=0") == (
        2,
        ["regatta: --raft.node-id must not be 0", number],
    )
    assert refusal(tmp_path, RAFT_NODE_ID="0") == (
        2,
        ["regatta: RAFT_NODE_ID in the environment must not be 0", number],
    )
    mine, found = tmp_path / "mine.toml", tmp_path / "config.json"
    mine.write_text("raft.node-id = 0")
    found.write_text('{"raft": {"node-id": 0}}')
    assert refusal(tmp_path) == (
        2,
        ["regatta: raft.node-id in config.json must not be 0", number],
    )
    told = (2, [f"regatta: raft.node-id in {mine} must not be 0", number])
    assert refusal(tmp_path, f"--config={mine}") == told
    assert refusal(tmp_path, REGATTA_CONFIG=str(mine)) == told
    mine.unlink()
    assert refusal(tmp_path, f"--config={mine}") == (
        2,
        [
            f"regatta: can't read the configuration file {mine}: No such file or directory",
            "Name one that can be read with --config.",
        ],
    )
    assert refusal(tmp_path, "--config=") == (
        2,
        [
            "regatta: --config must not be empty",
            "Name a file, or leave it out to have one searched for.",
        ],
    )
