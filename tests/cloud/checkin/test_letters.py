"""Letters to guests, from the stay to the mail server: once, to nobody who is not to have them, never without trace."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from cloud.checkin import letter_rows, letter_work
from cloud.checkin.letter_work import LEASE_MS, Wish
from cloud.checkin.letters import HOUR_MS, LOOK_AGAIN_MS, TRIES_MOST
from cloud.checkin.links import LINKS_OF_LETTERS
from cloud.checkin.mail.emulator import MailServer, Manner
from cloud.checkin.mail.port import Outcome, Told
from cloud.kit.database import execute
from cloud.kit.times import at, iso
from cloud.pms.port import GuestContact, PmsBusyError, PmsFaultError
from cloud.stays.reservation import Housekeeping, PmsStatus
from protocols.errors import PlatformError, StoreFailedError
from tests.cloud.checkin.front_desk import HERE, STAY
from tests.cloud.checkin.letter_post import SOON, TO, CrashedError, Post, several
from tests.cloud.checkin.letter_post import post as post
from tests.cloud.checkin.letter_post import server as server
from tests.cloud.houses import DAY_MS, NOW_MS
from tests.cloud.public.conftest import Site
from tests.cloud.public.conftest import site as site

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("CHK-06")]


@pytest.mark.requirement("CHK-05")
async def test_a_guest_is_invited_once_and_his_link_lets_him_in(post: Post) -> None:
    await post.desk.book(SOON)
    assert await post.work() == 1
    [taken] = post.server.taken
    assert (taken.to, taken.message["Content-Language"]) == (TO, "de")
    assert "Hotel Aurora" in taken.message["Subject"]
    assert post.pms.asked == [("aurora", "mews", "r1")]
    assert await post.stands() == ("sent", None)
    guest = {"Authorization": f"Bearer {post.tokens()[0]}"}
    begun = await post.desk.post(f"{HERE}/session", {"language": "de"}, guest)
    assert begun.status_code == 200, begun.text
    for _ in range(3):
        assert await post.work(after_ms=60_000) == 0
    assert len(post.server.taken) == 1
    assert await post.told("checkin.invited") == [{"stay": STAY}]


async def test_neither_the_address_nor_the_link_stands_anywhere(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    await post.desk.book(SOON)
    await post.work()
    [token] = post.tokens()
    for query in (
        "SELECT row_to_json(t)::text AS kept FROM checkin.letter t",
        "SELECT row_to_json(t)::text AS kept FROM checkin.guest_link t",
        "SELECT row_to_json(t)::text AS kept FROM outbox.event t",
    ):
        kept = str(await post.desk.rows(query))
        assert STAY in kept
        assert TO not in kept
        assert token not in kept
    assert token not in caplog.text
    assert TO not in caplog.text


async def test_a_house_that_does_not_want_it_invites_nobody(site: Site, server: MailServer) -> None:
    post = Post(site, server, hours=0)
    await post.desk.book(SOON)
    assert await post.work() == 0
    early = Post(site, server, hours=9)
    assert await early.work() == 0
    assert await early.work(after_ms=HOUR_MS) == 1
    assert (await post.desk.rows("SELECT count(*) AS n FROM checkin.letter"))[0]["n"] == 1


@pytest.mark.parametrize("change", [
    {"status": PmsStatus.CANCELLED, "updated_ms": NOW_MS + 1},
    {"arrival_ms": NOW_MS + 40 * HOUR_MS, "departure_ms": NOW_MS + 3 * DAY_MS, "updated_ms": NOW_MS + 1},
    {"status": PmsStatus.IN_HOUSE, "updated_ms": NOW_MS + 1},
])  # fmt: skip
async def test_who_is_no_longer_to_be_written_to_is_not(post: Post, change: dict[str, Any]) -> None:
    """Told by the PMS in the last moment: while it is asked for the address."""
    await post.desk.book(SOON)
    held = {name: getattr(SOON, name) for name in SOON.__slots__}
    post.pms.then = lambda: post.desk.book(
        replace(SOON, **{k: v for k, v in {**held, **change}.items() if k in change})
    )
    assert await post.work() == 1
    assert post.server.taken == []
    assert (await post.stands() or ("",))[0] == "overtaken"
    assert await post.open_links() == 0
    assert await post.told("checkin.invited") == []


async def test_a_stay_that_comes_back_is_invited_after_all(post: Post) -> None:
    await post.desk.book(SOON)
    gone = replace(SOON, status=PmsStatus.CANCELLED, updated_ms=NOW_MS + 1)
    post.pms.then = lambda: post.desk.book(gone)
    await post.work()
    post.pms.then = None
    await post.desk.book(replace(SOON, updated_ms=NOW_MS + 2))
    assert await post.work(after_ms=60_000) == 1
    assert [each.to for each in post.server.taken] == [TO]


async def test_a_guest_at_his_check_in_is_not_invited_to_it(post: Post) -> None:
    await post.desk.book(SOON)
    guest = await post.desk.link()
    assert (await post.desk.post(f"{HERE}/session", {"language": "de"}, guest)).status_code == 200
    assert await post.work() == 0
    assert await post.stands() == ("overtaken", "begun")


async def test_at_night_the_letter_waits_for_the_morning(post: Post) -> None:
    hour = 3_600_000
    night = (23 - 1) * hour - NOW_MS % DAY_MS  # 23:00 in Vienna is 22:00 UTC
    post.site.clock.advance(night % DAY_MS)
    now = post.site.clock.wall_ms()
    await post.desk.book(replace(SOON, arrival_ms=now + 16 * hour, departure_ms=now + 40 * hour))
    assert await post.work() == 0
    assert (await post.row() or {})["state"] == "due"
    assert await post.work(after_ms=9 * hour - 1) == 0
    assert await post.work(after_ms=1) == 1


async def test_without_an_address_the_desk_knows_and_it_is_looked_for_again(post: Post) -> None:
    await post.desk.book(replace(SOON, arrival_ms=NOW_MS + 13 * DAY_MS, departure_ms=NOW_MS + 14 * DAY_MS))
    post.letters = post.make(Wish(14 * 24, language="fr"))
    for nothing in (None, GuestContact(None, "de"), GuestContact("a@b.example\r\nBcc: c@d.example", None)):
        post.pms.contact = nothing
        await post.work(after_ms=60_000)
        assert await post.stands() == ("not_possible", "no_address")
    assert len(post.pms.asked) == 1, "not asked again and again"
    assert await post.open_links() == 0
    for _ in range(TRIES_MOST + 1):  # as often as it takes: nothing was tried in vain
        await post.work(after_ms=DAY_MS)
        assert await post.stands() == ("not_possible", "no_address")
    assert len(post.pms.asked) == TRIES_MOST + 2
    post.pms.contact = GuestContact(TO, None)
    assert await post.work(after_ms=LOOK_AGAIN_MS) == 1
    assert await post.stands() == ("sent", None)
    assert post.server.taken[0].message["Content-Language"] == "fr", "the house's own"


@pytest.mark.parametrize("trouble", [PmsBusyError(90_000), PmsFaultError("it fell over")])
async def test_a_pms_that_cannot_be_asked_is_asked_later(post: Post, trouble: PlatformError) -> None:
    await post.desk.book(SOON)
    post.pms.trouble = trouble
    assert await post.work() == 1
    assert await post.stands() == ("due", "pms_away")
    assert await post.work(after_ms=59_000) == 0
    post.pms.trouble = None
    assert await post.work(after_ms=60_000) == 1
    assert await post.stands() == ("sent", None)


async def test_a_server_that_greylists_gets_it_again_and_the_link_of_nobody_is_ended(post: Post) -> None:
    post.server.manner = Manner.GREYLISTS
    await post.desk.book(SOON)
    await post.work()
    assert await post.stands() == ("due", "mail_away")
    assert await post.open_links() == 0
    assert await post.work(after_ms=90_000) == 1
    assert (await post.stands(), await post.open_links(), len(post.server.taken)) == (("sent", None), 1, 1)


async def test_an_address_that_nobody_has_is_not_tried_again(post: Post) -> None:
    post.server.manner = Manner.KNOWS_NOBODY
    await post.desk.book(SOON)
    await post.work()
    row = await post.row() or {}
    assert (row["state"], row["reason"], row["answer"]) == ("not_possible", "refused", "550")
    post.server.manner = Manner.PLAIN
    assert await post.work(after_ms=LOOK_AGAIN_MS) == 0
    assert await post.open_links() == 0


async def test_what_may_have_arrived_is_sent_again_by_the_same_name_and_both_links_hold(post: Post) -> None:
    post.server.manner = Manner.DROPS_AFTER
    await post.desk.book(SOON)
    await post.work()
    assert await post.stands() == ("due", "unsure")
    assert await post.told("checkin.invited") == []
    post.server.manner = Manner.PLAIN
    await post.work(after_ms=90_000)
    first, second = post.server.taken
    assert first.message["Message-ID"] == second.message["Message-ID"]
    assert len(set(post.tokens())) == 2
    for token in post.tokens():
        answer = await post.site.http.get(f"{HERE}/key-term", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200
    assert await post.told("checkin.invited") == [{"stay": STAY}]


async def test_a_crash_after_the_dot_costs_nothing_but_a_second_letter_of_the_same_name(post: Post) -> None:
    class Crashes:
        async def send(self, message: Any, *, to: str) -> Told:
            await post.mail.send(message, to=to)
            raise CrashedError

    await post.desk.book(SOON)
    post.letters = post.make(Wish(24), Crashes())
    with pytest.raises(ExceptionGroup):
        await post.work()
    assert (await post.row() or {})["state"] == "sending"
    post.letters = post.make(Wish(24))
    assert await post.work(after_ms=LEASE_MS - 1_000) == 0, "whoever has it may still be at it"
    assert await post.work(after_ms=1_000) == 1
    first, second = post.server.taken
    assert first.message["Message-ID"] == second.message["Message-ID"]
    assert (await post.row() or {})["tries"] == 2


async def test_however_often_we_crash_the_desk_can_hand_a_link_over(post: Post) -> None:
    class Crashes:
        async def send(self, message: Any, *, to: str) -> Told:
            raise CrashedError

    await post.desk.book(SOON)
    post.letters = post.make(Wish(24), Crashes())
    for _ in range(LINKS_OF_LETTERS):
        with pytest.raises(ExceptionGroup):
            await post.work(after_ms=LEASE_MS)
    await post.work(after_ms=LEASE_MS)
    assert await post.stands() == ("not_possible", "no_link")
    await post.desk.link()
    assert await post.open_links() == LINKS_OF_LETTERS + 1


async def test_trying_ends(post: Post) -> None:
    class Away:
        async def send(self, message: Any, *, to: str) -> Told:
            return Told(Outcome.NOT_NOW, "451")

    await post.desk.book(replace(SOON, arrival_ms=NOW_MS + 12 * DAY_MS, departure_ms=NOW_MS + 14 * DAY_MS))
    post.letters = post.make(Wish(14 * 24), Away())
    assert sum([await post.work(after_ms=3 * HOUR_MS) for _ in range(30)]) == TRIES_MOST
    assert await post.stands() == ("given_up", "mail_away")
    assert await post.open_links() == 0


async def test_two_senders_send_one_letter(post: Post) -> None:
    await post.desk.book(SOON)
    other = post.make(Wish(24))
    await post.letters.decide()
    await other.decide()
    post.pms.then = other.work
    assert await post.letters.work() == 1
    assert len(post.server.taken) == 1


async def test_a_tenant_sends_no_more_than_he_may_in_an_hour(post: Post) -> None:
    async with post.site.database.transaction() as connection:
        await execute(connection, "INSERT INTO checkin.letter_rate VALUES ('northlight', 1)")
    await several(post, 2)
    assert await post.work() == 1
    assert await post.work(after_ms=HOUR_MS - 1_000) == 0
    assert await post.work(after_ms=2_000) == 1
    assert len(post.server.taken) == 2


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.01)


async def test_a_server_that_hangs_holds_up_neither_what_is_looked_at_nor_another_house(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A PMS of one house that does not answer has a few of its letters waiting, and nothing else."""
    monkeypatch.setattr(letter_work, "LOOK_S", 0.02)
    hangs = asyncio.Event()
    post.pms.then = hangs.wait
    await several(post, letter_work.AT_A_TIME + 2)
    running = asyncio.create_task(post.letters.run())
    try:
        await until(lambda: len(post.pms.asked) == letter_work.OF_A_HOUSE)
        await post.desk.book(replace(SOON, external_id="r99", number="N-99", guest_name="Noor Haddad"))
        post.site.clock.advance(letter_work.DECIDE_EVERY_MS)
        async with asyncio.timeout(20):
            while len(await post.desk.rows("SELECT 1 FROM checkin.letter")) < letter_work.AT_A_TIME + 3:
                await asyncio.sleep(0.01)
        assert len(post.pms.asked) == letter_work.OF_A_HOUSE < letter_work.AT_A_TIME, "the others have room"
        hangs.set()
        await until(lambda: len(post.server.taken) == letter_work.AT_A_TIME + 3)
        assert len({each.message["Message-ID"] for each in post.server.taken}) == letter_work.AT_A_TIME + 3
    finally:
        hangs.set()
        running.cancel()
        await asyncio.wait({running})


