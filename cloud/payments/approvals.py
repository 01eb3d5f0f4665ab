"""The second word on a refund: said by another person, on the amount that he saw, within a day; or the wish is ended.

Nothing of it has reached the provider before: what is approved is asked for like any other movement from then on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloud.kit.database import Connection, execute, fetch_all, fetch_one
from cloud.kit.times import at
from cloud.payments import rows
from cloud.payments.movements import Asker, Movement, MovementState, movement_of
from cloud.payments.port import PaymentRefusedError
from cloud.platform import audit
from cloud.platform.properties import Property

WAIT_MS: Final = 24 * 3_600_000
"""How long a refund waits; whoever still wants it asks anew."""
SHOWN_MOST: Final = 200
WITHDRAWN: Final = "withdrawn"
NOT_APPROVED: Final = "not_approved"
ENDINGS: Final = frozenset({WITHDRAWN, NOT_APPROVED})
"""Why a refund that waited was not done."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A refund that waits for a second person, and of which payment."""

    movement: Movement
    stay: str
    currency: str


async def approve(
    connection: Connection, place: Property, payment: str, *, key: str, minor: int, by: Asker, now_ms: int
) -> tuple[dict[str, Any], Movement]:
    """Say the second word, and return the payment's row and the movement, to be asked for from now on.

    Said again by the same person it is the same word. `minor` is the amount that he saw.

    Raises:
        PaymentRefusedError: no such refund waits, he asked for it himself, its day is over, or it is another amount.
    """
    row, wish = await _wish(connection, place, payment, key)
    if wish.minor != minor:
        raise PaymentRefusedError("other_amount", "It is a refund of another amount; nothing was done.")
    if wish.state is not MovementState.WAITING:
        if wish.approved_by != by.name:
            raise PaymentRefusedError("not_waiting", "This refund does not wait for a second person.")
        await execute(connection, "UPDATE payments.movement SET tries = tries + 1 WHERE id = %s", [wish.id])
        return await _wish(connection, place, payment, key)
    if wish.asked_person == by.person:
        raise PaymentRefusedError("same_person", "Who asked for a refund cannot be the second person on it.")
    if wish.asked_at < at(now_ms - WAIT_MS):
        raise PaymentRefusedError(NOT_APPROVED, "Nobody approved this refund within a day: ask for it anew.")
    if minor > row["minor"] - row["refunded"]:
        raise PaymentRefusedError("amount_too_large", "More was not taken, or it was given back already.")
    await execute(
        connection,
        """UPDATE payments.movement SET state = 'asked', approved_by = %s, approved_at = %s, refunded_before = %s,
                                        tries = 1, updated_at = %s WHERE id = %s""",
        [by.name, at(now_ms), row["refunded"], at(now_ms), wish.id],
    )
    await _note(connection, place, wish, row["currency"], "payment.refund.approve", by=by.name, now_ms=now_ms)
    return await _wish(connection, place, payment, key)


async def withdraw(
    connection: Connection, place: Property, payment: str, *, key: str, by: str, now_ms: int
) -> dict[str, Any]:
    """End a refund that waits; ended already, it stays so. Return the payment's row.

    Raises:
        PaymentRefusedError: no such refund, or it waits no more.
    """
    row, wish = await _wish(connection, place, payment, key)
    if wish.state is MovementState.REFUSED and wish.failure == WITHDRAWN:
        return row
    if wish.state is not MovementState.WAITING:
        raise PaymentRefusedError("not_waiting", "This refund does not wait for a second person.")
    await _end(connection, wish, WITHDRAWN, now_ms)
    await _note(connection, place, wish, row["currency"], "payment.refund.withdraw", by=by, now_ms=now_ms)
    return row


async def end_late(connection: Connection, places: Sequence[Property], *, now_ms: int, most: int) -> int:
    """End what nobody approved within its day; return how many."""
    known = {each.id: each for each in places}
    found = await fetch_all(
        connection,
        """SELECT movement.*, payment.currency FROM payments.movement JOIN payments.payment ON payment.id = payment
            WHERE movement.property = ANY(%s) AND movement.state = 'waiting' AND movement.asked_at < %s
            ORDER BY movement.asked_at LIMIT %s FOR UPDATE OF movement SKIP LOCKED""",
        [list(known), at(now_ms - WAIT_MS), most],
    )
    for each in found:
        wish = movement_of(each)
        await _end(connection, wish, NOT_APPROVED, now_ms)
        await _note(
            connection, known[each["property"]], wish, each["currency"], "payment.refund.withdraw",
            by="nobody, in a day", now_ms=now_ms,
        )  # fmt: skip
    return len(found)


async def waiting(connection: Connection, place: Property) -> list[Waiting]:
    """Return the refunds of a property that wait for a second person, the oldest first; at most `SHOWN_MOST`."""
    found = await fetch_all(
        connection,
        """SELECT movement.*, payment.stay, payment.currency
             FROM payments.movement JOIN payments.payment ON payment.id = payment
            WHERE movement.tenant = %s AND movement.property = %s AND movement.state = 'waiting'
            ORDER BY movement.asked_at, movement.id LIMIT %s""",
        [place.tenant, place.id, SHOWN_MOST],
    )
    return [Waiting(movement_of(each), each["stay"], each["currency"]) for each in found]


async def _wish(connection: Connection, place: Property, payment: str, key: str) -> tuple[dict[str, Any], Movement]:
    """Return a payment's row, locked, and a refund that was asked of it."""
    row = await rows.locked(connection, payment)
    found = None
    if (row["tenant"], row["property"]) == (place.tenant, place.id):
        found = await fetch_one(
            connection,
            "SELECT * FROM payments.movement WHERE payment = %s AND verb = 'refund' AND idempotency_key = %s",
            [payment, key],
        )
    if found is None:
        raise PaymentRefusedError("unknown", "There is no such refund.")
    return row, movement_of(found)


async def _end(connection: Connection, wish: Movement, failure: str, now_ms: int) -> None:
    await execute(
        connection,
        "UPDATE payments.movement SET state = 'refused', failure = %s, updated_at = %s WHERE id = %s",
        [failure, at(now_ms), wish.id],
    )


async def _note(
    connection: Connection, place: Property, wish: Movement, currency: str, action: str, *, by: str, now_ms: int
) -> None:
    await audit.append(
        connection,
        tenant=place.tenant,
        actor=by,
        action=action,
        property_id=place.id,
        subject=f"payment {wish.payment}",
        outcome=audit.Outcome.DONE,
        detail=f"{wish.minor} minor units of {currency}, asked for by {wish.asked_by}"
        + ("" if wish.reason is None else f"; {wish.reason}"),
        now_ms=now_ms,
    )
