"""Plays a programme in a raised building: hands on phones, doors, sensors, lines and power; writes the truth down.

Every act is made where people and physics make it (a phone taps, a contact opens, a unit loses its power); what
Innkeeper believes meanwhile is only looked at, through its public APIs.
"""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from kit.dice import Dice
from kit.task_groups import TaskGroup
from protocols.errors import PlatformError, ReplyTimeoutError
from provisioning.rehearsal.building import Building
from provisioning.rehearsal.grand.judging import treated_as_absent
from provisioning.rehearsal.grand.programme import POWER_CUT_S, Arrival, Fault, Programme, Temper, Weather
from provisioning.rehearsal.grand.truth import RoomTruth, Truth
from provisioning.rehearsal.phone import Guest

PHONES: Final = 2
DOOR_OPEN_S: Final = 1.0
MOVES_AFTER_S: Final = 1.5
STIRS_EVERY_S: Final = 15.0
LOOK_EVERY_S: Final = 15.0
EDGE_BACK_WAIT_S: Final = 60.0
POLL_S: Final = 0.1


class Play:
    """One run. `stays`: by room, the stay that the edge holds for its guest."""

    def __init__(
        self,
        building: Building,
        programme: Programme,
        truth: Truth,
        stays: dict[str, str],
        dice: Dice,
    ) -> None:
        self._building, self._programme, self.truth, self._dice = building, programme, truth, dice
        self._stays = stays
        self._phones: asyncio.Queue[Guest] = asyncio.Queue()
        self._bundles: dict[str, dict[str, Any]] = {}
        self._edge_up = asyncio.Event()
        self._edge_up.set()
        self._line_up = True
        self._began_ms = 0
        self.absent: list[str] = []
        """Looks at which a guest who was inside was treated as absent."""
        self.looks = 0

    @property
    def entered(self) -> int:
        """How many guests have come in."""
        return sum(1 for each in self.truth.rooms.values() if each.entered_ms is not None)

    async def run(self) -> None:
        """Live through the whole programme."""
        building = self._building
        for number in range(PHONES):
            self._phones.put_nowait(await building.new_guest(f"guest-{number}"))
        self._began_ms = building.clock.now_ms()
        watching = asyncio.create_task(self._look(), name="look")
        try:
            async with asyncio.timeout(self._programme.seconds * 3 + 60), TaskGroup() as life:
                for arrival in self._programme.arrivals:
                    life.create_task(self._at(arrival.at_s, partial(self._guest, arrival)))
                for fault in self._programme.faults:
                    life.create_task(self._at(fault.at_s, partial(self._break, fault)))
                for weather in self._programme.weather:
                    life.create_task(self._at(weather.at_s, partial(self._blow, weather)))
            await self._until(self._programme.seconds)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    # --- time -----------------------------------------------------------------------------------------------

    @property
    def _now_ms(self) -> int:
        return self._building.clock.now_ms()

    async def _until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - (self._now_ms - self._began_ms) / 1000))

    async def _at(self, at_s: float, do: Callable[[], Awaitable[None]]) -> None:
        await self._until(at_s)
        await do()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with contextlib.suppress(PlatformError):  # the edge is down for a moment: the next look is soon
                rooms = (await self._building.edge.get("/api/v1/rooms"))["rooms"]
                self.looks += 1
                self.absent += treated_as_absent(self.truth, rooms, now_ms=self._now_ms)

    # --- guests ---------------------------------------------------------------------------------------------

    async def _guest(self, arrival: Arrival) -> None:
        room = self.truth.rooms[arrival.room]
        phone = await self._phones.get()
        try:
            await self._check_in(arrival, room, phone)
            if arrival.tries_door_of is not None:
                await self._wrong_door(phone, arrival)
            opened = await self._open(phone, arrival.room)
        finally:
            self._phones.put_nowait(phone)
        if not opened:
            raise ReplyTimeoutError(f"the guest of room {arrival.room} gave up at the door")
        room.entered_ms = self._now_ms
        await self._door(arrival.room)
        await asyncio.sleep(MOVES_AFTER_S)
        await self._move(arrival.room)
        await self._live(arrival, room)

    async def _check_in(self, arrival: Arrival, room: RoomTruth, phone: Guest) -> None:
        await self._edge_up.wait()
        stay = self._stays[arrival.room]
        if self._line_up and self._dice.integer(0, 3) == 0:
            answer = await self._building.cloud.check_in(stay, phone.public_key)
        else:
            answer = await self._building.edge.check_in(stay, phone.public_key)
        room.stay = stay
        self._bundles[arrival.room] = answer["bundle"]

    async def _open(self, phone: Guest, room: str) -> bool:
        await phone.load(self._bundles[room])
        answer = await phone.open_as_guests_do(f"door-{room}")
        self.truth.taps += answer["taps"]
        return bool(answer["ending"] == "opened")

    async def _wrong_door(self, phone: Guest, arrival: Arrival) -> None:
        assert arrival.tries_door_of is not None  # noqa: S101 - the caller asks only then
        door = f"door-{arrival.tries_door_of}"
        await phone.load(self._building.bundle_for_another_door(self._bundles[arrival.room], door))
        answer = await phone.open(door)
        if answer["ending"] == "opened":
            raise AssertionError(f"{door} opened for the guest of room {arrival.room}")
        if answer["ending"] == "refused":
            self.truth.rooms[arrival.tries_door_of].refusals += 1

    async def _live(self, arrival: Arrival, room: RoomTruth) -> None:
        match arrival.temper:
            case Temper.SLEEPS:
                return
            case Temper.STIRS:
                until_ms = self._now_ms + int(arrival.stays_s * 1000)
                while self._now_ms < until_ms:
                    await asyncio.sleep(STIRS_EVERY_S)
                    await self._move(arrival.room)
            case Temper.OPENS_WINDOW:
                await asyncio.sleep(2.0)
                await self._building.field.cause(f"thermostat-{arrival.room}", "window", open=True)
                room.window_ms = self._now_ms
            case Temper.GOES_OUT:
                await asyncio.sleep(arrival.stays_s)
                await self._door(arrival.room)
                room.left_ms = self._now_ms
            case Temper.CHECKS_OUT:
                await asyncio.sleep(arrival.stays_s)
                await self._door(arrival.room)
                room.left_ms = self._now_ms
                await self._edge_up.wait()
                stay = self._stays[arrival.room]
                await self._building.edge.post(f"/api/v1/stays/{stay}/check-out", {"by": "front desk"})
                room.checked_out_ms = self._now_ms

    async def _door(self, room: str) -> None:
        """Open and close a door. While the edge is down nobody moves: a contact says its word once."""
        for event, closed in (("open", False), ("close", True)):
            await self._edge_up.wait()
            await self._building.field.cause(f"contact-{room}", event)
            self.truth.rooms[room].contact.append(closed)
            if closed:
                self.truth.rooms[room].closed_ms = self._now_ms
            await asyncio.sleep(DOOR_OPEN_S)

    async def _move(self, room: str) -> None:
        await self._edge_up.wait()
        await self._building.field.cause(f"motion-{room}", "motion")
        if not self.truth.rooms[room].dark:
            self.truth.rooms[room].moved_ms = self._now_ms

    # --- weather and faults ---------------------------------------------------------------------------------

    async def _blow(self, weather: Weather) -> None:
        self.truth.weather_c = weather.celsius
        for room in self.truth.rooms:
            await self._building.field.cause(f"thermostat-{room}", "weather", value=weather.celsius)

    async def _break(self, fault: Fault) -> None:
        building, room = self._building, self.truth.rooms.get(fault.room)
        match fault.what:
            case "outage":
                self._line_up = False
                await building.line.cut(silent=True)
            case "restored":
                await building.line.restore()
                self._line_up = True
            case "edge_killed":
                await self._kill_edge()
            case "dark" if room is not None:
                room.dark = True
                await building.field.power(f"motion-{fault.room}", on=False)
            case "power_cut" if room is not None:
                room.power_cut = True
                await building.field.power(f"thermostat-{fault.room}", on=False)
                await asyncio.sleep(POWER_CUT_S)
                await building.field.power(f"thermostat-{fault.room}", on=True)
            case "leak" if room is not None:
                await self._edge_up.wait()
                await building.field.cause(
                    f"leak-{fault.room}",
                    "set",
                    capability="boolean_state",
                    attribute="state_value:leak",
                    value=True,
                )
                room.leak_ms = self._now_ms

    async def _kill_edge(self) -> None:
        """Kill the edge, open a door meanwhile, and wait until it is back."""
        building = self._building
        self._edge_up.clear()
        await asyncio.sleep(DOOR_OPEN_S * 2)  # what doors have just said is heard
        killed_ms = self._now_ms
        building.programs.send("edge", signal.SIGKILL)
        asleep = [room for room, each in self.truth.rooms.items() if each.inside and room in self._bundles]
        if asleep:
            phone = await self._phones.get()
            try:
                await self._open(phone, asleep[0])
            finally:
                self._phones.put_nowait(phone)
        async with asyncio.timeout(EDGE_BACK_WAIT_S):
            while not await building.edge.ready():  # noqa: ASYNC110 - another process: there is no event to wait for
                await asyncio.sleep(POLL_S)
        self.truth.edge_back_s = (self._now_ms - killed_ms) / 1000
        await asyncio.sleep(DOOR_OPEN_S * 2)  # its buses listen again
        self.truth.edge_back_ms = self._now_ms
        self._edge_up.set()