async def test_a_database_that_was_away_ends_nothing_that_is_on_its_way(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letter_work, "LOOK_S", 0.02)
    hangs, failed = asyncio.Event(), asyncio.Event()
    post.pms.then = hangs.wait
    await post.desk.book(SOON)
    running = asyncio.create_task(post.letters.run())
    try:
        await until(lambda: len(post.pms.asked) == 1)

        async def away(*_: Any, **__: Any) -> bool:
            failed.set()
            raise StoreFailedError("the database was lost")

        with monkeypatch.context() as patched:
            patched.setattr(letter_rows, "anything", away)
            await until(failed.is_set)
        hangs.set()
        await until(lambda: len(post.server.taken) == 1)
        assert not running.done()
    finally:
        hangs.set()
        running.cancel()
        await asyncio.wait({running})


async def test_who_is_decided_again_and_again_hides_nobody(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stays that arrive first and are always overtaken leave room for those behind them."""
    monkeypatch.setattr(letter_work, "DECIDED_MOST", 1)
    await post.desk.book(SOON)
    guest = await post.desk.link()
    assert (await post.desk.post(f"{HERE}/session", {"language": "de"}, guest)).status_code == 200
    await post.work()
    assert await post.stands() == ("overtaken", "begun")
    await post.desk.book(replace(SOON, external_id="r2", arrival_ms=SOON.arrival_ms + HOUR_MS))
    assert await post.work(after_ms=letter_work.OVERTAKEN_MS) == 1


async def test_a_session_that_cannot_be_read_holds_up_no_other_guests_letter(post: Post) -> None:
    """Nor what else hears of it: its event is delivered."""
    await post.desk.policy()
    await post.desk.book(SOON)
    guest = await post.desk.link()
    assert (await post.desk.post(f"{HERE}/session", {"language": "de"}, guest)).status_code == 200
    assert (await post.desk.anna(guest)).status_code == 200
    async with post.site.database.transaction() as connection:
        assert await execute(connection, "UPDATE checkin.guest SET sealed = substr(sealed, 1, length(sealed) - 1)") == 1
    await post.desk.book(replace(SOON, external_id="r2", arrival_ms=SOON.arrival_ms + HOUR_MS))
    assert await post.work() == 1
    assert sorted((each["state"], each["reason"]) for each in await post.desk.rows("SELECT * FROM checkin.letter")) == [
        ("overtaken", "begun"),
        ("sent", None),
    ]
    assert await post.desk.rows("SELECT 1 FROM outbox.event WHERE attempts > 1") == []


async def test_of_a_tenant_that_is_stopped_nothing_goes_and_another_is_not_held_up(post: Post) -> None:
    await several(post, 3)
    await post.letters.decide()
    async with post.site.database.transaction() as connection:
        await execute(connection, "INSERT INTO checkin.letter_rate VALUES ('northlight', 0)")
    assert await post.letters.work() == 0
    async with post.site.database.transaction() as connection:
        await execute(connection, "UPDATE checkin.letter_rate SET per_hour = 2")
    assert await post.letters.work() == 2


@pytest.mark.requirement("STY-05")
async def test_a_guest_who_waits_for_his_room_is_told_once_that_it_is_ready(post: Post) -> None:
    await post.desk.condition(Housekeeping.DIRTY, NOW_MS + 1)
    await post.desk.book()
    guest = await post.desk.link()
    begun = await post.desk.post(f"{HERE}/session", {"language": "de"}, guest)
    assert begun.json()["waits_for"] == "room"
    assert await post.work() == 0
    assert await post.stands("room_ready") == ("waiting", None)
    await post.desk.condition(Housekeeping.INSPECTED, NOW_MS + 60_000)
    assert await post.work(after_ms=60_000) == 1
    assert await post.stands("room_ready") == ("sent", None)
    [taken] = post.server.taken
    assert "fertig" in taken.message["Subject"]
    assert "101" not in str(taken.message), "a letter names no room"
    assert await post.told("checkin.room_ready") == [{"stay": STAY}]
    await post.desk.condition(Housekeeping.DIRTY, NOW_MS + 120_000)
    await post.desk.condition(Housekeeping.INSPECTED, NOW_MS + 180_000)
    assert await post.work(after_ms=120_000) == 0
    keys = await post.desk.keys({"Authorization": f"Bearer {post.tokens()[0]}"})
    assert keys.status_code == 200, keys.text


@pytest.mark.requirement("STY-05")
async def test_who_has_his_keys_by_then_is_not_told(post: Post) -> None:
    await post.desk.condition(Housekeeping.DIRTY, NOW_MS + 1)
    await post.desk.book()
    guest = await post.desk.link()
    await post.desk.post(f"{HERE}/session", {"language": "de"}, guest)
    await post.work()
    await post.desk.condition(Housekeeping.INSPECTED, NOW_MS + 60_000)
    assert (await post.desk.keys(guest)).status_code == 200
    assert await post.work(after_ms=60_000) == 0
    assert (await post.stands("room_ready") or ("",))[0] == "overtaken"
    assert await post.told("checkin.room_ready") == []


@pytest.mark.requirement("STY-05")
async def test_a_guest_whose_room_is_ready_anyway_hears_nothing(post: Post) -> None:
    await post.desk.book()
    await post.desk.post(f"{HERE}/session", {"language": "de"}, await post.desk.link())
    assert await post.work() == 0
    assert await post.row("room_ready") is None


async def test_the_desk_sees_how_the_letters_of_a_stay_stand(post: Post) -> None:
    async def seen() -> list[dict[str, Any]]:
        listed = await post.site.http.get("/api/v1/properties/aurora/stays", headers=post.site.as_("viewer"))
        alone = await post.site.http.get(HERE, headers=post.site.as_("viewer"))
        [stay] = listed.json()["stays"]
        assert alone.json()["letters"] == stay["letters"]
        return list(stay["letters"])

    await post.desk.book(SOON)
    assert await seen() == []
    post.pms.contact = None
    await post.work()
    since = iso(at(post.site.clock.wall_ms()))
    no = {"kind": "invitation", "state": "not_possible", "reason": "no_address", "since": since}
    assert await seen() == [no]
    post.pms.contact = GuestContact(TO, None)
    await post.work(after_ms=LOOK_AGAIN_MS)
    since = iso(at(post.site.clock.wall_ms()))
    assert await seen() == [{**no, "state": "sent", "reason": None, "since": since}]
    theirs = await post.site.http.get("/api/v1/properties/aurora/stays", headers=post.site.as_("other"))
    assert theirs.status_code == 404
