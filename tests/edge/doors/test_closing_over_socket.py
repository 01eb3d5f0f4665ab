"""Withdrawals, lockouts, inhibit, failsafe and passage keys through the running process: socket, client, lock."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from edge.doors.client import DoorsClient
from protocols.device_model.identity import RoomId, StayId
from protocols.door.bundle import Bundle
from protocols.door.phone import Carry
from protocols.door.status import Status
from protocols.errors import InvalidInputError
from tests.edge.doors.building import Building
from tests.edge.doors.test_process import doors_running, write_files

ROOM, STAY = RoomId("101"), StayId("stay-1")
WHO: dict[str, Any] = {"by": "anna at the desk", "reason": "phone lost"}
DAY_MS = 86_400_000


@pytest.fixture
def building(tmp_path: Path) -> Building:
    made = Building(tmp_path / "locks")
    made.store.close()  # the process opens its own
    write_files(tmp_path, made)
    return made


async def confirmed(client: DoorsClient, door: str, field: str = "confirmed") -> None:
    async with asyncio.timeout(10):
        while True:
            [shown] = [each for each in (await client.revocations())["doors"] if each["door"] == door]
            if shown.get(field):
                return
            await asyncio.sleep(0.005)


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P9", "P11")
async def test_a_lost_phone_a_sealed_room_and_a_stolen_issuer(tmp_path: Path, building: Building) -> None:
    anna, lock, pool = building.phone("anna"), building.locks["door-101"], building.locks["pool"]
    until_ms = building.clock.wall_ms() + 2 * DAY_MS
    async with doors_running(tmp_path, building) as client:
        issued = await client.issue(STAY, ROOM, anna.public, not_before_ms=0, not_after_ms=until_ms)
        anna.bundle = Bundle.from_document(issued)
        assert anna.open("door-101").result.status is Status.OPENED
        told = await client.withdraw_key(stay=STAY, phone_public_key=anna.public, **WHO)
        assert len(told["grants"]) == 1
        assert [each["confirmed"] for each in told["doors"]] == [False] * 3
        building.radio.heard.put_nowait(lock.sighting())
        await confirmed(client, "door-101")
        assert anna.open("door-101").result.status is Status.REVOKED
        [news] = await client.news()
        at_s = building.clock.wall_ms() // 1_000
        carried = Carry(bytes.fromhex(news["signed"]), bytes.fromhex(news["certificate"]))
        assert anna.ask(pool.identity.door_keys(at_s, at_s), carried, pool).result.status is Status.DONE
        assert [each["withdrawn"] for each in await client.phones(STAY)] == [True]
        with pytest.raises(InvalidInputError, match="withdrawn"):
            await client.issue(STAY, ROOM, anna.public, not_before_ms=0, not_after_ms=until_ms)
        assert await client.lock_out(ROOM, sealed=True, **WHO) == ["door-101"]
        building.clock.advance(2_001)
        building.radio.heard.put_nowait(lock.sighting())
        await confirmed(client, "door-101", "sealed_confirmed")
        assert lock.core.locked_out
        gone = await client.withdraw_issuer(issuer_class="guest", **WHO)
        assert [each for each, _ in gone["issuers"]] == [gone["kid"]]
        assert gone["kid"] not in {each["kid"] for each in (await client.status())["issuers"]}


@pytest.mark.guarantee("G3", "G4")
@pytest.mark.requirement("P9", "P11")
async def test_a_stay_that_was_made_shorter_ends_at_its_end(tmp_path: Path, building: Building) -> None:
    anna, lock = building.phone("anna"), building.locks["door-101"]
    now_ms = building.clock.wall_ms()
    until_ms = now_ms + 3_600_000
    async with doors_running(tmp_path, building) as client:
        issued = await client.issue(STAY, ROOM, anna.public, not_before_ms=0, not_after_ms=now_ms + 2 * DAY_MS)
        anna.bundle = Bundle.from_document(issued)
        assert anna.open("door-101").result.status is Status.OPENED
        grace_ms = await client.curtail(STAY, now_ms)
        assert grace_ms == 900_000, "the grace of the settings"
        assert await client.curtail(STAY, until_ms) == 3_600_000 + grace_ms
        building.clock.advance(3_600_000 + grace_ms)
        assert await client.curtail(STAY, until_ms) == 0
        [key] = (await client.stay_keys(STAY))["keys"]
        assert (key["ended"], {each["door"] for each in key["waiting"]}) == (True, {"door-101", "pool"})
        building.radio.heard.put_nowait(lock.sighting())
        async with asyncio.timeout(10):
            while len((await client.stay_keys(STAY))["keys"][0]["waiting"]) == 2:
                await asyncio.sleep(0.005)
        assert anna.open("door-101").result.status is Status.SUPERSEDED
        with pytest.raises(InvalidInputError):
            await client.curtail(StayId("no stay of any form"), until_ms)


@pytest.mark.requirement("P11")
async def test_inhibit_failsafe_and_passage_keys(tmp_path: Path, building: Building) -> None:
    token, porter, pool = building.phone("token"), building.phone("porter"), building.locks["pool"]
    until_ms = building.clock.wall_ms() + DAY_MS
    async with doors_running(tmp_path, building) as client:
        token.bundle = Bundle.from_document(
            await client.issue_failsafe(ROOM, token.public, not_after_ms=until_ms, life_hours=12)
        )
        assert token.open("door-101").result.status is Status.OPENED
        assert await client.inhibit(ROOM, **WHO) == ["door-101"]
        async for told in client.events(0):
            if told.body["event"] == "inhibited":
                assert told.body["door"] == "door-101"
                assert told.body["reason"] == f"{WHO['by']}: {WHO['reason']}"
                break
        porter.bundle = Bundle.from_document(
            await client.issue_staff(
                "piotr",
                [],
                porter.public,
                not_after_ms=until_ms,
                zones=pool.identity.zones,
                user_verified=False,
                passage=True,
            )
        )
        assert porter.latch("pool").result.status is Status.OPENED
        assert porter.latch("pool", hold=False).result.status is Status.DONE
        assert len((await client.withdraw_key(person="piotr", **WHO))["grants"]) == 1


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("withdraw_key", {}),
        ("withdraw_key", {"stay": STAY, "grant": "00" * 8}),
        ("withdraw_key", {"person": "nobody"}),
        ("withdraw_key", {"grant": "xyz"}),
        ("withdraw_issuer", {}),
        ("withdraw_issuer", {"kid": "00000000", "issuer_class": "guest"}),
        ("withdraw_issuer", {"issuer_class": "property"}),
    ],
)
async def test_an_order_that_names_nothing_or_two_things_is_refused(
    tmp_path: Path, building: Building, method: str, args: dict[str, Any]
) -> None:
    async with doors_running(tmp_path, building) as client:
        with pytest.raises(InvalidInputError):
            await getattr(client, method)(**args, **WHO)
        assert (await client.revocations())["seq"] == 0
