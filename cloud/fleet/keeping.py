"""Which commands may go: those that are settled. One whose end nobody knows yet stays, whatever its age.

Whoever asks again under the idempotency key of one that is gone asks anew: its deadline passed long before.
"""

from typing import Final, LiteralString

SETTLED: Final[LiteralString] = """
    DELETE FROM fleet.command
     WHERE phase IN ('done', 'failed', 'expired') AND updated_at < %(before)s AND id IN (
           SELECT id FROM fleet.command WHERE phase IN ('done', 'failed', 'expired') AND updated_at < %(before)s
            ORDER BY updated_at LIMIT %(most)s)
"""
