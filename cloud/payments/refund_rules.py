"""What one person alone may give back of a payment at a property; above it a second one has to say yes.

The rule is the cloud's own: no building gives money back, and a policy with a field that an older building does not
know would be refused there as a whole (docs/decisions/0140).
"""

from dataclasses import dataclass
from datetime import datetime

from cloud.kit.database import Connection, execute, fetch_one
from cloud.kit.times import at
from cloud.payments.port import parse_currency
from cloud.platform import audit
from cloud.platform.properties import Property


@dataclass(frozen=True, slots=True)
class RefundRule:
    """Up to `minor` units of `currency` of one payment, all refunds of it together, one person suffices."""

    currency: str
    minor: int
    set_by: str
    set_at: datetime

    def wants_second(self, *, currency: str, refunded: int, minor: int) -> bool:
        """Tell whether a refund wants a second person: small ones add up, and other money cannot be compared."""
        return currency != self.currency or refunded + minor > self.minor


async def rule_of(connection: Connection, place: Property) -> RefundRule | None:
    """Return a property's rule; None: it has none, and one person suffices."""
    row = await fetch_one(
        connection,
        "SELECT currency, minor, set_by, set_at FROM payments.refund_rule WHERE tenant = %s AND property = %s",
        [place.tenant, place.id],
    )
    return None if row is None else RefundRule(**row)


async def set_rule(
    connection: Connection, place: Property, limit: tuple[str, int] | None, *, by: str, now_ms: int
) -> None:
    """Set a property's rule as (currency, minor units), or take it away; what waits goes on waiting.

    Raises:
        InvalidInputError: no currency.
    """
    if limit is None:
        await execute(
            connection,
            "DELETE FROM payments.refund_rule WHERE tenant = %s AND property = %s",
            [place.tenant, place.id],
        )
    else:
        await execute(
            connection,
            """INSERT INTO payments.refund_rule (property, tenant, currency, minor, set_by, set_at)
               VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (property) DO UPDATE
                  SET currency = excluded.currency, minor = excluded.minor, set_by = excluded.set_by,
                      set_at = excluded.set_at""",
            [place.id, place.tenant, parse_currency(limit[0]), limit[1], by, at(now_ms)],
        )
    await audit.append(
        connection,
        tenant=place.tenant,
        actor=by,
        action="payment.rule",
        property_id=place.id,
        subject="refunds",
        outcome=audit.Outcome.DONE,
        detail="one person suffices"
        if limit is None
        else f"a second person above {limit[1]} minor units of {limit[0]}",
        now_ms=now_ms,
    )
