"""How Cloudbeds tells how a guest is written to: `guestEmail` of a reservation and of its `guestList`. Pure.

Source: getReservation of PMS 1.3 (cloudbeds/cloudbeds-api-python, GetReservationResponseData and its guest list). The
main guest's, whichever of the rooms is asked about: his is the name that they all have here. No language is told, of a
reservation or of a guest; and nothing of who was anonymised.
"""

from typing import Any

import msgspec

from cloud.pms.contacts import contact, listed
from cloud.pms.port import GuestContact, PmsRefusedError
from cloud.pms.reading import ExternalId, decode_told
from protocols.errors import PeerProtocolError


class _Reservation(msgspec.Struct, frozen=True):
    reservationID: ExternalId  # noqa: N815 - Cloudbeds' own word
    propertyID: ExternalId | None = None  # noqa: N815 - Cloudbeds' own word
    guestEmail: Any = None  # noqa: N815 - Cloudbeds' own word
    guestList: Any = None  # noqa: N815 - Cloudbeds' own word
    isAnonymized: Any = None  # noqa: N815 - Cloudbeds' own word


def of_reservation(raw: msgspec.Raw, external_id: str, *, hotel: str | None) -> GuestContact:
    """Return the contact of a reservation's main guest.

    Raises:
        PmsRefusedError: it is another property's of the group (404).
        PeerProtocolError: it is no reservation.
    """
    try:
        said = decode_told(raw, _Reservation)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise PeerProtocolError(f"Cloudbeds getReservation: {error}") from error
    if hotel is not None and said.propertyID not in (None, hotel):
        raise PmsRefusedError(404, f"there is no reservation {external_id} in this property")
    if said.isAnonymized is True:
        return GuestContact(None, None)
    guests = [each for each in listed(said.guestList) if isinstance(each, dict)]
    main = [each for each in guests if each.get("isMainGuest") is True] or (guests if len(guests) == 1 else [])
    return contact(
        [said.guestEmail, *(each.get("guestEmail") for each in main if each.get("isAnonymized") is not True)]
    )
