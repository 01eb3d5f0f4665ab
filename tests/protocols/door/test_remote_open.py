"""A request to open a door from afar: every byte and every refusal of the vectors, and what nobody may change."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import protocols.vectors
from protocols.door.remote_open import (
    REQUEST_BYTES_MOST,
    UNSIGNED,
    HeldKey,
    HouseFacts,
    OpenRefusal,
    decode,
    judge,
    statement_of,
)
from protocols.door.vendor_keys import VendorState
from protocols.errors import InvalidInputError, PeerProtocolError, UnsupportedVersionError
from protocols.vectors.remote_open_vectors import AT_MS

FOLDER = Path(protocols.vectors.__file__).parent / "door"
TOLD: dict[str, Any] = json.loads((FOLDER / "remote_open.json").read_text())
pytestmark = pytest.mark.requirement("A11", "P15")


def house(told: dict[str, Any]) -> HouseFacts:
    held = told["key"]
    key = None
    if held is not None:
        state = VendorState(held["state"])
        phone = bytes.fromhex(held["phone"])
        key = HeldKey(phone, held["doors"], state, held["not_before_ms"], held["not_after_ms"])
    return HouseFacts(
        told["property"],
        told["now_ms"],
        told["begun_ms"],
        key,
        opens=told["opens"],
        sealed=told["sealed"],
        spent=told["spent"],
        busy=told["busy"],
    )


def refusal_of(data: bytes) -> OpenRefusal | None:
    try:
        decode(data)
    except UnsupportedVersionError:
        return OpenRefusal.UNSUPPORTED_VERSION
    except PeerProtocolError:
        return OpenRefusal.MALFORMED
    return None


@pytest.mark.parametrize("told", TOLD["requests"], ids=lambda told: told["door"][:8])
def test_a_request_is_these_bytes(told: dict[str, Any]) -> None:
    request = decode(bytes.fromhex(told["request"]))
    assert request.encode().hex() == told["request"]
    assert (request.statement.hex(), request.signed.hex()) == (told["statement"], told["signed"])
    named = (request.request_id.hex(), request.issued_at_ms, request.property_id, request.grant, request.door)
    assert named == (told["id"], told["issued_at_ms"], told["property"], told["grant"], told["door"])
    assert len(request.encode()) <= REQUEST_BYTES_MOST


def test_the_longest_request_is_as_long_as_said() -> None:
    assert len(bytes.fromhex(TOLD["requests"][1]["request"])) == REQUEST_BYTES_MOST == 392


@pytest.mark.parametrize("told", TOLD["malformed"], ids=lambda told: told["name"])
def test_what_is_no_request_is_refused_by_name(told: dict[str, Any]) -> None:
    found = refusal_of(bytes.fromhex(told["request"]))
    assert found is not None
    assert found.value == told["refusal"]


@pytest.mark.parametrize("told", TOLD["judged"], ids=lambda told: told["name"])
def test_the_house_judges_as_the_vector_says(told: dict[str, Any]) -> None:
    found = judge(decode(bytes.fromhex(told["request"])), house(told["house"]))
    assert (None if found is None else found.value) == told["refusal"]


def test_every_refusal_has_its_vector() -> None:
    told = {each["refusal"] for each in (*TOLD["malformed"], *TOLD["judged"])} - {None}
    assert told == {each.value for each in OpenRefusal}
    assert {each.value for each in UNSIGNED} == {
        *("unsupported_version", "malformed", "wrong_property", "time_uncertain", "unknown_key", "bad_signature")
    }


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_request_changed_on_its_way_opens_nothing(at: int, bit: int) -> None:
    good = bytearray.fromhex(TOLD["requests"][0]["request"])
    good[at % len(good)] ^= 1 << bit
    facts = house(TOLD["judged"][0]["house"])
    assert refusal_of(bytes(good)) or judge(decode(bytes(good)), facts) is not None


@given(data=st.binary(max_size=REQUEST_BYTES_MOST + 2))
def test_noise_raises_nothing_but_a_peers_error(data: bytes) -> None:
    if refusal_of(data) is None:
        assert decode(data).encode() == data


@pytest.mark.parametrize(
    "changed",
    [{"request_id": bytes(15)}, {"issued_at_ms": -1}, {"issued_at_ms": 2**53 + 1}, {"door": ""}, {"grant": "A"}],
    ids=str,
)
def test_no_request_is_made_that_cannot_be_read(changed: dict[str, Any]) -> None:
    parts = {"request_id": bytes(16), "issued_at_ms": AT_MS, "property_id": "a", "grant": "b", "door": "c"}
    with pytest.raises(InvalidInputError):
        statement_of(**{**parts, **changed})
