"""A stay whose rooms are all behind locks of other makers: its keys, our common doors, and their end."""

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from edge.api.closing_routes import shown
from edge.doors.client import KEYS_WAIT_S
from edge.doors.closing_methods import ClosingMethods
from edge.doors.errors import StayEndedError
from edge.doors.vendor_methods import VendorMethods
from edge.doors.vendors.ledger import KeyLedger, KeyState
from edge.doors.vendors.port import VendorBusyError, VendorFaultError, VendorRefusedError
from edge.doors.vendors.settings import DEADLINE_MOST
from protocols.device_model.identity import RoomId
from protocols.door.bundle import Bundle
from protocols.door.status import Status
from protocols.door.vendor_events import event_id
from protocols.door.vendor_keys import VendorKey, vendor_keys_of
from protocols.errors import InvalidInputError
from protocols.grant.revocation import REVOKED_MOST
from tests.edge.doors.building import Building, MemoryPhone
from tests.edge.doors.vendors.fakes import MemorySystem, desk_of

pytestmark = pytest.mark.requirement("A15")
A1, T1, M1 = "a1", "t1", "101"
DAY_MS = 86_400_000


class Site:
    """The building, an annex with PINs (and on room 101's inner door), a tower with cards."""

    def __init__(self, folder: Path) -> None:
        self.building = Building(folder)
        self.annex, self.tower = MemorySystem(), MemorySystem(media=("card", "mobile"))
        self.path = folder / "vendor-keys.db"
        self.ledger = KeyLedger(self.path, epoch=bytes(16))
        self.join()

    def join(self) -> None:
        building = self.building
        self.keys = desk_of(
            self.ledger, building.clock, ("annex", self.annex, (A1, M1)), ("tower", self.tower, (T1,)), deadline_s=1.0
        )
        self.methods = VendorMethods(
            self.keys, book=building.book, desk=building.desk, sealed=building.closing.is_sealed
        )
        closing = ClosingMethods(building.closing, building.desk, told=lambda: None, keys=self.keys)
        self.orders = closing.methods()

    async def ask(
        self, stay: str, phone: MemoryPhone, *rooms: str, days: int = 2, **more: Any
    ) -> tuple[dict[str, Any], tuple[VendorKey, ...]]:
        now_ms = self.building.clock.wall_ms()
        args = {
            "stay": stay,
            "rooms": list(rooms),
            "phone_public_key": phone.public.hex(),
            "not_before_ms": now_ms,
            "not_after_ms": now_ms // DAY_MS * DAY_MS + days * DAY_MS,
            **more,
        }
        told: Any = await self.methods.issue(args, issued=lambda: None)
        phone.bundle = Bundle.from_document(told) if "grant" in told else None
        return told, vendor_keys_of(told)

    async def leave(self, stay: str, *, visited: bool = True) -> None:
        """End a stay as the socket does, and let vendors and locks hear of it."""
        self.building.desk.end_stay(stay)
        self.building.closing.departed()
        await self.methods.end_stay(stay)
        await self.keys.heal_once()
        for door in self.building.locks if visited else ():
            await self.building.visit(door)

    async def close(self) -> None:
        await self.keys.close()
        self.ledger.close()
        self.building.store.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.ledger.close()
    made.building.store.close()


def pool(phone: MemoryPhone) -> Status:
    return phone.open("pool").result.status


@pytest.mark.guarantee("G3", "G4")
async def test_a_room_of_another_maker_and_a_pool_of_ours_are_one_stay(site: Site) -> None:
    anna = site.building.phone("anna")
    told, [key] = await site.ask("s-anna", anna, A1)
    assert [each["door"] for each in told["doors"]] == ["pool"]
    assert (key.state, key.truth, key.rooms) == ("made", "accepted-by-vendor", (A1,))
    assert pool(anna) is Status.OPENED
    again, [same] = await site.ask("s-anna", anna, A1, join=True)
    assert (again["grant"], same.code) == (told["grant"], key.code), "the same phone asks again, in house by now"
    assert len(site.annex.keys) == 1
    ben = site.building.phone("ben")
    _, [joined] = await site.ask("s-anna", ben, A1, join=True)
    assert joined.code != key.code
    assert [each.join for each in site.annex.keys.values()] == [False, True]
    await site.leave("s-anna")
    assert site.annex.keys == {}
    assert [pool(each) for each in (anna, ben)] == [Status.REVOKED] * 2
    with pytest.raises(StayEndedError):
        await site.ask("s-anna", anna, A1)


