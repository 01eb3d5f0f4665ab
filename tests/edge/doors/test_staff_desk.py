"""Shift keys and emergency keys, from the desk to the door."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edge.doors.closing_desk import Order
from edge.doors.closing_methods import ClosingMethods
from edge.doors.drafts import DRAFTS_MOST
from edge.doors.errors import ClockUnsoundError
from edge.doors.issuers import Issuers
from edge.doors.staff_desk import EmergencyDraft, StaffDesk
from kit.clock import ClockQuality
from protocols import cose
from protocols.device_model.identity import RoomId
from protocols.door.audit import AuditEvent
from protocols.door.phone import Unlock
from protocols.door.status import Status
from protocols.errors import InvalidInputError
from protocols.grant.certificate import open_certificate
from protocols.grant.grant import Approval, Grant, Shift, open_grant
from protocols.grant.keys import compressed, kid_of, private_key
from protocols.vectors.fixed import POOL_ZONE, stream
from tests.edge.doors.building import Building, MemoryPhone

HOUR_MS = 3_600_000
OFFICERS = [private_key(stream(f"officer {number}")) for number in range(3)]
ROOMS = [RoomId("101"), RoomId("102")]


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Building]:
    made = Building(tmp_path)
    yield made
    made.store.close()


def desk_of(building: Building, *, officers: int = 3) -> StaffDesk:
    points = [compressed(key.public_key()) for key in OFFICERS[:officers]]
    issuers = Issuers(building.ca, building.dice, officers=points)
    return StaffDesk(book=building.book, store=building.store, issuers=issuers, time=building.time, dice=building.dice)


def approvals(draft: EmergencyDraft, *signers: int) -> list[Approval]:
    return [
        Approval(kid_of(OFFICERS[each].public_key()), cose.sign_raw(OFFICERS[each], draft.statement))
        for each in signers
    ]


def opens(phone: MemoryPhone, door: str, *, verified: bool = True) -> Status:
    assert phone.bundle is not None
    [keys] = [each.keys for each in phone.bundle.doors if each.door == door]
    unlock = Unlock(phone.bundle.grant, phone.bundle.certificate, partial(cose.sign_raw, phone.key))
    return phone.ask(
        keys,
        Unlock(unlock.grant, unlock.certificate, unlock.sign, user_verified=verified),
        phone.building.locks[door],
    ).result.status


def grant_of(building: Building, phone: MemoryPhone) -> Grant:
    assert phone.bundle is not None
    issuer = open_certificate(phone.bundle.certificate, {building.ca.kid: building.ca.ca.public_key()})
    return open_grant(phone.bundle.grant, issuer)


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P11")
def test_a_shift_key_opens_its_section_on_shift_for_a_verified_user_and_respects_privacy(building: Building) -> None:
    guest, maid = building.phone("guest"), building.phone("maid")
    guest.check_in("stay-1", "101")
    assert opens(guest, "door-101") is Status.OPENED
    now_ms = building.clock.wall_ms()  # a Friday, 08:00 UTC
    maid.bundle = desk_of(building).issue(
        "maria", ROOMS, maid.public, not_after_ms=now_ms + 48 * HOUR_MS, zones=POOL_ZONE, shift=Shift(0b10000, 480, 960)
    )
    assert maid.bundle.not_after_ms == now_ms + 24 * HOUR_MS
    for door in ("door-101", "door-102", "pool"):
        assert opens(maid, door) is Status.OPENED
    assert opens(maid, "door-101", verified=False) is Status.NEEDS_USER_VERIFICATION
    building.locks["door-101"].privacy = True
    assert opens(maid, "door-101") is Status.PRIVACY_ON
    building.locks["door-101"].privacy = False
    assert opens(guest, "door-101") is Status.OPENED  # staff put nobody out
    building.clock.advance(9 * HOUR_MS)
    assert opens(maid, "door-102") is Status.OUT_OF_HOURS
    building.clock.advance(16 * HOUR_MS)
    assert opens(maid, "door-102") is Status.EXPIRED


def test_asking_again_gives_the_same_key_and_other_terms_another(building: Building) -> None:
    desk, maid = desk_of(building), building.phone("maid")
    until_ms = building.clock.wall_ms() + 8 * HOUR_MS
    first = desk.issue("maria", ROOMS, maid.public, not_after_ms=until_ms)
    building.restart()
    again = desk_of(building)
    assert again.issue("maria", ROOMS, maid.public, not_after_ms=until_ms) == first
    assert again.issue("maria", ROOMS[:1], maid.public, not_after_ms=until_ms) != first
    assert again.issue("maria", ROOMS, maid.public, not_after_ms=until_ms, user_verified=False) != first
    building.clock.advance(9 * HOUR_MS)
    with pytest.raises(InvalidInputError, match="past"):
        again.issue("maria", ROOMS, maid.public, not_after_ms=until_ms)


async def test_what_staff_did_is_told_by_grant_and_not_as_a_stay(building: Building) -> None:
    maid = building.phone("maid")
    maid.bundle = desk_of(building).issue("maria", ROOMS, maid.public, not_after_ms=building.clock.wall_ms() + HOUR_MS)
    assert opens(maid, "door-101") is Status.OPENED
    await building.visit("door-101")
    [told] = [each.body for each in building.store.events(0)]
    assert told["grant"] == grant_of(building, maid).grant_id.hex()
    assert "stay" not in told
    assert building.store.counts()["stays_open"] == 0


def test_a_shift_key_says_runs_of_rooms_and_names_no_room_that_was_not_asked_for(building: Building) -> None:
    from edge.doors.staff_desk import _in_ranges

    assert _in_ranges({101, 102, 103, 105, 107, 108}) == ((105, 107, 108), ((101, 103),))
    assert _in_ranges(set()) == ((), ())


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P12")
async def test_two_officers_open_over_a_thrown_deadbolt_and_everybody_is_told(building: Building) -> None:
    desk, fireman = desk_of(building), building.phone("fireman")
    draft = desk.draft_emergency("anton", ROOMS[:1], fireman.public, reason="no answer for two days", over_privacy=True)
    fireman.bundle = desk.issue_emergency(draft.grant_id, approvals(draft, 2, 0))
    told = [each.body for each in building.store.events(0)]
    assert [(each["event"], each["door"], each["reason"]) for each in told] == [
        ("emergency_issued", "door-101", "no answer for two days")
    ]
    lock = building.locks["door-101"]
    lock.privacy = True
    assert opens(fireman, "door-101") is Status.OPENED
    assert [record.event for record in lock.core.records[-2:]] == [AuditEvent.EMERGENCY, AuditEvent.OPENED]
    await building.visit("door-101")
    assert [each.body["event"] for each in building.store.events(0)] == ["emergency_issued", "emergency", "opened"]
    building.clock.advance(901_000)
    assert opens(fireman, "door-101") is Status.EXPIRED
    with pytest.raises(InvalidInputError, match="no such draft"):
        desk.issue_emergency(draft.grant_id, approvals(draft, 0, 1))


@pytest.mark.requirement("P12")
def test_without_override_two_officers_respect_the_deadbolt_too(building: Building) -> None:
    desk, fireman = desk_of(building), building.phone("fireman")
    draft = desk.draft_emergency("anton", ROOMS[:1], fireman.public, reason="water", over_privacy=False)
    fireman.bundle = desk.issue_emergency(draft.grant_id, approvals(draft, 0, 1))
    building.locks["door-101"].privacy = True
    assert opens(fireman, "door-101") is Status.PRIVACY_ON


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P12")
def test_what_two_different_officers_did_not_sign_is_not_issued(building: Building) -> None:
    desk, fireman = desk_of(building), building.phone("fireman")
    draft, other = (
        desk.draft_emergency("anton", ROOMS[:1], fireman.public, reason=reason, over_privacy=True)
        for reason in ("smoke", "water")
    )
    stranger = private_key(stream("stranger"))
    foreign = Approval(kid_of(stranger.public_key()), cose.sign_raw(stranger, draft.statement))
    one = approvals(draft, 0)
    wrong = Approval(one[0].kid, bytes(64))
    for bad in (
        [],
        one,
        one * 2,
        [*one, foreign],
        approvals(draft, 0, 1, 2),
        approvals(other, 0, 1),
        [wrong, *approvals(draft, 1)],
        [Approval(b"", b""), *one],
    ):
        with pytest.raises(InvalidInputError):
            desk.issue_emergency(draft.grant_id, bad)
    assert building.store.counts()["grants_issued"] == 0
    assert building.store.events(0) == []
    desk.issue_emergency(draft.grant_id, approvals(draft, 0, 1))  # the draft stands
    building.clock.advance(900_000)
    with pytest.raises(InvalidInputError, match="15 minutes are over"):
        desk.issue_emergency(other.grant_id, approvals(other, 0, 1))


@pytest.mark.guarantee("G4", "G11")
@pytest.mark.requirement("P12")
def test_a_draft_outlives_the_process_and_its_key_is_signed_by_an_issuer_made_anew(building: Building) -> None:
    fireman = building.phone("fireman")
    draft = desk_of(building).draft_emergency("anton", ROOMS, fireman.public, reason="smoke", over_privacy=True)
    first = approvals(draft, 0)
    building.clock.advance(300_000)
    building.restart()
    desk = desk_of(building)  # a private key of before is nowhere
    both = [*first, *approvals(draft, 1)]
    with pytest.raises(InvalidInputError, match="two"):
        desk.issue_emergency(draft.grant_id, first)
    fireman.bundle = desk.issue_emergency(draft.grant_id, both)
    building.locks["door-101"].privacy = True
    assert opens(fireman, "door-101") is Status.OPENED
    assert [each.body["event"] for each in building.store.events(0)] == ["emergency_issued"] * 2
    building.restart()
    assert desk_of(building).issue_emergency(draft.grant_id, both) == fireman.bundle, "the answer was lost"
    assert len(building.store.events(0)) == 2
    building.clock.advance(601_000)
    assert opens(fireman, "door-101") is Status.EXPIRED, "15 minutes from the draft, not from the restart"
    with pytest.raises(InvalidInputError, match="no such draft"):
        desk_of(building).issue_emergency(draft.grant_id, both)


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P12")
def test_a_draft_that_is_over_taken_back_or_of_a_withdrawn_issuer_makes_no_key_after_a_restart(
    building: Building,
) -> None:
    desk, phone = desk_of(building), building.phone("fireman")
    drafts = [desk.draft_emergency("anton", ROOMS[:1], phone.public, reason="smoke", over_privacy=True) for _ in "123"]
    over, back, withdrawn = drafts
    assert desk.drop_draft(back.grant_id)
    assert not desk.drop_draft(back.grant_id)
    kid = desk._issuers.held()[0].certificate.kid
    building.restart()
    desk = desk_of(building)
    desk._issuers.withdraw([kid])
    with pytest.raises(InvalidInputError, match="withdrawn"):
        desk.issue_emergency(withdrawn.grant_id, approvals(withdrawn, 0, 1))
    with pytest.raises(InvalidInputError, match="no such draft"):
        desk.issue_emergency(back.grant_id, approvals(back, 0, 1))
    building.clock.advance(900_000)
    building.restart()
    with pytest.raises(InvalidInputError, match="15 minutes are over"):
        desk_of(building).issue_emergency(over.grant_id, approvals(over, 0, 1))
    desk_of(building).draft_emergency("anton", ROOMS[:1], phone.public, reason="water", over_privacy=True)
    [(left,)] = building.store.read("SELECT count(*) FROM draft")
    assert left == 1


@pytest.mark.guarantee("G4")
def test_an_officer_who_is_none_any_more_after_the_restart_approves_nothing(building: Building) -> None:
    fireman = building.phone("fireman")
    draft = desk_of(building).draft_emergency("anton", ROOMS, fireman.public, reason="smoke", over_privacy=True)
    building.restart()
    with pytest.raises(InvalidInputError, match="approvals"):
        desk_of(building, officers=2).issue_emergency(draft.grant_id, approvals(draft, 1, 2))
    with pytest.raises(InvalidInputError, match="names 1, two must approve"):
        desk_of(building, officers=1).issue_emergency(draft.grant_id, approvals(draft, 0, 1))
    desk_of(building, officers=2).issue_emergency(draft.grant_id, approvals(draft, 0, 1))


@pytest.mark.guarantee("G4")
def test_whose_shift_keys_are_taken_away_gets_no_emergency_key_that_was_drafted_before(building: Building) -> None:
    desk, maria, otto = desk_of(building), building.phone("maria"), building.phone("otto")
    desk.issue("maria", ROOMS, maria.public, not_after_ms=building.clock.wall_ms() + 8 * HOUR_MS)
    hers, his = (
        desk.draft_emergency(person, ROOMS[:1], phone.public, reason="smoke", over_privacy=True)
        for person, phone in (("maria", maria), ("otto", otto))
    )
    building.closing.withdraw_keys(Order("ida", "has left us"), holder="staff/maria")
    with pytest.raises(InvalidInputError, match="no such draft"):
        desk.issue_emergency(hers.grant_id, approvals(hers, 0, 1))
    with pytest.raises(InvalidInputError, match="withdrawn"):
        desk.draft_emergency("maria", ROOMS[:1], maria.public, reason="smoke", over_privacy=True)
    assert desk.issue_emergency(his.grant_id, approvals(his, 0, 1)).doors
    building.closing.withdraw_keys(Order("ida", "it is over"), grant_id=his.grant_id)
    again = desk.draft_emergency("otto", ROOMS[:1], otto.public, reason="smoke again", over_privacy=True)
    assert desk.issue_emergency(again.grant_id, approvals(again, 0, 1)).doors, "an emergency that was over is no theft"


@pytest.mark.guarantee("G4")
async def test_taking_a_persons_keys_away_takes_a_draft_though_there_is_no_key_yet(building: Building) -> None:
    desk, maria = desk_of(building), building.phone("maria")
    orders = ClosingMethods(building.closing, building.desk, told=lambda: None).methods()
    draft = desk.draft_emergency("maria", ROOMS[:1], maria.public, reason="smoke", over_privacy=True)
    order = {"person": "maria", "by": "ida", "reason": "has left us"}
    with pytest.raises(InvalidInputError):
        await orders["withdraw_key"]({**order, "reason": " "})
    assert desk.drop_draft(draft.grant_id), "an order without a reason takes nothing"
    draft = desk.draft_emergency("maria", ROOMS[:1], maria.public, reason="smoke", over_privacy=True)
    told: Any = await orders["withdraw_key"](order)
    assert told["grants"] == []
    with pytest.raises(InvalidInputError, match="no such draft"):
        desk.issue_emergency(draft.grant_id, approvals(draft, 0, 1))
    with pytest.raises(InvalidInputError, match="no key"):
        await orders["withdraw_key"](order)


def test_what_cannot_be_is_refused_by_name(building: Building) -> None:
    desk, phone = desk_of(building), building.phone("maid")
    until_ms = building.clock.wall_ms() + HOUR_MS
    for rooms, key, zones, place in (
        ([RoomId("999")], phone.public, 0, "rooms"),
        ([], phone.public, 0, "rooms"),
        (ROOMS, phone.public, -1, "zones"),
        (ROOMS, phone.public[1:], 0, "phone_public_key"),
        (ROOMS, b"\x02" + b"\xff" * 32, 0, "phone_public_key"),
    ):
        with pytest.raises(InvalidInputError) as refused:
            desk.issue("maria", rooms, key, not_after_ms=until_ms, zones=zones)
        assert refused.value.place == place
    for reason in ("", " ", "a" * 201, "two\nlines"):
        with pytest.raises(InvalidInputError) as refused:
            desk.draft_emergency("anton", ROOMS, phone.public, reason=reason, over_privacy=True)
        assert refused.value.place == "reason"
    for officers in (0, 1):
        with pytest.raises(InvalidInputError) as refused:
            desk_of(building, officers=officers).draft_emergency(
                "anton", ROOMS, phone.public, reason="smoke", over_privacy=True
            )
        assert refused.value.place == "officers"
    drafts = [
        desk.draft_emergency("anton", ROOMS, phone.public, reason="smoke", over_privacy=True)
        for _ in range(DRAFTS_MOST + 1)
    ]
    with pytest.raises(InvalidInputError, match="no such draft"):
        desk.issue_emergency(drafts[0].grant_id, approvals(drafts[0], 0, 1))
    building.clock.quality = ClockQuality.UNCERTAIN
    with pytest.raises(ClockUnsoundError):
        desk.issue("maria", ROOMS, phone.public, not_after_ms=until_ms)
    with pytest.raises(ClockUnsoundError):
        desk.issue_emergency(drafts[-1].grant_id, approvals(drafts[-1], 0, 1))
