"""A Modbus bus over real sockets: what the unit holds is what is told, what was commanded is what it holds."""

import asyncio
from typing import Final

import pytest

from edge.bridges.ports import DeviceEvent
from firmware_bridges.field_emulator.misbehaviour import Knobs
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.reading import Quality
from tests.edge.bridges.field import PRESENCE_THERMOSTAT, THERMOSTAT, field, plan

T: Final = Capability.THERMOSTAT


@pytest.mark.requirement("DEV-02")
async def test_every_point_of_both_models_is_told_as_the_unit_holds_it() -> None:
    async with field(plan([THERMOSTAT, PRESENCE_THERMOSTAT])) as it:
        points = {
            (each.id, point.capability, point.attribute)
            for each in it.plan.devices
            for point in it.emulator.things[each.id].descriptor.points
        }
        await it.heard.until(lambda: {(r.device, r.capability, r.attribute) for r in it.heard.readings} == points)
        assert {r.quality for r in it.heard.readings} == {Quality.GOOD}
        assert it.heard.last("thermostat-1", T, "local_temperature").value == 20.5  # type: ignore[union-attr]  # None fails the test
        assert it.heard.last("thermostat-2", T, "occupied_heating_setpoint").value == 22.0  # type: ignore[union-attr]  # None fails the test


@pytest.mark.guarantee("G13")
@pytest.mark.requirement("DEV-06")
async def test_a_setpoint_written_is_in_the_register_and_read_back() -> None:
    async with field(plan([THERMOSTAT])) as it:
        outcome = await it.devices.write(it.command("thermostat-1", T, "occupied_heating_setpoint", 22.5))
        truth = await it.truth("thermostat-1")
        assert (outcome.phase, outcome.read_back, outcome.reason) == (Phase.DONE, 22.5, None)
        assert truth["registers"]["holding:284"] == 225
        assert truth["writes"] == 1
        await it.heard.until(it.heard.says("thermostat-1", T, "occupied_heating_setpoint", 22.5))


@pytest.mark.guarantee("G13")
async def test_a_setpoint_out_of_range_is_clamped_and_said_so() -> None:
    async with field(plan([THERMOSTAT])) as it:
        outcome = await it.devices.write(it.command("thermostat-1", T, "occupied_heating_setpoint", 90))
        assert (outcome.phase, outcome.read_back) == (Phase.DONE, 28.0)
        assert outcome.reason == "clamped to 28"
        assert (await it.truth("thermostat-1"))["registers"]["holding:284"] == 280


@pytest.mark.guarantee("G13")
async def test_what_the_descriptor_does_not_allow_never_reaches_the_wire() -> None:
    async with field(plan([THERMOSTAT])) as it:
        read_only = await it.devices.write(it.command("thermostat-1", T, "local_temperature", 21.0))
        no_choice = await it.devices.write(it.command("thermostat-1", T, "system_mode", "dry"))
        nonsense = await it.devices.write(it.command("thermostat-1", T, "occupied_heating_setpoint", "warm"))
        late = await it.devices.write(it.command("thermostat-1", T, "occupied_heating_setpoint", 20.5, within_ms=0))
        assert [each.phase for each in (read_only, no_choice, nonsense, late)] == [
            Phase.FAILED,
            Phase.FAILED,
            Phase.FAILED,
            Phase.EXPIRED,
        ]
        assert (await it.truth("thermostat-1"))["writes"] == 0


@pytest.mark.guarantee("G13")
async def test_the_same_command_twice_is_one_write_and_two_answers() -> None:
    async with field(plan([THERMOSTAT])) as it:
        command = it.command("thermostat-1", T, "occupied_heating_setpoint", 21.5)
        first, second = await asyncio.gather(it.devices.write(command), it.devices.write(command))
        assert first == second == await it.devices.write(command)
        assert (await it.truth("thermostat-1"))["writes"] == 1


@pytest.mark.guarantee("G13")
async def test_a_write_that_the_unit_takes_without_answering_is_settled_by_reading_back() -> None:
    async with field(plan([THERMOSTAT])) as it:
        await it.heard.until(it.heard.told("thermostat-1", DeviceEvent.ONLINE))
        await it.emulator.answer("misbehave", {"set": {"forgetful": 1.0}})
        outcome = await it.devices.write(it.command("thermostat-1", T, "occupied_heating_setpoint", 23.0))
        assert (outcome.phase, outcome.read_back) == (Phase.DONE, 23.0)
        assert (await it.truth("thermostat-1"))["writes"] == 1


@pytest.mark.guarantee("G13")
async def test_a_unit_that_falls_silent_makes_the_result_unknown_and_not_invented() -> None:
    async with field(plan([THERMOSTAT])) as it:
        await it.heard.until(it.heard.told("thermostat-1", DeviceEvent.ONLINE))
        await it.emulator.answer("power", {"device": "thermostat-1", "on": False})
        outcome = await it.devices.write(it.command("thermostat-1", T, "occupied_heating_setpoint", 23.0))
        assert outcome.phase in (Phase.UNKNOWN, Phase.FAILED)
        assert outcome.read_back is None
        assert (await it.truth("thermostat-1"))["writes"] == 0


