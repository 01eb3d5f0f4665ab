"""Sensors that seal their adverts, on an air where others speak for them: the truth is told, and nothing else."""

from pathlib import Path
from typing import Final

import pytest

from edge.bridges.settings import BridgesSettings
from firmware_bridges.field_emulator.broker_things import LIE
from firmware_bridges.field_emulator.misbehaviour import GOOD, Knobs
from protocols.device_model import site_plan
from protocols.device_model.capability import Capability
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, EdgeId, PropertyId, RoomId
from protocols.device_model.reading import Quality
from tests.edge.bridges.field import field

AIR: Final = BusId("air")
MODELS: Final = {"bthome/shelly_blu_ht": "a4:c1:38:00:00:01", "xiaomi/lywsd03mmc": "a4:c1:38:00:00:02"}
KEYS: Final = {mac: bytes([number]) * 16 for number, mac in enumerate(MODELS.values(), 1)}
TEMPERATURE: Final = (Capability.TEMPERATURE_MEASUREMENT, "measured_value")
ROUNDS: Final = 40
HOSTILE: Final = Knobs(replayed=0.5, tampered=0.5, foreign_key=0.5, rolled_back=0.5, unsealed=0.5, reorder=0, garbage=0)


def plan() -> site_plan.SitePlan:
    made = site_plan.SitePlan(
        v=1,
        property=site_plan.Property(PropertyId("aurora"), "Hotel Aurora", "Europe/Vienna", "northlight"),
        edge=EdgeId("e-1"),
        rooms=(site_plan.Room(RoomId("101"), 1, "guest_room", "double"),),
        devices=tuple(
            site_plan.Device(
                DeviceId(f"sensor-{number}"), RoomId("101"), DescriptorId(model), site_plan.Address(AIR, mac=mac)
            )
            for number, (model, mac) in enumerate(MODELS.items())
        ),
        buses=(site_plan.BleAdvertBus(AIR, "ruuvi"),),
    )
    return site_plan.parse(site_plan.encode(made))


def test_the_emulator_misbehaves_unless_it_is_told_not_to() -> None:
    words = ("replayed", "tampered", "foreign_key", "rolled_back", "unsealed")
    assert all(getattr(Knobs(), word) > 0 for word in words)
    assert all(getattr(GOOD, word) == 0 for word in words)


@pytest.mark.tier("nats")
@pytest.mark.requirement("DEV-02")
@pytest.mark.guarantee("G19")
async def test_strangers_replays_and_older_numbers_take_nothing_from_sealed_sensors(
    broker: tuple[str, int], tmp_path: Path
) -> None:
    file = tmp_path / "advert-keys.toml"
    file.write_text("".join(f'"{mac}" = "{key.hex()}"\n' for mac, key in KEYS.items()))
    file.chmod(0o600)
    settings = BridgesSettings(advert_keys_path=file)
    async with field(plan(), broker=broker, knobs=HOSTILE, settings=settings, advert_keys=KEYS) as it:
        [air], [gateway] = it.buses, it.emulator.talkers.values()
        things = [it.emulator.things[each.id] for each in it.plan.devices]
        await it.heard.until(lambda: gateway.online.is_set() and air.counts["connections"])
        for number in range(ROUNDS):
            for thing in things:
                thing.state[TEMPERATURE] = 10.0 + number / 2
                gateway.told(thing)
        last = 10.0 + (ROUNDS - 1) / 2
        refused = ("repeated_adverts", "older_numbers", "not_under_its_key", "in_the_clear")
        await it.heard.until(
            lambda: (
                all(it.heard.says(each.device, *TEMPERATURE, last)() for each in things)
                and all(air.counts[word] for word in refused)
            )
        )
        assert gateway.counts["lies"] > 0
        assert all(each.value != LIE for each in it.heard.readings)
        for device in it.plan.devices:
            said = [each.quality for each in it.heard.readings if each.device == device.id]
            opened = said.index(Quality.GOOD)  # until its key opened something, it may be told to have a wrong one
            assert set(said[opened:]) == {Quality.GOOD}