async def test_where_no_door_is_ours_the_document_holds_keys_alone_and_needs_no_clock_of_locks(site: Site) -> None:
    anna = site.building.phone("anna")
    told, [key] = await site.ask("s-anna", anna, A1, zones=0)
    assert (told["doors"], "grant" in told, "issuer_certificate" in told) == ([], False, False)
    assert key.code is not None
    assert site.building.store.counts()["grants_issued"] == 0
    await site.leave("s-anna")
    assert site.annex.keys == {}


@pytest.mark.guarantee("G17")
async def test_a_vendor_that_is_away_is_said_and_healed_and_asking_again_tells(site: Site) -> None:
    anna = site.building.phone("anna")
    site.annex.errors = [VendorFaultError("annex: down")] * 30
    _, [key] = await site.ask("s-anna", anna, A1)
    assert (key.state, key.truth, key.may_have_taken_effect) == ("wanted", None, True)
    assert pool(anna) is Status.OPENED, "what is ours waits for nobody"
    site.annex.errors = []
    site.building.clock.advance(10_000)
    await site.keys.heal_once()
    _, [key] = await site.ask("s-anna", anna, A1, join=True)
    assert (key.state, key.problem) == ("made", None)
    site.annex.errors = [VendorFaultError("annex: down")] * 30
    _, [still] = await site.ask("s-anna", anna, A1, join=True)
    assert (still.state, still.code) == ("made", key.code), "what was made is not called undone"
    site.annex.errors = [VendorRefusedError("annex: no such door")]
    _, [refused] = await site.ask("s-ben", site.building.phone("ben"), A1)
    assert refused.is_for_the_desk


async def test_a_card_is_written_at_the_desk_and_nowhere_else(site: Site) -> None:
    anna = site.building.phone("anna")
    _, [key] = await site.ask("s-anna", anna, T1)
    assert (key.medium, key.state, key.problem, key.is_for_the_desk) == ("card", "wanted", None, True)
    await site.keys.heal_once()
    assert site.tower.asked == []
    site.tower.errors = [VendorBusyError("encoder at work", 1)] * 30
    [card] = await site.keys.encode("s-anna")
    assert (card.state, "encoder" in (card.problem or "")) == (KeyState.WANTED, True)
    site.tower.errors = []
    [card] = await site.keys.encode("s-anna", encoder="lobby")
    assert (card.state, card.encoder) == (KeyState.MADE, "lobby")
    asked = len(site.tower.asked)
    site.building.clock.advance(60_000)  # before its time a stay asks from now on, each time a later now
    await site.keys.encode("s-anna")
    _, [key] = await site.ask("s-anna", anna, T1, join=True)
    assert (key.state, len(site.tower.asked)) == ("made", asked), "a card that is as wanted is not written again"
    _, [key] = await site.ask("s-anna", anna, T1, days=3, join=True)
    assert key.is_for_the_desk, "a longer stay takes a new card"
    _, [other] = await site.ask("s-anna", site.building.phone("ben"), T1, days=3, join=True)
    assert other.is_for_the_desk
    states = [[each.state for each in await site.keys.encode("s-anna")].count(KeyState.MADE) for _ in range(2)]
    assert states == [1, 2], "one card a call: somebody has to change them"
    with pytest.raises(InvalidInputError, match="no key that is a card"):
        await site.keys.encode("s-nobody")
    await site.leave("s-anna")
    with pytest.raises(StayEndedError):
        await site.keys.encode("s-anna")


