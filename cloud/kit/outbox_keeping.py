"""Which events of the outbox may go: delivered ones after a while, and those given up after a much longer one.

`relayed_at` is set in the transaction in which the last subscriber had the event: what was delivered was delivered to
all. What waits is never let go, whatever its age. What was given up (`parked_at`) stays visible until somebody
settles it: makes it wait again, or marks it as delivered.
"""

from typing import Final, LiteralString

DELIVERED: Final[LiteralString] = """
    DELETE FROM outbox.event
     WHERE relayed_at < %(before)s AND id IN (
           SELECT id FROM outbox.event WHERE relayed_at < %(before)s ORDER BY relayed_at LIMIT %(most)s)
"""
GIVEN_UP: Final[LiteralString] = """
    DELETE FROM outbox.event
     WHERE relayed_at IS NULL AND parked_at < %(before)s AND id IN (
           SELECT id FROM outbox.event WHERE relayed_at IS NULL AND parked_at < %(before)s
            ORDER BY parked_at LIMIT %(most)s)
"""
"""Both conditions stand outside as well: who settles a row meanwhile, keeps it."""
