"""Letters to guests who come on another day, with several rooms, or whose letter is on its way when something fails."""

import asyncio
import importlib
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import NullPool, create_engine

from cloud.checkin import letter_keeping, letter_rows, letter_work
from cloud.checkin.letter_work import LEASE_MS, Wish
from cloud.checkin.letters import HOUR_MS, LetterState
from cloud.checkin.mail.emulator import Manner
from cloud.checkin.mail.port import Outcome, Told
from cloud.kit.database import execute
from cloud.kit.times import at
from cloud.platform.properties import Property
from cloud.pms.port import GuestContact
from cloud.stays.reservation import PmsStatus
from kit.health import Health
from protocols.errors import StoreFailedError
from tests.cloud.checkin.front_desk import HERE, STAY
from tests.cloud.checkin.letter_post import LINK, SOON, TO, Post, several
from tests.cloud.checkin.letter_post import post as post
from tests.cloud.checkin.letter_post import server as server
from tests.cloud.houses import DAY_MS, NOW_MS, open_house
from tests.cloud.public.conftest import site as site

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("CHK-06")]


def moved(days: int, *, said: int, hours: int = 0) -> Any:
    """The stay of SOON, on another day; `said` rises with each word of the PMS."""
    by = days * DAY_MS + hours * HOUR_MS
    return replace(SOON, arrival_ms=SOON.arrival_ms + by, departure_ms=SOON.departure_ms + by, updated_ms=NOW_MS + said)


async def test_a_guest_who_moves_to_another_day_is_told_once_and_never_twice_of_one_day(post: Post) -> None:
    post.letters = post.make(Wish(14 * 24, language="fr"))
    await post.desk.book(SOON)
    assert await post.work() == 1
    first = post.server.taken[0].message
    day, sent = 0, 1
    for said, (day, hours, is_told) in enumerate(
        [(0, 1, False), (1, 0, True), (1, -1, False), (0, 0, False), (1, 0, False), (3, 0, True), (5, 0, False)],
        start=1,
    ):
        await post.desk.book(moved(day, said=said, hours=hours))
        assert await post.work(after_ms=60_000) == is_told, (said, day, hours)
        sent += is_told
        assert len(post.server.taken) == sent
    second = post.server.taken[1].message
    assert first["Message-ID"] != second["Message-ID"], "a mailbox would take it for the first"
    assert "Anreisetag" not in first["Subject"]
    assert "neuer Anreisetag" in second["Subject"]
    part = second.get_body(("plain",))
    assert part is not None
    assert "19. November" in part.get_content()
    assert post.tokens()[0] != post.tokens()[1]
    assert await post.told("checkin.invited") == [{"stay": STAY}] * 3


async def test_who_moves_to_the_next_hours_is_not_told_by_letter(post: Post) -> None:
    post.letters = post.make(Wish(72))
    await post.desk.book(moved(1, said=0))
    assert await post.work() == 1
    for said, hours in enumerate((-5, -4), start=1):  # the day before, in 5 and in 6 hours
        await post.desk.book(moved(0, said=said, hours=hours))
        assert await post.work(after_ms=60_000) == 0
    await post.desk.book(moved(0, said=3, hours=-3))
    assert await post.work(after_ms=60_000) == 1
    listed = await post.site.http.get(HERE, headers=post.site.as_("viewer"))
    assert [(each["kind"], each["state"]) for each in listed.json()["letters"]] == [("invitation", "sent")]


async def test_who_waits_for_the_morning_and_moves_to_the_next_hours_is_written_to_at_once(post: Post) -> None:
    """Nobody has told him another day yet: it is his first letter, and the night before arrival is late enough."""
    post.letters = post.make(Wish(14 * 24))
    night = (21 * HOUR_MS + 30 * 60_000 - NOW_MS) % DAY_MS  # 22:30 in Vienna
    await post.desk.book(moved(2, said=0))
    assert await post.work(after_ms=night) == 0
    row = await post.row()
    assert row is not None
    assert (row["state"], row["reason"]) == ("due", None)
    near = replace(SOON, arrival_ms=NOW_MS + night + 3 * HOUR_MS, updated_ms=NOW_MS + night)
    await post.desk.book(replace(near, departure_ms=near.arrival_ms + DAY_MS))
    assert await post.work(after_ms=60_000) == 1


