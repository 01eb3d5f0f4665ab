"""Rooms at work over fakes: the guest's entry wakes the room, staff do not, the end of the stay sets it back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edge.rooms.commands import RoomCommand
from edge.rooms.modes import Mode
from kit.clock import ManualClock
from protocols.device_model.capability import Capability
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import RoomId, StayId
from protocols.errors import InvalidInputError, StoreFailedError
from protocols.link.lanes import Lane
from tests.edge.world import HEATING, HOUR_MS, PHONE, T0, Building, a_document, a_stay, contact, motion

ROOM = RoomId("101")
ANNA = StayId("s-anna")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(now_ms=1_000_000, wall_ms=T0)


@pytest.fixture
async def building(clock: ManualClock, tmp_path: Path) -> AsyncIterator[Building]:
    building = Building(clock, path=tmp_path / "edge.db")
    await building.house.keeper.apply(1, a_document(a_stay()))
    yield building
    await building.store.close()


async def checked_in(building: Building) -> None:
    await building.house.desk.check_in(ANNA, PHONE, by="desk")
    await building.work()


@pytest.mark.requirement("ACC-14")
@pytest.mark.requirement("DEV-09")
@pytest.mark.requirement("DEV-06")
async def test_a_granted_entry_of_a_guest_in_house_wakes_the_room(building: Building) -> None:
    await checked_in(building)
    assert building.light() is None  # the check-in alone warms the room and lights nothing
    await building.opened()
    await building.work()
    assert (building.light(), building.heating()) == (True, 21.5)
    assert building.house.rooms.state(ROOM).mode is Mode.OCCUPIED_COMFORT


@pytest.mark.requirement("ACC-14")
@pytest.mark.parametrize(
    ("stay", "event"), [(None, "opened"), ("s-stranger", "opened"), ("s-anna", "refused"), ("s-anna", "bumped")]
)
async def test_staff_strangers_and_refusals_do_not_wake_it(building: Building, stay: str | None, event: str) -> None:
    await checked_in(building)
    await building.opened(stay=stay, event=event)
    await building.work()
    assert building.light() is None
    assert building.house.rooms.state(ROOM).mode is Mode.CHECKED_IN


async def test_a_guest_who_is_not_checked_in_here_wakes_nothing(building: Building) -> None:
    await building.opened()
    await building.work()
    assert building.light() is None


async def test_a_guest_of_another_room_wakes_only_their_own(building: Building) -> None:
    await checked_in(building)
    await building.opened(room="102")
    await building.work()
    assert building.light("102") is None
    assert building.light("101") is None


async def test_check_out_sets_back_and_nothing_before_it_does(building: Building, clock: ManualClock) -> None:
    await checked_in(building)
    await building.opened()
    await building.work()
    clock.advance(25 * HOUR_MS)  # past the expected end: still their room until somebody checks them out
    await building.work()
    assert building.heating() == 21.5
    await building.house.desk.check_out(ANNA, by="desk")
    await building.work()
    assert (building.light(), building.heating()) == (False, 17.0)
    assert building.house.rooms.state(ROOM).mode is Mode.VACANT_SET_BACK


@pytest.mark.requirement("DEV-10")
async def test_an_empty_rented_room_is_set_back_and_a_sleeping_guest_is_not(
    building: Building, clock: ManualClock
) -> None:
    await checked_in(building)
    house = building.house
    await building.heard(motion("101", seen=False), contact("101", closed=False))
    await building.opened()
    clock.advance(5_000)
    await building.heard(contact("101", closed=True))
    clock.advance(20_000)
    await building.heard(motion("101", seen=True))
    clock.advance(90_000)
    await building.heard(motion("101", seen=False))
    for _ in range(9 * 60):  # asleep for nine hours
        clock.advance(60_000)
        await building.work()
    assert house.rooms.state(ROOM).mode is Mode.OCCUPIED_COMFORT
    assert building.heating() == 21.5
    assert house.rooms.belief(ROOM).occupied is True
    await building.heard(contact("101", closed=False))
    clock.advance(5_000)
    await building.heard(contact("101", closed=True))  # out for the day
    for minute in range(2 * 60):
        clock.advance(60_000)
        if minute % 50 == 0:
            await building.heard(motion("101", seen=False))
        await building.work()
    assert house.rooms.state(ROOM).mode is Mode.AWAY_SET_BACK
    assert (building.light(), building.heating()) == (False, 19.0)
    await building.opened()
    await building.work()
    assert (building.light(), building.heating()) == (True, 21.5)


async def test_coming_home_late_does_not_light_up_the_one_asleep(building: Building, clock: ManualClock) -> None:
    await checked_in(building)
    await building.heard(contact("101", closed=False), motion("101", seen=False))
    await building.opened()
    clock.advance(5_000)
    await building.heard(contact("101", closed=True))
    clock.advance(20_000)
    await building.heard(motion("101", seen=True))
    await building.work()
    building.devices.values["light-101", "on_off"] = False  # lights out by hand
    clock.advance(3 * HOUR_MS)
    await building.heard(contact("101", closed=False))  # the contact may be heard before the lock's event
    await building.opened()
    await building.work()
    assert building.light() is False


@pytest.mark.guarantee("G11")
async def test_a_wake_survives_a_kill_between_the_record_and_its_effect(building: Building) -> None:
    await checked_in(building)
    body = {"door": "door-101", "room": "101", "event": "opened", "stay": "s-anna", "at_ms": T0, "lock_seq": 1}
    body["time_quality"] = "unheard of"
    from edge.log.record_log import Entry
    from tests.edge.world import DOORS_LIFE

    entry = Entry("access", {**body, "doors": DOORS_LIFE.hex(), "doors_seq": 1})
    await building.log.append_once(f"doors:{DOORS_LIFE.hex()}", 1, Lane.A, entry)  # ... and killed here
    await building.restart()
    await building.work()
    assert building.light() is True
    await building.restart()
    building.devices.effects.clear()
    await building.work()
    assert building.devices.effects == []  # carried out once, not once a life


@pytest.mark.guarantee("G11")
async def test_a_wish_not_yet_carried_out_survives_a_kill(building: Building) -> None:
    await checked_in(building)
    await building.opened()  # its effect is stored; the devices have not heard of it
    await building.restart()
    await building.work()
    assert (building.light(), building.heating()) == (True, 21.5)


async def test_an_entry_heard_of_late_warms_the_room_and_leaves_the_light(
    building: Building, clock: ManualClock
) -> None:
    await checked_in(building)
    clock.advance(3 * HOUR_MS)
    await building.opened(at_ms=T0)
    await building.work()
    assert building.light() is None
    assert building.heating() == 21.5


async def test_a_guest_who_turns_the_dial_is_not_argued_with(building: Building, clock: ManualClock) -> None:
    await checked_in(building)
    await building.opened()
    await building.work()
    building.devices.values["thermostat-101", HEATING] = 24.0
    for _ in range(60):
        clock.advance(60_000)
        await building.work()
    assert building.heating() == 24.0


async def test_a_device_that_refuses_is_asked_again_until_it_is_too_late_and_then_reported(
    building: Building, clock: ManualClock
) -> None:
    await checked_in(building)
    building.devices.outcomes = ["refused"] * 500
    await building.opened()
    for _ in range(13 * 60):
        clock.advance(60_000)
        await building.work()
    await building.house.rooms._flush()
    unmet = [each.body for each in building.log.records(Lane.B, "room") if each.body["cause"] == "unmet"]
    assert {(each["unmet"]["attribute"], tuple(each["devices"])) for each in unmet} == {
        ("on_off", ("light-101",)),
        (HEATING, ("thermostat-101",)),
    }


async def test_a_room_warms_up_for_an_arrival_and_cools_again_if_it_is_cancelled(
    building: Building, clock: ManualClock
) -> None:
    house = building.house
    due = a_stay(expected_from_ms=T0 + 2 * HOUR_MS, expected_until_ms=T0 + 30 * HOUR_MS)
    await house.keeper.apply(2, a_document(due))
    await building.work()
    assert building.heating() == 17.0  # set back from the first day
    clock.advance(HOUR_MS)
    await building.work()
    assert building.heating() == 21.5  # at comfort on arrival
    assert house.rooms.state(ROOM).mode is Mode.EXPECTED
    await house.keeper.apply(3, a_document({**due, "state": "void"}))
    await building.work()
    assert building.heating() == 17.0


# --- commands -------------------------------------------------------------------------------------------------


def a_command(key: str = "key-1", value: float = 22.0, **changes: object) -> RoomCommand:
    fields = {
        "id": f"c-{key}",
        "room": ROOM,
        "capability": Capability.THERMOSTAT,
        "attribute": HEATING,
        "value": value,
        "deadline_ms": T0 + 10_000,
        "idempotency_key": key,
        "by": "test",
        **changes,
    }
    return RoomCommand(**fields)  # type: ignore[arg-type]  # changes by name


@pytest.mark.guarantee("G13")
async def test_a_command_takes_effect_once_however_often_it_is_sent(building: Building) -> None:
    command = a_command()
    first = await building.house.rooms.command(command)
    again = await asyncio.gather(*(building.house.rooms.command(command) for _ in range(5)))
    assert first == Outcome(Phase.DONE, 22.0)
    assert set(again) == {first}
    assert building.devices.effects == [("thermostat-101", HEATING, 22.0)]
    phases = [each.body["phase"] for each in building.log.records(Lane.A, "command")]
    assert phases == ["accepted", "done"]


@pytest.mark.guarantee("G13")
async def test_a_repetition_while_it_is_under_way_waits_for_the_same_answer(building: Building) -> None:
    building.devices.slow_s = 0.01
    answers = await asyncio.gather(*(building.house.rooms.command(a_command()) for _ in range(5)))
    assert set(answers) == {Outcome(Phase.DONE, 22.0)}
    assert len(building.devices.effects) == 1


@pytest.mark.guarantee("G13")
async def test_a_late_command_has_no_effect(building: Building, clock: ManualClock) -> None:
    clock.advance(10_000)
    outcome = await building.house.rooms.command(a_command())
    assert outcome.phase is Phase.EXPIRED
    assert building.devices.effects == []


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize(
    ("device", "phase"),
    [("done", Phase.DONE), ("lost", Phase.UNKNOWN), ("refused", Phase.FAILED), ("deaf", Phase.FAILED)],
)
async def test_the_answer_is_what_is_known_and_no_more(building: Building, device: str, phase: Phase) -> None:
    building.devices.outcomes = [device]
    outcome = await building.house.rooms.command(a_command())
    assert outcome.phase is phase
    assert (outcome.read_back is not None) == (phase is Phase.DONE)
    repeated = await building.house.rooms.command(a_command())
    assert repeated == outcome  # unknown stays unknown: the device is not asked twice
    assert len(building.devices.effects) == (1 if device in ("done", "lost") else 0)


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize("device_heard", [False, True])
async def test_a_kill_while_a_command_is_under_way_leaves_it_unknown_and_never_repeats_it(
    building: Building, device_heard: bool
) -> None:
    command = a_command()
    building.devices.slow_s = 3_600
    task = asyncio.create_task(building.house.rooms.command(command))
    while not building.log.records(Lane.A, "command"):
        await asyncio.sleep(0)
    for each in [task, *building.house.rooms._desk._running.values()]:
        each.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if device_heard:
        building.devices.effects.append(("thermostat-101", HEATING, 22.0))
    effects = list(building.devices.effects)
    building.devices.slow_s = 0.0
    await building.restart()
    assert (await building.house.rooms.command(command)).phase is Phase.UNKNOWN
    await building.house.rooms._desk.close_unfinished()
    assert (await building.house.rooms.command(command)).phase is Phase.UNKNOWN
    assert building.devices.effects == effects
    assert [each.body["phase"] for each in building.log.records(Lane.A, "command")] == ["accepted", "unknown"]


async def test_what_could_not_be_made_durable_did_not_happen_and_its_key_is_free(building: Building) -> None:
    building.log.fail = True
    with pytest.raises(StoreFailedError):
        await building.house.rooms.command(a_command())
    assert building.devices.effects == []
    building.log.fail = False
    assert (await building.house.rooms.command(a_command())).phase is Phase.DONE


@pytest.mark.guarantee("G13")
@pytest.mark.parametrize(
    "changes",
    [
        {"value": 35.0},
        {"value": 5.0},
        {"value": float("nan")},
        {"value": True},
        {"value": "warm"},
        {"room": RoomId("lobby")},
        {"room": RoomId("999")},
        {"attribute": "local_temperature"},
        {"attribute": "no_such_attribute"},
        {"capability": Capability.DOOR_LOCK, "attribute": "lock_state", "value": "unlocked"},
        {"capability": Capability.LEVEL_CONTROL, "attribute": "current_level", "value": 3},
    ],
    ids=str,
)
async def test_what_no_room_command_may_do_is_refused_and_nothing_happens(
    building: Building, changes: dict[str, object]
) -> None:
    with pytest.raises(InvalidInputError):
        await building.house.rooms.command(a_command(**changes))  # type: ignore[arg-type]  # changes by name
    assert building.devices.effects == []
    assert building.log.records(Lane.A, "command") == []


async def test_a_key_used_for_something_else_is_refused(building: Building) -> None:
    await building.house.rooms.command(a_command())
    with pytest.raises(InvalidInputError, match="use a new key"):
        await building.house.rooms.command(a_command(value=20.0))


async def test_a_person_outranks_the_scene(building: Building) -> None:
    await checked_in(building)
    building.devices.outcomes = ["refused", "refused"]
    await building.opened()
    await building.work()
    await building.house.rooms.command(a_command(value=23.0))
    await building.work()
    assert building.heating() == 23.0
    assert [each.intent.attribute for each in building.house.rooms.desired(ROOM)] == ["on_off"]
