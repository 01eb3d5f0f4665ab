"""A certificate authority for one machine: makes mutual TLS real in rehearsals and tests.

Answers for link identities only (brokers, edge, cloud, field devices). It is made at set-up, lives in the state
folder of a rehearsal and is good for nothing else; real enrolment replaces it and keeps the profile below.
Profile (guarantees.md 5.2): P-256, subject CN in the grammar `[a-z0-9-]{3,40}` (the broker's access lists are made
from it, so wildcards and slashes must be impossible), clientAuth or serverAuth alone, short life.
"""

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from protocols.errors import InvalidInputError

COMMON_NAME = re.compile(r"[a-z0-9][a-z0-9-]{2,39}")
AUTHORITY_LIFE = timedelta(days=30)
IDENTITY_LIFE = timedelta(days=30)
BACKDATED = timedelta(minutes=5)  # a fresh certificate must not be "not yet valid" on a slightly slow clock


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """Where one identity lives: PEM files, the private key readable by its owner alone."""

    common_name: str
    certificate: Path
    private_key: Path
    authority: Path


class DevelopmentAuthority:
    """Issues link identities into one folder. Make one per rehearsal."""

    def __init__(self, folder: Path, *, name: str, now: datetime) -> None:
        """Create the authority's key and self-signed certificate in `folder` (created, mode 0700).

        Args:
            folder: Where all PEM files go.
            name: Common name of the authority, for people who look at a certificate.
            now: Aware time; certificates are valid from five minutes before it.
        """
        self._folder, self._now = folder, now.astimezone(UTC)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = (
            self._builder(subject, AUTHORITY_LIFE)
            .issuer_name(subject)
            .public_key(self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=False,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=True,
                    crl_sign=True,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate_path = folder / "authority.pem"
        self.certificate_path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, common_name: str) -> IdentityFiles:
        """Issue a server identity good for the loopback names."""
        names = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
        return self._issue(common_name, ExtendedKeyUsageOID.SERVER_AUTH, names)

    def client(self, common_name: str) -> IdentityFiles:
        """Issue a client identity; the DNS name repeats the common name, which is what brokers map to a user."""
        return self._issue(common_name, ExtendedKeyUsageOID.CLIENT_AUTH, [x509.DNSName(common_name)])

    def _issue(self, common_name: str, usage: x509.ObjectIdentifier, names: list[x509.GeneralName]) -> IdentityFiles:
        if COMMON_NAME.fullmatch(common_name) is None:
            raise InvalidInputError(
                "certificate common name", f"{common_name!r} does not match [a-z0-9][a-z0-9-]{{2,39}}"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = (
            self._builder(subject, IDENTITY_LIFE)
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        files = IdentityFiles(
            common_name,
            self._folder / f"{common_name}.pem",
            self._folder / f"{common_name}.key.pem",
            self.certificate_path,
        )
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        write_private(
            files.private_key,
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )
        return files

    def _builder(self, subject: x509.Name, life: timedelta) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - BACKDATED)
            .not_valid_after(self._now + life)
        )


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read; never widens an existing file's mode."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(data)
