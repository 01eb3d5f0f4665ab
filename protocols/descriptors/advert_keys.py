"""The keys of sensors that encrypt what they advertise, as a TOML file holds them: bytes in, keys by address out."""

import re
from collections.abc import Mapping
from typing import Final

from protocols.descriptors.sealed_adverts import KEY_BYTES
from protocols.documents import parse_toml
from protocols.errors import InvalidInputError

KEYS_BYTES_MAX: Final = 256 * 1024
_MAC: Final = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_KEY: Final = re.compile(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}")


def parse_keys(data: bytes, source: str) -> Mapping[str, bytes]:
    """Return the keys by address, lower-case hexadecimal pairs and colons.

    Raises:
        InvalidInputError: no TOML, too long, or an entry is no address and key. No key is in what it says.
    """
    keys: dict[str, bytes] = {}
    for name, key in parse_toml(data, source, KEYS_BYTES_MAX).items():
        mac = name.lower()
        if _MAC.fullmatch(mac) is None:
            raise InvalidInputError(f"{source}: {name!r:.40}", 'is no address such as "a4:c1:38:0b:5e:ed", in quotes')
        if not isinstance(key, str) or _KEY.fullmatch(key) is None:
            raise InvalidInputError(f"{source}: {mac}", f"its key is not {2 * KEY_BYTES} of 0-9 and a-f, in quotes")
        if mac in keys:
            raise InvalidInputError(f"{source}: {mac}", "stands there twice")
        keys[mac] = bytes.fromhex(key)
    return keys
