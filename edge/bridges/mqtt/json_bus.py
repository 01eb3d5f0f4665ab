"""Drives the site broker for plain JSON devices: what arrives is durable before the broker hears that it arrived.

One read of the socket is one batch: parsed, appended to the record log in one commit a lane, only then acknowledged,
in the order of arrival. The broker keeps the session while this edge is down and delivers again what was not
acknowledged; what the log has by then is told by its content and taken once. A log that cannot be written acknowledges
nothing, so the broker holds back.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol

from edge.bridges.listening import ListeningBus
from edge.bridges.mqtt.json_again import Again
from edge.bridges.mqtt.json_readings import JsonReadings, Refused, Taken
from edge.bridges.mqtt.json_rules import JsonDevicesSettings, compile_rules, filters
from edge.bridges.mqtt.log_end import LogEnd
from kit.clock import Clock
from kit.dice import Dice
from kit.logs import logger
from kit.mqtt_wire import packets
from kit.mqtt_wire.parser import Publish
from kit.supervision import Backoff
from protocols.device_model.identity import BusId, DeviceId, RoomId
from protocols.device_model.reading import Quality, Reading
from protocols.errors import LinkLostError, LocalProtocolError, ReplyTimeoutError, StoreFailedError
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, Record, encode_record

BUS: Final = BusId("json")
BATCH_MESSAGES_MAX: Final = 1_000
COMMIT_RECORDS_MAX: Final = 2_000
TAIL_RECORDS: Final = 20_000
"""Records looked through for what is delivered again: more than any broker keeps in flight."""
TAIL_PAGE_RECORDS: Final = 1_000
REPLAY_MESSAGES_MAX: Final = 10_000
"""Messages held together to see how many of them the log has; of what comes again beyond them each is held against it.
"""
REFUSED_KINDS_MAX: Final = 1_000
"""(device, reason) pairs listed; what comes after is counted under one name."""
STORE_RETRY_S: Final = 1.0
RECONNECT: Final = Backoff(first_ms=200, most_ms=10_000)
COMPANY_MESSAGES: Final = 8
"""A batch of fewer has room for company: the next is taken `COMPANY_MS` after it began, and not sooner."""
COMPANY_MS: Final = 6
"""A commit costs the processor 0.3 ms whatever it holds; at 500 messages a second it would hold one or two."""
STEADY_MS: Final = 10_000
"""A connection that lasted so long was one: the next loss is a first one. A broker that lets us in and throws us out,
or somebody else of our name, must not keep both of us busy.
"""


class JsonLog(Protocol):
    """The record log, as this bus uses it."""

    async def append_encoded(self, lane: Lane | str, records: Sequence[bytes], *, urgent: bool = False) -> int:
        """Append encoded records in one commit, without waiting for company if `urgent`. Raises StoreFailedError."""
        ...

    async def read(self, lane: Lane | str, after_seq: int, most: int) -> list[Record]:
        """Return what follows a position. Raises StoreFailedError."""
        ...

    def heads(self) -> dict[Lane, int]:
        """Return each lane's last position."""
        ...


class JsonConnection(Protocol):
    """`kit.mqtt_wire.transport.WireConnection`, as this bus uses it."""

    @property
    def session_present(self) -> bool:
        """Whether what comes first may have come before."""
        ...

    async def subscribe(self, *filters: str) -> None:
        """Ask for topics."""
        ...

    async def batch(self, most: int) -> list[Publish]:
        """Return what arrived."""
        ...

    def acknowledge(self, messages: Sequence[Publish]) -> None:
        """Let the broker forget them."""
        ...


class JsonTransport(Protocol):
    """The way to the site broker, in a session that it keeps."""

    def connect(self) -> AbstractAsyncContextManager[JsonConnection]:
        """Open a connection. Raises LinkLostError."""
        ...


@dataclass(slots=True)
class _Listed:
    count: int
    first_ms: int
    last_ms: int
    evidence: str


class Hearing(Protocol):
    """What the house hears of JSON devices."""

    def alarmed(self, readings: Sequence[Reading]) -> None:
        """Take what came together, at once, if it is an alarm: that waits for no disk."""
        ...

    def kept(self, readings: Sequence[Reading]) -> None:
        """Take the same once it is durable."""
        ...


