"""Door events: each once, and the newest state of a door whatever order they came in."""

import random
from dataclasses import replace

import pytest

from cloud.access.doors import AccessFact, apply_facts, door_states, events_after, events_before, grant_of
from cloud.kit.database import Database
from cloud.kit.times import at
from tests.cloud.houses import AURORA, BOREALIS, NOW_MS

pytestmark = pytest.mark.tier("postgres")
LIFE = b"i" * 16


def fact(seq: int, *, event: str = "opened", at_ms: int | None = None, battery: float | None = None) -> AccessFact:
    return AccessFact(
        incarnation=LIFE,
        seq=seq,
        door="door-101",
        room="101",
        lock="00000000000000aa",
        lock_seq=seq,
        at_ms=NOW_MS + seq if at_ms is None else at_ms,
        time_quality="synchronised",
        event=event,
        reason=None if event == "opened" else "expired",
        grant="aa" * 8,
        stay="s-1",
        generation=3,
        battery=battery,
    )


async def take(database: Database, *facts: AccessFact) -> int:
    async with database.transaction() as connection:
        return await apply_facts(
            connection, tenant=AURORA.tenant, property_id=AURORA.id, edge=AURORA.edge, facts=facts, now_ms=NOW_MS
        )


@pytest.mark.requirement("ACC-12")
@pytest.mark.requirement("ACC-23")
@pytest.mark.guarantee("G2")
async def test_an_event_is_there_once_with_stay_grant_and_reason(database: Database) -> None:
    assert await take(database, fact(1), fact(2, event="refused")) == 2
    assert await take(database, fact(1), fact(2, event="refused"), fact(3)) == 1
    async with database.transaction() as connection:
        page = await events_before(connection, tenant=AURORA.tenant, property_id=AURORA.id, most=10, before=None)
        grant = await grant_of(connection, tenant=AURORA.tenant, property_id=AURORA.id, grant="aa" * 8)
    assert [(each.event, each.reason, each.stay, each.lock_seq) for each in page] == [
        ("opened", None, "s-1", 3),
        ("refused", "expired", "s-1", 2),
        ("opened", None, "s-1", 1),
    ]
    assert grant is not None
    assert (grant["stay"], grant["openings"]) == ("s-1", 2)


@pytest.mark.requirement("A11", "A14")
async def test_a_door_opened_from_afar_and_confirmed_is_an_opening_of_its_key_and_nothing_less_is(
    database: Database,
) -> None:
    """As the doors process records it (protocols/door/SPEC.md 13.3): no lock of ours, no generation."""
    afar = replace(fact(1), lock=None, lock_seq=None, generation=None, grant="ik-0123456789abcdef01234567")
    kinds = ("remote-asked", "remote-accepted", "remote-unknown", "remote-failed", "remote-refused")
    await take(database, *(replace(afar, seq=seq, event=kind) for seq, kind in enumerate(kinds, 10)))
    named = {"tenant": AURORA.tenant, "property_id": AURORA.id, "grant": "ik-0123456789abcdef01234567"}
    async with database.transaction() as connection:
        before = await grant_of(connection, **named)
    await take(database, replace(afar, seq=20, event="remote-opened"))
    async with database.transaction() as connection:
        after = await grant_of(connection, **named)
    assert before is not None
    assert after is not None
    assert (before["openings"], after["openings"], after["stay"]) == (0, 1, "s-1")


async def test_an_event_of_a_lock_told_again_by_a_restored_edge_is_the_same_event(database: Database) -> None:
    await take(database, fact(1))
    assert await take(database, replace(fact(1), incarnation=b"j" * 16, seq=44)) == 0


