"""Every way into a room with every line cut: phone off line, cloud away, edge away, all three at once.

For each cut the keys are fetched over whole lines, the lines are cut and seen to be cut, and then every way in opens
its door and a stranger does not. When all is whole again the cloud holds each movement of a motor exactly once.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import Flag, auto
from functools import partial
from typing import Any, Final

from protocols.errors import PlatformError
from provisioning.rehearsal.building import HOST, Building
from provisioning.rehearsal.clients import CloudApi
from provisioning.rehearsal.line import Line
from provisioning.rehearsal.phone import Guest
from provisioning.rehearsal.report import Report

HOUR_MS: Final = 3_600_000
STAY_MS: Final = 20 * HOUR_MS
SHIFT_MS: Final = 8 * HOUR_MS
SOON_S: Final = 45.0
"""Patience, not a promise of speed: programs are killed and come back meanwhile."""
FAST_TAPS_MOST: Final = 6
"""A link that breaks in the middle costs the phone its secret, and the air breaks some by default."""
LOBBY: Final = "door-lobby"
KEYED: Final = ("guest", "friend", "cleaner", "token", "second_token", "doorman", "officer")
EMERGENCY_REASON: Final = "a guest in the bath does not answer"
MOTOR_EVENTS: Final = ("opened", "passage")
"""What a lock records of its motor: an opening, or the beginning of a passage."""


class Cut(Flag):
    """What is away."""

    NOTHING = 0
    PHONE = auto()
    """The guests' phones have no internet."""
    CLOUD = auto()
    """The cloud's process is dead, and the line to it cut."""
    EDGE = auto()
    """The edge's computer is without power: the edge and its doors are dead."""


CUTS: Final[tuple[tuple[str, Cut], ...]] = (
    ("nothing is cut", Cut.NOTHING),
    ("the phones are off line", Cut.PHONE),
    ("the cloud is away", Cut.CLOUD),
    ("the edge is away", Cut.EDGE),
    ("phones, cloud and edge are away", Cut.PHONE | Cut.CLOUD | Cut.EDGE),
)


@dataclass(frozen=True, slots=True)
class Rooms:
    """Three rooms of one cut: of a guest who has his key, of one who comes during the cut, of the key in the safe."""

    held: str
    coming: str
    safe: str


@dataclass(slots=True)
class Party:
    """Who stands before the doors, with what was given to them while every line was whole."""

    rooms: Rooms
    coming_stay: str
    guest: Guest
    friend: Guest
    cleaner: Guest
    token: Guest
    second_token: Guest
    """Has the key that was made for the safe's room after the token's."""
    doorman: Guest
    officer: Guest
    """Who goes in with the key that two approved."""
    newcomer: Guest
    stranger: Guest

    def keys(self) -> set[str]:
        """Return the grants that were handed out."""
        return {getattr(self, name).issued["grant"] for name in KEYED}


class Lines:
    """All that can be cut, and whether it is."""

    def __init__(self, building: Building, report: Report, phones: Line, api: CloudApi) -> None:
        self._building, self._report, self._phones = building, report, phones
        self.api = api
        """The cloud as a guest's phone reaches it."""

    @classmethod
    @asynccontextmanager
    async def laid(cls, building: Building, report: Report) -> "AsyncIterator[Lines]":
        """Give the phones a line of their own to the cloud."""
        async with Line(HOST, building.ports.cloud) as phones:
            address, token = f"http://{HOST}:{phones.port}", building.console_token
            api = CloudApi(address, token=token, property_id=building.inventory.property.id)
            try:
                yield cls(building, report, phones, api)
            finally:
                await api.close()

    async def cut(self, what: Cut) -> None:
        """Cut, and see from outside that it is cut."""
        building = self._building
        if Cut.PHONE in what:
            await self._phones.cut()
        if Cut.CLOUD in what:
            await building.line.cut()
            await building.programs.kill("cloud")
        if Cut.EDGE in what:
            await building.programs.kill("edge")
            await building.programs.kill("doors")
        reached = {
            Cut.PHONE: not await self.api.answers("/ready"),
            Cut.CLOUD: not await building.cloud.answers("/ready"),
            Cut.EDGE: not await building.edge.ready(),
        }
        away = what | (Cut.PHONE if Cut.CLOUD in what else Cut.NOTHING)  # a phone on line reaches no dead cloud either
        self._report.claim(
            "what is cut answers nobody, and the rest answers",
            all(gone is (each in away) for each, gone in reached.items()),
            {str(each.name): gone for each, gone in reached.items()},
        )

    async def mend(self, what: Cut) -> None:
        """Bring everything back, and see that it is back."""
        building = self._building
        if Cut.EDGE in what:
            await building.programs.again("doors")
            await building.programs.again("edge")
        if Cut.CLOUD in what:
            await building.programs.again("cloud")
            await building.line.restore()
        await self._phones.restore()

        async def whole() -> tuple[bool, Any]:
            ready = await building.edge.ready() and await self.api.answers("/ready")
            link = (await building.edge.link())["connected"] if ready else False
            return ready and link is True, {"ready": ready, "link": link}

        await self._report.eventually("every line is whole again", SOON_S, whole)


