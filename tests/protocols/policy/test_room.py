"""A room policy: what a cloud signs is what SPEC.md section 5 says."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidInputError, PlatformError
from protocols.policy import room
from protocols.vectors.generate import FOLDER

CASES: list[dict[str, Any]] = json.loads((FOLDER / "policy" / "room_bodies.json").read_text())["cases"]


@pytest.mark.guarantee("G6")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].replace(" ", "-"))
def test_a_cloud_signs_what_the_vector_says(case: dict[str, Any]) -> None:
    if not case["cloud"]:
        with pytest.raises(InvalidInputError, match="room policy"):
            room.parse(case["body"])
    else:
        assert (room.parse(case["body"]) is None) == (case["body"] == room.NONE)


@given(body=st.text() | st.recursive(st.none() | st.floats(), st.lists).map(str))
def test_noise_is_refused_by_name(body: str) -> None:
    if body == room.NONE:
        return
    with pytest.raises(PlatformError):
        room.parse(body)
