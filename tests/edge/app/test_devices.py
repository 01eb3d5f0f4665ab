"""Readings and events between the buses and the log: bounded, in order, kept although one of them is broken."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from edge.app.devices import CROWDED, STANDS_STILL_MS, UNKNOWN_MOST, WAITING_MAX, BusWriter, Devices, unknown_unlisted
from edge.app.house import Entries
from edge.bridges.ports import DeviceEvent
from kit.clock import ManualClock
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.command import Command, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading
from protocols.link.lanes import Lane
from tests.edge.world import HEATING, T0, Building, contact, said


@dataclass
class Site:
    building: Building
    devices: Devices
    task: asyncio.Task[None]

    async def rested(self, kept: int) -> None:
        """Return when so many records are kept in all, and a moment later: more would be one too many."""
        async with asyncio.timeout(10):
            while sum(len(self.building.log.records(lane)) for lane in (Lane.B, Lane.C)) < kept:
                await asyncio.sleep(0.005)
        await asyncio.sleep(0.02)

    def readings(self, lane: Lane) -> list[tuple[str, Any]]:
        return [(each.body["device"], each.body["value"]) for each in self.building.log.records(lane, "reading")]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    building = Building(ManualClock(wall_ms=T0), path=tmp_path / "edge.db")
    devices = Devices(building.house, plan=building.plan, clock=building.clock)
    task = asyncio.create_task(devices.run())
    yield Site(building, devices, task)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await building.store.close()


def temperature(celsius: float, device: str = "thermostat-101") -> Reading:
    return said(device, Capability.THERMOSTAT, "local_temperature", celsius, Unit.CELSIUS)


@pytest.mark.requirement("DEV-06")
async def test_events_go_on_lane_b_and_telemetry_on_lane_c_in_order(site: Site) -> None:
    for each in (temperature(20.0), contact("101", closed=True), temperature(20.5), contact("101", closed=False)):
        site.devices.reading(each)
    site.devices.reading(temperature(9.0, device="nobodys-device"))
    await site.rested(4)
    assert site.readings(Lane.B) == [("contact-101", True), ("contact-101", False)]
    assert site.readings(Lane.C) == [("thermostat-101", 20.0), ("thermostat-101", 20.5)]


@pytest.mark.guarantee("G1")
@pytest.mark.requirement("DEV-06")
async def test_what_one_message_told_is_kept_in_order_among_events_and_what_others_say(site: Site) -> None:
    devices, contact_101 = site.devices, DeviceId("contact-101")
    devices.together([contact("101", closed=True), temperature(20.0), temperature(9.0, device="nobodys-device")])
    devices.device_event(contact_101, DeviceEvent.OFFLINE, {})
    devices.together([temperature(20.5), contact("101", closed=True), contact("101", closed=False)])
    devices.reading(temperature(21.0))
    devices.together([])
    await site.rested(6)
    said = [(each.kind, each.body.get("event", each.body.get("value"))) for each in site.building.log.records(Lane.B)]
    assert said == [("reading", True), ("device", "offline"), ("reading", False)], "closed, once more, is no event"
    assert site.readings(Lane.C) == [("thermostat-101", each) for each in (20.0, 20.5, 21.0)]


async def test_that_a_device_is_slow_is_told_beside_how_it_stands(site: Site) -> None:
    device = DeviceId("thermostat-101")
    figures = {"answer_ms": 380, "line_share": 0.95, "asked_times_less": 15.8}
    site.devices.device_event(device, DeviceEvent.ONLINE, {})
    site.devices.device_event(device, DeviceEvent.SLOW, {"bus": "floor-1", "unit": 7, "slow": True, **figures})
    assert site.devices.reached(device)
    assert site.devices.state(device) == {
        "state": "online", "detail": {}, "since_ms": T0, "firmware": None, "slow": figures, "doubt": None,
    }  # fmt: skip
    site.devices.device_event(device, DeviceEvent.SLOW, {"slow": False, **figures})
    assert site.devices.state(device)["slow"] is None
    site.devices.device_event(device, DeviceEvent.SLOW, {"slow": True, **figures})
    site.devices.device_event(device, DeviceEvent.QUARANTINED, {})
    site.devices.device_event(device, DeviceEvent.ONLINE, {})
    assert site.devices.state(device)["slow"] is None, "its bus begins again with it"
    await site.rested(6)
    events = [each.body["event"] for each in site.building.log.records(Lane.B, "device")]
    assert events == ["online", "slow", "slow", "slow", "quarantined", "online"]


async def test_that_a_device_may_be_another_is_told_beside_how_it_stands(site: Site) -> None:
    device = DeviceId("thermostat-101")
    facts = {"why": "another thing may answer here", "refused": "illegal_data_address"}
    counts = {"points_refused": 12, "points_had": 16}
    site.devices.device_event(device, DeviceEvent.ONLINE, {})
    site.devices.device_event(device, DeviceEvent.DOUBTED, {"unit": 7, "doubted": True, **facts, **counts})
    assert site.devices.reached(device)
    assert site.devices.state(device)["state"] == "online"
    assert site.devices.state(device)["doubt"] == {**facts, **counts}
    assert site.devices.state(device)["slow"] is None
    assert site.devices.met() == [], "nobody knows that it is another"
    site.devices.device_event(device, DeviceEvent.DOUBTED, {"doubted": False})
    assert site.devices.state(device)["doubt"] is None
    site.devices.device_event(device, DeviceEvent.DOUBTED, {"doubted": True, **facts, **counts})
    site.devices.device_event(device, DeviceEvent.ONLINE, {})
    assert site.devices.state(device)["doubt"] is None, "its bus says it again, if it is so"
    await site.rested(5)
    events = [each.body["event"] for each in site.building.log.records(Lane.B, "device")]
    assert events == ["online", "doubted", "doubted", "doubted", "online"]


async def test_a_doubt_is_an_alert_until_it_is_over(site: Site) -> None:
    device, facts = DeviceId("thermostat-101"), {"why": "it refuses most of what it had", "refused": "no"}
    counts = {"points_refused": 12, "points_had": 16}
    watch, clock = site.building.house.watch, site.building.clock

    async def faults(minutes: int) -> list[str]:
        for _ in range(2 * minutes):
            clock.advance(30_000)  # type: ignore[attr-defined]  # a ManualClock
            await watch.look()
        return [each["detail"] for each in watch.alerts() if each["alert"] == "device_fault"]

    site.devices.device_event(device, DeviceEvent.DOUBTED, {"doubted": True, **facts, **counts})
    assert await faults(2) == ["it refuses most of what it had (12 of 16)"]
    site.devices.device_event(device, DeviceEvent.DOUBTED, {"doubted": False})
    assert await faults(6) == []
    site.devices.device_event(device, DeviceEvent.DOUBTED, {"doubted": True, **facts, **counts})
    assert len(await faults(2)) == 1
    site.devices.device_event(device, DeviceEvent.ONLINE, {})
    assert await faults(6) == [], "its bus says it again, if it is so"


class Reason(StrEnum):
    NO_ANSWER = "no_answer"


async def test_a_reason_that_is_an_enumerations_member_is_kept_as_text(site: Site) -> None:
    site.devices.reading(
        Reading(DeviceId("contact-101"), Capability.BOOLEAN_STATE, "state_value", True, None, Quality.STALE, None,
                Reason.NO_ANSWER)
    )  # fmt: skip
    await site.rested(1)
    [record] = site.building.log.records(Lane.B, "reading")
    assert record.body["reason"] == "no_answer"


async def test_one_that_no_record_can_hold_takes_no_other_along(site: Site) -> None:
    broken = Reading(
        DeviceId("thermostat-101"), Capability.THERMOSTAT, "local_temperature", float("nan"), Unit.CELSIUS, Quality.GOOD
    )
    for each in (temperature(20.0), broken, temperature(21.0)):
        site.devices.reading(each)
    await site.rested(2)
    assert site.readings(Lane.C) == [("thermostat-101", 20.0), ("thermostat-101", 21.0)]
    assert site.devices.unfit == 1
    assert not site.task.done()


async def test_what_the_disk_refused_is_kept_once_it_recovers(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.app.devices.STORE_RETRY_MS", 5)
    site.building.log.fail = True
    site.devices.reading(contact("101", closed=True))
    await asyncio.sleep(0.05)
    site.devices.reading(contact("101", closed=False))
    site.building.log.fail = False
    await site.rested(2)
    assert site.readings(Lane.B) == [("contact-101", True), ("contact-101", False)]


@pytest.mark.guarantee("G9")
async def test_a_flood_is_refused_and_counted_and_never_waited_for(site: Site) -> None:
    told = [False] * CROWDED + [True] * (WAITING_MAX + 100 - CROWDED)
    for crowded in told:
        assert site.devices.crowded is crowded, "whose broker can hold devices back does so before anything is refused"
        site.devices.reading(temperature(20.0))
    assert (site.devices.waiting, site.devices.refused) == (WAITING_MAX, 100)
    site.devices.together([temperature(20.0)] * 3)
    assert (site.devices.waiting, site.devices.refused) == (WAITING_MAX, 103)
    clock = site.building.clock
    assert isinstance(clock, ManualClock)
    clock.advance(STANDS_STILL_MS)
    assert not site.devices.crowded, "a disk that stands still keeps no alarm waiting"
    async with asyncio.timeout(20):
        while site.devices.waiting >= CROWDED:
            await asyncio.sleep(0.005)
    for _ in range(WAITING_MAX):
        site.devices.reading(temperature(20.0))
    assert site.devices.crowded, "it keeps again"


@pytest.mark.guarantee("G9")
async def test_of_what_one_message_told_as_much_is_kept_as_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge.app.devices.WAITING_MAX", 3)
    building = Building(ManualClock(wall_ms=T0))
    devices = Devices(building.house, plan=building.plan, clock=building.clock)
    devices.reading(temperature(20.0))
    devices.together([temperature(celsius) for celsius in (21.0, 22.0, 23.0)])
    assert (devices.waiting, devices.refused) == (3, 1)
    site = Site(building, devices, asyncio.create_task(devices.run()))
    await site.rested(3)
    assert [value for _, value in site.readings(Lane.C)] == [20.0, 21.0, 22.0]
    site.task.cancel()


@pytest.mark.guarantee("G9")
async def test_a_flood_of_unknown_names_fills_only_its_own_list(site: Site) -> None:
    for number in range(UNKNOWN_MOST + 50):
        site.devices.device_event(DeviceId(f"stranger-{number}"), DeviceEvent.UNKNOWN_DEVICE, {"address": number})
    told = site.devices.told()
    assert len([each for each in told if not each["planned"]]) == UNKNOWN_MOST
    assert unknown_unlisted(site.devices, []) == 50
    assert len([each for each in told if each["planned"]]) == len(site.building.plan.devices)


@pytest.mark.guarantee("G17")
async def test_a_device_that_went_off_line_is_told_so_and_its_values_are_stale(site: Site) -> None:
    site.devices.reading(contact("101", closed=True))
    await site.rested(1)
    site.devices.device_event(DeviceId("contact-101"), DeviceEvent.OFFLINE, {"why": "silence"})
    await site.rested(2)
    [state] = [each for each in site.devices.told() if each["id"] == "contact-101"]
    assert (state["state"], state["detail"], state["since_ms"]) == ("offline", {"why": "silence"}, T0)
    [shown] = site.building.house.live_state()
    assert (shown["value"], shown["quality"]) == (True, "stale")
    site.devices.reading(contact("101", closed=True))
    site.devices.device_event(DeviceId("contact-101"), DeviceEvent.ONLINE, {})
    await site.rested(3)
    assert site.building.house.live_state()[0]["quality"] == "good"
    assert [each.body["event"] for each in site.building.log.records(Lane.B, "device")] == ["offline", "online"]


async def test_a_command_for_a_device_that_no_bus_has_fails_and_says_so() -> None:
    writer = BusWriter()
    assert not writer.can_write(DeviceId("x"), Capability.THERMOSTAT, HEATING)
    command = Command("c", DeviceId("x"), Capability.THERMOSTAT, HEATING, 20.0, T0, "k")
    outcome = await writer.write(command)
    assert (outcome.phase, outcome.read_back) == (Phase.FAILED, None)


def smoke(word: str) -> Reading:
    return said("contact-101", Capability.SMOKE_CO_ALARM, "smoke_state", word)


@pytest.mark.requirement("DEV-05")
async def test_fire_hears_a_detector_before_the_disk_and_not_once_more_when_the_disk_has_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.app.devices.BATCH_MOST", 1)
    monkeypatch.setattr("edge.app.devices.STORE_RETRY_MS", 5)
    fire = site.building.house.fire
    site.building.log.fail = True
    site.devices.reading(smoke("critical"))
    heard_at_once = fire.active
    site.devices.reading(smoke("normal"))
    assert heard_at_once
    await asyncio.sleep(0.05)
    assert not fire.active, "what was said first is on its way to the disk, and is over"
    site.building.log.fail = False
    await site.rested(2)
    assert not fire.active


async def test_fire_hears_a_detector_whatever_else_its_message_tells(site: Site) -> None:
    burns = []
    for words in (("normal", "critical"), ("critical", "normal"), ("normal", "critical", "warning", "critical")):
        site.devices.together([temperature(20.0), *map(smoke, words), temperature(20.5)])
        burns.append(site.building.house.fire.active)
    assert burns == [True, False, True]


async def test_who_follows_the_live_state_is_told_once_of_what_came_together_and_not_of_what_is_said_again(
    site: Site,
) -> None:
    told: list[None] = []
    site.building.house.live_changed = lambda: told.append(None)
    for celsius in (20.0, 20.5, 21.0):
        site.devices.reading(temperature(celsius))
    await site.rested(3)
    assert len(told) == 1
    site.devices.reading(temperature(21.0))
    await site.rested(4)
    assert len(told) == 1
    site.devices.reading(temperature(21.5))
    await site.rested(5)
    assert len(told) == 2


async def test_what_is_noted_in_turns_is_not_the_word_of_the_thing_that_stands_there_next(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.app.devices.TURN_MOST", 1)
    renewed = DeviceId("thermostat-101")
    plain = site.building.house.noted

    def noted(readings: Iterable[Reading], entries: Entries, *, now_ms: int, wall_ms: int) -> None:
        [reading] = readings
        if reading.device == "contact-101":  # another thing is bound while these are noted
            asyncio.get_running_loop().call_soon(lambda: site.devices.serve(site.building.plan, renewed=renewed))
        plain([reading], entries, now_ms=now_ms, wall_ms=wall_ms)

    monkeypatch.setattr(site.building.house, "noted", noted)
    for each in (contact("101", closed=True), contact("101", closed=False), temperature(20.0)):
        site.devices.reading(each)
    await site.rested(2)
    site.devices.reading(temperature(21.0))
    await site.rested(3)
    assert site.readings(Lane.C) == [("thermostat-101", 21.0)]
