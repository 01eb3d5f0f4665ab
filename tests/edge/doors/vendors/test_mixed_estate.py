"""One stay with a door of ours and doors of two vendors: issued on all or honestly in part, ended on all."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.app import door_commands
from edge.doors.client import DoorsClient
from edge.doors.errors import StayEndedError
from edge.doors.store import AccessEvent
from firmware_bridges.lock_systems.misbehaviour import TAME, Knobs, Trouble, served
from firmware_bridges.unifi_access.emulator import UnifiEmulator, self_signed
from firmware_bridges.visionline.emulator import VisionlineEmulator
from kit.clock import SystemClock
from kit.dice import SeededDice
from protocols.device_model.identity import EdgeId, RoomId, StayId
from protocols.door.bundle import Bundle
from protocols.door.remote_open import statement_of
from protocols.door.status import Status
from protocols.door.vendor_keys import OpensAfar, vendor_keys_of
from protocols.errors import InvalidInputError
from protocols.link.documents import CommandEnvelope
from protocols.vectors.remote_open_vectors import signed
from tests.edge.doors.building import Building, MemoryPhone
from tests.edge.doors.test_process import doors_running, write_files

STAY = StayId("stay-1")
OURS, ANNEX, TOWER = RoomId("101"), RoomId("a1"), RoomId("t1")
AWAY = msgspec.structs.replace(TAME, fault_before=1.0)


class House:
    """A building of ours, a UniFi annex and a Visionline tower."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.building = Building(folder / "locks")
        self.building.store.close()
        clock = self.building.clock
        self.unifi = UnifiEmulator(doors=["annex-door"], token="token-of-unifi", clock=clock, dice=SeededDice(2))
        self.tower = VisionlineEmulator(
            doors=["T1"],
            online=["T1"],
            encoders=["desk"],
            username="innkeeper",
            password="password-of-tower",
            zone="Europe/Vienna",
            clock=clock,
            dice=SeededDice(3),
        )

    @property
    def until_ms(self) -> int:
        return self.building.clock.wall_ms() + 86_400_000

    def trouble(self, knobs: Knobs) -> None:
        self.unifi.misbehaving.knobs = knobs

    @asynccontextmanager
    async def running(self) -> AsyncIterator[DoorsClient]:
        context, pin = self_signed(SystemClock("host"))
        async with AsyncExitStack() as stack:
            unifi = await stack.enter_async_context(served(self.unifi.app(), context))
            tower = await stack.enter_async_context(served(self.tower.app()))
            config = write_files(self.folder, self.building)
            for name, secret in (("unifi.token", "token-of-unifi"), ("tower.password", "password-of-tower")):
                path = self.folder / name
                path.touch(mode=0o600)
                path.write_text(secret + "\n")
            with config.open("a") as file:
                file.write(
                    f'[[lock_systems]]\nname = "annex"\nkind = "unifi_access"\nurl = "https://127.0.0.1:{unifi}"\n'
                    f'certificate_sha256 = "{pin}"\ntoken_path = "unifi.token"\npoll = "PT1S"\n'
                    f'doors = {{ a1 = ["annex-door"] }}\n'
                    f'[[lock_systems]]\nname = "tower"\nkind = "visionline"\nurl = "http://127.0.0.1:{tower}"\n'
                    'username = "innkeeper"\npassword_path = "tower.password"\nzone = "Europe/Vienna"\n'
                    'medium = "mobile"\npoll = "PT1S"\ndoors = { t1 = ["T1"] }\n'
                )
            yield await stack.enter_async_context(doors_running(self.folder, self.building))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def until_ended(house: House, client: DoorsClient) -> None:
    async with asyncio.timeout(20):
        while any(each["state"] != "ended" for each in await client.keys(STAY)):
            house.building.clock.advance(1_000)
            await asyncio.sleep(0.02)


@pytest.mark.requirement("A15")
@pytest.mark.requirement("P20")
async def test_one_stay_has_doors_of_three_makers_and_loses_them_all(house: House) -> None:
    anna = house.building.phone("anna")
    async with house.running() as client:
        document = await client.issue(
            STAY, OURS, anna.public, not_before_ms=0, not_after_ms=house.until_ms, more_rooms=(ANNEX, TOWER)
        )
        anna.bundle = Bundle.from_document(document)
        assert anna.open("door-101").result.status is Status.OPENED
        keys = {each["system"]: each for each in document["vendor_keys"]}
        assert (keys["annex"]["state"], keys["annex"]["truth"]) == ("made", "accepted-by-vendor")
        assert (keys["tower"]["state"], keys["tower"]["truth"]) == ("made", "effective-at-next-presentation")
        pin = keys["annex"]["code"]
        [card] = house.tower.cards
        assert house.unifi.opens("annex-door", pin)
        assert house.tower.present(card, "T1")
        again = await client.issue_keys(STAY, [ANNEX, TOWER], not_before_ms=0, not_after_ms=house.until_ms)
        assert {each["code"] for each in again} == {pin, None}
        assert (len(house.unifi.visitors), len(house.tower.cards)) == (1, 1)
        await client.end_stay(STAY)
        await until_ended(house, client)
        assert not house.unifi.opens("annex-door", pin)
        assert not house.tower.present(card, "T1")
        house.building.radio.heard.put_nowait(house.building.locks["door-101"].sighting())
        async with asyncio.timeout(10):
            while (await client.status())["bumps_pending"]:
                await asyncio.sleep(0.005)
        assert anna.open("door-101").result.status is Status.SUPERSEDED
        with pytest.raises(StayEndedError):
            await client.issue_keys(STAY, [ANNEX], not_before_ms=0, not_after_ms=house.until_ms)


