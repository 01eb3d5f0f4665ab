"""How eZee tells how a guest is written to: `Email` of the room's transaction, or of its booking. Pure.

Source: "Retrieve a Booking" of api.ezeetechnosys.com (FetchSingleBooking: FirstName ... Fax, Email with each
transaction), design page pms.md B.5. No language is documented.
"""

from typing import Any

from cloud.pms.contacts import contact, listed
from cloud.pms.ezee import wire
from cloud.pms.port import GuestContact, PmsRefusedError


def of_booking(answer: dict[str, Any], external_id: str) -> GuestContact:
    """Return the contact of the guest of one room of a booking.

    Raises:
        PmsRefusedError: there is no such booking, or it has no such room (404).
        PeerProtocolError: there is no list of bookings.
    """
    for booking in wire.bookings(answer, "bookings"):
        if not isinstance(booking, dict) or str(booking.get("UniqueID")) != wire.parent(external_id):
            continue
        told = booking.get("BookingTran")
        for each in [told] if isinstance(told, dict) and "SubBookingId" in told else listed(told):
            if isinstance(each, dict) and str(each.get("SubBookingId")) == wire.part(external_id):
                return contact([each.get("Email"), booking.get("Email")])
    raise PmsRefusedError(404, f"there is no booking {external_id}")