@pytest.mark.requirement("A3")
async def test_what_the_desk_gives_beside_the_phone_is_there_or_refused_in_30_s_and_ends_nothing(site: Site) -> None:
    anna, spare, clock = site.building.phone("anna"), site.building.phone("spare"), site.building.clock
    await site.ask("s-anna", anna, "102", T1)
    before = {each.grant for each in await site.keys.encode("s-anna")}
    held = set(site.tower.keys)
    await site.ask("s-anna", spare, "102", T1, join=True)  # from the same stay, for a guest whose phone is empty
    assert (anna.open("door-102").result.status, spare.open("door-102").result.status) == (Status.OPENED,) * 2
    site.tower.gate = asyncio.Event()  # an encoder that never answers
    answers = [each for each in await site.keys.encode("s-anna") if each.grant not in before]
    assert [(each.state, each.may_have) for each in answers] == [(KeyState.WANTED, True)]
    site.tower.gate = None
    clock.advance(60_000)
    answers = [each for each in await site.keys.encode("s-anna") if each.grant not in before]
    assert [(each.state, each.join) for each in answers] == [(KeyState.MADE, True)]
    assert held < set(site.tower.keys), "the first key is where it was"
    assert pool(anna) is Status.OPENED
    longest_s = DEADLINE_MOST.total_seconds()
    assert longest_s < KEYS_WAIT_S < 30, "the longest that an answer may be told to take, on the socket too"


@pytest.mark.guarantee("G4")
async def test_a_lost_phones_pin_and_grant_go_and_the_other_phone_stays(site: Site) -> None:
    anna, ben = site.building.phone("anna"), site.building.phone("ben")
    await site.ask("s-anna", anna, A1)
    await site.ask("s-anna", ben, A1, join=True)
    order = {"by": "clerk-7", "reason": "lost", "stay": "s-anna", "phone_public_key": anna.public.hex()}
    told: Any = await site.orders["withdraw_key"](order)
    assert (len(told["grants"]), told["lock_systems"]) == (1, ["annex"])
    await site.keys.heal_once()
    await site.building.visit("pool")
    assert [each.join for each in site.annex.keys.values()] == [True]
    assert (pool(anna), pool(ben)) == (Status.REVOKED, Status.OPENED)
    for zones in (None, 0):
        with pytest.raises(InvalidInputError, match="withdrawn"):
            await site.ask("s-anna", anna, A1, zones=zones)
    carl = site.building.phone("carl")
    await site.ask("s-carl", carl, T1, zones=0)
    told = await site.orders["withdraw_key"]({"by": "clerk-7", "reason": "lost", "stay": "s-carl"})
    assert (told["grants"], told["lock_systems"]) == ([], ["tower"])
    with pytest.raises(InvalidInputError, match="withdrawn"):
        await site.ask("s-carl", carl, T1, zones=0)
    with pytest.raises(InvalidInputError, match="no key"):
        await site.orders["withdraw_key"]({"by": "clerk-7", "reason": "lost", "stay": "s-nobody"})


async def test_an_inhibited_room_ends_every_key_of_it_and_the_guest_in_house_asks_again(site: Site) -> None:
    anna = site.building.phone("anna")
    _, [key] = await site.ask("s-anna", anna, A1)
    told: Any = await site.orders["inhibit"]({"by": "clerk-7", "reason": "a key too many", "room": A1})
    assert told == {"generation": 0, "doors": [], "lock_systems": ["annex"]}
    await site.keys.heal_once()
    assert site.annex.keys == {}
    _, [again] = await site.ask("s-anna", anna, A1, join=True)
    assert again.state == "made"
    assert again.code != key.code


