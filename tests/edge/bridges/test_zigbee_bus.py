"""Zigbee2MQTT over a real broker: what the radios do is what is told, and a command is done when the device says so."""

import asyncio
from typing import Final

import msgspec
import pytest

from edge.bridges.assembly import build
from edge.bridges.ports import DeviceEvent
from firmware_bridges.field_emulator.misbehaviour import Knobs
from kit.dice import SeededDice
from kit.mqtt import Broker, MqttTransport
from protocols.descriptors.wires import Zigbee2MqttWire
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.reading import Quality
from tests.edge.bridges.field import CATALOGUE, LIGHT, PLAIN, ZIGBEE, Field, Heard, field, plan

pytestmark = pytest.mark.tier("nats")

LAMP: Final = ("light-101", Capability.ON_OFF, "on_off")
LEVEL: Final = ("light-101", Capability.LEVEL_CONTROL, "current_level")
CONTACT: Final = ("contact-101", Capability.BOOLEAN_STATE, "state_value")
MOTION: Final = ("motion-101", Capability.OCCUPANCY_SENSING, "occupancy")


async def joined(it: Field) -> None:
    """Wait until both sides have met on the broker."""
    await it.heard.until(lambda: all(it.heard.told(each.id, DeviceEvent.ONLINE)() for each in it.plan.devices))


@pytest.mark.requirement("DEV-02")
async def test_a_door_that_opens_and_somebody_who_moves_are_told(broker: tuple[str, int]) -> None:
    async with field(plan(zigbee=True), broker=broker) as it:
        await it.heard.until(it.heard.says(*CONTACT, True))
        await it.cause("contact-101", "open")
        await it.heard.until(it.heard.says(*CONTACT, False))
        await it.cause("contact-101", "close")
        await it.cause("motion-101", "motion")
        await it.heard.until(it.heard.says(*CONTACT, True))
        await it.heard.until(it.heard.says(*MOTION, True))
        last = it.heard.last(*CONTACT)
        assert last is not None
        assert last.device_at_ms is not None


@pytest.mark.guarantee("G13")
@pytest.mark.requirement("DEV-06")
async def test_a_lamp_that_was_switched_is_on_at_the_lamp(broker: tuple[str, int]) -> None:
    async with field(plan(zigbee=True), broker=broker) as it:
        await joined(it)
        outcome = await it.devices.write(it.command(*LAMP, True))
        assert (outcome.phase, outcome.read_back) == (Phase.DONE, True)
        truth = await it.truth("light-101")
        assert truth["state"]["on_off.on_off"] is True
        assert truth["writes"] == 1
        await it.heard.until(it.heard.says(*LAMP, True))
        dimmed = await it.devices.write(it.command(*LEVEL, 400))
        assert (dimmed.phase, dimmed.read_back, dimmed.reason) == (Phase.DONE, 254, "clamped to 254")


@pytest.mark.guarantee("G13")
async def test_a_lamp_off_the_radio_fails_by_its_bridges_word_or_stays_unknown(broker: tuple[str, int]) -> None:
    async with field(plan(zigbee=True), broker=broker) as it:
        await joined(it)
        await it.emulator.answer("power", {"device": "light-101", "on": False})
        await it.heard.until(it.heard.told("light-101", DeviceEvent.OFFLINE))
        outcome = await it.devices.write(it.command(*LAMP, True))
        assert (outcome.phase, outcome.read_back) == (Phase.UNKNOWN, None)
        assert (await it.truth("light-101"))["writes"] == 0


@pytest.mark.guarantee("G17")
async def test_a_bridge_that_goes_takes_its_devices_off_line_and_their_values_stale(broker: tuple[str, int]) -> None:
    async with field(plan(zigbee=True), broker=broker) as it:
        await it.heard.until(it.heard.says(*CONTACT, True))
        await it.emulator.answer("bridge", {"online": False})
        await it.heard.until(it.heard.told("contact-101", DeviceEvent.OFFLINE))
        last = it.heard.last(*CONTACT)
        assert last is not None
        assert (last.value, last.quality) == (True, Quality.STALE)
        refused = await it.devices.write(it.command(*LAMP, True))
        assert (refused.phase, refused.reason) == (Phase.FAILED, "Zigbee2MQTT is off line")
        await it.emulator.answer("bridge", {"online": True})
        await it.heard.until(it.heard.says(*CONTACT, True))


