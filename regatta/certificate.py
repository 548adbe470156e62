"""The server's certificate: made for development where there is none."""

import fcntl
import logging
import os
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from regatta.config import ApiSettings
from regatta.config import default_cert_filename
from regatta.config import default_key_filename
from regatta.errors import StartError

# Whom a development certificate is for; 0.0.0.0 because people type it after seeing it in a log.
names = ("localhost",)
addresses = ("127.0.0.1", "::1", "0.0.0.0")
validity_days = 825  # the longest that macOS accepts of a certificate


def prepare(settings: ApiSettings, log: logging.Logger, *, dev_mode: bool) -> None:
    """See to it that the certificate and its key are there.

    With both at their default paths, neither there and dev mode on, a self-signed pair is made and
    *log* told; in all other cases StartError tells what is missing and what to do.
    """
    certificate, key = settings.cert_filename, settings.key_filename
    defaults = Path(default_cert_filename), Path(default_key_filename)
    if dev_mode and (certificate, key) == defaults:
        make_if_absent(certificate, key, log)
    for missing, other in ((certificate, key), (key, certificate)):
        if not os.path.exists(missing):
            what_to_do = remedy(other, dev_mode=dev_mode)
            raise StartError(f"there is no file {missing}", what_to_do)


def remedy(other: Path, *, dev_mode: bool) -> str:
    """Return what to do about one missing file of the pair, *other* being the other one."""
    name_them = "ame both files with --api.cert-filename and --api.key-filename"
    if dev_mode and os.path.exists(other):
        return f"Delete {other} too to have a new pair made, or n{name_them}."
    if dev_mode:
        return f"N{name_them}, or leave out both flags to have a pair made."
    return f"N{name_them}, or pass --dev-mode to have a self-signed pair made."


def make_if_absent(certificate: Path, key: Path, log: logging.Logger) -> None:
    """Make the pair if neither file is there; nodes that start together make one pair, not two."""
    try:
        certificate.parent.mkdir(parents=True, exist_ok=True)
        directory = os.open(certificate.parent, os.O_RDONLY)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            if not certificate.exists() and not key.exists():
                certificate_pem, key_pem = self_signed_pair()
                write_whole(key, key_pem, mode=0o600)
                write_whole(certificate, certificate_pem, mode=0o644)
                log.info("made a self-signed development certificate: %s", certificate)
        finally:
            os.close(directory)
    except OSError as error:
        raise StartError(
            f"can't make a development certificate at {certificate}: {error.strerror}",
            "Start in a directory that can be written, or name existing files with "
            "--api.cert-filename and --api.key-filename.",
        ) from None


def write_whole(path: Path, data: bytes, *, mode: int) -> None:
    """Write a file that is either not there or complete; OSError if that fails."""
    unfinished = path.with_name(path.name + ".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    unfinished.rename(path)


def self_signed_pair() -> tuple[bytes, bytes]:
    """Return a fresh certificate for this machine and its key, both PEM."""
    # Imported here: a node with a certificate of its own never needs it.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Regatta development")])
    now = datetime.now(UTC)
    alternatives = [
        *(x509.DNSName(name) for name in names),
        *(x509.IPAddress(ip_address(address)) for address in addresses),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # for clients whose clock is behind
        .not_valid_after(now + timedelta(days=validity_days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate_pem, key_pem
