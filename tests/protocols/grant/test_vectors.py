"""The grant vectors, read as a stranger would: from the JSON alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import protocols.vectors
from protocols.errors import CredentialRefusedError, LocalProtocolError
from protocols.grant.certificate import open_certificate
from protocols.grant.generation import following
from protocols.grant.grant import Approval, Grant, GrantFlag, Shift, open_grant
from protocols.grant.judge import DoorState, judge
from protocols.grant.keys import VERIFY_S, IssuerClass, kid_of, public_key
from protocols.grant.lock_time import LockTime, TimeQuality
from protocols.grant.revocation import open_object
from protocols.vectors.generate import differences

FOLDER = Path(protocols.vectors.__file__).parent / "grant"


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    assert document["v"] == 1
    return document


def cases(name: str, part: str) -> list[Any]:
    return [pytest.param(each, id=each["name"]) for each in read(name)[part]]


def ca_keys() -> dict[bytes, ec.EllipticCurvePublicKey]:
    ca = public_key(bytes.fromhex(read("certificates")["keys"]["ca"]["public"]))
    return {kid_of(ca): ca}


def grant_of(says: dict[str, Any]) -> Grant:
    return Grant(
        grant_id=bytes.fromhex(says["grant_id"]),
        issued_at_s=says["issued_at_s"],
        not_before_s=says["not_before_s"],
        not_after_s=says["not_after_s"],
        phone=bytes.fromhex(says["phone"]),
        rooms=tuple(says["rooms"]),
        ranges=tuple((first, last) for first, last in says["ranges"]),
        zones=says["zones"],
        generation=says["generation"],
        flags=GrantFlag(says["flags"]),
        shift=None if says["shift"] is None else Shift(**says["shift"]),
        uses_most=says["uses_most"],
        approvals=tuple(
            Approval(bytes.fromhex(each["kid"]), bytes.fromhex(each["signature"])) for each in says["approvals"]
        ),
        life_hours=says["life_hours"],
    )


@pytest.mark.requirement("P1")
def test_the_vectors_regenerate_unchanged() -> None:
    assert differences() == []


@pytest.mark.requirement("P6")
@pytest.mark.parametrize("case", cases("certificates", "certificates"))
def test_a_certificate_says_what_the_vector_says(case: dict[str, Any]) -> None:
    found = open_certificate(bytes.fromhex(case["encoded"]), ca_keys())
    assert (int(found.issuer_class), found.point.hex(), found.kid.hex()) == (case["class"], case["public"], case["kid"])
    assert (found.not_before_s, found.signs_until_s, found.not_after_s) == (
        case["not_before_s"],
        case["signs_until_s"],
        case["not_after_s"],
    )
    assert [each.hex() for each in found.officers] == case["officers"]
    assert found.signs_until_s - found.not_before_s == 25 * 3_600
    assert found.not_after_s - found.signs_until_s == VERIFY_S[IssuerClass(case["class"])]


@pytest.mark.requirement("P4", "P6")
@pytest.mark.parametrize("case", cases("certificates", "refused"))
def test_a_bad_certificate_is_refused_for_the_reason_given(case: dict[str, Any]) -> None:
    with pytest.raises(CredentialRefusedError) as refused:
        open_certificate(bytes.fromhex(case["encoded"]), ca_keys())
    assert refused.value.reason == case["reason"]


@pytest.mark.requirement("ACC-02", "P1")
@pytest.mark.parametrize("case", cases("grants", "grants"))
def test_a_grant_says_what_the_vector_says_and_is_small(case: dict[str, Any]) -> None:
    issuer = open_certificate(bytes.fromhex(case["issuer"]), ca_keys())
    found = open_grant(bytes.fromhex(case["encoded"]), issuer)
    assert found == grant_of(case["says"])
    assert found.payload().hex() == case["payload"]
    assert case["bytes"] == len(bytes.fromhex(case["encoded"])) <= (310 if found.approvals else 197)


@pytest.mark.requirement("P4")
@pytest.mark.parametrize("case", cases("grants", "refused"))
def test_a_bad_grant_is_refused_for_the_reason_given(case: dict[str, Any]) -> None:
    issuer = open_certificate(bytes.fromhex(case["issuer"]), ca_keys())
    with pytest.raises(CredentialRefusedError) as refused:
        open_grant(bytes.fromhex(case["encoded"]), issuer)
    assert refused.value.reason == case["reason"]


@pytest.mark.requirement("P9")
@pytest.mark.parametrize("case", cases("objects", "objects"))
def test_a_signed_object_says_what_the_vector_says(case: dict[str, Any]) -> None:
    issuer = open_certificate(bytes.fromhex(read("objects")["issuer"]), ca_keys())
    found = open_object(bytes.fromhex(case["encoded"]), issuer)
    assert type(found.body).__name__ == case["says"]["kind"]
    assert found.issued_at_s == case["issued_at_s"]
    for name, value in case["says"].items():
        if name not in ("kind", "entries", "issuers"):
            told = getattr(found.body, name)
            assert (told.hex() if isinstance(told, bytes) else told) == value
    for name in {"entries", "issuers"} & set(case["says"]):
        told = [[withdrawn.hex(), until_s] for withdrawn, until_s in getattr(found.body, name)]
        assert told == case["says"][name]


@pytest.mark.requirement("P9")
@pytest.mark.parametrize("case", cases("objects", "refused"))
def test_a_bad_object_is_refused_for_the_reason_given(case: dict[str, Any]) -> None:
    issuer = open_certificate(bytes.fromhex(read("objects")["issuer"]), ca_keys())
    with pytest.raises(CredentialRefusedError) as refused:
        open_object(bytes.fromhex(case["encoded"]), issuer)
    assert refused.value.reason == case["reason"]


@pytest.mark.requirement("P5")
@pytest.mark.parametrize("case", cases("generation", "next"))
def test_the_next_generation_is_the_vectors(case: dict[str, Any]) -> None:
    assert following(case["highest"], case["at_s"]) == case["next"]


@pytest.mark.requirement("P5")
@pytest.mark.parametrize("case", cases("generation", "refused"))
def test_a_generation_no_lock_would_take_is_not_handed_out(case: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError, match="ahead"):
        following(case["highest"], case["at_s"])


@pytest.mark.guarantee("G4")
@pytest.mark.requirement("P4", "P5", "P8", "ACC-12")
@pytest.mark.parametrize("case", cases("judgements", "judgements"))
def test_a_door_judges_as_the_vector_says(case: dict[str, Any]) -> None:
    issuer = open_certificate(bytes.fromhex(read("judgements")["issuers"][case["issuer"]]), ca_keys())
    door, time, said = case["door"], case["time"], case["verdict"]
    verdict = judge(
        grant_of(case["grant"]),
        issuer,
        DoorState(
            room=door["room"],
            zones=door["zones"],
            generation=door["generation"],
            privacy=door["privacy"],
            revoked=frozenset(bytes.fromhex(each) for each in door["revoked"]),
            uses={bytes.fromhex(grant_id): count for grant_id, count in door["uses"].items()},
            just_used=frozenset(bytes.fromhex(each) for each in door["just_used"]),
            withdrawn=frozenset(bytes.fromhex(each) for each in door["withdrawn"]),
            locked_out=door["locked_out"],
            begun={bytes.fromhex(grant_id): at_s for grant_id, at_s in door["begun"].items()},
        ),
        LockTime(time["now_s"], time["floor_s"], TimeQuality(time["quality"]), time["drift_s"]),
        user_verified=case["user_verified"],
        latch=case["latch"],
    )
    assert verdict.reason == said["reason"]
    assert verdict.opens is (said["reason"] is None)
    changes = (verdict.promotes_to, verdict.counts_use, verdict.begins)
    assert changes == (said["promotes_to"], said["counts_use"], said["begins"])
    assert verdict.time.floor_s == said["floor_s"]
