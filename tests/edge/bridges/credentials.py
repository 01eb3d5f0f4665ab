"""Certificates for tests: made once a run, RSA because OPC UA wants it."""

from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC)


@cache
def key(name: str) -> rsa.RSAPrivateKey:
    del name  # one key a name
    return rsa.generate_private_key(65_537, 2_048)


def write(
    folder: Path,
    name: str,
    *,
    signer: str | None = None,
    uri: str | None = None,
    role: bytes | None = None,
    ends: timedelta = timedelta(days=300),
) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1, signed by `signer` or by itself; return its path and its key's."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, signer or name)])
    names: list[x509.GeneralName] = [x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost")]
    if uri is not None:
        names.insert(0, x509.UniformResourceIdentifier(uri))
    usage = x509.KeyUsage(True, True, True, True, False, signer is None, False, False, False)
    made = (
        x509.CertificateBuilder(issuer, subject, key(name).public_key(), x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=400))
        .not_valid_after(NOW + ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
    )
    if role is not None:
        oid = x509.ObjectIdentifier("1.3.6.1.4.1.50316.802.1")
        made = made.add_extension(x509.UnrecognizedExtension(oid, role), critical=False)
    certificate = made.sign(key(signer or name), SHA256())
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths
