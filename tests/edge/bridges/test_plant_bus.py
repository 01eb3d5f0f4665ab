"""An OPC UA server over real sockets: changes are told, one bad node is one bad reading, writes are read back."""

import asyncio
import contextlib
from typing import Final, cast

import msgspec
import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.status_codes import StatusCodes

from edge.bridges.opcua.supervisor import OpcUaSupervisor
from edge.bridges.ports import DeviceEvent
from firmware_bridges.field_emulator.misbehaviour import GOOD
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality
from tests.edge.bridges.field import CATALOGUE, CHILLER, Field, field, plan
from tests.seeds import LONG

SETPOINT: Final = ("chiller", Capability.THERMOSTAT, "occupied_cooling_setpoint")
LEAVING: Final = ("chiller", Capability.THERMOSTAT, "local_temperature")
FLOW: Final = ("chiller", Capability.FLOW_MEASUREMENT, "measured_value")
FAULT: Final = ("chiller", Capability.FAULT_STATE, "active")


@pytest.mark.requirement("DEV-02")
@pytest.mark.guarantee("G17")
async def test_a_plant_is_told_commanded_and_its_bad_node_stands_alone() -> None:
    async with field(plan(chiller=True)) as it:
        await it.heard.until(it.heard.says(*SETPOINT, 7.0))
        points = it.emulator.things[it.plan.devices[0].id].descriptor.points
        await it.heard.until(lambda: len({(r.capability, r.attribute) for r in it.heard.readings}) == len(points))

        await it.cause("chiller", "fault", active=True)
        await it.heard.until(it.heard.says(*FAULT, True))

        await it.cause("chiller", "bad_node", capability="flow_measurement", attribute="measured_value")
        await it.heard.until(lambda: it.heard.last(*FLOW).quality is Quality.BAD)  # type: ignore[union-attr]  # None fails the test
        bad = it.heard.last(*FLOW)
        assert bad is not None
        assert (bad.value, bad.reason) == (None, "bad_status: 0x808c0000")
        await it.cause("chiller", "fault", active=False)
        await it.heard.until(it.heard.says(*FAULT, False))
        assert {r.attribute for r in it.heard.readings if r.quality is Quality.BAD} == {"measured_value"}
        await it.cause("chiller", "bad_node", capability="flow_measurement", attribute="measured_value", status=0)
        await it.heard.until(it.heard.says(*FLOW, 8.6))

        uncertain = {"capability": "flow_measurement", "attribute": "measured_value", "status": 0x40900000}
        await it.cause("chiller", "bad_node", **uncertain)
        await it.heard.until(lambda: it.heard.last(*FLOW).quality is Quality.UNCERTAIN)  # type: ignore[union-attr]  # None fails the test

        outcome = await it.devices.write(it.command(*SETPOINT, 9.5))
        truth = await it.truth("chiller")
        assert (outcome.phase, outcome.read_back) == (Phase.DONE, 9.5)
        assert truth["state"]["thermostat.occupied_cooling_setpoint"] == 9.5
        assert truth["writes"] == 1
        too_soon = await it.devices.write(it.command(*SETPOINT, 30.0, within_ms=2_000))
        assert too_soon.phase is Phase.FAILED
        assert "too often" in (too_soon.reason or "")
        assert (await it.truth("chiller"))["writes"] == 1


@LONG
@pytest.mark.guarantee("G17")
async def test_a_server_that_goes_and_comes_back_is_subscribed_to_again() -> None:
    made = plan(chiller=True)
    async with field(made) as it:
        await it.heard.until(it.heard.says(*SETPOINT, 7.0))
        [plant] = it.emulator._opcua.values()  # the emulator's own server, to be stopped as a power cut would
        await plant.stop()
        await it.heard.until(it.heard.told("chiller", DeviceEvent.OFFLINE))
        last = it.heard.last(*SETPOINT)
        assert last is not None
        assert (last.value, last.quality) == (7.0, Quality.STALE)
        refused = await it.devices.write(it.command(*SETPOINT, 8.0, within_ms=300))
        assert refused.phase in (Phase.FAILED, Phase.EXPIRED)
        url = next(bus.url for bus in made.buses if bus.id == "plant" and hasattr(bus, "url"))
        await plant.start(url)
        await it.heard.until(it.heard.says(*SETPOINT, 7.0))
        await it.cause("chiller", "fault", active=True)
        async with asyncio.timeout(20):
            await it.heard.until(it.heard.says(*FAULT, True))


