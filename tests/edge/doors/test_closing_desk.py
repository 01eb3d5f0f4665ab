"""Rights taken away before their time: keys, issuers, rooms; and what is told of it before a door confirmed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.doors import closing_desk
from edge.doors.clock_reset import reset_clock
from edge.doors.closing_desk import Carried, Order
from edge.doors.errors import ClockUnsoundError
from edge.doors.staff_desk import StaffDesk
from kit.clock import ClockQuality
from protocols.device_model.identity import RoomId
from protocols.door.lock import LockExchange, LockStep
from protocols.door.phone import Carry
from protocols.door.status import Status
from protocols.errors import InvalidInputError
from protocols.grant.grant import issuer_kid
from protocols.grant.keys import IssuerClass
from protocols.grant.revocation import REVOCATIONS_MOST, sign_object
from tests.edge.doors.building import Building, MemoryLock, MemoryPhone

ORDER = Order("anna at the desk", "phone lost")
ROOM = RoomId("101")
DAY_MS = 86_400_000


@pytest.fixture
def building(tmp_path: Path):  # type: ignore[no-untyped-def]  # noqa: ANN201
    made = Building(tmp_path)
    yield made
    made.store.close()


def staff_desk(building: Building) -> StaffDesk:
    return StaffDesk(
        book=building.book, store=building.store, issuers=building.issuers, time=building.time, dice=building.dice
    )


def status_of(building: Building, door: str) -> dict[str, Any]:
    [shown] = [each for each in building.closing.status()["doors"] if each["door"] == door]
    return dict(shown)


def opens(phone: MemoryPhone, door: str) -> Status:
    return phone.open(door).result.status


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P9", "P11")
async def test_one_joiner_is_withdrawn_and_only_doors_that_said_so_are_shown_as_done(building: Building) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in("stay-1", "101")
    bert.check_in("stay-1", "101", join=True)
    assert [opens(bert, door) for door in ("door-101", "pool")] == [Status.OPENED] * 2
    [gone] = building.closing.withdraw_keys(ORDER, holder="stay-1", phone=bert.public)
    assert set(building.told) == {each.identity.lock_id for each in building.locks.values()}
    assert not status_of(building, "door-101")["confirmed"]
    assert opens(bert, "pool") is Status.OPENED  # nobody told that door yet, and nobody says that it knows
    await building.visit("door-101")
    assert status_of(building, "door-101")["confirmed"]
    assert not status_of(building, "pool")["confirmed"]
    assert opens(bert, "door-101") is Status.REVOKED
    assert opens(anna, "door-101") is Status.OPENED
    told = building.closing.phones_of("stay-1")
    assert {each["phone"]: each["withdrawn"] for each in told} == {anna.public.hex(): False, bert.public.hex(): True}
    assert gone.hex() in {each["grant"] for each in told}
    with pytest.raises(InvalidInputError, match="withdrawn"):
        bert.check_in("stay-1", "101", join=True)
    events = [each.body for each in building.store.events(0) if each.body["event"] == "key_withdrawn"]
    assert {each["door"] for each in events} == {"door-101", "pool"}
    assert {each["reason"] for each in events} == {"anna at the desk: phone lost"}


@pytest.mark.requirement("P9")
async def test_every_grant_of_the_phone_goes_and_none_of_its_renewals_survives(building: Building) -> None:
    anna = building.phone("anna")
    first = anna.check_in("stay-1", "101", nights=6)
    building.clock.advance(30 * 3_600_000)
    second = anna.check_in("stay-1", "101", nights=5)
    assert first.grant != second.grant
    newest = building.store.latest_grant("stay-1", anna.public)
    assert newest is not None
    assert len(building.closing.withdraw_keys(ORDER, grant_id=newest.grant_id)) == 2
    await building.visit("door-101")
    for bundle in (first, second):
        anna.bundle = bundle
        assert opens(anna, "door-101") is Status.REVOKED


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P9")
async def test_any_phone_carries_the_list_and_whoever_brings_the_answer_confirms_it(building: Building) -> None:
    anna, maid = building.phone("anna"), building.phone("maid")
    anna.check_in("stay-1", "101")
    building.closing.withdraw_keys(ORDER, holder="stay-1")
    [carried] = building.closing.news()
    lock = building.locks["pool"]
    keys = lock.identity.door_keys(building.clock.wall_ms() // 1_000, building.clock.wall_ms() // 1_000)
    answer = maid.ask(keys, Carry(carried.signed, carried.certificate), lock)
    assert answer.result.status is Status.DONE
    assert opens(anna, "pool") is Status.REVOKED
    assert not status_of(building, "pool")["confirmed"]
    building.closing.heard(lock.identity.lock_id, answer.result.revocation_seq)
    assert status_of(building, "pool")["confirmed"]
    await building.visit("pool")
    assert lock.core.revocation_seq == carried.seq


@pytest.mark.guarantee("G1", "G4")
async def test_a_withdrawal_outlives_the_process_and_a_clock_that_is_unsound(building: Building) -> None:
    anna = building.phone("anna")
    anna.check_in("stay-1", "101")
    building.clock.quality = ClockQuality.UNCERTAIN
    building.closing.withdraw_keys(ORDER, holder="stay-1")
    assert building.closing.news() == []
    assert not building.closing.status()["signed"]
    building.restart()
    assert not status_of(building, "door-101")["confirmed"]
    building.clock.quality = ClockQuality.SYNCHRONISED
    building.closing.settle()
    assert len(building.told) == 3
    await building.visit("door-101")
    assert opens(anna, "door-101") is Status.REVOKED


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P6", "P9")
async def test_a_withdrawn_issuer_ends_what_it_signed_and_every_guest_gets_a_key_of_the_next(
    building: Building,
) -> None:
    anna, thief = building.phone("anna"), building.phone("thief")
    before = anna.check_in("stay-1", "101")
    thief.check_in("stay-2", "102")
    assert opens(anna, "door-101") is Status.OPENED
    kid = building.closing.withdraw_issuer(ORDER, issuer_class=IssuerClass.GUEST)
    assert issuer_kid(before.grant) == kid
    assert all(each.certificate.kid != kid for each in building.issuers.held())
    await building.visit("door-101")
    assert opens(anna, "door-101") is Status.REVOKED
    building.clock.advance(1_000)
    after = anna.check_in("stay-1", "101")
    assert issuer_kid(after.grant) != kid
    assert opens(anna, "door-101") is Status.OPENED
    building.restart()
    assert anna.check_in("stay-1", "101") == after  # and the withdrawn one is not forgotten
    assert [each for each, _ in building.closing.status()["issuers"]] == [kid.hex()]


@pytest.mark.requirement("P6", "P9")
async def test_the_key_that_signs_lists_is_withdrawn_by_the_next_one(building: Building) -> None:
    await building.visit("door-101")
    at_s = building.time.at_ms() // 1_000
    stolen = building.issuers.current(IssuerClass.REVOCATION, at_s)
    building.closing.withdraw_issuer(ORDER, issuer_class=IssuerClass.REVOCATION)
    await building.visit("door-101")
    assert status_of(building, "door-101")["confirmed"]
    [mine] = [each for each in building.closing.news() if not each.plain]
    assert mine.certificate != stolen.certificate.encoded
    assert building.locks["door-101"].core.issuers[0][0] == stolen.certificate.kid


def unlearned(lock: MemoryLock, monkeypatch: pytest.MonkeyPatch, *, lists: bool = False) -> None:
    """Make one lock answer as firmware from before withdrawn issuers and lockouts does; `lists`: from before parts."""
    real = LockExchange._on_command

    def older(self: LockExchange, *args: Any, by_lot: bool = False) -> LockStep:
        if self._identity is not lock.identity:
            return real(self, *args, by_lot=by_lot)
        header, sealed, core, sensed, now_ms = args
        before = core
        step = real(self, header, sealed, core, sensed, now_ms, by_lot=by_lot)
        learned = step.core.issuers != before.issuers or step.core.lockout_seq != before.lockout_seq
        if lists:
            learned = len(step.core.revoked) > REVOCATIONS_MOST
        if not learned:
            return step
        self._outbox.clear()
        self._session().to_phone.counter -= 1
        from protocols.door.lock_core import Outcome

        return self._answer(Outcome(before, Status.UNSUPPORTED_VERSION), sensed, now_ms)

    monkeypatch.setattr(LockExchange, "_on_command", older)


def carry_to(building: Building, carried: Carried, door: str) -> Status:
    lock, at_s = building.locks[door], building.clock.wall_ms() // 1_000
    request = Carry(carried.signed, carried.certificate)
    return building.phone("mule").ask(lock.identity.door_keys(at_s, at_s), request, lock).result.status


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P6", "P9")
@pytest.mark.parametrize("door", ["door-101", "pool"])
async def test_the_plain_form_frees_no_lost_key_however_many_keys_the_withdrawn_issuer_made(
    building: Building, door: str
) -> None:
    """Whoever holds the lost key may carry it to a lock that needs no plain form."""
    others = [building.phone(f"other-{number}") for number in range(REVOCATIONS_MOST)]
    for phone in others:
        phone.check_in("s-others", "102", join=True, nights=2)
    thief = building.phone("thief")
    for phone in others:
        building.closing.withdraw_keys(ORDER, holder="s-others", phone=phone.public)
    building.closing.withdraw_issuer(ORDER, issuer_class=IssuerClass.GUEST)
    building.clock.advance(1_000)
    thief.check_in("stay-1", "101", nights=1)  # of the next issuer, and over before all of theirs
    assert opens(thief, door) is Status.OPENED
    building.closing.withdraw_keys(ORDER, holder="stay-1")
    await building.visit(door)
    assert opens(thief, door) is Status.REVOKED
    building.clock.advance(60_000)
    departed = building.phone("departed")
    departed.check_in("stay-2", "101", nights=3)
    building.closing.withdraw_keys(ORDER, holder="stay-2")  # a newer list
    [plain] = [each for each in building.closing.news() if each.plain and each.lock_id is None]
    assert carry_to(building, plain, door) is Status.DONE
    assert opens(thief, door) is Status.REVOKED


@pytest.mark.guarantee("G4")
async def test_a_clock_set_back_finds_more_withdrawn_keys_than_one_object_names_and_no_number_comes_twice(
    building: Building,
) -> None:
    phones = [building.phone(f"phone-{number}") for number in range(REVOCATIONS_MOST + 3)]
    first, later = phones[:REVOCATIONS_MOST], phones[REVOCATIONS_MOST:]
    for stay, some in (("stay-1", first), ("stay-2", later)):
        for phone in some:
            phone.check_in(stay, "101", join=True)
            building.closing.withdraw_keys(ORDER, holder=stay, phone=phone.public)
        building.clock.step_wall(8 * DAY_MS)
    building.clock.step_wall(-15 * DAY_MS)
    reset_clock(store=building.store, book=building.book, clock=building.clock, by="ida", reason="the cell was dead")
    building.restart()
    numbers = list[int]()
    for stolen in (b"one ", b"two "):
        building.closing.withdraw_issuer(ORDER, kid=stolen)
        numbers += [each.seq for each in building.closing.news()]
    assert len(numbers) == len(set(numbers)) == 6
    await building.visit("door-101")
    lock = building.locks["door-101"].core
    assert lock.revocation_seq == building.closing.lists.general.seq
    assert len(lock.revoked) == len(phones)


@pytest.mark.requirement("P9", "P20")
async def test_a_lock_of_older_firmware_keeps_what_it_can_and_is_never_shown_as_done(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in("stay-1", "101")
    bert.check_in("stay-1", "101", join=True)
    lock = building.locks["door-101"]
    unlearned(lock, monkeypatch)
    building.closing.withdraw_keys(ORDER, holder="stay-1", phone=bert.public)
    building.closing.withdraw_issuer(ORDER, issuer_class=IssuerClass.GUEST)
    await building.visit("door-101")
    shown = status_of(building, "door-101")
    assert (shown["confirmed"], shown["unable"]) == (False, "its firmware does not know withdrawn issuers")
    assert opens(bert, "door-101") is Status.REVOKED  # by the list without issuers, though its issuer is on the other
    assert opens(anna, "door-101") is Status.OPENED
    assert not building.closing.waits_for(lock.identity.lock_id)  # it is not asked for ever
    building.closing.lock_out(ORDER, ROOM, sealed=True)
    await building.visit("door-101")
    shown = status_of(building, "door-101")
    assert (shown["sealed_confirmed"], shown["unable"]) == (False, "its firmware does not know lockouts")


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P11")
async def test_a_sealed_room_opens_for_nobody_and_again_when_that_is_lifted(building: Building) -> None:
    anna, maid = building.phone("anna"), building.phone("maid")
    anna.check_in("stay-1", "101")
    maid.bundle = staff_desk(building).issue(
        "maria", [ROOM], maid.public, not_after_ms=building.clock.wall_ms() + DAY_MS, user_verified=False
    )
    assert building.closing.lock_out(ORDER, ROOM, sealed=True) == ("door-101",)
    assert not status_of(building, "door-101")["sealed_confirmed"]
    await building.visit("door-101")
    assert status_of(building, "door-101")["sealed_confirmed"]
    assert [opens(each, "door-101") for each in (anna, maid)] == [Status.LOCKED_OUT] * 2
    assert opens(anna, "pool") is Status.OPENED
    building.restart()
    building.closing.lock_out(Order("police", "released"), ROOM, sealed=False)  # within the same second
    await building.visit("door-101")
    assert [opens(each, "door-101") for each in (anna, maid)] == [Status.OPENED] * 2
    names = [each.body["event"] for each in building.store.events(0)]
    assert [name for name in names if "lockout" in name] == ["lockout_ordered", "lockout", "lockout_lifted", "lockout"]
    sealed = [each.body["sealed"] for each in building.store.events(0) if each.body["event"] == "lockout"]
    assert sealed == [True, False]
    building.clock.quality = ClockQuality.UNCERTAIN
    with pytest.raises(ClockUnsoundError):
        building.closing.lock_out(ORDER, ROOM, sealed=True)


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P11")
async def test_inhibit_ends_every_key_of_the_room_and_who_is_in_house_asks_again(building: Building) -> None:
    left, anna = building.phone("left"), building.phone("anna")
    left.check_in("stay-0", "101")
    building.desk.end_stay("stay-0")
    anna.check_in("stay-1", "101")
    assert opens(anna, "door-101") is Status.OPENED
    done = building.desk.inhibit(ROOM)
    assert done.doors == ("door-101",)
    await building.visit("door-101")
    assert [opens(each, "door-101") for each in (left, anna)] == [Status.SUPERSEDED] * 2
    anna.check_in("stay-1", "101")
    assert opens(anna, "door-101") is Status.OPENED


@pytest.mark.requirement("P11", "A10")
async def test_a_failsafe_key_begins_with_its_first_opening_and_never_puts_a_guest_out(building: Building) -> None:
    token, other, anna = building.phone("token"), building.phone("other"), building.phone("anna")
    now_ms = building.clock.wall_ms()
    token.bundle = building.desk.issue_failsafe(ROOM, token.public, life_hours=24, not_after_ms=now_ms + 5 * DAY_MS)
    building.clock.advance(3 * DAY_MS)  # it lay in the safe
    assert opens(token, "door-101") is Status.OPENED
    building.clock.advance(DAY_MS + 120_000)
    assert opens(token, "door-101") is Status.EXPIRED
    anna.check_in("stay-1", "101")  # the store never heard of that opening, and yet her number is later
    assert opens(anna, "door-101") is Status.OPENED
    with pytest.raises(InvalidInputError, match="somebody is in room"):
        building.desk.issue_failsafe(
            ROOM, other.public, life_hours=24, not_after_ms=building.clock.wall_ms() + 3_600_000
        )
    now_ms = building.clock.wall_ms()
    other.bundle = building.desk.issue_failsafe(RoomId("102"), other.public, life_hours=1, not_after_ms=now_ms + DAY_MS)
    anna.check_in("stay-2", "102")
    assert opens(anna, "door-102") is Status.OPENED
    assert opens(other, "door-102") is Status.SUPERSEDED


@pytest.mark.parametrize(
    ("hours", "ahead_ms", "place"),
    [(0, DAY_MS, "life_hours"), (73, DAY_MS, "life_hours"), (24, 0, "not_after_ms"), (24, 8 * DAY_MS, "not_after_ms")],
)
def test_a_failsafe_key_beyond_its_bounds_is_not_made(
    building: Building, hours: int, ahead_ms: int, place: str
) -> None:
    at_ms = building.clock.wall_ms() + ahead_ms
    with pytest.raises(InvalidInputError) as refused:
        building.desk.issue_failsafe(ROOM, building.phone("token").public, life_hours=hours, not_after_ms=at_ms)
    assert refused.value.place == place


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P9")
def test_taking_all_keys_of_a_stay_away_holds_for_a_phone_that_let_its_key_lapse(building: Building) -> None:
    """It was off for four days, and would be given another when it asks by its link."""
    anna, tablet = building.phone("anna"), building.phone("tablet")
    anna.check_in("stay-1", "101", nights=10)
    tablet.check_in("stay-1", "101", nights=10, join=True)
    building.clock.advance(4 * DAY_MS)
    anna.check_in("stay-1", "101", nights=6)
    gone = building.closing.withdraw_keys(ORDER, holder="stay-1")
    assert len(gone) == 1, "the other is over at every door"
    for phone in (anna, tablet):
        with pytest.raises(InvalidInputError, match="withdrawn"):
            phone.check_in("stay-1", "101", nights=6, join=True)


def test_whoever_asks_what_to_carry_has_each_lockout_signed_once(
    building: Building, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody in the house may ask, ten times a second, while every room is sealed."""
    for room in ("101", "102"):
        building.closing.lock_out(ORDER, RoomId(room), sealed=True)
    signed: list[object] = []

    def counted(body: Any, *args: Any) -> bytes:
        signed.append(body)
        return sign_object(body, *args)

    monkeypatch.setattr(closing_desk, "sign_object", counted)
    lock_id = building.locks["door-101"].identity.lock_id
    assert building.closing.for_lock(building.locks["pool"].identity.lock_id, revocation_seq=0) == []
    [first], [again] = (building.closing.for_lock(lock_id, revocation_seq=0) for _ in range(2))
    assert (first == again, len(signed)) == (True, 1)
    building.closing.news()
    assert len(signed) == 2, "the other room's"
    building.closing.lock_out(ORDER, ROOM, sealed=False)
    [lifted] = building.closing.for_lock(lock_id, revocation_seq=0)
    assert lifted.seq > first.seq
    building.clock.advance(3_600_000)
    assert building.closing.for_lock(lock_id, revocation_seq=0) != [lifted], "an old one is signed anew"
    building.closing.withdraw_issuer(ORDER, issuer_class=IssuerClass.REVOCATION)
    building.clock.advance(1_000)
    current = building.issuers.current(IssuerClass.REVOCATION, building.clock.wall_ms() // 1_000).certificate
    news = [each for each in building.closing.news() if each.lockout]
    assert {each.certificate for each in news} == {current.encoded}


@pytest.mark.requirement("P9")
def test_a_full_list_says_so_and_withdrawing_the_issuer_makes_room(building: Building) -> None:
    for number in range(REVOCATIONS_MOST + 1):
        building.phone(f"phone {number}").check_in(f"stay-{number}", "101")
    for number in range(REVOCATIONS_MOST):
        building.closing.withdraw_keys(ORDER, holder=f"stay-{number}")
    with pytest.raises(InvalidInputError, match="32 keys"):
        building.closing.withdraw_keys(ORDER, holder=f"stay-{REVOCATIONS_MOST}")
    building.closing.withdraw_issuer(ORDER, issuer_class=IssuerClass.GUEST)
    assert building.closing.status()["withdrawn"] == []
    building.closing.withdraw_keys(ORDER, holder=f"stay-{REVOCATIONS_MOST}")


@pytest.mark.requirement("P18")
async def test_a_restored_store_says_that_a_lock_knows_more_and_goes_past_it(building: Building) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    anna.check_in("stay-1", "101")
    building.store.close()
    copy = (building.folder / "doors.db").read_bytes()
    building.open()
    building.closing.withdraw_keys(ORDER, holder="stay-1")
    await building.visit("door-101")
    building.store.close()
    (building.folder / "doors.db").write_bytes(copy)
    for end in ("-wal", "-shm"):
        (building.folder / f"doors.db{end}").unlink(missing_ok=True)
    building.open()
    await building.visit("door-101")
    assert status_of(building, "door-101")["ahead"] is True
    assert opens(anna, "door-101") is Status.REVOKED  # the lock was not talked out of it
    bert.check_in("stay-2", "102")
    building.closing.withdraw_keys(ORDER, holder="stay-2")
    building.closing.withdraw_keys(ORDER, holder="stay-1")
    await building.visit("door-101")
    assert status_of(building, "door-101")["confirmed"]
    assert opens(anna, "door-101") is Status.REVOKED


@pytest.mark.guarantee("G3")
@pytest.mark.requirement("P18")
async def test_a_guest_of_an_issuer_that_a_restored_store_forgot_to_be_withdrawn_gets_a_key_that_opens(
    building: Building,
) -> None:
    anna, bert = building.phone("anna"), building.phone("bert")
    from_ms, until_ms = building.clock.wall_ms(), building.clock.wall_ms() + 2 * DAY_MS

    def asks() -> bytes:
        anna.bundle = building.desk.issue("stay-1", [ROOM], anna.public, not_before_ms=from_ms, not_after_ms=until_ms)
        return anna.bundle.grant

    first = asks()
    building.store.close()
    copy = (building.folder / "doors.db").read_bytes()
    building.open()
    building.closing.withdraw_issuer(ORDER, kid=issuer_kid(first))
    await building.visit("door-101")
    building.store.close()
    (building.folder / "doors.db").write_bytes(copy)
    for end in ("-wal", "-shm"):
        (building.folder / f"doors.db{end}").unlink(missing_ok=True)
    building.open()
    building.clock.advance(600_000)
    bert.check_in("stay-2", "102")
    building.closing.withdraw_keys(ORDER, holder="stay-2")  # a later list, which knows nothing of that issuer
    await building.visit("door-101")
    assert asks() == first
    assert opens(anna, "door-101") is Status.REVOKED
    await building.visit("door-101")  # the lock's log tells
    building.clock.advance(1_000)
    assert asks() != first
    assert opens(anna, "door-101") is Status.OPENED


@pytest.mark.parametrize(
    ("by", "reason", "place"),
    [("", "why", "by"), ("me", " ", "reason"), ("a\nb", "why", "by"), ("me", "x" * 201, "reason")],
)
def test_nobody_takes_rights_away_without_a_name_and_a_reason(
    building: Building, by: str, reason: str, place: str
) -> None:
    building.phone("anna").check_in("stay-1", "101")
    with pytest.raises(InvalidInputError) as refused:
        building.closing.withdraw_keys(Order(by, reason), holder="stay-1")
    assert refused.value.place == place
    assert building.closing.status()["seq"] == 0


def test_what_is_not_there_is_not_withdrawn(building: Building) -> None:
    for asked in ({"grant_id": bytes(8)}, {"holder": "stay-9"}, {"holder": "stay-9", "phone": bytes(33)}):
        with pytest.raises(InvalidInputError, match="no key"):
            building.closing.withdraw_keys(ORDER, **asked)
    with pytest.raises(InvalidInputError, match="in memory"):
        building.closing.withdraw_issuer(ORDER, issuer_class=IssuerClass.STAFF)
    with pytest.raises(InvalidInputError, match="8 hex digits"):
        building.closing.withdraw_issuer(ORDER, kid=bytes(3))
    with pytest.raises(InvalidInputError, match="no door"):
        building.closing.lock_out(ORDER, RoomId("999"), sealed=True)


@pytest.mark.requirement("P11")
async def test_a_passage_key_latches_the_pool_and_is_withdrawn_as_any_other(building: Building) -> None:
    porter = building.phone("porter")
    desk, until_ms = staff_desk(building), building.clock.wall_ms() + 4 * 3_600_000
    with pytest.raises(InvalidInputError, match="common doors"):
        desk.issue("piotr", [ROOM], porter.public, not_after_ms=until_ms, passage=True)
    pool = building.locks["pool"]
    porter.bundle = desk.issue(
        "piotr", [], porter.public, not_after_ms=until_ms, zones=pool.identity.zones, user_verified=False, passage=True
    )
    assert porter.latch("pool").result.status is Status.OPENED
    assert building.locks["pool"].core.passage is not None
    building.closing.withdraw_keys(ORDER, holder="staff/piotr")
    await building.visit("pool")
    assert pool.core.passage is None
    assert porter.latch("pool").result.status is Status.REVOKED
    events = [each.body["event"] for each in building.store.events(0)]
    assert [each for each in events if "passage" in each] == ["passage", "passage_ended"]
    with pytest.raises(InvalidInputError, match="withdrawn"):
        desk.issue("piotr", [], porter.public, not_after_ms=until_ms, zones=pool.identity.zones)


def test_a_passage_ends_by_itself_and_no_clock_that_was_set_back_prolongs_it(building: Building) -> None:
    porter, pool = building.phone("porter"), building.locks["pool"]
    until_ms = building.clock.wall_ms() + 3_600_000
    porter.bundle = staff_desk(building).issue(
        "piotr", [], porter.public, not_after_ms=until_ms, zones=pool.identity.zones, user_verified=False, passage=True
    )
    porter.latch("pool")
    now_ms = building.clock.now_ms()
    core, sensed = pool.core, pool.sensed
    assert core.settled(sensed, now_ms=now_ms + 3_599_000).passage is not None
    set_back = replace(sensed, rtc_s=sensed.rtc_s - 3_600)
    assert core.settled(set_back, now_ms=now_ms + 3_600_000).passage is None
    assert core.settled(replace(sensed, rtc_s=sensed.rtc_s + 3_600), now_ms=now_ms).passage is None
    assert core.settled(replace(sensed, privacy=True), now_ms=now_ms).passage is None
    ended = core.settled(replace(sensed, privacy=True), now_ms=now_ms)
    assert ended.woken(sensed) == ended  # noted once
    assert core.woken(sensed).records[-1].actor == core.records[-1].actor
    assert type(core).decode(core.encode()).passage is None
