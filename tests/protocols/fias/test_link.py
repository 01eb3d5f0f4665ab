"""The link's life, key orders, and who is in which room, against a PMS that does as the specification says."""

from datetime import datetime
from random import Random
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalProtocolError
from protocols.fias.house import MOVE_WAIT_MS, CameIn, Changed, Guest, Moved, WentOut
from protocols.fias.link import (
    ALIVE_EVERY_MS,
    DESCRIBED_MOST,
    DESCRIBED_WITHIN_MS,
    FIRST_WORD_WAIT_MS,
    ORDER_WAIT_MS,
    RESYNC_BEGIN_WAIT_MS,
    RESYNC_IN_DOUBT_MS,
    RESYNC_WAIT_MS,
    Came,
    Configured,
    Ended,
    Fact,
    FiasLink,
    NightAudit,
    Ordered,
    Overdue,
    Refused,
    Resynchronised,
    RoomTold,
    State,
)
from protocols.fias.orders import KeyEnd, KeyKind, KeyOrder, Status
from protocols.fias.record import Description, Record, decode
from protocols.fias.services import GuestsListed

AT: Final = datetime(2026, 11, 21, 9, 0, 1)  # noqa: DTZ001 - what the property's wall shows
DESCRIBED: Final = (
    Description("GI", ("RN", "G#", "GS", "GN")),
    Description("GO", ("RN", "G#")),
    Description("GC", ("RN", "G#", "GN", "RO")),
    Description("RE", ("RN", "RS", "ID")),
)

ANY_LINES: Final = (
    *("LS|", "LA|", "LE|", "DS|", "DE|", "NS|", "XX|"),
    *("GI|RN1|G#1|", "GI|RN3|G#1|", "GO|RN1|G#1|", "GC|RN2|RO1|G#1|", "GI|", "GO|RN1|SF|", "KR|KTN|RN1|", "KD|"),
    *("GI|RN1|GSY|", "GO|RN1|GSY|", "GO|RN1|G#1|GSY|", "GC|RN2|GSN|RO1|GSY|"),
)


def _link() -> FiasLink:
    return FiasLink("DL", "IK1", DESCRIBED, configuration=5)


def _alive(*, resync: bool = False) -> FiasLink:
    link = _link()
    link.connected(now_ms=0, resync=resync)
    _hear(link, "LS|DA261121|TI090000|")
    _hear(link, "LA|DA261121|TI090003|")
    assert link.state is State.ALIVE
    link.data_to_send()
    return link


def _hear(link: FiasLink, line: str, now_ms: int = 0) -> list[Fact]:
    return link.receive(decode(line.encode("cp1252")), now_ms=now_ms, at=AT)


def _said(link: FiasLink) -> list[str]:
    return [record.encode().decode("cp1252") for record in link.data_to_send()]


@pytest.mark.requirement("PMS-11")
def test_the_sample_dialogue_of_the_specification() -> None:
    link = _link()
    link.connected(now_ms=0, resync=True)
    assert _hear(link, "LS|DA261121|TI090000|") == []
    assert _said(link) == [
        "LD|DA261121|TI090001|V#IK1|IFDL|RT5|",
        "LR|RIGI|FLRNG#GSGN|",
        "LR|RIGO|FLRNG#|",
        "LR|RIGC|FLRNG#GNRO|",
        "LR|RIRE|FLRNRSID|",
        "LA|DA261121|TI090001|",
    ]
    assert _hear(link, "LC|PHH1|RPVA|") == [Configured((("PH", "H1"), ("RP", "VA")))]
    assert _hear(link, "LA|DA261121|TI090003|") == [Came(True)]
    assert _said(link) == ["DR|DA261121|TI090001|"]
    assert _hear(link, "DS|DA261121|TI090004|") == []
    assert _hear(link, "GI|RN0412|G#88120|GSN|GNVidal|SF|") == [CameIn("0412", Guest("88120", "Vidal"), True)]
    assert _hear(link, "GO|RN0413|GSN|SF|") == []
    assert _hear(link, "DE|DA261121|TI090009|", 7) == [Resynchronised(7)]
    assert link.house.occupied() == ("0412",)


