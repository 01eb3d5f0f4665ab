"""Whatever a caller with the token sends: a problem that names it, the building as it was, and the next call served."""

import asyncio
import json
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.rooms.commands import RoomCommand
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.identity import RoomId
from protocols.errors import InvalidInputError
from protocols.link.lanes import Lane
from tests.edge.api.test_routes import COMMAND, Site, problem, site
from tests.edge.world import HEATING, T0

__all__ = ["site"]

COMMANDS: Final = "/api/v1/rooms/101/commands"
HUGE: Final = 10**400
JSON_TYPE: Final = {"content-type": "application/json"}


async def served(site: Site, key: str = "key-after") -> None:
    """The next honest call is answered as ever, and the log holds only commands that can be read."""
    answer = await site.http.post(COMMANDS, json={**COMMAND, "idempotency_key": key})
    assert (answer.status_code, answer.json()["phase"]) == (200, "done"), answer.text
    assert not site.building.house.rooms.commands.unfinished()


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"value": HUGE}, "value"),
        ({"value": -HUGE}, "value"),
        ({"value": "22"}, "'22' is not a number"),
        ({"value": True}, "True is not a number"),
        ({"value": 11.9}, "11.9"),
        ({"value": 28.1}, "28.1"),
        ({"value": -273}, "-273 is under 0"),
        ({"value": "x" * 10_000}, "is not a number"),
        ({"attribute": "system_mode", "value": "a\x00b"}, "is none of"),
        ({"attribute": "local_temperature"}, "measured, not written"),
        ({"attribute": HEATING + ":\x00"}, "after the ':'"),
        ({"attribute": "y" * 80}, "no such attribute"),
        ({"capability": "on_off", "attribute": "on_off", "value": 1}, "not true or false"),
        ({"by": "a\x00b"}, "by"),
        ({"by": "\u202eevil"}, "by"),
        ({"by": ""}, "by"),
        ({"deadline_ms": -1}, "deadline_ms"),
        ({"deadline_ms": -HUGE}, "deadline_ms"),
        ({"deadline_ms": HUGE}, "deadline_ms"),
        ({"deadline_ms": T0 + 601_000}, "deadline_ms"),
        ({"deadline_ms": 1.5}, "deadline_ms"),
        ({"idempotency_key": "short"}, "idempotency_key"),
        ({"idempotency_key": "k" * 129}, "idempotency_key"),
        ({"idempotency_key": "key-00001\n"}, "idempotency_key"),
    ],
    ids=lambda each: str(each)[:30],
)
async def test_a_command_that_makes_no_sense_names_what_is_wrong(
    site: Site, change: dict[str, Any], named: str
) -> None:
    answer = await site.http.post(COMMANDS, json={**COMMAND, **change})
    told = problem(answer, 400)
    assert named in json.dumps(told, ensure_ascii=False), told
    assert len(answer.content) < 1_000
    assert site.building.devices.effects == []
    assert site.building.log.records(Lane.A, "command") == []
    await served(site)


@pytest.mark.guarantee("G13")
async def test_a_deadline_that_has_passed_is_expired_and_nothing_is_sent(site: Site) -> None:
    for deadline_ms in (T0 - 1, T0, 1, 0):
        body = {**COMMAND, "deadline_ms": deadline_ms, "idempotency_key": f"expired:{deadline_ms}"}
        answer = await site.http.post(COMMANDS, json=body)
        assert (answer.status_code, answer.json()["phase"]) == (200, "expired")
        again = await site.http.post(COMMANDS, json=body)
        assert again.json() == answer.json()
    assert site.building.devices.effects == []
    await served(site)


@pytest.mark.guarantee("G13")
async def test_one_key_is_one_command_however_often_and_however_at_once(site: Site) -> None:
    answers = await asyncio.gather(*(site.http.post(COMMANDS, json=COMMAND) for _ in range(25)))
    assert {(each.status_code, each.json()["phase"]) for each in answers} == {(200, "done")}
    assert len(site.building.devices.effects) == 1
    for change in ({"value": 23.0}, {"capability": "on_off", "attribute": "on_off", "value": True}):
        told = problem(await site.http.post(COMMANDS, json={**COMMAND, **change}), 400)
        assert "was used for" in told["detail"]
    elsewhere = await site.http.post("/api/v1/rooms/102/commands", json=COMMAND)
    assert "was used for" in problem(elsewhere, 400)["detail"]
    assert len(site.building.devices.effects) == 1


