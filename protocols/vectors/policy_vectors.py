"""Vectors of protocols/policy: envelopes an edge takes up, and those it refuses with the reason."""

import json
from dataclasses import replace
from typing import Any, Final

from protocols import cbor, cose
from protocols.grant.keys import private_key, private_key_hex
from protocols.policy import check_in
from protocols.policy.envelope import USE, Held, Policy, PolicyRefusedError, judged, sign
from protocols.vectors.fixed import AT_S, stream

PROPERTY: Final = "aurora"
KID: Final = b"command"
NOW_MS: Final = AT_S * 1_000
DAY_MS: Final = 24 * 3_600_000
BODY: Final = check_in.encode(
    check_in.CheckInPolicy(
        v=1,
        jurisdiction="ITA",
        steps=tuple(check_in.StepKind),
        terms="2026-1",
        deposit=check_in.Deposit("EUR", 10_000),
        reporter="alloggiati",
    )
)
OTHER_BODY: Final = check_in.encode(check_in.DEFAULT)
POLICY: Final = Policy(PROPERTY, check_in.KIND, 7, NOW_MS - DAY_MS, NOW_MS + 30 * DAY_MS, BODY)


def files() -> dict[str, dict[str, Any]]:
    """Return every vector document by its path."""
    return {
        "policy/envelopes.json": envelopes_document(),
        "policy/late_check_out_bodies.json": late_check_out_bodies_document(),
        "policy/room_bodies.json": room_bodies_document(),
    }


def envelopes_document() -> dict[str, Any]:
    """Return envelopes with what an edge that holds version 5 of kind check_in answers at `now_ms`."""
    key, stranger = private_key(stream("command key")), private_key(stream("stranger"))
    payload = {
        "v": 1, "property": PROPERTY, "kind": check_in.KIND, "version": 7,
        "iat": POLICY.issued_at_ms, "until": POLICY.until_ms, "body": BODY,
    }  # fmt: skip

    def raw(value: object, use: bytes = USE) -> bytes:
        return cose.sign1(cbor.encode(value), key, KID, external=use)

    good = sign(POLICY, key, KID)
    cases = {
        "taken up": good,
        "the version held, saying the same": sign(replace(POLICY, version=5, body=OTHER_BODY), key, KID),
        "to be taken up at this very moment": sign(replace(POLICY, until_ms=NOW_MS), key, KID),
        "signed by a stranger": sign(POLICY, stranger, KID),
        "one bit of it changed": good[:-1] + bytes([good[-1] ^ 1]),
        "signed for another use": raw(payload, b"innkeeper/link/desired/1"),
        "no envelope": b"\xa0",
        "an envelope of tomorrow": raw({**payload, "v": 2}),
        "a kind of tomorrow": sign(replace(POLICY, kind="sauna"), key, KID),
        "for another property": sign(replace(POLICY, property="borealis"), key, KID),
        "kept back until it ended": sign(
            replace(POLICY, issued_at_ms=NOW_MS - 9 * DAY_MS, until_ms=NOW_MS - 1), key, KID
        ),
        "older than the one held": sign(replace(POLICY, version=4), key, KID),
        "the version held, saying something else": sign(replace(POLICY, version=5), key, KID),
        "a body that is none": sign(replace(POLICY, body='{"v":1,"steps":["grant","room"]}'), key, KID),
        "a field too many": raw({**payload, "note": "x"}),
        "a field missing": raw({name: value for name, value in payload.items() if name != "until"}),
        "a life without end": raw({**payload, "until": POLICY.issued_at_ms + 401 * DAY_MS}),
    }
    return {
        "key": private_key_hex(key),
        "kid": KID.hex(),
        "property": PROPERTY,
        "now_ms": NOW_MS,
        "held": {check_in.KIND: {"version": 5, "body": OTHER_BODY}},
        "cases": [{"name": name, "data": data.hex(), "says": says(data)} for name, data in cases.items()],
    }