def test_we_wait_for_their_first_word_and_then_say_it() -> None:
    link = _link()
    link.connected(now_ms=0, resync=False)
    assert link.deadline_ms == FIRST_WORD_WAIT_MS
    link.on_time(now_ms=FIRST_WORD_WAIT_MS - 1, at=AT)
    assert _said(link) == []
    link.on_time(now_ms=FIRST_WORD_WAIT_MS, at=AT)
    assert _said(link) == ["LS|DA261121|TI090001|"]


def test_each_of_their_openings_gets_the_whole_description() -> None:
    link = _alive()
    for _ in range(3):  # one LR was lost on the way: they ask again and again
        _hear(link, "LS|DA261121|TI090000|")
        assert [line[:2] for line in _said(link)] == ["LD", "LR", "LR", "LR", "LR", "LA"]
    assert _hear(link, "LA|DA261121|TI090003|") == [Came(False)]


def test_a_living_link_says_so_every_five_minutes_and_a_dead_one_knocks() -> None:
    link = _alive()
    link.on_time(now_ms=ALIVE_EVERY_MS, at=AT)
    assert [line[:2] for line in _said(link)] == ["LA"]
    assert _hear(link, "LE|DA261121|TI090000|") == [Ended("they ended the link", ())]
    assert link.deadline_ms is not None
    link.on_time(now_ms=link.deadline_ms, at=AT)
    assert [line[:2] for line in _said(link)] == ["LS"]


def test_a_key_order_is_answered_once() -> None:
    link = _alive()
    [fact] = _hear(link, "KR|KC1|KTN|RN204|WSDESK1|G#7|GA261121|GD261123|DT11:00|GNLindqvist|SILOBBY;SPA|IDanna|")
    assert isinstance(fact, Ordered)
    assert isinstance(fact.order, KeyOrder)
    assert (fact.order.kind, fact.order.rooms, fact.order.guest_number) == (KeyKind.NEW, ("204", "LOBBY", "SPA"), "7")
    link.answer(fact.number, Status.OK, at=AT, text="on the phone")
    assert _said(link) == ["KA|DA261121|TI090001|ASOK|CTon the phone|KC1|WSDESK1|G#7|"]
    with pytest.raises(LocalProtocolError, match="not open"):
        link.answer(fact.number, Status.OK, at=AT)


def test_an_order_left_unanswered_is_answered_for_us_and_never_again() -> None:
    link = _alive()
    [fact] = _hear(link, "KD|KC1|RN204|WSDESK1|")
    assert isinstance(fact, Ordered)
    assert fact.order == KeyEnd("1", "DESK1", ("204",), None)
    assert link.on_time(now_ms=ORDER_WAIT_MS, at=AT) == [Overdue(fact.number, fact.order)]
    assert _said(link) == ["KA|DA261121|TI090001|ASNR|CTnot answered in time|KC1|WSDESK1|"]
    with pytest.raises(LocalProtocolError):
        link.answer(fact.number, Status.OK, at=AT)


def test_the_orders_of_a_lost_link_are_named_and_cannot_be_answered() -> None:
    link = _alive()
    [fact] = _hear(link, "KR|KTN|RN204|")
    assert isinstance(fact, Ordered)
    assert link.disconnected("reset", now_ms=0) == [Ended("reset", (fact.order,))]
    link.connected(now_ms=0, resync=False)
    with pytest.raises(LocalProtocolError):
        link.answer(fact.number, Status.OK, at=AT)


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("KR|KTN|", "RN is missing"),
        ("KR|RN1|KTX|", "KT is 'X'"),
        ("KR|RN1|KTN|DT25:00|", "DT is '25:00'"),
        ("KR|RN1|KTN|GD2611|", "GD is '2611'"),
        ("KM|RN1|", "G# is missing"),
        ("KR|RN1|KTN|SI" + ";".join("ABCDEFGHIJKLMNOPQ") + "|", "17 rooms"),
    ],
)
def test_an_order_that_cannot_be_read_is_refused_by_its_field_and_answered(line: str, word: str) -> None:
    link = _alive()
    [fact] = _hear(link, line)
    assert isinstance(fact, Refused)
    assert word in fact.problem
    [answer] = _said(link)
    assert "|ASUR|" in answer


@pytest.mark.guarantee("G9")
def test_a_flood_of_orders_is_bounded() -> None:
    link = _alive()
    facts = [fact for _ in range(100) for fact in _hear(link, "KR|KTN|RN204|")]
    assert sum(isinstance(fact, Ordered) for fact in facts) == 64
    assert sum("|ASBY|" in line for line in _said(link)) == 36


