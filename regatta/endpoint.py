"""Where a port is: host and port or the path of a Unix socket, and whether TLS is spoken there."""

import re
from dataclasses import dataclass
from pathlib import Path

from regatta.flags import Address
from regatta.flags import Kind
from regatta.flags import parse_address
from regatta.flags import parse_path

URL = re.compile(r"(?P<scheme>https?|unixs?):(?P<rest>/.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place to listen on or to connect to; str() is its URL."""

    where: Address | Path
    encrypted: bool

    @property
    def scheme(self) -> str:
        """Return http, https, unix or unixs."""
        name = "unix" if isinstance(self.where, Path) else "http"
        return name + ("s" if self.encrypted else "")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.where}"


def parse_endpoint(text: str) -> Endpoint:
    """Return the endpoint that a URL names, or that host:port does, which stands for https.

    Raises ValueError for other schemes, without a port, and for a path where there can be none.
    """
    url = URL.fullmatch(text)
    if url is None:
        return Endpoint(parse_address(text), encrypted=True)
    scheme, rest = url["scheme"].lower(), url["rest"]
    if scheme.startswith("unix"):
        return Endpoint(parse_socket_path(rest), encrypted=scheme == "unixs")
    if not rest.startswith("//"):
        raise ValueError(text)
    return Endpoint(parse_address(rest[2:].removesuffix("/")), encrypted=scheme == "https")


def parse_socket_path(text: str) -> Path:
    """Return the path after "unix:"; the URL's empty host, as in unix:///run, is dropped."""
    if text.startswith("//"):
        text = text[2:]
    path = Path(parse_path(text))
    # A host, as in unix://run/regatta.sock, is most likely a slash too few.
    if not path.is_absolute() or not path.name or text.endswith("/"):
        raise ValueError(text)
    return path


ENDPOINT = Kind(
    "address",
    "host:port or a URL with http, https, unix or unixs",
    parse_endpoint,
    "localhost:8443, http://localhost:8443 or unix:///run/regatta.sock",
    has_empty=True,
    empty=None,
)