@pytest.mark.guarantee("G13")
async def test_a_command_that_no_record_can_hold_is_refused_before_anything(site: Site) -> None:
    rooms = site.building.house.rooms
    for change in ({"by": "a\x00b"}, {"deadline_ms": HUGE}, {"id": "x" * 9_000}, {"idempotency_key": "\x00"}):
        fields: dict[str, Any] = {
            "id": "c-1",
            "room": RoomId("101"),
            "capability": Capability.THERMOSTAT,
            "attribute": HEATING,
            "value": 22.0,
            "deadline_ms": T0 + 5_000,
            "idempotency_key": "k-1",
            "by": "desk",
        } | change
        with pytest.raises(InvalidInputError, match="command"):
            await rooms.command(RoomCommand(**fields))
    assert not rooms.commands.unfinished()
    assert site.building.devices.effects == []


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("DELETE", COMMANDS, 405),
        ("GET", COMMANDS, 405),
        ("PUT", "/api/v1/rooms", 405),
        ("POST", "/api/v1/stays", 405),
        ("TRACE", "/api/v1/rooms", 405),
        ("GET", "/api/v1/rooms/%00", 400),
        ("GET", "/api/v1/rooms/%ff%fe", 400),
        ("GET", "/api/v1/rooms/" + "x" * 5_000, 400),
        ("GET", "/api/v1/rooms/..%2f..%2fetc", 404),
        ("POST", "/api/v1/rooms/%00/commands", 400),
        ("POST", "/api/v1/stays/%0a/check-out", 400),
        ("GET", "/api/v1/rooms/101/" + "a/" * 500, 404),
    ],
)
async def test_another_method_or_path_is_a_problem(site: Site, method: str, path: str, status: int) -> None:
    body = {"json": {**COMMAND, "by": "x"}} if method == "POST" and "rooms" in path else {"json": {"by": "x"}}
    answer = await site.http.request(method, path, **body)
    problem(answer, status)
    await served(site)


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"[" * 16_000, "application/json"),
        (b'{"value":' * 1_700, "application/json"),
        (b'{"value": NaN}', "application/json"),
        (b'{"value": 1e999}', "application/json"),
        (b'{"by": "\\ud800"}', "application/json"),
        (json.dumps(COMMAND).encode("utf-16"), "application/json"),
        (b"capability=thermostat&value=22", "application/x-www-form-urlencoded"),
        (b"\x81\xa1a\x01", "application/x-msgpack"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
        (b"22", "text/plain"),
        (b"22", "\xff\xfe"),
    ],
    ids=range(11),
)
async def test_a_body_of_another_kind_is_a_problem(site: Site, content: bytes, kind: str) -> None:
    answer = await site.http.post(COMMANDS, content=content, headers={b"content-type": kind.encode("latin-1")})
    problem(answer, 400)
    assert site.building.devices.effects == []
    await served(site)


@pytest.mark.guarantee("G13")
async def test_a_key_given_twice_in_one_body_is_one_value(site: Site) -> None:
    body = json.dumps(COMMAND).encode()[:-1] + b', "value": 35, "value": 23.5}'
    answer = await site.http.post(COMMANDS, content=body, headers=JSON_TYPE)
    assert answer.json()["read_back"] == 23.5
    assert [each[-1] for each in site.building.devices.effects] == [23.5]


VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-HUGE, HUGE) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.guarantee("G19")
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    change=st.dictionaries(st.sampled_from([*COMMAND, "deadline_ms", "by", "x"]), VALUES, min_size=1), data=st.data()
)
async def test_noise_in_a_command_is_answered_and_never_a_500(
    site: Site, change: dict[str, Any], data: st.DataObject
) -> None:
    fresh = f"key-{data.draw(st.integers(0, 10**9))}-{id(change)}"
    body = {**COMMAND, "idempotency_key": fresh, **change}
    answer = await site.http.post(COMMANDS, content=json.dumps(body).encode(), headers=JSON_TYPE)
    assert answer.status_code in (200, 400, 413), answer.text
    if answer.status_code == 200:
        assert Phase(answer.json()["phase"])
    assert not site.building.house.rooms.commands.unfinished()


@pytest.mark.guarantee("G19")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(st.sampled_from(["phone_public_key", "by", "x"]), VALUES))
async def test_noise_at_check_in_is_a_problem(site: Site, body: dict[str, Any]) -> None:
    answer = await site.http.post(
        "/api/v1/stays/s-anna/check-in", content=json.dumps({"by": "x", **body}).encode(), headers=JSON_TYPE
    )
    assert answer.status_code in (400, 413)
    assert not site.building.doors.grants
