"""Brings a policy to properties by rings, and takes it back by itself where it does harm.

A release goes to its first ring; once every edge there says that it applied it, the soak time has passed and outcomes
are no worse than allowed, to the next. One refusal, one edge that calls it unhealthy, or outcomes beyond the gate, and
every property that got it gets its last good policy again, as a newer version: edges never take an older one. A
property that is away holds the rollout up; it does not fail it.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

from cloud.kit.database import Connection, Database, execute, fetch_all, fetch_one, jsonb, lock_for_transaction
from cloud.kit.times import at, unix_ms
from kit.dice import Dice
from protocols.errors import InvalidInputError, LinkLostError, PlatformError, ReplyTimeoutError
from protocols.policy.envelope import Policy

PREFIX: Final = "policy_"
UNTIL_MS: Final = 30 * 24 * 3_600_000
AGAIN_MS: Final = 60_000
RINGS_MOST, PROPERTIES_MOST = 20, 1_000
TRIED_LEAST: Final = 5
FAILED_SHARE_MOST: Final = 0.2
"""The gate: of at least so many tries since the ring began, at most this share may have failed."""

Sign: TypeAlias = Callable[[Policy], bytes]
Publish: TypeAlias = Callable[[str, str, int, dict[str, Any]], Awaitable[None]]
"""Publish (edge, name, version, body). Raises LinkLostError, ReplyTimeoutError."""
Outcomes: TypeAlias = Callable[[Connection, Sequence[str], int], Awaitable[tuple[int, int]]]
"""Return (tried, failed) of what a kind of policy governs, at properties, since unix ms."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of policy: how its body is read, what a property without one goes by, and how it fares."""

    read: Callable[[str], object]
    default: str
    outcomes: Outcomes


class WallClock(Protocol):
    """What releases need of a clock."""

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