@pytest.mark.guarantee("G17")
async def test_a_silent_unit_is_quarantined_and_its_values_go_stale_and_it_comes_back() -> None:
    async with field(plan([THERMOSTAT, THERMOSTAT])) as it:
        await it.heard.until(it.heard.says("thermostat-1", T, "local_temperature", 20.5))
        await it.emulator.answer("power", {"device": "thermostat-1", "on": False})
        await it.heard.until(it.heard.told("thermostat-1", DeviceEvent.QUARANTINED))
        stale = it.heard.last("thermostat-1", T, "local_temperature")
        assert stale is not None
        assert stale.quality is Quality.STALE
        assert stale.value is not None
        await it.emulator.answer("power", {"device": "thermostat-1", "on": True})
        seen = len(it.heard.events)
        await it.heard.until(lambda: ("thermostat-1", DeviceEvent.ONLINE) in [e[:2] for e in it.heard.events[seen:]])
        await it.heard.until(
            lambda: it.heard.last("thermostat-1", T, "local_temperature").quality is Quality.GOOD  # type: ignore[union-attr]  # None fails the test
        )
        assert not it.heard.told("thermostat-2", DeviceEvent.QUARANTINED)()


async def test_another_model_on_the_unit_is_told_with_evidence_and_never_written_to() -> None:
    async with field(plan([PRESENCE_THERMOSTAT])) as it:
        await it.emulator.answer("registers", {"device": "thermostat-1", "set": {"input:1": 77}})
        await it.heard.until(it.heard.told("thermostat-1", DeviceEvent.UNKNOWN_DEVICE))
        [(_, _, evidence)] = [each for each in it.heard.events if each[1] is DeviceEvent.UNKNOWN_DEVICE]
        assert evidence["word"] == 77
        assert evidence["expected"] == "regin/rcfd_230c"
        outcome = await it.devices.write(it.command("thermostat-1", T, "occupied_heating_setpoint", 20.0))
        assert outcome.phase is Phase.FAILED
        assert (await it.truth("thermostat-1"))["writes"] == 0
        assert {r.quality for r in it.heard.readings} == {Quality.BAD}


@pytest.mark.guarantee("G19")
async def test_nonsense_in_a_register_is_a_bad_reading_with_its_reason_and_nothing_else() -> None:
    async with field(plan([THERMOSTAT, THERMOSTAT])) as it:
        await it.emulator.answer("registers", {"device": "thermostat-1", "set": {"input:11": 0x8000, "input:8": 9}})
        await it.heard.until(lambda: it.heard.last("thermostat-1", T, "thermostat_running_mode"))
        await it.heard.until(lambda: it.heard.last("thermostat-1", T, "local_temperature"))
        cold = it.heard.last("thermostat-1", T, "local_temperature")
        mode = it.heard.last("thermostat-1", T, "thermostat_running_mode")
        assert cold is not None
        assert mode is not None
        assert (cold.value, cold.quality, cold.reason) == (None, Quality.BAD, "out_of_range: -32768")
        assert (mode.value, mode.quality, mode.reason) == (None, Quality.BAD, "unknown_code: 9")
        await it.heard.until(it.heard.says("thermostat-1", T, "occupied_heating_setpoint", 20.0))
        await it.heard.until(it.heard.says("thermostat-2", T, "local_temperature", 20.5))
        assert it.buses[0].counts["bad_out_of_range"] >= 1


async def test_the_guests_dial_is_heard() -> None:
    async with field(plan([THERMOSTAT])) as it:
        await it.heard.until(it.heard.says("thermostat-1", T, "setpoint_change_amount", 0.0))
        await it.cause("thermostat-1", "turn_knob", delta=1.5)
        await it.heard.until(it.heard.says("thermostat-1", T, "setpoint_change_amount", 1.5))
        await it.heard.until(it.heard.says("thermostat-1", T, "occupied_heating_setpoint:controller", 21.5))


async def test_a_bus_that_hangs_up_is_connected_to_again() -> None:
    async with field(plan([THERMOSTAT])) as it:
        await it.heard.until(it.heard.told("thermostat-1", DeviceEvent.ONLINE))
        await it.emulator.answer("hang_up", {})
        outcome = await it.devices.write(it.command("thermostat-1", T, "occupied_heating_setpoint", 19.5))
        assert outcome.phase is Phase.DONE
        assert it.buses[0].counts["connections"] >= 2


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("seed", range(3))
async def test_on_a_bad_day_every_outcome_agrees_with_the_registers(seed: int) -> None:
    bad_day = Knobs(
        late=0.1, late_ms_least=50, late_ms_most=700, silent=0.05, forgetful=0.1, busy=0.1, twice=0.1, torn=0.3
    )
    async with field(plan([PRESENCE_THERMOSTAT] * 4), knobs=bad_day, seed=seed) as it:
        commands = [
            it.command(f"thermostat-{unit}", T, "occupied_heating_setpoint", 15.0 + unit) for unit in range(1, 5)
        ]
        outcomes = await asyncio.gather(*[it.devices.write(each) for each in commands])
        for unit, outcome in enumerate(outcomes, 1):
            truth = await it.truth(f"thermostat-{unit}")
            assert truth["writes"] <= 1
            if outcome.phase is Phase.DONE:
                assert truth["state"]["thermostat.occupied_heating_setpoint"] == 15.0 + unit == outcome.read_back
            elif outcome.phase is Phase.FAILED:
                assert truth["writes"] == 0
