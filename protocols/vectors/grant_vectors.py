"""Vectors of protocols/grant: certificates, grants, signed objects, generations. The judgements: judgement_vectors."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from protocols import cbor, cose
from protocols.errors import CredentialRefusedError, LocalProtocolError, RefusalReason
from protocols.grant import generation as generations
from protocols.grant.certificate import open_certificate
from protocols.grant.claims import EXP, IAT, NBF, PRIVATE
from protocols.grant.grant import Grant, GrantFlag, Shift, open_grant, sign_grant
from protocols.grant.keys import IssuerClass, compressed, kid_of, private_key_hex
from protocols.grant.revocation import (
    Acknowledgement,
    Body,
    Bump,
    Lockout,
    Revocations,
    TimeBeacon,
    open_object,
)
from protocols.vectors.fixed import AT_S, DAY_S, POOL_ZONE, TONIGHT, FixedHotel, approved, fixed_hotel

HOUR_S: Final = 3_600


def plain(value: object) -> Any:  # noqa: ANN401 - JSON
    """Return `value` as JSON has it: bytes in hexadecimal, tuples as lists."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {key.hex() if isinstance(key, bytes) else str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, RefusalReason):
        return value.value
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def refusal(action: Callable[[], object]) -> str:
    """Return why `action` was refused. Raises LocalProtocolError if it was not: the vector would be wrong."""
    try:
        action()
    except CredentialRefusedError as refused:
        return refused.reason.value
    raise LocalProtocolError("a vector of a refusal was accepted")


def keys_document(hotel: FixedHotel) -> dict[str, Any]:
    """Return every key of the fixed hotel: theatre props, published on purpose."""
    named = {
        "ca": hotel.ca.ca,
        "seal": hotel.ca.seal,
        **{f"issuer_{each.name.lower()}": issuer.key for each, issuer in hotel.issuers.items()},
        "phone": hotel.phone,
        "stranger": hotel.stranger,
        **{f"officer_{number}": key for number, key in enumerate(hotel.officers)},
    }
    return {
        name: {
            "private": private_key_hex(key),
            "public": compressed(key.public_key()).hex(),
            "kid": kid_of(key.public_key()).hex(),
        }
        for name, key in named.items()
    }


def certificates() -> dict[str, Any]:
    """Certificates of every class, and what is refused."""
    hotel = fixed_hotel()
    ca_keys = {hotel.ca.kid: hotel.ca.ca.public_key()}
    good = hotel.guest.certificate

    def claims(**changes: object) -> bytes:
        private = {0: 1, 1: 1, 2: good.signs_until_s, 3: good.point}
        private.update(changes.pop("private", {}))  # type: ignore[call-overload]  # the caller gives a dict
        values: dict[int, object] = {EXP: good.not_after_s, NBF: AT_S, IAT: AT_S, PRIVATE: private}
        values.update(changes.pop("claims", {}))  # type: ignore[call-overload]  # the caller gives a dict
        return cose.sign1(cbor.encode(values), hotel.ca.ca, hotel.ca.kid)

    officers = [*hotel.issuers[IssuerClass.EMERGENCY].certificate.officers]
    flipped = bytearray(good.encoded)
    flipped[-1] ^= 1
    refused = {
        "one bit of the signature flipped": bytes(flipped),
        "signed by a key that is not the CA": cose.sign1(b"\xa0", hotel.stranger, kid_of(hotel.stranger.public_key())),
        "the CA's key id, another key": cose.sign1(claims(), hotel.stranger, hotel.ca.kid),
        "version 2": claims(private={0: 2}),
        "an unknown field": claims(private={9: 1}),
        "an unknown class": claims(private={1: 9}),
        "a signing window of 26 hours": claims(private={2: AT_S + 26 * HOUR_S}),
        "verifies a second too long": claims(claims={EXP: good.not_after_s + 1}),
        "a claim more": claims(claims={1: 7}),
        "officers of a guest issuer": claims(private={4: officers}),
        "an emergency issuer without officers": claims(private={1: 3}),
        "one officer": claims(private={1: 3, 4: officers[:1]}),
        "nine officers": claims(private={1: 3, 4: officers * 3}),
        "an officer twice": claims(private={1: 3, 4: [officers[0], officers[0]]}),
        "officers out of order": claims(private={1: 3, 4: officers[::-1]}),
        "an officer off the curve": claims(private={1: 3, 4: [officers[0], b"\x03" + b"\xff" * 32]}),
        "a byte after it": good.encoded + b"\x00",
        "not CBOR": b"\xff",
    }
    return {
        "about": "Issuer certificates (protocols/grant/SPEC.md 4). Times are unix seconds. CA: the key named ca.",
        "keys": keys_document(hotel),
        "certificates": [
            {
                "class": int(each),
                "name": each.name.lower(),
                "public": issuer.certificate.point.hex(),
                "kid": issuer.certificate.kid.hex(),
                "not_before_s": issuer.certificate.not_before_s,
                "signs_until_s": issuer.certificate.signs_until_s,
                "not_after_s": issuer.certificate.not_after_s,
                "officers": plain(issuer.certificate.officers),
                "encoded": issuer.certificate.encoded.hex(),
            }
            for each, issuer in hotel.issuers.items()
        ],
        "refused": [
            {
                "name": name,
                "encoded": encoded.hex(),
                "reason": refusal(lambda encoded=encoded: open_certificate(encoded, ca_keys)),  # type: ignore[misc]  # mypy infers no lambda with a default
            }
            for name, encoded in refused.items()
        ],
    }


