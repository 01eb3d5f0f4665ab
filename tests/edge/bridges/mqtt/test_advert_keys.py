"""Sensors that encrypt what they advertise: opened with their key, and nobody else taken for them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from edge.bridges.mqtt.advert_keys import read_advert_keys
from edge.bridges.mqtt.adverts import AdvertSupervisor
from edge.bridges.mqtt.bus_memory import BusMemory
from edge.bridges.ports import DeviceEvent
from firmware_bridges.catalogue import load_all
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.descriptors import gateway
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model.capability import Capability
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import Address, BleAdvertBus
from protocols.errors import InvalidInputError
from tests.edge.bridges.air import Air
from tests.edge.bridges.field import Heard

MAC: Final = "54:48:e6:8f:80:a5"
KEY: Final = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
IT: Final = DeviceId("air-204")
HT: Final = load_all()[DescriptorId("bthome/shelly_blu_ht")]
LYWSD: Final = load_all()[DescriptorId("xiaomi/lywsd03mmc")]
SILENCE_MS: Final = round(HT.wire.silence_s * 1000)  # type: ignore[union-attr]  # it advertises
T0: Final = 1_780_000_000_000


def sealed(celsius: float, counter: int, *, key: bytes = KEY) -> bytes:
    """Return an encrypted advert, made as bthome.io/encryption says."""
    plain = b"\x02" + round(celsius * 100).to_bytes(2, "little", signed=True)
    count = counter.to_bytes(4, "little")
    nonce = bytes.fromhex(MAC.replace(":", "")) + b"\xd2\xfc\x41" + count
    whole = AESCCM(key, tag_length=4).encrypt(nonce, plain, None)
    data = b"\x16\xd2\xfc\x41" + whole[:-4] + count + whole[-4:]
    return bytes((len(data),)) + data


def plain(celsius: float) -> bytes:
    data = b"\x16\xd2\xfc\x40\x02" + round(celsius * 100).to_bytes(2, "little", signed=True)
    return bytes((len(data),)) + data


class Room:
    """A bus with one sensor, told adverts as a gateway publishes them."""

    def __init__(
        self,
        keys: dict[str, bytes],
        *,
        planned: bool = True,
        model: Descriptor = HT,
        memory: BusMemory | None = None,
        clock: ManualClock | None = None,
    ) -> None:
        self.heard, self.clock, self.air = Heard(), clock or ManualClock(wall_ms=T0), Air()
        self.memory = memory or BusMemory()
        bus = BleAdvertBus(BusId("air"), "ruuvi")
        self.bus = AdvertSupervisor(
            bus,
            [(IT, Address(bus.id, mac=MAC), model)] if planned else [],
            keys=keys,
            transport=self.air,
            clock=self.clock,
            dice=SeededDice(1),
            sink=self.heard,
            memory=self.memory,
        )

    async def say(self, advert: bytes, *, ahead_s: int = 0) -> None:
        at_s = self.clock.wall_ms() // 1000 + ahead_s
        payload = gateway.message(advert, gateway="c4:7d:cc:00:11:22", rssi_dbm=-60, at_s=at_s)
        self.air.say(f"ruuvi/C4:7D:CC:00:11:22/{MAC.upper()}", payload)
        await self.air.heard()

    def sweep(self) -> None:
        """Have the bus look for what is stale."""
        self.bus._reporter.sweep(now_ms=self.clock.now_ms())

    def told(self) -> list[object]:
        wanted = (Capability.TEMPERATURE_MEASUREMENT, "measured_value")
        return [
            each.value if each.reason is None else each.reason
            for each in self.heard.readings
            if (each.capability, each.attribute) == wanted
        ]


@contextlib.asynccontextmanager
async def served(
    keys: dict[str, bytes],
    *,
    planned: bool = True,
    model: Descriptor = HT,
    memory: BusMemory | None = None,
    clock: ManualClock | None = None,
) -> AsyncIterator[Room]:
    room = Room(keys, planned=planned, model=model, memory=memory, clock=clock)
    running = asyncio.create_task(room.bus.run())
    try:
        await room.air.heard()
        yield room
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.requirement("DEV-02")
async def test_with_its_key_a_sensor_is_heard_and_without_it_is_told_why_not() -> None:
    for keys, told in (({MAC: KEY}, 25.06), ({}, "encrypted"), ({MAC: bytes(16)}, "wrong_key")):
        async with served(keys) as room:
            await room.say(sealed(25.06, 7))
            assert room.told() == [told]


@pytest.mark.guarantee("G19")
async def test_nobody_else_speaks_for_a_sensor_that_has_a_key() -> None:
    async with served({MAC: KEY}) as room:
        await room.say(sealed(21.0, 100))
        garbled = bytearray(sealed(60.0, 101))
        garbled[-1] ^= 1
        for advert in (plain(60.0), sealed(10.0, 99), sealed(60.0, 101, key=bytes(16)), bytes(garbled)):
            room.clock.advance(1_000)
            await room.say(advert)
        assert room.told() == [21.0]  # a stranger does not take the value away either
        counts = room.bus.counts
        assert [counts[each] for each in ("in_the_clear", "older_numbers", "not_under_its_key")] == [1, 1, 2]
        room.clock.advance(1_000)
        await room.say(sealed(22.0, 102))
        assert room.told()[-1] == 22.0
        room.clock.advance(SILENCE_MS)
        await room.say(sealed(23.0, 0))  # a new battery: it counts from the beginning
        assert room.told()[-1] == 23.0


@pytest.mark.guarantee("G17")
async def test_a_recording_of_the_last_advert_does_not_keep_a_dead_sensor_alive() -> None:
    async with served({MAC: KEY}) as room:
        await room.say(sealed(21.0, 100))
        for _ in range(4):
            room.clock.advance(SILENCE_MS // 2)
            await room.say(sealed(21.0, 100))
        assert room.bus.counts["repeated_adverts"] == 4
        room.sweep()
        assert room.heard.readings[-1].quality is Quality.STALE


async def test_a_sensor_that_was_paired_anew_is_told_once_its_old_key_has_opened_nothing_for_long() -> None:
    async with served({MAC: KEY}) as room:
        await room.say(sealed(21.0, 100))
        for count, wait_ms in enumerate((SILENCE_MS // 2, SILENCE_MS // 2, 1_000)):
            room.clock.advance(wait_ms)
            await room.say(sealed(22.0, count, key=bytes(16)))
        assert room.told() == [21.0, "wrong_key"]
        await room.say(plain(60.0))
        assert room.told() == [21.0, "wrong_key"]


@pytest.mark.guarantee("G19")
async def test_a_bus_that_is_made_anew_takes_no_older_number_unless_the_key_is_another() -> None:
    async with served({MAC: KEY}) as room:
        await room.say(sealed(21.0, 100))
        memory = room.memory
    async with served({MAC: KEY}, memory=memory.next_life()) as room:
        await room.say(sealed(10.0, 99))
        assert room.told() == []
        await room.say(sealed(22.0, 101))
        assert room.told() == [22.0]
        memory = room.memory
    async with served({MAC: bytes(16)}, memory=memory.next_life()) as room:
        await room.say(sealed(23.0, 0, key=bytes(16)))
        assert room.told() == [23.0]


@pytest.mark.guarantee("G17")
async def test_a_gateway_whose_clock_runs_ahead_makes_nobody_elses_advert_old() -> None:
    async with served({}) as room:
        await room.say(plain(21.0), ahead_s=SILENCE_MS // 2000)
        room.clock.advance(1_000)
        await room.say(plain(22.0))
        assert room.told() == [21.0, 22.0]


def mibeacon(celsius: float, frame: int, further: bytes, *, version: int) -> bytes:
    """Return a sealed MiBeacon, made as MiEcosystem's documents say."""
    address = bytes.fromhex(MAC.replace(":", ""))[::-1]
    head = bytes((0x58, version << 4 | 8, 0x5B, 0x05, frame))
    said = b"\x04\x10\x02" + round(celsius * 10).to_bytes(2, "little", signed=True)
    whole = AESCCM(KEY, tag_length=4).encrypt(address + head[2:] + further, said, b"\x11")
    data = b"\x16\x95\xfe" + head + address + whole[:-4] + further + whole[-4:]
    return bytes((len(data),)) + data


