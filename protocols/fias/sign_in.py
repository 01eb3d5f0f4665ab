"""The cryptogram by which an interface with a key knows us. SPEC.md 13. Pure: the IV is handed in."""

from base64 import b64encode
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from protocols.errors import InvalidInputError

KEY_BYTES: Final = 16
IV_BYTES: Final = 16


def cryptogram(key: bytes, stamp: str, *, iv: bytes, header: str = "") -> str:
    """Return CG for the date and time of the last LS, as YYMMDDHHMMSS.

    Raises:
        InvalidInputError: key or IV have another length than 16 bytes.
    """
    if len(key) != KEY_BYTES or len(iv) != IV_BYTES:
        raise InvalidInputError("fias: key", f"has {len(key)} bytes, the IV {len(iv)}; each has {KEY_BYTES}")
    padder = PKCS7(128).padder()
    padded = padder.update(stamp.encode("ascii")) + padder.finalize()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    sealed = encryptor.update(padded) + encryptor.finalize()
    return header + b64encode(iv).decode() + b64encode(sealed).decode()
