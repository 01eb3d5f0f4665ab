"""A unit that is another between two questions: nobody missed an answer, and yet nothing is written to the stranger."""

import asyncio

import pytest

from edge.bridges.modbus import supervisor
from edge.bridges.ports import DeviceEvent
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.reading import Quality
from tests.edge.bridges.field import THERMOSTAT, field, plan

T = Capability.THERMOSTAT
IT = "thermostat-1"
SETPOINT = "occupied_heating_setpoint"


@pytest.mark.guarantee("G13")
async def test_a_unit_swapped_in_the_middle_of_a_stay_takes_no_write_meant_for_the_old_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "PROVED_FOR_A_WRITE_MS", 30)
    async with field(plan([THERMOSTAT, THERMOSTAT])) as it:
        await it.heard.until(it.heard.says(IT, T, SETPOINT, 20.0))
        outcome = await it.devices.write(it.command(IT, T, SETPOINT, 21.0))
        assert outcome.phase is Phase.DONE
        await it.emulator.answer("registers", {"device": IT, "set": {"input:1": 9}})  # another model, at once
        await asyncio.sleep(0.05)
        before = (await it.truth(IT))["writes"]
        outcome = await it.devices.write(it.command(IT, T, SETPOINT, 24.0))
        assert (outcome.phase, outcome.reason) == (Phase.FAILED, "another model answers on unit 1")
        assert (await it.truth(IT))["writes"] == before
        await it.heard.until(it.heard.told(IT, DeviceEvent.UNKNOWN_DEVICE))
        last = it.heard.last(IT, T, SETPOINT)
        assert last is not None
        assert (last.quality, last.reason) == (Quality.BAD, "not_this_model")
        neighbour = await it.devices.write(it.command("thermostat-2", T, SETPOINT, 22.0))
        assert neighbour.phase is Phase.DONE


@pytest.mark.guarantee("G17")
async def test_a_unit_that_is_only_read_is_seen_to_be_another_within_the_time_stated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervisor, "PROVED_FOR_MS", 0)
    monkeypatch.setattr(supervisor, "STRANGER_RETRY_MS", 50)
    async with field(plan([THERMOSTAT])) as it:
        await it.heard.until(it.heard.says(IT, T, SETPOINT, 20.0))
        await it.emulator.answer("registers", {"device": IT, "set": {"input:1": 9}})
        await it.heard.until(it.heard.told(IT, DeviceEvent.UNKNOWN_DEVICE))
        at = len(it.heard.events)
        await it.emulator.answer("registers", {"device": IT, "set": {"input:1": 1}})  # the old one is back
        await it.heard.until(lambda: any(event is DeviceEvent.ONLINE for _, event, _ in it.heard.events[at:]))
        assert [event for _, event, _ in it.heard.events].count(DeviceEvent.UNKNOWN_DEVICE) == 1