class Releases:
    """Every rollout there is. `release` runs for a caller, the rest as the service's own worker."""

    def __init__(
        self, database: Database, kinds: Mapping[str, Kind], *, sign: Sign, clock: WallClock, dice: Dice
    ) -> None:
        """Sign with `sign`."""
        self._database, self._kinds, self._sign, self._clock, self._dice = database, kinds, sign, clock, dice

    async def release(
        self, *, tenant: str, kind: str, body: str, rings: Sequence[Sequence[str]], soak_ms: int, by: str
    ) -> str:
        """Begin to roll a policy out; return the release's id.

        Raises:
            InvalidInputError: no such kind, not of its format, rings that name a property twice or one that is not the
                tenant's, or another release of the kind is under way.
        """
        known = self._kinds.get(kind)
        if known is None:
            raise InvalidInputError("kind", f"want one of {', '.join(sorted(self._kinds))}")
        try:
            known.read(body)
        except PlatformError as error:
            raise InvalidInputError("body", str(error)) from error
        named = [each for ring in rings for each in ring]
        if not rings or any(not ring for ring in rings) or len(rings) > RINGS_MOST or len(named) > PROPERTIES_MOST:
            raise InvalidInputError("rings", f"want 1 to {RINGS_MOST} rings of at least one property each")
        if len(set(named)) != len(named):
            raise InvalidInputError("rings", "name a property twice")
        release, now_ms = f"rel-{self._dice.bytes(10).hex()}", self._clock.wall_ms()
        async with self._database.transaction() as connection:
            await lock_for_transaction(connection, "policy", tenant, kind)
            found = await fetch_all(
                connection, "SELECT id FROM platform.property WHERE tenant = %s AND id = ANY(%s)", [tenant, named]
            )
            if missing := sorted(set(named) - {row["id"] for row in found}):
                raise InvalidInputError("rings", f"{missing[0]!r:.60} is no property of yours")
            if await _rolling(connection, tenant, kind) is not None:
                raise InvalidInputError("kind", "another release of it is under way")
            await execute(
                connection,
                """INSERT INTO policy.release (id, tenant, kind, body, rings, soak_ms, state, ring_at, made_by, made_at)
                   VALUES (%s, %s, %s, %s, %s, %s, 'rolling', %s, %s, %s)""",
                [release, tenant, kind, body, jsonb(rings), soak_ms, at(now_ms), by, at(now_ms)],
            )
            for each in rings[0]:
                await self._want(connection, each, kind, body, release)
        return release

    async def work(self) -> int:
        """Take every release that is under way one step further; return how many changed."""
        async with self._database.transaction() as connection:
            rolling = await fetch_all(connection, "SELECT id FROM policy.release WHERE state = 'rolling' ORDER BY id")
        changed = 0
        for row in rolling:
            async with self._database.transaction() as connection:
                changed += await self._step(connection, row["id"])
        return changed

    async def publish_due(self, publish: Publish) -> int:
        """Publish what no edge has been told, or has not answered for AGAIN_MS; return how many."""
        now_ms = self._clock.wall_ms()
        async with self._database.transaction() as connection:
            due = await fetch_all(
                connection,
                """SELECT property, kind, edge, version, signed FROM policy.wanted
                    WHERE published_at IS NULL OR (verdict IS NULL AND published_at < %s) ORDER BY property, kind""",
                [at(now_ms - AGAIN_MS)],
            )
        published = 0
        for row in due:
            try:
                await publish(row["edge"], PREFIX + row["kind"], row["version"], {"signed": bytes(row["signed"])})
            except (LinkLostError, ReplyTimeoutError):
                break  # the broker is away: the next look tries again
            published += 1
            async with self._database.transaction() as connection:
                await execute(
                    connection,
                    "UPDATE policy.wanted SET published_at = %s WHERE property = %s AND kind = %s AND version = %s",
                    [at(now_ms), row["property"], row["kind"], row["version"]],
                )
        return published

    async def _step(self, connection: Connection, release_id: str) -> int:
        release = await fetch_one(connection, "SELECT * FROM policy.release WHERE id = %s FOR UPDATE", [release_id])
        if release is None or release["state"] != "rolling":
            return 0
        reached = [each for ring in release["rings"][: release["ring"] + 1] for each in ring]
        rows = await fetch_all(
            connection,
            "SELECT property, verdict, verdict_at, detail FROM policy.wanted WHERE release = %s ORDER BY property",
            [release_id],
        )
        bad = next((row for row in rows if row["verdict"] in ("refused", "unhealthy")), None)
        if bad is not None:
            why = f"{bad['property']}: {bad['verdict']}: {bad['detail'] or 'no reason given'}"
            return await self._roll_back(connection, release, why)
        known = self._kinds[release["kind"]]
        tried, failed = await known.outcomes(connection, reached, unix_ms(release["ring_at"]))
        if tried >= TRIED_LEAST and failed > tried * FAILED_SHARE_MOST:
            return await self._roll_back(connection, release, f"{failed} of {tried} failed since the ring began")
        now_ms = self._clock.wall_ms()
        latest = max((row["verdict_at"] for row in rows if row["verdict_at"] is not None), default=None)
        if any(row["verdict"] is None for row in rows) or latest is None:
            return 0
        if now_ms < unix_ms(latest) + release["soak_ms"]:
            return 0
        if release["ring"] + 1 == len(release["rings"]):
            await self._end(connection, release_id, "done", None)
            return 1
        await execute(
            connection,
            "UPDATE policy.release SET ring = ring + 1, ring_at = %s WHERE id = %s",
            [at(now_ms), release_id],
        )
        for each in release["rings"][release["ring"] + 1]:
            await self._want(connection, each, release["kind"], release["body"], release_id)
        return 1

    async def _roll_back(self, connection: Connection, release: Mapping[str, Any], why: str) -> int:
        rows = await fetch_all(
            connection,
            "SELECT property, good_body FROM policy.wanted WHERE release = %s ORDER BY property",
            [release["id"]],
        )
        for row in rows:
            body = row["good_body"] or self._kinds[release["kind"]].default
            await self._want(connection, row["property"], release["kind"], body, None)
        await self._end(connection, release["id"], "rolled_back", why)
        return 1

    async def _want(self, connection: Connection, property_id: str, kind: str, body: str, release: str | None) -> None:
        now_ms = self._clock.wall_ms()
        place = await fetch_one(connection, "SELECT tenant, edge FROM platform.property WHERE id = %s", [property_id])
        if place is None:
            raise InvalidInputError("rings", f"{property_id!r:.60} is no property")
        before = await fetch_one(
            connection,
            "SELECT version, body, verdict, good_body FROM policy.wanted WHERE property = %s AND kind = %s FOR UPDATE",
            [property_id, kind],
        )
        version = 1 if before is None else before["version"] + 1
        good = None if before is None else before["good_body"]
        if before is not None and before["verdict"] == "applied" and release is not None:
            good = before["body"]
        signed = self._sign(Policy(property_id, kind, version, now_ms, now_ms + UNTIL_MS, body))
        await execute(
            connection,
            """INSERT INTO policy.wanted (property, kind, tenant, edge, version, body, signed, release, wanted_at,
                                          good_body)
               VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
               ON CONFLICT (property, kind) DO UPDATE SET
                   edge = excluded.edge, version = excluded.version, body = excluded.body, signed = excluded.signed,
                   release = excluded.release, wanted_at = excluded.wanted_at, good_body = excluded.good_body,
                   published_at = NULL, verdict = NULL, verdict_at = NULL, detail = NULL""",
            [property_id, kind, place["tenant"], place["edge"], version, body, signed, release, at(now_ms), good],
        )

    async def _end(self, connection: Connection, release: str, state: str, why: str | None) -> None:
        await execute(
            connection,
            "UPDATE policy.release SET state = %s, reason = %s, ended_at = %s WHERE id = %s",
            [state, None if why is None else why[:500], at(self._clock.wall_ms()), release],
        )


async def heard(
    connection: Connection,
    *,
    property_id: str,
    name: str,
    version: int,
    applied: bool,
    detail: str | None,
    now_ms: int,
) -> None:
    """Take what an edge says of a policy; of another version than the one wanted it says nothing new."""
    await execute(
        connection,
        "UPDATE policy.wanted SET verdict = %s, verdict_at = %s, detail = %s"
        " WHERE property = %s AND kind = %s AND version = %s",
        [
            "applied" if applied else "refused",
            at(now_ms),
            None if detail is None else detail[:300],
            property_id,
            name.removeprefix(PREFIX),
            version,
        ],
    )


async def release_by_id(connection: Connection, *, tenant: str, release: str) -> dict[str, Any] | None:
    """Return a release with how each property stands, None if the tenant has none of that id."""
    found = await fetch_one(
        connection,
        "SELECT id, kind, rings, state, ring, reason, made_by, made_at FROM policy.release"
        " WHERE tenant = %s AND id = %s",
        [tenant, release],
    )
    if found is None:
        return None
    rows = await fetch_all(
        connection,
        "SELECT property, version, verdict, detail FROM policy.wanted WHERE tenant = %s AND release = %s"
        " ORDER BY property",
        [tenant, release],
    )
    return {**found, "properties": rows}


async def _rolling(connection: Connection, tenant: str, kind: str) -> dict[str, Any] | None:
    return await fetch_one(
        connection,
        "SELECT id FROM policy.release WHERE tenant = %s AND kind = %s AND state = 'rolling'",
        [tenant, kind],
    )
