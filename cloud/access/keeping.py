"""Which openings may go: as long as the records that they were made of are kept, they are kept here as well.

Numbers are given in the order of arrival: the oldest stand first.
"""

from typing import Final, LiteralString

OPENINGS: Final[LiteralString] = """
    DELETE FROM access.event WHERE id IN (
        SELECT id FROM (SELECT id, received_at FROM access.event ORDER BY id LIMIT %(most)s) oldest
         WHERE received_at < %(before)s)
"""
