"""The keys of sensors that encrypt what they advertise: a file of the edge's own, read anew when the bus is made."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from protocols.descriptors.advert_keys import KEYS_BYTES_MAX, parse_keys
from protocols.errors import InvalidInputError


def read_advert_keys(path: Path | None) -> Mapping[str, bytes]:
    """Return the keys by address (lower-case hexadecimal pairs and colons); none if there is no file.

    Raises:
        InvalidInputError: the file cannot be read, others may read it, or an entry is no address and key. No key is in
            what it says.
    """
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(KEYS_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise InvalidInputError(str(path), "others may read these keys; set its mode to 0600")
    return parse_keys(data, str(path))
