"""The device model against its vectors: what is a name, a reading, a plan, and what is refused by place."""

import copy
import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.device_model import site_plan
from protocols.device_model.capability import ATTRIBUTES, Capability, Kind, attribute, problem_with
from protocols.device_model.command import FINAL_PHASES, MOVES, Phase
from protocols.device_model.identity import parse_descriptor_id, parse_device_id, parse_lock_id
from protocols.device_model.reading import Reading
from protocols.errors import InvalidInputError, PeerProtocolError, PlatformError, UnsupportedVersionError

VECTORS: Final = Path(site_plan.__file__).parents[1] / "vectors" / "device_model"
NAMES: Final = json.loads((VECTORS / "names.json").read_text())
READINGS: Final = json.loads((VECTORS / "readings.json").read_text())
PLAN: Final = json.loads((VECTORS / "site_plan.json").read_text())


@pytest.mark.parametrize("name", NAMES["valid"])
def test_a_name_is_a_name(name: str) -> None:
    assert parse_device_id(name) == name


@pytest.mark.parametrize("name", NAMES["invalid"])
def test_what_is_no_name_is_refused_with_its_place(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^devices\[3\]: "):
        parse_device_id(name, "devices[3]")


@pytest.mark.parametrize(("parse", "kind"), [(parse_lock_id, "lock_ids"), (parse_descriptor_id, "descriptor_ids")])
def test_lock_and_descriptor_ids(parse: Any, kind: str) -> None:
    for text in NAMES[kind]["valid"]:
        assert parse(text) == text
    for text in NAMES[kind]["invalid"]:
        with pytest.raises(InvalidInputError):
            parse(text)


@pytest.mark.parametrize("body", READINGS["valid"], ids=range(len(READINGS["valid"])))
def test_a_reading_comes_back_as_it_went(body: dict[str, Any]) -> None:
    assert Reading.from_body(body).to_body() == body
    assert Reading.from_body({**body, "room": "101"}).to_body() == body


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("vector", READINGS["invalid"], ids=lambda vector: vector["why"])
def test_what_is_no_reading_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(PeerProtocolError):
        Reading.from_body(vector["body"])


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS: Final = ("device", "capability", "attribute", "value", "unit", "quality", "device_at_ms", "reason")


@pytest.mark.guarantee("G19")
@given(changes=st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1))
def test_noise_in_a_reading_raises_nothing_but_a_peer_error(changes: dict[str, Any]) -> None:
    body = {**READINGS["valid"][0], **changes}
    try:
        reading = Reading.from_body(body)
    except PeerProtocolError:
        return
    assert Reading.from_body(reading.to_body()) == reading


@pytest.mark.requirement("DEV-01")
def test_the_plan_of_the_vector_is_read_and_written_back() -> None:
    plan = site_plan.parse(json.dumps(PLAN["plan"]).encode())
    assert json.loads(site_plan.encode(plan)) == {**PLAN["plan"], "doors": json.loads(site_plan.encode(plan))["doors"]}
    assert site_plan.parse(site_plan.encode(plan)) == plan
    assert plan.room_of(plan.devices[0].id) == "101"
    assert [each.id for each in plan.devices_on(plan.buses[0].id)] == ["thermostat-101"]
    assert [each.id for each in plan.doors_of(plan.rooms[1].id)] == ["door-lobby"]


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("vector", PLAN["wrong"], ids=lambda vector: vector["why"])
def test_a_wrong_plan_is_refused_with_file_and_place(vector: dict[str, Any]) -> None:
    document = copy.deepcopy(PLAN["plan"])
    at: Any = document
    for step in vector["path"][:-1]:
        at = at[step]
    at[vector["path"][-1]] = vector["value"]
    with pytest.raises((InvalidInputError, UnsupportedVersionError)) as caught:
        site_plan.parse(json.dumps(document).encode(), "aurora.json")
    assert str(caught.value).startswith("aurora.json")
    assert vector["names"] in str(caught.value)


@pytest.mark.guarantee("G19")
@given(data=st.one_of(st.binary(max_size=200), JSON.map(lambda each: json.dumps(each).encode())))
def test_noise_for_a_plan_raises_nothing_but_a_named_error(data: bytes) -> None:
    with pytest.raises(PlatformError):
        site_plan.parse(data)


def test_a_plan_too_long_is_refused_unread() -> None:
    with pytest.raises(InvalidInputError, match="at most"):
        site_plan.parse(b" " * (site_plan.SITE_PLAN_BYTES_MAX + 1))


def test_every_row_of_the_table_is_sound() -> None:
    for (capability, name), row in ATTRIBUTES.items():
        assert (row.capability, row.name) == (capability, name)
        assert (row.kind is Kind.CHOICE) == bool(row.choices)
        assert (row.kind in (Kind.NUMBER, Kind.INTEGER)) == (row.least is not None and row.most is not None)
        assert attribute(capability, f"{name}:second") is row
    assert {capability for capability, _ in ATTRIBUTES} == set(Capability)


@given(value=st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()))
def test_problem_with_says_no_or_nothing(value: object) -> None:
    for row in ATTRIBUTES.values():
        problem = problem_with(row, value)
        if row.kind is Kind.BOOL:
            assert (problem is None) == isinstance(value, bool)
        if isinstance(value, bool) and row.kind is not Kind.BOOL:
            assert problem is not None


@pytest.mark.guarantee("G13")
def test_phases_end() -> None:
    assert {phase for phase, moves in MOVES.items() if not moves} == FINAL_PHASES
    assert set(MOVES) == set(Phase)


@pytest.mark.guarantee("G19")
def test_a_plan_with_a_key_twice_is_refused() -> None:
    data = json.dumps(PLAN["plan"]).encode().replace(b'"number": 101', b'"number": 102, "number": 101', 1)
    with pytest.raises(InvalidInputError, match="the key 'number' stands twice"):
        site_plan.parse(data)