async def test_who_may_have_been_told_a_day_is_told_the_next_one_as_new(post: Post) -> None:
    post.letters = post.make(Wish(72))
    post.server.manner = Manner.DROPS_AFTER
    await post.desk.book(SOON)
    await post.work()
    post.server.manner = Manner.PLAIN
    await post.desk.book(moved(1, said=1))
    assert await post.work(after_ms=120_000) == 1
    assert ["neuer Anreisetag" in each.message["Subject"] for each in post.server.taken] == [False, True]
    await post.desk.book(moved(0, said=2))
    assert await post.work(after_ms=120_000) == 0


async def test_a_letter_of_another_day_that_was_overtaken_hides_none_that_was_sent(post: Post) -> None:
    """At night the new letter waits for the morning; by then the stay has moved back."""
    post.letters = post.make(Wish(72))
    await post.desk.book(moved(1, said=0))
    assert await post.work() == 1
    await post.desk.book(moved(2, said=1))
    post.site.clock.advance(10 * HOUR_MS)  # 22:06 in Vienna
    assert await post.work() == 0
    assert await states_of(post) == ["due", "sent"]
    await post.desk.book(moved(1, said=2))
    assert await post.work(after_ms=11 * HOUR_MS) == 0
    assert await states_of(post) == ["overtaken", "sent"]
    listed = await post.site.http.get(HERE, headers=post.site.as_("viewer"))
    assert [each["state"] for each in listed.json()["letters"]] == ["sent"]


async def states_of(post: Post) -> list[str]:
    return sorted(each["state"] for each in await post.desk.rows("SELECT state FROM checkin.letter"))


async def test_letters_go_with_their_stay_and_none_is_sent_again_for_it(post: Post) -> None:
    async def let_go(before_ms: int) -> int:
        async with post.site.database.transaction() as connection:
            return await execute(connection, letter_keeping.OVER, {"before": at(before_ms), "most": 1_000})

    post.letters = post.make(Wish(14 * 24))
    long = replace(moved(13, said=0), external_id="r2", number="N-2", guest_name="Noor Haddad")
    await post.desk.book(SOON, long)
    assert await post.work() == 2
    until_ms = SOON.departure_ms
    assert await let_go(until_ms + DAY_MS) == 0, "kept a day longer than the stay"
    assert await let_go(until_ms + DAY_MS + 1) == 1
    assert await post.work(after_ms=5 * DAY_MS) == 0, "whose arrival is still to come has his letter"
    again = moved(7, said=9)
    await post.desk.book(again)
    assert await post.work(after_ms=60_000) == 1, "he comes on another day"
    async with post.site.database.transaction() as connection:
        await execute(connection, "UPDATE stays.stay SET id = 'gone' WHERE id = %s", [STAY])
    assert await let_go(post.site.clock.wall_ms() + 1) == 1, "a letter of a stay that nobody knows"


async def test_a_property_that_nobody_knows_is_said_once_and_holds_up_nobody(post: Post) -> None:
    said: list[tuple[str, dict[str, Any]]] = []

    class Log:
        def warning(self, event: str, **facts: object) -> None:
            said.append((event, facts))

    health = Health()
    wishes = {"annex": Wish(24), "aurora": Wish(24), "nowhere": Wish()}
    post.letters = post.make(Wish(24), wishes=wishes, log=Log(), health=health)
    await post.desk.book(SOON)
    assert await post.work() == 1
    await post.work(after_ms=60_000)
    assert said == [("mail.properties: no such property", {"properties": ["annex", "nowhere"]})]
    is_ready, told = health.ready()
    assert (is_ready, told["parts"]["mail"]["ok"], told["parts"]["mail"]["detail"]) == (
        True, False, "no such property: annex, nowhere",
    )  # fmt: skip
    for name in ("annex", "nowhere"):
        await open_house(post.site.database, Property(name, "northlight", "Annex", "Europe/Vienna", f"e-{name:0>16}"))
    await post.work(after_ms=60_000)
    assert (health.ready()[1]["parts"]["mail"]["ok"], len(said)) == (True, 1)


