"""The server's TLS settings, from a certificate's two files."""

import ssl
from pathlib import Path

from regatta.errors import StartError


def tls_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Return a server's context: TLS 1.2 or newer, ALPN for h2 and http/1.1.

    Raises StartError, naming the file, when one is missing, unreadable or no PEM file, or when
    the key does not belong to the certificate.
    """
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
