"""Reads P-256 keys from PEM files that the settings name, and says what is wrong with one that is not."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from protocols.errors import InvalidInputError


def read_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Return the P-256 public key in a PEM file. Raises InvalidInputError naming the file."""
    try:
        key = load_pem_public_key(_bytes(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidInputError(str(path), "is not a PEM public key") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInputError(str(path), "is not a P-256 public key")
    return key


def read_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the P-256 private key in an unencrypted PEM file. Raises InvalidInputError naming the file."""
    try:
        key = load_pem_private_key(_bytes(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidInputError(str(path), "is not an unencrypted PEM private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInputError(str(path), "is not a P-256 private key")
    return key


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
