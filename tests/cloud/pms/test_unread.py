"""What cannot be read costs a wish no attempt: it waits, says why, and is granted once when reading works again."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from cloud.kit.database import Database
from cloud.pms.emulation.face import TAME, Ask, WireError
from cloud.pms.intents import ATTEMPTS_MOST, UNREAD_WAIT_MOST_MS
from cloud.pms.port import PmsBusyError, PmsCannotError, PmsRefusedError, PmsUnreadError, before_writing
from cloud.stays.life import EdgeState
from protocols.errors import LinkLostError
from tests.cloud.houses import DAY_MS, HOUR_MS
from tests.cloud.pms.test_vendors import HOSTILE, NOON_MS, World, until_in_step, world
from tests.seeds import seeds

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("PMS-11")]
CHECK_INS = {"ezee": "GuestCheckIn", "cloudbeds": "postRoomCheckIn", "ohip": "checkIns", "stayntouch": "check_in"}
"""Vendors where a check-in is written after something else was read or asked for, and what it is called there."""


@contextmanager
def unreadable_while_writing(w: World, monkeypatch: pytest.MonkeyPatch, written: str) -> Iterator[Counter[str]]:
    """Let reading work, but for what is read or asked for between the decision to write and the writing."""
    asked: Counter[str] = Counter()
    writing = False
    do, write = w.emulator.do, w.intents._write

    def answer(ask: Ask) -> object:
        operation = w.emulator.operation(ask)
        if writing:
            asked[operation] += 1
            if operation != written:
                raise WireError(500, "Something went wrong.")
        return do(ask)

    async def step(*args: Any) -> None:
        nonlocal writing
        writing = True
        asked["tries"] += 1
        w.emulator.revoke()
        try:
            await write(*args)
        finally:
            writing = False

    with monkeypatch.context() as bent:
        bent.setattr(w.emulator, "do", answer)
        bent.setattr(w.intents, "_write", step)
        yield asked


async def wish_of(w: World) -> dict[str, Any]:
    [wish] = await w.rows("SELECT state, attempts, last_error, unread_since FROM pms.write_intent")
    return wish


@pytest.mark.parametrize("name", sorted(CHECK_INS))
async def test_what_is_read_before_a_write_and_fails_costs_no_attempt(
    database: Database, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with world(database, name) as w:
        made = w.book("101", start_ms=NOON_MS - DAY_MS // 2)
        await w.live(3)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        with unreadable_while_writing(w, monkeypatch, CHECK_INS[name]) as asked:
            for _ in range(50):
                await w.live(1)
                w.clock.advance(11_000)
        wish = await wish_of(w)
        assert (wish["state"], wish["attempts"]) == ("pending", 0)
        assert wish["unread_since"] is not None
        assert wish["last_error"]
        assert asked[CHECK_INS[name]] == 0
        assert ATTEMPTS_MOST < asked["tries"] <= 600_000 // UNREAD_WAIT_MOST_MS + ATTEMPTS_MOST, "with pauses that grow"
        await w.live(2 * UNREAD_WAIT_MOST_MS // 1_000)
        wish = await wish_of(w)
        assert (wish["state"], wish["attempts"]) == ("done", 1)
        assert [each.state for each in w.hotel.history(made)] == ["Confirmed", "Started"]


@pytest.mark.parametrize(("name", "write"), [("cloudbeds", "postRoomCheckIn"), ("ohip", "checkIns")])
async def test_a_check_in_waits_for_the_room_that_the_pms_wants_first_and_costs_no_attempt(
    database: Database, name: str, write: str
) -> None:
    async with world(database, name) as w:
        made = w.book(None, start_ms=NOON_MS - DAY_MS // 2)
        await w.live(3)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        said = set()
        for _ in range(20):
            await w.live(1)
            w.clock.advance(HOUR_MS // 2)
            wish = await wish_of(w)
            assert (wish["state"], wish["attempts"]) == ("pending", 0)
            said.add(wish["last_error"])
        assert any(f"{made} has none there yet" in each for each in said)
        assert write not in w.emulator.calls
        w.hotel.update(made, room="101")
        await w.live(2 * UNREAD_WAIT_MOST_MS // 1_000)
        wish = await wish_of(w)
        assert (wish["state"], wish["attempts"]) == ("done", 1)


async def test_a_wish_that_was_never_readable_for_a_day_is_given_up_however_old_it_was_before(
    database: Database,
) -> None:
    async with world(database, "mews") as w:
        made = w.book("101", start_ms=NOON_MS + 2 * DAY_MS)
        await w.live(2)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(2)
        assert "reservations/start" not in w.emulator.calls, "it waits for the hour of arrival"
        w.clock.advance(2 * DAY_MS)
        w.emulator.knobs = msgspec.structs.replace(TAME, fault=1.0)
        for _ in range(20):
            await w.live(1)
            w.clock.advance(HOUR_MS)
        wish = await wish_of(w)
        assert (wish["state"], wish["attempts"]) == ("pending", 0), "two days of waiting are not held against it"
        for _ in range(6):
            await w.live(1)
            w.clock.advance(HOUR_MS)
        wish = await wish_of(w)
        assert (wish["state"], wish["attempts"]) == ("failed", 0)
        assert "500" in wish["last_error"]


@pytest.mark.parametrize("seed", seeds(4, 40))
@pytest.mark.guarantee("G2")
@pytest.mark.requirement("PMS-22")
async def test_in_hostile_weather_at_ezee_who_came_and_left_did_so_there_once(database: Database, seed: int) -> None:
    async with world(database, "ezee", seed=seed) as w:
        made = w.book("101", start_ms=NOON_MS - DAY_MS // 2)
        await w.live(3)
        w.emulator.knobs = HOSTILE
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(60)
        await w.at_the_edge(made, EdgeState.CHECKED_OUT, 2)
        await w.live(60)
        await until_in_step(w)
        wishes = await w.rows("SELECT action, state FROM pms.write_intent ORDER BY id")
        assert [tuple(each.values()) for each in wishes] == [("check_in", "done"), ("check_out", "done")]
        assert [each.state for each in w.hotel.history(made)] == ["Confirmed", "Started", "Processed"]


async def test_what_left_and_was_not_answered_is_an_attempt(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(database, "ezee") as w:
        made = w.book("101", start_ms=NOON_MS - DAY_MS // 2)
        await w.live(3)
        do = w.emulator.do

        def broken(ask: Ask) -> object:
            if w.emulator.operation(ask) == "GuestCheckIn":
                raise WireError(500, "Something went wrong.")
            return do(ask)

        monkeypatch.setattr(w.emulator, "do", broken)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.live(120)
        wish = await wish_of(w)
        assert (wish["state"], wish["attempts"]) == ("failed", ATTEMPTS_MOST)
        assert w.emulator.calls["GuestCheckIn"] == ATTEMPTS_MOST


async def test_a_check_out_that_never_left_behind_its_check_in_is_an_attempt_and_repeats_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(database, "mews") as w:
        made = w.book("101", start_ms=NOON_MS - DAY_MS // 2)
        await w.live(3)
        lost = 1
        leave = w.adapter.check_out

        async def leaves(external_id: str) -> None:
            nonlocal lost
            if lost:
                lost -= 1
                raise LinkLostError("no connection")
            await leave(external_id)

        monkeypatch.setattr(w.adapter, "check_out", leaves)
        await w.at_the_edge(made, EdgeState.CHECKED_IN, 1)
        await w.at_the_edge(made, EdgeState.CHECKED_OUT, 2)
        await w.relay.drain()
        async with database.transaction() as connection:  # as where the first wish was given up
            await connection.execute("UPDATE pms.write_intent SET state = 'failed' WHERE action = 'check_in'")
        await w.live(30)
        [wish] = await w.rows("SELECT state, attempts FROM pms.write_intent WHERE action = 'check_out'")
        assert (wish["state"], wish["attempts"]) == ("done", 2)
        assert w.emulator.calls["reservations/start"] == 1
        assert [each.state for each in w.hotel.history(made)] == ["Confirmed", "Started", "Processed"]


def test_a_refused_read_is_no_refused_write() -> None:
    for error in (PmsRefusedError(422, "no"), PmsRefusedError(500, "no")):
        with pytest.raises(PmsUnreadError), before_writing():
            raise error
    for passes in (
        PmsRefusedError(401, "who"),
        PmsRefusedError(404, "what"),
        PmsBusyError(1),
        PmsCannotError("x", "y"),
    ):
        with pytest.raises(type(passes)) as told, before_writing():
            raise passes
        assert not isinstance(told.value, PmsUnreadError)
