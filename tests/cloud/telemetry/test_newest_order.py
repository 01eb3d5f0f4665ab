"""The newest value against buildings whose clocks say anything: positions decide, and no value ever goes back."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from cloud.kit.database import Database, fetch_all
from cloud.telemetry.fan_in.arrivals import Arrived, Item, read
from cloud.telemetry.fan_in.ledger import PostgresLedger
from cloud.telemetry.store.plain import PlainStore
from kit.clock import ManualClock
from protocols.device_model.identity import EdgeId
from protocols.link.batch import Packed, pack_batch
from protocols.link.lanes import LANES, Lane
from protocols.link.messages import Live, LiveHead, encode_live
from protocols.link.record import TIME_MS_MAX, ClockQuality, encode_record
from protocols.link.topics import Up, parse_up, up_topic
from tests.cloud.telemetry.sending import INCARNATION, NOW_MS, arrived, edge, owner_of

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G10", "G17")]

YEAR_MS: Final = 365 * 86_400_000
CLOCKS: Final = (
    0, NOW_MS, NOW_MS + 200_000, NOW_MS - 200_000, NOW_MS + 3 * YEAR_MS, NOW_MS - YEAR_MS, NOW_MS - 5 * YEAR_MS,
    NOW_MS + 73 * YEAR_MS, TIME_MS_MAX - 10_000_000,
)  # fmt: skip
"""What a building's clock may be set to: 1970, a little wrong, years wrong, 2099, the end of time."""
LATER: Final = bytes(range(16, 32))


def said(point: int, value: int, at_ms: int, clock: ClockQuality) -> bytes:
    return encode_record(
        "reading", {"room": "101", "device": f"d-{point}", "capability": "c", "attribute": "a", "value": value,
                    "unit": None, "quality": "good"},
        device_at_ms=None, edge_at_ms=at_ms, mono_ms=value, clock=clock,
    )  # fmt: skip


def run(who: EdgeId, lane: Lane, first: int, records: Sequence[bytes], incarnation: bytes = INCARNATION) -> Item:
    last = first + len(records) - 1
    payload, _ = pack_batch(who, incarnation, lane, Packed(first, last, range(first, last + 1), records))
    return arrived(who, payload, lane)


def live(who: EdgeId, values: dict[int, int], at_ms: int, heads: Sequence[LiveHead]) -> Item:
    state: tuple[dict[str, Any], ...] = tuple(
        {
            "room": "101", "device": f"d-{point}", "capability": "c", "attribute": "a", "value": value, "unit": None,
            "quality": "good", "at_ms": at_ms,
        }
        for point, value in values.items()
    )  # fmt: skip
    payload = encode_live(Live(who, INCARNATION, at_ms, state, dict.fromkeys(LANES, 0), tuple(heads)))
    item = read(Arrived(parse_up(up_topic(who, Up.LIVE)), payload, 0))
    assert item is not None
    return item


def heads(incarnation: bytes = INCARNATION, /, **last: int) -> list[LiveHead]:
    return [LiveHead(incarnation, Lane(lane), at) for lane, at in last.items()]


async def shown(database: Database) -> dict[int, int]:
    async with database.transaction() as connection:
        rows = await fetch_all(connection, "SELECT device, value FROM telemetry.latest")
    return {int(row["device"].removeprefix("d-")): row["value"] for row in rows}


def ledger_of(database: Database) -> PostgresLedger:
    return PostgresLedger(database, owner_of=owner_of, projections={}, clock=ManualClock(wall_ms=NOW_MS))


