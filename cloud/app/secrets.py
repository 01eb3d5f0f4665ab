"""Secrets stand in files of their own, one a file; here they are read once."""

from pathlib import Path
from typing import Final

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