async def tell(building: Building, report: Report, cuts: Sequence[tuple[str, Cut]] = CUTS) -> None:
    """Play the drill. Raises StoryFailedError naming the cut and the way in that failed."""
    async with AsyncExitStack() as stack:
        lines = await stack.enter_async_context(Lines.laid(building, report))
        phones = await _Phones.of(building)
        rooms = _rooms(building, len(cuts))
        async with report.step(1, "keys are made for every cut, over whole lines"):
            stays = await _booked(building, report, rooms)
        for number, ((name, cut), mine) in enumerate(zip(cuts, rooms, strict=True), 2):
            async with report.step(number, name):
                party = await _prepared(building, lines, phones, mine, stays)
                report.claim("who is to come in has a key of his own", len(party.keys()) == len(KEYED), mine)
                await lines.cut(cut)
                try:
                    await _everybody_enters(building, report, lines, party, cut)
                finally:
                    await lines.mend(cut)
        async with report.step(len(cuts) + 2, "every movement of a motor is in the cloud, once"):
            await _accounted(building, report)


class _Phones:
    """Phones on one emulated radio: a process each would be the half of what the drill costs."""

    def __init__(self, first: Guest) -> None:
        self._first, self._count = first, 0

    @classmethod
    async def of(cls, building: Building) -> "_Phones":
        return cls(await building.new_guest("phones"))

    async def another(self) -> Guest:
        self._count += 1
        return await self._first.companion(f"phone-{self._count}")


def _rooms(building: Building, cuts: int) -> list[Rooms]:
    floors = building.inventory.floors
    if len(floors) < 3 or any(floor.rooms < cuts for floor in floors[:3]):
        raise PlatformError(f"{building.inventory.property.name}: the drill needs three floors of {cuts} rooms each")
    held, coming, safe = (floor.first_room for floor in floors[:3])
    return [Rooms(str(held + n), str(coming + n), str(safe + n)) for n in range(cuts)]


async def _booked(building: Building, report: Report, rooms: Sequence[Rooms]) -> dict[str, str]:
    """Book a guest for the first two rooms of each cut; return the stay of each room once cloud and edge hold it."""
    now_ms = building.clock.wall_ms()
    booked = {
        room: await building.pms.add(name=f"of {room}", room=room, start_ms=now_ms - HOUR_MS, end_ms=now_ms + STAY_MS)
        for each in rooms
        for room in (each.held, each.coming)
    }

    async def held() -> tuple[bool, Any]:
        stays = {each["reservation"]["external_id"]: each["id"] for each in await building.cloud.stays()}
        found = {room: stays[reservation] for room, reservation in booked.items() if reservation in stays}
        there = {each["id"] for each in (await building.edge.stays())["stays"]}
        return len(found) == len(booked) and set(found.values()) <= there, found

    stays: dict[str, str] = await report.eventually("cloud and edge hold every stay", SOON_S, held)
    return stays


async def _prepared(building: Building, lines: Lines, phones: _Phones, rooms: Rooms, stays: dict[str, str]) -> Party:
    """Hand out what is handed out before anything is cut."""
    party = Party(rooms, stays[rooms.coming], *[await phones.another() for _ in range(9)])
    stay, ends_ms = stays[rooms.held], building.clock.wall_ms() + SHIFT_MS
    for guest in (party.guest, party.friend):
        await guest.receive((await lines.api.check_in(stay, guest.public_key))["bundle"])
    shift = {"person": "cleaner", "rooms": [rooms.held], "user_verified": False}
    in_safe = {"room": rooms.safe, "life_hours": 8}
    passage = {
        "person": "doorman",
        "zones": building.identities.locks[LOBBY].zones,
        "passage": True,
        "user_verified": False,
    }
    for holder, path, asked in (
        (party.cleaner, "staff-keys", shift),
        (party.token, "failsafe-keys", in_safe),
        (party.second_token, "failsafe-keys", in_safe),
        (party.doorman, "staff-keys", passage),
    ):
        whose = {"phone_public_key": holder.public_key, "not_after_ms": ends_ms, "by": "front-desk"}
        await holder.receive((await building.edge.post(f"/api/v1/doors/{path}", asked | whose))["bundle"])
    wish = {
        "person": "nurse",
        "reason": EMERGENCY_REASON,
        "over_privacy": True,
        "rooms": [rooms.held],
        "by": "front-desk",
    }
    draft = await building.edge.post(
        "/api/v1/doors/emergency-drafts", {**wish, "phone_public_key": party.officer.public_key}
    )
    approved = {"grant": draft["grant"], "approvals": building.identities.approvals(draft["statement"])}
    answer = await building.edge.post("/api/v1/doors/emergency-keys", {**approved, "by": "front-desk"})
    await party.officer.receive(answer["bundle"])
    await party.stranger.load(party.guest.issued)  # everything that the guest has but his private key
    return party


