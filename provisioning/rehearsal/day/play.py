"""Plays a day in a raised building: guests, desk, housekeeping and the PMS, each with its own hands; writes it down.

The hotel's hours are hurried, the machine's clock is not: what is compressed is how long people take between one thing
and the next. The clock of the hotel is held where people are slower than it: nothing that has to happen while the line
is cut is left out because the machine was busy.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, Final

from kit.clock import Clock
from kit.dice import Dice
from kit.task_groups import TaskGroup
from protocols.errors import PeerProtocolError, PlatformError, ReplyTimeoutError
from provisioning.rehearsal.building import Building
from provisioning.rehearsal.clients import CloudApi
from provisioning.rehearsal.day.lived import Day, Life
from provisioning.rehearsal.day.programme import (
    BEHIND,
    CUT_FROM,
    CUT_UNTIL,
    HOURS,
    INSIDE_BEFORE_THE_CUT,
    OPENS,
    Fate,
)
from provisioning.rehearsal.patience import passes
from provisioning.rehearsal.phone import Guest

HOUR_MS: Final = 3_600_000
MINOR: Final = 20_000
DEPOSIT: Final = {"currency": "EUR", "minor": MINOR}
STEPS: Final = ("payment", "room", "grant")
"""What a guest's page asks: the day is about money, rooms and keys; papers are in other tests."""
PHONES: Final = 3
"""Radios; every guest's phone has keys of its own on one of them."""
LOOK_EVERY_S: Final = 0.25
POLL_S: Final = 0.2
PATIENCE_S: Final = 120.0
"""For what surely comes: hints may be dropped, answers lost, machines busy."""
WHILE_CUT: Final = (
    *BEHIND,
    Fate.WALKS_IN,
    Fate.OUT_BEHIND,
    Fate.EXTENDED_BEHIND,
    Fate.BOOKED_BEHIND,
    Fate.MOVED_INSIDE_BEHIND,
)
WHEN_INSIDE: Final = (
    *(Fate.EXTENDS, Fate.MOVED_INSIDE, Fate.LEAVES_EARLY, Fate.SHARES_AND_LEAVES),
    *INSIDE_BEFORE_THE_CUT,
)
CARDS: Final = {"visa": "pm_card_visa", "secure": "pm_card_threeDSecure2Required", "declined": "pm_card_chargeDeclined"}


