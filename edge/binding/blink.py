"""The test of a device: prove by its own word that the thing behind a name is the one that a person is looking at.

Three ways, the strongest that its model allows: `blink` switches it the other way, reads that back and puts it as it
was; `echo` writes the value that it holds already and reads it back (no thermostat is turned and no chiller stopped);
`heard` waits for the next word of a thing that only speaks (open the contact, wave at the sensor). The result is what
was read back: true, false, or None where nobody can say.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from edge.binding.errors import BindingRefusedError
from kit.clock import Clock
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.wires import ModbusWire, OpcUaWire
from protocols.device_model.binding import WHY_CHARACTERS_MAX, Trial
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality
from protocols.errors import PlatformError

WRITE_WAIT_MS: Final = 8_000
HEARD_WAIT_MS: Final = 30_000
SHINE_MS: Final = 1_000
"""How long it stays switched: long enough to be seen from the door."""
POLL_MS: Final = 50
RESTORE_TRIES: Final = 3
SWITCHED: Final = (Capability.ON_OFF, "on_off")
MACHINES: Final = frozenset({Capability.THERMOSTAT, Capability.FAN_CONTROL, Capability.WINDOW_COVERING})
CALM: Final = frozenset({Capability.THERMOSTAT, Capability.LEVEL_CONTROL, Capability.FAN_CONTROL, Capability.ON_OFF})
"""Written with what they hold already, nothing in the room changes."""


class Writer(Protocol):
    """The way to the devices, as far as a test needs it."""

    async def write(self, command: Command) -> Outcome:
        """Carry out a command."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """The last that a device said of one attribute; `heard_ms` monotonic."""

    value: Value | None
    quality: Quality
    heard_ms: int


Last = Callable[[Capability, str], Said | None]


class Blink:
    """One test of one device.

    Args:
        name: Unlike any other test's: a command is carried out once by its name.
        device: Which.
        descriptor: Its model.
        last: What it said last.
        writer: The way to it.
        clock: Both clocks.
    """

    def __init__(
        self, name: str, device: DeviceId, descriptor: Descriptor, *, last: Last, writer: Writer, clock: Clock
    ) -> None:
        self._name, self._device, self._descriptor = name, device, descriptor
        self._last, self._writer, self._clock = last, writer, clock
        self._writes = 0

    @property
    def disturbs(self) -> bool:
        """Whether somebody in the room would notice."""
        return self._switch() is not None

    async def run(self) -> Trial:
        """Test it. Raises BindingRefusedError: nothing of it can be heard or written."""
        if (switch := self._switch()) is not None:
            return await self._blink(switch)
        if (calm := self._calm()) is not None:
            return await self._echo(*calm)
        if not self._descriptor.points:
            raise BindingRefusedError(self._device, "its model has nothing to hear", kind="cannot-be-tested")
        return await self._heard()

    def _switch(self) -> Point | None:
        """Return what may be switched for a second: a lamp or a socket, never a machine that heats, cools or turns."""
        point = self._descriptor.point(*SWITCHED)
        machine = isinstance(self._descriptor.wire, ModbusWire | OpcUaWire) or any(
            each.capability in MACHINES for each in self._descriptor.points
        )
        return point if point is not None and point.write is not None and not machine else None

    def _calm(self) -> tuple[Point, Value] | None:
        for point in self._writable():
            said = self._last(point.capability, point.attribute)
            if (
                point.capability in CALM
                and said is not None
                and said.value is not None
                and said.quality is Quality.GOOD
            ):
                return point, said.value
        return None

    def _writable(self) -> Iterable[Point]:
        return (each for each in self._descriptor.points if each.write is not None)

    async def _blink(self, point: Point) -> Trial:
        said = self._last(point.capability, point.attribute)
        was = said.value if said is not None and isinstance(said.value, bool) else None
        there = not was  # of a device that never said what it is, on is what can be seen
        result, word = await self._write(point, there)
        if result is not True:
            detail = f"asked for {_switched(there)}: {word or 'no word from it'}"
            if was is not None:
                detail += "; " + await self._put_back(point, was)
            return _trial("blink", result, detail)
        await asyncio.sleep(SHINE_MS / 1000)
        back = was if was is not None else False
        put = await self._put_back(point, back)
        if put.startswith("it is"):
            return _trial("blink", True, f"{_switched(there)}, then {put}")
        return _trial("blink", None, f"{_switched(there)} was read back, but {put}")

    async def _put_back(self, point: Point, value: bool) -> str:
        word = ""
        for _ in range(RESTORE_TRIES):
            result, word = await self._write(point, value)
            if result is True:
                return f"it is {_switched(value)} again"
        return f"it may not be {_switched(value)} again: {word or 'no word from it'}"

    async def _echo(self, point: Point, value: Value) -> Trial:
        result, word = await self._write(point, value)
        what = f"{point.capability.value}.{point.attribute} {_word(value)}"
        return _trial("echo", result, f"{what} {'read back' if result is True else word}")

    async def _heard(self) -> Trial:
        began_ms = self._clock.now_ms()
        while self._clock.now_ms() - began_ms < HEARD_WAIT_MS:
            await asyncio.sleep(POLL_MS / 1000)
            for point in self._descriptor.points:
                said = self._last(point.capability, point.attribute)
                if said is not None and said.heard_ms > began_ms and said.quality is Quality.GOOD:
                    return _trial("heard", True, f"{point.capability.value}.{point.attribute} {_word(said.value)}")
                if said is not None and said.heard_ms > began_ms and said.quality is Quality.BAD:
                    return _trial(
                        "heard", False, f"{point.capability.value}.{point.attribute}: it says what it cannot be"
                    )
        return _trial("heard", None, f"not a word in {HEARD_WAIT_MS // 1000} s: silence proves nothing")

    async def _write(self, point: Point, value: Value) -> tuple[bool | None, str]:
        """Write once, and say whether the device said so itself."""
        self._writes += 1
        name = f"{self._name}:{self._writes}"
        deadline_ms = self._clock.wall_ms() + WRITE_WAIT_MS
        command = Command(name, self._device, point.capability, point.attribute, value, deadline_ms, name)
        try:
            outcome = await self._writer.write(command)
        except PlatformError as error:
            return (None if error.may_have_taken_effect else False), str(error)
        if outcome.phase is Phase.DONE:
            return True, ""
        if outcome.phase is Phase.UNKNOWN:
            return None, outcome.reason or ""
        return False, outcome.reason or outcome.phase.value


def _trial(way: Literal["blink", "echo", "heard"], result: bool | None, detail: str) -> Trial:
    return Trial(way, result, detail if len(detail) <= WHY_CHARACTERS_MAX else detail[: WHY_CHARACTERS_MAX - 1] + "…")


def _switched(on: bool) -> str:
    return "on" if on else "off"


def _word(value: Value | None) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
