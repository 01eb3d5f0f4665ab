"""Which guests are let go: those whose last stay ended long ago, and what says that somebody was erased.

A key goes with what it sealed.
"""

from typing import Final, LiteralString

OVER: Final[LiteralString] = """
    WITH old AS (
        DELETE FROM guests.profile p
         USING (SELECT property, id FROM guests.profile WHERE last_until < %(before)s
                 ORDER BY last_until LIMIT %(most)s) o
         WHERE (p.property, p.id) = (o.property, o.id) AND p.last_until < %(before)s
        RETURNING p.property, p.id),
    booked AS (
        DELETE FROM guests.booking b USING old WHERE (b.property, b.guest) = (old.property, old.id))
    SELECT FROM old
"""
