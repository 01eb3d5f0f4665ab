"""The document `stays`: the next 72 hours of a property's stays, as its edge shall hold them.

A new version exists when, and only when, the stays in it differ from the version before. Versions of one
property are made under the lock of its stays, so they only grow and never fork.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from cloud.kit.database import Connection, execute, fetch_all, fetch_one, jsonb
from cloud.kit.times import at, unix_ms

NAME: Final = "stays"
FORMAT: Final = 1
FORMAT_SHARED: Final = 2
"""protocols/stays/SPEC.md: only a document in which somebody shares is of the second format."""
FORMAT_ENDS: Final = 3
"""Only one that answers to a word of the building on a stay's end is of the third."""
AHEAD_MS: Final = 72 * 3_600_000
ENDED_SHOWN_MS: Final = 24 * 3_600_000
"""A stay that ended stays in the document this long, and in any case until the edge holds a version that says so:
at the edge a document that merely forgets a guest does not check him out."""
STAYS_MOST: Final = 2_000  # 0.5 MB of signed document; a property beyond it needs a second document, not a cut
_encoder = msgspec.json.Encoder(order="deterministic")


async def renew(connection: Connection, *, tenant: str, property_id: str, edge: str, now_ms: int) -> int | None:
    """Make the next version if the stays of the next 72 h changed; return its number, else None."""
    rows = await fetch_all(
        connection,
        """SELECT s.id, s.room, s.state, s.guest_name, s.expected_from, s.expected_until, s.version,
                  s.share, s.edge_until_n, coalesce(r.number, r.external_id) AS reservation
             FROM stays.stay s
             JOIN stays.reservation r USING (property, system, external_id)
             LEFT JOIN stays.document d ON d.property = s.property
            WHERE s.property = %(property)s
              AND ((s.state = 'in_house' AND s.room IS NOT NULL)
                OR (s.state IN ('planned', 'ready') AND s.room IS NOT NULL
                    AND s.expected_from < %(until)s AND s.expected_until > %(now)s)
                OR (s.state IN ('left', 'void') AND s.document_version IS NOT NULL
                    AND (s.document_version > d.held_version OR s.updated_at > %(ended_after)s)))
            ORDER BY s.state <> 'in_house', s.state IN ('left', 'void'), s.expected_from, s.id
            LIMIT %(most)s""",
        {
            "property": property_id,
            "now": at(now_ms),
            "until": at(now_ms + AHEAD_MS),
            "ended_after": at(now_ms - ENDED_SHOWN_MS),
            "most": STAYS_MOST,
        },
    )
    stays: list[dict[str, Any]] = [
        {
            "id": row["id"],
            "room": row["room"],
            "state": row["state"],
            "guest_name": row["guest_name"],
            "expected_from_ms": unix_ms(row["expected_from"]),
            "expected_until_ms": unix_ms(row["expected_until"]),
            "reservation": row["reservation"],
            "version": row["version"],
            **({} if row["share"] is None else {"share": row["share"]}),
            **({} if row["edge_until_n"] == 0 else {"until_n": row["edge_until_n"]}),
        }
        for row in rows
    ]
    stays.sort(key=lambda stay: str(stay["id"]))
    digest = hashlib.sha256(_encoder.encode(stays)).digest()
    known = await fetch_one(
        connection, "SELECT version, digest, edge, body FROM stays.document WHERE property = %s", [property_id]
    )
    if known is not None and known["digest"] == digest and known["edge"] == edge:
        return None
    version: int = 1 if known is None else known["version"] + 1
    body = {"v": _format(stays), "property": property_id, "as_of_ms": now_ms, "stays": stays}
    await execute(
        connection,
        """INSERT INTO stays.document (property, tenant, edge, version, digest, body, made_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (property) DO UPDATE SET
               edge = excluded.edge, version = excluded.version, digest = excluded.digest,
               body = excluded.body, made_at = excluded.made_at""",
        [property_id, tenant, edge, version, digest, jsonb(body), at(now_ms)],
    )
    # A stay is held by the edge once the edge holds a document that carries it as it is now.
    before = {stay["id"]: stay for stay in (known["body"]["stays"] if known is not None else ())}
    carried = [stay["id"] for stay in stays if before.get(stay["id"]) != stay]
    gone = sorted(before.keys() - {stay["id"] for stay in stays})
    await execute(
        connection,
        """UPDATE stays.stay SET document_version = CASE WHEN id = ANY(%s) THEN %s::bigint END
            WHERE property = %s AND id = ANY(%s)""",
        [carried, version, property_id, carried + gone],
    )
    return version


def _format(stays: Iterable[Mapping[str, Any]]) -> int:
    """Return the oldest format that can say this: an edge that knows no newer one takes it."""
    if any("until_n" in stay for stay in stays):
        return FORMAT_ENDS
    return FORMAT_SHARED if any("share" in stay for stay in stays) else FORMAT


async def held(connection: Connection, *, property_id: str, version: int, at_ms: int) -> None:
    """Note that the edge has applied `version`; an older report changes nothing."""
    await execute(
        connection,
        "UPDATE stays.document SET held_version = %s, held_at = %s WHERE property = %s AND held_version < %s",
        [version, at(at_ms), property_id, version],
    )