async def test_a_device_that_nobody_planned_is_told_with_evidence(broker: tuple[str, int]) -> None:
    async with field(plan(zigbee=True), broker=broker) as it:
        await joined(it)
        await it.emulator.answer(
            "join",
            {"friendly_name": "0x00158d00aa", "ieee": "0x00158d0000000aaa", "model": "SNZB-03", "vendor": "SONOFF"},
        )
        await it.heard.until(it.heard.told("0x00158d0000000aaa", DeviceEvent.UNKNOWN_DEVICE))
        [evidence] = [detail for _, what, detail in it.heard.events if what is DeviceEvent.UNKNOWN_DEVICE]
        assert (evidence["model"], evidence["vendor"], evidence["bus"]) == ("SNZB-03", "SONOFF", ZIGBEE)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "payload", ["{", "[]", "null", '{"contact": "ajar"}', '{"contact": 1}', "\x00\xff", "9" * 70_000]
)
async def test_nonsense_is_a_bad_reading_of_that_device_and_nothing_else(broker: tuple[str, int], payload: str) -> None:
    async with field(plan(zigbee=True), broker=broker) as it:
        await joined(it)
        await it.heard.until(it.heard.says(*CONTACT, True))
        await it.emulator.answer("publish", {"topic": "contact-101", "payload": payload})
        await it.heard.until(lambda: it.heard.last(*CONTACT).quality is Quality.BAD)  # type: ignore[union-attr]  # None fails the test
        last = it.heard.last(*CONTACT)
        assert last is not None
        assert last.value is None
        assert last.reason
        await it.cause("contact-101", "open")
        await it.cause("motion-101", "motion")
        await it.heard.until(it.heard.says(*CONTACT, False))
        await it.heard.until(it.heard.says(*MOTION, True))
        bad = {each.device for each in it.heard.readings if each.quality is Quality.BAD}
        assert bad == {"contact-101"}


async def test_messages_twice_and_out_of_order_end_in_what_is_true(broker: tuple[str, int]) -> None:
    knobs = Knobs(duplicate=0.5, reorder=0.5, garbage=0.0, radio_loss=0.0, answer_ms_most=0)
    async with field(plan(zigbee=True), broker=broker, knobs=knobs) as it:
        for turn in range(20):
            await it.cause("contact-101", "open" if turn % 2 else "close")
            await asyncio.sleep(0.002)
        await it.emulator.answer("misbehave", {"good": True})
        await it.cause("contact-101", "open")
        await it.heard.until(it.heard.says(*CONTACT, False))
        times = [each.device_at_ms for each in it.heard.readings if each.device == "contact-101" and each.device_at_ms]
        assert times == sorted(times)


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("seed", range(2))
async def test_on_a_bad_day_every_outcome_agrees_with_the_lamp(broker: tuple[str, int], seed: int) -> None:
    knobs = Knobs(duplicate=0.3, reorder=0.3, garbage=0.2, radio_loss=0.3)
    async with field(plan(zigbee=True), broker=broker, knobs=knobs, seed=seed) as it:
        await it.heard.until(lambda: it.buses[0].counts["messages"] > 5)
        for on in (True, False, True):
            before = (await it.truth("light-101"))["writes"]
            outcome = await it.devices.write(it.command(*LAMP, on, within_ms=20_000))
            truth = await it.truth("light-101")
            assert truth["writes"] - before <= 1
            if outcome.phase is Phase.DONE:
                assert truth["state"]["on_off.on_off"] is on
            elif outcome.phase is Phase.FAILED:
                assert truth["writes"] == before


@pytest.mark.guarantee("G17")
async def test_a_lamp_that_says_nothing_for_long_is_asked(broker: tuple[str, int]) -> None:
    patient = CATALOGUE[LIGHT]
    assert isinstance(patient.wire, Zigbee2MqttWire)
    hurried = msgspec.structs.replace(patient, wire=msgspec.structs.replace(patient.wire, silence_s=1.0))
    async with field(plan(zigbee=True), broker=broker, catalogue={**CATALOGUE, LIGHT: hurried}) as it:
        await joined(it)
        thing = it.emulator.things[it.plan.devices[0].id]
        thing.put((Capability.ON_OFF, "on_off"), True)  # switched without a word
        await it.heard.until(it.heard.says(*LAMP, True))
        assert it.buses[0].counts["asked_after_silence"] >= 1


@pytest.mark.guarantee("G17")
async def test_a_lamp_that_nobody_switches_is_known_soon_after_a_restart(broker: tuple[str, int]) -> None:
    async with field(plan(zigbee=True), broker=broker) as it:
        await it.heard.until(it.heard.says(*LAMP, False))
        heard, host, port = Heard(), *broker
        again = build(
            it.plan,
            CATALOGUE,
            it.clock,
            SeededDice(2),
            heard,
            PLAIN,
            lambda _: MqttTransport(Broker(host, port, client_id="edge-again")),
        )
        running = [asyncio.create_task(each.run()) for each in again]
        await heard.until(heard.says(*LAMP, False))
        assert again[0].counts["asked_unheard"] >= 1
        assert not again[0].counts["asked_after_silence"]
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
