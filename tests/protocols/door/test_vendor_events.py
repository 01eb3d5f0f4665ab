"""Ids of what was recorded at doors of other lock systems: the vectors, and that no two events have one."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import protocols.vectors
from protocols.door.vendor_events import event_id

FOLDER = Path(protocols.vectors.__file__).parent / "door"
TOLD: list[dict[str, Any]] = json.loads((FOLDER / "event_ids.json").read_text())["events"]
SYSTEMS = st.text(alphabet="abc-1", min_size=1, max_size=4)
NAMES = st.text(alphabet="ab1\x00-ü", max_size=6)
TIMES = st.none() | st.integers(-20, 20)


@pytest.mark.parametrize("told", TOLD, ids=lambda told: told["about"])
def test_each_id_is_that_of_the_vectors(told: dict[str, Any]) -> None:
    assert event_id(told["system"], told["name"], told["at_ms"]) == told["event_id"]


def test_the_vectors_have_no_id_twice() -> None:
    assert len({told["event_id"] for told in TOLD}) == len(TOLD) > 0


@given(st.tuples(SYSTEMS, NAMES, TIMES), st.tuples(SYSTEMS, NAMES, TIMES))
def test_two_events_have_two_ids(one: tuple[str, str, int | None], other: tuple[str, str, int | None]) -> None:
    assert (event_id(*one) == event_id(*other)) is (one == other)
