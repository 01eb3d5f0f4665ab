"""Our wishes to change a PMS: who came or left at the edge shall have come or left in the PMS, a room that we gave
an arrival shall be his there, and a stay that the building made longer or shorter shall end there when it does here.

A wish is written with the event that caused it, and granted when reading the PMS says so, never because a
write was answered. Before each write the PMS is read: what is so already is not asked for again, and after a
write that may have taken effect we look for a while before writing again.

An end is told only while the building's word on it stands by the rule of cloud/stays/ending.py, once for each word, and
never over an end that the PMS named after it was told ours (docs/decisions/0146). A word is one wish, by whichever way
it was noticed (docs/decisions/0156). An hour that the guest was granted on the day of his departure is told where the
PMS knows hours (docs/decisions/0173).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from zoneinfo import ZoneInfo

from cloud.kit.database import Connection, Database, execute, fetch_one
from cloud.kit.notify import NotificationHub
from cloud.kit.outbox import OUTBOX_CHANNEL, Event
from cloud.kit.times import at, unix_ms
from cloud.platform.properties import Property, ask_property, property_by_id
from cloud.pms import room_map
from cloud.pms.engine import PmsSync
from cloud.pms.looks import Look, departure_look, late_look, look_at, room_look
from cloud.pms.port import PmsAction, PmsAdapter, PmsBusyError, PmsCannotError, PmsRefusedError, PmsReservation
from cloud.stays.assigning import given_room
from cloud.stays.ending import Promise
from cloud.stays.late_ends import BY_LATE
from cloud.stays.life import StayState
from cloud.stays.promises import end_is_sent, end_was_not_sent, ends_of, last_word, standing_ends
from cloud.stays.reservation import Housekeeping, PmsStatus
from cloud.stays.stays import BY_BUILDING, Place, end_is_settled
from kit.clock import Clock
from protocols.errors import LinkLostError, PlatformError

ATTEMPTS_MOST: Final = 3  # PMS-19
LOOKS_MOST: Final = 6
BACKOFF_FIRST_MS: Final = 2_000
BACKOFF_FACTOR: Final = 4
LOOK_AGAIN_MS: Final = 2_000
UNREAD_WAIT_FIRST_MS: Final = BACKOFF_FIRST_MS * BACKOFF_FACTOR
UNREAD_WAIT_MOST_MS: Final = UNREAD_WAIT_FIRST_MS * BACKOFF_FACTOR
PATIENCE_MS: Final = 24 * 3_600_000
"""A wish that could not even be tried for this long is given up: the line was down, not the rule against us. No attempt
is counted meanwhile, and the pauses double (docs/decisions/0155).
"""
LOOK_S: Final = 1.0
MISSED_LOOK_MS: Final = 5 * 60_000
MISSED_AFTER_MS: Final = 60_000
"""An event comes sooner than that; if not, the same wish twice is granted twice by the same look."""

_KNOWN: Final = [each.value for each in PmsAction]
HAND_LOOK_MS: Final = 5 * 60_000
BY_HAND: Final = "by_hand"
UNAUTHORIZED: Final = 401


def wish(event: Mapping[str, Any]) -> PmsAction | None:
    """Return what a changed stay makes us want of the PMS, None if it agrees already. Pure.

    Who stays longer or shorter has neither come nor left by it, though his room was let go and given again.
    """
    if event.get("by") in (BY_BUILDING, BY_LATE):
        return None
    status = PmsStatus(event["pms_status"])
    if event["state"] == StayState.IN_HOUSE and status in (PmsStatus.BOOKED, PmsStatus.OPTION):
        return PmsAction.CHECK_IN
    if event["state"] == StayState.LEFT and status in (PmsStatus.BOOKED, PmsStatus.OPTION, PmsStatus.IN_HOUSE):
        return PmsAction.CHECK_OUT
    return None


def gained_room(event: Mapping[str, Any]) -> bool:
    """Tell whether a changed stay is to come and has a room that it did not have. Pure."""
    to_come = event["state"] in (StayState.PLANNED, StayState.READY)
    return to_come and event["room"] is not None and event["room"] != event["from_room"]


def _cause(stay: str, n: int) -> int:
    """Return the number of the wish for a word on a stay's end, which no event has."""
    return -1 - int.from_bytes(hashlib.sha256(f"{stay}/{n}".encode()).digest()[:7], "big")


