"""Which deliveries may go: those that are over, taken or given up. What waits stays, whatever its age."""

from typing import Final, LiteralString

OVER: Final[LiteralString] = """
    DELETE FROM webhooks.delivery d
     USING (SELECT endpoint, event FROM webhooks.delivery WHERE state <> 'waiting' AND ended_at < %(before)s
             ORDER BY ended_at LIMIT %(most)s) old
     WHERE (d.endpoint, d.event) = (old.endpoint, old.event) AND d.state <> 'waiting' AND d.ended_at < %(before)s
"""
