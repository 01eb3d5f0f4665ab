"""The buses as the edge joins them: what one heard and told survives that it is made anew."""

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from edge.app import buses as joined
from edge.app.settings import EdgeSettings
from edge.bridges.ports import DeviceEvent
from edge.bridges.settings import BridgesSettings
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.device_model.identity import BusId
from protocols.device_model.reading import Quality
from tests.edge.binding.desk import CATALOGUE, real
from tests.edge.bridges.air import Air
from tests.edge.bridges.field import Heard
from tests.edge.world import T0, plan

ZIGBEE = BusId("zigbee")


@pytest.mark.guarantee("G17")
async def test_a_bus_that_is_made_anew_tells_its_house_nothing_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    airs: list[Air] = []
    asked: list[object] = []

    def transport(*_: object, **how: object) -> Air:
        airs.append(Air())
        asked.append(how["crowded"])
        return airs[-1]

    def crowded() -> bool:
        return False

    monkeypatch.setattr(joined, "site_transport", transport)
    settings = cast("EdgeSettings", SimpleNamespace(site_broker=object(), edge="e-1", bridges=BridgesSettings()))
    site, heard = real(plan(rooms=1)), Heard()
    live = joined.make_buses(
        settings, site, CATALOGUE, clock=ManualClock(wall_ms=T0), dice=SeededDice(1), sink=heard, crowded=crowded
    )  # fmt: skip
    [bus] = live
    assert asked == [crowded], "who hears the bus can have it read slowly"
    running = asyncio.create_task(bus.run())

    async def said(*, retained: bool) -> None:
        """What it takes until the broker's kept messages are heard; the last is the mark of the end."""
        air, before = airs[-1], len(heard.readings)
        air.say("zigbee2mqtt/light-101/availability", b'{"state":"online"}', retain=True)
        air.say("zigbee2mqtt/stranger", b'{"state":"ON"}', retain=True)
        air.say("zigbee2mqtt/light-101", b'{"state":"ON"}', retain=retained)
        async with asyncio.timeout(20):
            while len(heard.readings) == before:
                await asyncio.sleep(0)

    await said(retained=False)
    events = [(str(device), event) for device, event, _ in heard.events]
    assert events.count(("light-101", DeviceEvent.ONLINE)) == 1
    assert [event for _, event in events].count(DeviceEvent.UNKNOWN_DEVICE) == 1
    for _ in range(3):
        live.replace(ZIGBEE, live.made(site, ZIGBEE))
        await said(retained=True)
        assert heard.readings[-1].quality is Quality.GOOD
    assert [(str(device), event) for device, event, _ in heard.events] == events
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
