"""One day in a small hotel, told as eight steps that are checked.

Every claim is asserted from outside: at the device (through its emulator's control line), at the lock, on the phone, in
the PMS, through the public APIs, or in the numbers of the ledger; never by asking the program that claims it.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from provisioning.rehearsal.building import COMFORT_C, SET_BACK_C, Building
from provisioning.rehearsal.phone import Guest
from provisioning.rehearsal.report import Report

ROOM: Final = "204"
NEIGHBOUR: Final = "205"
SECOND_ROOM: Final = "301"
HOUR_MS: Final = 3_600_000
SOON_S: Final = 30.0
"""Patience, not a promise of speed (that is measured in bench/): a program may be killed and come back meanwhile."""
PMS_WAIT_S: Final = 30.0
"""Hints may be late, doubled or dropped and calls refused, by default: then it takes a poll, or two."""
OUTAGE_REFUSED_S: Final = 3.0
OUTAGE_SILENT_S: Final = 4.0
DRAIN_WAIT_S: Final = 30.0
RESTART_WAIT_S: Final = 30.0
BUSTLE_S: Final = 4.0
BUSTLE_BEFORE_S: Final = 1.0
LANES: Final = ("a", "b", "c")
REFUSED_SUPERSEDED: Final = "superseded"


@dataclass(slots=True)
class Stays:
    """What the first steps leave for the later ones."""

    first: str = ""
    first_reservation: str = ""
    second: str = ""
    guest: Guest | None = None
    second_guest: Guest | None = None


async def tell(building: Building, report: Report) -> None:
    """Play the whole story. Raises StoryFailedError naming the step and claim that failed."""
    stays = Stays()
    async with report.step(1, "a reservation appears in the PMS; cloud and edge hold the stay"):
        await _reservation(building, report, stays)
    async with report.step(2, "the guest checks in remotely; the edge issues a grant bound to the phone's key"):
        await _remote_check_in(building, report, stays)
    async with report.step(3, "the phone opens the room over BLE; a stranger and the neighbour's door refuse"):
        await _doors(building, report, stays)
    async with report.step(4, "entry wakes the room, read back from the devices; the event is in the cloud"):
        await _room_wakes(building, report, stays)
    async with report.step(5, "the uplink is cut: check-in, door, thermostat and readings go on"):
        await _outage(building, report, stays)
    async with report.step(6, "the link returns: live state first, then the backlog, exactly once and in order"):
        await _return(building, report)
    async with report.step(7, "the edge is killed in the middle of traffic: nothing acked is lost"):
        await _kill(building, report, stays)
    async with report.step(8, "check-out: the old phone is refused, the room sets back"):
        await _check_out(building, report, stays)


async def _reservation(building: Building, report: Report, stays: Stays) -> None:
    now_ms = building.clock.wall_ms()
    began_ms = building.clock.now_ms()
    first = stays.first_reservation = await building.pms.add_reservation(
        first_name="Ada", last_name="Lindqvist", room=ROOM, start_ms=now_ms - HOUR_MS, end_ms=now_ms + 20 * HOUR_MS
    )
    second = await building.pms.add_reservation(
        first_name="Tomás",
        last_name="Ferreira",
        room=SECOND_ROOM,
        start_ms=now_ms - HOUR_MS,
        end_ms=now_ms + 44 * HOUR_MS,
    )

    async def in_cloud() -> tuple[bool, Any]:
        held = {stay["reservation"]["external_id"]: stay for stay in await building.cloud.stays()}
        found = [held.get(first), held.get(second)]
        return all(stay is not None and stay["room"] in (ROOM, SECOND_ROOM) for stay in found), found

    in_the_cloud = await report.eventually("the cloud holds both stays with their rooms", PMS_WAIT_S, in_cloud)
    stays.first, stays.second = in_the_cloud[0]["id"], in_the_cloud[1]["id"]

    async def at_edge() -> tuple[bool, Any]:
        held = {stay["id"]: stay["room"] for stay in (await building.edge.stays())["stays"]}
        return held.get(stays.first) == ROOM and held.get(stays.second) == SECOND_ROOM, held

    await report.eventually("the edge holds both stays", SOON_S, at_edge)
    report.figures["pms_to_edge_s"] = (building.clock.now_ms() - began_ms) / 1000


async def _remote_check_in(building: Building, report: Report, stays: Stays) -> None:
    stays.guest = guest = await building.new_guest("ada")
    began_ms = building.clock.now_ms()
    answer = await building.cloud.check_in(stays.first, guest.public_key)
    report.figures["remote_check_in_s"] = (building.clock.now_ms() - began_ms) / 1000
    bundle = answer["bundle"]
    await guest.receive(bundle)
    doors = sorted(door["door"] for door in bundle["doors"])
    report.claim(
        "the bundle names the room's door and the common door", f"door-{ROOM}" in doors and len(doors) == 2, doors
    )
    report.claim(
        "the grant is bound to the phone's key",
        building.grant_phone_key(bundle) == guest.public_key,
        {"grant": building.grant_phone_key(bundle), "phone": guest.public_key},
    )
    again = await building.cloud.check_in(stays.first, guest.public_key)
    report.claim("asking again gives the same grant", again["bundle"]["grant"] == bundle["grant"], "same grant")

    async def told() -> tuple[bool, Any]:
        state = await building.pms.state_of(stays.first_reservation)
        return state == "Started", state

    await report.eventually("the PMS is told and says Started", PMS_WAIT_S, told)

    async def in_house() -> tuple[bool, Any]:
        state = (await building.cloud.stay(stays.first))["state"]
        return state == "in_house", state

    await report.eventually("the cloud says the stay is in house", SOON_S, in_house)


async def _doors(building: Building, report: Report, stays: Stays) -> None:
    guest = _there(stays.guest)
    opens = await building.locks.openings(f"door-{ROOM}")
    opened = await guest.open_as_guests_do(f"door-{ROOM}")
    report.claim("the phone opens the room", opened["ending"] == "opened", opened)
    moved = await building.locks.openings(f"door-{ROOM}")
    report.claim(
        "the lock's motor really moved, once for each time that it was asked at most",
        opens + 1 <= moved <= opens + opened["asked"],
        {"before": opens, "after": moved, "asked": opened["asked"]},
    )
    lobby = await guest.open_as_guests_do("door-lobby")
    report.claim("the same grant opens the lobby door", lobby["ending"] == "opened", lobby)

    stranger = await building.new_guest("stranger")
    await stranger.load(guest.issued)  # everything the guest has but the private key
    refused = await stranger.open_as_guests_do(f"door-{ROOM}")
    report.claim(
        "a stranger's phone with a stolen bundle is refused with a reason",
        refused["ending"] == "refused" and refused["reason"] in ("bad_signature", "wrong_key"),
        refused,
    )
    await guest.load(building.bundle_for_another_door(guest.issued, f"door-{NEIGHBOUR}"))
    wrong = await guest.open_as_guests_do(f"door-{NEIGHBOUR}")
    report.claim(
        "the neighbour's door refuses the guest with a reason",
        wrong["ending"] == "refused" and wrong["reason"] == "wrong_door",
        wrong,
    )
    await guest.load(guest.issued)
    report.claim(
        "no other motor moved",
        await building.locks.openings(f"door-{NEIGHBOUR}") == 0
        and await building.locks.openings(f"door-{ROOM}") == moved,
        "0 openings next door",
    )


async def _room_wakes(building: Building, report: Report, stays: Stays) -> None:
    comfort = COMFORT_C

    async def light() -> tuple[bool, Any]:
        value = await building.field.true_value(f"light-{ROOM}", "on_off.on_off")
        return value is True, value

    async def setpoint() -> tuple[bool, Any]:
        value = await building.field.true_value(f"thermostat-{ROOM}", "thermostat.occupied_heating_setpoint")
        return value == comfort, value

    await report.eventually("the lamp is on, seen at the lamp", SOON_S, light)
    await report.eventually(f"the controller's register holds comfort, {comfort} °C", SOON_S, setpoint)

    async def read_back() -> tuple[bool, Any]:
        reported = await building.edge.reported(ROOM)
        seen = {
            "on_off": reported.get(("on_off", "on_off")),
            "setpoint": reported.get(("thermostat", "occupied_heating_setpoint")),
        }
        return seen == {"on_off": True, "setpoint": comfort}, seen

    await report.eventually("the edge read both back", SOON_S, read_back)

    moved = await building.locks.openings(f"door-{ROOM}")

    async def event() -> tuple[bool, Any]:
        events = [
            e for e in await building.cloud.access_events() if e["door"] == f"door-{ROOM}" and e["event"] == "opened"
        ]
        return [e["stay"] for e in events] == [stays.first] * moved, events

    await report.eventually("each opening is in the cloud, once, with its stay", SOON_S, event)

    async def refusals() -> tuple[bool, Any]:
        reasons = {e["reason"] for e in await building.cloud.access_events() if e["event"] == "refused"}
        return {"wrong_door"} <= reasons and len(reasons) >= 2, sorted(str(reason) for reason in reasons)

    await report.eventually("both refusals are in the cloud with their reasons", SOON_S, refusals)


async def _outage(building: Building, report: Report, stays: Stays) -> None:
    before = await building.edge.heads()
    await building.line.cut()

    async def noticed() -> tuple[bool, Any]:
        link = await building.edge.link()
        return link["connected"] is False, link

    await report.eventually("the edge knows that the line is down", SOON_S, noticed)
    stays.second_guest = guest = await building.new_guest("tomas")
    answer = await building.edge.check_in(stays.second, guest.public_key)
    await guest.receive(answer["bundle"])
    opened = await guest.open_as_guests_do(f"door-{SECOND_ROOM}")
    report.claim("a second guest checks in at the edge and opens the door", opened["ending"] == "opened", opened)
    outcome = await building.edge.command(
        ROOM, "thermostat", "occupied_heating_setpoint", 23.0, key="story-outage-setpoint"
    )
    report.claim(
        "the thermostat is changed, read back", outcome["phase"] == "done" and outcome["read_back"] == 23.0, outcome
    )
    value = await building.field.true_value(f"thermostat-{ROOM}", "thermostat.occupied_heating_setpoint")
    report.claim("the controller's register holds 23.0 °C", value == 23.0, value)
    await asyncio.sleep(OUTAGE_REFUSED_S)
    await building.line.restore()
    await building.line.cut(silent=True)  # now the worse kind: no reset, packets vanish
    await asyncio.sleep(OUTAGE_SILENT_S)
    after = await building.edge.heads()
    grown = {lane: after[lane] - before[lane] for lane in after}
    report.claim("every lane of the record log went on", all(grown.values()), grown)
    report.figures["records_of_the_outage"] = grown
    unknown = [e for e in await building.cloud.access_events() if e["stay"] == stays.second]
    report.claim("the cloud has not heard of it yet", unknown == [], unknown)


async def _return(building: Building, report: Report) -> None:
    heads = await building.edge.heads()
    began_ms = building.clock.now_ms()
    await building.line.restore()

    async def live() -> tuple[bool, Any]:
        room = await building.cloud.room(ROOM)
        shown = room["climate"] and room["climate"]["setpoint"]
        return shown == 23.0, shown

    await report.eventually("the cloud shows the changed setpoint", DRAIN_WAIT_S, live)
    report.figures["live_after_return_s"] = (building.clock.now_ms() - began_ms) / 1000

    async def drained() -> tuple[bool, Any]:
        held = await building.cloud.heads()
        return all(held.get(lane, 0) >= head for lane, head in heads.items()), {"edge": heads, "cloud": held}

    await report.eventually("the backlog is in the cloud", DRAIN_WAIT_S, drained)
    report.figures["backlog_after_return_s"] = (building.clock.now_ms() - began_ms) / 1000
    order = [each.what for each in building.uplink.since(began_ms)]
    batches = [at for at, what in enumerate(order) if what in LANES]
    report.claim(
        "on the wire, live state came before the first batch of the backlog",
        "live" in order and bool(batches) and order.index("live") < batches[0],
        order[:20],
    )
    await _prove(building, report)


async def _prove(building: Building, report: Report) -> None:
    """The ledger against the log, number by number."""
    completeness = await building.cloud.completeness()
    flaws = [each for each in completeness if not each["holds"] or each["duplicates"] or each["out_of_order"]]
    report.claim("sequence numbers show no gap, no double and no disorder", flaws == [], completeness)
    verdict = await building.verify()
    report.claim("innkeeper-cloud verify says the same", verdict["complete"], verdict)


async def _kill(building: Building, report: Report, stays: Stays) -> None:
    async with _life_goes_on(building):
        before = await building.cloud.heads()
        own = await building.edge.heads()
        incarnations = (await building.edge.link())["incarnations"]
        killed_ms = building.clock.now_ms()
        pid = building.programs.send("edge", signal.SIGKILL)
        opened = await _there(stays.guest).open_as_guests_do(f"door-{ROOM}")
        report.claim("a door opens while the edge process is dead", opened["ending"] == "opened", opened)

        async def back() -> tuple[bool, Any]:
            ready = await building.edge.ready()
            return ready, {"ready": ready, "old_pid": pid, "pid": building.programs.get("edge").pid}

        await report.eventually("the edge comes back by itself", RESTART_WAIT_S, back)
        report.figures["edge_back_after_kill_s"] = (building.clock.now_ms() - killed_ms) / 1000
    after = await building.edge.heads()
    link = await building.edge.link()
    report.claim(
        "the same life of the log went on from where it was",
        link["incarnations"] == incarnations and all(after[lane] >= own[lane] for lane in own),
        {"before": own, "after": after},
    )

    async def caught_up() -> tuple[bool, Any]:
        held = await building.cloud.heads()
        return all(held.get(lane, 0) >= head for lane, head in after.items()), {"edge": after, "cloud": held}

    held = await report.eventually("the cloud has everything the edge has", DRAIN_WAIT_S, caught_up)
    report.claim(
        "nothing acked before the kill is lost", all(held["cloud"][lane] >= before[lane] for lane in before), before
    )

    moved = await building.locks.openings(f"door-{ROOM}")

    async def entry() -> tuple[bool, Any]:
        events = [
            e for e in await building.cloud.access_events() if e["stay"] == stays.first and e["event"] == "opened"
        ]
        pairs = [(e["door"], e["lock_seq"]) for e in events]
        of_room = [pair for pair in pairs if pair[0] == f"door-{ROOM}"]
        return len(of_room) == moved and len(set(pairs)) == len(pairs), {"motor moved": moved, "events": pairs}

    await report.eventually("the opening made while it was dead is in the cloud, once", DRAIN_WAIT_S, entry)
    await _prove(building, report)


@asynccontextmanager
async def _life_goes_on(building: Building) -> AsyncIterator[None]:
    """Doors move and people walk all the while, from a moment before."""
    traffic = asyncio.create_task(building.field.bustle(seconds=BUSTLE_S), name="bustle")
    try:
        await asyncio.sleep(BUSTLE_BEFORE_S)
        yield
        await traffic
    finally:
        traffic.cancel()
        await asyncio.gather(traffic, return_exceptions=True)


async def _check_out(building: Building, report: Report, stays: Stays) -> None:
    guest = _there(stays.guest)
    set_back = SET_BACK_C
    generation = await building.locks.generation(f"door-{ROOM}")
    began_ms = building.clock.now_ms()
    await building.pms.check_out(stays.first_reservation)  # the desk closes the reservation in the PMS

    async def left() -> tuple[bool, Any]:
        state = (await building.cloud.stay(stays.first))["state"]
        return state == "left", state

    await report.eventually("the cloud says the stay has ended", PMS_WAIT_S, left)

    async def moved() -> tuple[bool, Any]:
        now = await building.locks.generation(f"door-{ROOM}")
        return now > generation, {"before": generation, "now": now}

    await report.eventually("the lock's generation has moved on", SOON_S, moved)
    report.figures["check_out_to_lock_s"] = (building.clock.now_ms() - began_ms) / 1000
    opens = await building.locks.openings(f"door-{ROOM}")
    refused = await guest.open_as_guests_do(f"door-{ROOM}")
    report.claim(
        "the old phone is refused at the door",
        refused["ending"] == "refused" and refused["reason"] == REFUSED_SUPERSEDED,
        refused,
    )
    report.claim("the motor did not move", await building.locks.openings(f"door-{ROOM}") == opens, opens)

    async def light() -> tuple[bool, Any]:
        value = await building.field.true_value(f"light-{ROOM}", "on_off.on_off")
        return value is False, value

    async def setpoint() -> tuple[bool, Any]:
        value = await building.field.true_value(f"thermostat-{ROOM}", "thermostat.occupied_heating_setpoint")
        return value == set_back, value

    await report.eventually("the lamp is off, seen at the lamp", SOON_S, light)
    await report.eventually(f"the controller's register holds set-back, {set_back} °C", SOON_S, setpoint)
    still = await _there(stays.second_guest).open_as_guests_do(f"door-{SECOND_ROOM}")
    report.claim("the second guest's phone still opens", still["ending"] == "opened", still)


def _there(guest: Guest | None) -> Guest:
    if guest is None:
        raise AssertionError("an earlier step makes the guest")
    return guest
