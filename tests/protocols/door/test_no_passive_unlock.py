"""Nothing but a user's own command moves the motor: no visit of the house, nor whatever else a link can carry."""

import ast
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.door.lock_memory import Sensed
from protocols.door.phone import AskStatus, Carry, Fetch, Request, Resume
from protocols.door.status import Status
from protocols.grant.generation import day_of
from protocols.grant.grant import GrantFlag
from protocols.grant.revocation import Acknowledgement, Bump, Lockout, Revocations, TimeBeacon
from protocols.vectors.fixed import AT_S, RTC_S, Meeting, fixed_hotel, fresh_core
from tests.house.sources import ROOT, syntax

HOTEL = fixed_hotel()
LOCK = HOTEL.room_101
NEXT = (day_of(AT_S) << 8) | 0xFF


def carried(body: TimeBeacon | Bump | Revocations | Lockout | Acknowledgement) -> Request:
    return Carry(HOTEL.signed(body), HOTEL.revocation.certificate.encoded)


WITHOUT_A_USER: list[Request] = [
    AskStatus(),
    Fetch(0),
    Resume(),
    carried(TimeBeacon(None)),
    carried(Bump(101, NEXT)),
    carried(Revocations(9, ((b"12345678", AT_S + 60),))),
    carried(Lockout(LOCK.lock_id, 3, sealed=True)),
    carried(Lockout(LOCK.lock_id, 4, sealed=False)),
    carried(Acknowledgement(LOCK.lock_id, 0, fresh_core(LOCK).audit_head)),
]


@pytest.mark.requirement("P15", "P4")
@given(said=st.lists(st.sampled_from(WITHOUT_A_USER), min_size=1, max_size=6), privacy=st.booleans())
@settings(max_examples=60, deadline=None)
def test_whatever_else_a_link_carries_the_motor_does_not_move(said: list[Request], privacy: bool) -> None:
    meeting = Meeting(LOCK, fresh_core(LOCK), Sensed(RTC_S, privacy))
    answers = meeting.run(*said)
    assert len(answers) == len(said)
    assert meeting.opened == 0
    assert Status.OPENED not in {each.result.status for each in answers}


@pytest.mark.requirement("P15")
def test_a_user_who_must_be_known_opens_only_when_the_phone_vouches_for_it_under_its_signature() -> None:
    grant = HOTEL.grant(flags=GrantFlag.NEEDS_USER_VERIFICATION)
    for verified, status in ((False, Status.NEEDS_USER_VERIFICATION), (True, Status.OPENED)):
        meeting = Meeting(LOCK, fresh_core(LOCK))
        [answer] = meeting.run(HOTEL.unlock(grant, user_verified=verified))
        assert (answer.result.status, meeting.opened) == (status, int(verified))


def named_in(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(syntax(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("protocols.door"):
            found |= {each.name for each in node.names}
    return found


@pytest.mark.requirement("P15")
def test_the_house_that_visits_its_locks_has_no_way_to_ask_one_to_open() -> None:
    sources = sorted((ROOT / "edge").rglob("*.py"))
    opens = {"Unlock", "Latch", "Resumption", "UnlockCommand", "LatchCommand", "unlock_statement", "latch_statement"}
    assert {path.name: names for path in sources if (names := named_in(path) & opens)} == {}
    assert any({"Carry", "Fetch"} <= named_in(path) for path in sources)