@dataclass
class House:
    """A building: what it logged and has not sent, what it shows, and a clock that somebody keeps setting."""

    dice: random.Random
    points: int = 6
    count: int = 0
    wall_ms: int = NOW_MS
    logged: dict[Lane, list[bytes]] = field(default_factory=lambda: {Lane.B: [], Lane.C: []})
    sent: dict[Lane, int] = field(default_factory=lambda: {Lane.B: 0, Lane.C: 0})
    view: dict[int, int] = field(default_factory=dict)
    told: dict[int, int] = field(default_factory=dict)
    who: EdgeId = field(default_factory=lambda: edge(1))

    def happen(self) -> None:
        for _ in range(self.dice.randrange(1, 9)):
            self.count += 1
            if self.dice.random() < 0.2:
                self.wall_ms = self.dice.choice(CLOCKS)
            self.wall_ms += self.dice.randrange(2_000)
            point = self.dice.randrange(self.points)
            lane = Lane.B if point % 3 == 0 else Lane.C
            self.logged[lane].append(said(point, self.count, self.wall_ms, self.dice.choice(list(ClockQuality))))
            self.view[point] = self.count

    def tell(self, *, whole: bool) -> Item | None:
        if whole:
            self.told.clear()
        news = {point: value for point, value in self.view.items() if self.told.get(point) != value}
        self.told |= news
        if self.dice.random() < 0.2:
            return None  # lost
        return live(self.who, news, self.wall_ms, heads(**{each.value: len(self.logged[each]) for each in self.logged}))

    def send(self) -> Item | None:
        lane = self.dice.choice([Lane.B, Lane.C])
        first = self.sent[lane]
        records = self.logged[lane][first : first + self.dice.randrange(1, 12)]
        if not records:
            return None
        self.sent[lane] += len(records)
        return run(self.who, lane, first + 1, records)


@pytest.mark.parametrize("seed", range(12))
async def test_no_value_goes_back_whatever_the_clocks_of_a_late_backlog_say(database: Database, seed: int) -> None:
    dice = random.Random(seed)
    house, ledger = House(dice), ledger_of(database)
    before: dict[int, int] = {}
    for _ in range(25):
        group: list[Item | None] = []
        for _ in range(dice.randrange(1, 5)):
            match dice.randrange(4):
                case 0:
                    house.happen()
                case 1:
                    group.append(house.tell(whole=dice.random() < 0.5))
                case _:
                    group.append(house.send())
        await ledger.commit([each for each in group if each is not None])
        now = await shown(database)
        assert all(now.get(point, 0) >= value for point, value in before.items()), (before, now)
        before = now
    for lane, records in house.logged.items():  # all of it arrives, and the newest is shown without another live state
        while (first := house.sent[lane]) < len(records):
            house.sent[lane] += len(records[first : first + 50])
            await ledger.commit([run(house.who, lane, first + 1, records[first : first + 50])])
    assert await shown(database) == house.view


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("together", [True, False])
async def test_a_late_record_yields_to_the_state_and_the_next_one_does_not(
    database: Database, clock: int, together: bool
) -> None:
    ledger, who = ledger_of(database), edge(1)
    first = [
        live(who, {1: 20}, NOW_MS, heads(C=2)),
        run(who, Lane.C, 1, [said(1, 99, clock, ClockQuality.SYNCHRONISED)] * 2),
    ]
    for group in [first] if together else [[each] for each in first]:
        await ledger.commit(group)
    assert await shown(database) == {1: 20}
    later = run(who, Lane.C, 3, [said(1, 21, clock, ClockQuality.UNCERTAIN)])
    group = [live(who, {1: 20}, NOW_MS, heads(C=2)), later] if together else [later]
    await ledger.commit(group)
    assert await shown(database) == {1: 21}