async def _everybody_enters(building: Building, report: Report, lines: Lines, party: Party, cut: Cut) -> None:
    room, coming = f"door-{party.rooms.held}", f"door-{party.rooms.coming}"
    enters = partial(_enters, building, report)
    await enters("a phone that was never at this door", party.guest, room)
    await _comes_back_fast(report, party.guest, room)
    await enters("the guest at the common door", party.guest, LOBBY)
    await enters("the friend who shares the room", party.friend, room)
    await enters("the cleaner", party.cleaner, room)
    safe = f"door-{party.rooms.safe}"
    if Cut.EDGE in cut:
        await enters("who comes during the cut, with the key from the safe", party.token, safe)
    else:
        await enters("the first of the safe's two keys", party.token, safe)
        key = party.newcomer.public_key
        on_line = cut is Cut.NOTHING
        answer = await (lines.api if on_line else building.edge).check_in(party.coming_stay, key)
        await party.newcomer.receive(answer["bundle"])
        where = "now, checked in by the phone" if on_line else "during the cut, checked in at the desk"
        await enters(f"who comes {where}", party.newcomer, coming)
    await enters("the later key of the same room", party.second_token, safe)
    await _is_refused(
        building, report, "and the earlier one is replaced by that", party.token, safe, reason="superseded"
    )
    await _holds_open(building, report, party)
    await building.locks.turn(room, privacy=True)
    await _is_refused(
        building, report, "a cleaner is kept out by the knob inside", party.cleaner, room, reason="privacy_on"
    )
    await enters("an emergency key of two officers, over privacy,", party.officer, room)
    await building.locks.turn(room, privacy=False)
    moved = await building.locks.openings(room)
    refused = await party.stranger.open_as_guests_do(room)
    report.claim("a stranger with a stolen bundle is refused", refused["ending"] == "refused", refused)
    report.claim("and no motor moved", await building.locks.openings(room) == moved, moved)
    await building.locks.lose_power(room)
    await enters("the guest, at a lock whose batteries were changed", party.guest, room)
    await enters("the friend, at the same lock", party.friend, room)


async def _enters(building: Building, report: Report, who: str, phone: Guest, door: str) -> None:
    before = await building.locks.openings(door)
    opened = await phone.open_as_guests_do(door)
    moved = await building.locks.openings(door) - before
    report.claim(f"{who} opens {door}", opened["ending"] == "opened" and 1 <= moved <= opened["asked"], opened)


async def _is_refused(building: Building, report: Report, claim: str, phone: Guest, door: str, *, reason: str) -> None:
    before = await building.locks.openings(door)
    refused = await phone.open_as_guests_do(door)
    stood = await building.locks.openings(door) == before
    report.claim(claim, (refused["ending"], refused["reason"]) == ("refused", reason) and stood, refused)


async def _holds_open(building: Building, report: Report, party: Party) -> None:
    """The doorman holds the common door open, and lets it go; a guest cannot."""
    before = await building.locks.openings(LOBBY)
    begun = await party.doorman.latch_as_staff_do(LOBBY, hold=True)
    moved = await building.locks.openings(LOBBY) - before
    report.claim("the doorman holds the common door open", begun["ending"] == "opened" and moved >= 1, begun)
    report.claim("and it stays open", await building.locks.is_drawn(LOBBY), await building.locks.is_drawn(LOBBY))
    tried = await party.guest.latch_as_staff_do(LOBBY, hold=False)
    report.claim("a guest lets nothing go that staff hold", tried["ending"] == "refused", tried)
    let_go = await party.doorman.latch_as_staff_do(LOBBY, hold=False)
    report.claim("the doorman lets it go", let_go["ending"] == "done", let_go)

    async def thrown() -> tuple[bool, Any]:
        return not await building.locks.is_drawn(LOBBY), None

    await report.eventually("and its bolt is thrown", SOON_S, thrown)


async def _comes_back_fast(report: Report, phone: Guest, door: str) -> None:
    taps: list[Any] = []
    while len(taps) < FAST_TAPS_MOST and not (taps and taps[-1]["fast"]):
        taps.append(await phone.open_as_guests_do(door))
    told = [{"ending": each["ending"], "fast": each["fast"]} for each in taps]
    report.claim(
        "the guest, back again, opens without public-key work",
        all(each["ending"] == "opened" for each in taps) and taps[-1]["fast"] is True,
        told,
    )


async def _accounted(building: Building, report: Report) -> None:
    moved = {door: count for door, count in (await building.locks.all_openings()).items() if count}

    async def told() -> tuple[bool, Any]:
        events = [each for each in await building.cloud.all_access_events() if each["event"] in MOTOR_EVENTS]
        pairs = {(each["door"], each["lock_seq"]) for each in events}
        counted = Counter(each["door"] for each in events)
        return counted == Counter(moved) and len(pairs) == len(events), {"motors": moved, "events": dict(counted)}

    await report.eventually("as many openings as movements, door by door", SOON_S, told)
    report.figures["openings"] = sum(moved.values())