def grants() -> dict[str, Any]:
    """Grants of several shapes, byte for byte, and what is refused before any judging."""
    hotel = fixed_hotel()
    guest = hotel.guest
    shapes: dict[str, tuple[Grant, IssuerClass]] = {
        "a room and the pool": (hotel.grant(), IssuerClass.GUEST),
        "a suite of three rooms": (hotel.grant(rooms=(101, 102, 103)), IssuerClass.GUEST),
        "a joiner": (hotel.grant(flags=GrantFlag.JOIN), IssuerClass.GUEST),
        "once, and only with the user verified": (
            hotel.grant(flags=GrantFlag.ONE_SHOT | GrantFlag.NEEDS_USER_VERIFICATION),
            IssuerClass.GUEST,
        ),
        "common doors alone, all 64 zones": (
            hotel.grant(rooms=(), zones=2**64 - 1, generation=0),
            IssuerClass.GUEST,
        ),
        "five uses": (hotel.grant(uses_most=5), IssuerClass.GUEST),
        "staff: a floor, on shift": (
            hotel.grant(
                rooms=(),
                ranges=((101, 199),),
                generation=0,
                flags=GrantFlag.STAFF,
                shift=Shift(0b0011111, 360, 840),
                not_after_s=AT_S + 8 * HOUR_S,
            ),
            IssuerClass.STAFF,
        ),
        "staff: the pool, latched open on shift": (
            hotel.grant(
                rooms=(),
                generation=0,
                flags=GrantFlag.STAFF | GrantFlag.PASSAGE,
                shift=Shift(0b1111111, 360, 1320),
                not_after_s=AT_S + 12 * HOUR_S,
            ),
            IssuerClass.STAFF,
        ),
        "failsafe: 24 hours from its first opening": (hotel.grant(life_hours=24), IssuerClass.GUEST),
        "emergency: room 101, two of three officers": (hotel.emergency(), IssuerClass.EMERGENCY),
    }
    good = sign_grant(hotel.grant(), guest.key)
    grant = hotel.grant()

    def changed(**private: object) -> bytes:
        fields: dict[int, object] = {0: 1, 1: [101], 3: POOL_ZONE, 4: TONIGHT, 6: grant.phone}
        fields.update({int(key[1:]): value for key, value in private.items()})
        fields = {key: value for key, value in fields.items() if value is not None}
        payload = cbor.encode({EXP: grant.not_after_s, NBF: AT_S, IAT: AT_S, 7: grant.grant_id, PRIVATE: fields})
        return cose.sign1(payload, guest.key, guest.certificate.kid)

    flipped = bytearray(good)
    flipped[60] ^= 0x10
    refused = {
        "one bit of the payload flipped": bytes(flipped),
        "signed by another class's key": sign_grant(hotel.grant(), hotel.revocation.key),
        "the issuer's key id, another key": cose.sign1(grant.payload(), hotel.stranger, guest.certificate.kid),
        "version 2": changed(f0=2),
        "an unknown field": changed(f11=1),
        "a flag beyond all": changed(f5=256),
        "a reserved flag: delegation": changed(f5=64),
        "cut short": good[:-1],
        "rooms out of order": changed(f1=[102, 101]),
        "a room twice": changed(f1=[101, 101]),
        "room 0": changed(f1=[0]),
        "41 rooms": changed(f1=list(range(1, 42))),
        "a range backwards": changed(f2=[[199, 101]]),
        "generation of 25 bits": changed(f4=2**24),
        "flags written out though none": changed(f5=0),
        "a phone key off the curve": changed(f6=b"\x02" + b"\xff" * 32),
        "no phone key": changed(f6=None),
        "a shift on no day": changed(f7=[0, 0, 60]),
        "zero uses": changed(f8=0),
        "zero hours": changed(f10=0),
        "73 hours": changed(f10=73),
        "three approvals": changed(f9=[[bytes([n] * 4), bytes(64)] for n in range(3)]),
        "approvals out of order": changed(f9=[[bytes([n] * 4), bytes(64)] for n in (1, 0)]),
        "an approval of 63 bytes": changed(f9=[[bytes(4), bytes(63)]]),
        "an approval that is none": changed(f9=[1]),
    }
    officers, alarm = hotel.officers, hotel.issuers[IssuerClass.EMERGENCY]
    both = hotel.emergency()
    not_approved = {
        "emergency, nobody approved": approved(both),
        "emergency, one officer": hotel.emergency(officers[0]),
        "emergency, one officer twice": hotel.emergency(officers[1], officers[1]),
        "emergency, an officer and a stranger": hotel.emergency(officers[0], hotel.stranger),
        "emergency, other rooms than were approved": replace(both, rooms=(102,)),
        "emergency, a longer time than was approved": replace(both, not_after_s=both.not_after_s - 1),
        "emergency, another phone than was approved": replace(both, phone=alarm.certificate.point),
        "emergency, approvals of another grant": replace(both, approvals=hotel.emergency(grant_id=bytes(8)).approvals),
    }
    return {
        "about": "Grants (protocols/grant/SPEC.md 5). ECDSA as RFC 6979, so that the bytes are reproducible.",
        "keys": keys_document(hotel),
        "grants": [
            {
                "name": name,
                "issuer": hotel.issuers[issuer_class].certificate.encoded.hex(),
                "says": plain(asdict(each)),
                "payload": each.payload().hex(),
                "encoded": (encoded := sign_grant(each, hotel.issuers[issuer_class].key)).hex(),
                "bytes": len(encoded),
            }
            for name, (each, issuer_class) in shapes.items()
        ],
        "refused": [
            {
                "name": name,
                "issuer": guest.certificate.encoded.hex(),
                "encoded": encoded.hex(),
                "reason": refusal(lambda encoded=encoded: open_grant(encoded, guest.certificate)),  # type: ignore[misc]  # mypy infers no lambda with a default
            }
            for name, encoded in refused.items()
        ]
        + [
            {
                "name": name,
                "issuer": alarm.certificate.encoded.hex(),
                "encoded": (encoded := sign_grant(each, alarm.key)).hex(),
                "reason": refusal(lambda encoded=encoded: open_grant(encoded, alarm.certificate)),  # type: ignore[misc]  # mypy infers no lambda with a default
            }
            for name, each in not_approved.items()
        ],
    }


