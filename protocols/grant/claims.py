"""CWT claims as Innkeeper uses them: seconds, and one private map whose every field is critical.

Source of truth: SPEC.md section 3; RFC 8392. A field that this version does not know is a restriction it would
ignore, so it is refused by name rather than skipped.
"""

from collections.abc import Mapping
from typing import Final

from protocols import cbor
from protocols.cbor import Value
from protocols.errors import CredentialRefusedError, PeerProtocolError, RefusalReason

EXP: Final = 4
NBF: Final = 5
IAT: Final = 6
CTI: Final = 7
PRIVATE: Final = -65_537
"""The first key that RFC 8392 leaves to private use."""
VERSION_FIELD: Final = 0
VERSION: Final = 1
SECONDS_MOST: Final = 2**32 - 1
SIGNED_BYTES_MOST: Final = 896
"""No certificate, grant or signed object is longer: two of them would not fit a door message."""


def claims(payload: bytes, *, known: frozenset[int], fields: frozenset[int]) -> dict[int, Value]:
    """Return the claims of `payload`, the private map laid flat as negative keys -1 - field.

    Args:
        payload: CBOR map of CWT claims, signature already verified.
        known: Claim keys that must be there, no other may, besides the private map.
        fields: Fields that the private map may hold, besides the version.

    Raises:
        CredentialRefusedError: UNSUPPORTED_VERSION (another version, an unknown field) or MALFORMED.
    """
    try:
        decoded = cbor.decode(payload, SIGNED_BYTES_MOST)
    except PeerProtocolError as error:
        raise CredentialRefusedError(RefusalReason.MALFORMED) from error
    if not isinstance(decoded, dict) or not isinstance(private := decoded.get(PRIVATE), dict):
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    version = private.get(VERSION_FIELD)
    if type(version) is not int or version != VERSION or not set(private) <= fields | {VERSION_FIELD}:
        raise CredentialRefusedError(RefusalReason.UNSUPPORTED_VERSION)
    if set(decoded) != known | {PRIVATE}:
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    flat: dict[int, Value] = {key: decoded[key] for key in known}
    flat.update((-1 - int(field), value) for field, value in private.items())
    return flat


def whole(found: Mapping[int, Value], key: int, most: int, *, least: int = 0, default: int | None = None) -> int:
    """Return the integer claim `key` within its bounds; `default` where it is absent.

    Raises:
        CredentialRefusedError: MALFORMED.
    """
    value = found.get(key, default)
    if type(value) is not int or not least <= value <= most:
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    return value


def octets(found: Mapping[int, Value], key: int, size: int) -> bytes:
    """Return the byte string claim `key` of exactly `size` bytes.

    Raises:
        CredentialRefusedError: MALFORMED.
    """
    value = found.get(key)
    if not isinstance(value, bytes) or len(value) != size:
        raise CredentialRefusedError(RefusalReason.MALFORMED)
    return value


def field(number: int) -> int:
    """Return the flat key of the private map's field `number`."""
    return -1 - number
