"""A policy goes out by rings, waits for who is away, and comes back by itself where it does harm."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from cloud.kit.database import Connection, Database, fetch_all
from cloud.policy.in_force import body_in_force
from cloud.policy.releases import AGAIN_MS, Kind, Releases, heard
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import InvalidInputError, LinkLostError
from protocols.grant.keys import private_key
from protocols.policy import check_in
from protocols.policy.envelope import Held, PolicyRefusal, PolicyRefusedError, judged, sign
from protocols.vectors.fixed import stream
from tests.cloud.houses import AURORA, BOREALIS, NOW_MS, open_house
from tests.seeds import seeds

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G6")]
KEY = private_key(stream("command key"))
SOAK_MS = 600_000


def body(minutes: int) -> str:
    return check_in.encode(
        check_in.CheckInPolicy(v=1, jurisdiction="AUT", steps=check_in.LAST, opens_before_minutes=minutes)
    )


class World:
    """Two hotels of one tenant, their edges, and what they did."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, ManualClock(wall_ms=NOW_MS)
        self.outcome = (0, 0)
        self.kind = Kind(check_in.parse, check_in.encode(check_in.DEFAULT), self._outcomes)
        self.releases = Releases(
            database, {"check_in": self.kind}, sign=lambda policy: sign(policy, KEY, b"command"),
            clock=self.clock, dice=SeededDice(1),
        )  # fmt: skip
        self.held: dict[str, dict[str, Held]] = {}
        self.away: set[str] = set()
        self.refusing: set[str] = set()
        self.sent: list[tuple[str, int]] = []

    async def _outcomes(self, _connection: Connection, _places: Sequence[str], _since: int) -> tuple[int, int]:
        return self.outcome

    async def release(self, minutes: int, *rings: list[str], soak_ms: int = SOAK_MS) -> str:
        return await self.releases.release(
            tenant="northlight", kind="check_in", body=body(minutes), rings=rings or [["aurora"], ["polaris"]],
            soak_ms=soak_ms, by="anna",
        )  # fmt: skip

    async def publish(self, edge: str, name: str, version: int, carried: dict[str, Any]) -> None:
        """Be the line and the edges: they judge as edges do, and answer."""
        house = {"e-aurora0000000001": "aurora", "e-polaris000000001": "polaris"}[edge]
        if house in self.away:
            return
        self.sent.append((house, version))
        held = self.held.setdefault(house, {})
        detail: str | None = None
        try:
            if house in self.refusing:
                raise PolicyRefusedError(PolicyRefusal.UNSUPPORTED, "of another build")
            policy = judged(
                carried["signed"], lambda _kid: KEY.public_key(), ours=house, held=held,
                kinds={"check_in": check_in.parse}, now_ms=self.clock.wall_ms(),
            )  # fmt: skip
            held["check_in"] = Held(policy.version, policy.body)
        except PolicyRefusedError as error:
            detail = str(error)
        async with self.database.transaction() as connection:
            await heard(
                connection, property_id=house, name=name, version=version, applied=detail is None, detail=detail,
                now_ms=self.clock.wall_ms(),
            )  # fmt: skip

    async def pass_time(self, ms: int = SOAK_MS + 1) -> None:
        self.clock.advance(ms)
        await self.releases.publish_due(self.publish)
        while await self.releases.work():
            await self.releases.publish_due(self.publish)

    def minutes(self, house: str) -> int | None:
        held = self.held.get(house, {}).get("check_in")
        return None if held is None else check_in.parse(held.body).opens_before_minutes

    async def state(self) -> list[tuple[str, str | None]]:
        async with self.database.transaction() as connection:
            rows = await fetch_all(connection, "SELECT state, reason FROM policy.release ORDER BY made_at, id")
        return [(row["state"], row["reason"]) for row in rows]


@pytest.fixture
async def world(database: Database) -> World:
    from dataclasses import replace

    for house in (AURORA, replace(AURORA, id="polaris", edge="e-polaris000000001"), BOREALIS):
        await open_house(database, house)
    return World(database)


async def test_the_second_ring_comes_after_the_first_has_soaked(world: World) -> None:
    await world.release(30)
    await world.pass_time(0)
    assert (world.minutes("aurora"), world.minutes("polaris")) == (30, None)
    await world.pass_time(SOAK_MS - 1)
    assert world.minutes("polaris") is None
    await world.pass_time(1)
    assert world.minutes("polaris") == 30
    assert await world.state() == [("rolling", None)]
    await world.pass_time()
    assert await world.state() == [("done", None)]


