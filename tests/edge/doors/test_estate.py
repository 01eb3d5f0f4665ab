"""A desk, its locks and many phones, in every order: what a hotel really does to the generation scheme.

test_nights.py holds one lock against the recodable-lock model; here the desk is the real one, on its store. Nothing is
assumed of what was issued: grants are skipped, used late, shared, moved, extended, cloned, presented out of
order; visits fail half-way or never come; locks lose power; the desk dies, and is restored from yesterday's copy.
What must hold:

* a door's generation never falls, and nothing opens that is older than what has opened it;
* nothing opens before it begins, after it ends (with leeway), over privacy, or for a phone that does not hold the key;
* nothing opens that is on the list whose number the lock shows, or at a sealed door; a whole visit brings both;
* what is none of that opens, by FAST or in full: nobody is locked out by an order of events;
* a guest in house whom nobody else in house has replaced opens after asking the desk again, whatever went before.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge.doors.closing_desk import Order
from edge.doors.errors import StayEndedError
from protocols import cose
from protocols.device_model.identity import RoomId
from protocols.door.bundle import Bundle
from protocols.door.fast import Resumption
from protocols.door.phone import Answer, PhoneExchange, Request, Resume, Unlock
from protocols.door.status import Status
from protocols.errors import InvalidInputError, LinkLostError
from protocols.grant.certificate import open_certificate
from protocols.grant.generation import DAYS_AHEAD_MOST, day_in, day_of
from protocols.grant.grant import Grant, issuer_kid, open_grant
from protocols.grant.keys import IssuerClass, private_key
from protocols.vectors.fixed import stream
from tests.edge.doors.building import Building, MemoryLock, MemoryPhone, MemorySession
from tests.seeds import THOROUGH

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LEEWAY_S = 600
ROOMS = {"door-101": "101", "door-102": "102"}
DOORS = [*ROOMS, "pool"]
ORDER = Order("the desk", "a long night")


@dataclass
class Key:
    """A bundle on a phone, perhaps a copy on somebody else's."""

    phone: MemoryPhone
    bundle: Bundle
    grant: Grant
    genuine: bool = True
    kept: dict[str, Resumption] = field(default_factory=dict)


@dataclass
class Stay:
    """As the front desk would tell it."""

    name: str
    room: str
    main: MemoryPhone
    begins_ms: int
    ends_ms: int
    ended: bool = False