def objects() -> dict[str, Any]:
    """Bump, time, revocations, lockout, acknowledgement."""
    hotel = fixed_hotel()
    issuer = hotel.revocation
    bodies: dict[str, Body] = {
        "bump room 101": Bump(101, TONIGHT + 1),
        "time, broadcast": TimeBeacon(),
        "time, in answer to a lock's nonce": TimeBeacon(bytes(range(16))),
        "two grants withdrawn": Revocations(7, ((bytes.fromhex("a1a2a3a4a5a6a7a8"), AT_S + DAY_S), (bytes(8), AT_S))),
        "a grant and an issuer withdrawn": Revocations(
            AT_S,
            ((bytes.fromhex("a1a2a3a4a5a6a7a8"), AT_S + DAY_S),),
            ((hotel.guest.certificate.kid, hotel.guest.certificate.not_after_s),),
        ),
        "nothing is withdrawn any more": Revocations(AT_S + 1, ()),
        "what continues a list": Revocations(AT_S + 2, ((bytes(8), AT_S + DAY_S),), after=AT_S + 1),
        "room 101 is sealed": Lockout(hotel.room_101.lock_id, AT_S, True),
        "room 101 is sealed no longer": Lockout(hotel.room_101.lock_id, AT_S + 1, False),
        "records up to 42 are held": Acknowledgement(hotel.room_101.lock_id, 42, bytes(range(16))),
    }
    bump = hotel.signed(Bump(101, TONIGHT + 1))

    def changed(fields: dict[int, object]) -> bytes:
        payload = cbor.encode({IAT: AT_S, PRIVATE: {0: 1, **fields}})
        return cose.sign1(payload, issuer.key, issuer.certificate.kid)

    refused = {
        "an unknown kind": changed({1: 9}),
        "an unknown field": changed({1: 2, 11: 1}),
        "a bump without a room": changed({1: 1, 3: TONIGHT}),
        "a bump that also answers a nonce": changed({1: 1, 2: 101, 3: TONIGHT, 4: bytes(16)}),
        "a nonce of 15 bytes": changed({1: 2, 4: bytes(15)}),
        "33 revocations": changed({1: 3, 5: 1, 6: [[bytes(8), 0]] * 33}),
        "nine issuers": changed({1: 3, 5: 1, 6: [], 9: [[bytes([n] * 4), 0] for n in range(9)]}),
        "no issuers, written out": changed({1: 3, 5: 1, 6: [], 9: []}),
        "an issuer of 8 bytes": changed({1: 3, 5: 1, 6: [], 9: [[bytes(8), 0]]}),
        "issuers without grants": changed({1: 3, 5: 1, 9: [[bytes(4), 0]]}),
        "a list numbered 0": changed({1: 3, 5: 0, 6: []}),
        "a list that continues itself": changed({1: 3, 5: 7, 6: [[bytes(8), 0]], 12: 7}),
        "a list that continues none": changed({1: 3, 5: 7, 6: [[bytes(8), 0]], 12: 0}),
        "what continues a list by nothing": changed({1: 3, 5: 7, 6: [], 12: 6}),
        "what continues a list by 33": changed({1: 3, 5: 7, 6: [[bytes(8), 0]] * 33, 12: 6}),
        "what continues a list by issuers": changed({1: 3, 5: 7, 6: [[bytes(8), 0]], 9: [[bytes(4), 0]], 12: 6}),
        "a bump that continues": changed({1: 1, 2: 101, 3: TONIGHT, 12: 6}),
        "a lockout of no lock": changed({1: 5, 5: 1, 10: 1}),
        "a lockout that is neither": changed({1: 5, 5: 1, 7: hotel.room_101.lock_id, 10: 2}),
        "a lockout without a number": changed({1: 5, 7: hotel.room_101.lock_id, 10: 1}),
        "cut short": bump[:-1],
    }
    return {
        "about": "Objects that the revocation class signs (protocols/grant/SPEC.md 7).",
        "keys": keys_document(hotel),
        "issuer": issuer.certificate.encoded.hex(),
        "objects": [
            {
                "name": name,
                "says": {"kind": type(body).__name__, **plain(asdict(body))},
                "issued_at_s": AT_S,
                "encoded": hotel.signed(body).hex(),
            }
            for name, body in bodies.items()
        ],
        "refused": [
            {
                "name": name,
                "encoded": encoded.hex(),
                "reason": refusal(lambda encoded=encoded: open_object(encoded, issuer.certificate)),  # type: ignore[misc]  # mypy infers no lambda with a default
            }
            for name, encoded in refused.items()
        ],
    }


