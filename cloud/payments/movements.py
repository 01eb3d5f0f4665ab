"""What the house asks of money that is held or was taken: take it, let it go, give it back; each thing once.

A movement is written down before the provider hears of it, and one payment has one under way at a time. Asked again
under its key, by whoever and however often, it is the same movement; another key waits until the first one is settled,
so that a clerk who saw no answer and asks anew, on this page or the next, gives nothing back twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from cloud.kit.database import Connection, execute, fetch_all, fetch_one
from cloud.kit.times import at, unix_ms
from cloud.payments import rows
from cloud.payments.port import Charge, PaymentProvider, PaymentRefusedError, PaymentState
from cloud.payments.refund_rules import rule_of
from cloud.platform import audit
from cloud.platform.properties import Property

SHOWN_MOST: Final = 200


class Verb(StrEnum):
    """What is asked for."""

    CAPTURE = "capture"
    RELEASE = "release"
    REFUND = "refund"


class MovementState(StrEnum):
    """Where a movement stands."""

    WAITING = "waiting"
    """A second person has to say yes; the provider has not heard of it."""
    ASKED = "asked"
    """The provider is being asked."""
    UNKNOWN = "unknown"
    """He did not answer: it may have been done. He is asked until he says."""
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: as he is shown, and which person he is, whatever he signed in with."""

    name: str
    account: str | None = None

    @property
    def person(self) -> str:
        """What tells him from everybody else."""
        return self.name if self.account is None else self.account


@dataclass(frozen=True, slots=True)
class Movement:
    """One movement as kept; `minor` in the payment's currency, `reason` as staff gave it."""

    id: str
    payment: str
    verb: Verb
    minor: int
    key: str
    state: MovementState
    failure: str | None
    reason: str | None
    refunded_before: int
    tries: int
    asked_by: str
    asked_at: datetime
    asked_person: str | None = None
    """Who asked, whatever he signed in with; None: before anybody asked who that is."""
    approved_by: str | None = None
    approved_at: datetime | None = None

    def was_done(self, charge: Charge) -> bool:
        """Tell whether the provider's payment shows that this was done."""
        match self.verb:
            case Verb.CAPTURE:
                return charge.state is PaymentState.CAPTURED and charge.captured == self.minor
            case Verb.RELEASE:
                return charge.state is PaymentState.RELEASED
            case Verb.REFUND:
                return charge.refunded >= self.refunded_before + self.minor

    async def ask(self, provider: PaymentProvider, charge: str) -> Charge:
        """Ask the provider for it. Raises as the port does."""
        key = f"{self.payment}:{self.verb.value}:{self.key}"
        match self.verb:
            case Verb.CAPTURE:
                return await provider.capture(charge, minor=self.minor, key=key)
            case Verb.RELEASE:
                return await provider.release(charge, key=key)
            case Verb.REFUND:
                return await provider.refund(charge, minor=self.minor, key=key)


async def begin(
    connection: Connection, place: Property, payment: str, verb: Verb, *, minor: int | None, values: Mapping[str, Any]
) -> tuple[dict[str, Any], Movement]:
    """Write a movement down, or return the one of this key; return its payment's row as well.

    Args:
        connection: the transaction, which holds the payment's lock from here on.
        place: whose payment it is.
        payment: its id.
        verb: what is asked for.
        minor: how much; None: all that was held.
        values: `id` (for a new one), `key`, `by`, `person`, `reason`, `now_ms`.

    Raises:
        PaymentRefusedError: no such payment, another movement is under way, the key was used for something else, or
            the amount is more than there can be.
    """
    row = await rows.locked(connection, payment)
    if (row["tenant"], row["property"]) != (place.tenant, place.id) or row["provider_id"] is None:
        raise PaymentRefusedError("unknown", "There is no such payment.")
    amount = row["minor"] if minor is None else minor
    own = await fetch_one(
        connection,
        "UPDATE payments.movement SET tries = tries + 1 WHERE payment = %s AND verb = %s AND idempotency_key = %s"
        " RETURNING *",
        [payment, verb.value, values["key"]],
    )
    if own is not None:
        if own["minor"] != amount:
            raise PaymentRefusedError("key_reused", "This key was used for another amount; nothing was done.")
        return row, movement_of(own)
    await _judge(connection, row, verb, amount)
    rule = await rule_of(connection, place) if verb is Verb.REFUND else None
    waits = rule is not None and rule.wants_second(currency=row["currency"], refunded=row["refunded"], minor=amount)
    made = await fetch_one(
        connection,
        """INSERT INTO payments.movement (id, tenant, property, payment, verb, minor, idempotency_key, state, reason,
                                          refunded_before, asked_by, asked_person, asked_at, updated_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING *""",
        [
            values["id"], place.tenant, place.id, payment, verb.value, amount, values["key"],
            (MovementState.WAITING if waits else MovementState.ASKED).value, values["reason"], row["refunded"],
            values["by"], values["person"], at(values["now_ms"]), at(values["now_ms"]),
        ],
    )  # fmt: skip
    assert made is not None  # noqa: S101 - it was inserted
    if waits:
        await audit.append(
            connection,
            tenant=place.tenant,
            actor=values["by"],
            action="payment.refund.ask",
            property_id=place.id,
            subject=f"payment {payment}",
            outcome=audit.Outcome.ALLOWED,
            detail=f"{amount} minor units of {row['currency']}, waits for a second person"
            + ("" if values["reason"] is None else f"; {values['reason']}"),
            now_ms=values["now_ms"],
        )
    return row, movement_of(made)


