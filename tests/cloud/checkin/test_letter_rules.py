"""Which letters are due and when, and what they say: rules over facts, for whatever time and whatever name."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloud.checkin.letters import (
    BACKOFF_MOST_MS,
    HOUR_MS,
    LATE_MS,
    MOVED_LEAST_MS,
    TRIES_MOST,
    UNSURE_MOST,
    Facts,
    LetterKind,
    LetterState,
    Reason,
    Session,
    after,
    by_day,
    days,
    rule,
    wait_ms,
)
from cloud.checkin.mail.letter import WORDS, Written, compose, is_address, shown
from cloud.checkin.mail.port import Outcome
from cloud.kit.times import at, unix_ms
from cloud.stays.life import StayState

pytestmark = pytest.mark.requirement("CHK-06")

VIENNA = ZoneInfo("Europe/Vienna")
NOON = unix_ms(datetime(2026, 11, 21, 12, tzinfo=VIENNA))
COMING = Facts(StayState.PLANNED, NOON + 24 * HOUR_MS, NOON + 72 * HOUR_MS, VIENNA, Session.NONE)
INVITATION, READY = LetterKind.INVITATION, LetterKind.ROOM_READY


def ruled(kind: LetterKind, facts: Facts, *, hours: int = 48, now_ms: int = NOON) -> tuple[LetterState, Reason | None]:
    ruling = rule(kind, facts, hours=hours, now_ms=now_ms)
    return ruling.state, ruling.reason


def test_a_stay_within_the_houses_hours_is_invited_at_once_by_day() -> None:
    assert ruled(INVITATION, COMING) == (LetterState.DUE, None)
    assert rule(INVITATION, COMING, hours=24, now_ms=NOON).at_ms == NOON
    assert ruled(INVITATION, COMING, hours=23) == (LetterState.OVERTAKEN, Reason.NOT_THE_TIME)
    assert ruled(INVITATION, COMING, hours=0) == (LetterState.OVERTAKEN, Reason.OFF)
    late = COMING.from_ms + LATE_MS
    assert ruled(INVITATION, COMING, now_ms=late) == (LetterState.DUE, None)
    assert ruled(INVITATION, COMING, now_ms=late + 1) == (LetterState.OVERTAKEN, Reason.NOT_THE_TIME)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(COMING, state=StayState.VOID), Reason.STAY_OVER),
        (replace(COMING, state=StayState.LEFT), Reason.STAY_OVER),
        (replace(COMING, state=StayState.IN_HOUSE), Reason.IN_HOUSE),
        (replace(COMING, session=Session.DONE), Reason.BEGUN),
        (replace(COMING, session=Session.OPEN), Reason.BEGUN),
        (replace(COMING, session=Session.WAITS), Reason.BEGUN),
        (replace(COMING, link_used=True), Reason.LINK_USED),
        (replace(COMING, from_ms=NOON + 100 * HOUR_MS, until_ms=NOON + 124 * HOUR_MS), Reason.NOT_THE_TIME),
    ],
)
def test_who_is_not_invited(facts: Facts, reason: Reason) -> None:
    assert ruled(INVITATION, facts) == (LetterState.OVERTAKEN, reason)


def test_who_moved_to_another_day_hears_of_the_new_one_while_there_is_time() -> None:
    day = at(COMING.from_ms).astimezone(VIENNA).date()
    for_it = replace(COMING, written_for=day)
    assert ruled(INVITATION, for_it) == (LetterState.DUE, None)
    assert ruled(INVITATION, replace(for_it, written_for=day - timedelta(days=1))) == (
        LetterState.OVERTAKEN,
        Reason.MOVED,
    )
    again, last = replace(for_it, told_other=True), COMING.from_ms - MOVED_LEAST_MS
    assert ruled(INVITATION, again, now_ms=last) == (LetterState.DUE, None)
    assert ruled(INVITATION, again, now_ms=last + 1) == (LetterState.OVERTAKEN, Reason.NOT_THE_TIME)
    assert ruled(INVITATION, for_it, now_ms=last + 1) == (LetterState.DUE, None)


@given(
    from_ms=st.integers(1_600_000_000_000, 1_900_000_000_000),
    ahead=st.integers(0, 15 * 24 * HOUR_MS),
    zone=st.sampled_from(["Europe/Vienna", "Asia/Beirut", "America/Havana", "Pacific/Apia", "America/St_Johns", "UTC"]),
)
def test_every_moment_is_of_one_day_of_the_house(from_ms: int, ahead: int, zone: str) -> None:
    """Also where the clocks change at midnight."""
    found = days(from_ms, from_ms + ahead, ZoneInfo(zone))
    assert [end for _, _, end in found[:-1]] == [begin for _, begin, _ in found[1:]]
    for moment in (from_ms, from_ms + ahead // 2, from_ms + ahead):
        [day] = [day for day, begin, end in found if begin <= at(moment) < end]
        assert day == at(moment).astimezone(ZoneInfo(zone)).date()


@pytest.mark.requirement("STY-05")
def test_that_a_room_is_ready_is_told_to_who_waits_for_it_alone() -> None:
    ready = replace(COMING, state=StayState.READY)
    assert ruled(READY, replace(ready, session=Session.KEYS), hours=0) == (LetterState.DUE, None)
    assert ruled(READY, replace(ready, session=Session.WAITS)) == (LetterState.WAITING, None)
    assert ruled(READY, replace(ready, session=Session.OPEN)) == (LetterState.WAITING, None)
    assert ruled(READY, replace(ready, session=Session.NONE)) == (LetterState.OVERTAKEN, Reason.NOT_WAITING)
    assert ruled(READY, replace(ready, session=Session.DONE)) == (LetterState.OVERTAKEN, Reason.BEGUN)
    inside = replace(COMING, state=StayState.IN_HOUSE, session=Session.KEYS)
    assert ruled(READY, inside) == (LetterState.OVERTAKEN, Reason.IN_HOUSE)


def test_a_letter_of_the_night_waits_for_the_morning_unless_the_guest_comes_before() -> None:
    evening = unix_ms(datetime(2026, 11, 21, 21, 0, tzinfo=VIENNA))
    eight = unix_ms(datetime(2026, 11, 22, 8, 0, tzinfo=VIENNA))
    assert by_day(evening - 1, VIENNA, arrival_ms=eight + 1) == evening - 1
    assert by_day(evening, VIENNA, arrival_ms=eight + 1) == eight
    assert by_day(eight - 1, VIENNA, arrival_ms=eight + 1) == eight
    assert by_day(evening, VIENNA, arrival_ms=eight) == evening
    before_spring = unix_ms(datetime(2027, 3, 27, 23, 0, tzinfo=VIENNA))  # that night has an hour less
    assert by_day(before_spring, VIENNA, arrival_ms=before_spring + 99 * HOUR_MS) == before_spring + 8 * HOUR_MS


@given(
    now_ms=st.integers(1_700_000_000_000, 1_900_000_000_000),
    ahead=st.integers(-LATE_MS, 200 * HOUR_MS),
    zone=st.sampled_from(["Europe/Vienna", "Pacific/Kiritimati", "America/St_Johns", "Asia/Kathmandu", "UTC"]),
)
def test_nobody_is_woken(now_ms: int, ahead: int, zone: str) -> None:
    when = by_day(now_ms, ZoneInfo(zone), arrival_ms=now_ms + ahead)
    assert now_ms <= when <= now_ms + 12 * HOUR_MS, "a night has eleven hours, and twelve when clocks go back"
    local = at(when).astimezone(ZoneInfo(zone))
    assert 8 <= local.hour < 21 or when == now_ms
    if when > now_ms:
        assert now_ms + ahead > when, "who comes before the morning is written to at once"
        assert by_day(when, ZoneInfo(zone), arrival_ms=now_ms + ahead) == when


def test_what_a_try_comes_to() -> None:
    assert after(Outcome.TAKEN, tries=1, now_ms=0, jitter=0.5).state is LetterState.SENT
    refused = after(Outcome.REFUSED, tries=1, now_ms=0, jitter=0.5)
    assert (refused.state, refused.reason) == (LetterState.NOT_POSSIBLE, Reason.REFUSED)
    for outcome, most in ((Outcome.NOT_NOW, TRIES_MOST), (Outcome.UNKNOWN, UNSURE_MOST)):
        states = [after(outcome, tries=n, now_ms=0, jitter=0.5).state for n in range(1, most + 1)]
        assert states == [LetterState.DUE] * (most - 1) + [LetterState.GIVEN_UP]


@given(tries=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_waiting_grows_and_ends(tries: int, jitter: float) -> None:
    assert wait_ms(tries, 0) <= wait_ms(tries, jitter) <= 1.5 * wait_ms(tries, 0)
    assert wait_ms(tries, 0) <= wait_ms(tries + 1, 0) <= BACKOFF_MOST_MS


class Reader(HTMLParser):
    """What a mail program would make of it."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.text += data


