"""A signed room policy at the edge: taken up whole or refused, over the node's own one, and taken back by `null`."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge.policy.document import RoomPolicy, default, encode, signed_body
from kit.clock import ManualClock
from protocols.errors import PlatformError
from protocols.grant.keys import private_key
from protocols.link.lanes import Lane
from protocols.policy.envelope import Policy, PolicyRefusal, PolicyRefusedError, sign
from protocols.vectors.fixed import stream
from protocols.vectors.generate import FOLDER
from tests.edge.world import AURORA, Building

pytestmark = pytest.mark.guarantee("G6")
NOW_MS, DAY_MS, NAME = 1_795_000_000_000, 24 * 3_600_000, "policy_room"
KEY, STRANGER = private_key(stream("command key")), private_key(stream("stranger"))
CASES: list[dict[str, Any]] = json.loads((FOLDER / "policy" / "room_bodies.json").read_text())["cases"]


def policy(comfort_c: float, version: int = 1) -> RoomPolicy:
    climate = msgspec.structs.replace(default().climate, comfort_c=comfort_c)
    return msgspec.structs.replace(default(), climate=climate, name=f"comfort {comfort_c}", version=version)


def signed(version: int, text: str, key: Any = KEY, **changes: Any) -> dict[str, Any]:
    told = Policy(str(AURORA), "room", version, NOW_MS - DAY_MS, NOW_MS + DAY_MS, text)
    return {"signed": sign(replace(told, **changes), key, b"command")}


def body(comfort_c: float) -> str:
    return encode(policy(comfort_c)).decode()


def pinned(building: Building) -> Building:
    building.house.policies.pin(lambda kid: KEY.public_key() if kid == b"command" else None)
    return building


@pytest.fixture
async def building(tmp_path: Path) -> AsyncIterator[Building]:
    made = pinned(Building(ManualClock(wall_ms=NOW_MS), path=tmp_path / "edge.db"))
    yield made
    await made.store.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].replace(" ", "-"))
def test_an_edge_reads_what_the_vector_says(case: dict[str, Any]) -> None:
    if case["edge"]:
        assert (signed_body(case["body"]) is None) == (case["body"] == "null")
    else:
        with pytest.raises(PlatformError):
            signed_body(case["body"])


async def test_it_is_in_force_at_once_and_after_a_restart_and_rooms_look_again(building: Building) -> None:
    await building.house.desired(NAME, 3, signed(3, body(22.5)))
    assert building.house.policy == policy(22.5)
    await building.restart()
    assert building.house.policy == policy(22.5)
    assert building.house.policies.version("room") == 3
    assert building.log.records(Lane.A, "desired")[-1].body == {"name": NAME, "version": 3, "applied": True}


FROZEN, TOMORROW = body(22.5).replace('"set_back_c":17.0', '"set_back_c":5.0'), body(22.5).replace('"v":1', '"v":9')
REFUSED: dict[str, tuple[PolicyRefusal, int, dict[str, Any]]] = {
    "signed by nobody of ours": (PolicyRefusal.UNSIGNED, 4, {"key": STRANGER}),
    "older": (PolicyRefusal.OLDER, 2, {}),
    "kept back": (PolicyRefusal.EXPIRED, 4, {"until_ms": NOW_MS - 1}),
    "another hotel's": (PolicyRefusal.FOREIGN, 4, {"property": "borealis"}),
    "the same version, another text": (PolicyRefusal.CONFLICTING, 3, {}),
    "a room that freezes": (PolicyRefusal.MALFORMED, 4, {"body": FROZEN}),
    "of tomorrow": (PolicyRefusal.MALFORMED, 4, {"body": TOMORROW}),
}  # fmt: skip


async def test_nothing_else_is_taken_up(building: Building) -> None:
    await building.house.desired(NAME, 3, signed(3, body(22.5)))
    for name, (refusal, version, changes) in REFUSED.items():
        with pytest.raises(PolicyRefusedError) as refused:
            await building.house.desired(NAME, version, signed(version, body(24.0), **changes))
        assert refused.value.refusal is refusal, name
        assert building.house.policy == policy(22.5), name
        assert building.log.records(Lane.A, "desired")[-1].body["reason"] == refusal.value, name
    for unsigned in ({"signed": encode(policy(24.0))}, json.loads(body(24.0)), encode(policy(24.0))):
        with pytest.raises(PlatformError):
            await building.house.desired(NAME, 4, unsigned)
    assert building.house.policy == policy(22.5)


async def test_the_nodes_own_policy_waits_until_the_signed_one_is_taken_back(building: Building) -> None:
    await building.house.new_policy(encode(policy(22.0, version=7)), "policy.json")
    await building.house.desired(NAME, 1, signed(1, body(23.0)))
    await building.house.new_policy(encode(policy(21.5, version=8)), "policy.json")
    assert building.house.policy == policy(23.0)  # a file on the node outranks no signature
    await building.house.desired(NAME, 2, signed(2, "null"))
    assert building.house.policy == policy(21.5, version=8)
    await building.restart()
    pinned(building)
    assert building.house.policies.version("room") == 2
    with pytest.raises(PolicyRefusedError):  # and what was taken back does not come in again
        await building.house.desired(NAME, 1, signed(1, body(23.0)))
