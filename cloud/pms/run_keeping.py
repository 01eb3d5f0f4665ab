"""Which notes of exchanges with a PMS may go: a connection makes one every half a minute, and nobody counts on them.

Numbers are given in the order of time: the oldest stand first, and no index of their ends is needed to find them.
"""

from typing import Final, LiteralString

NOTED: Final[LiteralString] = """
    DELETE FROM pms.sync_run WHERE id IN (
        SELECT id FROM (SELECT id, ended_at FROM pms.sync_run ORDER BY id LIMIT %(most)s) oldest
         WHERE ended_at < %(before)s)
"""
