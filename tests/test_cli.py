"""The command `regatta`, run as a user runs it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from regatta import __version__
from regatta.banner import banner
from regatta.config import FLAGS
from regatta.config import load
from regatta.endpoint import parse_endpoint
from regatta.flags import Given

ROOT = Path(__file__).parents[1]


def regatta(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "regatta", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("argument", ["help", "--help", "-h"])
def test_help_names_every_flag_within_100_columns(argument: str) -> None:
    done = regatta(argument)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    for name in FLAGS.by_name:
        assert any(line.split()[:1] == [f"--{name}"] for line in lines)


def test_version_names_the_release_and_the_python_below_it() -> None:
    done = regatta("version")
    assert (done.returncode, done.stderr) == (0, "")
    first, empty, *rest = done.stdout.splitlines()
    assert first.startswith("Copyright")
    assert empty == ""
    assert rest[:2] == ["Regatta", f"Version: {__version__}"]
    assert rest[2].startswith(f"Python: {platform.python_version()} (")


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--api.adress=a:1"], ["unknown flag: --api.adress", "Did you mean --api.address?"]),
        (["--raft.node-id=0"], ["--raft.node-id must not be 0", "Number the nodes from 1."]),
        (
            ["--dev-mode", "false"],
            [
                'unexpected argument: "false"',
                "A bool flag takes its value with an equals sign: --flag=false.",
            ],
        ),
        (
            ["leader"],
            ['unexpected argument: "leader"', "Flags begin with --; see `regatta --help`."],
        ),
        (
            ["--kafka.topics=^orders-.*"],
            [
                '--kafka.topics: "^orders-.*" is not a topic, and regular expressions are not '
                "supported",
                "A topic has 1 to 249 letters, digits, dots, underscores and hyphens.",
            ],
        ),
        (
            ["--kafka.property=group.id=x"],
            ['--kafka.property: "group.id" can\'t be given', "Use --kafka.group-id."],
        ),
        (
            ["--kafka.property", "client.id=a", "sasl.password=hunter2"],
            [
                'unexpected argument: "sasl.password"',
                "Flags begin with --; see `regatta --help`.",
            ],
        ),
    ],
)
def test_a_mistake_is_told_in_two_lines(arguments: list[str], lines: list[str]) -> None:
    done = regatta(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [f"regatta: {lines[0]}", lines[1]]


def test_a_node_without_a_certificate_tells_how_to_get_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "regatta"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "regatta: there is no file hack/server.crt",
        "Name both files with --api.cert-filename and --api.key-filename, "
        "or pass --dev-mode to have a self-signed pair made.",
    ]


@pytest.mark.parametrize(
    ("listening", "curl", "grpcurl"),
    [
        ("127.0.0.1:9000", "-k https://127.0.0.1:9000", "-insecure 127.0.0.1:9000"),
        (":9000", "-k https://localhost:9000", "-insecure localhost:9000"),
        ("0.0.0.0:9000", "-k https://localhost:9000", "-insecure localhost:9000"),
        ("[::1]:9000", "-k https://[::1]:9000", "-insecure [::1]:9000"),
        ("http://[::]:9000", "http://localhost:9000", "-plaintext localhost:9000"),
        ("unix:/a b", "--unix-socket '/a b' http://localhost", "-plaintext -unix '/a b'"),
        ("unixs:///a", "-k --unix-socket /a https://localhost", "-insecure -unix /a"),
    ],
)
def test_the_banner_shows_commands_that_reach_the_node(
    listening: str, curl: str, grpcurl: str
) -> None:
    reflection = {"api.reflection-api": Given(["true"], "here")}
    endpoint = parse_endpoint(listening)
    lines = banner(load(reflection), endpoint).splitlines()
    assert any(line.strip().startswith(f"curl {curl}/v1/kv/put -d ") for line in lines)
    assert f"    grpcurl {grpcurl} list" in lines
    assert any("certificate" in line for line in lines) is endpoint.encrypted
    assert "grpcurl" not in banner(load(), endpoint)


@pytest.mark.parametrize(
    ("data", "log", "warned"),
    [("/tmp/a", "/b", True), ("/a", "/tmp/b", True), ("/a", "/tmpfiles", False)],
)
def test_the_banner_warns_of_data_under_tmp(data: str, log: str, warned: bool) -> None:
    texts = {
        "raft.state-machine-dir": Given([data], "here"),
        "raft.node-host-dir": Given([log], "here"),
    }
    lines = banner(load(texts), parse_endpoint("localhost:8443"))
    assert ("may not survive a reboot" in lines) is warned


def test_a_reader_that_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.run(
        [sys.executable, "-m", "regatta", "--help"],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=20,
        check=False,
    )
    os.close(writing)
    assert (process.returncode, process.stderr) == (0, b"")


def test_closed_standard_streams_are_replaced_before_a_file_takes_their_number() -> None:
    script = (
        "import os; os.close(2); os.close(1)\n"
        "from regatta.cli import open_standard_streams\n"
        "open_standard_streams()\n"
        "os._exit(0 if os.open('/dev/zero', os.O_RDONLY) > 2 else 1)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=20, check=False).returncode == 0
