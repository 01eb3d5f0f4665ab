"""How StayNTouch tells how a guest is written to: `language` with the reservation, `email` of the guest alone. Pure.

Source: omniboost/go-stayntouch, types.go (Reservation.Guests, Guest), design page pms.md B.4.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from cloud.pms.contacts import contact, listed
from cloud.pms.port import GuestContact, PmsRefusedError
from cloud.pms.reading import ExternalId, convert
from protocols.errors import PeerProtocolError


def primary(told: Mapping[str, Any], external_id: str, *, hotel: str) -> Mapping[str, Any]:
    """Return the guest that a reservation is booked for, empty where it names none.

    Raises:
        PmsRefusedError: it is another hotel's of the group (404).
        PeerProtocolError: it is not the reservation.
    """
    _must_be(told, external_id, "reservations")
    if told.get("hotel_id") is not None and str(told["hotel_id"]) != hotel:
        raise PmsRefusedError(404, f"there is no reservation {external_id} in this hotel")
    guests = [each for each in listed(told.get("guests")) if isinstance(each, dict)]
    return next((each for each in guests if each.get("is_primary") is True), guests[0] if guests else {})


def id_of(guest: Mapping[str, Any]) -> str | None:
    """Return a guest's id; None: he has none that can be asked for."""
    try:
        return convert(guest.get("id"), ExternalId)
    except msgspec.ValidationError:
        return None


def alone(told: Mapping[str, Any], guest_id: str) -> Mapping[str, Any]:
    """Return what is told of a guest alone. Raises PeerProtocolError: it is not the guest."""
    _must_be(told, guest_id, "guests")
    return told


def _must_be(told: Mapping[str, Any], wanted: str, what: str) -> None:
    """Whatever else is answered with 200 must not pass for somebody without an address."""
    if str(told.get("id")) != wanted:
        raise PeerProtocolError(f"StayNTouch {what}: not the one that was asked for")


def of_guest(*told: Mapping[str, Any]) -> GuestContact:
    """Return the contact of one guest from all that was told of him, the best known first."""
    return contact((each.get("email") for each in told), (each.get("language") for each in told))
