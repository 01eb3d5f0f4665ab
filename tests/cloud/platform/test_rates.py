"""How often a caller may ask is data, and whoever asks more is told when to come again."""

import httpx
import pytest
from litestar import get, post

from cloud.kit.database import Database, execute
from cloud.platform.access_policy import ACTION
from cloud.platform.principals import Principals, Role
from cloud.platform.rates import BUCKETS_MOST, DEFAULTS, RULES_MS, Kind, RateExceededError, RateLimits
from cloud.public.app import build
from cloud.public.gate import Gate
from kit.clock import ManualClock
from kit.dice import SeededDice
from tests.cloud.asgi import in_process
from tests.cloud.houses import AURORA, BOREALIS, NOW_MS, open_house
from tests.cloud.platform.test_principals import TOKEN, entry

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("API-04")]
OTHER = "another-token-of-forty-characters-012345"


async def rule(database: Database, whose: tuple[str, str, str], per_minute: int, burst: int) -> None:
    async with database.transaction() as connection:
        await execute(
            connection,
            "INSERT INTO platform.rate_rule VALUES (%s, %s, %s, %s, %s) ON CONFLICT (tenant, caller, kind)"
            " DO UPDATE SET per_minute = excluded.per_minute, burst = excluded.burst",
            [*whose, per_minute, burst],
        )


async def passes(limits: RateLimits, tenant: str, caller: str, kind: Kind, most: int = 2_000) -> int:
    """Return how many requests in one moment are let through."""
    for n in range(most):
        try:
            await limits.count(tenant, caller, kind)
        except RateExceededError:
            return n
    return most


async def test_the_most_particular_rule_decides_and_a_new_one_is_noticed(database: Database) -> None:
    for house in (AURORA, BOREALIS):
        await open_house(database, house)
    clock = ManualClock(wall_ms=NOW_MS)
    limits = RateLimits(database, clock=clock)
    await rule(database, ("northlight", "", "read"), 60, 20)
    await rule(database, ("northlight", "erp", "read"), 60, 5)
    assert await passes(limits, "northlight", "erp", Kind.READ) == 5
    assert await passes(limits, "northlight", "desk", Kind.READ) == 20
    assert await passes(limits, "northlight", "erp", Kind.WRITE) == DEFAULTS[Kind.WRITE].burst
    assert await passes(limits, "southwind", "erp", Kind.READ) == DEFAULTS[Kind.READ].burst
    clock.advance(3_000)
    assert await passes(limits, "northlight", "erp", Kind.READ) == 3  # one a second leaks
    await rule(database, ("northlight", "erp", "read"), 60, 10)
    clock.advance(RULES_MS - 3_000 - 1)
    assert await passes(limits, "northlight", "erp", Kind.READ) == 5
    clock.advance(1)
    assert await passes(limits, "northlight", "erp", Kind.READ) == 5  # read again: five more fit


async def test_who_waits_as_told_gets_through_and_not_a_moment_earlier(database: Database) -> None:
    await open_house(database)
    clock = ManualClock(wall_ms=NOW_MS)
    limits = RateLimits(database, clock=clock)
    await rule(database, ("northlight", "", "write"), 2, 1)
    assert await passes(limits, "northlight", "x", Kind.WRITE) == 1
    with pytest.raises(RateExceededError) as told:
        await limits.count("northlight", "x", Kind.WRITE)
    assert told.value.retry_after_s == 30
    clock.advance(29_999)
    with pytest.raises(RateExceededError):
        await limits.count("northlight", "x", Kind.WRITE)
    clock.advance(1)
    await limits.count("northlight", "x", Kind.WRITE)


async def test_callers_without_number_cost_bounded_memory(database: Database) -> None:
    limits = RateLimits(database, clock=ManualClock(wall_ms=NOW_MS))
    for n in range(BUCKETS_MOST + 50):
        await limits.count("t", str(n), Kind.READ)
    assert len(limits._buckets) == BUCKETS_MOST


@pytest.mark.requirement("API-33")
async def test_the_gate_answers_429_with_a_time_and_counts_nobody_else(database: Database) -> None:
    await open_house(database)
    done: list[str] = []

    @get("/look", opt={ACTION: "self.read"})
    async def look() -> str:
        return "seen"

    @post("/do", opt={ACTION: "self.change"})
    async def do() -> str:
        done.append("x")
        return "done"

    await rule(database, ("northlight", "ops", "write"), 6, 2)
    clock = ManualClock(wall_ms=NOW_MS)
    principals = Principals([entry(role=Role.ADMIN), entry(OTHER, "two", Role.ADMIN)], dice=SeededDice(1))
    gate = Gate(principals, database, clock=clock, origins=frozenset(), rates=RateLimits(database, clock=clock))
    transport = in_process(build(gate, [look, do]))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud.test") as http:
        ours, theirs = ({"Authorization": f"Bearer {each}"} for each in (TOKEN, OTHER))
        answers = [await http.post("/do", headers=ours) for _ in range(3)]
        assert [each.status_code for each in answers] == [201, 201, 429]
        assert answers[2].headers["retry-after"] == "10"
        assert answers[2].headers["content-type"] == "application/problem+json"
        assert answers[2].json()["retryable"] is True
        assert len(done) == 2
        assert (await http.get("/look", headers=ours)).status_code == 200
        assert (await http.post("/do", headers=theirs)).status_code == 201
