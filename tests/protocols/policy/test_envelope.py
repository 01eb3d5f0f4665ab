"""A policy is taken up whole or not at all; every refusal has its reason."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InvalidInputError, LocalProtocolError, PlatformError, UnsupportedVersionError
from protocols.grant.keys import private_key
from protocols.policy import check_in
from protocols.policy.envelope import Held, Policy, PolicyRefusal, PolicyRefusedError, judged, sign
from protocols.vectors import policy_vectors
from protocols.vectors.fixed import stream
from protocols.vectors.generate import FOLDER

VECTOR: dict[str, Any] = json.loads((FOLDER / "policy" / "envelopes.json").read_text())
PUBLIC = private_key(stream("command key")).public_key()
SIGNED = bytes.fromhex(VECTOR["cases"][0]["data"])


def judge(data: bytes, *, now_ms: int | None = VECTOR["now_ms"], held: Held | None = None) -> Policy:
    said = held or Held(**VECTOR["held"]["check_in"])
    return judged(
        data,
        lambda kid: PUBLIC if kid.hex() == VECTOR["kid"] else None,
        ours=VECTOR["property"],
        held={"check_in": said},
        kinds={"check_in": check_in.parse},
        now_ms=now_ms,
    )


@pytest.mark.guarantee("G6")
@pytest.mark.parametrize("case", VECTOR["cases"], ids=lambda case: case["name"].replace(" ", "-"))
def test_an_edge_answers_what_the_vector_says(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["data"])
    if "refused" in case["says"]:
        with pytest.raises(PolicyRefusedError) as refused:
            judge(data)
        assert refused.value.refusal == case["says"]["refused"]
    else:
        policy = judge(data)
        assert case["says"] == {
            "kind": policy.kind, "version": policy.version, "until_ms": policy.until_ms, "body": policy.body
        }  # fmt: skip


def test_every_reason_has_a_vector() -> None:
    assert {case["says"].get("refused") for case in VECTOR["cases"]} == {None, *(each.value for each in PolicyRefusal)}


@given(at=st.integers(0, len(SIGNED) - 1), flip=st.integers(1, 255))
def test_no_changed_byte_is_taken_up(at: int, flip: int) -> None:
    with pytest.raises(PolicyRefusedError):
        judge(SIGNED[:at] + bytes([SIGNED[at] ^ flip]) + SIGNED[at + 1 :])


@pytest.mark.guarantee("G19")
@given(st.binary(max_size=300))
def test_noise_is_refused_by_name(noise: bytes) -> None:
    with pytest.raises(PolicyRefusedError):
        judge(noise)


def test_an_unsound_clock_does_not_judge_the_end_and_judges_all_else() -> None:
    [late] = [bytes.fromhex(each["data"]) for each in VECTOR["cases"] if each["says"].get("refused") == "expired"]
    assert judge(late, now_ms=None).version == 7
    with pytest.raises(PolicyRefusedError):
        judge(late, now_ms=None, held=Held(8, "{}"))


@pytest.mark.parametrize(
    "wrong",
    [
        Policy("aurora", "Check In", 1, 0, 1, "{}"),
        Policy("", "check_in", 1, 0, 1, "{}"),
        Policy("aurora", "check_in", 0, 0, 1, "{}"),
        Policy("aurora", "check_in", 1, 2, 1, "{}"),
        Policy("aurora", "check_in", 1, 0, 1, "x" * 50_000),
        Policy("aurora", "check_in", 1, 0, 1, "\ud800"),
    ],
)
def test_nothing_outside_the_specification_is_signed(wrong: Policy) -> None:
    with pytest.raises(LocalProtocolError):
        sign(wrong, private_key(stream("command key")), b"command")


@pytest.mark.parametrize(
    "body",
    [
        "", "[]", "{}", '{"v":1}', '{"v":1,"jurisdiction":"IT","steps":["room","grant"]}',
        '{"v":1,"jurisdiction":"ITA","steps":["grant","room"]}',
        '{"v":1,"jurisdiction":"ITA","steps":["terms","room","grant"]}',
        '{"v":1,"jurisdiction":"ITA","steps":["terms","terms","room","grant"],"terms":"1"}',
        '{"v":1,"jurisdiction":"ITA","steps":["selfie","room","grant"]}',
        '{"v":1,"jurisdiction":"ITA","steps":["room","grant"],"keep_picture":true}',
        '{"v":1,"jurisdiction":"ITA\\n","steps":["room","grant"]}',
        "[" * 5_000, "\ud800",
    ],
)  # fmt: skip
def test_a_body_that_is_none_is_refused_with_its_place(body: str) -> None:
    with pytest.raises((InvalidInputError, UnsupportedVersionError), match="policy"):
        check_in.parse(body)


def test_a_format_of_tomorrow_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedVersionError):
        check_in.parse('{"v":2}')


@given(st.text(max_size=200))
def test_no_body_raises_anything_else(body: str) -> None:
    try:
        check_in.parse(body)
    except PlatformError:
        return
    raise AssertionError("text is no policy")


def test_what_is_encoded_is_read_again() -> None:
    assert check_in.encode(check_in.parse(policy_vectors.BODY)) == policy_vectors.BODY


def test_a_check_in_policy_with_a_key_twice_is_refused() -> None:
    body = policy_vectors.BODY.replace('"steps":', '"steps":["room","grant"],"steps":', 1)
    with pytest.raises(InvalidInputError, match="check-in policy: the key 'steps' stands twice"):
        check_in.parse(body)
