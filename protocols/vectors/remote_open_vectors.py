"""Vectors of requests to open a door of another lock system from afar (protocols/door/SPEC.md 13)."""

from dataclasses import replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from protocols.cose import sign_raw
from protocols.door.remote_open import (
    AHEAD_MOST_MS,
    LATE_AFTER_MS,
    HeldKey,
    HouseFacts,
    OpenRefusal,
    OpenRequest,
    statement_of,
    to_sign,
)
from protocols.door.vendor_keys import VendorState
from protocols.grant.keys import compressed, private_key_hex
from protocols.vectors.fixed import AT_S, DAY_S, fixed_hotel, stream

AT_MS: Final = AT_S * 1_000
GRANT: Final = "ik-0123456789abcdef01234567"
DOOR: Final = "annex-a1"
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def signed(key: ec.EllipticCurvePrivateKey, statement: bytes) -> bytes:
    """Return a request: the statement under a phone's key."""
    return statement + sign_raw(key, to_sign(statement))


def remote_open() -> dict[str, Any]:
    """Requests in bytes, what is none, and every judgement of the house."""
    hotel, draw = fixed_hotel(), stream("remote open")
    phone, request_id = hotel.phone, draw(16)
    statement = statement_of(request_id, AT_MS, "aurora", GRANT, DOOR)
    request = signed(phone, statement)
    signature = request[len(statement) :]
    longest = statement_of(draw(16), 2**53, "a" * 100, "b" * 100, "c" * 100)
    twin = signature[:32] + (_ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    key = HeldKey(
        compressed(phone.public_key()), (DOOR, "annex-a1-2"), VendorState.MADE, AT_MS - 1_000, AT_MS + DAY_S * 1_000
    )
    facts = HouseFacts("aurora", AT_MS, AT_MS - 60_000, key, opens=True, sealed=False, spent=False, busy=False)

    def held(**changes: Any) -> HouseFacts:
        return replace(facts, key=replace(key, **changes))

    def asks(**changes: Any) -> bytes:
        named = {"request_id": request_id, "issued_at_ms": AT_MS, "property_id": "aurora", "grant": GRANT, "door": DOOR}
        return signed(phone, statement_of(**{**named, **changes}))

    every = replace(
        facts, begun_ms=AT_MS + 1, opens=False, sealed=True, spent=True, busy=True,
        key=replace(key, doors=(), state=VendorState.ENDED, not_before_ms=AT_MS + 1, not_after_ms=AT_MS),
    )  # fmt: skip
    stranger = compressed(hotel.stranger.public_key())
    unlabelled = statement + sign_raw(phone, statement)
    as_unlock = statement + sign_raw(phone, b"innkeeper/door/1 unlock\x00" + statement)
    judged: list[tuple[str, bytes, HouseFacts, OpenRefusal | None]] = [
        ("opens", request, facts, None),
        ("opens by the twin of its signature", statement + twin, facts, None),
        ("opens by a key that is still wanted", request, held(state=VendorState.WANTED), None),
        ("opens at the key's first moment", request, held(not_before_ms=AT_MS), None),
        ("opens at the key's last moment", request, held(not_after_ms=AT_MS + 1), None),
        ("opens as late as may be", request, replace(facts, now_ms=AT_MS + LATE_AFTER_MS), None),
        ("opens as far ahead as may be", asks(issued_at_ms=AT_MS + AHEAD_MOST_MS), facts, None),
        ("opens when signed as the run began", request, replace(facts, begun_ms=AT_MS), None),
        ("another property", request, replace(facts, property_id="borealis"), OpenRefusal.WRONG_PROPERTY),
        ("an unsound clock", request, replace(facts, now_ms=None), OpenRefusal.TIME_UNCERTAIN),
        ("a key that is not known", request, replace(facts, key=None), OpenRefusal.UNKNOWN_KEY),
        ("another guest's key", request, held(phone=stranger), OpenRefusal.BAD_SIGNATURE),
        ("forged on the way", signed(hotel.stranger, statement), facts, OpenRefusal.BAD_SIGNATURE),
        ("another door put in", asks(door="annex-a1-2")[:-64] + signature, facts, OpenRefusal.BAD_SIGNATURE),
        ("another time put in", asks(issued_at_ms=AT_MS + 1)[:-64] + signature, facts, OpenRefusal.BAD_SIGNATURE),
        ("another id put in", asks(request_id=bytes(16))[:-64] + signature, facts, OpenRefusal.BAD_SIGNATURE),
        ("signed outside of its domain", unlabelled, facts, OpenRefusal.BAD_SIGNATURE),
        ("signed for an unlock by radio", as_unlock, facts, OpenRefusal.BAD_SIGNATURE),
        ("a signature of nothing", statement + bytes(64), facts, OpenRefusal.BAD_SIGNATURE),
        ("late", request, replace(facts, now_ms=AT_MS + LATE_AFTER_MS + 1), OpenRefusal.LATE),
        ("ahead", asks(issued_at_ms=AT_MS + AHEAD_MOST_MS + 1), facts, OpenRefusal.AHEAD),
        ("signed before the run", request, replace(facts, begun_ms=AT_MS + 1), OpenRefusal.BEFORE_START),
        ("ending", request, held(state=VendorState.ENDING), OpenRefusal.ENDED),
        ("ended", request, held(state=VendorState.ENDED), OpenRefusal.ENDED),
        ("refused by its system", request, held(state=VendorState.REFUSED), OpenRefusal.NOT_MADE),
        ("before its time", request, held(not_before_ms=AT_MS + 1), OpenRefusal.NOT_YET_VALID),
        ("after its time", request, held(not_after_ms=AT_MS), OpenRefusal.EXPIRED),
        ("another room's door", asks(door="annex-a2"), facts, OpenRefusal.WRONG_DOOR),
        ("a system without", request, replace(facts, opens=False), OpenRefusal.NO_REMOTE_OPENING),
        ("a sealed room", request, replace(facts, sealed=True), OpenRefusal.LOCKED_OUT),
        ("used before", request, replace(facts, spent=True), OpenRefusal.REPLAYED),
        ("no turn left", request, replace(facts, busy=True), OpenRefusal.BUSY),
        ("the first reason is told: the house's clock", statement + bytes(64), replace(every, now_ms=None),
         OpenRefusal.TIME_UNCERTAIN),
        ("the first reason is told: the signature", statement + bytes(64), every, OpenRefusal.BAD_SIGNATURE),
        ("the first reason is told: the run", request, every, OpenRefusal.BEFORE_START),
        ("the first reason is told: the end", request, replace(every, begun_ms=0), OpenRefusal.ENDED),
    ]  # fmt: skip
    malformed: list[tuple[str, bytes, OpenRefusal]] = [
        ("nothing", b"", OpenRefusal.MALFORMED),
        ("a later version", b"\x02" + request[1:], OpenRefusal.UNSUPPORTED_VERSION),
        ("a later version, whatever follows", b"\x02", OpenRefusal.UNSUPPORTED_VERSION),
        ("a statement without a signature", statement, OpenRefusal.MALFORMED),
        ("a byte short", request[:-1], OpenRefusal.MALFORMED),
        ("a byte too many", request + b"\x00", OpenRefusal.MALFORMED),
        ("cut in its names", request[:30], OpenRefusal.MALFORMED),
        ("cut before its names", request[:25], OpenRefusal.MALFORMED),
        ("an empty name", request[:25] + b"\x00" + request[32:], OpenRefusal.MALFORMED),
        ("a name of other letters", request[:26] + b"A" + request[27:], OpenRefusal.MALFORMED),
        ("a name of 101", request[:25] + b"\x65" + b"a" * 101 + request[32:], OpenRefusal.MALFORMED),
        ("a time beyond what numbers hold", request[:17] + b"\xff" * 8 + request[25:], OpenRefusal.MALFORMED),
        ("longer than any", longest + bytes(65), OpenRefusal.MALFORMED),
    ]
    return {
        "about": "Requests to open a door of another lock system from afar (protocols/door/SPEC.md 13).",
        "phone_private": private_key_hex(phone),
        "phone_public": compressed(phone.public_key()).hex(),
        "requests": [_request(request), _request(signed(phone, longest))],
        "malformed": [
            {"name": name, "request": wrong.hex(), "refusal": refusal.value} for name, wrong, refusal in malformed
        ],
        "judged": [
            {
                "name": name,
                "request": asked.hex(),
                "house": _house(known),
                "refusal": None if why is None else why.value,
            }
            for name, asked, known, why in judged
        ],
    }


def _request(encoded: bytes) -> dict[str, Any]:
    parts = encoded[17:25], encoded[25:-64]
    names, at = list[str](), 0
    while at < len(parts[1]):
        end = at + 1 + parts[1][at]
        names.append(parts[1][at + 1 : end].decode())
        at = end
    known = OpenRequest(encoded[1:17], int.from_bytes(parts[0], "big"), names[0], names[1], names[2], encoded[-64:])
    return {
        "id": known.request_id.hex(),
        "issued_at_ms": known.issued_at_ms,
        "property": known.property_id,
        "grant": known.grant,
        "door": known.door,
        "statement": known.statement.hex(),
        "signed": known.signed.hex(),
        "signature": known.signature.hex(),
        "request": encoded.hex(),
    }


def _house(facts: HouseFacts) -> dict[str, Any]:
    key = facts.key
    return {
        "property": facts.property_id,
        "now_ms": facts.now_ms,
        "begun_ms": facts.begun_ms,
        "key": None
        if key is None
        else {
            "phone": key.phone.hex(),
            "doors": list(key.doors),
            "state": key.state.value,
            "not_before_ms": key.not_before_ms,
            "not_after_ms": key.not_after_ms,
        },
        "opens": facts.opens,
        "sealed": facts.sealed,
        "spent": facts.spent,
        "busy": facts.busy,
    }


def files() -> dict[str, dict[str, Any]]:
    """Return the file, by its name."""
    return {"door/remote_open.json": remote_open()}
