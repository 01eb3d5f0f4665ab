"""Payments of stays: asked for once a key, kept as the provider has them, never as we hope.

What a webhook says is a hint: the payment is read again and kept as it is then, so late, doubled and disordered
events end in the same state. An answer that was lost leaves a payment `asked`; asking again under its key, or
`settle_due`, learns what became of it. The client's secret for 3-D Secure passes through and is kept nowhere.

A guest pays on the provider's own page (docs/decisions/0103): one page at a time for one purpose, however often and
from however many devices he asks. A page that nobody wants any more is ended; what was paid on it meanwhile is let go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from cloud.kit import outbox
from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one, jsonb
from cloud.kit.times import at
from cloud.payments.port import (
    Charge,
    Page,
    PageAsked,
    PageState,
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
UNWANTED_AGAIN_MS: Final = 15_000
AT_A_TIME: Final = 20
ON_PAGE: Final = "page"
"""What stands for a card where the guest chose one on the provider's page."""
PAGE_LIFE_MS: Final = 60 * 60_000
PAGE_EXPIRED, PAGE_ENDED = "page_expired", "page_ended"
"""Why a payment on a page failed: nobody paid in time, or the desk ended it."""
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

    async def open_page(self, place: Property, *, stay: str, purpose: str, asked: PageAsked, by: str) -> PaymentPage:
        """Return the provider's page for a purpose: the one that is open, else a new one.

        Raises:
            PaymentRefusedError: no provider here, or it refused.
            LinkLostError, ReplyTimeoutError, PeerProtocolError: ask again; no second page is made.
        """
        provider = self._provider(place)
        while True:
            row, is_new = await self._page_row(place, stay=stay, purpose=purpose, asked=asked, by=by)
            if row is None:
                continue  # ended between the two
            try:
                payment, page = await self._learn(place, provider, row)
            except PaymentRefusedError as error:
                await self._failed(place, row["id"], error.code)
                raise
            if payment.state is not PaymentState.FAILED or is_new:
                return PaymentPage(payment, None if page is None or page.state is not PageState.OPEN else page.url)

    async def look(self, place: Property, *, purpose: str) -> bool:
        """Ask the provider how the open payments of a purpose stand, now; False: none is open. Raises as `hold`."""
        async with self._database.transaction() as connection:
            rows = await fetch_all(
                connection,
                "SELECT * FROM payments.payment WHERE property = %s AND purpose = %s"
                " AND state IN ('asked', 'needs_guest', 'pending') ORDER BY asked_at, id LIMIT %s",
                [place.id, purpose, AT_A_TIME],
            )
        for row in rows:
            await self._learn(place, self._provider(place), row)
        return bool(rows)

    async def unwanted(self, connection: Connection, place: Property, *, purpose: str) -> int:
        """Note that nobody wants the open pages of a purpose any more; `settle_due` ends them. Return how many."""
        return await execute(
            connection,
            "UPDATE payments.payment SET unwanted = true, looked_at = NULL WHERE property = %s AND purpose = %s"
            " AND page_asked IS NOT NULL AND NOT unwanted AND state IN ('asked', 'needs_guest', 'pending')",
            [place.id, purpose],
        )

    async def end_pages(self, place: Property, *, purpose: str) -> int:
        """As `unwanted`, in a transaction of its own."""
        async with self._database.transaction() as connection:
            return await self.unwanted(connection, place, purpose=purpose)

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

    async def heard_page(self, place: Property, page_id: str) -> bool:
        """Take a hint that a page changed: read it and keep what it is; False: it is none of ours. Raises as `hold`."""
        async with self._database.transaction() as connection:
            row = await fetch_one(
                connection, "SELECT * FROM payments.payment WHERE property = %s AND page_id = %s", [place.id, page_id]
            )
        if row is None:
            return False
        if PaymentState(row["state"]) in _OPEN:
            await self._learn(place, self._provider(place), row)
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

    async def deposit(
        self, connection: Connection, place: Property, *, purpose: str, stays: Sequence[str], currency: str, minor: int
    ) -> Deposit:
        """Tell how a deposit stands: at least so much held, or taken and not given back, of all the stays of a party.

        What an earlier check-in of a stay had held is still held: nobody is asked for it twice.
        """
        mine = [place.tenant, place.id, purpose, list(stays)]
        row = await fetch_one(
            connection,
            """SELECT coalesce(sum(CASE state WHEN 'held' THEN minor ELSE captured - refunded END), 0) AS held
                 FROM payments.payment WHERE tenant = %s AND property = %s AND (purpose = %s OR stay = ANY(%s))
                  AND currency = %s AND state IN ('held', 'captured') AND NOT unwanted""",
            [*mine, currency],
        )
        newest = await fetch_one(
            connection,
            "SELECT state, failure FROM payments.payment WHERE tenant = %s AND property = %s AND purpose = %s"
            " ORDER BY asked_at DESC, id DESC LIMIT 1",
            mine[:3],
        )
        return Deposit(
            held=row is not None and int(row["held"]) >= minor,
            by_page=place.id in self._providers,
            state=None if newest is None else PaymentState(newest["state"]),
            failure=None if newest is None else newest["failure"],
        )

    async def settle_due(self, places: Mapping[str, Property]) -> int:
        """Learn what became of payments nobody heard of for a while, and end what nobody wants; return how many.

        Who was looked at goes to the end of the line, so that pages nobody pays on hold up no others.
        """
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            due = await fetch_all(
                connection,
                """UPDATE payments.payment SET looked_at = %s WHERE id IN (
                       SELECT id FROM payments.payment WHERE property = ANY(%s) AND (
                              (state IN ('asked', 'needs_guest', 'pending') AND NOT unwanted
                               AND coalesce(looked_at, updated_at) < %s)
                           OR (unwanted AND state IN ('asked', 'needs_guest', 'pending', 'held')
                               AND (looked_at IS NULL OR looked_at < %s)))
                        ORDER BY coalesce(looked_at, updated_at), id LIMIT %s) RETURNING *""",
                [
                    at(now_ms), list(places), at(now_ms - UNSETTLED_MS), at(now_ms - UNWANTED_AGAIN_MS), AT_A_TIME,
                ],
            )  # fmt: skip
        for row in due:
            place = places[row["property"]]
            try:
                await self._learn(place, self._provider(place), row)
            except PaymentRefusedError as error:
                await self._failed(place, row["id"], error.code)
            except (LinkLostError, ReplyTimeoutError, PeerProtocolError):
                has_name = row["page_id"] is not None or row["provider_id"] is not None  # it can be read at any time
                if not has_name and row["asked_at"] < at(now_ms - GIVEN_UP_MS):
                    await self._failed(place, row["id"], "unanswered")
        return len(due)

    async def _page_row(
        self, place: Property, *, stay: str, purpose: str, asked: PageAsked, by: str
    ) -> tuple[dict[str, Any] | None, bool]:
        """Return the payment whose page is open for a purpose, and whether it was made now."""
        async with self._database.transaction() as connection:
            made = await execute(
                connection,
                """INSERT INTO payments.payment (id, tenant, property, stay, purpose, idempotency_key, currency, minor,
                                                 method, state, asked_by, asked_at, updated_at, page_asked)
                   VALUES (%(id)s, %(tenant)s, %(property)s, %(stay)s, %(purpose)s, %(id)s, %(currency)s, %(minor)s,
                           %(method)s, 'asked', %(by)s, %(now)s, %(now)s, %(asked)s)
                   ON CONFLICT (property, purpose) WHERE page_asked IS NOT NULL AND NOT unwanted
                      AND state IN ('asked', 'needs_guest', 'pending') DO NOTHING""",
                {
                    "id": f"p-{self._dice.bytes(12).hex()}", "tenant": place.tenant, "property": place.id, "stay": stay,
                    "purpose": purpose, "currency": parse_currency(asked.currency), "minor": asked.minor,
                    "method": ON_PAGE, "by": by, "now": at(self._clock.wall_ms()),
                    "asked": jsonb(msgspec.to_builtins(asked)),
                },
            )  # fmt: skip
            row = await fetch_one(
                connection,
                "SELECT * FROM payments.payment WHERE property = %s AND purpose = %s AND page_asked IS NOT NULL"
                " AND NOT unwanted AND state IN ('asked', 'needs_guest', 'pending')",
                [place.id, purpose],
            )
        return row, made == 1

    async def _learn(
        self, place: Property, provider: PaymentProvider, row: Mapping[str, Any]
    ) -> tuple[Payment, Page | None]:
        """Ask the provider how a payment stands and keep it; ends and lets go what nobody wants."""
        page: Page | None = None
        if row["page_asked"] is None or row["state"] not in _OPEN:
            payment = await self._keep(place, row["id"], await self._asked(provider, row))
        else:
            page = await self._page(provider, row)
            payment = await self._keep_page(place, row["id"], page)
            if row["unwanted"] and payment.state in _OPEN and page.state is PageState.OPEN:
                page = await provider.close_page(page.id)
                payment = await self._keep_page(place, row["id"], page)
        if row["unwanted"] and payment.state is PaymentState.HELD:
            payment = await self.release(place, payment.id, key="unwanted")
        return payment, page

    async def _page(self, provider: PaymentProvider, row: Mapping[str, Any]) -> Page:
        if row["page_id"] is not None:
            return await provider.read_page(row["page_id"])
        asked = msgspec.convert(row["page_asked"], PageAsked)
        return await provider.open_page(asked, reference=row["id"], key=row["id"])

    async def _asked(self, provider: PaymentProvider, row: Mapping[str, Any]) -> Charge:
        if row["provider_id"] is not None:
            return await provider.read(row["provider_id"])
        return await provider.hold(
            currency=row["currency"], minor=row["minor"], method=row["method"], reference=row["id"], key=row["id"]
        )

    async def _keep_page(self, place: Property, payment: str, page: Page) -> Payment:
        """Keep a payment as its page is: while it is open, a refused card is the guest's to change there."""
        if page.state is PageState.COMPLETE:
            if page.charge is None:
                raise PeerProtocolError(f"payment {payment}: the provider's page is paid, and by no payment")
            await self._set(place, payment, {"page_id": page.id})
            return await self._keep(place, payment, page.charge)
        ended = page.state is PageState.EXPIRED
        return await self._set(
            place,
            payment,
            {
                "page_id": page.id,
                "state": (PaymentState.FAILED if ended else PaymentState.NEEDS_GUEST).value,
                "failure": PAGE_EXPIRED if ended else None if page.charge is None else page.charge.failure,
            },
        )

    async def _set(self, place: Property, payment: str, new: dict[str, Any]) -> Payment:
        """Change a payment that is still open; one that is not stays as it is."""
        async with self._database.transaction() as connection:
            row = await fetch_one(connection, "SELECT * FROM payments.payment WHERE id = %s FOR UPDATE", [payment])
            if row is None:
                raise PaymentRefusedError("unknown", "There is no such payment.")
            if PaymentState(row["state"]) not in _OPEN:
                return _payment(row)
            new = {"state": row["state"], "failure": row["failure"], **new}
            if new["failure"] == PAGE_EXPIRED and row["unwanted"]:
                new["failure"] = PAGE_ENDED
            if all(row[name] == value for name, value in new.items()):
                return _payment(row)
            await execute(
                connection,
                """UPDATE payments.payment SET page_id = %(page_id)s, state = %(state)s,
                          failure = %(failure)s, updated_at = %(now)s WHERE id = %(id)s""",
                {**new, "now": at(self._clock.wall_ms()), "id": payment},
            )
            if new["state"] != row["state"]:
                await self._tell(connection, place, {**row, **new})
            return _payment({**row, **new})

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
