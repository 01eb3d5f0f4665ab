"""How a check-in policy fares, and how it would have fared: the gate of its rollout, and its dry run.

The dry run asks of every session that was: which steps would this policy have asked for, and would it have let the
guest begin when he did? It reads what was recorded and changes nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cloud.checkin.steps import Party, standing
from cloud.kit.database import Connection, fetch_all, fetch_one
from cloud.kit.times import at, unix_ms
from protocols.policy import check_in
from protocols.policy.check_in import CheckInPolicy

SESSIONS_MOST: Final = 5_000


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a policy would have asked of the sessions that were, beside what was asked."""

    sessions: int
    too_early: int
    """Guests who could not have begun when they did."""
    steps_asked: Mapping[str, int]
    steps_then: Mapping[str, int]


async def outcomes(connection: Connection, properties: Sequence[str], since_ms: int) -> tuple[int, int]:
    """Return how many requests for keys were answered at properties since then, and how many of them were refused."""
    row = await fetch_one(
        connection,
        """SELECT count(*) FILTER (WHERE state IN ('completed', 'refused')) AS tried,
                  count(*) FILTER (WHERE state = 'refused') AS failed
             FROM checkin.key_request WHERE property = ANY(%s) AND began_at >= %s""",
        [list(properties), at(since_ms)],
    )
    return (0, 0) if row is None else (int(row["tried"]), int(row["failed"]))


async def dry_run(
    connection: Connection, policy: CheckInPolicy, *, tenant: str, properties: Sequence[str], since_ms: int
) -> DryRun:
    """Hold a policy against the sessions that began at properties since then, the newest first.

    Who the guests were is sealed and is not opened: each of a party is taken for an adult who shows a document.
    """
    rows = await fetch_all(
        connection,
        """SELECT s.stays, s.party, s.policy, s.began_at, t.expected_from
             FROM checkin.session s JOIN stays.stay t ON t.property = s.property AND t.id = s.stays[1]
            WHERE s.tenant = %s AND s.property = ANY(%s) AND s.began_at >= %s ORDER BY s.began_at DESC LIMIT %s""",
        [tenant, list(properties), at(since_ms), SESSIONS_MOST],
    )
    asked: Counter[str] = Counter()
    then: Counter[str] = Counter()
    too_early = 0
    for row in rows:
        party = Party(tuple(row["stays"]), row["party"], {}, row["expected_from"].date())
        for policy_of, counts in ((policy, asked), (check_in.parse(row["policy"]), then)):
            counts.update(step.kind.value for step in standing(policy_of, party, {}, ready=frozenset()))
        opens_ms = unix_ms(row["expected_from"]) - policy.opens_before_minutes * 60_000
        too_early += unix_ms(row["began_at"]) < opens_ms
    return DryRun(len(rows), too_early, dict(asked), dict(then))


async def late_outcomes(_: Connection, __: Sequence[str], ___: int) -> tuple[int, int]:
    """Return that of a late check-out policy nothing can fail: what it does not grant is the desk's to answer."""
    return 0, 0
