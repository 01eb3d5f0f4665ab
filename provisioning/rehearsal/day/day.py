"""A full day from its bookings to the verdict: what every side says in the evening is held against what happened.

Hours are compressed (see docs/operating/rehearsing.md for what that does not prove); what happens in them is not: each
booking, move, payment, opening and cut is made over the real wires, by processes that misbehave by default.
"""

import asyncio
from typing import Any, Final

from kit.dice import SeededDice
from kit.task_groups import TaskGroup
from protocols.errors import InvalidInputError
from provisioning.inventory import inventory as inventories
from provisioning.rehearsal.building import HOST, Building
from provisioning.rehearsal.day import judging
from provisioning.rehearsal.day.listener import EventListener
from provisioning.rehearsal.day.lived import Day, Life
from provisioning.rehearsal.day.play import DEPOSIT, HOUR_MS, PHONES, STEPS, Play, crowded
from provisioning.rehearsal.day.programme import HOURS, Booking, Fate, draw
from provisioning.rehearsal.report import Report

SECONDS_LEAST: Final = 60.0
FILL_WAIT_S: Final = 120.0
SETTLE_WAIT_S: Final = 240.0
"""A lock that could not be reached is visited again later and later: what it holds is late then, not lost."""
TAPS_PAUSE_S: Final = 2.0
SHOWN_MOST: Final = 10
KINDS: Final = ("stay.changed", "payment.changed", "checkin.completed")
"""What another program asks to be told."""
NOT_YET: Final = (Fate.WALKS_IN, Fate.BOOKED_BEHIND)
"""Who books during the day."""


def programme(inventory: inventories.Inventory, arrivals: int, seconds: float, seed: int) -> tuple[Booking, ...]:
    """Return the bookings of a day of `seconds`. Raises InvalidInputError: too short, too few arrivals or rooms."""
    if seconds < SECONDS_LEAST:
        raise InvalidInputError("minutes", f"{seconds / 60:g} is too short: at least {SECONDS_LEAST / 60:g}")
    rooms = [door.room for door in inventories.doors(inventory) if door.number]
    return draw(rooms, arrivals, SeededDice(seed).fork("programme"))


async def live(building: Building, report: Report, bookings: tuple[Booking, ...], *, seconds: float, seed: int) -> None:
    """Live a day of `seconds` and judge it. Raises StoryFailedError naming the claim that failed."""
    day = Day([Life(booking, room=booking.room) for booking in bookings])
    listener = EventListener(building.clock, SeededDice(seed).fork("listener"))
    await listener.start(HOST, building.ports.events)
    try:
        await _live(building, report, day, listener, seconds=seconds, seed=seed)
    finally:
        await listener.stop()


async def _live(
    building: Building, report: Report, day: Day, listener: EventListener, *, seconds: float, seed: int
) -> None:
    play: Play
    listener.trust(await building.cloud.push_events(f"http://{HOST}:{building.ports.events}/innkeeper", KINDS))
    async with report.step(1, f"07:00, {len(day.lives)} arrivals are expected; cloud and building hold them"):
        await _book(building, report, day)
    async with report.step(2, f"the day, {seconds / HOURS:g} s an hour; the line is cut from 16:00 to 19:00"):
        play = Play(building, day, seconds=seconds, dice=SeededDice(seed).fork("play"), note=report.note)
        report.figures["seconds_an_hour"] = seconds / HOURS
        try:
            await play.run()
        finally:
            report.figures["lived"] = day.told()
        missing = [
            life.booking.name for life in day.lives if life.in_at_ms is None and life.booking.fate is not Fate.NO_SHOW
        ]
        report.claim("everybody who came is in", not missing, missing[:SHOWN_MOST] or day.told()["checked_in"])
        report.claim("at no look two strangers had one room", not play.crowded, play.crowded[:SHOWN_MOST] or day.looks)
    async with report.step(3, "23:00, guests go to bed, and those who have left try their keys"):
        await _evening(building, report, day)
    async with report.step(4, "every side says the same, and what cannot is shown"):
        await _judge(building, report, day)
        await _judge_events(building, report, day, listener)
    report.figures["lived"] = day.told()


async def _book(building: Building, report: Report, day: Day) -> None:
    await building.cloud.ask_guests(STEPS, deposit=DEPOSIT)
    now_ms = building.clock.wall_ms()
    for life in day.lives:
        if life.booking.fate is Fate.NOT_READY:
            await building.pms.set_room(life.booking.room, "Dirty")
        if life.booking.fate not in NOT_YET:
            life.reservation = await building.pms.add(
                name=life.booking.name,
                room=life.booking.room,
                start_ms=now_ms - HOUR_MS,
                end_ms=now_ms + 20 * HOUR_MS,
            )
    booked = [life for life in day.lives if life.reservation]

    async def in_cloud() -> tuple[bool, Any]:
        held = {stay["reservation"]["external_id"]: stay["id"] for stay in await building.cloud.stays()}
        return all(life.reservation in held for life in booked), held

    held: dict[str, str] = await report.eventually("the cloud holds every booking", FILL_WAIT_S, in_cloud)
    for life in booked:
        life.stay = held[life.reservation]
    for life in booked:
        if life.booking.fate is Fate.SHARES_AND_LEAVES and life.booking.beside is not None:
            await building.cloud.share(life.stay, day.lives[life.booking.beside].stay)

    async def at_edge() -> tuple[bool, Any]:
        rooms = {stay["id"]: stay["room"] for stay in (await building.edge.stays())["stays"]}
        missing = [life.booking.name for life in booked if rooms.get(life.stay) != life.room]
        return not missing, missing[:SHOWN_MOST] or len(rooms)

    await report.eventually("the building holds every booking with its room", FILL_WAIT_S, at_edge)


