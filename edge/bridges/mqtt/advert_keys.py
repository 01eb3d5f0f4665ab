"""The keys of sensors that encrypt what they advertise: a file of the edge's own, read anew when the bus is made."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from protocols.descriptors.adverts import KEY_BYTES
from protocols.documents import parse_toml
from protocols.errors import InvalidInputError

KEYS_BYTES_MAX: Final = 256 * 1024
_MAC: Final = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_KEY: Final = re.compile(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}")


def read_advert_keys(path: Path | None) -> Mapping[str, bytes]:
    """Return the keys by address (lower-case hexadecimal pairs and colons); none if there is no file.

    Raises:
        InvalidInputError: the file cannot be read, or an entry is no address and key. No key is in what it says.
    """
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            data = file.read(KEYS_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror}") from error
    keys: dict[str, bytes] = {}
    for name, key in parse_toml(data, str(path), KEYS_BYTES_MAX).items():
        mac = name.lower()
        if _MAC.fullmatch(mac) is None:
            raise InvalidInputError(f"{path}: {name!r:.40}", 'is no address such as "a4:c1:38:0b:5e:ed", in quotes')
        if not isinstance(key, str) or _KEY.fullmatch(key) is None:
            raise InvalidInputError(f"{path}: {mac}", f"its key is not {2 * KEY_BYTES} of 0-9 and a-f, in quotes")
        if mac in keys:
            raise InvalidInputError(f"{path}: {mac}", "stands there twice")
        keys[mac] = bytes.fromhex(key)
    return keys