LINK = "https://rooms.example/guest/#check-in=aurora/st-1/ikg_" + "x" * 43


def written(
    kind: LetterKind = INVITATION,
    house: str = "Hotel Aurora",
    language: str = "en",
    *,
    links: tuple[str, ...] = (LINK,),
    is_moved: bool = False,
) -> Written:
    arrives = datetime(2026, 11, 21, 15, tzinfo=VIENNA)
    return Written("le-1", kind, house, arrives, arrives + timedelta(days=2, hours=-4), links, language, is_moved)


def carried(message: EmailMessage) -> EmailMessage:
    """As the other end reads it."""
    return message_from_bytes(message.as_bytes(policy=SMTP), policy=default)


def sent(told: Written) -> EmailMessage:
    return carried(compose(told, sender="desk@hotel.example", to="anna@guests.example", now_ms=NOON))


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


@pytest.mark.parametrize("language", sorted(WORDS))
@pytest.mark.parametrize("is_moved", [False, True])
@pytest.mark.parametrize("kind", list(LetterKind))
def test_a_letter_says_what_it_has_to_in_each_language(language: str, is_moved: bool, kind: LetterKind) -> None:
    message = sent(written(kind, language=language, is_moved=is_moved))
    plain, reader = body(message, "plain"), Reader()
    reader.feed(body(message, "html"))
    for text in (plain, reader.text):
        assert LINK in text
        assert "Hotel Aurora" in text
        assert "23" in text, "until when the link holds"
        assert "11:00" in text
        assert ("21" in text) is (kind is INVITATION), "the day of arrival"
        assert "{" not in text
    assert reader.links == [LINK]
    assert message["Content-Language"] == language
    assert (message["Auto-Submitted"], message["Message-ID"]) == ("auto-generated", "<le-1@hotel.example>")
    assert "Hotel Aurora" in message["Subject"]
    assert len({sent(written(kind, language=each, is_moved=is_moved))["Subject"] for each in WORDS}) == len(WORDS)
    plain_one = sent(written(kind, language=language))
    assert (message["Subject"] != plain_one["Subject"]) is (is_moved and kind is INVITATION)