async def rooms(post: Post, *ids: str, **changes: Any) -> None:
    """Reservations of one guest."""
    await post.desk.book(*[replace(SOON, external_id=each, number=f"N-{each}", room=None, **changes) for each in ids])


def linked(post: Post) -> list[int]:
    """How many links each letter has."""
    found = []
    for each in post.server.taken:
        part = each.message.get_body(("plain",))
        assert part is not None
        links = LINK.findall(part.get_content())
        assert len({stay for stay, _ in links}) == len(links)
        found.append(len(links))
    return found


async def test_several_rooms_of_one_guest_are_one_letter_with_a_link_for_each(post: Post) -> None:
    async with post.site.database.transaction() as connection:
        await execute(connection, "INSERT INTO checkin.letter_rate VALUES ('northlight', 2)")
    await rooms(post, "r1", "r2", "r3")
    assert await post.work() == 1
    assert linked(post) == [3]
    assert await states_of(post) == ["sent"] * 3
    assert len(await post.told("checkin.invited")) == 3
    part = post.server.taken[0].message.get_body(("plain",))
    assert part is not None
    assert "3 Zimmer" in part.get_content()
    for stay, token in LINK.findall(part.get_content()):
        path = f"/api/v1/properties/aurora/stays/{stay}/key-term"
        assert (await post.site.http.get(path, headers={"Authorization": f"Bearer {token}"})).status_code == 200
    assert await post.work(after_ms=60_000) == 0
    await rooms(post, "r8", guest_name="Noor Haddad")
    await rooms(post, "r9", guest_name="Eva Lind")
    assert await post.work(after_ms=60_000) == 1, "the first letter counted once"


async def test_another_guest_of_the_same_name_or_booking_has_his_own_letter(post: Post) -> None:
    """The address tells; nobody's link goes to another's."""
    post.pms.others = {"r2": GuestContact("noor@guests.example", "fr"), "r3": None}
    await rooms(post, "r1", "r2", "r3", "r4")
    assert await post.work() == 3, "one of two rooms, one of one, one that has no address"
    assert sorted(zip((each.to for each in post.server.taken), linked(post), strict=True)) == [
        (TO, 2), ("noor@guests.example", 1),
    ]  # fmt: skip
    assert await states_of(post) == ["not_possible", "sent", "sent", "sent"]
    assert [each["tries"] for each in await post.desk.rows("SELECT tries FROM checkin.letter")] == [1] * 4


async def test_a_room_that_is_given_up_while_the_address_is_asked_for_is_not_in_the_letter(post: Post) -> None:
    await rooms(post, "r1", "r2")
    post.pms.then = lambda: rooms(post, "r2", status=PmsStatus.CANCELLED, updated_ms=NOW_MS + 1)
    assert await post.work() == 1
    assert linked(post) == [1]
    assert await states_of(post) == ["overtaken", "sent"]
    assert await post.open_links() == 1


async def test_rooms_of_one_letter_stay_together_whatever_becomes_of_it(post: Post) -> None:
    await rooms(post, "r1", "r2")
    post.server.manner = Manner.GREYLISTS
    assert await post.work() == 1
    assert (await states_of(post), await post.open_links()) == (["due", "due"], 0)
    post.server.manner = Manner.DROPS_AFTER
    assert await post.work(after_ms=90_000) == 1
    post.server.manner = Manner.PLAIN
    assert await post.work(after_ms=4 * 60_000) == 1
    assert linked(post) == [2, 2]
    first, second = post.server.taken
    assert first.message["Message-ID"] == second.message["Message-ID"]
    assert (await states_of(post), await post.open_links()) == (["sent", "sent"], 4)


async def test_a_letter_with_one_room_more_is_another(post: Post) -> None:
    """A mailbox that has the first would drop it, and the second room's link with it."""
    await rooms(post, "r1")
    post.server.manner = Manner.DROPS_AFTER
    await post.work()
    post.server.manner = Manner.PLAIN
    await rooms(post, "r2")
    assert await post.work(after_ms=90_000) == 1
    assert linked(post) == [1, 2]
    assert len({each.message["Message-ID"] for each in post.server.taken}) == 2
    assert await states_of(post) == ["sent", "sent"]


