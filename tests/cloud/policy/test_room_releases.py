"""Room policies go out by rings, are judged by the edges' own code, and come back by themselves if rooms get cold."""

import json
from dataclasses import replace
from typing import Any

import pytest

from cloud.kit.acting import UPKEEP, acting
from cloud.kit.database import Database, execute, fetch_all, jsonb
from cloud.kit.times import at
from cloud.policy.releases import Kind, Releases, heard
from cloud.telemetry import room_outcomes
from edge.policy.acceptance import SignedPolicies
from edge.policy.document import RoomPolicy, default, encode, signed_body
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.errors import InvalidInputError
from protocols.grant.keys import private_key
from protocols.policy import room
from protocols.policy.envelope import PolicyRefusedError, sign
from protocols.vectors.fixed import stream
from tests.cloud.houses import AURORA, NOW_MS, open_house

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.guarantee("G6")]
KEY = private_key(stream("command key"))
SOAK_MS = 600_000
EDGES = {"e-aurora0000000001": "aurora", "e-polaris000000001": "polaris"}


def document(comfort_c: float, **more: Any) -> str:
    told = json.loads(encode(default()))
    return json.dumps({**told, "climate": {**told["climate"], "comfort_c": comfort_c}, **more})


class Edge:
    """An edge's own acceptance over a store and a log that keep nothing for long."""

    def __init__(self, house: str, clock: ManualClock) -> None:
        self.policies = SignedPolicies(
            ours=house, kinds={room.KIND: signed_body}, store=self, records=self, clock=clock
        )  # fmt: skip
        self.policies.pin(lambda kid: KEY.public_key() if kid == b"command" else None)
        self.said: dict[str, Any] = {}

    async def save_document(self, name: str, body: bytes) -> None:
        """Every disk is a good one here."""

    async def desired(self, body: Any) -> None:
        self.said = dict(body)

    @property
    def comfort_c(self) -> float | None:
        found = self.policies.in_force(room.KIND)
        return found.climate.comfort_c if isinstance(found, RoomPolicy) else None


class World:
    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, ManualClock(wall_ms=NOW_MS)
        kinds = {room.KIND: Kind(room.parse, room.NONE, room_outcomes.outcomes)}
        self.releases = Releases(
            database, kinds, sign=lambda policy: sign(policy, KEY, b"command"), clock=self.clock, dice=SeededDice(1)
        )
        self.edges = {house: Edge(house, self.clock) for house in EDGES.values()}

    async def publish(self, edge: str, name: str, version: int, body: dict[str, Any]) -> None:
        house = EDGES[edge]
        said = self.edges[house]
        try:
            await said.policies.take(name, version, body)
        except PolicyRefusedError:
            assert said.said["applied"] is False
        async with self.database.transaction() as connection:
            await heard(
                connection, property_id=house, name=name, version=version, applied=said.said["applied"],
                detail=said.said.get("detail"), now_ms=self.clock.wall_ms(),
            )  # fmt: skip

    async def release(self, body: str) -> None:
        await self.releases.release(
            tenant="northlight", kind=room.KIND, body=body, rings=[["aurora"], ["polaris"]], soak_ms=SOAK_MS, by="anna"
        )

    async def pass_time(self, ms: int = SOAK_MS + 1) -> None:
        self.clock.advance(ms)
        await self.releases.publish_due(self.publish)
        while await self.releases.work():
            await self.releases.publish_due(self.publish)

    async def breaches(self, house: str, rooms: int, *, at_ms: int) -> None:
        """The building raised that so many rooms are not as their guests want them."""
        async with self.database.transaction() as connection:
            for number in range(rooms):
                body = {"alert": "comfort_breach", "state": "raised", "room": f"r{number}", "number": number}
                await execute(
                    connection,
                    "INSERT INTO telemetry.record (tenant, property, edge, incarnation, lane, seq, kind, body,"
                    " edge_at_ms, mono_ms, clock, received_at)"
                    " VALUES ('northlight', %s, %s, %s, 'B', %s, 'alert', %s, %s, 0, 'synchronised', %s)",
                    [house, house, bytes(16), number + at_ms, jsonb(body), at_ms, at(self.clock.wall_ms())],
                )

    async def state(self) -> tuple[str, str | None]:
        async with self.database.transaction() as connection:
            [*_, last] = await fetch_all(connection, "SELECT state, reason FROM policy.release ORDER BY made_at, id")
        return last["state"], last["reason"]


@pytest.fixture
async def world(database: Database) -> World:
    for house in (AURORA, replace(AURORA, id="polaris", edge="e-polaris000000001")):
        await open_house(database, house)
    async with database.transaction() as connection:  # a hotel of ten rooms each: a gate needs rooms to count
        await execute(
            connection,
            "INSERT INTO stays.room (property, id, tenant, position, kind)"
            " SELECT p, 'r' || n, 'northlight', 100 + n, 'guest_room'"
            "   FROM unnest(ARRAY['aurora', 'polaris']) AS p, generate_series(0, 7) AS n",
        )
    with acting(UPKEEP):
        async with database.transaction() as connection:
            await execute(connection, "CREATE TABLE telemetry.record_of_test PARTITION OF telemetry.record DEFAULT")
    return World(database)


async def test_a_room_policy_goes_ring_by_ring_and_is_done(world: World) -> None:
    await world.release(document(22.5))
    await world.pass_time(0)
    assert [world.edges[each].comfort_c for each in ("aurora", "polaris")] == [22.5, None]
    await world.pass_time()
    assert [world.edges[each].comfort_c for each in ("aurora", "polaris")] == [22.5, 22.5]
    await world.pass_time()
    assert await world.state() == ("done", None)


async def test_rooms_that_get_cold_bring_the_last_good_one_back_by_itself(world: World) -> None:
    await world.release(document(22.5))
    for _ in range(3):
        await world.pass_time()
    assert await world.state() == ("done", None)
    await world.release(document(21.6))
    await world.pass_time(0)
    assert world.edges["aurora"].comfort_c == 21.6
    await world.breaches("aurora", 9, at_ms=NOW_MS - 1)  # began before this ring: not the policy's doing
    await world.breaches("polaris", 9, at_ms=world.clock.wall_ms())  # not reached yet
    await world.pass_time(1)
    assert await world.state() == ("rolling", None)
    await world.breaches("aurora", 4, at_ms=world.clock.wall_ms())
    await world.pass_time(1)
    state, reason = await world.state()
    assert (state, reason) == ("rolled_back", "4 of 11 failed since the ring began")
    assert [world.edges[each].comfort_c for each in ("aurora", "polaris")] == [22.5, 22.5]
    assert world.edges["aurora"].policies.version(room.KIND) == 3  # as a newer version: no edge takes an older one


async def test_a_document_that_an_edge_cannot_obey_is_taken_back_to_none(world: World) -> None:
    rule = {"name": "r", "when": "no && rule &&", "then": []}
    await world.release(document(22.5, v=2, rules=[rule]))
    await world.pass_time(1)
    state, reason = await world.state()
    assert state == "rolled_back"
    assert reason is not None
    assert "aurora: refused: policy refused (malformed)" in reason
    assert [world.edges[each].comfort_c for each in ("aurora", "polaris")] == [None, None]
    assert [world.edges[each].policies.version(room.KIND) for each in ("aurora", "polaris")] == [2, 0]


async def test_what_would_freeze_a_guest_is_not_signed(world: World) -> None:
    with pytest.raises(InvalidInputError, match="comfort_c"):
        await world.release(document(11.0))
