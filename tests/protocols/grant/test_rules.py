"""Rules of the grant that no table exhausts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import CredentialRefusedError, InvalidInputError, LocalProtocolError, RefusalReason
from protocols.grant.generation import GENERATION_MOST, day_of, following
from protocols.grant.grant import Grant, GrantFlag, Shift, open_grant, sign_grant
from protocols.grant.judge import DoorState, judge, on_shift
from protocols.grant.keys import IssuerClass, PropertyCa, generate_property_ca, private_key
from protocols.grant.lock_time import LEEWAY_MOST_S, LockTime, TimeQuality
from protocols.vectors.fixed import AT_S, DAY_S, TONIGHT, fixed_hotel, stream

HOTEL = fixed_hotel()
ROOMS = st.lists(st.integers(1, 0xFFFF), unique=True, max_size=40).map(lambda rooms: tuple(sorted(rooms)))
GRANTS = st.builds(
    HOTEL.grant,
    grant_id=st.binary(min_size=8, max_size=8),
    issued_at_s=st.integers(0, 2**32 - 1),
    not_before_s=st.integers(0, 2**31),
    not_after_s=st.integers(2**31 + 1, 2**32 - 1),
    rooms=ROOMS,
    zones=st.integers(0, 2**64 - 1),
    generation=st.integers(0, GENERATION_MOST),
    uses_most=st.none() | st.integers(1, 0xFFFF),
    shift=st.none() | st.builds(Shift, st.integers(1, 127), st.integers(0, 24 * 60 - 1), st.integers(0, 24 * 60 - 1)),
)


@pytest.mark.requirement("P1")
@given(grant=GRANTS)
def test_every_grant_survives_its_own_bytes(grant: Grant) -> None:
    assert open_grant(sign_grant(grant, HOTEL.guest.key), HOTEL.guest.certificate) == grant


@pytest.mark.guarantee("G5")
def test_no_flipped_bit_of_a_grant_is_believed() -> None:
    good = sign_grant(HOTEL.grant(), HOTEL.guest.key)
    for at in range(len(good) * 8):
        mutant = bytearray(good)
        mutant[at // 8] ^= 1 << at % 8
        with pytest.raises(CredentialRefusedError):
            open_grant(bytes(mutant), HOTEL.guest.certificate)


@given(highest=st.integers(0, GENERATION_MOST - 600), at_s=st.integers(AT_S - 400 * DAY_S, AT_S + 400 * DAY_S))
def test_generations_only_rise_and_locks_of_the_day_take_them(highest: int, at_s: int) -> None:
    try:
        found = following(highest, at_s)
    except LocalProtocolError:
        assert highest >= (day_of(at_s) + 2 << 8) - 1
        return
    assert found > highest
    assert found >> 8 <= day_of(at_s) + 1


@pytest.mark.guarantee("G4")
@given(
    issuer_class=st.sampled_from([IssuerClass.GUEST, IssuerClass.STAFF]),
    over_s=st.integers(-7_200, 7_200),
    drift_s=st.integers(0, 10_000),
)
def test_nothing_opens_after_its_end_and_leeway(issuer_class: IssuerClass, over_s: int, drift_s: int) -> None:
    staff = issuer_class is IssuerClass.STAFF
    end_s = AT_S + 7_200
    powers: dict[str, object] = {"rooms": (), "ranges": ((1, 999),), "generation": 0, "flags": GrantFlag.STAFF}
    changes = powers if staff else {}
    verdict = judge(
        HOTEL.grant(not_after_s=end_s, **changes),
        HOTEL.issuers[issuer_class].certificate,
        DoorState(101, generation=TONIGHT),
        LockTime(end_s + over_s, AT_S, TimeQuality.DRIFTING, drift_s),
    )
    assert verdict.opens is (over_s <= min(60 + 2 * drift_s, LEEWAY_MOST_S[issuer_class]))


@pytest.mark.parametrize(
    ("shift", "at", "on"),
    [
        (Shift(0b0010000, 480, 840), 0, True),  # AT_S: Friday 08:00
        (Shift(0b0010000, 481, 840), 0, False),
        (Shift(0b0010000, 420, 480), 0, False),
        (Shift(0b0001000, 480, 840), 0, False),
        (Shift(0b0001000, 1_320, 540), 0, True),  # Thursday 22:00 to Friday 09:00
        (Shift(0b0010000, 1_320, 540), 0, False),  # begins tonight
        (Shift(0b0010000, 1_320, 540), 14 * 3_600, True),
        (Shift(0b1000000, 1_320, 540), 2 * DAY_S + 20 * 3_600, True),  # Sunday night, on Monday 04:00
        (Shift(0b0000001, 0, 0), 3 * DAY_S + 3_600, True),  # around the clock, Monday
    ],
)
def test_a_shift_runs_over_midnight_and_over_the_week(shift: Shift, at: int, on: bool) -> None:
    assert on_shift(shift, AT_S + at) is on


@pytest.mark.requirement("P6")
def test_a_window_seen_from_a_second_outside() -> None:
    certificate = HOTEL.guest.certificate
    for issued_at_s, reason in (
        (certificate.signs_until_s, None),
        (certificate.signs_until_s + 1, RefusalReason.NOT_ALLOWED),
        (certificate.not_before_s - 1, RefusalReason.NOT_ALLOWED),
    ):
        time = LockTime(max(AT_S, issued_at_s), AT_S, TimeQuality.FRESH)
        grant = HOTEL.grant(issued_at_s=issued_at_s, not_after_s=AT_S + 5 * DAY_S)
        assert judge(grant, certificate, DoorState(101, generation=TONIGHT), time).reason is reason


def test_a_grant_that_says_what_it_does_not_mean_is_our_own_defect() -> None:
    for wrong in (
        HOTEL.grant(rooms=(102, 101)),
        HOTEL.grant(phone=bytes(33)),
        HOTEL.grant(not_after_s=AT_S),
        HOTEL.grant(zones=2**64 - 1, rooms=tuple(range(1, 42))),
    ):
        with pytest.raises(LocalProtocolError):
            sign_grant(wrong, HOTEL.guest.key)


@pytest.mark.requirement("P21")
def test_the_property_ca_file_reads_back_and_names_no_secret_when_wrong() -> None:
    ca = generate_property_ca("aurora", stream("file"))
    document = ca.to_document()
    assert PropertyCa.from_document(document, "f").to_document() == document
    wrong: list[object] = [
        {**document, "v": 2},
        {**document, "ca_private": "00" * 32},
        {**document, "seal_private": "zz"},
        [],
    ]
    for spoilt in wrong:
        with pytest.raises(InvalidInputError) as refused:
            PropertyCa.from_document(spoilt, "ca.json")
        assert str(document["seal_private"]) not in str(refused.value)


def test_keys_come_from_the_dice_and_nothing_else() -> None:
    first, second = private_key(stream("a")), private_key(stream("a"))
    assert first.private_numbers() == second.private_numbers()
    assert private_key(stream("b")).private_numbers() != first.private_numbers()
