"""What plain JSON devices say reaches the house: fire before the disk, all else once it is durable."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge.bridges.mqtt.json_bus import JsonBus
from edge.bridges.mqtt.json_rules import JsonDevicesSettings, KeySettings, RuleSettings
from kit.clock import ManualClock
from kit.dice import SystemDice
from kit.mqtt_wire.parser import Publish
from protocols.device_model.capability import Capability
from protocols.device_model.identity import DeviceId
from protocols.link.lanes import Lane
from tests.edge.bridges.mqtt.test_json_bus import Line, Log, until
from tests.edge.world import T0, Building

CONTACT = DeviceId("contact-101")
RULE = RuleSettings(
    topic="site/{room}/{device}/state",
    time_key="t",
    keys={
        "smoke": KeySettings("smoke_co_alarm", "smoke_state"),
        "battery": KeySettings("power_source", "bat_percent_remaining"),
    },
)


@dataclass
class Heard:
    building: Building
    line: Line
    log: Log
    lives: list[object]

    async def say(self, body: bytes, number: int) -> None:
        said: Publish = (b"site/101/contact-101/state", body, number, 0x32)
        await self.line.coming.put([said])


@pytest.fixture
async def heard(tmp_path: Path) -> AsyncIterator[Heard]:
    building, line, log = Building(ManualClock(wall_ms=T0), path=tmp_path / "edge.db"), Line(), Log()
    lives: list[object] = []
    building.house.live_changed = lambda: lives.append(None)
    bus = JsonBus(
        JsonDevicesSettings(rules=(RULE,)),
        transport=line,
        log=log,
        clock=building.clock,
        dice=SystemDice(),
        rooms={each.id: each.room for each in building.plan.devices},
        house=building.house,
    )
    task = asyncio.create_task(bus.run())
    yield Heard(building, line, log, lives)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await building.store.close()


@pytest.mark.requirement("DEV-05")
async def test_smoke_told_by_a_json_device_is_fire_whatever_the_disk_does(heard: Heard) -> None:
    heard.log.gate.clear()
    await heard.say(b'{"smoke":"critical","t":1600000000000}', 1)
    await until(lambda: heard.building.house.fire.active)
    assert (heard.log.kept, heard.line.acknowledged) == ([], []), "nothing of it is durable yet"
    await heard.say(b'{"smoke":"normal","t":1600000001000}', 2)
    heard.log.gate.set()
    await until(lambda: len(heard.line.acknowledged) == 2)
    assert not heard.building.house.fire.active, "what is durable late does not light it again"


async def test_what_a_json_device_says_is_in_the_view_and_the_live_state_once_it_is_durable(heard: Heard) -> None:
    view = heard.building.house.view
    heard.log.gate.clear()
    await heard.say(b'{"battery":71,"t":1600000000000}', 1)
    await asyncio.sleep(0.03)
    assert heard.lives == []
    heard.log.gate.set()
    await until(lambda: heard.line.acknowledged)
    reported = view.get(CONTACT, Capability.POWER_SOURCE, "bat_percent_remaining")
    assert reported is not None
    assert (reported.value, len(heard.lives)) == (71, 1)
    assert [lane for lane, _ in heard.log.kept] == [Lane.C]
    await heard.say(b'{"battery":71,"t":1600000001000}', 2)
    await until(lambda: len(heard.line.acknowledged) == 2)
    assert len(heard.lives) == 1, "it is what it was"