async def seal(site: Site, room: str, *, sealed: bool) -> list[str]:
    told: Any = await site.orders["lock_out"]({"by": "police", "reason": "a scene", "room": room, "sealed": sealed})
    return list(told["doors"])


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P11", "P20")
async def test_a_sealed_room_behind_another_makers_lock_has_no_key_of_ours_and_gets_none(site: Site) -> None:
    anna, ben = site.building.phone("anna"), site.building.phone("ben")
    await site.ask("s-anna", anna, A1)
    await site.ask("s-ben", ben, M1)
    assert await seal(site, A1, sealed=True) == ["annex-a1"]
    assert site.building.closing.is_sealed(RoomId(A1))
    await site.keys.heal_once()
    assert [each.doors for each in site.annex.keys.values()] == [("annex-101",)], "and nobody else's ended"
    for asking in (site.ask("s-anna", anna, A1), site.ask("s-carl", site.building.phone("carl"), A1, T1)):
        with pytest.raises(InvalidInputError, match="'a1' is sealed"):
            await asking
    now_ms = site.building.clock.wall_ms()
    by_hand = {"stay": "s-dora", "rooms": [A1], "not_before_ms": now_ms, "not_after_ms": now_ms + DAY_MS}
    with pytest.raises(InvalidInputError, match="is sealed"):
        await site.methods.methods()["issue_keys"](by_hand)
    with pytest.raises(InvalidInputError, match="nothing of it opens from afar"):
        await site.methods.methods()["open_door"]({"room": A1, "actor": "clerk-7"})
    assert site.annex.opened == 0
    assert pool(anna) is Status.OPENED, "his stay goes on: it is the room that is shut"
    site.building.restart()
    site.join()
    assert site.building.closing.is_sealed(RoomId(A1)), "durable"
    assert await seal(site, A1, sealed=False) == ["annex-a1"]
    _, [again] = await site.ask("s-anna", anna, A1, join=True)
    assert again.state == "made"
    events = [each.body for each in site.building.store.events(0) if "lockout" in each.body["event"]]
    assert [(each["event"], each["door"], each["reason"]) for each in events] == [
        ("lockout_ordered", "annex-a1", "police: a scene"),
        ("lockout_lifted", "annex-a1", "police: a scene"),
    ]
    ids = [event_id("", f"{each['event']}/annex-a1", each["at_ms"]) for each in events]
    assert [each["event_id"] for each in events] == ids, "it has no lock's number: told again, it is known by this"


@pytest.mark.requirement("P11", "P20")
async def test_a_seal_that_no_lock_has_confirmed_is_never_shown_as_done(site: Site) -> None:
    assert await seal(site, M1, sealed=True) == ["door-101", "annex-101"], "both kinds of doors"
    await site.building.visit("door-101")
    told = site.building.closing.status()
    [mine] = [each for each in told["doors"] if each.get("sealed")]
    [theirs] = told["sealed_elsewhere"]
    assert (mine["door"], mine["sealed_confirmed"]) == ("door-101", True)
    assert (theirs["door"], theirs["sealed_confirmed"]) == ("annex-101", False)
    assert "its other keys still open" in theirs["unable"]
    assert [(each["door"], each["confirmed"], each["unable"]) for each in shown(told)["sealed"]] == [
        ("door-101", True, None),
        ("annex-101", False, theirs["unable"]),
    ]
    await seal(site, M1, sealed=False)
    await site.building.visit("door-101")
    assert shown(site.building.closing.status())["sealed"] == []
    with pytest.raises(InvalidInputError, match="no door in the site plan"):
        await seal(site, "no-such-room", sealed=True)


