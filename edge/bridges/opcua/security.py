"""How one OPC UA server is spoken to: policy, mode, our certificate, the server's pinned one, and the user.

Source of truth: protocols/opcua/SPEC.md, "Security". asyncua does the cryptography; what is trusted is decided here.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from edge.bridges.certificate_life import life_warning
from edge.bridges.settings import OpcUaSettings
from protocols.errors import InvalidInputError, PeerProtocolError

FILE_BYTES_MAX: Final = 256 * 1024
PASSWORD_BYTES_MAX: Final = 4 * 1024
KEY_BITS: Final = (2_048, 4_096)
POLICIES: Final[dict[str, type[security_policies.SecurityPolicy]]] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
}
MODES: Final = {
    "sign": ua.MessageSecurityMode.Sign,
    "sign_and_encrypt": ua.MessageSecurityMode.SignAndEncrypt,
}


class ServerNotTrustedError(PeerProtocolError):
    """The server is not spoken to; `word` is the name of why."""

    def __init__(self, word: str, problem: str) -> None:
        super().__init__(f"{word}: {problem}")
        self.word = word


@dataclass(frozen=True, slots=True)
class _Files:
    certificate: x509.Certificate
    server: x509.Certificate
    application_uri: str


class OpcUaSecurity:
    """The security of one server.

    Raises:
        InvalidInputError: a file cannot be used; names it and why.
    """

    def __init__(self, settings: OpcUaSettings) -> None:
        self._settings = settings
        if settings.policy != "none":
            self._read()  # wrong files are told at the start

    def warnings(self, now: datetime) -> list[str]:
        """Return what a person should know of the certificates, each with its file. Raises InvalidInputError."""
        if self._settings.policy == "none":
            return []
        files = self._read()
        found = []
        for path, each in (
            (self._settings.cert_path, files.certificate),
            (self._settings.server_certificate_path, files.server),
        ):
            warning = life_warning(each.not_valid_before_utc, each.not_valid_after_utc, now)
            if warning is not None:
                found.append(f"{path}: {warning}")
        return found

    async def secure(self, client: Client, url: str, *, wait_s: float, bounded: Callable[[Client], None]) -> None:
        """Make `client` speak as it must; it has not connected yet. Files are read anew: renewed ones count.

        The server is asked first what it offers, by a client of its own; `bounded` holds that to its bounds too.

        Raises:
            ServerNotTrustedError: the server shows another certificate, or offers no such security.
            InvalidInputError: a file cannot be used.
        """
        wanted = self._settings
        if wanted.policy == "none":
            return
        files = self._read()
        asking = Client(url, timeout=wait_s)
        bounded(asking)
        endpoints = await asking.connect_and_get_server_endpoints()
        self._judge(endpoints, files.server)
        client.application_uri = files.application_uri
        await client.set_security(
            POLICIES[wanted.policy],
            CertProperties(files.certificate.public_bytes(Encoding.DER), "der"),
            CertProperties(str(wanted.key_path), "pem"),
            server_certificate=CertProperties(files.server.public_bytes(Encoding.DER), "der"),
            mode=MODES[wanted.mode],
        )
        if wanted.username is not None:
            client.set_user(wanted.username)
            client.set_password(_password(wanted.password_path))

    def _judge(self, endpoints: Sequence[ua.EndpointDescription], pinned: x509.Certificate) -> None:
        """See that the server offers what we want, with the certificate that we pinned.

        Who lies here is found out at the handshake, which is made for the pinned key: this gives it a name.
        """
        policy, mode = POLICIES[self._settings.policy], MODES[self._settings.mode]
        fitting = [each for each in endpoints if each.SecurityPolicyUri == policy.URI and each.SecurityMode == mode]
        if not fitting:
            offered = ", ".join(
                dict.fromkeys(f"{_tail(each.SecurityPolicyUri)} {each.SecurityMode.name}" for each in endpoints)
            )
            wanted = f"{self._settings.policy} {mode.name}"
            raise ServerNotTrustedError("security_not_offered", f"{wanted} is wanted; offered: {offered[:200]}")
        ours = pinned.public_bytes(Encoding.DER)
        # A server may send its chain behind its own certificate.
        if not any((each.ServerCertificate or b"").startswith(ours) for each in fitting):
            shown = hashlib.sha256(fitting[0].ServerCertificate or b"").hexdigest()
            raise ServerNotTrustedError(
                "server_certificate_changed",
                f"pinned is sha256 {hashlib.sha256(ours).hexdigest()}, the server shows {shown}",
            )

    def _read(self) -> _Files:
        wanted = self._settings
        certificate = _certificate(wanted.cert_path, "cert_path")
        server = _certificate(wanted.server_certificate_path, "server_certificate_path")
        try:
            key = load_pem_private_key(_bytes(wanted.key_path, "key_path"), None)
        except (ValueError, TypeError) as error:
            raise InvalidInputError(str(wanted.key_path), f"no PEM private key without passphrase: {error}") from error
        plain = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if key.public_key().public_bytes(*plain) != certificate.public_key().public_bytes(*plain):
            raise InvalidInputError(f"{wanted.cert_path}, {wanted.key_path}", "the key is not the certificate's")
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        except x509.ExtensionNotFound:
            uris = []
        if len(uris) != 1:
            raise InvalidInputError(
                str(wanted.cert_path), f"needs exactly one URI as subject alternative name, has {len(uris)}"
            )
        return _Files(certificate, server, str(uris[0]))


def fingerprint(certificate: bytes) -> str:
    """Return what a certificate (DER) is called by people: SHA-256 in hexadecimal."""
    return hashlib.sha256(certificate).hexdigest() if certificate else ""


def now_of(wall_ms: int) -> datetime:
    """Return a wall clock's milliseconds as an aware time."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC)


def _certificate(path: Path | None, key: str) -> x509.Certificate:
    data = _bytes(path, key)
    try:
        pem = data.lstrip().startswith(b"-----")
        certificate = x509.load_pem_x509_certificate(data) if pem else x509.load_der_x509_certificate(data)
    except ValueError as error:
        raise InvalidInputError(str(path), f"no certificate in PEM or DER: {error}") from error
    public = certificate.public_key()
    if not isinstance(public, rsa.RSAPublicKey) or not KEY_BITS[0] <= public.key_size <= KEY_BITS[1]:
        raise InvalidInputError(str(path), f"must hold an RSA key of {KEY_BITS[0]} to {KEY_BITS[1]} bits")
    return certificate


def _bytes(path: Path | None, key: str) -> bytes:
    if path is None:
        raise InvalidInputError(f"bridges.opcua: {key}", "is missing")
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error


def _password(path: Path | None) -> str:
    try:
        return _bytes(path, "password_path")[:PASSWORD_BYTES_MAX].decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise InvalidInputError(str(path), "is no UTF-8") from error


def _tail(uri: str | None) -> str:
    return (uri or "").rpartition("#")[2][:40]
