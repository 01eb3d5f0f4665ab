"""Who we are to a peer: TLS contexts from PEM files, mutual by default, and what a certificate says.

Private keys stay in their files: OpenSSL reads them, this module never does. Which authority to trust is
always named; the machine's own list of public authorities is never consulted.
"""

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from protocols.errors import InvalidInputError

CERTIFICATE_BYTES_MAX: Final = 256 * 1024


def tls_client_context(ca: Path, cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """Return a context for connecting: TLS 1.3, the peer verified against `ca` and by host name.

    Args:
        ca: PEM file with the authorities to trust, and no others.
        cert: PEM file with our certificate and its chain; with `key`, for mutual TLS.
        key: PEM file with our private key.

    Raises:
        InvalidInputError: a file is missing, is not PEM, or the key is not the certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _trust(context, ca)
    if cert is not None and key is not None:
        _identify(context, cert, key)
    elif cert is not None or key is not None:
        raise InvalidInputError(str(cert or key), "a certificate and its key come together")
    return context


def tls_server_context(cert: Path, key: Path, client_ca: Path | None = None) -> ssl.SSLContext:
    """Return a context for serving: TLS 1.3; with `client_ca`, whoever has no certificate from it is refused.

    Raises:
        InvalidInputError: as for `tls_client_context`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _identify(context, cert, key)
    if client_ca is not None:
        _trust(context, client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What operation asks of a certificate."""

    common_name: str
    serial: int
    not_before: datetime
    not_after: datetime


def read_certificate(path: Path) -> CertificateFacts:
    """Return the facts of the first certificate in a PEM file.

    Raises:
        InvalidInputError: missing, not PEM, or without exactly one common name.
    """
    try:
        with path.open("rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read(CERTIFICATE_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise InvalidInputError(str(path), f"no certificate: {error}") from error
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise InvalidInputError(str(path), f"must have exactly one common name, has {len(names)}")
    return CertificateFacts(
        common_name=str(names[0].value),
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(str(ca), f"no authority to trust: {error}") from error


def _identify(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    def no_passphrase() -> str:
        raise InvalidInputError(str(key), "is sealed by a passphrase; a daemon cannot be asked for one")

    try:
        context.load_cert_chain(cert, key, password=no_passphrase)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(f"{cert}, {key}", f"no certificate with its key: {error}") from error
