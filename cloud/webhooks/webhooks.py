"""Pushes events to tenants' addresses: written down with the event, sent until answered with 2xx, given up after a day.

A delivery is made in the relay's transaction, so none is lost; an answer that is lost makes one be sent again, under
the same id, by which a receiver knows it. Each endpoint has a turn of its own, in order, which ends with the first that
is not taken: one address that fails, answers slowly or never ends its answer holds up no other.
"""

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec

from cloud.kit.database import Connection, Database, execute, fetch_all
from cloud.kit.outbox import Event
from cloud.kit.times import at, iso
from cloud.privacy.sealing import Sealer
from cloud.webhooks.signature import SECRET_BYTES, headers, shown
from kit.dice import Dice
from kit.task_groups import TaskGroup
from protocols.errors import InvalidInputError, PlatformError, StoreFailedError

KINDS: Final = frozenset(
    {
        "stay.changed", "checkin.started", "checkin.step_completed", "checkin.needs_staff", "checkin.completed",
        "checkin.invited", "checkin.room_ready", "payment.changed",
    }
)  # fmt: skip
"""What can be asked for. None names a person."""
ENDPOINTS_MOST: Final = 20
URL_CHARACTERS_MOST: Final = 500
ENDPOINTS_AT_A_TIME: Final = 32
A_TURN: Final = 20
"""Deliveries of one endpoint before it is another's turn."""
TURNS_KEPT: Final = 1_000
"""Endpoints whose last turn is remembered."""
LOOK_S: Final = 1.0
BACKOFF_FIRST_MS, BACKOFF_MOST_MS = 5_000, 4 * 3_600_000
TRIES_MOST: Final = 14
WAIT_S: Final = 10.0


class WallClock(Protocol):
    """What pushing needs of a clock."""

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a tenant wants events of some kinds; `secret` is shown once, when it is made."""

    id: str
    url: str
    kinds: tuple[str, ...]
    made_at: datetime
    secret: str | None = None


def parse_url(text: str) -> str:
    """Return an address that may be pushed to.

    Only https to a public name on its usual port: an address of a tenant's choice must not reach what is ours. What a
    name resolves to is the network's to bound: let the service out through a proxy or a rule that ends at our border.

    Raises:
        InvalidInputError: says what is wrong with it.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidInputError("url", "is no address") from error
    host = parts.hostname or ""
    if len(text) > URL_CHARACTERS_MOST or not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidInputError("url", f"want at most {URL_CHARACTERS_MOST} plain characters")
    if parts.scheme != "https" or parts.username is not None or parts.fragment or port not in (None, 443):
        raise InvalidInputError("url", "want https://name/path, without a user, a fragment or another port")
    labels = host.rstrip(".").split(".")
    if len(labels) < 2 or not all(labels) or labels[-1].isdigit() or labels[-1] in ("local", "localhost", "internal"):
        raise InvalidInputError("url", "want a public name")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return text
    raise InvalidInputError("url", "want a name, not a number")


def _origin(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}"