@pytest.mark.parametrize("language", sorted(WORDS))
def test_a_letter_of_several_rooms_has_a_link_for_each(language: str) -> None:
    links = tuple(f"{LINK[:-1]}{each}" for each in "abc")
    message = sent(written(language=language, links=links))
    reader = Reader()
    reader.feed(body(message, "html"))
    assert reader.links == list(links)
    for text in (body(message, "plain"), reader.text):
        assert [text.count(each) for each in links] == [1, 1, 1]
        assert "3" in text.replace("23", ""), "how many rooms"
        assert "{" not in text


def test_a_language_that_nobody_speaks_is_english() -> None:
    assert sent(written(language="tlh"))["Content-Language"] == "en"


@given(
    st.text(max_size=200) | st.sampled_from(["A\r\nBcc: x@y.example", '<script>alert("1")</script>', "{house}", "\x00"])
)
def test_a_hostile_name_of_a_house_is_a_name(house: str) -> None:
    message = sent(written(house=house))
    expected = {"From", "To", "Subject", "Message-ID", "Date", "Auto-Submitted", "Content-Language", "MIME-Version",
                "Content-Type"}  # fmt: skip
    assert set(message.keys()) == expected
    assert [each.addr_spec for each in message["To"].addresses] == ["anna@guests.example"]
    assert [each.addr_spec for each in message["From"].addresses] == ["desk@hotel.example"]
    reader = Reader()
    reader.feed(body(message, "html"))
    assert set(reader.tags) == {"html", "head", "meta", "title", "body", "p", "a"}
    assert reader.links == [LINK]
    assert " ".join(shown(house).split()) in " ".join(reader.text.split())


_PIECES = st.sampled_from([
    "<", ">", '"', ",", ";", ":", "@", "(", ")", "[", "]", "\\", " ", ".", "=?utf-8?q?", "?=", "=0D=0A", "Bcc:",
    "desk@evil.example", "<desk@evil.example>", "é", "中", "A" * 30, "\u2028", "\r\n",
])  # fmt: skip


@given(st.lists(_PIECES, max_size=30).map("".join))
@example("Grand Hotel Aurora, Congress and Spa Resort at the Lake of Constance, Bregenz")
@example("A" * 40 + ' <desk@evil.example>, "' + "B" * 20)
@example("é" * 30 + ", <desk@evil.example> (")
@example("=?utf-8?q?a=0D=0ABcc:_desk=40evil.example?= at the lake")
def test_a_letter_comes_from_one_sender_whatever_the_house_is_called(house: str) -> None:
    """Long names too: where `email` folds one it forgets that it stood in quotes."""
    read = sent(written(house=house))
    assert [each.addr_spec for each in read["From"].addresses] == ["desk@hotel.example"]
    assert [each.addr_spec for each in read["To"].addresses] == ["anna@guests.example"]
    assert not read["From"].defects
    assert {"\r", "\n"}.isdisjoint(read["Subject"])
    assert "Bcc" not in read


@pytest.mark.parametrize(
    "text", ["a@b.example\r\nBcc: c@d.example", "a@b.example, c@d.example", "nobody", "", "<a@b>", "@"]
)
def test_what_is_not_one_address_is_none(text: str) -> None:
    assert not is_address(text)
    assert is_address("anna.berger+rooms@guests.example")


@given(st.text(max_size=60))
def test_whatever_is_an_address_is_one_line_of_a_header(text: str) -> None:
    if is_address(text):
        message = carried(compose(written(), sender="desk@hotel.example", to=text, now_ms=NOON))
        assert [each.addr_spec for each in message["To"].addresses] == [text]


def test_the_date_of_a_letter_is_when_it_was_written() -> None:
    assert sent(written())["Date"].datetime == datetime.fromtimestamp(NOON / 1_000, UTC)