@pytest.mark.requirement("P11")
async def test_who_moves_behind_another_makers_lock_and_back_leaves_each_room_behind(site: Site) -> None:
    anna = site.building.phone("anna")
    await site.ask("s-anna", anna, "102")
    before = anna.bundle
    assert anna.open("door-102").result.status is Status.OPENED
    await site.ask("s-anna", anna, A1, join=True)
    await site.building.visit("door-102")
    now, anna.bundle = anna.bundle, before
    assert anna.open("door-102").result.status is Status.SUPERSEDED
    anna.bundle = now
    assert pool(anna) is Status.OPENED
    site.building.clock.advance(60_000)
    await site.ask("s-anna", anna, "102", join=True)
    assert anna.open("door-102").result.status is Status.OPENED
    await site.keys.heal_once()
    assert site.annex.keys == {}


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P11")
async def test_the_first_phone_that_follows_a_move_ends_every_key_of_the_room_that_was_left(site: Site) -> None:
    anna, ben, other = (site.building.phone(each) for each in ("anna", "ben", "other"))
    _, [before] = await site.ask("s-anna", anna, A1)
    await site.ask("s-anna", ben, A1, join=True)
    _, [beside] = await site.ask("s-other", other, A1, beside="s-anna")
    _, [moved] = await site.ask("s-anna", anna, M1)
    await site.keys.heal_once()
    held = {each.pin for each in site.annex.keys.values()}
    assert held == {moved.code, beside.code}, "nobody else's ended"
    assert moved.code == before.code, "his own digits go with him"
    _, [followed] = await site.ask("s-anna", ben, M1, join=True)
    assert followed.state == "made"
    await site.ask("s-anna", anna, T1, join=True)
    await site.keys.heal_once()
    assert {each.pin for each in site.annex.keys.values()} == {beside.code}


async def test_departures_beyond_the_list_end_with_their_time_and_never_take_a_lost_keys_place(site: Site) -> None:
    phones = {f"s-{n}": site.building.phone(f"guest {n}") for n in range(REVOKED_MOST + 1)}
    for stay, phone in phones.items():
        await site.ask(stay, phone, A1)
    for stay in phones:
        await site.leave(stay, visited=False)
    told = site.building.closing.status()
    assert (len(told["withdrawn"]), len(told["unlisted"])) == (REVOKED_MOST, 1)
    late = next(stay for stay, phone in phones.items() if grant_of(site, phone) == told["unlisted"][0][0])
    with pytest.raises(StayEndedError):
        await site.ask(late, phones[late], A1)
    lost = site.building.phone("lost")
    await site.ask("s-lost", lost, A1)
    await site.orders["withdraw_key"]({"by": "clerk-7", "reason": "lost", "stay": "s-lost"})
    await site.building.visit("pool")
    assert pool(lost) is Status.REVOKED
    assert len(site.building.closing.status()["unlisted"]) == 2
    site.building.clock.advance(3 * DAY_MS)
    assert pool(phones[late]) is Status.EXPIRED, "what the list had no place for ends with its time"


def grant_of(site: Site, phone: MemoryPhone) -> str:
    [(grant_id,)] = site.building.store.read("SELECT grant_id FROM grant_issued WHERE phone = ?", (phone.public,))
    return str(grant_id.hex())


@pytest.mark.guarantee("G11")
async def test_all_of_it_outlives_a_restart(site: Site) -> None:
    anna = site.building.phone("anna")
    told, [key] = await site.ask("s-anna", anna, A1)
    site.ledger.close()
    site.building.restart()
    site.ledger = KeyLedger(site.path, epoch=bytes(16))
    site.join()
    again, [same] = await site.ask("s-anna", anna, A1, join=True)
    assert (again["grant"], same.code) == (told["grant"], key.code)
    await site.leave("s-anna")
    assert pool(anna) is Status.REVOKED


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_file_of_a_build_before_is_taken_over(site: Site, version: int) -> None:
    site.ledger.close()
    with apsw.Connection(str(site.path)) as db:
        db.execute(f"DROP TABLE phone; DROP TABLE opening; PRAGMA user_version = {version}")
        if version < 3:
            db.execute("DROP TABLE slot")
        if version < 2:
            db.execute("DROP TABLE withdrawn")
    db.close()
    site.ledger = KeyLedger(site.path, epoch=bytes(16))
    assert site.ledger.set_aside is None
    assert not site.ledger.is_withdrawn("s-anna", "main")
    site.ledger.keep_slot("yale", "villa-a", 40, "ik-1")
    assert site.ledger.slots("yale", "villa-a") == {40: "ik-1"}


async def test_whose_rooms_are_served_is_told(site: Site) -> None:
    ask = partial(site.methods.methods()["serves"])
    for room, own, foreign in (("102", True, False), (A1, False, True), (M1, True, True), ("pool", False, False)):
        assert await ask({"room": room}) == {"own": own, "foreign": foreign}