async def want(
    connection: Connection,
    *,
    tenant: str,
    property_id: str,
    system: str,
    action: PmsAction,
    external_id: str,
    target: str | None,
    cause: int,
    now_ms: int,
    stay: str | None = None,
    is_over: bool = False,
) -> bool:
    """Write a wish down, in the transaction that has the cause for it; False: that cause had it written already.

    Args:
        external_id: the reservation, or the room for SET_ROOM_STATUS, by its id in the PMS.
        target: the room's id in the PMS for ASSIGN_ROOM, a `Housekeeping` for SET_ROOM_STATUS, unix ms for
            SET_DEPARTURE, else None.
        cause: the outbox event, or whatever number makes asking twice the same wish.

        is_over: another one took its place before it was heard of: it is noted, and takes nobody's place.

    A wish for an end takes the place of an earlier one, and one to check out that of any.
    """
    overtaken = "another word came after it"
    count = await execute(
        connection,
        """INSERT INTO pms.write_intent (property, system, tenant, action, external_id, target, stay, cause_event,
                                         state, not_before, created_at, ended_at, last_error)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (property, system, cause_event, action) DO NOTHING""",
        [
            *(property_id, system, tenant, action.value, external_id, target, stay, cause),
            *("overtaken" if is_over else "pending", at(now_ms), at(now_ms)),
            *((at(now_ms), overtaken) if is_over else (None, None)),
        ],
    )
    if count and not is_over and action in (PmsAction.SET_DEPARTURE, PmsAction.CHECK_OUT):
        await execute(
            connection,
            """UPDATE pms.write_intent SET state = 'overtaken', ended_at = %s, last_error = %s
                WHERE property = %s AND system = %s AND external_id = %s AND action = 'set_departure'
                  AND state IN ('pending', 'by_hand') AND NOT (cause_event = %s AND action = %s)""",
            [at(now_ms), overtaken, property_id, system, external_id, cause, action.value],
        )
    return count > 0


class IntentWriter:
    """Outbox subscriber: turns changed stays into wishes, for connections that may write."""

    def __init__(self, writable: frozenset[tuple[str, str]]) -> None:
        """`writable`: (property, system) pairs with two-way sync."""
        self._writable = writable

    async def on_stay_changed(self, connection: Connection, event: Event) -> None:
        """Write the wish in the relay's transaction."""
        body = event.body
        if (event.property, body["system"]) not in self._writable:
            return
        wishes: list[tuple[PmsAction, str | None]] = []
        if (action := wish(body)) is not None:
            wishes.append((action, None))  # first: a PMS that still has him booked knows his room better than we do
        if body.get("elsewhere") or (action is None and await self._is_ours(connection, event)):
            target = await room_map.id_of(
                connection, property_id=event.property, system=body["system"], room=body["room"]
            )
            wishes += [] if target is None else [(PmsAction.ASSIGN_ROOM, target)]
        for action, target in wishes:
            await want(
                connection,
                tenant=event.tenant,
                property_id=event.property,
                system=body["system"],
                action=action,
                external_id=body["external_id"],
                target=target,
                cause=event.id,
                now_ms=unix_ms(event.occurred_at),
                stay=body["stay"],
            )

    async def on_stay_departure(self, connection: Connection, event: Event) -> None:
        """Write the wish that a stay ends when the building said: one for each of its words, however late that is heard
        of here (see `IntentWorker.wish_what_was_missed`).
        """
        body = event.body
        if (event.property, body["system"]) in self._writable:
            last = await last_word(connection, property_id=event.property, stay=body["stay"])
            await want(
                connection,
                tenant=event.tenant,
                property_id=event.property,
                system=body["system"],
                action=PmsAction.SET_DEPARTURE,
                external_id=body["external_id"],
                target=str(body["until_ms"]),
                cause=_cause(body["stay"], body["n"]),
                now_ms=unix_ms(event.occurred_at),
                stay=body["stay"],
                is_over=body["n"] < last,
            )

    async def on_stay_late(self, connection: Connection, event: Event) -> None:
        """Write the wish that a guest who was granted a late check-out has it in the PMS, too."""
        body = event.body
        if (event.property, body["system"]) in self._writable:
            await want(
                connection,
                tenant=event.tenant,
                property_id=event.property,
                system=body["system"],
                action=PmsAction.SET_DEPARTURE,
                external_id=body["external_id"],
                target=str(body["until_ms"]),
                cause=event.id,
                now_ms=unix_ms(event.occurred_at),
                stay=body["stay"],
            )

    @staticmethod
    async def _is_ours(connection: Connection, event: Event) -> bool:
        """Tell whether a stay to come gained a room, and we gave it."""
        body = event.body
        given = await given_room(connection, property_id=event.property, stay=body["stay"])
        return gained_room(body) and given == body["room"]