class HotelClock:
    """The hours of the hotel's day, `seconds` long; can be held while people are late."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._hour_s = clock, seconds / HOURS
        self._began_ms, self._held_ms = clock.now_ms(), 0
        self._gates: list[float] = []

    async def until(self, hour: float) -> None:
        """Wait until it is `hour`."""
        while (left_s := (hour - self.hour()) * self._hour_s) > 0:  # noqa: ASYNC110 - a gate may stand or fall
            await asyncio.sleep(min(left_s, 0.5))

    def hour(self) -> float:
        """Return the hour now: no later than the gate that stands."""
        passed_ms = self._clock.now_ms() - self._began_ms - self._held_ms
        hour = OPENS + passed_ms / 1_000 / self._hour_s
        if self._gates and hour > self._gates[0]:
            self._held_ms += round((hour - self._gates[0]) * self._hour_s * 1_000)
            return self._gates[0]
        return hour

    @contextlib.contextmanager
    def held_at(self, hour: float) -> Iterator[None]:
        """Do not let it be later than `hour` within the block."""
        self._gates.append(hour)
        self._gates.sort()
        try:
            yield
        finally:
            self.hour()
            self._gates.remove(hour)


class Play:
    """One day. `day.lives` hold what was booked; reservations are in the PMS already. `note` is told of each hour."""

    def __init__(
        self, building: Building, day: Day, *, seconds: float, dice: Dice, note: Callable[[str], None]
    ) -> None:
        self._building, self.day, self._dice, self._note = building, day, dice, note
        self._settled = 0
        self._hotel = HotelClock(building.clock, seconds)
        self._phones: list[Guest] = []
        self._entered = {life.booking.name: asyncio.Event() for life in day.lives}
        self._done_behind = {life.booking.name: asyncio.Event() for life in day.lives if life.booking.fate in WHILE_CUT}
        self._cut, self._back = asyncio.Event(), asyncio.Event()
        self.crowded: list[str] = []
        """Looks at which two guests who do not share had one room."""

    async def run(self) -> None:
        """Live through the whole day."""
        for number in range(PHONES):
            self._phones.append(await self._building.new_guest(f"radio-{number}"))
        looking = asyncio.create_task(self._look(), name="look")
        telling = asyncio.create_task(self._tell_hours(), name="tell hours")
        try:
            async with TaskGroup() as everybody:
                everybody.create_task(self._line())
                for index, life in enumerate(self.day.lives):
                    everybody.create_task(self._arrive(index, life))
                    everybody.create_task(self._happen(life))
        finally:
            for each in (looking, telling):
                each.cancel()
            await asyncio.gather(looking, telling, return_exceptions=True)

    async def _tell_hours(self) -> None:
        for hour in range(int(OPENS) + 1, int(OPENS + HOURS) + 1):
            await self._hotel.until(hour)
            lives = self.day.lives
            inside, gone = sum(each.inside for each in lives), sum(each.out_at_ms is not None for each in lives)
            line = "the line is cut" if self._cut.is_set() and not self._back.is_set() else "on line"
            self._note(f"{hour:02}:00  {inside} in house, {gone} have left; {line}")

    # --- the line -------------------------------------------------------------------------------------------

    async def _line(self) -> None:
        building = self._building
        with self._hotel.held_at(CUT_FROM):  # whoever must be inside by then is
            await self._hotel.until(CUT_FROM)
            for life in self.day.lives:
                if life.booking.fate in INSIDE_BEFORE_THE_CUT:
                    await self._entered[life.booking.name].wait()
                    await self._until(f"{life.booking.name} is in house in the PMS", partial(self._agreed, life))
            await building.line.cut(silent=True)
            self._note("16:00  the line goes silent")
            self.day.cut_at_ms = building.clock.wall_ms()
            self._cut.set()
        with self._hotel.held_at(CUT_UNTIL):
            await self._hotel.until(CUT_UNTIL)
            for event in self._done_behind.values():
                await event.wait()
            heads = await building.edge.heads()
            self.day.back_at_ms = building.clock.wall_ms()
            await building.line.restore()
            self._note(f"19:00  the line is back; {sum(heads.values())} records in the building's log")

            async def drained() -> bool:
                held = await building.cloud.heads()
                return all(held.get(lane, 0) >= head for lane, head in heads.items())

            await self._until("the backlog is in the cloud", drained)
            self.day.drained_s = (building.clock.wall_ms() - self.day.back_at_ms) / 1_000
            self._back.set()

    async def _started(self, life: Life) -> bool:
        return await self._building.pms.state_of(life.reservation) == "Started"

    # --- arrivals -------------------------------------------------------------------------------------------

    async def _arrive(self, index: int, life: Life) -> None:
        booking = life.booking
        if booking.fate is Fate.NO_SHOW:
            return
        await self._hotel.until(booking.arrives)
        if booking.fate in (*BEHIND, Fate.BOOKED_BEHIND):
            await self._cut.wait()
        life.guest = await self._phones[index % PHONES].companion(booking.name)
        if booking.fate is Fate.BOOKED_BEHIND:
            await self._unknown_while_cut(life)
        if booking.fate is Fate.WALKS_IN:
            await self._back.wait()
            await self._parted(life)
        bundle = await self._check_in(life)
        life.until_before_ms = await life.guest.receive(bundle)
        life.in_at_ms = self._wall_ms
        if life.way == "building":
            self.day.let_in_behind += 1
        await self._open(life)
        if booking.fate is Fate.MOVED:
            await self._try_old_room(life)
        self._entered[booking.name].set()

    async def _check_in(self, life: Life) -> dict[str, Any]:
        """Check a guest in as he came, and at the building's own desk where the way through the cloud is away."""
        if life.guest is None:
            raise AssertionError("a guest has a phone")
        key = life.guest.public_key
        if not (self._cut.is_set() and not self._back.is_set()):
            try:
                if life.booking.by_phone:
                    return await self._by_page(life, key)
                answer = await self._building.cloud.check_in(life.stay, key)
                life.way = "desk"
                return dict(answer["bundle"])
            except PlatformError as error:
                if not passes(error) and "edge_away" not in str(error):
                    raise
        await self._until(f"the edge has {life.booking.name} there", lambda: self._held(life, life.room))
        life.way = "building"
        return dict((await self._building.edge.check_in(life.stay, key))["bundle"])

    async def _by_page(self, life: Life, key: str) -> dict[str, Any]:
        cloud = self._building.cloud
        api = cloud.as_guest(await cloud.guest_link(life.stay))
        try:
            session = await api.session(life.stay)
            if life.booking.fate is Fate.NOT_READY:
                await self._told_to_wait(life, api, key, session)
            await self._pay(life, api)
            await self._until(
                f"{life.booking.name} has paid and the room is ready", lambda: self._paid_and_ready(life, api)
            )
            answer = await api.check_in(life.stay, key)
            life.way = "page"
            return dict(answer["bundle"])
        finally:
            await api.close()

    async def _told_to_wait(self, life: Life, api: CloudApi, key: str, session: dict[str, Any]) -> None:
        open_steps = {step["step"] for step in session["steps"] if step["state"] == "open"}
        refused = ""
        try:
            await api.check_in(life.stay, key)
        except PeerProtocolError as error:
            refused = str(error)
        life.told_to_wait = "room" in open_steps and "409" in refused

    async def _pay(self, life: Life, api: CloudApi) -> None:
        card = life.booking.card
        paid = await self._again(lambda: api.pay(life.stay, CARDS[card], key="first"))
        if card == "declined":
            life.declined += paid["state"] == "failed"
            paid = await self._again(lambda: api.pay(life.stay, CARDS["visa"], key="second"))
        if paid["state"] == "needs_guest":
            await self._building.till.confirm(str(paid["client_secret"]).partition("_secret_")[0])
        life.payment = paid["id"]

    async def _paid_and_ready(self, life: Life, api: CloudApi) -> bool:
        steps = (await api.session(life.stay))["steps"]
        return all(step["state"] in ("done", "waived") for step in steps if step["step"] != "grant")

    async def _unknown_while_cut(self, life: Life) -> None:
        """A booking made in the PMS while the line is cut: the building has never heard of it, and says so."""
        if life.guest is None:
            raise AssertionError("a guest has a phone")
        await self._until(f"the cloud has the booking of {life.booking.name}", lambda: self._booked(life))
        try:
            await self._building.edge.check_in(life.stay, life.guest.public_key)
        except PeerProtocolError as error:
            life.unknown_before = "unknown" in str(error)
        self._done_behind[life.booking.name].set()
        await self._back.wait()

    async def _booked(self, life: Life) -> bool:
        return life.stay != ""

    async def _parted(self, life: Life) -> None:
        """The desk sees that a room was sold twice, and gives the one without a key another."""
        await self._until(f"the double sale of {life.room} is shown", lambda: self._shows(life, "double_sale"))
        await self._building.pms.move(life.reservation, life.booking.spare)
        life.room = life.booking.spare
        await self._until(f"the cloud has {life.booking.name} in {life.room}", lambda: self._in_cloud(life, life.room))
        await self._until(f"the edge has {life.booking.name} there", lambda: self._held(life, life.room))

    # --- what happens to guests ------------------------------------------------------------------------------

    async def _happen(self, life: Life) -> None:
        booking, pms = life.booking, self._building.pms
        if booking.happens == 0.0:
            return
        if booking.fate in (
            Fate.EXTENDS,
            Fate.MOVED_INSIDE,
            Fate.LEAVES_EARLY,
            Fate.SHARES_AND_LEAVES,
            *INSIDE_BEFORE_THE_CUT,
        ):
            await self._entered[booking.name].wait()
        await self._hotel.until(booking.happens)
        if booking.fate in WHILE_CUT:
            await self._cut.wait()
            await self._happen_behind(life)
            return
        match booking.fate:
            case Fate.NO_SHOW:
                await pms.cancel(life.reservation, no_show=True)
            case Fate.MOVED:
                await pms.move(life.reservation, booking.spare)
                life.room = booking.spare
                await self._until(f"the edge has {life.booking.name} there", lambda: self._held(life, life.room))
            case Fate.NOT_READY:
                await pms.set_room(life.room, "Inspected")
            case Fate.EXTENDS:
                await self._extend(life)
                await self._renew(life)
            case Fate.MOVED_INSIDE:
                await self._until(f"the PMS agrees where {booking.name} is", lambda: self._agreed(life))
                await pms.move(life.reservation, booking.spare)
                await self._move(life)
            case Fate.LEAVES_EARLY | Fate.SHARES_AND_LEAVES:
                await self._leave(life)

    async def _happen_behind(self, life: Life) -> None:
        booking, pms = life.booking, self._building.pms
        self.day.pms_changes_behind += 1
        match booking.fate:
            case Fate.WALKS_IN:
                now_ms = self._wall_ms
                life.reservation = await pms.add(
                    name=booking.name, room=booking.room, start_ms=now_ms - HOUR_MS, end_ms=now_ms + 20 * HOUR_MS
                )
                await pms.check_in(life.reservation)
                await self._until(f"the cloud has the stay of {life.booking.name}", lambda: self._named(life))
            case Fate.BOOKED_BEHIND:
                now_ms = self._wall_ms
                life.reservation = await pms.add(
                    name=booking.name, room=booking.room, start_ms=now_ms - HOUR_MS, end_ms=now_ms + 20 * HOUR_MS
                )
                await self._until(f"the cloud has the stay of {life.booking.name}", lambda: self._named(life))
                return  # done when the building was asked
            case Fate.MOVED_BEHIND:
                await pms.move(life.reservation, booking.spare)
            case Fate.CANCELLED_BEHIND:
                await pms.cancel(life.reservation)
            case Fate.OUT_BEHIND:
                await pms.check_out(life.reservation)
                await self._open(life)  # nobody in the house has heard of it
            case Fate.EXTENDED_BEHIND:
                await self._extend(life)
            case Fate.MOVED_INSIDE_BEHIND:
                await pms.move(life.reservation, booking.spare)
            case Fate.DOUBLE_SOLD:
                self.day.pms_changes_behind -= 1  # the sale is the other one's
        if booking.fate in BEHIND:
            await self._entered[booking.name].wait()
        self._done_behind[booking.name].set()
        await self._back.wait()
        if booking.fate is Fate.OUT_BEHIND:
            await self._until(f"the edge lets {life.booking.name} go", lambda: self._left(life))
            life.out_at_ms = self._wall_ms
            await self._settle_deposit(life)
        elif booking.fate is Fate.EXTENDED_BEHIND:
            await self._renew(life)
        elif booking.fate is Fate.MOVED_INSIDE_BEHIND:
            await self._move(life)

    async def _extend(self, life: Life) -> None:
        await self._building.pms.extend(life.reservation, self._wall_ms + 44 * HOUR_MS)

    async def _renew(self, life: Life) -> None:
        """The phone asks again once the building knows of the longer stay, and opens with what it gets."""
        if life.guest is None or life.until_before_ms is None:
            raise AssertionError("an extended guest is inside")
        guest, before_ms = life.guest, life.until_before_ms

        async def longer() -> bool:
            until_ms = (await self._at_edge(life))["expected_until_ms"]
            return bool(until_ms > before_ms + 12 * HOUR_MS)

        await self._until(f"the edge has the longer stay of {life.booking.name}", longer)
        bundle = (await self._building.edge.check_in(life.stay, guest.public_key))["bundle"]
        life.until_after_ms = await guest.receive(bundle)
        await self._open(life)

    async def _move(self, life: Life) -> None:
        """The desk has moved a guest in the PMS: his key is the old room's until his phone asks for the new one's."""
        if life.guest is None:
            raise AssertionError("a moved guest is inside")
        await self._until(f"the move of {life.booking.name} is shown", lambda: self._shows(life, "other_room"))
        await self._open(life)
        answer = await self._building.cloud.check_in(
            life.stay, life.guest.public_key, key=f"moved-{life.booking.spare}"
        )
        await life.guest.receive(answer["bundle"])
        life.room = life.booking.spare
        await self._open(life)
        await self._try_old_room(life)

    async def _agreed(self, life: Life) -> bool:
        """Tell whether the PMS was told that a guest is in, and we have read that it says so."""
        told = await self._building.cloud.get(f"/api/v1/properties/{self._building.inventory.property.id}/pms")
        return await self._started(life) and not any(each["writes_pending"] for each in told["connections"])

    async def _leave(self, life: Life) -> None:
        if self._dice.integer(0, 1):
            await self._building.edge.post(f"/api/v1/stays/{life.stay}/check-out", {"by": "front desk"})
        else:
            await self._until(f"{life.booking.name} is in house in the PMS", lambda: self._started(life))
            await self._building.pms.check_out(life.reservation)
            await self._until(f"the edge lets {life.booking.name} go", lambda: self._left(life))
        life.out_at_ms = self._wall_ms
        await self._settle_deposit(life)

    async def _settle_deposit(self, life: Life) -> None:
        if not life.payment:
            return
        self._settled += 1
        if self._settled % 2:
            await self._again(lambda: self._building.cloud.release(life.stay, life.payment))
        else:
            minor = self._dice.integer(1, MINOR)
            await self._again(lambda: self._building.cloud.capture(life.stay, life.payment, minor))
            life.captured = minor

    # --- doors ----------------------------------------------------------------------------------------------

    async def _open(self, life: Life) -> None:
        if life.guest is None:
            raise AssertionError("a guest has a phone")
        answer = await life.guest.open_as_guests_do(f"door-{life.room}")
        self.day.taps += answer["taps"]
        if answer["ending"] != "opened":
            raise ReplyTimeoutError(
                f"{life.booking.name}, {life.booking.fate}: room {life.room} does not open: {answer}"
            )
        life.opened += 1

    async def _try_old_room(self, life: Life) -> None:
        """A guest who was moved tries the room that was booked first, with everything that opens doors."""
        if life.guest is None:
            raise AssertionError("a guest has a phone")
        door = f"door-{life.booking.room}"
        await life.guest.load(self._building.bundle_for_another_door(life.guest.issued, door))
        answer = await life.guest.open_as_guests_do(door)
        self.day.taps += answer["taps"]
        life.old_room_refused = answer["reason"] if answer["ending"] == "refused" else None
        await life.guest.load(life.guest.issued)

    # --- looking --------------------------------------------------------------------------------------------

    @property
    def _wall_ms(self) -> int:
        return self._building.clock.wall_ms()

    async def _look(self) -> None:
        """See, all day long, what is shown of stays, and that nobody is put into somebody else's room."""
        lives = {life.booking.name: life for life in self.day.lives}
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with contextlib.suppress(PlatformError):  # a program is busy: the next look is soon
                stays = await self._building.cloud.stays()
                self.day.looks += 1
                self.crowded += crowded(self.day, [each for each in stays if each["state"] == "in_house"])
                for each in stays:
                    if each["conflict"] is not None and (life := lives.get(each["guest_name"].removeprefix("Guest "))):
                        life.conflicts.add(each["conflict"])

    async def _at_edge(self, life: Life) -> dict[str, Any]:
        for each in (await self._building.edge.stays())["stays"]:
            if each["id"] == life.stay:
                return dict(each)
        return {"room": None, "state": None, "expected_until_ms": 0}

    async def _held(self, life: Life, room: str) -> bool:
        return bool((await self._at_edge(life))["room"] == room)

    async def _left(self, life: Life) -> bool:
        return bool((await self._at_edge(life))["state"] == "left")

    async def _in_cloud(self, life: Life, room: str) -> bool:
        return bool((await self._building.cloud.stay(life.stay))["room"] == room)

    async def _shows(self, life: Life, conflict: str) -> bool:
        return bool((await self._building.cloud.stay(life.stay))["conflict"] == conflict)

    async def _named(self, life: Life) -> bool:
        """Learn which stay is a reservation's."""
        for each in await self._building.cloud.stays():
            if each["reservation"]["external_id"] == life.reservation:
                life.stay = each["id"]
                return True
        return False

    async def _until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something holds. Raises ReplyTimeoutError naming it."""
        trouble = ""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        if await holds():
                            return
                    except PlatformError as error:
                        if not passes(error):
                            raise
                        trouble = f"; last heard: {error}"
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise ReplyTimeoutError(f"waited {PATIENCE_S:g} s in vain: {what}{trouble}") from error

    async def _again(self, ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """Ask under one idempotency key until an answer comes."""
        answers: list[dict[str, Any]] = []

        async def answered() -> bool:
            answers.append(await ask())
            return True

        await self._until("an answer about money", answered)
        return answers[0]


def crowded(day: Day, inside: list[dict[str, Any]]) -> list[str]:
    """Return the rooms that two of `inside` have, unless they are the two who share it."""
    names: dict[str, list[str]] = {}
    for each in inside:
        if each["room"] is not None:
            names.setdefault(each["room"], []).append(str(each["id"]))
    together = {
        frozenset((life.stay, day.lives[life.booking.beside].stay))
        for life in day.lives
        if life.booking.fate is Fate.SHARES_AND_LEAVES and life.booking.beside is not None
    }
    return [f"{room}: {found}" for room, found in names.items() if len(found) > 1 and frozenset(found) not in together]
