"""What people and physics do to a rehearsed property, and what is true there: PMS desk, locks, field devices."""

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Any, Final

from kit.clock import Clock
from kit.dice import Dice
from protocols.errors import ReplyTimeoutError
from provisioning.rehearsal.clients import JsonApi, the_one
from provisioning.rehearsal.control import ControlLine

BUSTLE_STEP_S: Final = 0.02


class PmsDesk(JsonApi):
    """The front desk's hands on the emulated PMS."""

    async def add_reservation(self, *, first_name: str, last_name: str, room: str, start_ms: int, end_ms: int) -> str:
        """Book a room; return the PMS's own id of the reservation."""
        body = {
            "first_name": first_name,
            "last_name": last_name,
            "room": room,
            "start": _iso(start_ms),
            "end": _iso(end_ms),
        }
        return str((await self.post("/emulator/reservations", body))["Id"])

    async def state_of(self, reservation: str) -> str:
        """Return a reservation's state in the PMS's words: Confirmed, Started, Processed, ..."""
        reservations = (await self.get("/emulator/state"))["reservations"]
        return str(the_one(reservations, "Id", reservation, "a reservation that the PMS holds")["State"])

    async def check_out(self, reservation: str) -> None:
        """Close a reservation at the desk."""
        await self.post(f"/emulator/reservations/{reservation}/process", {})

    async def add(self, *, name: str, room: str, start_ms: int, end_ms: int) -> str:
        """Book a room for a guest of one name; return the PMS's own id of the reservation."""
        return await self.add_reservation(
            first_name="Guest", last_name=name, room=room, start_ms=start_ms, end_ms=end_ms
        )

    async def move(self, reservation: str, room: str) -> None:
        """Give a reservation another room."""
        await self.post(f"/emulator/reservations/{reservation}/update", {"room": room})

    async def extend(self, reservation: str, end_ms: int) -> None:
        """Let a reservation end later."""
        await self.post(f"/emulator/reservations/{reservation}/update", {"end": _iso(end_ms)})

    async def check_in(self, reservation: str) -> None:
        """Check a guest in at the desk, in the PMS alone."""
        await self.post(f"/emulator/reservations/{reservation}/start", {})

    async def cancel(self, reservation: str, *, no_show: bool = False) -> None:
        """Cancel a reservation, or say that nobody came."""
        await self.post(f"/emulator/reservations/{reservation}/{'no-show' if no_show else 'cancel'}", {})

    async def set_room(self, room: str, state: str) -> None:
        """Housekeeping says how a room is, in the PMS's words: Dirty, Clean, Inspected, ..."""
        await self.post(f"/emulator/rooms/{room}", {"state": state})

    async def state(self) -> dict[str, Any]:
        """Return everything that the PMS holds."""
        return dict(await self.get("/emulator/state"))


class Till(JsonApi):
    """The truth at the payment provider, and the guests' hands at their banks."""

    async def confirm(self, intent: str, *, well: bool = True) -> None:
        """Let a guest answer his bank (3-D Secure)."""
        await self.post(f"/emulator/intents/{intent}/confirm", {"well": well})

    async def state(self) -> dict[str, Any]:
        """Return all intents, each time that money moved, and what became of answers and events."""
        return dict(await self.get("/emulator/state"))


class Locks:
    """The truth at the locks."""

    def __init__(self, line: ControlLine) -> None:
        self._line = line

    async def openings(self, door: str) -> int:
        """Return how often the motor of a door's lock has really run."""
        return int((await self._status(door))["motor_runs"])

    async def all_openings(self) -> dict[str, int]:
        """Return by door how often its lock's motor has really run."""
        return {str(lock["door"]): int(lock["motor_runs"]) for lock in (await self._line.read(do="status"))["locks"]}

    async def generation(self, door: str) -> int:
        """Return the generation that a door's lock holds now."""
        return int((await self._status(door))["generation"])

    async def is_drawn(self, door: str) -> bool:
        """Return whether a door's bolt is drawn now: whoever pushes comes in."""
        return bool((await self._status(door))["bolt"] == "drawn")

    async def turn(self, door: str, *, privacy: bool) -> None:
        """Somebody inside turns the knob."""
        await self._line.ask(do="set", door=door, privacy=privacy)

    async def touch(self, door: str) -> None:
        """Touch the handle: the lock wakes and adverts fast."""
        await self._line.ask(do="touch", door=door)

    async def lose_power(self, door: str) -> None:
        """Take the batteries out of a door's lock and put them in again: its clock is lost, its memory is not."""
        await self._line.ask(do="lose_power", door=door)

    async def _status(self, door: str) -> dict[str, Any]:
        return dict((await self._line.read(do="status", door=door))["locks"][0])


class Field:
    """The truth at the devices, and hands on them."""

    def __init__(self, line: ControlLine, clock: Clock, dice: Dice, rooms: list[str]) -> None:
        self._line, self._clock, self._dice, self._rooms = line, clock, dice, rooms

    async def true_value(self, device: str, point: str) -> Any:  # noqa: ANN401 - whatever the device holds
        """Return what is really so at a device; `point` is "capability.attribute"."""
        return (await self._line.read(do="true_state", device=device))["state"].get(point)

    async def cause(self, device: str, event: str, **arguments: object) -> None:
        """Let something happen at a device."""
        await self._line.ask(**{"do": "cause", "device": device, "event": event, "with": arguments})

    async def power(self, device: str, *, on: bool) -> None:
        """Take a device's power away, or give it back."""
        await self._line.ask(do="power", device=device, on=on)

    async def bustle(self, *, seconds: float) -> int:
        """Fill the house with life: doors move, people walk. Returns how many things surely happened."""
        happened = 0
        until_ms = self._clock.now_ms() + int(seconds * 1000)
        while self._clock.now_ms() < until_ms:
            room = self._dice.choice(self._rooms)
            with contextlib.suppress(ReplyTimeoutError):  # the devices were killed meanwhile: one event more or less
                if self._dice.integer(0, 1):
                    await self.cause(f"contact-{room}", "open" if happened % 2 else "close")
                else:
                    await self.cause(f"motion-{room}", "motion")
                happened += 1
            await asyncio.sleep(BUSTLE_STEP_S)
        return happened


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()
