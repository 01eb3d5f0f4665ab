"""A big hotel's run from its programme to the verdict: guests book, live, and what was believed is held to the truth.

The claims: nothing that happened at a door is lost, doubled or invented; no guest inside is treated as absent; alerts
have a cause and causes have their alerts; controllers hold what is right. Figures: counts; what edge and doors cost.
"""

import asyncio
from statistics import median
from typing import Any, Final

from kit.dice import SeededDice
from kit.task_groups import TaskGroup
from protocols.errors import InvalidInputError, LinkLostError
from provisioning.inventory import inventory as inventories
from provisioning.rehearsal.building import COMFORT_C, SET_BACK_C, Building
from provisioning.rehearsal.footprint import Footprint, footprint
from provisioning.rehearsal.grand import judging
from provisioning.rehearsal.grand.judging import Verdict
from provisioning.rehearsal.grand.play import Play
from provisioning.rehearsal.grand.programme import Programme, draw
from provisioning.rehearsal.grand.truth import RoomTruth, Truth
from provisioning.rehearsal.report import Report

SECONDS_LEAST: Final = 60.0
ROOMS_LEAST: Final = 8
FITTINGS: Final = frozenset({"thermostat", "contact", "motion", "leak"})
HOUR_MS: Final = 3_600_000
FILL_WAIT_S: Final = 120.0
DRAIN_WAIT_S: Final = 120.0
SETTLE_WAIT_S: Final = 240.0
"""A lock that could not be reached is visited again later and later: what it holds is late then, not lost."""
PAGE: Final = 200
METER_EVERY_S: Final = 2.0
MEASURED: Final = ("edge", "doors")
KEPT_APART: Final = frozenset({"lost", "doubled", "invented", "wrong"})


def check(inventory: inventories.Inventory, seconds: float) -> None:
    """Raise InvalidInputError, naming what is missing, if no programme can be lived in this building."""
    if seconds < SECONDS_LEAST:
        raise InvalidInputError("minutes", f"{seconds / 60:g} is too short: at least {SECONDS_LEAST / 60:g}")
    if missing := FITTINGS - {each.name for each in inventory.fittings}:
        raise InvalidInputError("fittings", f"guests and faults need {', '.join(sorted(missing))} in every guest room")
    if (rooms := sum(floor.rooms for floor in inventory.floors)) < ROOMS_LEAST:
        raise InvalidInputError("rooms", f"{rooms} are too few: at least {ROOMS_LEAST}")


async def live(building: Building, report: Report, *, seconds: float, seed: int) -> None:
    """Live a programme of `seconds` and judge it. Raises StoryFailedError naming the claim that failed."""
    rooms = [door.room for door in inventories.doors(building.inventory) if door.number]
    dice = SeededDice(seed)
    programme = draw(rooms, seconds, dice.fork("programme"))
    truth = Truth({room: RoomTruth() for room in rooms})
    async with report.step(1, f"{len(programme.arrivals)} guests book; the edge holds their stays"):
        stays = await _book(building, report, programme)
    async with report.step(2, f"the hotel lives for {seconds:g} s: guests, weather, faults"):
        play = Play(building, programme, truth, stays, dice.fork("play"))
        meter = Meter(building)
        async with TaskGroup() as both:
            measuring = both.create_task(meter.run())
            await play.run()
            measuring.cancel()
        report.figures["footprint"] = meter.told(len(rooms))
        report.figures["lived"] = _lived(truth, programme)
        report.claim("every guest who booked is in", play.entered == len(programme.arrivals), play.entered)
    async with report.step(3, "what Innkeeper believed against what was so"):
        verdicts = await _judge(building, report, truth, play)
        report.figures["verdicts"] = {each.what: each.told() for each in verdicts}
        for each in verdicts:
            flaws = {name: getattr(each, name) for name in sorted(KEPT_APART) if getattr(each, name)}
            report.claim(f"{each.what}: {each.right} of {each.judged} right, no flaw", not flaws, flaws or each.told())


async def _book(building: Building, report: Report, programme: Programme) -> dict[str, str]:
    now_ms = building.clock.wall_ms()
    wanted = {arrival.room for arrival in programme.arrivals}
    for number, arrival in enumerate(programme.arrivals):
        await building.pms.add_reservation(
            first_name="Guest",
            last_name=f"No. {number}",
            room=arrival.room,
            start_ms=now_ms - HOUR_MS,
            end_ms=now_ms + 20 * HOUR_MS,
        )

    async def held() -> tuple[bool, Any]:
        found = {stay["room"]: str(stay["id"]) for stay in (await building.edge.stays())["stays"]}
        return wanted <= found.keys(), found

    stays: dict[str, str] = await report.eventually("the edge holds every stay", FILL_WAIT_S, held)

    async def heard() -> tuple[bool, Any]:
        devices = (await building.edge.get("/api/v1/devices"))["devices"]
        mute = [each["id"] for each in devices if each["state"] == "never_heard"]
        return not mute, {"devices": len(devices), "never heard": mute[: judging.SHOWN_MOST]}

    await report.eventually("every device has been heard", FILL_WAIT_S, heard)
    return stays