def test_nothing_of_ours_is_sent_into_a_resynchronisation_or_undescribed() -> None:
    link = _alive(resync=True)
    with pytest.raises(LocalProtocolError, match="resync True"):
        link.send(Record("RE", {"RN": "1", "RS": "3"}))
    _hear(link, "DS|")
    _hear(link, "DE|")
    link.send(Record("RE", {"RN": "1", "RS": "3"}))
    with pytest.raises(LocalProtocolError, match="not described"):
        link.send(Record("PS", {"RN": "1"}))


def test_the_night_audit_is_told_and_the_unknown_is_ignored() -> None:
    link = _alive()
    assert _hear(link, "NS|DA261121|TI030000|") == [NightAudit(True)]
    assert _hear(link, "NE|DA261121|TI031500|") == [NightAudit(False)]
    assert _hear(link, "QQ|ZZ1|") == []
    assert link.ignored == 1


def test_a_move_told_as_leaving_and_coming_is_one_move() -> None:
    link = _alive()
    _hear(link, "GI|RN204|G#7|GNLindqvist|")
    assert _hear(link, "GO|RN204|G#7|", 1_000) == []
    guest = Guest("7", "Lindqvist")
    assert _hear(link, "GI|RN305|G#7|", 1_000 + MOVE_WAIT_MS - 1) == [Moved(guest, "204", "305", True)]
    assert link.on_time(now_ms=60_000, at=AT) == []
    assert _hear(link, "GC|RN101|RO305|G#7|") == [Moved(guest, "305", "101", True)]


def test_a_guest_who_left_and_did_not_come_elsewhere_has_left() -> None:
    link = _alive()
    _hear(link, "GI|RN204|G#7|")
    _hear(link, "GI|RN204|G#8|")
    _hear(link, "GO|RN204|G#7|", 1_000)
    assert link.deadline_ms == 1_000 + MOVE_WAIT_MS
    assert link.on_time(now_ms=1_000 + MOVE_WAIT_MS, at=AT) == [WentOut("204", Guest("7"), False)]
    _hear(link, "GO|RN204|G#8|", 9_000)
    assert link.on_time(now_ms=20_000, at=AT) == [WentOut("204", Guest("8"), True)]


def test_a_burst_of_guests_without_a_resynchronisation_ends_nobody() -> None:
    link = _alive()
    _hear(link, "GI|RN204|G#7|")
    assert _hear(link, "GI|RN205|G#8|") == [CameIn("205", Guest("8"), False)]
    assert _hear(link, "DE|", 5) == [], "the end of a list whose beginning nobody heard says nothing"
    assert link.house.occupied() == ("204", "205")


def test_a_resynchronisation_that_breaks_ends_nobody() -> None:
    link = _alive(resync=True)
    _hear(link, "DS|")
    _hear(link, "GI|RN204|G#7|SF|")
    _hear(link, "DE|")
    link.connected(now_ms=0, resync=True)
    _hear(link, "LS|")
    _hear(link, "LA|")
    _hear(link, "DS|")
    [fact] = [fact for fact in link.on_time(now_ms=RESYNC_WAIT_MS, at=AT) if isinstance(fact, Refused)]
    assert fact.record == "DR"
    assert link.house.occupied() == ("204",)


def test_a_guest_told_in_another_room_has_moved_there() -> None:
    link = _alive()
    _hear(link, "GI|RN204|G#7|GNLindqvist|")
    assert _hear(link, "GI|RN305|G#7|") == [Moved(Guest("7", "Lindqvist"), "204", "305", True)]
    assert _hear(link, "GC|RN305|RO204|G#7|") == []
    assert link.house.occupied() == ("305",)


def test_what_a_record_does_not_name_stays_known() -> None:
    link = _alive()
    _hear(link, "GI|RN204|G#7|GNLindqvist|GLEA|")
    assert _hear(link, "GC|RN204|G#7|GD261124|") == [Changed("204", Guest("7", "Lindqvist", None, "EA", "261124"))]
    assert _hear(link, "GC|RN204|G#7|") == []