def room_bodies_document() -> dict[str, Any]:
    """Return bodies of kind `room`: whether a cloud signs them, and whether an edge of today takes them up."""
    climate = {"set_back_c": 17.0, "away_c": 19.0, "expected_c": 21.5, "comfort_c": 21.5, "warm_up_before": "PT1H"}
    whole: dict[str, Any] = {
        "v": 1, "name": "winter", "version": 3, "climate": climate, "light": {"welcome": True},
        "occupancy": {"vacant_confidence": 0.95}, "check_in": {"opens_before": "PT6H"},
    }  # fmt: skip
    rule = {"name": "r", "when": "occupied &&", "then": []}
    cases: dict[str, tuple[str, bool, bool]] = {
        "a whole document": (_json(whole), True, True),
        "the signed one taken back": ("null", True, True),
        "a room that freezes": (_json({**whole, "climate": {**climate, "set_back_c": 11.9}}), False, False),
        "a room that cooks": (_json({**whole, "climate": {**climate, "comfort_c": 28.1}}), False, False),
        "warmer away than at home": (_json({**whole, "climate": {**climate, "away_c": 22.0}}), False, False),
        "a setpoint in words": (_json({**whole, "climate": {**climate, "away_c": "19"}}), False, False),
        "no setpoint": (_json({**whole, "climate": {"warm_up_before": "PT1H"}}), False, False),
        "no name": (_json({key: value for key, value in whole.items() if key != "name"}), False, False),
        "a key twice": (_json(whole)[:-1] + ',"name":"summer"}', False, False),
        "no object": ("[1]", False, False),
        "no JSON": ('{"v":1', False, False),
        "null and more": ("null ", False, False),
        "a format of tomorrow": (_json({**whole, "v": 99}), True, False),
        "a part of tomorrow": (_json({**whole, "sauna": {}}), True, False),
        "a rule that does not compile": (_json({**whole, "v": 2, "rules": [rule]}), True, False),
        "a warm-up of a week": (_json({**whole, "climate": {**climate, "warm_up_before": "P7D"}}), True, False),
    }
    return {
        "v": 1,
        "cases": [
            {"name": name, "body": body, "cloud": cloud, "edge": edge} for name, (body, cloud, edge) in cases.items()
        ],
    }


def late_check_out_bodies_document() -> dict[str, Any]:
    """Return bodies of kind `late_check_out`, and whether they are taken up."""
    whole: dict[str, Any] = {"v": 1, "latest": "15:00", "alone_until": "13:00"}
    cases: dict[str, tuple[str, bool]] = {
        "both hours": (_json(whole), True),
        "the desk alone grants": (_json({**whole, "alone_until": None}), True),
        "the desk is never asked": (_json({**whole, "alone_until": "15:00"}), True),
        "nobody may ask": (_json({"v": 1, "latest": None}), True),
        "granted alone, and not to be asked for": (_json({**whole, "latest": None}), False),
        "granted alone later than may be asked": (_json({**whole, "alone_until": "15:01"}), False),
        "no word on asking": (_json({"v": 1}), False),
        "an hour that no day has": (_json({**whole, "latest": "24:00"}), False),
        "half an hour of a clock": (_json({**whole, "latest": "9:30"}), False),
        "more than an hour": (_json({**whole, "latest": "15:00\n"}), False),
        "a number": (_json({**whole, "latest": 15}), False),
        "a key of tomorrow": (_json({**whole, "fee": 20}), False),
        "a format of tomorrow": (_json({**whole, "v": 2}), False),
        "a key twice": (_json(whole)[:-1] + ',"latest":"16:00"}', False),
        "no object": ("[1]", False),
        "no JSON": ('{"v":1', False),
    }
    return {"v": 1, "cases": [{"name": name, "body": body, "edge": edge} for name, (body, edge) in cases.items()]}


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def says(data: bytes) -> dict[str, Any]:
    """Return what an edge says of `data`: the policy, or why not."""
    public = private_key(stream("command key")).public_key()
    try:
        policy = judged(
            data,
            lambda kid: public if kid == KID else None,
            ours=PROPERTY,
            held={check_in.KIND: Held(5, OTHER_BODY)},
            kinds={check_in.KIND: check_in.parse},
            now_ms=NOW_MS,
        )
    except PolicyRefusedError as error:
        return {"refused": error.refusal.value}
    return {"kind": policy.kind, "version": policy.version, "until_ms": policy.until_ms, "body": policy.body}
