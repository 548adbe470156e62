"""A certificate authority, and the certificates of a broker and of a client."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

DAY = datetime.timedelta(days=1)
BROKER_NAME = "broker.test"  # nobody reaches the broker under that name


@dataclass(frozen=True)
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key as PEM, in the form that a broker reads."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @classmethod
    def make(cls, common_name: str, issuer: Self | None = None) -> Self:
        """Issue a certificate for two days; one without an *issuer* may issue others."""
        key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(
                issuer.certificate.subject if issuer else name,
                name,
                key.public_key(),
                x509.random_serial_number(),
            )
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
            .add_extension(x509.BasicConstraints(issuer is None, None), critical=True)
            .sign((issuer.key if issuer else key), hashes.SHA256())
        )
        return cls(certificate, key)


@dataclass(frozen=True)
class BrokerCertificates:
    """PEM files of a broker that asks its clients for certificates."""

    authority_path: Path
    broker_path: Path  # the certificate and its key in one file
    client_path: Path
    client_key_path: Path
    stranger_authority_path: Path  # has issued none of them

    @classmethod
    def make(cls, directory: Path) -> Self:
        """Write all of them into *directory*."""
        authority = Issued.make("authority")
        broker = Issued.make(BROKER_NAME, authority)
        client = Issued.make("client", authority)
        made = cls(
            directory / "authority.pem",
            directory / "broker.pem",
            directory / "client.pem",
            directory / "client-key.pem",
            directory / "stranger.pem",
        )
        made.authority_path.write_bytes(authority.certificate_pem)
        made.broker_path.write_bytes(broker.key_pem + broker.certificate_pem)
        made.client_path.write_bytes(client.certificate_pem)
        made.client_key_path.write_bytes(client.key_pem)
        made.stranger_authority_path.write_bytes(Issued.make("stranger").certificate_pem)
        return made
