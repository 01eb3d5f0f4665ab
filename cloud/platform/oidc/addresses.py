"""Which addresses a tenant may have us ask: what it names must not reach what is ours."""

import ipaddress
from typing import Final
from urllib.parse import urlsplit

from protocols.errors import InvalidInputError

CHARACTERS_MOST: Final = 500


def asked_address(text: str, name: str, *, private: frozenset[str] = frozenset()) -> str:
    """Return an address that a tenant's provider may have us ask.

    https to a public name, or anything of an origin in `private`, which the operator has named. What a name resolves
    to is the network's to bound: let the service out through a proxy or a rule that ends at our border.

    Raises:
        InvalidInputError: says what is wrong with it.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidInputError(name, "is no address") from error
    if len(text) > CHARACTERS_MOST or not text.isascii() or not text.isprintable() or set(text) & set(' "<>\\'):
        raise InvalidInputError(name, f"want at most {CHARACTERS_MOST} plain characters")
    if parts.username is not None or parts.fragment or not parts.hostname:
        raise InvalidInputError(name, "want https://name/path, without a user or a fragment")
    if f"{parts.scheme}://{parts.netloc}" in private:
        return text
    if parts.scheme != "https" or port not in (None, 443):
        raise InvalidInputError(name, "want https at its usual port")
    labels = parts.hostname.rstrip(".").split(".")
    if len(labels) < 2 or not all(labels) or labels[-1].isdigit() or labels[-1] in ("local", "localhost", "internal"):
        raise InvalidInputError(name, "want a public name, or let the operator list it under [companies]")
    try:
        ipaddress.ip_address(parts.hostname)
    except ValueError:
        return text
    raise InvalidInputError(name, "want a name, not a number")