class IntentWorker:
    """Grants the wishes of one connection."""

    def __init__(
        self,
        database: Database,
        adapter: PmsAdapter,
        sync: PmsSync,
        *,
        two_way: bool,
        clock: Clock,
        log: Any,  # noqa: ANN401 - structlog's lazy logger
    ) -> None:
        """`two_way` false: nothing is wished for."""
        self._two_way = two_way
        self._database, self._adapter, self._sync = database, adapter, sync
        self._clock, self._log = clock, log
        self._passed_over: set[str] = set()
        self._missed_ms = clock.now_ms()

    async def run(self, hub: NotificationHub) -> None:
        """Work until cancelled."""
        with hub.subscribe(OUTBOX_CHANNEL) as woken:
            while True:
                await self.work_due()
                await woken.wait(LOOK_S)

    async def wish_what_was_missed(self) -> int:
        """Wish for each end that stands and was never wished for; return how many.

        A process of a build that knew nothing of such wishes took the word, or its event. What was wished for last is
        not wished for again, whatever became of it.
        """
        if not self._two_way:
            return 0
        count, now_ms = 0, self._clock.wall_ms()
        where: dict[str, Any] = {"property_id": self._sync.property_id, "system": self._sync.system}
        async with self._database.transaction() as connection:
            for each in await standing_ends(connection, **where, before_ms=now_ms - MISSED_AFTER_MS):
                last = await fetch_one(
                    connection,
                    """SELECT target FROM pms.write_intent WHERE property = %s AND system = %s AND stay = %s
                          AND action = 'set_departure' ORDER BY id DESC LIMIT 1""",
                    [*where.values(), each.stay],
                )
                if last is None or last["target"] != str(each.until_ms):
                    count += await want(
                        connection,
                        **where,
                        tenant=each.tenant,
                        action=PmsAction.SET_DEPARTURE,
                        external_id=each.external_id,
                        target=str(each.until_ms),
                        cause=_cause(each.stay, each.n),
                        now_ms=now_ms,
                        stay=each.stay,
                    )
        return count

    async def work_due(self) -> int:
        """Take each due wish one step further, the oldest of each reservation first; return how many.

        One that a newer build wished for and this one does not know waits for a process that does, and what comes after
        it of the same reservation with it. Now and then, and first, what was missed is wished for.
        """
        if self._clock.now_ms() >= self._missed_ms:
            await self.wish_what_was_missed()
            self._missed_ms = self._clock.now_ms() + MISSED_LOOK_MS
        now_ms = self._clock.wall_ms()
        due = await self._database.ask(
            """SELECT id, action, external_id, target, stay, state, attempts, sent, looks, last_read_back, unread_since
                 FROM pms.write_intent w
                WHERE property = %s AND system = %s AND state IN ('pending', 'by_hand') AND not_before <= %s
                  AND NOT EXISTS (SELECT 1 FROM pms.write_intent p
                                   WHERE p.property = w.property AND p.system = w.system
                                     AND p.external_id = w.external_id AND p.state IN ('pending', 'by_hand')
                                     AND p.id < w.id)
                ORDER BY action = ANY(%s) DESC, id LIMIT 50""",
            [self._sync.property_id, self._sync.system, at(now_ms), _KNOWN],
        )
        found = await ask_property(self._database, self._sync.property_id) if due else None
        if found is None:
            return 0
        for action in {row["action"] for row in due}.difference(_KNOWN, self._passed_over):
            self._passed_over.add(action)
            self._log.warning("pms_write_unknown", property=found.id, system=self._sync.system, action=action)
        due = [row for row in due if row["action"] in _KNOWN]
        for row in due:
            try:
                await self._step(found, row)
            except PlatformError as error:  # to be patient, or reading failed: nothing was written in this step
                await self._put_off(row, error)
        return len(due)

    async def _step(self, found: Property, row: Mapping[str, Any]) -> None:
        action = PmsAction(row["action"])
        look = await self._look(found, action, row)
        if look.granted:
            await self._end(row, "done", read_back=look.said, error=None)
            return
        if look.unsure and row["looks"] < LOOKS_MOST:
            await self._look_later(row, row["last_read_back"])
            return
        if look.overtaken:
            await self._end(row, "overtaken", read_back=look.said, error="the PMS no longer has it so")
            return
        if action not in self._adapter.capabilities.writes:
            self._tell_by_hand(row, None)
            await self._leave_by_hand(row, look.said)
            return
        if row["sent"] and row["looks"] < LOOKS_MOST:
            # what the PMS said before it was told an end is what tells its own word from that
            await self._look_later(row, row["last_read_back"] if action is PmsAction.SET_DEPARTURE else look.said)
            return
        if look.starts_ms is not None and look.starts_ms > self._clock.wall_ms():
            await self._wait_for_arrival(row, look.starts_ms)  # no PMS starts a reservation before its time
            return
        if row["attempts"] >= ATTEMPTS_MOST:
            self._log.warning(
                "pms_write_failed", property=found.id, action=action, id=row["external_id"], status=look.said
            )
            await self._end(row, "failed", read_back=look.said, error=None)
            return
        await self._write(action, row, look.said)

    async def _look(self, found: Property, action: PmsAction, row: Mapping[str, Any]) -> Look:
        if action is PmsAction.SET_ROOM_STATUS:
            room = await self._sync.read_room(found, row["external_id"])
            return room_look(room, Housekeeping(row["target"]), self._adapter.capabilities.conditions)
        read = await self._sync.read_again(found, row["external_id"])
        if action is PmsAction.SET_DEPARTURE:
            return await self._look_at_departure(found, read, row)
        return look_at(action, read, row["target"], early_ms=self._adapter.capabilities.early_ms)

    async def _look_at_departure(self, found: Property, read: PmsReservation | None, row: Mapping[str, Any]) -> Look:
        promise: Promise | None = None
        async with self._database.transaction() as connection:
            ends = await ends_of(connection, property_id=found.id, stay=row["stay"])
        if ends is not None:
            promise = ends.promise
            read = None if read is None else replace(read, departure_ms=ends.pms_ms)  # a late answer is an older one
        sent = row["last_read_back"] if row["sent"] else None
        zone = ZoneInfo(found.zone) if self._adapter.capabilities.by_day else None
        wanted_ms = int(row["target"])
        late_ms = None if ends is None or ends.late is None else ends.late.until_ms
        if promise is None and zone is None and late_ms == wanted_ms:
            return late_look(read, wanted_ms, sent)
        return departure_look(read, wanted_ms, promise, sent, zone=zone)

    async def _write(self, action: PmsAction, row: Mapping[str, Any], said: str | None) -> None:
        """Write once. What says that nothing of it left passes through and does not count: PmsBusyError, LinkLostError,
        and PmsRefusedError for our credentials.
        """
        sent, error_text, begun = True, None, False
        external_id = row["external_id"]
        try:
            match action:
                case PmsAction.CHECK_IN:
                    await self._adapter.check_in(external_id)
                case PmsAction.CHECK_OUT:
                    if said != PmsStatus.IN_HOUSE:
                        await self._adapter.check_in(external_id)  # came and left before the PMS heard of either
                        begun = True
                    await self._adapter.check_out(external_id)
                case PmsAction.ASSIGN_ROOM:
                    await self._adapter.assign_room(external_id, row["target"])
                case PmsAction.SET_ROOM_STATUS:
                    await self._adapter.set_room_status(external_id, Housekeeping(row["target"]))
                case PmsAction.SET_DEPARTURE:
                    if not await self._set_departure(row, said):
                        await self._end(row, "overtaken", read_back=said, error="the building says otherwise by now")
                        return
        except (PmsBusyError, LinkLostError) as error:
            if not begun:
                raise
            error_text = str(error)
        except PmsCannotError as error:  # not for this hotel, or not with this word: trying again changes nothing
            self._tell_by_hand(row, error)
            await self._leave_by_hand(row, said)
            return
        except PmsRefusedError as error:
            if error.status == UNAUTHORIZED:
                raise  # it knows us no longer: that says nothing about the wish, and a person is mending it
            sent, error_text = False, str(error)
        except PlatformError as error:
            sent, error_text = error.may_have_taken_effect, str(error)
        attempts = row["attempts"] + 1
        wait_ms = LOOK_AGAIN_MS if sent else BACKOFF_FIRST_MS * BACKOFF_FACTOR ** (attempts - 1)
        async with self._database.transaction() as connection:
            await execute(
                connection,
                """UPDATE pms.write_intent SET attempts = %s, sent = %s, looks = 0, not_before = %s, last_error = %s,
                          last_read_back = %s, unread_since = NULL WHERE id = %s""",
                [
                    attempts,
                    sent,
                    at(self._clock.wall_ms() + (0 if sent and error_text is None else wait_ms)),
                    error_text,
                    said,
                    row["id"],
                ],
            )

    async def _set_departure(self, row: Mapping[str, Any], said: str | None) -> bool:
        """Tell the PMS an end, and keep in mind before that it may have it, and what it said until then.

        Returns False where that end is the building's word no longer: nothing was told.
        """
        until_ms = int(row["target"])
        where: dict[str, Any] = {"property_id": self._sync.property_id, "stay": row["stay"], "until_ms": until_ms}
        async with self._database.transaction() as connection:
            if not await end_is_sent(connection, **where):
                return False
            await self._keep_doubt(connection, row, sent=True, looks=0, said=said)
        try:
            await self._adapter.set_departure(row["external_id"], until_ms)
        except PmsCannotError:
            async with self._database.transaction() as connection:
                await end_was_not_sent(connection, **where)
                await self._keep_doubt(connection, row, sent=False, looks=0, said=said)
            raise
        except (PmsBusyError, PmsRefusedError, LinkLostError):
            # no proof that it has not: some answer an error after having done it
            async with self._database.transaction() as connection:
                await self._keep_doubt(
                    connection, row, sent=row["sent"], looks=row["looks"], said=row["last_read_back"]
                )
            raise
        return True

    @staticmethod
    async def _keep_doubt(
        connection: Connection, row: Mapping[str, Any], *, sent: bool, looks: int, said: str | None
    ) -> None:
        await execute(
            connection,
            "UPDATE pms.write_intent SET sent = %s, looks = %s, last_read_back = %s WHERE id = %s",
            [sent, looks, said, row["id"]],
        )

    def _tell_by_hand(self, row: Mapping[str, Any], why: PmsCannotError | None) -> None:
        if row["state"] != BY_HAND:
            self._log.warning(
                "pms_write_by_hand",
                property=self._sync.property_id,
                action=row["action"],
                id=row["external_id"],
                error=None if why is None else str(why),
            )

    async def _leave_by_hand(self, row: Mapping[str, Any], said: str | None) -> None:
        """A person grants it in the PMS; we look now and then whether it was done."""
        async with self._database.transaction() as connection:
            await execute(
                connection,
                "UPDATE pms.write_intent SET state = %s, not_before = %s, last_read_back = %s, last_error = %s,"
                " unread_since = NULL"
                " WHERE id = %s AND state IN ('pending', 'by_hand')",
                [
                    BY_HAND,
                    at(self._clock.wall_ms() + HAND_LOOK_MS),
                    said,
                    "has to be done in the PMS itself",
                    row["id"],
                ],
            )

    async def _wait_for_arrival(self, row: Mapping[str, Any], starts_ms: int) -> None:
        async with self._database.transaction() as connection:
            await execute(
                connection,
                "UPDATE pms.write_intent SET not_before = %s, last_read_back = %s, last_error = %s, unread_since = NULL"
                " WHERE id = %s",
                [at(starts_ms), PmsStatus.BOOKED.value, "waits for the hour of arrival", row["id"]],
            )

    async def _look_later(self, row: Mapping[str, Any], said: str | None) -> None:
        async with self._database.transaction() as connection:
            await execute(
                connection,
                "UPDATE pms.write_intent SET looks = looks + 1, not_before = %s, last_read_back = %s,"
                " unread_since = NULL WHERE id = %s",
                [at(self._clock.wall_ms() + LOOK_AGAIN_MS), said, row["id"]],
            )

    async def _put_off(self, row: Mapping[str, Any], error: PlatformError) -> None:
        """Wait, as long as the PMS asks for, or twice as long as the last time, and count no attempt."""
        now_ms = self._clock.wall_ms()
        since_ms = now_ms if row["unread_since"] is None else unix_ms(row["unread_since"])
        wait_ms = min(max(now_ms - since_ms, UNREAD_WAIT_FIRST_MS), UNREAD_WAIT_MOST_MS)
        if isinstance(error, PmsBusyError):
            wait_ms = max(error.wait_ms, LOOK_AGAIN_MS)
        if now_ms - since_ms > PATIENCE_MS and row["state"] != BY_HAND:
            await self._end(row, "failed", read_back=None, error=str(error))
            return
        async with self._database.transaction() as connection:
            await execute(
                connection,
                "UPDATE pms.write_intent SET not_before = %s, last_error = %s, unread_since = %s WHERE id = %s",
                [at(now_ms + wait_ms), str(error)[:500], at(since_ms), row["id"]],
            )

    async def _end(self, row: Mapping[str, Any], state: str, *, read_back: str | None, error: str | None) -> None:
        async with self._database.transaction() as connection:
            now_ms = self._clock.wall_ms()
            ended = await execute(
                connection,
                """UPDATE pms.write_intent SET state = %s, ended_at = %s, last_read_back = %s,
                          last_error = coalesce(%s, last_error) WHERE id = %s AND state IN ('pending', 'by_hand')""",
                [state, at(now_ms), read_back, error, row["id"]],
            )
            if not ended or row["action"] != PmsAction.SET_DEPARTURE:
                return
            found = await property_by_id(connection, self._sync.property_id)
            if found is not None:
                place = Place(found.tenant, found.id, found.edge)
                await end_is_settled(connection, place, stay=row["stay"], until_ms=int(row["target"]), now_ms=now_ms)
