"""Which letters may go: those of stays that are over by dates, or that nobody knows any more, whatever became of them.

While a stay may still be arrived at, the row says that its guest was written to. A stay that comes back later comes on
another day, for which a letter is due anyway (letters.py): so its end lies a day further back than the rows themselves.
"""

from typing import Final, LiteralString

OVER: Final[LiteralString] = """
    DELETE FROM checkin.letter d
     USING (SELECT l.id FROM checkin.letter l LEFT JOIN stays.stay s ON s.property = l.property AND s.id = l.stay
             WHERE l.decided_at < %(before)s AND (s.id IS NULL OR s.expected_until < %(before)s - interval '1 day')
             ORDER BY l.decided_at LIMIT %(most)s) old
     WHERE d.id = old.id AND d.decided_at < %(before)s
"""
