"""The numbers of sensors that seal their adverts, as the edge keeps them on disk: a recording is none after a restart.

A sensor speaks often, and what it says is worth little to whoever replays it a moment later: its number is written at a
pace, at a clean stop, and at once when it counts anew. A crash costs the numbers since (decision 0145).
"""

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any, Final

import msgspec

from edge.bridges.mqtt.bus_memory import BusMemory, KeptNumber
from kit.clock import Clock
from kit.files import Disk, write_atomic
from protocols.device_model.identity import BusId
from protocols.device_model.site_plan import BleAdvertBus, SitePlan
from protocols.errors import StoreFailedError

FILE_NAME: Final = "advert-numbers.json"
PACE_S: Final = 60.0
"""One write so often at most, a sensor that counts anew aside; none if no sensor with a key has spoken."""
SETTLE_S: Final = 1.0
"""Sensors that count anew in one moment are one write."""

_Kept = dict[BusId, list[KeptNumber]]


class AdvertNumbers:
    """The memories of all buses that hear adverts, and what of them is on disk.

    Args:
        disk: Where numbers are kept.
        folder: Where on it.
        clock: Both clocks.
        logger: A structlog logger.
        pace_s: See `PACE_S`.
        settle_s: See `SETTLE_S`.
    """

    def __init__(
        self,
        *,
        disk: Disk,
        folder: Path,
        clock: Clock,
        logger: Any,  # noqa: ANN401 - structlog's lazy logger
        pace_s: float = PACE_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._disk, self._path, self._clock, self._logger = disk, folder / FILE_NAME, clock, logger
        self._pace_s, self._settle_s = pace_s, settle_s
        self._memories: dict[BusId, BusMemory] = {}
        self._written: _Kept = {}
        self._asked = self._done = 0
        self._writing = threading.Lock()
        self._anew = asyncio.Event()
        self._failing = False

    @property
    def memories(self) -> dict[BusId, BusMemory]:
        """What each bus that hears adverts begins with."""
        return dict(self._memories)

    def load(self, plan: SitePlan) -> None:
        """Take what earlier lives of the edge kept. A file that cannot be read is told, and no hindrance."""
        self._memories = {bus.id: BusMemory() for bus in plan.buses if isinstance(bus, BleAdvertBus)}
        if not self._memories:
            return
        kept: _Kept = {}
        try:
            kept = msgspec.json.decode(self._disk.read(self._path), type=_Kept)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError, RecursionError) as error:
            self._logger.error("advert_numbers_refused", path=str(self._path), error=str(error))
        now_ms, wall_ms = self._clock.now_ms(), self._clock.wall_ms()
        for bus, memory in self._memories.items():
            memory.restore_numbers(kept.get(bus, ()), anew=self._anew.set, now_ms=now_ms, wall_ms=wall_ms)
        self._written = self._now()

    async def run(self) -> None:
        """Keep what was counted, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace_s):
                    await self._anew.wait()
                    await asyncio.sleep(self._settle_s)
            self._anew.clear()
            await self.keep()

    async def keep(self) -> None:
        """Have on disk what was counted until now. What cannot be kept is told, and kept the next time."""
        now = self._now()
        if now == self._written:
            return
        self._asked += 1
        try:
            await asyncio.to_thread(self._write, self._asked, msgspec.json.encode(now))
        except StoreFailedError as error:
            if not self._failing:
                self._logger.error("advert_numbers_not_kept", path=str(self._path), error=str(error))
            self._failing = True
            return
        if self._failing:
            self._logger.info("advert_numbers_kept_again", path=str(self._path))
        self._written, self._failing = now, False

    def _now(self) -> _Kept:
        return {bus: memory.kept_numbers() for bus, memory in self._memories.items()}

    def _write(self, asked: int, data: bytes) -> None:
        """Write, unless something newer was written: a thread outlives whoever is cancelled while waiting for it."""
        with self._writing:
            if asked > self._done:
                write_atomic(self._disk, self._path, data)
                self._done = asked