async def test_who_is_away_holds_the_rollout_up_and_is_told_again(world: World) -> None:
    world.away.add("aurora")
    await world.release(30)
    await world.pass_time(10 * SOAK_MS)
    assert (await world.state(), world.sent) == ([("rolling", None)], [])
    world.away.clear()
    await world.pass_time(AGAIN_MS + 1)
    await world.pass_time()
    assert world.minutes("polaris") == 30


async def test_a_refusal_takes_it_back_everywhere_as_a_newer_version(world: World) -> None:
    await world.release(30, ["aurora", "polaris"], soak_ms=0)
    await world.pass_time()
    assert await world.state() == [("done", None)]
    await world.release(90)
    await world.pass_time(0)
    world.refusing.add("polaris")
    await world.pass_time()
    assert (world.minutes("aurora"), world.minutes("polaris")) == (30, 30)
    [_, (state, reason)] = await world.state()
    assert state == "rolled_back"
    assert reason is not None
    assert reason.startswith("polaris: refused")
    assert world.held["aurora"]["check_in"].version == 3, "never an older version"


async def test_outcomes_beyond_the_gate_take_it_back_before_the_second_ring(world: World) -> None:
    await world.release(30)
    await world.pass_time(0)
    world.outcome = (4, 4)
    await world.pass_time(1)
    assert await world.state() == [("rolling", None)], "too few to say"
    world.outcome = (10, 2)
    await world.pass_time(1)
    assert await world.state() == [("rolling", None)]
    world.outcome = (10, 3)
    await world.pass_time(1)
    assert await world.state() == [("rolled_back", "3 of 10 failed since the ring began")]
    assert world.minutes("aurora") == check_in.DEFAULT.opens_before_minutes, "there was none before"
    assert world.minutes("polaris") is None


async def test_after_two_bad_ones_in_a_row_the_last_good_one_is_in_force(world: World) -> None:
    await world.release(30, ["aurora"], soak_ms=0)
    await world.pass_time()
    for minutes in (60, 90):
        await world.release(minutes, ["aurora"])
        await world.pass_time(0)
        world.outcome = (10, 10)
        await world.pass_time(1)
        world.outcome = (0, 0)
        assert world.minutes("aurora") == 30
    async with world.database.transaction() as connection:
        found = await body_in_force(connection, tenant="northlight", property_id="aurora", kind="check_in")
        assert found == (5, body(30))
        assert await body_in_force(connection, tenant="southwind", property_id="aurora", kind="check_in") is None


@pytest.mark.guarantee("G8")
@pytest.mark.parametrize("rings", [[], [[]], [["aurora"], ["aurora"]], [["borealis"]], [["nowhere"]], [["aurora"], []]])
async def test_rings_name_each_property_of_the_tenant_once(world: World, rings: list[list[str]]) -> None:
    with pytest.raises(InvalidInputError):
        await world.releases.release(tenant="northlight", kind="check_in", body=body(1), rings=rings, soak_ms=0, by="x")


async def test_one_release_at_a_time_and_only_of_what_can_be_read(world: World) -> None:
    for kind, text in (("sauna", "{}"), ("check_in", "{}")):
        with pytest.raises(InvalidInputError):
            await world.releases.release(
                tenant="northlight", kind=kind, body=text, rings=[["aurora"]], soak_ms=0, by="x"
            )
    await world.release(30)
    with pytest.raises(InvalidInputError, match="under way"):
        await world.release(60)


async def test_a_broker_that_is_away_loses_nothing(world: World) -> None:
    async def lost(_edge: str, _name: str, _version: int, _body: dict[str, Any]) -> None:
        raise LinkLostError("away")

    await world.release(30)
    assert await world.releases.publish_due(lost) == 0
    await world.pass_time(1)
    assert world.minutes("aurora") == 30


@pytest.mark.parametrize("seed", seeds(3, 40))
async def test_whatever_happens_no_house_ever_sees_an_older_version(world: World, seed: int) -> None:
    dice = SeededDice(seed)
    seen: dict[str, int] = {}
    for _ in range(25):
        world.away = {each for each in ("aurora", "polaris") if dice.uniform(0, 1) < 0.3}
        world.refusing = {each for each in ("aurora", "polaris") if dice.uniform(0, 1) < 0.15}
        world.outcome = (10, dice.integer(0, 4))
        if dice.uniform(0, 1) < 0.4:
            with suppress(InvalidInputError):  # one is under way
                await world.release(dice.integer(1, 1_000))
        await world.pass_time(dice.integer(0, 2 * SOAK_MS))
        for house, held in world.held.items():
            if "check_in" not in held:  # nothing was released yet, or it has been away since
                assert house not in seen
                continue
            assert held["check_in"].version >= seen.get(house, 0)
            seen[house] = held["check_in"].version
    assert seen