def generation_rule() -> dict[str, Any]:
    """The next generation to hand out."""
    day = generations.day_of(AT_S)
    cases = {
        "the first of a room, at 08:00: 256 / 3": (0, AT_S),
        "one more in the same 337.5 s": ((day << 8) + 85, AT_S),
        "one more later that day": ((day << 8) + 85, AT_S + 3_600),
        "the first moment of a day": ((day << 8) + 255, (day + 1) * DAY_S),
        "the last moment of a day": (0, (day + 1) * DAY_S - 1),
        "a full day runs into tomorrow": ((day << 8) + 255, AT_S),
        "a clock that went back a day": ((day << 8) + 3, AT_S - DAY_S),
        "a restored edge, ten minutes later": (0, AT_S + 600),
    }
    table = [
        {"name": name, "highest": highest, "at_s": at_s, "next": generations.following(highest, at_s)}
        for name, (highest, at_s) in cases.items()
    ]
    return {
        "about": "The generation to hand out next (protocols/grant/SPEC.md 6): max(highest + 1, at_s * 256 // 86400).",
        "next": table,
        "refused": [
            {"name": "two days ahead of the clock", "highest": ((day + 2) << 8) - 1, "at_s": AT_S},
        ],
    }


def files() -> dict[str, dict[str, Any]]:
    """Return the files of protocols/vectors/grant made here, by name."""
    return {
        "grant/certificates.json": certificates(),
        "grant/grants.json": grants(),
        "grant/objects.json": objects(),
        "grant/generation.json": generation_rule(),
    }
