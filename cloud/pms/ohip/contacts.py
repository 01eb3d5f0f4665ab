"""How OPERA Cloud tells how a guest is written to: with the reservation where it does, else with his profile. Pure.

Source: the Swagger documents of oracle/hospitality-api-docs (rsv.json, crm.json): `emails.emailInfo[].email` with
`emailAddress`, `primaryInd` and `orderSequence`, `customer.language`; asked of a profile by `fetchInstructions`. Flat
(`email`, `language`) in a list of reservations. A language is the property's own code as often as one of ISO.
"""

from typing import Any, Final

import msgspec

from cloud.pms.contacts import contact, listed, under
from cloud.pms.port import GuestContact, PmsRefusedError
from cloud.pms.reading import ExternalId, convert
from protocols.errors import PeerProtocolError

ASKED: Final = (("fetchInstructions", "Profile"), ("fetchInstructions", "Communication"))
"""What of a profile is to be told."""


def reservation(raw: msgspec.Raw) -> dict[str, Any]:
    """Read one reservation. Raises PeerProtocolError."""
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"OHIP reservations: {error}") from error


def guest_of(said: dict[str, Any], external_id: str, *, hotel: str) -> dict[str, Any]:
    """Return all that a reservation tells of the guest it is booked for, empty where it names none.

    Raises:
        PmsRefusedError: it is another hotel's of the chain (404).
    """
    if isinstance(where := said.get("hotelId"), str) and where.casefold() != hotel.casefold():
        raise PmsRefusedError(404, f"there is no reservation {external_id} in this hotel")
    guests = [each for each in listed(said.get("reservationGuests")) if isinstance(each, dict)]
    guests.sort(key=lambda each: each.get("primary") is not True)
    flat = said.get("reservationGuest")
    return guests[0] if guests else flat if isinstance(flat, dict) else {}


def profile_of(guest: dict[str, Any]) -> str | None:
    """Return the id of a guest's profile; None: there is none to ask for."""
    for told in (under(guest, "profileInfo", "profileIdList"), guest.get("profileIdList")):
        for each in listed(told):
            if isinstance(each, dict) and each.get("type") in ("Profile", None):
                try:
                    return convert(each.get("id"), ExternalId)
                except msgspec.ValidationError:
                    continue
    return None


def profile(answer: object) -> object:
    """Return a profile, or None where nothing is answered (204), as they do of one that is not there.

    Raises:
        PeerProtocolError: it is none: whatever else is answered with 200 must not pass for somebody without an address.
    """
    if answer is not None and not isinstance(under(answer, "profileDetails"), dict):
        raise PeerProtocolError("OHIP profiles: no profileDetails in the answer")
    return answer


def of_guest(*told: object) -> GuestContact:
    """Return the contact of one guest from all that was told of him, the best known first."""
    places = [place for each in told for place in _places(each)]
    emails = [found for place in places for found in _emails(place)]
    languages = [(under(place, "customer", "language"), under(place, "language")) for place in places]
    return contact(emails, (each for pair in languages for each in pair))


def _places(told: object) -> list[object]:
    return [under(told, "profileDetails"), under(told, "profileInfo", "profile"), told]


def _emails(place: object) -> list[object]:
    rows = [under(each, "email") for each in listed(under(place, "emails", "emailInfo"))]
    # one that is no address is not made good by another that the guest may have had once
    rows = [each for each in rows if under(each, "primaryInd") is True] or rows
    rows.sort(key=lambda each: _order(under(each, "orderSequence")))
    return [*(under(each, "emailAddress") for each in rows), under(place, "email")]


def _order(told: object) -> int:
    return told if isinstance(told, int) else 2**31
