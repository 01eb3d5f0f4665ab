"""Payments of stays: asked for once a key, kept as the provider has them, never as we hope.

What a webhook says is a hint: the payment is read again and kept as it is then, so late, doubled and disordered
events end in the same state. An answer that was lost leaves a payment `asked`; asking again under its key, or
`settle_due`, learns what became of it. The client's secret for 3-D Secure passes through and is kept nowhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cloud.kit import outbox
from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one
from cloud.kit.times import at
from cloud.payments.port import (
    Charge,
    PaymentProvider,
    PaymentRefusedError,
    PaymentState,
    parse_currency,
    parse_method,
)
from cloud.platform.properties import Property
from kit.dice import Dice
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError

UNSETTLED_MS: Final = 60_000
AT_A_TIME: Final = 20
GIVEN_UP_MS: Final = 24 * 3_600_000
"""A provider remembers a key this long at least; a payment nobody answered for by then is called failed."""
CHANGED: Final = "payment.changed"
"""Outbox event: {payment, stay, purpose, state, currency, minor, captured, refunded}."""
_OPEN: Final = frozenset({PaymentState.ASKED, PaymentState.NEEDS_GUEST, PaymentState.PENDING})


class WallClock(Protocol):
    """What payments need of a clock."""

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


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


class Payments:
    """Payments of every property that has a provider."""

    def __init__(
        self, database: Database, providers: Mapping[str, PaymentProvider], *, clock: WallClock, dice: Dice
    ) -> None:
        """`providers` by property."""
        self._database, self._providers, self._clock, self._dice = database, providers, clock, dice

    async def hold(
        self, place: Property, *, stay: str, purpose: str, currency: str, minor: int, method: str, key: str, by: str
    ) -> Payment:
        """Hold money for a purpose. The same key again gives the same payment.

        Raises:
            PaymentRefusedError: no provider here, the key was used for something else, or the provider refused.
            InvalidInputError: no token, or one that holds a card number.
            LinkLostError, ReplyTimeoutError: ask again with the same key.
        """
        provider = self._provider(place)
        values = {
            "id": f"p-{self._dice.bytes(12).hex()}", "tenant": place.tenant, "property": place.id, "stay": stay,
            "purpose": purpose, "key": key, "currency": parse_currency(currency), "minor": minor,
            "method": parse_method(method), "by": by, "now": at(self._clock.wall_ms()),
        }  # fmt: skip
        async with self._database.transaction() as connection:
            await execute(
                connection,
                """INSERT INTO payments.payment (id, tenant, property, stay, purpose, idempotency_key, currency, minor,
                                                 method, state, asked_by, asked_at, updated_at)
                   VALUES (%(id)s, %(tenant)s, %(property)s, %(stay)s, %(purpose)s, %(key)s, %(currency)s, %(minor)s,
                           %(method)s, 'asked', %(by)s, %(now)s, %(now)s)
                   ON CONFLICT (property, idempotency_key) DO NOTHING""",
                values,
            )
            row = await _by_key(connection, place.id, key)
        if row is None or any(row[name] != values[name] for name in ("stay", "purpose", "currency", "minor", "method")):
            raise PaymentRefusedError("key_reused", "This key was used for another payment; nothing was done.")
        if row["provider_id"] is not None and PaymentState(row["state"]) not in _OPEN:
            return _payment(row)
        try:
            charge = await self._asked(provider, row)
        except PaymentRefusedError as error:
            await self._failed(place, row["id"], error.code)
            raise
        return await self._keep(place, row["id"], charge)

    async def capture(self, place: Property, payment: str, *, minor: int, key: str) -> Payment:
        """Take what is held, or part of it; the rest is released. Raises as `hold`."""
        row = await self._row(place, payment)
        if minor > row["minor"]:
            raise PaymentRefusedError("amount_too_large", "More is not held.")
        return await self._keep(
            place,
            payment,
            await self._provider(place).capture(row["provider_id"], minor=minor, key=_key(row, "capture", key)),
        )

    async def release(self, place: Property, payment: str, *, key: str) -> Payment:
        """Let go what is held. Raises as `hold`."""
        row = await self._row(place, payment)
        return await self._keep(
            place, payment, await self._provider(place).release(row["provider_id"], key=_key(row, "release", key))
        )

    async def refund(self, place: Property, payment: str, *, minor: int, key: str) -> Payment:
        """Give back of what was taken. Raises as `hold`."""
        row = await self._row(place, payment)
        return await self._keep(
            place,
            payment,
            await self._provider(place).refund(row["provider_id"], minor=minor, key=_key(row, "refund", key)),
        )

    async def heard(self, place: Property, provider_id: str) -> bool:
        """Take a hint that a payment changed: read it and keep what it is; False: it is none of ours."""
        async with self._database.transaction() as connection:
            row = await fetch_one(
                connection,
                "SELECT id FROM payments.payment WHERE property = %s AND provider_id = %s",
                [place.id, provider_id],
            )
        if row is None:
            return False
        await self._keep(place, row["id"], await self._provider(place).read(provider_id))
        return True

    async def of_stay(self, place: Property, stay: str) -> list[Payment]:
        """Return the payments of a stay, the first first."""
        async with self._database.transaction() as connection:
            rows = await fetch_all(
                connection,
                "SELECT * FROM payments.payment WHERE tenant = %s AND property = %s AND stay = %s"
                " ORDER BY asked_at, id",
                [place.tenant, place.id, stay],
            )
        return [_payment(row) for row in rows]

    async def held(self, connection: Connection, place: Property, *, purpose: str, currency: str, minor: int) -> bool:
        """Tell whether at least so much is held, or was taken and not given back, for a purpose."""
        row = await fetch_one(
            connection,
            """SELECT coalesce(sum(CASE state WHEN 'held' THEN minor ELSE captured - refunded END), 0) AS held
                 FROM payments.payment WHERE tenant = %s AND property = %s AND purpose = %s AND currency = %s
                  AND state IN ('held', 'captured')""",
            [place.tenant, place.id, purpose, currency],
        )
        return row is not None and int(row["held"]) >= minor

    async def settle_due(self, places: Mapping[str, Property]) -> int:
        """Learn what became of payments nobody heard of for a while; return how many were looked at."""
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            due = await fetch_all(
                connection,
                "SELECT * FROM payments.payment WHERE state IN ('asked', 'needs_guest', 'pending') AND updated_at < %s"
                " AND property = ANY(%s) ORDER BY updated_at LIMIT %s",
                [at(now_ms - UNSETTLED_MS), list(places), AT_A_TIME],
            )
        for row in due:
            place = places[row["property"]]
            try:
                charge = await self._asked(self._provider(place), row)
            except PaymentRefusedError as error:
                await self._failed(place, row["id"], error.code)
            except (LinkLostError, ReplyTimeoutError, PeerProtocolError):
                if row["asked_at"] < at(now_ms - GIVEN_UP_MS):
                    await self._failed(place, row["id"], "unanswered")
            else:
                await self._keep(place, row["id"], charge)
        return len(due)

    async def _asked(self, provider: PaymentProvider, row: Mapping[str, Any]) -> Charge:
        if row["provider_id"] is not None:
            return await provider.read(row["provider_id"])
        return await provider.hold(
            currency=row["currency"], minor=row["minor"], method=row["method"], reference=row["id"], key=row["id"]
        )

    async def _keep(self, place: Property, payment: str, charge: Charge) -> Payment:
        async with self._database.transaction() as connection:
            row = await fetch_one(connection, "SELECT * FROM payments.payment WHERE id = %s FOR UPDATE", [payment])
            if row is None:
                raise PaymentRefusedError("unknown", "There is no such payment.")
            if charge.currency != row["currency"] or charge.minor != row["minor"]:
                raise PeerProtocolError(f"payment {payment}: the provider has another amount or currency")
            new = {
                "state": charge.state.value, "captured": max(charge.captured, row["captured"]),
                "refunded": max(charge.refunded, row["refunded"]), "provider_id": charge.id, "failure": charge.failure,
            }  # fmt: skip
            if _final(row["state"]) and not _final(charge.state.value):
                new["state"] = row["state"]  # an older reading that arrived late
            if any(row[name] != value for name, value in new.items()):
                await execute(
                    connection,
                    """UPDATE payments.payment SET state = %(state)s, captured = %(captured)s, refunded = %(refunded)s,
                              provider_id = %(provider_id)s, failure = %(failure)s, updated_at = %(now)s
                        WHERE id = %(id)s""",
                    {**new, "now": at(self._clock.wall_ms()), "id": payment},
                )
                await self._tell(connection, place, {**row, **new})
            return _payment({**row, **new}, client_secret=charge.client_secret)

    async def _failed(self, place: Property, payment: str, code: str) -> None:
        async with self._database.transaction() as connection:
            row = await fetch_one(connection, "SELECT * FROM payments.payment WHERE id = %s FOR UPDATE", [payment])
            if row is None or PaymentState(row["state"]) not in _OPEN:
                return
            await execute(
                connection,
                "UPDATE payments.payment SET state = 'failed', failure = %s, updated_at = %s WHERE id = %s",
                [code[:80], at(self._clock.wall_ms()), payment],
            )
            await self._tell(connection, place, {**row, "state": "failed"})

    async def _tell(self, connection: Connection, place: Property, row: Mapping[str, Any]) -> None:
        body = {name: row[name] for name in ("stay", "purpose", "state", "currency", "minor", "captured", "refunded")}
        await outbox.append(
            connection,
            kind=CHANGED,
            tenant=place.tenant,
            property_id=place.id,
            subject=row["id"],
            body={"payment": row["id"], **body},
            occurred_at_ms=self._clock.wall_ms(),
        )

    async def _row(self, place: Property, payment: str) -> Mapping[str, Any]:
        async with self._database.transaction() as connection:
            row = await fetch_one(
                connection,
                "SELECT * FROM payments.payment WHERE tenant = %s AND property = %s AND id = %s",
                [place.tenant, place.id, payment],
            )
        if row is None or row["provider_id"] is None:
            raise PaymentRefusedError("unknown", "There is no such payment.")
        return row

    def _provider(self, place: Property) -> PaymentProvider:
        provider = self._providers.get(place.id)
        if provider is None:
            raise PaymentRefusedError("no_provider", "This house takes no payments here; please see the front desk.")
        return provider


async def _by_key(connection: Connection, property_id: str, key: str) -> dict[str, Any] | None:
    return await fetch_one(
        connection,
        "SELECT * FROM payments.payment WHERE property = %s AND idempotency_key = %s",
        [property_id, key],
    )


def _payment(row: Mapping[str, Any], client_secret: str | None = None) -> Payment:
    return Payment(
        row["id"], row["stay"], row["purpose"], row["currency"], row["minor"], row["captured"], row["refunded"],
        PaymentState(row["state"]), row["failure"], row["provider_id"], client_secret,
    )  # fmt: skip


def _final(state: str) -> bool:
    return state in (PaymentState.CAPTURED, PaymentState.RELEASED)


def _key(row: Mapping[str, Any], verb: str, key: str) -> str:
    return f"{row['id']}:{verb}:{key}"
