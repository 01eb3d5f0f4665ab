"""A serial line with many units on it, on a pseudo terminal: RTU frames, and every way in which a line disappoints.

The line is at the plan's path, as a link to the terminal. Whoever opens it with another speed reads garbage, as on
copper; a pseudo terminal has no parity to be wrong.
"""

import asyncio
import os
import termios
import tty
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from firmware_bridges.field_emulator.misbehaviour import Misbehaviour
from firmware_bridges.field_emulator.modbus_server import EmulatedUnit, RtuFrames, is_carried_out_write
from kit.clock import Clock
from protocols.device_model.site_plan import ModbusRtuBus
from protocols.modbus.rtu import crc16, encode_adu

TORN_PAUSE_S: Final = 0.003
_ISPEED: Final = 4


class SerialLine:
    """The units of one serial bus.

    Args:
        bus: where the line is, and how it is set.
        units: by unit id. A unit that is not here, or not powered, does not answer.
        misbehaviour: shared with the other buses.
        clock: for the times of effects.
    """

    def __init__(
        self, bus: ModbusRtuBus, units: Mapping[int, EmulatedUnit], misbehaviour: Misbehaviour, clock: Clock
    ) -> None:
        self._bus, self._misbehaviour, self._clock = bus, misbehaviour, clock
        self.units = dict(units)
        self.counts: Counter[str] = Counter()
        self.says_back = False
        """Whether the adapter hears itself: what the master says comes back to it."""
        self._master = self._slave = -1
        self._answers: set[asyncio.Task[None]] = set()
        self._requests = RtuFrames()

    def start(self) -> None:
        """Make the line and the link to it. Raises OSError: something is at its path already."""
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        try:
            Path(self._bus.path).symlink_to(os.ttyname(self._slave))
        except OSError:
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1
            raise
        asyncio.get_running_loop().add_reader(self._master, self._heard)

    async def stop(self) -> None:
        """Take the line away, as a pulled plug does."""
        if self._master < 0:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        for each in list(self._answers):
            each.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)
        self._take_away()
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1

    def _take_away(self) -> None:
        with suppress(OSError):
            Path(self._bus.path).unlink()

    def say(self, data: bytes) -> None:
        """Put bytes on the line that nobody asked for."""
        with suppress(OSError):
            os.write(self._master, data)

    def _heard(self) -> None:
        try:
            data = os.read(self._master, 512)
        except OSError:
            return
        if self.says_back:
            self.say(data)
        if termios.tcgetattr(self._slave)[_ISPEED] != getattr(termios, f"B{self._bus.baud}"):
            self.counts["wrong_speed"] += 1
            self.say(bytes(each ^ 0xA5 for each in data))
            return
        for frame in self._requests.receive_data(data):
            answer = asyncio.get_running_loop().create_task(self._answer(frame.unit, frame.pdu))
            self._answers.add(answer)
            answer.add_done_callback(self._answers.discard)

    async def _answer(self, number: int, request_pdu: bytes) -> None:
        self.counts["requests"] += 1
        self.counts[f"requests_to_{number}"] += 1
        unit = self.units.get(number)
        luck, knobs = self._misbehaviour, self._misbehaviour.knobs
        if unit is None or not unit.thing.powered or luck.happens(knobs.silent):
            self.counts["unanswered"] += 1
            return
        # What the unit says is what is true when it is asked: a late answer is an old one.
        pdu = unit.respond(request_pdu, busy=luck.happens(knobs.busy), at_ms=self._clock.wall_ms())
        await asyncio.sleep((luck.answer_delay_ms() if unit.answer_ms is None else unit.answer_ms) / 1000)
        if is_carried_out_write(request_pdu, pdu):
            self.counts["writes"] += 1
            if luck.happens(knobs.forgetful):
                return
        data = encode_adu(number, pdu)
        if luck.happens(knobs.garbled):
            place = int(luck.between(0, len(data) - 0.001))
            data = data[:place] + bytes((data[place] ^ 0x10,)) + data[place + 1 :]
        if luck.happens(knobs.noise):
            self.say(crc16(data) + data[:3])
        if luck.happens(knobs.torn):
            cut = max(1, len(data) // 2)
            self.say(data[:cut])
            await asyncio.sleep(TORN_PAUSE_S)
            data = data[cut:]
        self.say(data)
        if luck.happens(knobs.twice):
            self.say(data)