def test_a_room_based_link_has_one_nameless_guest_a_room() -> None:
    link = _alive()
    assert _hear(link, "GI|RN204|") == [CameIn("204", Guest(""), False)]
    assert _hear(link, "GO|RN204|") == [WentOut("204", Guest(""), True)]


def test_a_room_that_is_shared_is_occupied_until_the_last_of_them_goes() -> None:
    link = _alive()
    _hear(link, "GI|RN204|GSN|")
    assert _hear(link, "GI|RN204|GSY|") == []
    assert _hear(link, "GO|RN204|GSY|") == [], "one of two left, and the room tells no numbers"
    assert link.house.occupied() == ("204",)
    assert _hear(link, "GO|RN204|GSN|") == [WentOut("204", Guest(""), True)]


@pytest.mark.parametrize("resync", [False, True])
def test_a_room_where_somebody_stays_whom_nobody_told_us_of_is_not_vacant(*, resync: bool) -> None:
    link = _alive()
    _hear(link, "GI|RN204|G#7|GSY|")
    told = _hear(link, f"GO|RN204|G#7|GSY|{'SF|' if resync else ''}", 1_000)
    assert told + link.on_time(now_ms=60_000, at=AT) == [WentOut("204", Guest("7"), False)]
    _hear(link, "GI|RN204|G#8|GSY|")
    _hear(link, "GO|RN204|G#8|GSY|", 61_000)
    assert _hear(link, "GI|RN305|G#8|GSN|", 61_001) == [Moved(Guest("8"), "204", "305", False)]


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("came", "went"),
    [
        ("GI|RN204|G#7|GSY|", "GO|RN204|G#7|GSY|"),
        ("GI|RN204|GSY|", "GO|RN204|GSY|"),
        ("GI|RN204|G#7|GSY|", "GC|RN305|G#7|GSN|RO204|GSY|"),
    ],
)
def test_who_stays_in_a_room_that_nobody_else_is_known_in_is_asked_once_for_all_of_them(came: str, went: str) -> None:
    link = _alive()
    _hear(link, came)
    _hear(link, went, 1_000)
    _hear(link, "GI|RN206|G#9|GSY|", 2_000)
    _hear(link, "GO|RN206|G#9|GSY|", 2_000)
    due = 1_000 + RESYNC_IN_DOUBT_MS
    link.on_time(now_ms=due - 1, at=AT)
    assert not any(each.startswith("DR|") for each in _said(link))
    link.on_time(now_ms=due, at=AT)
    assert [each[:3] for each in _said(link) if each.startswith("DR|")] == ["DR|"]
    _hear(link, "DS|", due)
    facts = _hear(link, "DE|", due + 1)
    assert link.house.occupied() == ()
    assert facts[-1] == Resynchronised(due + 1)
    link.on_time(now_ms=due + 2 * RESYNC_IN_DOUBT_MS, at=AT)
    assert not any(each.startswith("DR|") for each in _said(link)), "it has been answered"


def test_a_pms_that_passes_over_the_question_is_not_asked_on_and_on() -> None:
    link = _alive()
    _hear(link, "GI|RN204|G#7|GSY|")
    _hear(link, "GO|RN204|G#7|GSY|")
    link.on_time(now_ms=RESYNC_IN_DOUBT_MS, at=AT)
    later = RESYNC_IN_DOUBT_MS + RESYNC_BEGIN_WAIT_MS
    assert any(isinstance(each, Refused) for each in link.on_time(now_ms=later, at=AT))
    _said(link)
    _hear(link, "GI|RN206|G#9|GSN|", later)
    link.on_time(now_ms=later + RESYNC_IN_DOUBT_MS, at=AT)
    assert not any(each.startswith("DR|") for each in _said(link))


def test_a_room_whose_other_guests_are_known_is_no_reason_to_ask_and_a_lost_link_asks_when_it_is_back() -> None:
    link = _alive()
    for line in ("GI|RN204|G#7|GSN|", "GI|RN204|G#8|GSY|", "GO|RN204|G#8|GSY|"):
        _hear(link, line)
    link.on_time(now_ms=RESYNC_IN_DOUBT_MS, at=AT)
    assert not any(each.startswith("DR|") for each in _said(link))
    _hear(link, "GO|RN204|G#7|GSY|")
    link.disconnected("cut", now_ms=RESYNC_IN_DOUBT_MS)
    link.connected(now_ms=RESYNC_IN_DOUBT_MS, resync=False)
    _hear(link, "LS|DA261121|TI090000|", RESYNC_IN_DOUBT_MS)
    assert Came(wants_resync=True) in _hear(link, "LA|DA261121|TI090003|", RESYNC_IN_DOUBT_MS)