def _lived(truth: Truth, programme: Programme) -> dict[str, Any]:
    rooms = truth.rooms.values()
    return {
        "guests": sum(1 for each in rooms if each.entered_ms is not None),
        "inside_at_the_end": sum(1 for each in rooms if each.inside),
        "taps": truth.taps,
        "refusals": sum(each.refusals for each in rooms),
        "door_movements": sum(len(each.contact) for each in rooms),
        "leaks": sum(1 for each in rooms if each.leak_ms is not None),
        "dead_motion_sensors": sum(1 for each in rooms if each.dark),
        "windows_opened": sum(1 for each in rooms if each.window_ms is not None),
        "power_cuts": sum(1 for each in rooms if each.power_cut),
        "outside_c": [each.celsius for each in programme.weather],
        "edge_back_after_kill_s": truth.edge_back_s,
    }


async def _judge(building: Building, report: Report, truth: Truth, play: Play) -> list[Verdict]:
    heads = await building.edge.heads()

    async def drained() -> tuple[bool, Any]:
        held = await building.cloud.heads()
        return all(held.get(lane, 0) >= head for lane, head in heads.items()), {"edge": heads, "cloud": held}

    await report.eventually("the cloud has everything the edge had", DRAIN_WAIT_S, drained)
    motors = await building.locks.all_openings()

    async def audited() -> tuple[bool, Any]:
        """The log of a lock is fetched when the radio has time: what a motor did may still be in its lock."""
        verdict = judging.door_log(truth, motors, await _pages(building, "access-events", "events"))
        return not verdict.lost, verdict.told()

    await report.eventually("every opening has come from its lock", SETTLE_WAIT_S, audited)
    events = await _pages(building, "access-events", "events")
    records = [each["body"] for each in await building.cloud.records("B") if each["kind"] == "reading"]
    told = await _pages(building, "alerts", "alerts", which="all")
    rooms = (await building.edge.get("/api/v1/rooms"))["rooms"]
    now_ms = building.clock.now_ms()
    absent = Verdict("guests inside are never treated as absent", judged=play.looks, right=play.looks)
    absent.wrong += play.absent + judging.treated_as_absent(truth, rooms, now_ms=now_ms)
    setpoints = {
        room: await building.field.true_value(f"thermostat-{room}", "thermostat.occupied_heating_setpoint")
        for room, each in truth.rooms.items()
        if each.entered_ms is not None
    }
    ledger = Verdict("sequence numbers")
    for stream in await building.cloud.completeness():
        ledger.judged += int(stream["count"])
        ledger.right += int(stream["count"])
        name = f"{stream['lane']} of {stream['incarnation'][:8]}"
        ledger.lost += [name] * (not stream["holds"])
        ledger.doubled += [name] * bool(stream["duplicates"])
        ledger.wrong += [f"{name}: out of order"] * bool(stream["out_of_order"])
    return [
        ledger,
        judging.door_log(truth, motors, events),
        judging.contacts(truth, records),
        absent,
        judging.occupancy(truth, rooms, now_ms=now_ms),
        judging.alerts(truth, told, now_ms=now_ms),
        judging.comfort(truth, setpoints, now_ms=now_ms, comfort_c=COMFORT_C, set_back_c=SET_BACK_C),
    ]


async def _pages(building: Building, path: str, key: str, **query: str) -> list[dict[str, Any]]:
    """Return a whole list of the cloud's API."""
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        page = await building.cloud.get(
            f"/api/v1/properties/{building.inventory.property.id}/{path}", limit=PAGE, **query, **more
        )
        found += page[key]
        if page["next"] is None:
            return found
        more = {"before": str(page["next"])}


class Meter:
    """What the edge's programs cost while the hotel lives, across their restarts."""

    def __init__(self, building: Building) -> None:
        self._building = building
        self._last: dict[int, Footprint] = {}
        self._began_ms = self._ended_ms = building.clock.now_ms()
        self._cpu_s: dict[str, float] = dict.fromkeys(MEASURED, 0.0)
        self._memory: dict[str, list[float]] = {name: [] for name in MEASURED}
        for name, pid in self._pids():
            self._last[pid] = footprint(pid)
            self._memory[name].append(self._last[pid].pss_mb)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            await asyncio.sleep(METER_EVERY_S)
            self.look()

    def look(self) -> None:
        """Measure once. A program that is down costs nothing; one that came back is counted from its birth."""
        for name, pid in self._pids():
            try:
                now = footprint(pid)
            except LinkLostError:
                continue
            before = self._last.get(pid)
            self._cpu_s[name] += now.cpu_s - (0.0 if before is None else before.cpu_s)
            self._memory[name].append(now.pss_mb)
            self._last[pid] = now
        self._ended_ms = self._building.clock.now_ms()

    def told(self, rooms: int) -> dict[str, Any]:
        """Return the figures: processor share of one core, PSS in MB."""
        seconds = max(0.001, (self._ended_ms - self._began_ms) / 1000)
        return {
            "rooms": rooms,
            "seconds": round(seconds, 1),
            "cpu_s": {name: round(spent, 2) for name, spent in self._cpu_s.items()},
            "cpu_percent_of_a_core": round(sum(self._cpu_s.values()) / seconds * 100, 1),
            "pss_mb_median": round(sum(median(each) for each in self._memory.values()), 1),
            "pss_mb_most": round(sum(max(each) for each in self._memory.values()), 1),
        }

    def _pids(self) -> list[tuple[str, int]]:
        return [(name, pid) for name, pid in self._building.programs.pids().items() if name in MEASURED]