@pytest.mark.requirement("DEV-02")
@pytest.mark.guarantee("G19")
async def test_a_mibeacon_of_version_5_counts_in_32_bits_and_one_of_version_4_in_eight_that_go_round() -> None:
    async with served({MAC: KEY}, model=LYWSD) as room:
        await room.say(mibeacon(21.0, 0xFF, b"\x00\x00\x00", version=5))
        await room.say(mibeacon(22.0, 0x00, b"\x01\x00\x00", version=5))
        await room.say(mibeacon(10.0, 0xFE, b"\x00\x00\x00", version=5))
        assert room.told() == [21.0, 22.0]
    async with served({MAC: KEY}, model=LYWSD) as room:
        await room.say(mibeacon(21.0, 0xFF, b"\x17\x00\x91", version=4))
        await room.say(mibeacon(22.0, 0x00, b"\x01\xaa\x00", version=4))
        await room.say(mibeacon(10.0, 0xFE, b"\xff\x00\xff", version=4))
        assert room.told() == [21.0, 22.0]
        assert room.bus.counts["older_numbers"] == 1


async def test_one_that_nobody_planned_is_found_and_its_key_asked_for() -> None:
    async with served({}, planned=False) as room:
        await room.say(sealed(21.0, 1))
        [(_, event, facts)] = room.heard.events
        assert event is DeviceEvent.UNKNOWN_DEVICE
        assert (facts["mac"], facts["encoding"], facts["encrypted"]) == (MAC, "bthome_v2", "encrypted")


def test_keys_are_read_and_a_wrong_entry_is_named_without_its_key(tmp_path: Path) -> None:
    file = tmp_path / "advert-keys.toml"
    file.write_text(f'"{MAC.upper()}" = "{KEY.hex()}"\n')
    file.chmod(0o644)
    with pytest.raises(InvalidInputError, match="others may read these keys"):
        read_advert_keys(file)
    file.chmod(0o600)
    assert read_advert_keys(file) == {MAC: KEY}
    assert read_advert_keys(None) == {}
    for text, word in (
        (f'"54-48" = "{KEY.hex()}"', "no address"),
        (f'"{MAC}" = "{KEY.hex()}00"', "its key is not 32"),
        (f'"{MAC}" = 5', "its key is not 32"),
        (f'"{MAC}" = "{KEY.hex()}"\n"{MAC.upper()}" = "{KEY.hex()}"', "twice"),
        ("mac = [", "is not TOML"),
    ):
        file.write_text(text)
        with pytest.raises(InvalidInputError, match=word) as refused:
            read_advert_keys(file)
        assert KEY.hex() not in str(refused.value)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_advert_keys(tmp_path / "none.toml")
