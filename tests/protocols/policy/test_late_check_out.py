"""A late check-out policy: what is taken up is what SPEC.md section 6 says."""

import json
from contextlib import suppress
from datetime import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import PlatformError
from protocols.policy import late_check_out
from protocols.policy.late_check_out import LateCheckOutPolicy
from protocols.vectors.generate import FOLDER

CASES: list[dict[str, Any]] = json.loads((FOLDER / "policy" / "late_check_out_bodies.json").read_text())["cases"]
pytestmark = pytest.mark.requirement("STY-09")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].replace(" ", "-"))
def test_what_the_vector_says_is_taken_up(case: dict[str, Any]) -> None:
    if case["edge"]:
        policy = late_check_out.parse(case["body"])
        assert late_check_out.parse(late_check_out.encode(policy)) == policy
    else:
        with pytest.raises(PlatformError):
            late_check_out.parse(case["body"])


@given(latest=st.times(), alone=st.none() | st.times())
def test_nothing_is_granted_alone_that_may_not_be_asked_for(latest: time, alone: time | None) -> None:
    body = late_check_out.encode(LateCheckOutPolicy(1, f"{latest:%H:%M}", None if alone is None else f"{alone:%H:%M}"))
    with suppress(PlatformError):
        policy = late_check_out.parse(body)
        assert policy.latest is not None
        assert policy.alone_until is None or late_check_out.hour(policy.alone_until) <= late_check_out.hour(
            policy.latest
        )
        return
    assert alone is not None
    assert f"{alone:%H:%M}" > f"{latest:%H:%M}"


@given(body=st.text() | st.recursive(st.none() | st.floats(), st.lists).map(str))
def test_noise_is_refused_by_name(body: str) -> None:
    with pytest.raises(PlatformError):
        late_check_out.parse(body)