@pytest.mark.parametrize("together", [True, False])
async def test_an_edge_that_names_no_heads_goes_by_clocks_that_are_believed(database: Database, together: bool) -> None:
    ledger, who = ledger_of(database), edge(1)
    late = [said(1, 99, clock, ClockQuality.SYNCHRONISED) for clock in CLOCKS if abs(clock - NOW_MS) > YEAR_MS // 2]
    late += [said(1, 98, NOW_MS - 1, ClockQuality.SYNCHRONISED), said(1, 97, NOW_MS + 1_000, ClockQuality.UNCERTAIN)]
    group = [live(who, {1: 20}, NOW_MS, ()), *(run(who, Lane.C, n, [each]) for n, each in enumerate(late, start=1))]
    for some in [group] if together else [[each] for each in group]:
        await ledger.commit(some)
    assert await shown(database) == {1: 20}
    await ledger.commit([run(who, Lane.C, len(late) + 1, [said(1, 21, NOW_MS + 1_000, ClockQuality.DRIFTING)])])
    assert await shown(database) == {1: 21}


@pytest.mark.parametrize("together", [True, False])
async def test_over_another_lane_a_time_that_is_believed_wins(database: Database, together: bool) -> None:
    ledger, who = ledger_of(database), edge(1)
    group = [
        run(who, Lane.B, 1, [said(1, 20, NOW_MS - 60_000, ClockQuality.SYNCHRONISED)]),
        run(who, Lane.C, 1, [said(1, 99, NOW_MS + YEAR_MS, ClockQuality.SYNCHRONISED)]),  # would be now
        run(who, Lane.C, 2, [said(1, 98, NOW_MS, ClockQuality.UNCERTAIN)]),
        run(who, Lane.C, 3, [said(1, 97, NOW_MS - 70_000, ClockQuality.SYNCHRONISED)]),
    ]
    for some in [group] if together else [[each] for each in group]:
        await ledger.commit(some)
    assert await shown(database) == {1: 20}
    await ledger.commit([run(who, Lane.C, 4, [said(1, 21, NOW_MS - 50_000, ClockQuality.DRIFTING)])])
    assert await shown(database) == {1: 21}


async def test_the_records_of_an_earlier_life_do_not_beat_the_state_of_the_next_by_a_wrong_clock(
    database: Database,
) -> None:
    ledger, who = ledger_of(database), edge(1)
    await ledger.commit([live(who, {1: 20, 2: 30}, NOW_MS, heads(LATER, C=5))])
    await ledger.commit([run(who, Lane.C, 1, [said(1, 99, NOW_MS + YEAR_MS, ClockQuality.SYNCHRONISED)] * 9)])
    assert await shown(database) == {1: 20, 2: 30}
    await ledger.commit([run(who, Lane.C, 1, [said(1, 98, 0, ClockQuality.UNCERTAIN)] * 5, LATER)])
    assert await shown(database) == {1: 20, 2: 30}
    await ledger.commit([run(who, Lane.C, 6, [said(1, 21, 0, ClockQuality.UNCERTAIN)], LATER)])
    assert await shown(database) == {1: 21, 2: 30}


async def test_times_that_cannot_be_make_no_partition_and_are_said_to_be_those_of_the_arrival(
    database: Database,
) -> None:
    """1970, 2099 and the year 9999: each is stored, at our time and marked so; the record keeps what was said."""
    store = PlainStore(database)
    ledger = PostgresLedger(database, owner_of=owner_of, projections={}, clock=ManualClock(wall_ms=NOW_MS), store=store)
    absurd = [clock for clock in CLOCKS if abs(clock - NOW_MS) > YEAR_MS]
    await ledger.commit([run(edge(1), Lane.C, 1, [said(1, n, each, ClockQuality.SYNCHRONISED)
                                                  for n, each in enumerate(absurd)])])  # fmt: skip
    for turn in range(8):
        await store.run_maintenance(NOW_MS + 3_600_000 + turn)
    async with database.transaction() as connection:
        rows = await fetch_all(
            connection, "SELECT (extract(epoch FROM at) * 1000)::bigint AS at_ms, time_source FROM telemetry.reading"
        )
        said_at = await fetch_all(connection, "SELECT edge_at_ms FROM telemetry.record ORDER BY seq")
        rest = await fetch_all(
            connection, "SELECT FROM telemetry.reading WHERE tableoid::regclass::text = 'telemetry.reading_rest'"
        )
        parts = await fetch_all(
            connection,
            "SELECT relname AS name FROM pg_class JOIN pg_inherits ON inhrelid = oid"
            " WHERE relkind = 'r' AND inhparent::regclass::text ~ '^telemetry.(reading|rollup)' ORDER BY 1",
        )
    assert [(row["at_ms"], row["time_source"]) for row in rows] == [(NOW_MS, 3)] * len(absurd)
    assert [row["edge_at_ms"] for row in said_at] == absurd
    assert rest == []
    years = {each["name"].rsplit("_", 1)[-1][:4] for each in parts} - {"rest"}
    assert years <= {"2025", "2026"}