@pytest.mark.guarantee("G3")
@pytest.mark.guarantee("G17")
@pytest.mark.requirement("A15")
async def test_a_vendor_that_is_away_costs_only_its_own_door_and_is_told_later(house: House) -> None:
    anna = house.building.phone("anna")
    house.trouble(AWAY)
    async with house.running() as client:
        document = await client.issue(
            STAY, OURS, anna.public, not_before_ms=0, not_after_ms=house.until_ms, more_rooms=(ANNEX, TOWER)
        )
        anna.bundle = Bundle.from_document(document)
        assert anna.open("door-101").result.status is Status.OPENED
        keys = {each["system"]: each for each in document["vendor_keys"]}
        assert keys["tower"]["state"] == "made"
        assert keys["annex"]["state"] == "wanted"
        assert keys["annex"]["truth"] is None
        assert keys["annex"]["problem"]
        assert house.unifi.visitors == {}
        house.trouble(TAME)
        async with asyncio.timeout(20):
            while any(each["state"] != "made" for each in await client.keys(STAY)):
                house.building.clock.advance(1_000)
                await asyncio.sleep(0.02)
        assert len(house.unifi.visitors) == 1
        house.trouble(AWAY)
        await client.end_stay(STAY)
        states = {each["system"]: each["state"] for each in await client.keys(STAY)}
        assert states["annex"] == "ending", "durable here, and not said to be done where it is not"
        house.trouble(TAME)
        await until_ended(house, client)
        assert house.unifi.visitors == {}


@pytest.mark.guarantee("G11")
async def test_what_was_wanted_outlives_the_process_and_the_loss_of_its_file(house: House) -> None:
    async with house.running() as client:
        [made] = await client.issue_keys(STAY, [ANNEX], not_before_ms=0, not_after_ms=house.until_ms)
        house.trouble(AWAY)
        await client.end_stay(STAY)
    house.trouble(TAME)
    async with house.running() as client:
        await until_ended(house, client)
        assert house.unifi.visitors == {}
        [other] = await client.issue_keys(StayId("stay-2"), [ANNEX], not_before_ms=0, not_after_ms=house.until_ms)
    [kept] = list(house.folder.glob("state/vendor-keys.db"))
    assert kept.stat().st_mode & 0o077 == 0
    for each in house.folder.glob("state/vendor-keys.db*"):
        each.unlink()
    async with house.running() as client:
        [found] = await client.issue_keys(StayId("stay-2"), [ANNEX], not_before_ms=0, not_after_ms=house.until_ms)
        assert found["state"] == "made"
        assert len(house.unifi.visitors) == 1, "found by its name, not made twice"
    assert made["code"] != other["code"]


@pytest.mark.guarantee("G2")
@pytest.mark.requirement("ACC-23")
async def test_what_happened_at_foreign_doors_is_told_once_with_its_stay(house: House) -> None:
    async with house.running() as client:
        [key] = await client.issue_keys(STAY, [ANNEX], not_before_ms=0, not_after_ms=house.until_ms)
        for _ in range(3):
            assert house.unifi.opens("annex-door", key["code"])
        assert not house.unifi.opens("annex-door", "000000")
        vendors = client.vendor_events()
        epoch = await vendors.epoch()
        seen: list[AccessEvent] = []
        async with asyncio.timeout(20):
            async for event in vendors.events(0):
                seen.append(event)
                if len(seen) == 4:
                    break
        assert [each.seq for each in seen] == [1, 2, 3, 4]
        assert {each.epoch for each in seen} == {epoch}
        assert [(each.body["event"], each.body["stay"]) for each in seen] == [("opened", STAY)] * 3 + [
            ("refused", None)
        ]
        assert {(each.body["door"], each.body["room"]) for each in seen} == {("annex-a1", ANNEX)}
        with pytest.raises(InvalidInputError, match="epoch"):
            await vendors.ack(bytes(16), 4)
        await vendors.ack(epoch, 3)
    async with house.running() as client:
        async with asyncio.timeout(20):
            async for event in client.vendor_events().events(0):
                assert (event.epoch, event.seq) == (epoch, 4)
                break


