"""The server's TLS settings, from a certificate's two files, which may be replaced at any time."""

import logging
import os
import ssl
import time
from pathlib import Path

from regatta.errors import StartError

check_interval_s = 1.0  # between looks at the files; only while clients connect

# What tells one state of a file from another: device, inode, size, times of change in ns.
Stamp = tuple[int, int, int, int, int]

logger = logging.getLogger("regatta.cert")


def tls_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return a server's context: TLS 1.2 or newer, ALPN for h2 and http/1.1.

    When the files change, handshakes from then on show the new certificate. Two files that don't
    fit together are left until they do. Raises StartError, naming the file, when one is missing,
    unreadable or no PEM file, or when the key does not belong to the certificate.
    """
    return Pair(cert_file, key_file).context


class Pair:
    """A certificate's and its key's file, and the context made of what they hold now.

    The first context stays the listener's, and hands each handshake on to the newest one. Loading
    a new certificate into it instead would not do: one with another kind of key, RSA after EC,
    would only be added to the old one, and a pair that does not fit would damage it.
    """

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        """Read both files. Raises StartError as tls_context() does."""
        self._cert_file, self._key_file = cert_file, key_file
        self._stamps = self._look()
        self._newest = self.context = load(cert_file, key_file)
        self._complaint: str | None = None  # what was last logged about files that don't fit
        self._looked_s = time.monotonic()
        # Called whether or not the client names a server.
        self.context.sni_callback = self._on_hello

    def _on_hello(
        self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext
    ) -> None:
        """Give one handshake the newest certificate."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= check_interval_s:
            self._looked_s = now_s
            self._refresh()
        if self._newest is not self.context:
            connection.context = self._newest

    def _refresh(self) -> None:
        """Read the files again if they have changed, or were no good the last time."""
        # Before they are read: a change while we read makes the next look differ.
        stamps = self._look()
        if stamps == self._stamps and self._complaint is None:
            return
        try:
            self._newest = load(self._cert_file, self._key_file)
        except StartError as error:
            self._complain(str(error))
            return
        except Exception as error:
            # Whatever it is: a certificate that works must not be given up for it.
            self._complain(f"{self._cert_file}, {self._key_file}: {error}")
            return
        self._stamps, self._complaint = stamps, None
        logger.info("the certificate was replaced: %s", self._cert_file)

    def _complain(self, reason: str) -> None:
        if reason != self._complaint:
            logger.warning("the old certificate stays in use: %s", reason)
        self._complaint = reason

    def _look(self) -> tuple[Stamp | None, Stamp | None]:
        return stamp(self._cert_file), stamp(self._key_file)


def stamp(path: Path) -> Stamp | None:
    """Return the state of the file at *path*, links followed; None if it can't be seen."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def load(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return a new context with what the two files hold. Raises StartError."""
    for path in (cert_file, key_file):
        try:
            path.read_bytes()
        except OSError as error:
            raise StartError(f"can't read {path}: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(cert_file, key_file, password=refuse_password)
    except ssl.SSLError as error:
        raise StartError(describe(error, cert_file, key_file)) from None
    except EncryptedKeyError:
        raise StartError(
            f"{key_file} is encrypted", "Give a private key without a passphrase."
        ) from None
    return context


class EncryptedKeyError(Exception):
    """The private key asks for a passphrase, and nobody is there to type it."""


def refuse_password() -> str:
    """Stand in for OpenSSL's question on the terminal."""
    raise EncryptedKeyError


def describe(error: ssl.SSLError, cert_file: Path, key_file: Path) -> str:
    """Say which of the two files is at fault; OpenSSL does not."""
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the key {key_file} does not belong to the certificate {cert_file}"
    if "-----BEGIN CERTIFICATE-----" not in cert_file.read_text(errors="replace"):
        return f"{cert_file} is not a PEM certificate"
    if "PRIVATE KEY-----" not in key_file.read_text(errors="replace"):
        return f"{key_file} is not a PEM private key"
    return f"{cert_file} with {key_file}: {error.reason or error}"
