"""The PMS in the house says that somebody leaves on another day, with the line cut (docs/decisions/0143)."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from edge.bridges.fias.desk import on_day_ms
from protocols.device_model.identity import StayId
from protocols.fias.house import House
from protocols.fias.record import Record
from protocols.link.lanes import Lane
from tests.edge.bridges.fias.test_fias import ANNA, World, until, world
from tests.edge.world import HOUR_MS, PHONE, T0, a_document, a_stay

VIENNA = ZoneInfo("Europe/Vienna")
ENDS_MS = T0 + 34 * HOUR_MS  # 2026-01-02, 11 o'clock in Vienna
DAY_MS = 24 * HOUR_MS
STAYS = ({**ANNA, "expected_until_ms": ENDS_MS}, a_stay("s-ben", "102", guest_name="Ben Vidal"))


def changed(departure: str, **more: str) -> Record:
    return Record("GC", {"RN": "101", "G#": "88120", "GS": "N", "GN": "Muster", "GD": departure, **more})


def ends(w: World, stay: str = "s-anna") -> int:
    found = w.building.house.keeper.replica.get(StayId(stay))
    assert found is not None
    return found.expected_until_ms


def words(w: World) -> list[tuple[str, int, int, str]]:
    records = w.building.log.records(Lane.A, "stay_until")
    return [(each.body["stay"], each.body["until_ms"], each.body["n"], each.body["by"]) for each in records]


async def heard(w: World) -> None:
    """Wait until all that the PMS said so far was taken: a guest of another room is in house after it."""
    number = str(9_000 + w.session.counts["records"])
    w.pms.check_in(number, "103", "Nobody", "260103")
    await until(lambda: ("103", number) in w.desk.doubts)


@pytest.mark.requirement("PMS-11", "STY-08")
@pytest.mark.guarantee("G11")
async def test_a_departure_that_changes_is_the_stays_and_its_keys_once() -> None:
    async with world(*STAYS) as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.state("s-anna") == "in_house")
        assert words(w) == [], "the day that was known already"
        for _ in range(2):
            w.pms.say(changed("260104"))
        await until(lambda: ends(w) == ENDS_MS + 2 * DAY_MS)
        told = await w.building.house.desk.check_in(StayId("s-anna"), PHONE, by="desk")
        assert told["bundle"]["not_after_ms"] == ENDS_MS + 2 * DAY_MS
        w.pms.say(changed("260103"))
        await until(lambda: ends(w) == ENDS_MS + DAY_MS)
        assert words(w) == [
            ("s-anna", ENDS_MS + 2 * DAY_MS, 1, "pms"),
            ("s-anna", ENDS_MS + DAY_MS, 2, "pms"),
        ]


async def test_what_changed_while_nobody_listened_is_heard_with_everybody_in_house() -> None:
    async with world(*STAYS) as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.state("s-anna") == "in_house")
        w.session._resync = True  # as after a gap that was too long
        w.pms.guests["88120"].departure = "260105"
        w.pms.drop()
        await until(lambda: ends(w) == ENDS_MS + 3 * DAY_MS)
        assert len(words(w)) == 1


async def test_of_guests_of_one_stay_whom_a_list_names_one_by_one_the_last_to_leave_counts_and_nothing_flaps() -> None:
    """A new life of this process knows nobody; the list names first who leaves first."""
    async with world(a_stay("s-ben", "102", guest_name="Ben Vidal", expected_until_ms=ENDS_MS + 2 * DAY_MS)) as w:
        w.pms.slow_resync = True
        for number, departure in (("7", "260103"), ("8", "260104")):
            w.pms.check_in(number, "102", "Vidal", departure)
        await until(lambda: len(w.session.link.house.guests("102")) == 2)
        await heard(w)
        before = len(words(w))
        w.session.link.house, w.session._resync = House(), True
        w.pms.drop()
        await until(lambda: w.session.link.house.resyncing and len(w.session.link.house.guests("102")) == 2)
        w.pms.check_in("9", "102", "Vidal", "260102")  # and one who comes in the midst of it
        await until(lambda: len(w.session.link.house.guests("102")) == 3)
        w.pms.say(Record("GC", {"RN": "102", "G#": "8", "GS": "N", "GN": "Vidal", "GD": "260106"}))
        await until(lambda: ends(w, "s-ben") == ENDS_MS + 4 * DAY_MS)
        w.pms.say(Record("GC", {"RN": "102", "G#": "8", "GS": "N", "GN": "Vidal", "GD": "260104"}))
        await until(lambda: ends(w, "s-ben") == ENDS_MS + 2 * DAY_MS)
        assert len(words(w)) == before + 2, "what changes is taken at once"
        w.pms.finish()
        await until(lambda: not w.session._resync)
        assert len(words(w)) == before + 2


async def test_on_a_room_based_link_the_guest_told_last_ends_nobodys_stay() -> None:
    """Without numbers a room has one guest, whoever it is: two stays share it, and two guests are one stay."""
    a = a_stay("s-a", "101", expected_until_ms=ENDS_MS + 2 * DAY_MS, state="in_house", share="x")
    b = a_stay("s-b", "101", expected_until_ms=ENDS_MS, state="in_house", share="x")
    stay = a_stay("s-ben", "102", guest_name="Ben Vidal", expected_until_ms=ENDS_MS + 2 * DAY_MS)
    async with world(guest_based=False) as w:
        await w.building.house.keeper.apply(2, a_document(a, b, stay, v=2))
        await until(lambda: not w.session._resync)  # or the list that is empty would end them by silence
        for room in ("101", "102"):
            for share, departure in (("N", "260104"), ("Y", "260102")):
                w.pms.say(Record("GI", {"RN": room, "GS": share, "GN": "Vidal", "GD": departure}))
        await until(lambda: w.state("s-ben") == "in_house")
        w.pms.say(Record("GC", {"RN": "102", "GS": "Y", "GN": "Vidal", "GD": "260109"}))
        w.pms.say(Record("GI", {"RN": "103", "GS": "N", "GN": "Nobody", "GD": "260103"}))
        await until(lambda: ("103", "") in w.desk.doubts)
        assert words(w) == []


async def test_what_somebody_here_decided_stands_until_the_pms_says_as_much() -> None:
    async with world(*STAYS) as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.state("s-anna") == "in_house")
        here = ENDS_MS + 2 * DAY_MS
        await w.building.house.desk.end_at(StayId("s-anna"), here, by="Frau Maier")
        w.pms.say(changed("260102", GF="Anna"))  # something else changed, and the PMS has not heard of it
        await heard(w)
        assert ends(w) == here
        assert "Frau Maier" in w.desk.doubts["101", "88120"].reason
        w.pms.say(changed("260103"))  # longer there too, and not so long
        await heard(w)
        assert ends(w) == here
        w.pms.say(changed("260105"))
        await until(lambda: ends(w) == ENDS_MS + 3 * DAY_MS)
        w.pms.say(changed("260103"))  # and now the word is the PMS's own
        await until(lambda: ends(w) == ENDS_MS + DAY_MS)
        assert [each[3] for each in words(w)] == ["Frau Maier", "pms", "pms"]


async def test_an_early_departure_that_the_pms_has_not_heard_of_is_not_undone_by_its_next_word() -> None:
    async with world({**STAYS[0], "expected_until_ms": ENDS_MS + 2 * DAY_MS}) as w:
        w.pms.check_in("88120", "101", "Muster", "260104")
        await until(lambda: w.state("s-anna") == "in_house")
        await w.building.house.desk.end_at(StayId("s-anna"), ENDS_MS, by="Frau Maier")
        w.pms.say(changed("260104", GF="Anna"))
        await heard(w)
        assert ends(w) == ENDS_MS
        assert "Frau Maier" in w.desk.doubts["101", "88120"].reason
        w.pms.say(changed("260105"))
        await until(lambda: ends(w) == ENDS_MS + 3 * DAY_MS)


async def test_who_leaves_today_after_the_hour_of_departure_has_an_hour_and_a_day_that_is_over_is_nothing() -> None:
    async with world(*STAYS) as w:
        w.pms.check_in("88120", "101", "Muster", "260102")
        await until(lambda: w.state("s-anna") == "in_house")
        w.clock.advance(14 * HOUR_MS)
        for _ in range(2):
            w.pms.say(changed("260101"))
            await heard(w)
        assert words(w) == [("s-anna", T0 + 15 * HOUR_MS, 1, "pms")]
        for day in ("251224", "269999", "soon"):
            w.pms.say(changed(day))
        await heard(w)
        assert len(words(w)) == 1


async def test_of_two_guests_of_one_stay_the_last_to_leave_counts() -> None:
    async with world(STAYS[1]) as w:
        for number, departure in (("7", "260103"), ("8", "260105"), ("9", "260104")):
            w.pms.check_in(number, "102", "Vidal", departure)
        await heard(w)
        walk_ins = [each for each in w.in_room("102") if each != "s-ben"]
        before = {each: ends(w, each) for each in w.in_room("102")}
        w.pms.say(Record("GC", {"RN": "102", "G#": "8", "GS": "N", "GN": "Vidal", "GD": "260106"}))
        await heard(w)
        after = {each: ends(w, each) for each in w.in_room("102")}
        longer = [each for each in after if after[each] != before[each]]
        assert len(longer) == 1, (walk_ins, before, after)
        assert after[longer[0]] - before[longer[0]] == DAY_MS


@pytest.mark.parametrize(
    ("before", "day", "expected"),
    [
        ((2026, 1, 2, 11), "260102", (2026, 1, 2, 11)),
        ((2026, 1, 2, 11), "260104", (2026, 1, 4, 11)),
        ((2026, 3, 28, 11), "260329", (2026, 3, 29, 11)),  # the clocks go forward between
        ((2026, 10, 24, 11), "261025", (2026, 10, 25, 11)),  # and back
    ],
)
def test_the_hour_of_departure_is_kept_whatever_the_day(
    before: tuple[int, ...], day: str, expected: tuple[int, ...]
) -> None:
    def ms(parts: tuple[int, ...]) -> int:
        year, month, date, hour = parts
        return round(datetime(year, month, date, hour, tzinfo=VIENNA).timestamp() * 1000)

    assert on_day_ms(VIENNA)(day, ms(before)) == ms(expected)
    assert on_day_ms(VIENNA)("", ms(before)) is None
