"""What --api.address takes: host:port and URLs."""

from pathlib import Path

import pytest

from regatta.endpoint import parse_endpoint
from regatta.flags import Address


@pytest.mark.parametrize(
    ("text", "where", "url"),
    [
        ("localhost:8443", Address("localhost", 8443), "https://localhost:8443"),
        (":8443", Address("", 8443), "https://:8443"),
        ("unix:8443", Address("unix", 8443), "https://unix:8443"),
        ("https://localhost:8443", Address("localhost", 8443), "https://localhost:8443"),
        ("HTTPS://localhost:8443/", Address("localhost", 8443), "https://localhost:8443"),
        ("http://[::1]:80", Address("::1", 80), "http://[::1]:80"),
        ("http://0.0.0.0:0", Address("0.0.0.0", 0), "http://0.0.0.0:0"),
        ("unix:///run/a.sock", Path("/run/a.sock"), "unix:///run/a.sock"),
        ("unix:/run/a.sock", Path("/run/a.sock"), "unix:///run/a.sock"),
        ("unixs:///run/a.sock", Path("/run/a.sock"), "unixs:///run/a.sock"),
        ("unixs:/run/a b", Path("/run/a b"), "unixs:///run/a b"),
    ],
)
def test_an_endpoint_is_read_and_written(text: str, where: Address | Path, url: str) -> None:
    endpoint = parse_endpoint(text)
    assert endpoint.where == where
    assert str(endpoint) == url
    assert parse_endpoint(url) == endpoint
    assert endpoint.encrypted is endpoint.scheme.endswith("s")


@pytest.mark.parametrize(
    "text",
    [
        "localhost",
        "https://localhost",
        "http:/localhost:80",
        "http:///a:80",
        "https://a:1/path",
        "https://user@a:1",
        "https://a:1?b",
        "ftp://a:1",
        "unix:",
        "unix:/",
        "unix:///",
        "unix://run/a.sock",
        "unix:a.sock",
        "unix:///run/",
        "unix:///run/a\0b",
        "unix:///run/\ud800",
        "://a:1",
        "",
    ],
)
def test_what_names_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_endpoint(text)
