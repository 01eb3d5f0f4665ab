"""MODBUS/TCP Security: the TLS of one bus, what our certificate says of our role, and when it ends.

Source of truth: protocols/modbus/SPEC.md section 7. Apart from kit.identity because the field speaks TLS 1.2 still.
"""

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from edge.bridges.certificate_life import life_warning
from protocols.errors import InvalidInputError

ROLE_OID: Final = x509.ObjectIdentifier("1.3.6.1.4.1.50316.802.1")
CERTIFICATE_BYTES_MAX: Final = 256 * 1024
_UTF8_STRING: Final = 0x0C


@dataclass(frozen=True, slots=True)
class OurCertificate:
    """What a server will be shown. `role` None: the certificate names none."""

    role: str | None
    not_before: datetime
    not_after: datetime

    def warning(self, now: datetime) -> str | None:
        """Return what a person should know of its life; None while all is well."""
        return life_warning(self.not_before, self.not_after, now)


def tls_context(ca: Path, cert: Path, key: Path) -> ssl.SSLContext:
    """Return the context of a bus: TLS 1.2 or newer, both sides with certificates, the server's name verified.

    Raises:
        InvalidInputError: a file is missing, is not PEM, or the key is not the certificate's.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_verify_locations(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(str(ca), f"no authority to trust: {error}") from error

    def no_passphrase() -> str:
        raise InvalidInputError(str(key), "is sealed by a passphrase; a daemon cannot be asked for one")

    try:
        context.load_cert_chain(cert, key, password=no_passphrase)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError(f"{cert}, {key}", f"no certificate with its key: {error}") from error
    return context


def read_our_certificate(path: Path) -> OurCertificate:
    """Return what the first certificate of a PEM file says. Raises InvalidInputError."""
    try:
        with path.open("rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read(CERTIFICATE_BYTES_MAX))
        role = _role(certificate, path)
    except (OSError, ValueError) as error:
        raise InvalidInputError(str(path), f"no certificate: {error}") from error
    return OurCertificate(role, certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _role(certificate: x509.Certificate, path: Path) -> str | None:
    try:
        extension = certificate.extensions.get_extension_for_oid(ROLE_OID).value
    except x509.ExtensionNotFound:
        return None
    data = extension.value if isinstance(extension, x509.UnrecognizedExtension) else b""
    if len(data) < 2 or data[0] != _UTF8_STRING or data[1] != len(data) - 2 or data[1] > 127:
        raise InvalidInputError(str(path), f"the role extension {data.hex():.40} is no UTF8String of 1 to 127 bytes")
    try:
        return data[2:].decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(str(path), f"the role extension {data.hex():.40} is not UTF-8") from error