def test_a_move_says_of_the_old_room_whether_others_stay_there() -> None:
    link = _alive()
    _hear(link, "GI|RN204|GSN|")
    assert _hear(link, "GC|RN305|GSN|RO204|GSY|") == [CameIn("305", Guest(""), False)]
    assert link.house.occupied() == ("204", "305")
    assert _hear(link, "GC|RN101|GSY|RO204|GSN|") == [Moved(Guest(""), "204", "101", True)]
    _hear(link, "GI|RN401|G#9|GSY|")
    assert _hear(link, "GC|RN402|G#9|GSN|RO401|GSY|") == [Moved(Guest("9"), "401", "402", False)]
    assert _hear(link, "GC|RN403|G#9|GSY|RO402|GSN|") == [Moved(Guest("9"), "402", "403", True)]


@pytest.mark.guarantee("G19")
@given(st.lists(st.sampled_from(ANY_LINES), max_size=40))
def test_no_order_of_records_raises_or_doubles_a_guest(lines: list[str]) -> None:
    link = _link()
    link.connected(now_ms=0, resync=True)
    for at, line in enumerate(lines):
        _hear(link, line, at * 900)
        link.on_time(now_ms=at * 900, at=AT)
        rooms = [room for room in link.house.occupied() for guest in link.house.guests(room) if guest.number == "1"]
        assert len(rooms) <= 1


@given(st.randoms(use_true_random=False))
def test_after_a_resynchronisation_we_know_what_the_pms_knows(dice: Random) -> None:
    link = _alive()
    truth: dict[str, str] = {}
    for step in range(dice.randrange(0, 60)):  # some of it is lost while the link is away
        guest, room = str(dice.randrange(1, 9)), f"{dice.randrange(101, 106)}"
        lost = dice.random() < 0.5
        if guest in truth and dice.random() < 0.5:
            line = f"GO|RN{truth.pop(guest)}|G#{guest}|"
        else:
            old = truth.get(guest)
            line = f"GC|RN{room}|RO{old}|G#{guest}|" if old else f"GI|RN{room}|G#{guest}|"
            truth[guest] = room
        if not lost:
            _hear(link, line, step * 10_000)
            link.on_time(now_ms=step * 10_000 + 9_000, at=AT)
    _hear(link, "DS|", 10**6)
    told = [f"GI|RN{room}|G#{guest}|SF|" for guest, room in truth.items()]
    dice.shuffle(told)
    for line in told:
        _hear(link, line, 10**6)
    _hear(link, "DE|", 10**6)
    link.on_time(now_ms=2 * 10**6, at=AT)
    held = {(guest.number, room) for room in link.house.occupied() for guest in link.house.guests(room)}
    assert held == set(truth.items())


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"RN": "0412", "CS": "0", "DN": "Y"}, RoomTold("0412", 0, True, None)),
        ({"RN": "0412", "ML": "N"}, RoomTold("0412", None, None, False)),
    ],
)
def test_the_pms_tells_of_a_rooms_equipment(fields: dict[str, str], told: RoomTold) -> None:
    link = _alive()
    assert link.receive(Record("RE", fields), now_ms=0, at=AT) == [told]


@pytest.mark.parametrize("fields", [{"CS": "1"}, {"RN": "1", "CS": "4"}, {"RN": "1", "DN": "maybe"}])
def test_equipment_that_cannot_be_is_refused_by_name(fields: dict[str, str]) -> None:
    link = _alive()
    [fact] = link.receive(Record("RE", fields), now_ms=0, at=AT)
    assert isinstance(fact, Refused)