async def _evening(building: Building, report: Report, day: Day) -> None:
    queues: list[list[Life]] = [[] for _ in range(PHONES)]
    for index, life in enumerate(day.lives):
        if life.guest is not None:
            queues[index % PHONES].append(life)

    async def each(queue: list[Life]) -> None:
        for life in queue:
            await _try_key(building, day, life)

    async with TaskGroup() as radios:
        for queue in queues:
            radios.create_task(each(queue))
    inside = [life for life in day.lives if life.inside]
    gone = [life for life in day.lives if life.out_at_ms is not None]
    report.claim(
        f"{len(inside)} guests in house open their doors",
        all(life.opened_at_the_end for life in inside),
        [life.booking.name for life in inside if not life.opened_at_the_end] or len(inside),
    )
    report.claim(
        f"{len(gone)} who have left are refused, each with a reason",
        all(life.refused_at_the_end for life in gone),
        {life.booking.name: life.refused_at_the_end for life in gone},
    )


async def _try_key(building: Building, day: Day, life: Life) -> None:
    """Tap once more. Who has left taps until the lock has heard of it: a lock is told over the air, in its time."""
    if life.guest is None:
        return
    door = f"door-{life.room}"
    deadline_ms = building.clock.now_ms() + int(SETTLE_WAIT_S * 1_000)
    while True:
        answer = await life.guest.open_as_guests_do(door)
        day.taps += answer["taps"]
        if life.inside:
            life.opened_at_the_end = answer["ending"] == "opened"
            return
        if answer["ending"] == "refused":
            life.refused_at_the_end = str(answer["reason"])
            return
        if building.clock.now_ms() >= deadline_ms:
            return
        day.opened_before_the_lock_heard += answer["ending"] == "opened"
        await asyncio.sleep(TAPS_PAUSE_S)


async def _judge(building: Building, report: Report, day: Day) -> None:
    async def agreed() -> tuple[bool, Any]:
        pms, stays = await building.pms.state(), await building.cloud.stays()
        edge = (await building.edge.stays())["stays"]
        flaws = {
            "reservations": judging.reservations(pms["reservations"], stays),
            "read back": judging.read_back(pms["reservations"], stays, day),
            "replica": judging.replica(edge, stays),
            "rooms in the cloud": crowded(day, [each for each in stays if each["state"] == "in_house"]),
            "rooms in the building": crowded(day, [each for each in edge if each["state"] == "in_house"]),
        }
        wrong = {name: each[:SHOWN_MOST] for name, each in flaws.items() if each}
        return not wrong, wrong or {"reservations": len(stays)}

    await report.eventually(
        "PMS, cloud and building have the same stays, each once, in the same rooms", SETTLE_WAIT_S, agreed
    )
    flaws = judging.lives(day)
    report.claim("every guest was served as the house promises", not flaws, flaws[:SHOWN_MOST] or len(day.lives))

    async def logged() -> tuple[bool, Any]:
        runs = await building.locks.all_openings()
        wrong = judging.door_log(day, runs, await building.cloud.all_access_events())
        return not wrong, wrong[:SHOWN_MOST] or {"openings": sum(runs.values())}

    await report.eventually("every opening is told once, by the guest who had the room", SETTLE_WAIT_S, logged)

    async def settled() -> tuple[bool, Any]:
        provider = await building.till.state()
        payments = {life.stay: await building.cloud.payments(life.stay) for life in day.lives if life.stay}
        wrong = judging.money(day, provider, payments)
        if provider["pushes"]["under_way"] or provider["pushes"]["given_up"]:
            wrong.append(f"events: {provider['pushes']}")
        return not wrong, wrong[:SHOWN_MOST] or judging.sums(provider)

    report.figures["money"] = await report.eventually(
        "money: what was held was taken, let go or is still held, once, and both books agree", SETTLE_WAIT_S, settled
    )
    provider = await building.till.state()
    report.figures["provider"] = {"answers": provider["answers"], "pushes": provider["pushes"]}
    report.figures["conflicts_shown"] = {
        life.booking.name: sorted(life.conflicts) for life in day.lives if life.conflicts
    }

    async def complete() -> tuple[bool, Any]:
        streams = await building.cloud.completeness()
        return all(each["holds"] for each in streams), [each["hi"] for each in streams]

    await report.eventually("no record of the building is missing, doubled or out of order", SETTLE_WAIT_S, complete)


async def _judge_events(building: Building, report: Report, day: Day, listener: EventListener) -> None:
    async def told() -> tuple[bool, Any]:
        payments = {life.stay: await building.cloud.payments(life.stay) for life in day.lives if life.stay}
        wrong = judging.told(day, listener.told(), payments)
        wrong += [f"{name}: {listener.counts[name]}" for name in ("unsigned", "contradicted") if listener.counts[name]]
        return not wrong, wrong[:SHOWN_MOST] or {"events": len(listener.kept), **listener.counts}

    report.figures["events_out"] = await report.eventually(
        "another program was told of every stay and all money, signed, each change under one id", SETTLE_WAIT_S, told
    )
