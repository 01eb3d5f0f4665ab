"""Stays made longer and shorter, checked out, restarted, in any order: a key opens while the stay lasts, and not after.

The model is one line: a key that a phone asks for opens exactly while now is before the end of the stay as the building
knows it; what was handed out before an end that has come opens no more, whatever time is left in it. Real locks, real
grants, the real desk; a look and a visit to the doors lie between the end and the test, as far as a lock is told.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog

from edge.app.granting import GrantingDoors
from edge.checkin.errors import CheckInRefusedError
from edge.checkin.overdue import AGAIN_MS, HEARS_FIRST_MS, Overdue
from edge.stays.document import StayState, parse
from edge.stays.replica import Stay
from protocols import cose
from protocols.device_model.identity import StayId
from protocols.door.bundle import Bundle
from protocols.door.phone import Unlock
from protocols.door.status import Status
from protocols.errors import InvalidInputError
from tests.edge.checkin.test_handover import Front
from tests.edge.doors.building import Building as Doors
from tests.edge.doors.building import MemoryPhone
from tests.edge.world import AURORA, HOUR_MS, a_document, a_stay

pytestmark = [pytest.mark.requirement("P9", "P11", "STY-08"), pytest.mark.guarantee("G3", "G4", "G11")]
ANNA, BEN = StayId("s-anna"), StayId("s-ben")
DOORS = ("door-101", "pool")
LEEWAY_MS = 600_000
"""So long after its end a lock may take a key."""
TRYING_MS = 2 * HOUR_MS
"""More than it takes to try every key at every door."""
SETTLES_MS = HEARS_FIRST_MS + 2 * AGAIN_MS
"""So long after an end, and after a start, the doors have been asked."""
STEPS = 30
BENS_NIGHTS = 60


@dataclass(slots=True)
class Held:
    """A key in a phone. `over`: an end of the stay has come since it was handed out, and was seen to.

    `doubtful`: it has come, and went again, maybe before it was seen to: either is right.
    """

    phone: MemoryPhone
    bundle: Bundle
    over: bool = False
    doubtful: bool = False


@dataclass(slots=True)
class Night:
    """One building, one guest who cannot decide, and beside her one who stays."""

    doors: Doors
    dice: Random
    shared: bool
    front: Front = field(init=False)
    overdue: Overdue = field(init=False)
    version: int = 1
    begun_ms: int = 0
    keys: list[Held] = field(default_factory=list)
    bens: MemoryPhone | None = None
    bens_asked_ms: int = 0
    looked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.front = Front(self.doors)
        self.begun_ms = self.doors.clock.wall_ms()
        self.tell(self.begun_ms + 72 * HOUR_MS)
        self.start()

    # -- what may happen --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The edge begins a life on what is durable."""
        self.overdue = Overdue(
            replica=lambda: self.front.replica,
            doors=GrantingDoors(self.front.real),
            turn=self.front.desk.turn,
            clock=self.doors.clock,
            log=structlog.get_logger("test"),
        )

    def tell(self, until_ms: int, **more: Any) -> None:
        """A document of the cloud, twice; and the one before it, late."""
        share = {"share": "twin"} if self.shared else {}
        anna = a_stay(expected_from_ms=self.begun_ms, expected_until_ms=until_ms, **share, **more)
        bens_ms = self.begun_ms + BENS_NIGHTS * 24 * HOUR_MS
        stays = [anna] + [a_stay(BEN, expected_from_ms=self.begun_ms, expected_until_ms=bens_ms, **share)] * self.shared
        self.version += 1
        told = parse(a_document(*stays, v=3), ours=AURORA)
        for _ in range(2):
            self.front.replica = self.front.replica.offered(self.version, told)
        with pytest.raises(InvalidInputError):
            self.front.replica.offered(self.version - 1, told)

    async def document(self) -> None:
        """The PMS says another end, maybe one that is past, maybe against what the desk said."""
        word = self.front.replica.untils.get(ANNA)
        heard = {} if word is None or self.dice.random() < 0.3 else {"until_n": word.n}
        hours = self.dice.choice([-30, -3, -1, 1, 5, 24, 60])
        self.tell(max(self.now_ms + hours * HOUR_MS, self.begun_ms + HOUR_MS), **heard)

    async def desk(self) -> None:
        """The desk says another end."""
        hours = self.dice.choice([1, 2, 6, 30, 60])
        phone = self.dice.choice([None, *self.phones])
        key = {} if phone is None else {"phone_public_key": phone.public.hex()}
        told = await self.front.desk.end_at(ANNA, self.now_ms + hours * HOUR_MS, by="desk", **key)
        if phone is not None:
            self.took(phone, Bundle.from_document(told["bundle"]))

    async def phone(self) -> None:
        """A phone asks for its key, as each does now and then."""
        await self.asks(self.dice.choice(self.phones))

    async def time(self) -> None:
        """Some hours go by; the building looks as often as it says that it will."""
        await self.passes(self.dice.choice([1, 3, 7, 20, 50]) * HOUR_MS)

    async def restart(self) -> None:
        """The machine is switched off and on."""
        self.doors.restart()
        self.start()

    async def visit(self) -> None:
        """One of the doors hears of the building, and the other does not."""
        await self.doors.visit(self.dice.choice(DOORS))

    # -- how it is seen to ------------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        return self.doors.clock.wall_ms()

    @property
    def stay(self) -> Stay:
        found = self.front.replica.get(ANNA)
        assert found is not None
        return found

    @property
    def ends_ms(self) -> int:
        """When the last key of the stay ends, by the stay's end as it is known now."""
        return self.stay.expected_until_ms + self.doors.desk.grace_s * 1_000

    @property
    def phones(self) -> list[MemoryPhone]:
        return [self.doors.phone(name) for name in ("anna", "tablet")]

    def took(self, phone: MemoryPhone, bundle: Bundle) -> None:
        if all(each.bundle.grant != bundle.grant for each in self.keys):
            self.keys.append(Held(phone, bundle))
        else:
            assert not any(each.over for each in self.keys if each.bundle.grant == bundle.grant), "handed out again"

    async def asks(self, phone: MemoryPhone) -> bytes:
        await self.front.desk.check_in(ANNA, phone.public.hex(), by="desk")
        self.took(phone, self.front.real.bundles[ANNA])
        return self.front.real.bundles[ANNA].grant

    async def passes(self, ms: int) -> None:
        until_ms = self.now_ms + ms
        while (left_ms := until_ms - self.now_ms) > 0:
            rest_ms = await self.overdue.tell_all()
            ahead_ms = self.stay.expected_until_ms - self.now_ms
            if ahead_ms > AGAIN_MS:  # it looks each minute, and finds nothing until then
                rest_ms = ahead_ms
            elif rest_ms == AGAIN_MS and self.now_ms > self.ends_ms + SETTLES_MS:  # nor is there anything any more
                rest_ms = left_ms
            self.doors.clock.advance(min(left_ms, rest_ms))
            self.note()

    def note(self) -> None:
        if self.now_ms >= self.ends_ms:
            for each in self.keys:
                each.doubtful = True

    async def judged(self) -> None:
        """Hold every key that was ever handed out against the model, at both doors."""
        came = self.now_ms >= self.ends_ms
        await self.passes(SETTLES_MS)
        for door in DOORS:
            await self.doors.visit(door)
        for each in self.keys:
            each.over = each.over or came
        if self.bens is not None and self.now_ms > self.bens_asked_ms + 20 * HOUR_MS:
            await self.ben_asks()
        at_ms, ends_ms = self.now_ms, self.ends_ms
        lasts = at_ms + TRYING_MS < self.stay.expected_until_ms
        asked = [await self.asks(phone) for phone in self.phones if lasts]
        for each in self.keys:
            in_time = at_ms + TRYING_MS < each.bundle.not_after_ms
            said = f"at {at_ms}, {ends_ms - at_ms} ms before the end: {each}"
            if each.over or at_ms > ends_ms + LEEWAY_MS:
                assert not self.opens(each), said
                self.looked.add("refused with time left" if in_time else "refused")
            elif each.bundle.grant in asked or (lasts and in_time and not each.doubtful):
                assert self.opens(each) == set(DOORS), said
                self.looked.add("opens")
        if self.bens is not None:
            assert self.bens.bundle is not None
            assert self.opens(Held(self.bens, self.bens.bundle)) == set(DOORS), "he stays, whatever she does"

    def opens(self, key: Held) -> set[str]:
        """Return the doors that a key opens, whoever shows it: a phone that keeps what it was given knows the door."""
        found = set()
        for door in DOORS:
            self.doors.clock.advance(15_000)  # so that no door pauses for who it refused
            lock, at_s = self.doors.locks[door], self.now_ms // 1_000
            unlock = Unlock(key.bundle.grant, key.bundle.certificate, partial(cose.sign_raw, key.phone.key))
            if key.phone.ask(lock.identity.door_keys(at_s, at_s), unlock, lock).result.status is Status.OPENED:
                found.add(door)
        return found

    async def ben_asks(self) -> None:
        assert self.bens is not None
        await self.front.check_in(BEN, self.bens)
        self.bens_asked_ms = self.now_ms


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize("seed", range(12))
async def test_a_key_opens_while_the_stay_lasts_as_the_building_knows_it(
    tmp_path: Path, seed: int, *, shared: bool
) -> None:
    doors = Doors(tmp_path, seed=seed)
    night = Night(doors, Random(seed), shared)
    with closing(doors.store):
        await night.asks(night.phones[0])
        await night.asks(night.phones[1])
        if shared:
            night.bens = doors.phone("ben")
            await night.ben_asks()
        happens: Sequence[Any] = [
            *[night.time] * 3,
            *[night.desk, night.document, night.phone] * 2,
            night.visit,
            night.restart,
        ]
        for step in range(STEPS):
            try:
                await night.dice.choice(happens)()
            except CheckInRefusedError:
                assert night.now_ms >= night.stay.expected_until_ms, "nobody is refused whose stay lasts"
            night.note()
            if step % 3 == 2:
                await night.judged()
        await night.front.desk.check_out(ANNA, by="desk")
        for door in DOORS:
            await doors.visit(door)
        assert night.stay.state is StayState.LEFT
        assert not any("door-101" in night.opens(each) for each in night.keys)
        if night.bens is not None:
            await night.ben_asks()
            assert night.bens.bundle is not None
            assert night.opens(Held(night.bens, night.bens.bundle)) == set(DOORS)
    assert {"opens", "refused with time left"} <= night.looked, "both were there to see"