@pytest.mark.guarantee("G3", "G4")
@pytest.mark.requirement("A15")
async def test_a_room_of_another_maker_is_served_through_a_vendors_bad_day_and_ended(house: House) -> None:
    """The first answers are lost though the work was done: one visitor in the end, one PIN, and nothing left after."""
    anna = house.building.phone("anna")
    async with house.running() as client:
        assert await client.serves(ANNEX)
        assert not await client.serves(RoomId("attic"))
        house.unifi.misbehaving.script = [Trouble.LOST_ANSWER, Trouble.FAULT_AFTER, Trouble.NONE, Trouble.LOST_ANSWER]
        document: dict[str, Any] = {}
        async with asyncio.timeout(30):
            while not document or vendor_keys_of(document)[0].state != "made":
                house.building.clock.advance(1_000)
                document = await client.issue(
                    STAY, ANNEX, anna.public, not_before_ms=0, not_after_ms=house.until_ms, join=bool(document)
                )
        [key] = vendor_keys_of(document)
        assert key.code is not None
        assert len(house.unifi.visitors) == 1
        assert house.unifi.opens("annex-door", key.code)
        anna.bundle = Bundle.from_document(document)
        assert anna.open("pool").result.status is Status.OPENED
        await client.end_stay(STAY)
        await until_ended(house, client)
        assert not house.unifi.opens("annex-door", key.code)


@pytest.mark.requirement("ACC-21")
async def test_a_foreign_door_is_opened_from_afar_once(house: House) -> None:
    async with house.running() as client:
        [opened] = await client.open_door(ANNEX, actor="desk")
        assert opened["door"] == "annex-door"
        assert house.unifi.doors["annex-door"].opened == 1
        with pytest.raises(InvalidInputError, match="no door in a foreign"):
            await client.open_door(OURS, actor="desk")
        status = await client.status()
        assert {each["name"] for each in status["lock_systems"]["systems"]} == {"annex", "tower"}
        assert "token-of-unifi" not in json.dumps(status)


def asked(phone: MemoryPhone, opens: OpensAfar, at_ms: int, *, number: int = 0, key: MemoryPhone | None = None) -> str:
    """Return what a phone signs to open the first of its doors, as the cloud carries it."""
    statement = statement_of(bytes([number] * 16), at_ms, opens.property_id, opens.grant, opens.doors[0][0])
    return signed((key or phone).key, statement).hex()


def carried(request: str, *, number: int = 1) -> CommandEnvelope:
    args = {"request": request}
    return CommandEnvelope(EdgeId("e-aurora0000000001"), f"c-{number}", f"k-{number}", "open_door", args, 2**50, 0)


@pytest.mark.guarantee("G13")
@pytest.mark.requirement("A11", "P15")
async def test_the_clouds_command_opens_what_a_guests_phone_signed_and_nothing_else(house: House) -> None:
    anna, mallory = house.building.phone("anna"), house.building.phone("mallory")
    door = house.unifi.doors["annex-door"]
    async with house.running() as client:
        told = await client.issue(STAY, ANNEX, anna.public, not_before_ms=0, not_after_ms=house.until_ms)
        [key] = vendor_keys_of(told)
        assert key.opens is not None
        assert key.opens.doors == (("annex-a1", ANNEX),)
        now_ms = house.building.clock.wall_ms()
        forged = asked(anna, key.opens, now_ms, key=mallory)
        refused = {"phase": "failed", "read_back": "refused", "reason": "bad_signature"}
        assert await door_commands.obey(client, carried(forged)) == refused
        for wrong in (
            {},
            {"request": ""},
            {"request": "zz"},
            {"request": "00" * 400},
            {"request": forged, "room": ANNEX},
        ):
            command = replace(carried(forged), args=wrong)
            with pytest.raises(InvalidInputError, match="command open_door"):
                await door_commands.obey(client, command)
        assert door.opened == 0
        good = asked(anna, key.opens, now_ms)
        said = await door_commands.obey(client, carried(good))
        assert (said["phase"], said["read_back"]) == ("done", "online-confirmed")
        assert door.opened == 1
        again = {"phase": "failed", "read_back": "refused", "reason": "replayed"}
        assert await door_commands.obey(client, carried(good, number=2)) == again
        house.trouble(AWAY)
        said = await door_commands.obey(client, carried(asked(anna, key.opens, now_ms, number=1), number=3))
        assert said["phase"] in {"failed", "unknown"}
        assert door.opened == 1
        events = client.vendor_events()
        names: list[str] = []
        async with asyncio.timeout(20):
            async for event in events.events(0):
                names.append(event.body["event"])
                if len([each for each in names if each.startswith("remote-")]) == 5:
                    break
        assert [each for each in names if each.startswith("remote-")][:3] == [
            *("remote-asked", "remote-opened", "remote-refused")
        ]


@pytest.mark.requirement("A11", "P15")
async def test_a_house_without_other_makers_locks_opens_nothing_from_afar(tmp_path: Path) -> None:
    building = Building(tmp_path / "locks")
    building.store.close()
    write_files(tmp_path, building)
    anna = building.phone("anna")
    opens = OpensAfar("aurora", "ik-000000000000000000000000", "online-confirmed", (("door-101", "101"),))
    async with doors_running(tmp_path, building) as client:
        with pytest.raises(InvalidInputError, match="no foreign lock system: nothing opens from afar"):
            await client.open_remotely(bytes.fromhex(asked(anna, opens, building.clock.wall_ms())))
