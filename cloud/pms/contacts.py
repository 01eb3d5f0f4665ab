"""How the guest of a reservation is written to: asked of the PMS when a letter is, used, and let go again.

The mirror keeps no address (docs/decisions/0168). What a PMS tells is checked here for all of them alike: an address
that could be more than one, or end a header's line, is none. No address gets into an error's text, whoever wrote it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from cloud.pms.languages import language
from cloud.pms.port import GuestContact, PmsAdapter, PmsFaultError, PmsRefusedError
from protocols.errors import PeerProtocolError

TOLD_CHARACTERS_MOST: Final = 1_000
"""Of one field, which may hold several addresses."""
ADDRESS_CHARACTERS_MOST: Final = 254  # RFC 5321, 4.5.3.1.3, without its angle brackets
LOCAL_CHARACTERS_MOST: Final = 64
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL: Final = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}\.)+(?=[a-z0-9-]*[a-z]){_LABEL}")
_NAMED: Final = re.compile(r"[^<>]*<([^<>]*)>")
_BETWEEN: Final = re.compile(r"[;,]")
_ADDRESS: Final = re.compile(r"(?:\"[^\"]*\"|[^\s\"<>(),:;]*)(?:@|\uff20|%40)[^\s\"<>(),:;]*")
_OTHER_NOW: Final = frozenset("ßẞς")
"""What RFC 3490, by which a domain is written here, makes other letters of, and RFC 5891 does not: strasse.de is not
straße.de, and may be somebody else's.
"""
HIDDEN: Final = "[address]"


def address(told: object) -> str | None:
    """Return the first e-mail address in a field of a PMS, with its domain as it is asked for (RFC 3490); None: there
    is none.

    Several may stand between commas or semicolons, and one may have a name before it. Quoted local parts and those
    beyond ASCII are none: few servers take them. Nor is one whose domain has meant two things (RFC 5894, 7.2).
    """
    if not isinstance(told, str) or len(told) > TOLD_CHARACTERS_MOST or not told.strip().isprintable():
        return None
    return next((found for each in _BETWEEN.split(told) if (found := _one(each.strip())) is not None), None)


def contact(emails: Iterable[object], languages: Iterable[object] = ()) -> GuestContact:
    """Return the first of each that is one; the best known come first."""
    return GuestContact(
        next((found for each in emails if (found := address(each)) is not None), None),
        next((found for each in languages if (found := language(each)) is not None), None),
    )


def _one(told: str) -> str | None:
    named = _NAMED.fullmatch(told)
    local, at, domain = (told if named is None else named[1].strip()).rpartition("@")
    if not at or len(local) > LOCAL_CHARACTERS_MOST or _LOCAL.fullmatch(local) is None:
        return None
    if not _OTHER_NOW.isdisjoint(domain):
        return None
    try:
        known = domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    found = f"{local}@{known}"
    return found if _DOMAIN.fullmatch(known) is not None and len(found) <= ADDRESS_CHARACTERS_MOST else None


def under(told: object, *names: str) -> object:
    """Return what lies under these names, one in another; None where something else lies there."""
    for name in names:
        told = told.get(name) if isinstance(told, dict) else None
    return told


def listed(told: object) -> list[object]:
    """Return a list as it is, the values of a map, and nothing of anything else: PHP writes a list of one as either."""
    if isinstance(told, dict):
        return list(told.values())
    return told if isinstance(told, list) else []


def hidden(text: str) -> str:
    """Return a text without whatever looks like an address."""
    return _ADDRESS.sub(HIDDEN, text)


class Contacts:
    """Where to ask for the contact of a property's guest: at its connections' own adapters, under their budgets.

    Args:
        adapters: by property and system, those that keep the properties in step too.
    """

    def __init__(self, adapters: Mapping[tuple[str, str], PmsAdapter]) -> None:
        self._adapters = dict(adapters)

    async def contact_of(self, property_id: str, system: str, external_id: str) -> GuestContact | None:
        """Return how the guest of a reservation is written to; None: there is nobody to ask.

        Raises:
            PmsRefusedError: it says no; 404: it knows no such reservation.
            PmsBusyError: it asks for patience, or its budget is spent: `wait_ms` from now.
            PmsFaultError, ReplyTimeoutError, LinkLostError: it cannot be asked now; nothing was changed there.
            PeerProtocolError: what it said cannot be read.
        """
        adapter = self._adapters.get((property_id, system))
        if adapter is None or not adapter.capabilities.contacts:
            return None
        try:
            return await adapter.contact(external_id)
        except PmsRefusedError as error:
            raise PmsRefusedError(error.status, hidden(error.said)) from None
        except PmsFaultError as error:
            raise PmsFaultError(hidden(str(error))) from None
        except PeerProtocolError as error:
            raise PeerProtocolError(hidden(str(error))) from None