class JsonBus(ListeningBus):
    """`edge.bridges.ports.BusSupervisor` for every device that a rule of [json_devices] names.

    Counts messages, records, repeated, connections, connections_lost, refused_<reason>, untold.

    Args:
        settings: rules and bounds.
        transport: the way to the site broker.
        log: where readings become durable.
        clock: both clocks.
        dice: for pauses.
        rooms: the room of each device that the site plan knows.
        house: told of planned devices' readings; None: nobody is.
    """

    def __init__(
        self,
        settings: JsonDevicesSettings,
        *,
        transport: JsonTransport,
        log: JsonLog,
        clock: Clock,
        dice: Dice,
        rooms: Mapping[DeviceId, RoomId] | None = None,
        house: Hearing | None = None,
    ) -> None:
        super().__init__(BUS, why_not="is read by a rule of [json_devices], which cannot write")
        self._rules = compile_rules(settings)
        rooms = rooms or {}
        self._readings = JsonReadings(
            self._rules, rooms=rooms, wanted=frozenset(rooms) if house else (), devices_max=settings.devices_max
        )
        self._house = house
        self._silent_ms = round(settings.silent_after.total_seconds() * 1_000)
        # a transport that rests between its reads for as long gathers company already: one thing less to wake up for
        self._company_ms = 0 if settings.rest >= timedelta(milliseconds=COMPANY_MS) else COMPANY_MS
        self._transport, self._log, self._clock, self._dice = transport, log, clock, dice
        self._refused: OrderedDict[tuple[str, str], _Listed] = OrderedDict()
        self._say = logger("edge.bridges.json")

    async def run(self) -> None:
        """See `BusSupervisor.run`."""
        failures = 0
        while True:
            began_ms: int | None = None
            try:
                async with self._transport.connect() as connection:
                    self._counts["connections"] += 1
                    began_ms = self._clock.now_ms()
                    await self._serve(connection)
            except (LinkLostError, ReplyTimeoutError) as error:
                self._counts["connections_lost"] += 1
                if began_ms is not None and self._clock.now_ms() - began_ms >= STEADY_MS:
                    failures = 0
                if failures & (failures - 1) == 0:  # 0, 1, 2, 4, 8 ...: it must not fill the journal
                    self._say.info("site_broker_lost", error=str(error), tries=failures)
            failures += 1
            await asyncio.sleep(RECONNECT.pause_ms(failures, self._dice) / 1000)

    def serve(self, rooms: Mapping[DeviceId, RoomId]) -> None:
        """Take which devices serve which rooms from now on."""
        self._readings.serve(rooms, frozenset(rooms) if self._house else ())

    def live(self) -> list[dict[str, Any]]:
        """Return every value now, as the link's live state tells it."""
        now_ms = self._clock.wall_ms()
        return [
            {
                "room": source.room,
                "device": source.device,
                "capability": point.capability,
                "attribute": point.name,
                "value": point.value,
                "unit": point.unit,
                "quality": (
                    Quality.STALE if self._silent(point.at_ms, now_ms) and point.quality is not Quality.BAD
                    else point.quality
                ).value,
                "at_ms": point.at_ms,
            }
            for source in self._readings.sources
            for point in source.points.values()
            if point is not None and point.at_ms
        ]  # fmt: skip

    def told(self) -> list[dict[str, Any]]:
        """Return every device heard, then everything refused, with how often and what was seen last."""
        now_ms = self._clock.wall_ms()
        devices = [
            {
                "id": source.device,
                "room": source.room,
                "bus": BUS,
                "descriptor": None,
                "planned": source.wanted,
                "state": "stale" if self._silent(source.heard_ms, now_ms) else "online",
                "detail": {"values": sum(each is not None for each in source.points.values())},
                "since_ms": source.heard_ms or None,
            }
            for source in self._readings.sources
        ]
        refused = [
            {
                "id": who,
                "room": None,
                "bus": BUS,
                "descriptor": None,
                "planned": False,
                "state": "refused",
                "detail": {"reason": reason, "count": each.count, "last_ms": each.last_ms, "evidence": each.evidence},
                "since_ms": each.first_ms,
            }
            for (who, reason), each in self._refused.items()
        ]
        return devices + refused

    def _silent(self, at_ms: int, now_ms: int) -> bool:
        return now_ms - at_ms >= self._silent_ms

    # ------------------------------------------------------------------ one connection

    async def _serve(self, connection: JsonConnection) -> None:
        again = Again(self._readings, await self._log_end())
        # Aside, because a kept session may deliver more than an inbox holds before it answers a SUBSCRIBE.
        asking = asyncio.create_task(connection.subscribe(*filters(self._rules)), name="json: subscribe")
        try:
            await self._begin(connection, again, asking)
            while batch := await connection.batch(BATCH_MESSAGES_MAX):
                began_ms = self._clock.now_ms()
                await self._take(batch, again.take)
                connection.acknowledge(batch)
                if self._company_ms and len(batch) < COMPANY_MESSAGES:
                    rest_ms = began_ms + self._company_ms - self._clock.now_ms()
                    if rest_ms > 0:
                        await asyncio.sleep(rest_ms / 1000)
        finally:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, LinkLostError, ReplyTimeoutError):
                await asking

    async def _begin(self, connection: JsonConnection, again: Again, asking: "asyncio.Task[None]") -> None:
        """Serve until the broker has answered the SUBSCRIBE.

        What was in flight when the last connection ended a broker delivers before that, and first. It is taken
        together: how much of it the log holds is told by where it ends.

        Raises:
            LinkLostError: the broker lets us subscribe nothing, or is gone.
        """
        replayed: list[Publish] | None = [] if connection.session_present else None
        full = True
        while full or not asking.done():
            batch = await _batch_or_answer(connection, asking)
            full = len(batch) >= BATCH_MESSAGES_MAX
            if replayed is not None:
                count = next((n for n, each in enumerate(batch) if not each[3] & packets.DUP), len(batch))
                replayed += batch[:count]
                batch = batch[count:]
                if batch or (asking.done() and not full) or len(replayed) >= REPLAY_MESSAGES_MAX:
                    await self._take(replayed, again.replay)
                    connection.acknowledge(replayed)
                    replayed = None
            if batch:
                await self._take(batch, again.take)
                connection.acknowledge(batch)
        asking.result()
        again.settle()

    async def _take(self, batch: Sequence[Publish], read: Callable[..., Taken]) -> None:
        clock = self._clock
        wall_ms = clock.wall_ms()
        taken = read(batch, wall_ms=wall_ms, mono_ms=clock.now_ms(), clock=ClockQuality(clock.quality.value))
        self._counts["messages"] += len(batch)
        self._counts["repeated"] += taken.repeated
        if taken.refused:
            self._note_refused(taken, wall_ms)
        if self._house is not None and taken.told:
            self._house.alarmed(taken.told)
        await self._keep(Lane.B, taken.events)
        await self._keep(Lane.C, taken.telemetry)
        if self._house is not None and taken.told:
            self._house.kept(taken.told)

    async def _keep(self, lane: Lane, records: list[bytes]) -> None:
        for start in range(0, len(records), COMMIT_RECORDS_MAX):
            piece = records if len(records) <= COMMIT_RECORDS_MAX else records[start : start + COMMIT_RECORDS_MAX]
            while True:
                try:
                    await self._log.append_encoded(lane, piece, urgent=True)
                    break
                except StoreFailedError as error:  # nothing of it was kept; until it is, nothing is acknowledged
                    self._counts["store_failures"] += 1
                    self._say.warning("not_durable_yet", lane=lane.value, records=len(piece), error=str(error))
                    await asyncio.sleep(STORE_RETRY_S)
            self._counts["records"] += len(piece)

    def _note_refused(self, taken: Taken, wall_ms: int) -> None:
        for each in taken.refused:
            self._counts[f"refused_{each.reason.value}"] += 1
            key = (each.who, each.reason.value)
            listed = self._refused.get(key)
            if listed is not None:
                listed.count, listed.last_ms, listed.evidence = listed.count + 1, wall_ms, each.evidence
            elif len(self._refused) >= REFUSED_KINDS_MAX:
                self._counts["untold"] += 1
            else:
                self._refused[key] = _Listed(1, wall_ms, wall_ms, each.evidence)
                self._record_refusal(each, wall_ms, taken)

    def _record_refusal(self, refused: Refused, wall_ms: int, taken: Taken) -> None:
        """Once for each device and reason since the start: an event that the cloud sees too."""
        self._say.warning("refused", who=refused.who, reason=refused.reason.value, evidence=refused.evidence)
        detail = {"reason": refused.reason.value, "evidence": refused.evidence, "bus": str(BUS)}
        with contextlib.suppress(LocalProtocolError):  # evidence that no record can hold is in the log file alone
            taken.events.append(
                encode_record(
                    "device",
                    {"device": refused.who, "event": "refused", "detail": detail},
                    device_at_ms=None,
                    edge_at_ms=wall_ms,
                    mono_ms=self._clock.now_ms(),
                    clock=ClockQuality(self._clock.quality.value),
                )
            )

    async def _log_end(self) -> LogEnd:
        """Read the ends of lanes B and C, to tell by what comes a second time."""
        end = LogEnd()
        for lane in (Lane.B, Lane.C):
            head = self._log.heads()[lane]
            after = max(0, head - TAIL_RECORDS)
            while after < head:
                try:
                    page = await self._log.read(lane, after, TAIL_PAGE_RECORDS)
                except StoreFailedError as error:
                    self._say.warning("log_not_readable", lane=lane.value, error=str(error))
                    await asyncio.sleep(STORE_RETRY_S)
                    continue
                if not page:
                    break
                end.add(lane, page)
                after = page[-1].seq
        return end


async def _batch_or_answer(connection: JsonConnection, asking: "asyncio.Task[None]") -> list[Publish]:
    """Return what arrived; [] if nothing has when the SUBSCRIBE is answered."""
    reading = asyncio.create_task(connection.batch(BATCH_MESSAGES_MAX), name="json: read")
    try:
        await asyncio.sleep(0)  # what is there already is read first
        await asyncio.wait({reading, asking}, return_when=asyncio.FIRST_COMPLETED)
        return reading.result() if reading.done() else []
    finally:
        reading.cancel()
        await asyncio.wait({reading})  # one reader a connection