@pytest.mark.requirement("ACC-02")
def test_an_answer_that_is_due_in_a_resynchronisation_waits_for_its_end() -> None:
    link = _alive(resync=True)
    [fact] = _hear(link, "KR|KTN|RN204|KC1|")
    assert isinstance(fact, Ordered)
    link.answer(fact.number, Status.OK, at=AT)
    _hear(link, "KR|KTX|RN205|KC2|")
    _hear(link, "DS|")
    [late] = _hear(link, "KD|RN204|KC3|")
    assert isinstance(late, Ordered)
    assert link.on_time(now_ms=ORDER_WAIT_MS, at=AT)[0] == Overdue(late.number, late.order)
    assert _said(link) == [], "nothing of ours is sent between DR and DE"
    with pytest.raises(LocalProtocolError):
        link.answer(fact.number, Status.OK, at=AT)
    _hear(link, "DE|", ORDER_WAIT_MS)
    assert [decode(line.encode()).need("KC") for line in _said(link)] == ["1", "2", "3"]
    link.on_time(now_ms=10**7, at=AT)
    assert not any(line.startswith("KA|") for line in _said(link)), "each once"


def test_a_resynchronisation_that_is_passed_over_holds_nobody_up() -> None:
    link = _alive(resync=True)
    [fact] = _hear(link, "KR|KTN|RN204|")
    assert isinstance(fact, Ordered)
    link.answer(fact.number, Status.OK, at=AT)
    link.on_time(now_ms=RESYNC_BEGIN_WAIT_MS - 1, at=AT)
    assert _said(link) == []
    [told] = link.on_time(now_ms=RESYNC_BEGIN_WAIT_MS, at=AT)
    assert isinstance(told, Refused)
    assert "passed over" in told.problem
    assert [line[:2] for line in _said(link)] == ["KA"]
    _hear(link, "DS|", RESYNC_BEGIN_WAIT_MS + 1)  # it comes after all
    assert not link.takes_records
    assert _hear(link, "DE|", 99_000) == [Resynchronised(99_000)]
    assert link.takes_records


def test_an_answer_that_waits_when_the_link_is_lost_is_named_with_its_order() -> None:
    link = _alive(resync=True)
    [fact] = _hear(link, "KR|KTN|RN204|")
    assert isinstance(fact, Ordered)
    link.answer(fact.number, Status.OK, at=AT)
    assert _hear(link, "LE|") == [Ended("they ended the link", (fact.order,))]
    assert link.disconnected("reset", now_ms=0) == [Ended("reset", ())]
    link.connected(now_ms=0, resync=False)
    _hear(link, "LS|")
    _hear(link, "LA|")
    _hear(link, "DS|")
    _hear(link, "DE|")
    assert not any(line.startswith("KA|") for line in _said(link)), "never on another connection"


def test_answers_wait_for_a_link_that_is_described_anew_and_leave_before_the_next_resynchronisation() -> None:
    link = _alive(resync=True)
    [fact] = _hear(link, "KR|KTN|RN204|")
    assert isinstance(fact, Ordered)
    _hear(link, "LS|")
    link.answer(fact.number, Status.OK, at=AT)
    link.data_to_send()
    _hear(link, "LA|")
    assert [line[:2] for line in _said(link)] == ["KA", "DR"]


@pytest.mark.guarantee("G9")
def test_a_flood_of_orders_in_a_resynchronisation_is_bounded() -> None:
    link = _alive(resync=True)
    for _ in range(1_000):
        for fact in _hear(link, "KR|KTN|RN204|"):
            if isinstance(fact, Ordered):
                link.answer(fact.number, Status.OK, at=AT)
    _hear(link, "DS|")
    _hear(link, "DE|")
    said = _said(link)
    assert sum("|ASOK|" in line for line in said) == 64
    assert len(said) < 400


@pytest.mark.parametrize("cut", ["DR", "DS"])
def test_a_resynchronisation_that_the_link_cut_short_is_asked_for_again_whatever_the_next_connection_wants(
    cut: str,
) -> None:
    link = _alive(resync=True)
    if cut == "DS":
        _hear(link, "DS|")
        _hear(link, "GI|RN204|G#7|SF|")
    link.disconnected("reset", now_ms=1_000)
    link.connected(now_ms=2_000, resync=False)
    _hear(link, "LS|", 2_000)
    _hear(link, "DE|", 2_000)  # what was left of the list that was cut
    assert _hear(link, "LA|", 2_000) == [Came(True)]
    assert _said(link)[-1].startswith("DR|")
    assert link.house.occupied() == (("204",) if cut == "DS" else ())


