"""Secrets stand in files of their own, one a file; here they are read once."""

from pathlib import Path
from typing import Final

from cloud.app.settings import PrivacySettings
from cloud.privacy.wrapping import FileKeys
from kit.dice import Dice
from protocols.errors import InvalidInputError

SECRET_BYTES_MOST: Final = 4 * 1024


def read_secret(path: Path) -> str:
    """Return the text of a secret's file without the line feed at its end.

    Raises:
        InvalidInputError: missing, empty, too long, or not text; never shows the content.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(SECRET_BYTES_MOST + 1)
        text = raw.decode("utf-8").strip()
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(str(path), "is not text") from error
    if not text or len(raw) > SECRET_BYTES_MOST or not text.isprintable():
        raise InvalidInputError(str(path), f"must hold one line of 1 to {SECRET_BYTES_MOST} bytes")
    return text


def file_keys(settings: PrivacySettings, *, dice: Dice) -> FileKeys:
    """Read the keys that wrap the tenants' data keys. Raises InvalidInputError: one is missing or no key."""
    if settings.key not in settings.paths:
        raise InvalidInputError("privacy.key", f"{settings.key!r} is none of privacy.paths")
    keys: dict[str, bytes] = {}
    for name in sorted(settings.paths, key=lambda each: each != settings.key):
        try:
            keys[name] = bytes.fromhex(read_secret(settings.paths[name]))
        except ValueError as error:
            raise InvalidInputError(f"privacy.paths.{name}", "holds no key in hex") from error
    return FileKeys(keys, dice=dice)
