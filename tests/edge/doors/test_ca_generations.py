"""A property rolls its CA: both at the locks, then the desk's file, then the older one goes; nobody is locked out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.doors.closing_desk import Order
from edge.doors.staff_desk import StaffDesk
from protocols.device_model.identity import RoomId
from protocols.door.bundle import Bundle
from protocols.door.identity import with_next_ca
from protocols.door.status import Status
from protocols.grant.keys import IssuerClass, PropertyCa, compressed, private_key
from protocols.vectors.fixed import stream
from tests.edge.doors.building import Building
from tests.edge.doors.test_staff_desk import opens

NEXT = private_key(stream("the next CA"))
AFTER_NEXT = private_key(stream("the CA after it"))
ORDER = Order("manager", "the CA is rolled")


@pytest.fixture
def building(tmp_path: Path) -> Iterator[Building]:
    made = Building(tmp_path)
    yield made
    made.store.close()


def believe_next(building: Building) -> None:
    """The first round: every lock is told of the next CA."""
    for lock in building.locks.values():
        lock.identity = with_next_ca(lock.identity, NEXT.public_key())


def sign_under_next(building: Building) -> None:
    """The desk's CA file is replaced: another CA, the sealing key of before."""
    building.ca = PropertyCa(building.ca.property_id, NEXT, building.ca.seal)
    building.restart()


def forget_first(building: Building) -> None:
    """The last round: the older CA goes from every lock."""
    for lock in building.locks.values():
        lock.identity = with_next_ca(lock.identity, AFTER_NEXT.public_key())
        assert lock.identity.ca_points[0] == compressed(NEXT.public_key())


@pytest.mark.guarantee("G3")
@pytest.mark.requirement("P1", "P18")
async def test_guests_come_in_through_every_step_and_have_new_keys_by_asking_as_ever(building: Building) -> None:
    anna, joiner = building.phone("anna"), building.phone("joiner")
    first = anna.check_in("stay-anna", "101")
    joiner.check_in("stay-anna", "101", join=True)
    assert opens(anna, "door-101") is Status.OPENED
    believe_next(building)
    assert opens(anna, "door-101") is Status.OPENED
    assert anna.check_in("stay-anna", "101") == first
    sign_under_next(building)
    assert opens(anna, "door-101") is Status.OPENED, "the key of before is good as long as its CA is believed"
    renewed = anna.check_in("stay-anna", "101")
    assert renewed.certificate != first.certificate
    assert anna.check_in("stay-anna", "101") == renewed
    assert opens(anna, "door-101") is Status.OPENED
    assert opens(joiner, "door-101") is Status.OPENED, "who has not asked anew is not put out by who has"
    forget_first(building)
    assert opens(anna, "door-101") is Status.OPENED
    anna.bundle = first
    assert opens(anna, "door-101") is Status.UNKNOWN_ISSUER


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P9")
async def test_what_was_to_end_before_ends_at_locks_that_believe_the_next_ca_alone(building: Building) -> None:
    anna, bert, carl = (building.phone(name) for name in ("anna", "bert", "carl"))
    anna.check_in("stay-anna", "101")
    bert.check_in("stay-bert", "102")
    for phone, door in ((anna, "door-101"), (bert, "door-102")):
        assert opens(phone, door) is Status.OPENED
    before = building.locks["door-101"].core.generation
    building.desk.end_stay("stay-anna")  # signed now, and carried much later
    pending = [building.desk.signed_bump(each) for each in building.store.pending_bumps()]
    assert pending
    believe_next(building)
    sign_under_next(building)
    forget_first(building)
    await building.visit("door-101")
    assert building.locks["door-101"].core.generation > before
    carl.check_in("stay-carl", "101")
    assert opens(carl, "door-101") is Status.OPENED
    [lost] = building.closing.withdraw_keys(ORDER, holder="stay-bert")
    await building.visit("door-102")
    assert lost in {grant for grant, _ in building.locks["door-102"].core.revoked}


@pytest.mark.requirement("P9", "P11")
async def test_lists_and_shift_keys_of_before_are_made_anew_and_an_issuer_of_before_can_be_withdrawn(
    building: Building,
) -> None:
    bert, cleaner = building.phone("bert"), building.phone("cleaner")
    bert.check_in("stay-bert", "102")
    ends_ms = building.clock.wall_ms() + 3_600_000

    def shift_key() -> Bundle:
        desk = StaffDesk(
            book=building.book,
            store=building.store,
            issuers=building.issuers,
            time=building.time,
            dice=building.dice,
        )
        return desk.issue("cleaner", [RoomId("102")], cleaner.public, not_after_ms=ends_ms)

    cleaner.bundle = shift_key()
    assert opens(cleaner, "door-102") is Status.OPENED
    [lost] = building.closing.withdraw_keys(ORDER, holder="stay-bert")
    await building.visit("door-101")  # the list is signed, and one lock has it
    old = building.issuers.current(IssuerClass.GUEST, building.time.at_ms() // 1_000).certificate.kid
    believe_next(building)
    sign_under_next(building)
    forget_first(building)
    await building.visit("door-102")
    assert lost in {grant for grant, _ in building.locks["door-102"].core.revoked}
    cleaner.bundle = shift_key()
    assert opens(cleaner, "door-102") is Status.OPENED
    building.closing.withdraw_issuer(ORDER, kid=old)
    await building.visit("door-102")
    assert old in {kid for kid, _ in building.locks["door-102"].core.issuers}
