"""How Mews tells how a guest is written to: `Email` and `PreferredLanguageCode` of the customer that it is for. Pure.

Source: operations/customers of MewsSystems/open-api-docs. `HasOtaEmail` says that an address is an agency's relay,
which reaches the guest as well. `LanguageCode` is Mews's own guess, from earlier bookings or the nationality.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from cloud.pms.contacts import contact
from cloud.pms.mews import wire
from cloud.pms.port import GuestContact, ItemError, PmsRefusedError
from cloud.pms.reading import Id as _Id
from cloud.pms.reading import item
from protocols.errors import PeerProtocolError


class _Whose(msgspec.Struct, frozen=True):
    Id: _Id
    AccountId: _Id | None = None
    AccountType: str | None = None


class _Customer(msgspec.Struct, frozen=True):
    Id: _Id
    Email: Any = None
    PreferredLanguageCode: Any = None
    LanguageCode: Any = None


def whose(rows: Sequence[msgspec.Raw], external_id: str) -> str | None:
    """Return the customer that a reservation is booked for; None: a company, or nobody.

    Raises:
        PmsRefusedError: there is no such reservation (404).
        PeerProtocolError: it does not say so readably.
    """
    for raw in rows:
        said = item(raw, _Whose, "reservation", "Id")
        if isinstance(said, ItemError):
            raise PeerProtocolError(f"Mews {wire.RESERVATIONS}: {said.problem}")
        if said.Id == external_id:
            return said.AccountId if said.AccountType in (None, "Customer") else None
    raise PmsRefusedError(404, f"there is no reservation {external_id}")


def of_customer(rows: Sequence[msgspec.Raw], account: str) -> GuestContact:
    """Return the contact of one customer; none at all where he is not told of, or not readably."""
    told = [item(raw, _Customer, "customer", "Id") for raw in rows]
    his = [each for each in told if isinstance(each, _Customer) and each.Id == account]
    return contact(
        (each.Email for each in his),
        (code for each in his for code in (each.PreferredLanguageCode, each.LanguageCode)),
    )
