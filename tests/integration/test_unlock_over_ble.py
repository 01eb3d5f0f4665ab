"""Doors over Bluetooth as a hotel has them, each party a process: locks and air, the edge's doors, phones."""

import asyncio
import os
from pathlib import Path

import pytest

from firmware_bridges.innkeeper_lock.control import ControlClient
from protocols.device_model.identity import parse_stay_id
from tests.integration.hotel_doors import WAIT_S, Process, a_hotel


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    os.chmod(tmp_path, 0o700)  # noqa: PTH101 - tmp_path may be a link
    assert len(str(tmp_path / "doors.sock")) <= 100, "a unix socket's path is short"
    return tmp_path


@pytest.mark.requirement("P4")
@pytest.mark.requirement("P5")
@pytest.mark.requirement("P10")
async def test_a_guest_opens_a_stranger_does_not_and_check_out_ends_it(folder: Path) -> None:
    async with a_hotel(folder) as hotel:
        guest = await hotel.guest("stay-1", "101")
        await hotel.control.call("touch", door="door-101")
        opening = await guest.ask(do="open", door="door-101")
        assert opening["ending"] == "opened", opening
        assert set(opening["phases"]) >= {"scan_ms", "connect_ms", "subscribe_ms", "challenge_ms", "answer_ms"}
        assert (await hotel.control.call("push", door="door-101"))["open"], "the bolt did not move"
        assert (await hotel.lock("door-101"))["motor_runs"] == 1

        # the neighbour's door: the phone has no keys of it, and forging the name does not help
        assert (await guest.ask(do="open", door="door-102"))["reason"] == "unknown_door"

        # a stranger with a stolen bundle has not the phone's key
        stranger, _ = await hotel.phone()
        bundle = hotel.property.bundle(["door-101"], (await hotel.phone())[1])
        assert (await stranger.ask(do="load_bundle", bundle=bundle.to_document()))["ok"]
        refused = await stranger.ask(do="open", door="door-101")
        assert (refused["ending"], refused["reason"]) == ("refused", "bad_signature")
        assert refused["spoken"] == "This key could not be verified."

        # a guest of the next room, told of this one's advert keys
        neighbour, key = await hotel.phone()
        wrong = hotel.property.bundle(["door-102"], key, tell_of=["door-101"])
        assert (await neighbour.ask(do="load_bundle", bundle=wrong.to_document()))["ok"]
        refused = await neighbour.ask(do="open", door="door-101")
        assert (refused["ending"], refused["reason"]) == ("refused", "wrong_door")
        assert (await hotel.lock("door-101"))["motor_runs"] == 1

        # check-out: the edge bumps the door by its own radio, and the old phone is refused
        before = (await hotel.lock("door-101"))["generation"]
        await hotel.doors.end_stay(parse_stay_id("stay-1"))

        async def bumped() -> bool:
            return bool((await hotel.lock("door-101"))["generation"] > before)

        await hotel.until(bumped)
        refused = await guest.ask(do="open", door="door-101")
        assert (refused["ending"], refused["reason"]) == ("refused", "superseded")
        assert (await hotel.lock("door-101"))["motor_runs"] == 1

        # and the edge has fetched what the lock saw, from first to last
        seen: list[tuple[str, str | None]] = []
        async with asyncio.timeout(WAIT_S):
            async for event in hotel.doors.events(0):
                if event.body.get("door") == "door-101":
                    seen.append((event.body["event"], event.body.get("reason")))
                if seen[-1:] == [("refused", "superseded")]:
                    break
        assert ("opened", None) in seen
        assert ("refused", "bad_signature") in seen
        assert ("refused", "wrong_door") in seen


@pytest.mark.guarantee("G1")
async def test_the_phone_opens_with_the_edge_gone_and_the_lock_remembers_through_a_kill(folder: Path) -> None:
    async with a_hotel(folder) as hotel:
        guest = await hotel.guest("stay-1", "102")
        following = await hotel.guest("stay-2", "102")
        await hotel.edge.kill()
        assert (await guest.ask(do="open", door="door-102"))["ending"] == "opened"
        assert (await following.ask(do="open", door="door-102"))["ending"] == "opened"
        before = await hotel.lock("door-102")
        await hotel.locks.kill()  # the emulator dies without a goodbye
        locks = await Process.start(
            "firmware_bridges.innkeeper_lock.emulator", "--config", str(folder / "emulator.json")
        )
        hotel.stack.push_async_callback(locks.stop)
        ready = await locks.line()
        hotel.hci = ready["hci"][0]
        control = await ControlClient.connect(ready["control"])
        hotel.stack.push_async_callback(control.close)
        hotel.control = control
        after = await hotel.lock("door-102")
        assert after["generation"] == before["generation"]
        assert after["audit_seq"] >= before["audit_seq"]
        assert after["time_quality"] == before["time_quality"]