@pytest.mark.parametrize(("away_ms", "asked"), [(300_000, False), (300_001, True)])
@pytest.mark.parametrize("by", ["LE", "LS", "loss"])
def test_whoever_was_away_for_long_is_asked_for_everybody_whatever_ended_it(
    away_ms: int, by: str, *, asked: bool
) -> None:
    link = FiasLink("DL", "IK1", DESCRIBED, resync_after_ms=300_000)
    link.connected(now_ms=0, resync=False)
    _hear(link, "LS|")
    _hear(link, "LA|")
    if by == "loss":
        link.disconnected("reset", now_ms=1_000)
        for again in range(3):  # accepted and thrown out at once, as some servers do with a second client
            link.connected(now_ms=1_000 + again, resync=False)
            link.disconnected("thrown out", now_ms=1_000 + again)
        link.connected(now_ms=900 + away_ms, resync=False)
    else:
        _hear(link, f"{by}|", 1_000)
    _hear(link, "LS|", 950 + away_ms)
    assert _hear(link, "LA|", 1_000 + away_ms) == [Came(asked)]


def test_rooms_whose_guests_left_a_moment_ago_are_told() -> None:
    link = _alive()
    _hear(link, "GI|RN204|G#7|")
    _hear(link, "GO|RN204|G#7|", 1_000)
    assert (link.house.occupied(), link.house.leaving()) == ((), ("204",))
    _hear(link, "GI|RN305|G#7|", 2_000)
    assert link.house.leaving() == ()


# A PMS that says things twice, or for ever


def test_a_resynchronisation_that_is_begun_twice_ends_nobody_who_was_named() -> None:
    link = _alive(resync=True)
    for line in ("GI|RN1|G#1|", "GI|RN2|G#2|", "GI|RN3|G#3|", "DS|", "GI|RN1|G#1|SF|", "DS|", "GI|RN2|G#2|SF|"):
        _hear(link, line)
    facts = _hear(link, "DE|")
    assert [(each.room, each.by_silence) for each in facts if isinstance(each, WentOut)] == [("3", True)]


def test_one_that_begins_again_and_again_has_ten_minutes_in_all() -> None:
    link = _alive(resync=True)
    for minute in range(10):
        _hear(link, "DS|", minute * 60_000)
    before = link.takes_records
    [told] = link.on_time(now_ms=RESYNC_WAIT_MS, at=AT)
    assert isinstance(told, Refused)
    assert (before, link.takes_records) == (False, True)
    assert _hear(link, "DE|", RESYNC_WAIT_MS) == [], "its end comes too late to end anybody"


def test_a_pms_that_asks_for_the_description_at_once_and_for_ever_is_answered_five_times_in_ten_seconds() -> None:
    link = _link()
    link.connected(now_ms=0, resync=True)
    for each in range(50):
        _hear(link, "LS|DA261121|TI090000|", each)
    assert [line[:2] for line in _said(link)].count("LD") == DESCRIBED_MOST
    assert link.deadline_ms == DESCRIBED_WITHIN_MS
    link.on_time(now_ms=DESCRIBED_WITHIN_MS, at=AT)
    assert [line[:2] for line in _said(link)] == ["LS"]
    _hear(link, "LS|DA261121|TI090010|", DESCRIBED_WITHIN_MS + 1)
    _hear(link, "LA|DA261121|TI090010|", DESCRIBED_WITHIN_MS + 2)
    assert link.state is State.ALIVE


def test_an_answer_that_has_not_left_with_its_connection_is_named() -> None:
    link = _alive()
    for room in ("1", "2"):
        [fact] = _hear(link, f"KR|KTN|RN{room}|")
        assert isinstance(fact, Ordered)
        link.answer(fact.number, Status.OK, at=AT)
        if room == "1":
            assert [each.rooms for each in link.answered] == [("1",)]
            assert len(link.data_to_send()) == 1
    [ended] = link.disconnected("reset", now_ms=0)
    assert isinstance(ended, Ended)
    assert [each.rooms for each in ended.orders] == [("2",)]


def test_a_list_of_many_guests_is_read() -> None:
    blocks = "".join(f"RN{each}|G#{each}|GNx|GFy|GA261121|GD261122|BA1|CL2|NPN|" for each in range(60))
    [told] = _hear(_alive(), f"PL|P#7|{blocks}")
    assert isinstance(told, GuestsListed)
    assert len(told.guests) == 60