async def test_rooms_of_one_letter_are_refused_together(post: Post) -> None:
    await rooms(post, "r1", "r2")
    post.server.manner = Manner.KNOWS_NOBODY
    assert await post.work() == 1
    assert (await states_of(post), await post.open_links()) == (["not_possible"] * 2, 0)


async def test_two_senders_at_once_send_no_more_than_a_tenant_may(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have counted, and have a letter each, before either begins its try."""
    async with post.site.database.transaction() as connection:
        await execute(connection, "INSERT INTO checkin.letter_rate VALUES ('northlight', 1)")
    await several(post, 2)
    await post.letters.decide()
    other = post.make(Wish(24))
    really, met, found = letter_rows.next_one, asyncio.Event(), list[str]()

    async def next_one(connection: Any, state: LetterState, **of: Any) -> Any:
        letter = await really(connection, state, **of)
        if state is LetterState.DUE and letter is not None:
            found.append(letter.id)
            if len(found) == 2:
                met.set()
            async with asyncio.timeout(20):
                await met.wait()
        return letter

    monkeypatch.setattr(letter_rows, "next_one", next_one)
    assert sorted(await asyncio.gather(post.letters.work(), other.work())) == [0, 1]
    assert len(set(found)) == 2
    assert len(post.server.taken) == 1


async def test_a_database_that_is_away_when_a_letter_was_taken_is_told_when_it_is_back(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the guest would have it twice."""
    monkeypatch.setattr(letter_work, "ENDED_AGAIN_S", 0.0)
    really, failed = letter_rows.settle, list[str]()

    async def settle(connection: Any, letter: Any, *of: Any, **more: Any) -> None:
        if len(failed) < 3:
            failed.append(letter.id)
            raise StoreFailedError("the database was lost")
        await really(connection, letter, *of, **more)

    await post.desk.book(SOON)
    monkeypatch.setattr(letter_rows, "settle", settle)
    assert await post.work() == 1
    assert (await post.stands(), len(failed)) == (("sent", None), 3)
    assert await post.work(after_ms=LEASE_MS) == 0
    assert await post.told("checkin.invited") == [{"stay": STAY}]


async def test_who_is_stopped_writes_down_what_the_server_says_of_a_letter_that_it_has(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed, answers = asyncio.Event(), asyncio.Event()

    class Slow:
        async def send(self, message: Any, *, to: str) -> Told:
            handed.set()
            await answers.wait()
            return Told(Outcome.TAKEN, "250")

    await post.desk.book(SOON)
    monkeypatch.setattr(letter_work, "LOOK_S", 0.02)
    running = asyncio.create_task(post.make(Wish(24), Slow()).run())
    async with asyncio.timeout(20):
        await handed.wait()
    running.cancel()
    await asyncio.sleep(0)
    answers.set()
    await asyncio.wait({running})
    assert running.cancelled()
    assert await post.stands() == ("sent", None)


async def test_who_was_written_to_before_letters_had_a_day_is_not_written_to_again(post: Post, dsn: str) -> None:
    module = importlib.import_module("cloud.checkin.migrations.checkin_0009")
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=NullPool)

    def step(change: Any) -> None:
        with engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
            change()

    post.letters = post.make(Wish(14 * 24))
    await post.desk.book(SOON)
    await post.work()
    await post.desk.book(moved(1, said=1))
    assert await post.work(after_ms=60_000) == 1
    post.pms.contact = None
    await post.desk.book(replace(SOON, external_id="r2", number="N-2", guest_name="Noor Haddad"))
    await post.work(after_ms=60_000)
    try:
        step(module.downgrade)
        rows = await post.desk.rows("SELECT stay, state FROM checkin.letter ORDER BY state")
        assert [each["state"] for each in rows] == ["not_possible", "sent"], "one a stay and kind"
        step(module.upgrade)
    finally:
        engine.dispose()
    post.pms.contact = GuestContact(TO, None)
    await post.desk.book(moved(3, said=2))
    assert await post.work(after_ms=60_000) == 1, "who had no address has one now"
    assert await states_of(post) == ["sent", "sent"]
    assert len(post.server.taken) == 3