class Webhooks:
    """Endpoints and deliveries."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        http: httpx.AsyncClient,
        *,
        clock: WallClock,
        dice: Dice,
        private_origins: Sequence[str] = (),
    ) -> None:
        """Push over `http`, and to `private_origins` (http://host:port) too, which no public address may be."""
        self._database, self._sealer, self._http = database, sealer, http
        self._clock, self._dice, self._private = clock, dice, frozenset(private_origins)
        self._under_way: set[str] = set()
        self._turned: dict[str, int] = {}
        """When an endpoint's last turn ended: whoever has waited longest since is next, however much he has due."""

    async def add(self, *, tenant: str, url: str, kinds: Sequence[str], by: str) -> Endpoint:
        """Make an endpoint; its secret is in the answer and never again.

        Raises:
            InvalidInputError: an address or kind that is not taken, or too many endpoints.
            NoKeysError: no secret can be kept here.
        """
        url = url if _origin(url) in self._private else parse_url(url)
        if unknown := sorted(set(kinds) - KINDS):
            raise InvalidInputError("kinds", f"{unknown[0]!r:.60} is none; known: {', '.join(sorted(KINDS))}")
        if not kinds:
            raise InvalidInputError("kinds", "want at least one")
        id_, now_ms, secret = f"wh-{self._dice.bytes(10).hex()}", self._clock.wall_ms(), self._dice.bytes(SECRET_BYTES)
        async with self._database.transaction() as connection:
            known = await self._of(connection, tenant)
            if len(known) >= ENDPOINTS_MOST:
                raise InvalidInputError("url", f"there are {ENDPOINTS_MOST} endpoints; end one first")
            sealed = await self._sealer.seal(connection, secret, tenant=tenant, place=id_, now_ms=now_ms)
            await execute(
                connection,
                "INSERT INTO webhooks.endpoint (id, tenant, url, kinds, secret, made_by, made_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [id_, tenant, url, sorted(set(kinds)), sealed, by, at(now_ms)],
            )
        return Endpoint(id_, url, tuple(sorted(set(kinds))), at(now_ms), shown(secret))

    async def listed(self, *, tenant: str) -> list[Endpoint]:
        """Return the endpoints of a tenant, without their secrets."""
        async with self._database.transaction() as connection:
            return await self._of(connection, tenant)

    async def end(self, *, tenant: str, endpoint: str) -> bool:
        """End an endpoint; False: there is none of that id."""
        async with self._database.transaction() as connection:
            return bool(
                await execute(
                    connection,
                    "UPDATE webhooks.endpoint SET ended_at = %s, ended_why = 'asked'"
                    " WHERE tenant = %s AND id = %s AND ended_at IS NULL",
                    [at(self._clock.wall_ms()), tenant, endpoint],
                )
            )

    async def on_event(self, connection: Connection, event: Event) -> None:
        """Outbox subscriber: note what is to be sent, in the relay's transaction."""
        message = {
            "type": event.type,
            "timestamp": iso(event.occurred_at),
            "data": {"property": event.property, "subject": event.subject, **event.body},
        }
        await execute(
            connection,
            """INSERT INTO webhooks.delivery (endpoint, event, tenant, body, state, not_before, made_at)
               SELECT id, %s, tenant, %s, 'waiting', %s, %s FROM webhooks.endpoint
                WHERE tenant = %s AND ended_at IS NULL AND %s = ANY (kinds) ON CONFLICT DO NOTHING""",
            [
                event.id,
                msgspec.json.encode(message).decode(),
                event.occurred_at,
                at(self._clock.wall_ms()),
                event.tenant,
                event.type,
            ],
        )

    async def run(self) -> None:
        """Push until cancelled. Raises StoreFailedError: the database is away; turns under way have ended."""
        try:
            async with TaskGroup() as turns:
                while True:
                    for rows in await self._due():
                        self._under_way.add(rows[0]["endpoint"])
                        turns.create_task(self._turn(rows))
                    await asyncio.sleep(LOOK_S)
        except* StoreFailedError as lost:
            raise StoreFailedError(str(lost.exceptions[0])) from lost

    async def work_due(self) -> int:
        """Give each endpoint with something due one turn, all at once; return how many deliveries were due."""
        due = await self._due()
        async with TaskGroup() as turns:
            for rows in due:
                self._under_way.add(rows[0]["endpoint"])
                turns.create_task(self._turn(rows))
        return sum(len(rows) for rows in due)

    async def _due(self) -> list[list[Mapping[str, Any]]]:
        """Return what is due, by endpoint, of endpoints that have no turn now."""
        if (free := ENDPOINTS_AT_A_TIME - len(self._under_way)) <= 0:
            return []
        async with self._database.transaction() as connection:
            rows = await fetch_all(
                connection,
                """SELECT d.endpoint, d.event, d.tenant, d.body, d.tries, e.url, e.secret
                     FROM (SELECT w.endpoint, greatest(min(w.not_before), min(t.ended_at)) AS since
                             FROM webhooks.delivery w
                             JOIN webhooks.endpoint open ON open.id = w.endpoint AND open.ended_at IS NULL
                             LEFT JOIN unnest(%(turned)s::text[], %(turned_at)s::timestamptz[]) t (endpoint, ended_at)
                               ON t.endpoint = w.endpoint
                            WHERE w.state = 'waiting' AND w.not_before <= %(now)s AND NOT w.endpoint = ANY(%(busy)s)
                            GROUP BY w.endpoint ORDER BY since LIMIT %(free)s) waits
                     JOIN webhooks.endpoint e ON e.id = waits.endpoint
                    CROSS JOIN LATERAL (SELECT endpoint, event, tenant, body, tries, not_before FROM webhooks.delivery
                            WHERE endpoint = waits.endpoint AND state = 'waiting' AND not_before <= %(now)s
                            ORDER BY event LIMIT %(turn)s) d
                    ORDER BY waits.since, d.endpoint, d.event""",
                {
                    "now": at(self._clock.wall_ms()), "busy": sorted(self._under_way), "free": free, "turn": A_TURN,
                    "turned": list(self._turned), "turned_at": [at(each) for each in self._turned.values()],
                },
            )  # fmt: skip
        by_endpoint: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_endpoint.setdefault(row["endpoint"], []).append(row)
        return list(by_endpoint.values())

    async def _turn(self, rows: Sequence[Mapping[str, Any]]) -> None:
        try:
            for row in rows:
                if not await self._send(row):
                    return
        except StoreFailedError:
            return  # what was sent is sent again, under its id
        finally:
            self._end_turn(rows[0]["endpoint"])

    def _end_turn(self, endpoint: str) -> None:
        self._under_way.discard(endpoint)
        self._turned.pop(endpoint, None)
        self._turned[endpoint] = self._clock.wall_ms()
        if len(self._turned) > TURNS_KEPT:
            del self._turned[next(iter(self._turned))]

    async def _send(self, row: Mapping[str, Any]) -> bool:
        """Send one delivery once; return whether it was taken."""
        now_ms, body = self._clock.wall_ms(), str(row["body"]).encode()
        try:
            async with self._database.transaction() as connection:
                secret = await self._sealer.open(
                    connection, bytes(row["secret"]), tenant=row["tenant"], place=row["endpoint"]
                )
            signed = headers(f"msg-{row['endpoint']}-{row['event']}", body, [secret], at_s=now_ms // 1_000)
            async with (
                asyncio.timeout(WAIT_S),
                self._http.stream(
                    "POST",
                    row["url"],
                    content=body,
                    headers={**signed, "content-type": "application/json"},
                    timeout=WAIT_S,
                    follow_redirects=False,
                ) as answer,
            ):  # the status is all that counts: what follows it may never end
                said, sent = str(answer.status_code), answer.is_success
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            said, sent = type(error).__name__, False
        except PlatformError as error:
            said, sent = str(error)[:100], False
        tries = row["tries"] + 1
        over = sent or tries >= TRIES_MOST
        wait_ms = min(BACKOFF_FIRST_MS * 2 ** min(tries - 1, 20), BACKOFF_MOST_MS)
        async with self._database.transaction() as connection:
            await execute(
                connection,
                "UPDATE webhooks.delivery SET state = %s, tries = %s, not_before = %s, last_answer = %s, ended_at = %s"
                " WHERE endpoint = %s AND event = %s",
                [
                    "sent" if sent else "given_up" if over else "waiting",
                    tries,
                    at(now_ms + wait_ms),
                    said,
                    at(now_ms) if over else None,
                    row["endpoint"],
                    row["event"],
                ],
            )
        return sent

    async def _of(self, connection: Connection, tenant: str) -> list[Endpoint]:
        rows = await fetch_all(
            connection,
            "SELECT id, url, kinds, made_at FROM webhooks.endpoint WHERE tenant = %s AND ended_at IS NULL"
            " ORDER BY made_at, id",
            [tenant],
        )
        return [Endpoint(row["id"], row["url"], tuple(row["kinds"]), row["made_at"]) for row in rows]
