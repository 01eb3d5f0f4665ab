"""Payments of stays: asked for once a key, kept as the provider has them, never as we hope.

What a webhook says is a hint: the payment is read again and kept as it is then, so late, doubled and disordered
events end in the same state. An answer that was lost leaves a payment `asked`; asking again under its key, or
`settle_due`, learns what became of it. The client's secret for 3-D Secure passes through and is kept nowhere.

A guest pays on the provider's own page (docs/decisions/0103): one page at a time for one purpose, however often and
from however many devices he asks. A page that nobody wants any more is ended; what was paid on it meanwhile is let go.

Money is held once for a purpose (docs/decisions/0119), by whichever way and under however many keys it is asked for;
what is taken, let go and given back is written down before it is asked for (movements.py) and asked for until the
provider has said what became of it.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import msgspec

from cloud.kit import outbox
from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one, jsonb
from cloud.kit.times import at
from cloud.payments import approvals, movements, rows
from cloud.payments.movements import Asker, Movement, MovementState, Verb
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
from cloud.payments.rows import OPEN, Claim, Deposit, Payment, PaymentPage, Row, Wanted, payment_of
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
KEY_KEPT_MS: Final = GIVEN_UP_MS - 10 * 60_000
"""Until then a key is sent again. Later it might be a new one to the provider, and money move a second time."""
CLAIMS_MOST: Final = 5
UNANSWERED: Final = "unanswered"
CHANGED: Final = "payment.changed"
"""Outbox event: {payment, stay, purpose, state, currency, minor, captured, refunded}."""
_RANK: Final = {
    PaymentState.ASKED: 0,
    PaymentState.NEEDS_GUEST: 1,
    PaymentState.PENDING: 1,
    PaymentState.FAILED: 1,
    PaymentState.HELD: 2,
    PaymentState.CAPTURED: 3,
    PaymentState.RELEASED: 3,
}
"""What is held was not held before, and what is over stays so: a reading of a lower rank is an older one."""


class WallClock(Protocol):
    """What payments need of a clock."""

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


class Payments:
    """Payments of every property that has a provider."""

    def __init__(
        self, database: Database, providers: Mapping[str, PaymentProvider], *, clock: WallClock, dice: Dice
    ) -> None:
        """`providers` by property."""
        self._database, self._providers, self._clock, self._dice = database, providers, clock, dice

    async def hold(
        self,
        place: Property,
        *,
        stay: str,
        purpose: str,
        currency: str,
        minor: int,
        method: str,
        key: str,
        by: str,
        still: Wanted | None = None,
    ) -> Payment:
        """Hold money for a purpose, once: what is held already, under whatever key, is returned as it is.

        A payment by page or with another card that still waits for the guest gives way to this one. `still` is asked
        under the purpose's lock: what `unwanted` was told of before is not begun.

        Raises:
            PaymentRefusedError: no provider here, the key was used for something else, another payment for the purpose
                is being worked on, or the provider refused.
            InvalidInputError: no token, or one that holds a card number.
            LinkLostError, ReplyTimeoutError, PeerProtocolError: ask again with the same key.
        """
        provider = self._provider(place)
        values = {
            "id": f"p-{self._dice.bytes(12).hex()}", "tenant": place.tenant, "property": place.id, "stay": stay,
            "purpose": purpose, "key": key, "currency": parse_currency(currency), "minor": minor,
            "method": parse_method(method), "by": by, "now": at(self._clock.wall_ms()), "page": None,
        }  # fmt: skip
        for _ in range(CLAIMS_MOST):
            row, met = await self._claim(values, still)
            if met is Claim.THERE:
                return payment_of(row)
            if met is Claim.OTHER:
                await self._make_way(place, provider, row)
                continue
            if any(row[name] != values[name] for name in ("stay", "purpose", "currency", "minor", "method")):
                raise PaymentRefusedError("key_reused", "This key was used for another payment; nothing was done.")
            if PaymentState(row["state"]) not in OPEN:
                if row["provider_id"] is None:
                    raise PaymentRefusedError(row["failure"] or "failed", "The payment provider refused this payment.")
                return payment_of(row)
            return (await self._learn_or_fail(place, provider, row))[0]
        raise _busy()

    async def open_page(
        self, place: Property, *, stay: str, purpose: str, asked: PageAsked, by: str, still: Wanted | None = None
    ) -> PaymentPage:
        """Return the provider's page for a purpose: the one that is open, else a new one; none where it is paid.

        `still` as in `hold`.

        Raises:
            PaymentRefusedError: no provider here, another payment for the purpose is being worked on, or he refused.
            LinkLostError, ReplyTimeoutError, PeerProtocolError: ask again; no second page is made.
        """
        provider = self._provider(place)
        id_ = f"p-{self._dice.bytes(12).hex()}"
        values = {
            "id": id_, "tenant": place.tenant, "property": place.id, "stay": stay, "purpose": purpose, "key": id_,
            "currency": parse_currency(asked.currency), "minor": asked.minor, "method": ON_PAGE, "by": by,
            "now": at(self._clock.wall_ms()), "page": jsonb(msgspec.to_builtins(asked)),
        }  # fmt: skip
        for _ in range(CLAIMS_MOST):
            row, met = await self._claim(values, still)
            if met is Claim.THERE:
                return PaymentPage(payment_of(row), None)
            if row["page_asked"] is None:
                await self._make_way(place, provider, row)
                continue
            payment, page = await self._learn_or_fail(place, provider, row)
            if payment.state is not PaymentState.FAILED or met is not Claim.OTHER:
                return PaymentPage(payment, None if page is None or page.state is not PageState.OPEN else page.url)
        raise _busy()

    async def look(self, place: Property, *, purpose: str) -> bool:
        """Ask the provider how the open payments of a purpose stand, now; False: none is open. Raises as `hold`."""
        async with self._database.transaction() as connection:
            found = await fetch_all(
                connection,
                "SELECT * FROM payments.payment WHERE property = %s AND purpose = %s"
                " AND state IN ('asked', 'needs_guest', 'pending') ORDER BY asked_at, id LIMIT %s",
                [place.id, purpose, AT_A_TIME],
            )
        for row in found:
            await self._learn(place, self._provider(place), row)
        return bool(found)

    async def unwanted(self, connection: Connection, place: Property, *, purpose: str) -> int:
        """Note that nobody wants what is open for a purpose any more; `settle_due` ends it. Return how many."""
        await rows.lock_purpose(connection, place.id, purpose)
        return await execute(
            connection,
            "UPDATE payments.payment SET unwanted = true, looked_at = NULL WHERE property = %s AND purpose = %s"
            " AND NOT unwanted AND state IN ('asked', 'needs_guest', 'pending')",
            [place.id, purpose],
        )

    async def end_open(self, place: Property, *, purpose: str) -> int:
        """As `unwanted`, in a transaction of its own."""
        async with self._database.transaction() as connection:
            return await self.unwanted(connection, place, purpose=purpose)

    async def capture(
        self, place: Property, payment: str, *, minor: int, key: str, by: str, reason: str | None = None
    ) -> Payment:
        """Take what is held, or part of it; the rest is released. Under one key it is done once.

        Raises:
            PaymentRefusedError: there is nothing to take, another movement is not settled, or the provider refused.
            LinkLostError: nothing was done. ReplyTimeoutError, PeerProtocolError: it may have been.
        """
        return await self._move(place, payment, Verb.CAPTURE, minor=minor, key=key, by=Asker(by), reason=reason)

    async def release(self, place: Property, payment: str, *, key: str, by: str, reason: str | None = None) -> Payment:
        """Let go what is held. Raises as `capture`."""
        return await self._move(place, payment, Verb.RELEASE, minor=None, key=key, by=Asker(by), reason=reason)

    async def refund(
        self, place: Property, payment: str, *, minor: int, key: str, by: Asker, reason: str | None = None
    ) -> Payment:
        """Give back of what was taken; above what the property's rule lets one person do, it waits for a second one.

        Raises as `capture`.
        """
        return await self._move(place, payment, Verb.REFUND, minor=minor, key=key, by=by, reason=reason)

    async def approve(self, place: Property, payment: str, *, minor: int, key: str, by: Asker) -> Payment:
        """Say the second word on a refund that waits, and ask the provider for it. Raises as `capture`."""
        provider, now_ms = self._provider(place), self._clock.wall_ms()
        async with self._database.transaction() as connection:
            wish = await approvals.approve(connection, place, payment, key=key, minor=minor, by=by, now_ms=now_ms)
        return await self._asked_for(place, provider, *wish)

    async def withdraw(self, place: Property, payment: str, *, key: str, by: str) -> Payment:
        """End a refund that waits for a second person. Raises PaymentRefusedError: there is none."""
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            return payment_of(await approvals.withdraw(connection, place, payment, key=key, by=by, now_ms=now_ms))

    async def heard(self, place: Property, provider_id: str, reference: str | None = None) -> bool:
        """Take a hint that a payment changed: read it and keep what it is; False: it is none of ours.

        `reference` is what the provider was told the payment is for: a hint may come before the answer that names it.
        """
        async with self._database.transaction() as connection:
            row = await fetch_one(
                connection,
                "SELECT * FROM payments.payment WHERE property = %s AND (provider_id = %s"
                " OR id = %s AND provider_id IS NULL)",
                [place.id, provider_id, reference],
            )
        if row is None:
            return False
        if row["page_asked"] is not None and PaymentState(row["state"]) in OPEN:
            await self._learn(place, self._provider(place), row)  # a card refused on a page is not the page's end
        else:
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
        if PaymentState(row["state"]) in OPEN:
            await self._learn(place, self._provider(place), row)
        return True

    async def of_stay(self, place: Property, stay: str) -> list[Payment]:
        """Return the payments of a stay, the first first."""
        async with self._database.transaction() as connection:
            found = await fetch_all(
                connection,
                "SELECT * FROM payments.payment WHERE tenant = %s AND property = %s AND stay = %s"
                " ORDER BY asked_at, id",
                [place.tenant, place.id, stay],
            )
        return [payment_of(row) for row in found]

    async def deposit(
        self, connection: Connection, place: Property, *, purpose: str, stays: Sequence[str], currency: str, minor: int
    ) -> Deposit:
        """Tell how a deposit stands: at least so much held, or taken and not given back, of all the stays of a party.

        What an earlier check-in of a stay had held is still held: nobody is asked for it twice.
        """
        money, newest = await rows.deposit_of(
            connection, tenant=place.tenant, property_id=place.id, purpose=purpose, stays=stays, currency=currency
        )
        return Deposit(
            held=money >= minor,
            by_page=place.id in self._providers,
            state=None if newest is None else PaymentState(newest["state"]),
            failure=None if newest is None else newest["failure"],
        )

    async def movements(self, payments: Sequence[Payment]) -> dict[str, list[Movement]]:
        """Return what was asked of payments, by payment, the newest first."""
        async with self._database.transaction() as connection:
            return await movements.of_payments(connection, [each.id for each in payments])

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
                    await self._failed(place, row["id"], UNANSWERED)
        async with self._database.transaction() as connection:
            late = await approvals.end_late(connection, list(places.values()), now_ms=now_ms, most=AT_A_TIME)
        return len(due) + late + await self._settle_movements(places)

    async def _settle_movements(self, places: Mapping[str, Property]) -> int:
        """Learn what became of what the house asked for and nobody answered."""
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            due = await movements.take_due(
                connection, list(places), before_ms=now_ms - UNSETTLED_MS, now_ms=now_ms, most=AT_A_TIME
            )
        for row, movement in due:
            place = places[row["property"]]
            with suppress(PaymentRefusedError, LinkLostError, ReplyTimeoutError, PeerProtocolError):
                await self._finish(place, self._provider(place), row, movement)
        return len(due)

    async def _move(
        self, place: Property, payment: str, verb: Verb, *, minor: int | None, key: str, by: Asker, reason: str | None
    ) -> Payment:
        provider = self._provider(place)
        values = {
            "id": f"m-{self._dice.bytes(12).hex()}", "key": key, "by": by.name, "person": by.person, "reason": reason,
            "now_ms": self._clock.wall_ms(),
        }  # fmt: skip
        async with self._database.transaction() as connection:
            row, movement = await movements.begin(connection, place, payment, verb, minor=minor, values=values)
        return await self._asked_for(place, provider, row, movement)

    async def _asked_for(self, place: Property, provider: PaymentProvider, row: Row, movement: Movement) -> Payment:
        """Go on with a movement from where it stands."""
        if movement.state in (MovementState.DONE, MovementState.WAITING):
            return payment_of(row)
        if movement.state is MovementState.REFUSED:
            code = movement.failure or "refused"
            if code in approvals.ENDINGS:
                raise PaymentRefusedError(
                    code, "This refund was taken back, or nobody approved it: ask under a new key."
                )
            raise PaymentRefusedError(code, f"The payment provider refused: {code}.")
        return await self._finish(place, provider, row, movement)

    async def _finish(self, place: Property, provider: PaymentProvider, row: Row, movement: Movement) -> Payment:
        """Ask for a movement, for the first time or again, and keep what came of it."""
        try:
            if movements.is_older(movement, than_ms=self._clock.wall_ms() - KEY_KEPT_MS):
                raise PaymentRefusedError(UNANSWERED, "The payment provider never said what became of it.")
            charge = await movement.ask(provider, row["provider_id"])
        except PaymentRefusedError as error:
            charge = await provider.read(row["provider_id"])
            is_first = movement.tries == 1 and movement.verb is not Verb.RELEASE
            if not is_first and movement.was_done(charge):
                return await self._keep(place, row["id"], charge, movement=movement)
            await self._keep(place, row["id"], charge, movement=movement, refused=error.code)
            raise
        except LinkLostError:
            async with self._database.transaction() as connection:
                await movements.never_left(connection, movement)
            raise
        except (ReplyTimeoutError, PeerProtocolError):
            async with self._database.transaction() as connection:
                await movements.lost(connection, movement, now_ms=self._clock.wall_ms())
            raise
        return await self._keep(place, row["id"], charge, movement=movement)

    async def _claim(self, values: Mapping[str, Any], still: Wanted | None) -> tuple[Row, Claim]:
        async with self._database.transaction() as connection:
            return await rows.claim(connection, values, still=still)

    async def _make_way(self, place: Property, provider: PaymentProvider, row: Row) -> None:
        """See how another payment for a purpose stands, and end it if it only waits for the guest.

        Raises:
            PaymentRefusedError: it is being worked on. And as the provider does: nobody knows how it stands.
        """
        try:
            payment, _ = await self._learn(place, provider, row)
        except PaymentRefusedError as error:
            await self._failed(place, row["id"], error.code)
            return
        if payment.state in (PaymentState.ASKED, PaymentState.PENDING):
            raise _busy()
        if payment.state is PaymentState.NEEDS_GUEST:
            async with self._database.transaction() as connection:
                given_up = await rows.give_up(connection, row["id"])
            await self._learn(place, provider, given_up)

    async def _learn_or_fail(self, place: Property, provider: PaymentProvider, row: Row) -> tuple[Payment, Page | None]:
        """As `_learn`; what is refused has failed."""
        try:
            return await self._learn(place, provider, row)
        except PaymentRefusedError as error:
            await self._failed(place, row["id"], error.code)
            raise

    async def _learn(self, place: Property, provider: PaymentProvider, row: Row) -> tuple[Payment, Page | None]:
        """Ask the provider how a payment stands and keep it; ends and lets go what nobody wants."""
        page: Page | None = None
        if row["page_asked"] is None or row["state"] not in OPEN:
            payment = await self._keep(place, row["id"], await self._asked(provider, row))
        else:
            page = await self._page(provider, row)
            payment = await self._keep_page(place, row["id"], page)
            if payment.unwanted and payment.state in OPEN and page.state is PageState.OPEN:
                page = await provider.close_page(page.id)
                payment = await self._keep_page(place, row["id"], page)
        waits_for_guest = payment.state is PaymentState.NEEDS_GUEST and row["page_asked"] is None
        if payment.unwanted and (waits_for_guest or payment.state is PaymentState.HELD):
            payment = await self._let_go(place, provider, payment)
        return payment, page

    async def _let_go(self, place: Property, provider: PaymentProvider, payment: Payment) -> Payment:
        """Let go what nobody wants; the house asked for nothing, so there is no movement."""
        if payment.provider_id is None:
            return payment
        try:
            charge = await provider.release(payment.provider_id, key=f"{payment.id}:release:unwanted")
        except PaymentRefusedError:
            charge = await provider.read(payment.provider_id)  # taken or let go in this moment
        return await self._keep(place, payment.id, charge)

    async def _page(self, provider: PaymentProvider, row: Row) -> Page:
        if row["page_id"] is not None:
            return await provider.read_page(row["page_id"])
        asked = msgspec.convert(row["page_asked"], PageAsked)
        return await provider.open_page(asked, reference=row["id"], key=row["id"])

    async def _asked(self, provider: PaymentProvider, row: Row) -> Charge:
        if row["provider_id"] is not None:
            return await provider.read(row["provider_id"])
        if row["asked_at"] < at(self._clock.wall_ms() - KEY_KEPT_MS):
            raise PaymentRefusedError(UNANSWERED, "The payment provider never said what became of this payment.")
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
            row = await rows.locked(connection, payment)
            if PaymentState(row["state"]) not in OPEN:
                return payment_of(row)
            new = {"state": row["state"], "failure": row["failure"], **new}
            if new["failure"] == PAGE_EXPIRED and row["unwanted"]:
                new["failure"] = PAGE_ENDED
            if all(row[name] == value for name, value in new.items()):
                return payment_of(row)
            await execute(
                connection,
                """UPDATE payments.payment SET page_id = %(page_id)s, state = %(state)s,
                          failure = %(failure)s, updated_at = %(now)s WHERE id = %(id)s""",
                {**new, "now": at(self._clock.wall_ms()), "id": payment},
            )
            if new["state"] != row["state"]:
                await self._tell(connection, place, {**row, **new})
            return payment_of({**row, **new})

    async def _keep(
        self,
        place: Property,
        payment: str,
        charge: Charge,
        *,
        movement: Movement | None = None,
        refused: str | None = None,
    ) -> Payment:
        """Keep a payment as the provider has it, and how a movement of it ended."""
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            row = await rows.locked(connection, payment)
            if charge.currency != row["currency"] or charge.minor != row["minor"]:
                raise PeerProtocolError(f"payment {payment}: the provider has another amount or currency")
            if row["provider_id"] not in (None, charge.id):
                raise PeerProtocolError(f"payment {payment}: the provider calls it {charge.id!r:.80} now")
            new = {
                "state": _newer(PaymentState(row["state"]), charge.state).value,
                "captured": max(charge.captured, row["captured"]), "refunded": max(charge.refunded, row["refunded"]),
                "provider_id": charge.id, "failure": charge.failure, "unwanted": row["unwanted"],
            }  # fmt: skip
            if new["state"] != charge.state:
                new["failure"] = row["failure"]
            if new["state"] == PaymentState.HELD != row["state"] and not row["unwanted"]:
                # the house has said that it failed, or as much is held by another way: it is let go
                new["unwanted"] = row["failure"] == UNANSWERED or await rows.is_second(connection, row)
            if any(row[name] != value for name, value in new.items()):
                await execute(
                    connection,
                    """UPDATE payments.payment SET state = %(state)s, captured = %(captured)s, refunded = %(refunded)s,
                              provider_id = %(provider_id)s, failure = %(failure)s, updated_at = %(now)s,
                              unwanted = %(unwanted)s, looked_at = CASE WHEN %(unwanted)s THEN NULL ELSE looked_at END
                        WHERE id = %(id)s""",
                    {**new, "now": at(now_ms), "id": payment},
                )
            if any(row[name] != new[name] for name in ("state", "captured", "refunded")):
                await self._tell(connection, place, {**row, **new})
            if movement is not None:
                await movements.settle(connection, place, row, movement.id, refused=refused, now_ms=now_ms)
            is_asked = new["state"] == PaymentState.NEEDS_GUEST
            return payment_of({**row, **new}, client_secret=charge.client_secret if is_asked else None)

    async def _failed(self, place: Property, payment: str, code: str) -> None:
        async with self._database.transaction() as connection:
            row = await rows.locked(connection, payment)
            if PaymentState(row["state"]) not in OPEN:
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

    def _provider(self, place: Property) -> PaymentProvider:
        provider = self._providers.get(place.id)
        if provider is None:
            raise PaymentRefusedError("no_provider", "This house takes no payments here; please see the front desk.")
        return provider


def _newer(kept: PaymentState, read: PaymentState) -> PaymentState:
    """Return the later of two states; a payment that failed is open again only once money is held by it."""
    if kept in rows.FINAL or _RANK[read] < _RANK[kept] or (kept is PaymentState.FAILED and _RANK[read] < 2):
        return kept
    return read


def _busy() -> PaymentRefusedError:
    return PaymentRefusedError(
        "under_way", "Another payment for this is being worked on; please ask again in a moment. Nothing was done."
    )


__all__ = ["Deposit", "Payment", "PaymentPage", "Payments"]
