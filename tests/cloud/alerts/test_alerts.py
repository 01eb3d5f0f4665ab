"""Alerts of a building: each once, ended once, and what nobody saw end is not called cleared."""

import random
from collections.abc import Sequence

import pytest

from cloud.alerts.alerts import AlertFact, AlertState, StandingFact, apply_fact, listed, standing
from cloud.app.projections import take_alerts
from cloud.kit.database import Database
from cloud.kit.times import at
from cloud.telemetry.ports import BatchContext
from protocols.device_model.identity import EdgeId
from protocols.errors import PeerProtocolError
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, Record
from tests.cloud.houses import AURORA, NOW_MS

pytestmark = pytest.mark.tier("postgres")


def fact(number: int, *, cleared: bool = False, raised_ms: int = NOW_MS, room: str | None = "101") -> AlertFact:
    cleared_ms = raised_ms + 60_000 if cleared else None
    return AlertFact("door_propped", room, None, number, raised_ms, cleared_ms, "the door stands open")


async def take(database: Database, *facts: AlertFact | StandingFact, now_ms: int = NOW_MS) -> list[bool]:
    async with database.transaction() as connection:
        return [
            await apply_fact(
                connection,
                tenant=AURORA.tenant,
                property_id=AURORA.id,
                edge=AURORA.edge,
                fact=each,
                now_ms=now_ms,
            )
            for each in facts
        ]


async def states(database: Database) -> list[tuple[str | None, AlertState]]:
    async with database.transaction() as connection:
        found = await listed(
            connection, tenant=AURORA.tenant, property_id=AURORA.id, only_up=False, before_id=None, most=50
        )
    return [(each.room, each.state) for each in reversed(found)]


@pytest.mark.guarantee("G2")
@pytest.mark.guarantee("G11")
async def test_an_alert_is_there_once_and_ends_once(database: Database) -> None:
    assert await take(database, fact(1), fact(1)) == [True, False]
    async with database.transaction() as connection:
        [up] = await standing(connection, tenant=AURORA.tenant, property_id=AURORA.id)
    assert (up.kind, up.room, up.device, up.detail) == ("door_propped", "101", None, "the door stands open")
    assert (up.raised_at, up.ended_at) == (at(NOW_MS), None)
    assert await take(database, fact(2, cleared=True), fact(2, cleared=True), fact(1)) == [True, False, False]
    assert await states(database) == [("101", AlertState.CLEARED)]
    assert await take(database, fact(3, raised_ms=NOW_MS + 1)) == [True], "the same again later is another alert"


async def test_an_end_without_a_beginning_is_still_an_alert_that_was(database: Database) -> None:
    await take(database, fact(2, cleared=True))
    assert await states(database) == [("101", AlertState.CLEARED)]


async def test_what_an_edge_no_longer_knows_lapses_and_is_never_called_cleared(database: Database) -> None:
    await take(database, fact(1), fact(2, room="102"), fact(3, room=None))
    assert await take(database, StandingFact(frozenset({2})), now_ms=NOW_MS + 5) == [True]
    assert await states(database) == [
        ("101", AlertState.LAPSED),
        ("102", AlertState.RAISED),
        (None, AlertState.LAPSED),
    ]
    assert await take(database, StandingFact(frozenset({2}))) == [False]
    await take(database, fact(7, raised_ms=NOW_MS + 10))
    assert (await states(database))[-1] == ("101", AlertState.RAISED), "raised afresh by the new store"
    await take(database, fact(8, cleared=True))
    assert (await states(database))[0] == ("101", AlertState.CLEARED), "its end was told after all"
    assert (await states(database))[-1] == ("101", AlertState.RAISED)


async def test_an_alert_raised_again_ends_the_one_whose_end_was_lost(database: Database) -> None:
    await take(database, fact(1), fact(9, raised_ms=NOW_MS + 1_000))
    assert await states(database) == [("101", AlertState.LAPSED), ("101", AlertState.RAISED)]


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_comes_again_one_alert_a_subject_is_up(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    told: list[AlertFact] = []
    for number in range(1, 40, 2):
        raised_ms, room = NOW_MS + number * 1_000, dice.choice(["101", "102", None])
        told += [fact(number, raised_ms=raised_ms, room=room)]
        if dice.random() < 0.8:
            told += [fact(number + 1, cleared=True, raised_ms=raised_ms, room=room)]
    for each in told:
        await take(database, each, *([each] if dice.random() < 0.3 else []))
    before = await states(database)
    assert len(before) == len({(each.room, each.raised_at_ms) for each in told}), "nothing doubled, nothing invented"
    up = [room for room, state in before if state is AlertState.RAISED]
    assert len(up) == len(set(up))
    cleared = sum(1 for each in told if each.cleared_at_ms is not None)
    assert sum(1 for _, state in before if state is AlertState.CLEARED) == cleared


def records(bodies: Sequence[dict[str, object]]) -> list[Record]:
    return [
        Record(Lane.B, seq, "alert", body, None, NOW_MS, NOW_MS, ClockQuality.SYNCHRONISED)
        for seq, body in enumerate(bodies, 1)
    ]


async def project(database: Database, *bodies: dict[str, object]) -> None:
    context = BatchContext(AURORA.tenant, AURORA.id, EdgeId(AURORA.edge), b"i" * 16, Lane.B, NOW_MS)
    async with database.transaction() as connection:
        await take_alerts(connection, context, records(bodies))


RAISED: dict[str, object] = {
    "alert": "leak", "state": "raised", "room": "101", "device": "leak-101", "number": 1, "raised_at_ms": NOW_MS,
    "cleared_at_ms": None, "detail": "water",
}  # fmt: skip


async def test_the_edges_own_words_in_their_order(database: Database) -> None:
    await project(database, RAISED, {"state": "standing", "standing": []}, {**RAISED, "number": 2, "room": "102"})
    assert await states(database) == [("101", AlertState.LAPSED), ("102", AlertState.RAISED)]


@pytest.mark.parametrize(
    "change",
    [
        {"state": "gone"},
        {"number": -1},
        {"raised_at_ms": "yesterday"},
        {"cleared_at_ms": NOW_MS},
        {"alert": ""},
        {"state": "standing"},
        {"state": "standing", "standing": ["a"]},
        {"detail": "x" * 501},
    ],
)
async def test_what_makes_no_sense_is_refused_whole(database: Database, change: dict[str, object]) -> None:
    with pytest.raises(PeerProtocolError):
        await project(database, RAISED, {**RAISED, **change})
    assert await states(database) == []