async def test_the_bus_stops_even_if_the_library_takes_the_cancellation_for_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hanging_up = asyncio.Event()

    async def swallow(self: OpcUaSupervisor, client: object) -> None:
        hanging_up.set()
        with contextlib.suppress(asyncio.CancelledError):  # as asyncua does while it waits for its own tasks
            await asyncio.Event().wait()

    monkeypatch.setattr(OpcUaSupervisor, "_hang_up", swallow)
    [bus] = Field(plan(chiller=True), broker=None, knobs=GOOD, seed=1, catalogue=CATALOGUE).buses  # nobody serves
    running = asyncio.create_task(bus.run())
    async with asyncio.timeout(20):
        await hanging_up.wait()
        running.cancel()
        await asyncio.wait({running})
    assert running.cancelled()


class Says:
    """Stands for asyncua's client: every node says the same."""

    def __init__(self, value: ua.DataValue) -> None:
        self.value = value

    def get_node(self, node: str) -> str:
        return node

    async def read_attributes(self, nodes: list[str]) -> list[ua.DataValue]:
        await asyncio.sleep(0)
        return [self.value for _ in nodes]


@pytest.mark.requirement("DEV-02")
@pytest.mark.guarantee("G17")
async def test_a_node_that_does_not_say_yet_who_it_is_is_no_word_of_another() -> None:
    it = Field(plan(chiller=True), broker=None, knobs=GOOD, seed=1, catalogue=CATALOGUE)
    bus, device = cast(OpcUaSupervisor, it.buses[0]), DeviceId("chiller")
    bus._expect(device, bus._devices[device][1], lambda _: 60_000, now_ms=0)
    waits = ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(StatusCodes.BadWaitingForInitialData)))
    says = cast(Client, Says(waits))
    await bus._identify(says, device)
    assert not it.heard.told("chiller", DeviceEvent.UNKNOWN_DEVICE)()
    assert {each.reason for each in it.heard.readings} == {"bad_status: 0x80320000"}
    mapped = next(iter(bus._nodes.values()))
    bus._take(mapped, 7.0, 0)
    assert not it.heard.told("chiller", DeviceEvent.ONLINE)(), "nothing of it is believed before it has said so"
    for status in (StatusCodes.BadNodeIdUnknown, 0):
        other = ua.DataValue(None if status else ua.Variant("CH-90"), ua.StatusCode(ua.UInt32(status)))
        bus._told_strangers.clear()
        it.heard.events.clear()
        await bus._identify(cast(Client, Says(other)), device)
        assert it.heard.told("chiller", DeviceEvent.UNKNOWN_DEVICE)()
    await bus._identify(cast(Client, Says(ua.DataValue(ua.Variant("CH-60")))), device)
    bus._take(mapped, 7.0, 0)
    assert it.heard.told("chiller", DeviceEvent.ONLINE)()


@pytest.mark.requirement("DEV-02")
async def test_who_had_not_said_who_it_is_is_asked_again_in_the_same_session(monkeypatch: pytest.MonkeyPatch) -> None:
    asks = OpcUaSupervisor._identify
    asked = 0

    async def late(self: OpcUaSupervisor, client: Client, device: DeviceId) -> None:
        nonlocal asked
        asked += 1
        told = Says(ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(StatusCodes.BadOutOfService))))
        await asks(self, cast(Client, told) if asked == 1 else client, device)

    monkeypatch.setattr(OpcUaSupervisor, "_identify", late)
    model = CATALOGUE[CHILLER]
    points = tuple(msgspec.structs.replace(each, every_s=0.2) for each in model.points)
    hurried = {**CATALOGUE, CHILLER: msgspec.structs.replace(model, points=points)}
    async with field(plan(chiller=True), catalogue=hurried) as it:
        await it.heard.until(it.heard.says(*SETPOINT, 7.0))
        assert it.buses[0].counts["connections"] == 1
        assert asked == 2