async def _judge(connection: Connection, row: rows.Row, verb: Verb, amount: int) -> None:
    """Refuse what cannot be; what may be is the provider's to say."""
    busy = await fetch_one(
        connection,
        "SELECT verb, minor, state FROM payments.movement WHERE payment = %s"
        " AND state IN ('waiting', 'asked', 'unknown')",
        [row["id"]],
    )
    if busy is not None and busy["state"] == MovementState.WAITING:
        raise PaymentRefusedError("waiting", "A refund of this payment waits for a second person.")
    if busy is not None:
        raise PaymentRefusedError(
            "under_way", f"A {busy['verb']} of this payment is not settled yet; nothing more was asked for."
        )
    if row["unwanted"]:
        raise PaymentRefusedError("unwanted", "This payment is being let go: it was taken care of in another way.")
    if verb is not Verb.REFUND and amount > row["minor"]:
        raise PaymentRefusedError("amount_too_large", "More is not held.")
    if verb is Verb.REFUND and amount > row["minor"] - row["refunded"]:
        raise PaymentRefusedError("amount_too_large", "More was not taken, or it was given back already.")


async def settle(
    connection: Connection, place: Property, row: rows.Row, movement: str, *, refused: str | None, now_ms: int
) -> None:
    """Note how a movement of a payment ended, in the audit trail as well; one that has ended stays as it is."""
    state = MovementState.DONE if refused is None else MovementState.REFUSED
    ended = await fetch_one(
        connection,
        "UPDATE payments.movement SET state = %s, failure = %s, updated_at = %s"
        " WHERE id = %s AND state IN ('asked', 'unknown') RETURNING *",
        [state.value, None if refused is None else refused[:80], at(now_ms), movement],
    )
    if ended is None:
        return
    told = movement_of(ended)
    said = "" if refused is None else f", refused: {refused[:80]}"
    await audit.append(
        connection,
        tenant=place.tenant,
        actor=told.asked_by,
        action=f"payment.{told.verb.value}",
        property_id=place.id,
        subject=f"payment {told.payment}",
        outcome=audit.Outcome.DONE if refused is None else audit.Outcome.DENIED,
        detail=f"{told.minor} minor units of {row['currency']}{said}"
        + ("" if told.approved_by is None else f", approved by {told.approved_by}")
        + ("" if told.reason is None else f"; {told.reason}"),
        now_ms=now_ms,
    )


async def lost(connection: Connection, movement: Movement, *, now_ms: int) -> None:
    """Note that the provider did not answer."""
    await execute(
        connection,
        "UPDATE payments.movement SET state = 'unknown', updated_at = %s WHERE id = %s AND state = 'asked'",
        [at(now_ms), movement.id],
    )


async def never_left(connection: Connection, movement: Movement) -> None:
    """Forget a movement of which the provider has not heard; one that somebody asked for again may have reached him.

    One that a second person approved waits for the word to be said again.
    """
    await execute(
        connection,
        "UPDATE payments.movement SET state = 'waiting', approved_by = NULL, approved_at = NULL"
        " WHERE id = %s AND state = 'asked' AND tries = 1 AND approved_by IS NOT NULL",
        [movement.id],
    )
    await execute(
        connection,
        "DELETE FROM payments.movement WHERE id = %s AND state = 'asked' AND tries = 1",
        [movement.id],
    )


async def take_due(
    connection: Connection, properties: list[str], *, before_ms: int, now_ms: int, most: int
) -> list[tuple[dict[str, Any], Movement]]:
    """Return, each with its payment's row, what nobody has heard of since `before_ms`; it comes last the next time."""
    found = await fetch_all(
        connection,
        """UPDATE payments.movement SET looked_at = %s, tries = tries + 1 WHERE id IN (
               SELECT id FROM payments.movement WHERE property = ANY(%s) AND state IN ('asked', 'unknown')
                  AND coalesce(looked_at, updated_at) < %s ORDER BY coalesce(looked_at, updated_at), id LIMIT %s)
           RETURNING *""",
        [at(now_ms), properties, at(before_ms), most],
    )
    due = []
    for each in found:
        row = await fetch_one(connection, "SELECT * FROM payments.payment WHERE id = %s", [each["payment"]])
        assert row is not None  # noqa: S101 - the table holds us to it
        due.append((row, movement_of(each)))
    return due


async def of_payments(connection: Connection, payments: list[str]) -> dict[str, list[Movement]]:
    """Return what was asked of payments, by payment, the newest first."""
    found = await fetch_all(
        connection,
        "SELECT * FROM payments.movement WHERE payment = ANY(%s) ORDER BY asked_at DESC, id LIMIT %s",
        [payments, SHOWN_MOST],
    )
    told: dict[str, list[Movement]] = {}
    for each in found:
        told.setdefault(each["payment"], []).append(movement_of(each))
    return told


def is_older(movement: Movement, *, than_ms: int) -> bool:
    """Tell whether a movement was asked for, or approved if it had to be, before a time."""
    return unix_ms(movement.approved_at or movement.asked_at) < than_ms


def movement_of(row: Mapping[str, Any]) -> Movement:
    """Return a row as a movement."""
    return Movement(
        row["id"], row["payment"], Verb(row["verb"]), row["minor"], row["idempotency_key"],
        MovementState(row["state"]), row["failure"], row["reason"], row["refunded_before"], row["tries"],
        row["asked_by"], row["asked_at"], row["asked_person"], row["approved_by"], row["approved_at"],
    )  # fmt: skip
