"""The process whole: settings from a file, the socket, the client, a lock that opens, a restart in between."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from edge.app.doors import main
from edge.doors.client import DoorsClient
from edge.doors.errors import StayEndedError
from edge.doors.lock_states import HEARD_MOST_MS
from edge.doors.main import run
from edge.doors.radio import DoorRadio
from edge.doors.settings import DoorsSettings
from edge.doors.store import AccessEvent, DoorStore
from edge.doors.wire import MESSAGE_BYTES_MOST
from kit import event_loop
from kit.settings import load
from protocols.device_model import site_plan
from protocols.device_model.identity import RoomId, StayId
from protocols.door.bundle import Bundle
from protocols.door.hardware import Bolt
from protocols.door.identity import secrets_document
from protocols.door.status import Status
from protocols.errors import InvalidInputError, LinkLostError, ReplyTimeoutError, StoreFailedError
from tests.edge.doors.building import Building, MemoryPhone

STAY = StayId("stay-1")
ROOM = RoomId("101")
UNTIL_MS = 1_800_100_000_000


def write_files(folder: Path, building: Building) -> Path:
    """Write what provisioning writes; return doors.toml."""
    (folder / "site.json").write_bytes(site_plan.encode(building.plan))
    for name, document in (
        ("property_ca.json", building.ca.to_document()),
        ("doors.secrets.json", secrets_document(building.secrets)),
    ):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
    config = folder / "doors.toml"
    config.write_text(
        'store_path = "state/doors.db"\nsocket_path = "doors.sock"\nsite_plan_path = "site.json"\n'
        'door_secrets_path = "doors.secrets.json"\nproperty_ca_key_path = "property_ca.json"\nclock_trust = "host"\n'
        '[grants]\nlife = "PT48H"\n'
    )
    return config


@asynccontextmanager
async def doors_running(folder: Path, building: Building) -> AsyncIterator[DoorsClient]:
    settings = load(DoorsSettings, folder / "doors.toml", "DOORS", {})

    @asynccontextmanager
    async def radio() -> AsyncIterator[DoorRadio]:
        yield building.radio

    task = asyncio.create_task(run(settings, clock=building.clock, dice=building.dice, radio=radio))
    client = DoorsClient(settings.socket_path)
    try:
        async with asyncio.timeout(10):
            while not settings.socket_path.exists():
                await asyncio.sleep(0.005)
        yield client
    finally:
        await client.close()
        if not task.done():  # nobody else takes the signal
            os.kill(os.getpid(), signal.SIGTERM)
        await task
    assert not settings.socket_path.exists()


@pytest.fixture
def building(tmp_path: Path) -> Building:
    made = Building(tmp_path / "locks")
    made.store.close()  # the process opens its own
    write_files(tmp_path, made)
    return made


def test_on_the_loop_that_it_runs_on_it_serves_its_own_user_alone_and_again(tmp_path: Path, building: Building) -> None:
    async def asked() -> dict[str, Any]:
        async with doors_running(tmp_path, building) as client:
            assert (tmp_path / "doors.sock").stat().st_mode & 0o777 == 0o600
            return await client.issue(STAY, ROOM, building.phone("anna").public, not_before_ms=0, not_after_ms=UNTIL_MS)

    assert event_loop.run(asked()) == event_loop.run(asked())


@pytest.mark.guarantee("G1")
@pytest.mark.requirement("A10")
async def test_a_coach_of_guests_at_once_is_answered_each_with_its_own_key_that_is_on_the_disk(
    tmp_path: Path, building: Building
) -> None:
    coach = {StayId(f"stay-{number}"): building.phone(f"guest {number}") for number in range(50)}
    async with doors_running(tmp_path, building) as client:

        async def ask(stay: StayId, phone: MemoryPhone, room: RoomId = ROOM) -> dict[str, Any]:
            return await client.issue(stay, room, phone.public, not_before_ms=0, not_after_ms=UNTIL_MS)

        nowhere = ask(StayId("stay-x"), building.phone("x"), RoomId("999"))
        *given, refused = await asyncio.gather(
            *(ask(stay, phone) for stay, phone in coach.items()), nowhere, return_exceptions=True
        )
        bundles = [Bundle.from_document(each) for each in given if isinstance(each, dict)]
        assert len({each.grant for each in bundles}) == len(coach)
        assert isinstance(refused, InvalidInputError), "one that cannot be made holds up nobody, and says why"
        last = list(coach.values())[-1]
    async with doors_running(tmp_path, building) as client:  # what was answered outlives the process
        again = await asyncio.gather(*(ask(stay, phone) for stay, phone in coach.items()))
        assert [Bundle.from_document(each).grant for each in again] == [each.grant for each in bundles]
        last.bundle = bundles[-1]
        assert last.open("door-101").result.status is Status.OPENED


@pytest.mark.requirement("ACC-02", "ACC-03", "ACC-23")
async def test_a_night_with_a_restart_in_it(tmp_path: Path, building: Building) -> None:
    anna = building.phone("anna")
    async with doors_running(tmp_path, building) as client:
        document = await client.issue(STAY, ROOM, anna.public, not_before_ms=0, not_after_ms=UNTIL_MS)
        assert await client.issue(STAY, ROOM, anna.public, not_before_ms=0, not_after_ms=UNTIL_MS) == document
        anna.bundle = Bundle.from_document(document)
        assert anna.bundle.to_document() == document
        assert anna.open("door-101").result.status is Status.OPENED
        building.radio.heard.put_nowait(building.locks["door-101"].sighting())
        async with asyncio.timeout(10):
            got = [event async for event in _first(client, 2)]
        assert [(e.seq, e.body["event"], e.body["stay"]) for e in got] == [(1, "promoted", STAY), (2, "opened", STAY)]
        epoch = got[0].epoch
        with pytest.raises(InvalidInputError, match="epoch"):
            await client.ack(bytes(16), 2)
        await client.ack(epoch, 1)
    async with doors_running(tmp_path, building) as client:
        assert await client.epoch() == epoch
        async with asyncio.timeout(10):
            assert [e.seq async for e in _first(client, 1)] == [2]  # 1 was acknowledged, 2 was not
        assert await client.issue(STAY, ROOM, anna.public, not_before_ms=0, not_after_ms=UNTIL_MS) == document
        await client.end_stay(STAY)
        await client.end_stay(STAY)
        with pytest.raises(StayEndedError):
            await client.issue(STAY, ROOM, anna.public, not_before_ms=0, not_after_ms=UNTIL_MS)
        status = await client.status()
        assert status["ready"] is True
        assert status["bumps_pending"] == 1
        [door] = [each for each in status["doors"] if each["door"] == "door-101"]
        assert door["bump_pending"] is True
        assert door["battery"] == 80
        building.radio.heard.put_nowait(building.locks["door-101"].sighting())
        async with asyncio.timeout(10):
            while (await client.status())["bumps_pending"]:
                await asyncio.sleep(0.005)
        assert anna.open("door-101").result.status is Status.SUPERSEDED
        assert "innkeeper_door_visits_total" in await client.metrics()


@pytest.mark.guarantee("G11")
async def test_an_end_while_others_are_connected_is_no_crash(tmp_path: Path, building: Building) -> None:
    crashes: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: crashes.append(context["message"]))
    try:
        async with doors_running(tmp_path, building) as client:
            reader, writer = await asyncio.open_unix_connection(tmp_path / "doors.sock")
            writer.write(_framed(b'{"method":"events","args":{"after":0,"wait_ms":30000}}'))
            await client.status()  # asked later, answered: the other is being served
        assert await reader.read() == b""
        writer.close()
    finally:
        loop.set_exception_handler(None)
    assert crashes == []


async def _first(client: DoorsClient, count: int) -> AsyncIterator[AccessEvent]:
    events = client.events(0)
    got = 0
    async for event in events:
        yield event
        got += 1
        if got == count:
            break
    await events.aclose()  # type: ignore[attr-defined]  # an inner part, looked at on purpose


@pytest.mark.guarantee("G19")
async def test_noise_on_the_socket_is_answered_by_name_and_harms_nobody(tmp_path: Path, building: Building) -> None:
    async with doors_running(tmp_path, building) as client:
        path = str(tmp_path / "doors.sock")
        for noise, answer in (
            (b"\x00\x00\x00\x04null", b"InvalidInputError"),
            (_framed(b'{"method":"status","v":2}'), b"version 2 is not supported"),
            (_framed(b'{"method":"events","args":{"after":%d}}' % 2**70), b"InvalidInputError"),
            (_framed(b'{"method":"ack","args":{"epoch":"","up_to":%d}}' % 2**64), b"InvalidInputError"),
            (_framed(_issue_until(2**60)), b"InvalidInputError"),
            (_framed(_issue_until(10**30)), b"InvalidInputError"),
            (b"\x00\x00\x00\x02{}", b"InvalidInputError"),
            (_framed(b'{"method":"open_all"}'), b"open_all"),
            (_framed(b'{"method":"issue","args":{"stay":"x"}}'), b"InvalidInputError"),
            (_framed(b'{"method":"events","args":{"after":-1}}'), b"InvalidInputError"),
            (_framed(b'{"method":"end_stay","args":{"stay":"UPPER"}}'), b"no name"),
            (_framed(b"[" * 100_000), b"InvalidInputError"),
            ((MESSAGE_BYTES_MOST + 1).to_bytes(4, "big"), b""),
        ):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(noise)
            writer.write_eof()
            answered = await reader.read()
            writer.close()
            await writer.wait_closed()
            assert answer in answered, noise[:40]
            assert bool(answer) == bool(answered)
        with pytest.raises(InvalidInputError, match="999"):
            await client.issue(
                STAY, RoomId("999"), building.phone("anna").public, not_before_ms=0, not_after_ms=UNTIL_MS
            )
        await client.issue(STAY, ROOM, building.phone("anna").public, not_before_ms=0, not_after_ms=UNTIL_MS)


def _issue_until(until_ms: int) -> bytes:
    args = {
        "stay": "stay-9",
        "rooms": ["101"],
        "phone_public_key": Building.some_point(),
        "not_before_ms": 0,
        "not_after_ms": until_ms,
    }
    return json.dumps({"method": "issue", "args": args}).encode()


@pytest.mark.guarantee("G19")
async def test_a_hundred_idle_or_half_spoken_connections_do_not_shut_the_house_out(
    tmp_path: Path, building: Building
) -> None:
    async with doors_running(tmp_path, building) as client:
        await client.status()
        crowd = [await asyncio.open_unix_connection(str(tmp_path / "doors.sock")) for _ in range(100)]
        async with DoorsClient(tmp_path / "doors.sock") as newcomer:
            assert (await newcomer.status())["ready"] is True
        for at, (_, writer) in enumerate(crowd):
            writer.write(b"\x00\x00" if at % 2 else b"")  # half a length, or nothing at all
        with suppress(ReplyTimeoutError):  # its own idle line may have been the one displaced
            await client.status()
        await client.issue(STAY, ROOM, building.phone("anna").public, not_before_ms=0, not_after_ms=UNTIL_MS)
        assert "doors_requests_total" in await client.metrics()
        for _, writer in crowd:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def test_a_store_found_damaged_at_work_ends_the_process_and_the_next_one_goes_on(
    tmp_path: Path, building: Building
) -> None:
    settings = load(DoorsSettings, tmp_path / "doors.toml", "DOORS", {})

    @asynccontextmanager
    async def radio() -> AsyncIterator[DoorRadio]:
        yield building.radio

    running = asyncio.create_task(run(settings, clock=building.clock, dice=building.dice, radio=radio))
    client = DoorsClient(settings.socket_path)
    while not settings.socket_path.exists():
        await asyncio.sleep(0.005)
    await client.issue(STAY, ROOM, building.phone("anna").public, not_before_ms=0, not_after_ms=UNTIL_MS)
    import gc

    # `type`, not `isinstance`: a dead weak reference of anybody raises when it is asked
    [store] = [each for each in gc.get_objects() if type(each) is DoorStore and each._path == settings.store_path]
    store._db.execute("PRAGMA locking_mode = EXCLUSIVE")
    store._db.execute("ALTER TABLE stay RENAME TO gone")
    with pytest.raises(StoreFailedError):
        await client.issue(STAY, ROOM, building.phone("bert").public, not_before_ms=0, not_after_ms=UNTIL_MS)
    with pytest.raises(StoreFailedError, match="damaged"):
        await running
    await client.close()
    building.clock.advance(400_000)
    async with doors_running(tmp_path, building) as again:
        await again.issue(STAY, ROOM, building.phone("bert").public, not_before_ms=0, not_after_ms=UNTIL_MS)
        assert "set aside" in str((await again.status())["health"])


async def test_the_house_learns_each_locks_bolt_and_battery(tmp_path: Path, building: Building) -> None:
    building.clock.advance(1_000)
    async with doors_running(tmp_path, building) as client:
        version, locks = await client.locks(-1)
        assert (version, locks) == (1_000, [])  # nothing is claimed that no lock told
        lock = building.locks["door-101"]
        lock.bolt = Bolt.LOCKED
        building.radio.heard.put_nowait(lock.sighting())
        async with asyncio.timeout(10):
            version, locks = await client.locks(version, wait_ms=5_000)
        at_ms = building.clock.wall_ms()
        assert locks == [
            {
                "door": "door-101",
                "room": "101",
                "state": "locked",
                "quality": "good",
                "reason": None,
                "battery": 80,
                "told_at_ms": at_ms,
            }
        ]
        other = building.locks["door-102"]
        building.radio.heard.put_nowait(other.sighting())
        async with asyncio.timeout(10):
            version, [told] = await client.locks(version, wait_ms=5_000)
        assert told["door"] == "door-102"  # what the other said stands
        for seen in (-1, 999, version + 1):  # of an earlier life, or of none
            assert {each["door"] for each in (await client.locks(seen))[1]} == {"door-101", "door-102"}
        assert await client.locks(version, wait_ms=1) == (version, (await client.locks(-1))[1])  # ages tell
        building.clock.advance(HEARD_MOST_MS + 1)
        _, [stale, _] = await client.locks(version, wait_ms=1)
        assert (stale["state"], stale["quality"], stale["told_at_ms"]) == ("locked", "stale", at_ms)


def _framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


async def test_a_doors_process_that_is_away_is_a_link_lost(tmp_path: Path) -> None:
    async with DoorsClient(tmp_path / "nothing.sock") as client:
        with pytest.raises(LinkLostError):
            await client.end_stay(STAY)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("mode", "0600"),
        ("secrets", "no secrets for door 'pool'"),
        ("property", "is of property 'other'"),
        ("gone", "cannot be read"),
        ("json", "not JSON"),
    ],
)
def test_wrong_files_end_the_start_with_their_name_and_no_secret(
    tmp_path: Path, building: Building, capsys: pytest.CaptureFixture[str], spoil: str, says: str
) -> None:
    ca, secrets = tmp_path / "property_ca.json", tmp_path / "doors.secrets.json"
    if spoil == "mode":
        ca.chmod(0o644)
    elif spoil == "secrets":
        secrets.write_text(json.dumps(secrets_document({k: v for k, v in building.secrets.items() if k != "pool"})))
    elif spoil == "property":
        ca.write_text(json.dumps({**building.ca.to_document(), "property": "other"}))
    elif spoil == "gone":
        secrets.unlink()
    else:
        ca.write_text("{")
    assert main(tmp_path / "doors.toml", {}) == 2
    said = capsys.readouterr().err
    assert says in said
    assert str(building.ca.to_document()["ca_private"]) not in said


def test_an_unknown_setting_is_refused(tmp_path: Path, building: Building) -> None:
    with (tmp_path / "doors.toml").open("a") as file:
        file.write("lief = 3\n")
    assert building.book.property_id == "aurora"
    assert main(tmp_path / "doors.toml", {}) == 2
