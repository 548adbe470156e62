"""The development certificate is made when it may be, works, and is never written over."""

import logging
import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from regatta import certificate
from regatta.config import ApiSettings
from regatta.config import load
from regatta.errors import StartError
from regatta.net import tls_context

LOG = logging.getLogger("regatta.test")


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ApiSettings:
    """The default settings, in a working directory of the test's own."""
    monkeypatch.chdir(tmp_path)
    return load({}).api


def greet(context: ssl.SSLContext, cert_filename: Path, name: str) -> str:
    """Shake hands as a client that trusts only *cert_filename*; return what the server says."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with context.wrap_socket(theirs, server_side=True) as server:
            server.sendall(b"hello")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        client = ssl.create_default_context(cafile=str(cert_filename))
        with client.wrap_socket(ours, server_hostname=name) as connection:
            return connection.recv(5).decode()
    finally:
        ours.close()
        thread.join(5)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "0.0.0.0"])
def test_a_client_that_trusts_the_made_certificate_can_connect(api: ApiSettings, name: str) -> None:
    certificate.prepare(api, LOG, dev_mode=True)
    context = tls_context(api.cert_filename, api.key_filename)
    assert greet(context, api.cert_filename, name) == "hello"


def test_making_is_announced_and_happens_once(
    api: ApiSettings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    certificate.prepare(api, LOG, dev_mode=True)
    first = api.cert_filename.read_bytes(), api.key_filename.read_bytes()
    certificate.prepare(api, LOG, dev_mode=True)
    certificate.prepare(api, LOG, dev_mode=False)
    assert (api.cert_filename.read_bytes(), api.key_filename.read_bytes()) == first
    assert [record.getMessage() for record in caplog.records] == [
        "made a self-signed development certificate: hack/server.crt"
    ]


def test_only_the_owner_may_read_the_key(api: ApiSettings) -> None:
    certificate.prepare(api, LOG, dev_mode=True)
    assert api.key_filename.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in Path("hack").iterdir()) == ["server.crt", "server.key"]


def test_nodes_that_start_together_share_one_pair(api: ApiSettings) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for path in (api.cert_filename, api.key_filename):
                path.unlink(missing_ok=True)
            list(pool.map(lambda _: certificate.prepare(api, LOG, dev_mode=True), range(8)))
            tls_context(api.cert_filename, api.key_filename)


@pytest.mark.parametrize(("gone", "left"), [("crt", "key"), ("key", "crt")])
def test_half_a_pair_is_left_alone(api: ApiSettings, gone: str, left: str) -> None:
    certificate.prepare(api, LOG, dev_mode=True)
    Path(f"hack/server.{gone}").unlink()
    with pytest.raises(StartError, match=f"there is no file hack/server.{gone}") as caught:
        certificate.prepare(api, LOG, dev_mode=True)
    assert f"Delete hack/server.{left} too" in caught.value.remedy
    assert not Path(f"hack/server.{gone}").exists()


def test_none_is_made_outside_dev_mode(api: ApiSettings) -> None:
    with pytest.raises(StartError, match=r"there is no file hack/server\.crt") as caught:
        certificate.prepare(api, LOG, dev_mode=False)
    assert "--dev-mode" in caught.value.remedy
    assert not Path("hack").exists()


def test_none_is_made_at_a_path_of_the_users(api: ApiSettings) -> None:
    elsewhere = replace(api, cert_filename=Path("mine/server.crt"))
    with pytest.raises(StartError, match=r"there is no file mine/server\.crt"):
        certificate.prepare(elsewhere, LOG, dev_mode=True)
    assert not Path("mine").exists()


def test_a_directory_that_can_not_be_made_is_a_start_error(api: ApiSettings) -> None:
    Path("hack").write_text("in the way")
    with pytest.raises(StartError, match="can't make a development certificate") as caught:
        certificate.prepare(api, LOG, dev_mode=True)
    assert "Start in a directory that can be written" in caught.value.remedy
