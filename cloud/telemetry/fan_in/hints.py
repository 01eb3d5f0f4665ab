"""What committed groups hint at, gathered and sent in a transaction of its own (docs/decisions/0133).

PostgreSQL lets one transaction with a notification commit at a time, from before its flush of the log until after it.
Hints that left with the commit of a group made all lanes of all workers wait for one slow flush after another; sent
apart, and without a flush, they hold that lock for microseconds. A hint that is lost with its process costs whoever
listens the time until he looks anyway (`cloud.kit.notify`).
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import msgspec

from cloud.kit.arrays import texts
from cloud.kit.database import Database, execute
from cloud.kit.notify import ANYTHING, KINDS_MOST, LIVE_CHANNEL, LiveHint
from cloud.telemetry.fan_in.ledger import LOST
from kit.logs import logger

REST: Final = timedelta(milliseconds=100)
"""After hints were sent, those that come are gathered for so long; the first after a silence leaves at once."""
AGAIN_AFTER: Final = timedelta(seconds=1)
HINT_DEVICES_MOST: Final = 32
"""Devices that a hint names: looking at all costs as much as at so many."""
PAYLOAD_BYTES_MOST: Final = 7_999
"""PostgreSQL refuses a longer one, and with it the whole statement."""

_json = msgspec.json.Encoder()


class HintSender:
    """Sends hints while `run` runs. What waits is bounded by the number of properties that are heard."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kinds: dict[str, set[str]] = {}
        self._devices: dict[str, set[str]] = {}
        self._woken = asyncio.Event()
        self._log = logger("cloud.telemetry")

    def add(self, kinds: Mapping[str, set[str]], devices: Mapping[str, set[str]]) -> None:
        """Have it hinted that, by property, records of `kinds` arrived and newest values of `devices` changed."""
        for property_id, each in kinds.items():
            self._kinds.setdefault(property_id, set()).update(each)
            self._devices.setdefault(property_id, set()).update(devices.get(property_id, ()))
        if self._kinds:
            self._woken.set()

    async def run(self) -> None:
        """Send until cancelled; while the database is away what there is to say waits."""
        while True:
            await self._woken.wait()
            rest = REST
            try:
                await self.send()
            except LOST as error:
                self._log.info("hints_not_sent", properties=len(self._kinds), error=str(error))
                rest = AGAIN_AFTER
            await _rest(rest.total_seconds())

    async def send(self) -> None:
        """Send what waits; on any error it waits on.

        Raises:
            those of LOST: the database is away.
        """
        kinds, devices = self._kinds, self._devices
        self._kinds, self._devices = {}, {}
        self._woken.clear()
        if not kinds:
            return
        hints = [_payload(each, kinds[each], devices[each]).decode() for each in kinds]
        try:
            async with self._database.transaction() as connection:
                await execute(
                    connection,
                    "SELECT set_config('synchronous_commit', 'off', true), count(pg_notify(%s, hint))"
                    " FROM unnest(%s) AS hint",
                    [LIVE_CHANNEL, texts(hints)],
                )
        except BaseException:  # cancelled too: whoever stops in order sends once more
            self.add(kinds, devices)
            raise


def _payload(property_id: str, kinds: set[str], devices: set[str]) -> bytes:
    """Return a hint that fits: names that are too many or too long are not said, and everything may have changed."""
    told = sorted(kinds) if len(kinds) <= KINDS_MOST else [ANYTHING]
    if len(devices) <= HINT_DEVICES_MOST:
        payload = _json.encode(LiveHint(property=property_id, kinds=told, devices=sorted(devices)))
        if len(payload) <= PAYLOAD_BYTES_MOST:
            return payload
    return _json.encode(LiveHint(property=property_id, kinds=told))


async def _rest(seconds: float) -> None:
    await asyncio.sleep(seconds)