@pytest.mark.guarantee("G2", "G18")
@pytest.mark.requirement("ACC-23")
async def test_what_another_makers_lock_told_again_is_the_same_event_and_opens_nothing_twice(
    database: Database,
) -> None:
    """A file put back from a copy tells it at another position; the copy may have forgotten whose key it was."""
    told = replace(fact(1), lock=None, lock_seq=None, generation=None, event_id="e1" * 16)
    another = replace(told, seq=2, event_id="e2" * 16)
    assert await take(database, told, another) == 2
    assert await take(database, replace(told, seq=44, stay=None), replace(told, seq=45)) == 0
    async with database.transaction() as connection:
        elsewhere = await apply_facts(
            connection,
            tenant=BOREALIS.tenant,
            property_id=BOREALIS.id,
            edge=BOREALIS.edge,
            facts=[told],
            now_ms=NOW_MS,
        )
        assert elsewhere == 1, "an id is a property's own"
        page = await events_before(connection, tenant=AURORA.tenant, property_id=AURORA.id, most=10, before=None)
        grant = await grant_of(connection, tenant=AURORA.tenant, property_id=AURORA.id, grant="aa" * 8)
    assert [each.stay for each in page] == ["s-1", "s-1"]
    assert grant is not None
    assert grant["openings"] == 2


async def test_records_of_an_edge_that_gives_no_ids_are_taken_each_by_itself(database: Database) -> None:
    told = replace(fact(1), lock=None, lock_seq=None, generation=None)
    assert await take(database, told, replace(told, seq=2)) == 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.guarantee("G17")
async def test_a_door_shows_its_newest_event_and_battery_in_whatever_order_they_came(
    database: Database, seed: int
) -> None:
    facts = [fact(1, battery=90.0), fact(2, battery=80.0), fact(3), fact(4, event="refused")]
    random.Random(seed).shuffle(facts)
    for each in facts:
        await take(database, each)
    async with database.transaction() as connection:
        door = (await door_states(connection, tenant=AURORA.tenant, property_id=AURORA.id))["door-101"]
    assert (door.last_event, door.last_reason, door.last_at) == ("refused", "expired", at(NOW_MS + 4))
    assert (door.battery, door.battery_at) == (80.0, at(NOW_MS + 2))


async def test_pages_meet_without_gap_or_overlap_even_where_times_are_equal(database: Database) -> None:
    await take(database, *(fact(seq, at_ms=NOW_MS + seq // 3) for seq in range(1, 21)))
    seen: list[int | None] = []
    before = None
    async with database.transaction() as connection:
        while page := await events_before(
            connection, tenant=AURORA.tenant, property_id=AURORA.id, most=3, before=before
        ):
            seen.extend(each.lock_seq for each in page)
            before = (page[-1].stood_at, page[-1].id)
    assert seen == list(range(20, 0, -1))


@pytest.mark.guarantee("G8")
@pytest.mark.requirement("PLT-01")
async def test_another_tenant_sees_none_of_it(database: Database) -> None:
    await take(database, fact(1))
    async with database.transaction() as connection:
        asked = {"tenant": "southwind", "property_id": AURORA.id}
        assert await events_before(connection, most=10, before=None, **asked) == []
        assert await events_after(connection, after_id=0, most=10, **asked) == []
        assert await door_states(connection, **asked) == {}
        assert await grant_of(connection, grant="aa" * 8, **asked) is None


@pytest.mark.guarantee("G10")
@pytest.mark.guarantee("G17")
async def test_a_clock_that_was_ahead_holds_no_place_in_front_for_ever(database: Database) -> None:
    async def at_(now_ms: int, each: AccessFact) -> None:
        async with database.transaction() as connection:
            await apply_facts(
                connection, tenant=AURORA.tenant, property_id=AURORA.id, edge=AURORA.edge, facts=[each], now_ms=now_ms
            )

    far_ms = NOW_MS + 365 * 86_400_000
    await at_(NOW_MS + 1_000, fact(1, event="refused", at_ms=far_ms, battery=40.0))
    await at_(NOW_MS + 61_000, fact(2, at_ms=NOW_MS + 60_000, battery=39.0))
    async with database.transaction() as connection:
        door = (await door_states(connection, tenant=AURORA.tenant, property_id=AURORA.id))["door-101"]
        page = await events_before(connection, tenant=AURORA.tenant, property_id=AURORA.id, most=1, before=None)
        older = await events_before(
            connection, tenant=AURORA.tenant, property_id=AURORA.id, most=5, before=(page[0].stood_at, page[0].id)
        )
    assert (door.last_event, door.last_at, door.battery) == ("opened", at(NOW_MS + 60_000), 39.0)
    assert [each.lock_seq for each in page] == [2]
    assert [(each.lock_seq, each.at, each.stood_at) for each in older] == [(1, at(far_ms), at(NOW_MS + 1_000))]
