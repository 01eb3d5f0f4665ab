"""Payments as they are kept: what one is, and who may begin the next one for a purpose.

All that begins a payment, or learns what one is, first takes the lock of the payment's purpose: of two devices, or of a
page and a card's token, one is second and sees what the first one did.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, TypeAlias

from cloud.kit.database import Connection, execute, fetch_all, fetch_one, lock_for_transaction
from cloud.payments.port import PaymentRefusedError, PaymentState

Row: TypeAlias = Mapping[str, Any]
Wanted: TypeAlias = Callable[[Connection], Awaitable[bool]]
"""Tells, in a transaction, whether a payment is still asked for."""
OPEN: Final = frozenset({PaymentState.ASKED, PaymentState.NEEDS_GUEST, PaymentState.PENDING})
FINAL: Final = frozenset({PaymentState.CAPTURED, PaymentState.RELEASED})


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as kept. Amounts are minor units of `currency`."""

    id: str
    stay: str
    purpose: str
    currency: str
    minor: int
    captured: int
    refunded: int
    state: PaymentState
    failure: str | None
    provider_id: str | None
    client_secret: str | None = None
    unwanted: bool = False
    """Nobody wants it any more: what is held on it is let go."""


@dataclass(frozen=True, slots=True)
class Deposit:
    """How a deposit stands: `held`, or what became of the newest payment for it (None: there was none).

    `by_page` tells whether the house's provider can be paid on a page of its own.
    """

    held: bool
    by_page: bool
    state: PaymentState | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentPage:
    """A payment and, while the guest can pay there, the address of the provider's page for it."""

    payment: Payment
    url: str | None


class Claim(Enum):
    """What a wish to have money held for a purpose met."""

    NEW = auto()
    """Nothing: it was written down, and is the only one."""
    OWN = auto()
    """Itself: it was asked for under this key before."""
    OTHER = auto()
    """Another payment for the purpose that is not over yet."""
    THERE = auto()
    """As much is held, or taken and not given back."""


def payment_of(row: Row, client_secret: str | None = None) -> Payment:
    """Return a row as a payment."""
    return Payment(
        row["id"], row["stay"], row["purpose"], row["currency"], row["minor"], row["captured"], row["refunded"],
        PaymentState(row["state"]), row["failure"], row["provider_id"], client_secret, row["unwanted"],
    )  # fmt: skip


async def lock_purpose(connection: Connection, property_id: str, purpose: str) -> None:
    """Hold, until the transaction ends, what has to be held to begin a payment for a purpose or to change one."""
    await lock_for_transaction(connection, "payment", property_id, purpose)


async def locked(connection: Connection, payment: str) -> dict[str, Any]:
    """Return a payment to be changed: its purpose is locked first, then its row.

    Raises:
        PaymentRefusedError: there is none.
    """
    found = await fetch_one(connection, "SELECT property, purpose FROM payments.payment WHERE id = %s", [payment])
    if found is None:
        raise PaymentRefusedError("unknown", "There is no such payment.")
    await lock_purpose(connection, found["property"], found["purpose"])
    row = await fetch_one(connection, "SELECT * FROM payments.payment WHERE id = %s FOR UPDATE", [payment])
    assert row is not None  # noqa: S101 - payments are never deleted
    return row


async def claim(connection: Connection, values: Row, *, still: Wanted | None = None) -> tuple[dict[str, Any], Claim]:
    """Write a new payment down, or return what stands in its way. `values` are its columns, `now` and `page`.

    Raises:
        PaymentRefusedError: `still` says that nobody asks for it any more.
    """
    await lock_purpose(connection, values["property"], values["purpose"])
    own = await fetch_one(
        connection,
        "SELECT * FROM payments.payment WHERE property = %s AND idempotency_key = %s",
        [values["property"], values["key"]],
    )
    if own is not None:
        return own, Claim.OWN
    there = await _with_money(connection, values)
    if there and sum(_kept(row) for row in there) >= values["minor"]:
        return there[-1], Claim.THERE
    other = await fetch_one(
        connection,
        "SELECT * FROM payments.payment WHERE property = %(property)s AND purpose = %(purpose)s AND NOT unwanted"
        " AND state IN ('asked', 'needs_guest', 'pending') ORDER BY asked_at, id LIMIT 1",
        values,
    )
    if other is not None:
        return other, Claim.OTHER
    if still is not None and not await still(connection):
        raise PaymentRefusedError("deposit_done", "The deposit has been taken care of.")
    made = await fetch_one(
        connection,
        """INSERT INTO payments.payment (id, tenant, property, stay, purpose, idempotency_key, currency, minor,
                                         method, state, asked_by, asked_at, updated_at, page_asked)
           VALUES (%(id)s, %(tenant)s, %(property)s, %(stay)s, %(purpose)s, %(key)s, %(currency)s, %(minor)s,
                   %(method)s, 'asked', %(by)s, %(now)s, %(now)s, %(page)s) RETURNING *""",
        values,
    )
    assert made is not None  # noqa: S101 - it was inserted
    return made, Claim.NEW


async def is_second(connection: Connection, row: Row) -> bool:
    """Tell whether as much as a payment holds is there for its purpose without it. Needs the purpose's lock."""
    others = [each for each in await _with_money(connection, row) if each["id"] != row["id"]]
    return bool(others) and sum(_kept(each) for each in others) >= row["minor"]


async def give_up(connection: Connection, payment: str) -> dict[str, Any]:
    """Note that nobody wants a payment that is still open; return it as it is then."""
    await locked(connection, payment)
    await execute(
        connection,
        "UPDATE payments.payment SET unwanted = true, looked_at = NULL WHERE id = %s"
        " AND state IN ('asked', 'needs_guest', 'pending')",
        [payment],
    )
    return await locked(connection, payment)


async def deposit_of(
    connection: Connection, *, tenant: str, property_id: str, purpose: str, stays: Sequence[str], currency: str
) -> tuple[int, dict[str, Any] | None]:
    """Return how much is held or kept for a purpose or a party's stays, and the newest payment for the purpose."""
    row = await fetch_one(
        connection,
        """SELECT coalesce(sum(CASE state WHEN 'held' THEN minor ELSE captured - refunded END) FILTER (
                      WHERE currency = %(currency)s AND state IN ('held', 'captured') AND NOT unwanted), 0) AS held,
                  (array_agg(jsonb_build_object('state', state, 'failure', failure) ORDER BY asked_at DESC, id DESC)
                    FILTER (WHERE purpose = %(purpose)s))[1] AS newest
             FROM payments.payment WHERE tenant = %(tenant)s AND property = %(property)s
              AND (purpose = %(purpose)s OR stay = ANY(%(stays)s))""",
        {
            "tenant": tenant, "property": property_id, "purpose": purpose, "stays": list(stays), "currency": currency,
        },
    )  # fmt: skip
    return (0, None) if row is None else (int(row["held"]), row["newest"])


async def _with_money(connection: Connection, row: Row) -> list[dict[str, Any]]:
    return await fetch_all(
        connection,
        "SELECT * FROM payments.payment WHERE property = %(property)s AND purpose = %(purpose)s"
        " AND currency = %(currency)s AND NOT unwanted AND state IN ('held', 'captured') ORDER BY asked_at, id",
        dict(row),
    )


def _kept(row: Row) -> int:
    return int(row["minor"] if row["state"] == PaymentState.HELD else row["captured"] - row["refunded"])