class Estate(RuleBasedStateMachine):
    """Two rooms and a pool."""

    @initialize()
    def build(self) -> None:
        shm = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=shm if shm.is_dir() else None))
        self.building = Building(self.folder)
        self.stays: list[Stay] = []
        self.keys: list[Key] = []
        self.reached = dict.fromkeys(DOORS, 0)
        self.copy: Path | None = None
        self.lists: dict[int, tuple[frozenset[bytes], frozenset[bytes]]] = {0: (frozenset(), frozenset())}
        self.kids: dict[str, frozenset[bytes]] = dict.fromkeys(DOORS, frozenset())
        self.listed = dict.fromkeys(DOORS, 0)
        self.sealed: dict[str, bool] = {}
        self.lost: set[tuple[str, bytes]] = set()
        self.count = 0

    def teardown(self) -> None:
        if hasattr(self, "building"):
            self.building.store.close()
            shutil.rmtree(self.folder)

    # -- the desk -----------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return self.building.clock.wall_ms()

    def issue(self, stay: Stay, phone: MemoryPhone, *, join: bool = False) -> Key | None:
        try:
            bundle = self.building.desk.issue(
                stay.name,
                [RoomId(stay.room)],
                phone.public,
                not_before_ms=stay.begins_ms,
                not_after_ms=stay.ends_ms,
                join=join,
            )
        except (StayEndedError, InvalidInputError):
            lost = (stay.name, phone.public) in self.lost
            assert stay.ended or self.now_ms() >= stay.ends_ms or join or lost
            return None
        ca = self.building.ca
        assert (stay.name, phone.public) not in self.lost
        issuer = open_certificate(bundle.certificate, {ca.kid: ca.ca.public_key()})
        held = next((each for each in self.keys if each.genuine and each.bundle == bundle), None)
        if held is None:
            held = Key(phone, bundle, open_grant(bundle.grant, issuer))
            self.keys.append(held)
        return held

    def some_phone(self) -> MemoryPhone:
        self.count += 1
        return self.building.phone(f"phone {self.count}")

    def goes_up(self, stay: Stay, key: Key | None) -> None:
        """Most guests go to their room at once."""
        if key is not None:
            self.present(key, next(door for door, room in ROOMS.items() if room == stay.room))

    @rule(
        door=st.sampled_from(sorted(ROOMS)),
        nights=st.integers(1, 4),
        ahead=st.sampled_from([0, 0, 0, 1, 2]),
        goes_up=st.booleans(),
    )
    def check_in(self, door: str, nights: int, ahead: int, goes_up: bool) -> None:
        phone = self.some_phone()
        begins_ms = self.now_ms() + ahead * DAY_MS
        stay = Stay(f"stay-{self.count}", ROOMS[door], phone, begins_ms, begins_ms + nights * DAY_MS)
        self.stays.append(stay)
        key = self.issue(stay, phone)
        if goes_up:
            self.goes_up(stay, key)

    def open_stays(self) -> list[Stay]:
        return [each for each in self.stays if not each.ended]

    def a_stay(self, data: st.DataObject) -> Stay | None:
        stays = self.open_stays()
        return data.draw(st.sampled_from(stays)) if stays else None

    @rule(
        data=st.data(),
        what=st.sampled_from(["ask again", "join", "lost phone", "extend", "move"]),
        goes_up=st.booleans(),
    )
    def at_the_desk(self, data: st.DataObject, what: str, goes_up: bool) -> None:
        if (stay := self.a_stay(data)) is None:
            return
        if what == "join":
            self.issue(stay, self.some_phone(), join=True)
            return
        if what == "lost phone":
            stay.main = self.some_phone()
        elif what == "extend":
            stay.ends_ms += DAY_MS
        elif what == "move":
            stay.room = "102" if stay.room == "101" else "101"
        key = self.issue(stay, stay.main)
        if goes_up:
            self.goes_up(stay, key)

    @rule(data=st.data())
    def check_out(self, data: st.DataObject) -> None:
        if (stay := self.a_stay(data)) is not None:
            self.building.desk.end_stay(stay.name)
            self.building.closing.departed()
            stay.ended = True
            self.note_list()

    @rule(
        data=st.data(),
        what=st.sampled_from(["phone", "phone", "seal", "lift", "lift", "issuer", "inhibit"]),
        door=st.sampled_from(sorted(ROOMS)),
    )
    def the_desk_takes_away(self, data: st.DataObject, what: str, door: str) -> None:
        closing = self.building.closing
        if what == "phone" and self.keys:
            key = data.draw(st.sampled_from(self.keys))
            if self.building.store.grant(key.grant.grant_id) is None:
                return  # a restored store never heard of it
            with suppress(InvalidInputError):  # the list is full
                closing.withdraw_keys(ORDER, grant_id=key.grant.grant_id)
                self.lost.add((key.bundle.stay, key.grant.phone))
        elif what in ("seal", "lift"):
            closing.lock_out(ORDER, RoomId(ROOMS[door]), sealed=what == "seal")
            self.sealed[door] = what == "seal"
        elif what == "issuer":
            with suppress(InvalidInputError):  # none is in memory, or eight are withdrawn
                closing.withdraw_issuer(ORDER, issuer_class=IssuerClass.GUEST)
        elif what == "inhibit":
            self.building.desk.inhibit(RoomId(ROOMS[door]))
        self.note_list()

    def note_list(self) -> None:
        closing = self.building.closing
        closing._sign()
        for state in (closing.lists.general, closing.lists.common):
            if not state.seq:
                continue
            gone = frozenset(each for each, _ in state.grants), frozenset(each for each, _ in state.issuers)
            assert self.lists.setdefault(state.seq, gone) == gone, "two lists of one number"
            if state.issuers:  # its pair is one less, and never reaches locks that know issuers by our visits
                assert state.seq - 1 not in self.lists
        if closing.lists.common.seq:
            assert closing.lists.common.seq > closing.lists.general.seq
            lasting = {each for each, until_s in closing.lists.general.grants if until_s > self.now_ms() // 1_000}
            assert lasting <= {each for each, _ in closing.lists.common.grants}

    @rule()
    def the_desk_dies_and_comes_back(self) -> None:
        self.building.restart()

    @rule()
    def the_store_is_copied(self) -> None:
        self.building.store.close()
        self.copy = self.folder / "copy"
        shutil.copyfile(self.folder / "doors.db", self.copy)
        self.building.open()

    @rule()
    def the_store_is_restored(self) -> None:
        """Everything since the copy is forgotten but the highest number; the PMS tells again who has left.

        It takes a second: rooms and lists run further ahead of the clock (grant/SPEC.md 6 and 7).
        """
        if self.copy is None:
            return
        self.building.store.close()
        for each in self.folder.glob("doors.db*"):
            each.unlink()
        shutil.copyfile(self.copy, self.folder / "doors.db")
        self.building.open()
        self.building.clock.advance(1_000)
        self.sealed.clear()  # and what was taken away since the copy, which only the locks know (decision 0080)
        self.lost = {each for each in self.lost if self.is_lost(*each)}
        for stay in self.stays:
            if stay.ended:
                self.building.desk.end_stay(stay.name)
        self.building.closing.departed()

    def is_lost(self, stay: str, phone: bytes) -> bool:
        found = self.building.store.read("SELECT 1 FROM withdrawn WHERE holder = ? AND phone = ?", (stay, phone))
        return bool(found)

    # -- the doors ----------------------------------------------------------------------------------------------------

    @rule(hours=st.sampled_from([0.2, 1, 5, 20, 30, 80]))
    def time_passes(self, hours: float) -> None:
        self.building.clock.advance(round(hours * HOUR_MS))

    @rule(door=st.sampled_from(sorted(ROOMS)), privacy=st.booleans())
    def the_knob_is_turned(self, door: str, privacy: bool) -> None:
        self.building.locks[door].privacy = privacy

    @rule(door=st.sampled_from(DOORS))
    def a_lock_loses_its_clock(self, door: str) -> None:
        lock = self.building.locks[door]
        lock.core = lock.core.restarted(lock.sensed)

    @rule(door=st.sampled_from(DOORS), cut_after=st.sampled_from([None, None, 1, 2, 3]))
    def the_edge_visits(self, door: str, cut_after: int | None) -> None:
        self.building.radio.cut_after = cut_after
        with suppress(LinkLostError):
            asyncio.run(self.building.visit(door))
        self.building.radio.cut_after = None
        if cut_after is None and self.heard_all(door):
            core, lists = self.building.locks[door].core, self.building.closing.lists
            self.note_list()
            assert core.revocation_seq >= (lists.general if door in ROOMS else lists.common).seq
            assert core.locked_out == self.sealed.get(door, core.locked_out)
        self.reached[door] = max(self.reached[door], self.building.locks[door].core.generation)
        if (seq := self.building.locks[door].core.revocation_seq) != self.listed[door]:
            self.kids[door] = self.lists[seq][1] or self.kids[door]  # a list without issuers frees none

    def heard_all(self, door: str) -> bool:
        return self.building.locks[door].core.certain

    @rule(data=st.data(), door=st.sampled_from(DOORS), resume=st.booleans())
    def somebody_presents_what_he_has(self, data: st.DataObject, door: str, resume: bool) -> None:
        if self.keys:
            self.present(data.draw(st.sampled_from(self.keys)), door, resume=resume)

    @rule(data=st.data())
    def a_bundle_is_copied_to_another_phone(self, data: st.DataObject) -> None:
        if self.keys:
            key = data.draw(st.sampled_from(self.keys))
            thief = MemoryPhone(self.building, private_key(stream(f"thief {len(self.keys)}")))
            self.keys.append(Key(thief, key.bundle, key.grant, genuine=False))

    @rule(data=st.data())
    def a_guest_in_house_asks_again_and_opens(self, data: st.DataObject) -> None:
        if (stay := self.a_stay(data)) is None:
            return
        door = next(name for name, room in ROOMS.items() if room == stay.room)
        lock, now_ms = self.building.locks[door], self.now_ms()
        rivals = [
            each
            for each in self.open_stays()
            if each is not stay and each.room == stay.room and each.begins_ms <= now_ms < each.ends_ms + HOUR_MS
        ]
        if (stay.name, stay.main.public) in self.lost:
            return
        shut = lock.privacy or lock.core.locked_out or self.sealed.get(door)
        if rivals or shut or not stay.begins_ms <= now_ms < stay.ends_ms:
            return
        self.the_edge_visits(door, None)
        if lock.core.locked_out:  # ordered before the copy that was put back, and carried only now
            return
        key = self.issue(stay, stay.main)
        assert key is not None
        status = self.present(key, door)
        if status is Status.REVOKED:  # a restored store did not know: it learns from the lock's log
            self.the_edge_visits(door, None)
            self.building.clock.advance(1_000)
            key = self.issue(stay, stay.main)
            assert key is not None
            status = self.present(key, door)
        assert status is Status.OPENED

    def present(self, key: Key, door: str, *, resume: bool = False) -> Status:
        lock, grant, now_s = self.building.locks[door], key.grant, self.now_ms() // 1_000
        certain = lock.core.certain
        private = door in ROOMS and grant.names(int(ROOMS[door]))
        gone, _ = self.lists[lock.core.revocation_seq]
        withdrawn = grant.grant_id in gone or issuer_kid(key.bundle.grant) in self.kids[door]
        sealed = lock.core.locked_out
        named = private or bool(lock.identity.zones & grant.zones)
        held = key.kept.get(door)
        answers, kept = asked(self.building, key, lock, held, resume=resume)
        status = answers[0].result.status
        if kept is None:
            key.kept.pop(door, None)
        else:
            key.kept[door] = kept
        begun, over = grant.not_before_s <= now_s, now_s >= grant.not_after_s
        newest = not private or grant.generation >= self.reached[door]
        if status is Status.OPENED:
            assert named
            assert key.genuine
            assert not withdrawn
            assert not sealed
            assert newest
            assert not lock.privacy
            assert grant.not_before_s <= now_s + LEEWAY_S
            assert begun or not private or grant.generation == self.reached[door]
            assert not certain or now_s <= grant.not_after_s + LEEWAY_S
            if private:
                self.reached[door] = grant.generation
                assert lock.core.generation == grant.generation
        else:
            tomorrow = private and day_in(grant.generation) > day_of(now_s) + DAYS_AHEAD_MOST
            may = named and key.genuine and newest and begun and not over and not lock.privacy and not tomorrow
            assert not (may and certain and not withdrawn and not sealed), (status, grant)
        return status

    @invariant()
    def no_generation_falls(self) -> None:
        if hasattr(self, "building"):
            for door, lock in self.building.locks.items():
                assert lock.core.generation >= self.reached[door]
                assert lock.core.revocation_seq >= self.listed[door]
                self.listed[door] = lock.core.revocation_seq


def asked(
    building: Building, key: Key, lock: MemoryLock, held: Resumption | None, *, resume: bool
) -> tuple[list[Answer], Resumption | None]:
    """Run one link: unlock, and RESUME where wanted; return the answers and what the phone keeps."""
    now_ms, at_s = building.clock.now_ms(), building.clock.wall_ms() // 1_000
    keys = lock.identity.door_keys(at_s - 14 * 86_400, at_s + 86_400)  # whoever presents has found the door
    sign = partial(cose.sign_raw, key.phone.key)
    session = MemorySession(lock, building.dice)
    unlock = Unlock(key.bundle.grant, key.bundle.certificate, sign, resumption=held)
    phone = PhoneExchange(keys, unlock, random=building.dice.bytes, frame_bytes=244, now_ms=now_ms)
    further: Iterator[Request] = iter([Resume()] if resume and held is None else [])
    answers: list[Answer] = []
    while not session.inbox.empty():
        answer = phone.receive_data(session.inbox.get_nowait(), now_ms=now_ms)
        if answer is not None:
            answers.append(answer)
            if answer.result.status is Status.OPENED and (request := next(further, None)) is not None:
                phone.ask(request, now_ms=now_ms)
        for frame in phone.data_to_send():
            lock.took(session.exchange.receive_data(frame, core=lock.core, sensed=lock.sensed, now_ms=now_ms))
            session.drain()
    lock.core = lock.core if lock.core.throttle.wait_ms(now_ms) == 0 else calm(lock)
    return answers, phone.resumption


def calm(lock: MemoryLock):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """Guests of this model come one a minute at most: the throttle has tests of its own."""
    return type(lock.core).decode(lock.core.encode())


Estate.TestCase.settings = settings(
    max_examples=40 if THOROUGH else 12,
    stateful_step_count=60 if THOROUGH else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
_named = pytest.mark.requirement("P5", "P11", "P18")(Estate.TestCase)
TestEstate = pytest.mark.timeout(900)(pytest.mark.guarantee("G3", "G4")(_named))  # long by design
