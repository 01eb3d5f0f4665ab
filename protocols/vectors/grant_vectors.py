"""Vectors of protocols/grant: certificates, grants, signed objects, generations, and a table of judgements."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Final

from protocols import cbor, cose
from protocols.errors import CredentialRefusedError, LocalProtocolError, RefusalReason
from protocols.grant import generation as generations
from protocols.grant.certificate import IssuerCertificate, open_certificate
from protocols.grant.claims import EXP, IAT, NBF, PRIVATE
from protocols.grant.grant import Grant, GrantFlag, Shift, open_grant, sign_grant
from protocols.grant.judge import DoorState, judge
from protocols.grant.keys import IssuerClass, compressed, kid_of, private_key_hex
from protocols.grant.lock_time import LockTime, TimeQuality
from protocols.grant.revocation import (
    Acknowledgement,
    Body,
    Bump,
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
    if isinstance(value, dict):
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
        "an unknown field": changed(f10=1),
        "a reserved flag: passage": changed(f5=8),
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
    """Bump, time, revocations, acknowledgement."""
    hotel = fixed_hotel()
    issuer = hotel.revocation
    bodies: dict[str, Body] = {
        "bump room 101": Bump(101, TONIGHT + 1),
        "time, broadcast": TimeBeacon(),
        "time, in answer to a lock's nonce": TimeBeacon(bytes(range(16))),
        "two grants withdrawn": Revocations(7, ((bytes.fromhex("a1a2a3a4a5a6a7a8"), AT_S + DAY_S), (bytes(8), AT_S))),
        "records up to 42 are held": Acknowledgement(hotel.room_101.lock_id, 42, bytes(range(16))),
    }
    bump = hotel.signed(Bump(101, TONIGHT + 1))

    def changed(fields: dict[int, object]) -> bytes:
        payload = cbor.encode({IAT: AT_S, PRIVATE: {0: 1, **fields}})
        return cose.sign1(payload, issuer.key, issuer.certificate.kid)

    refused = {
        "an unknown kind": changed({1: 9}),
        "a bump without a room": changed({1: 1, 3: TONIGHT}),
        "a bump that also answers a nonce": changed({1: 1, 2: 101, 3: TONIGHT, 4: bytes(16)}),
        "a nonce of 15 bytes": changed({1: 2, 4: bytes(15)}),
        "33 revocations": changed({1: 3, 5: 1, 6: [[bytes(8), 0]] * 33}),
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


def judgements() -> dict[str, Any]:
    """Which grant opens which door when, with what it changes."""
    hotel = fixed_hotel()
    guest = hotel.guest.certificate
    staff = hotel.issuers[IssuerClass.STAFF].certificate
    alarm = hotel.issuers[IssuerClass.EMERGENCY].certificate
    at_once = LockTime(AT_S + 60, AT_S, TimeQuality.FRESH)
    at_101 = DoorState(room=101, generation=TONIGHT)
    now = LockTime(AT_S + HOUR_S, AT_S, TimeQuality.FRESH)
    drifted = LockTime(AT_S + 3 * DAY_S, AT_S, TimeQuality.DRIFTING, drift_s=300)
    lost = LockTime(AT_S - HOUR_S, AT_S - HOUR_S, TimeQuality.UNCERTAIN)
    newer = hotel.grant(generation=TONIGHT + 1)
    on_staff = hotel.grant(
        rooms=(),
        ranges=((101, 199),),
        generation=0,
        flags=GrantFlag.STAFF,
        not_after_s=AT_S + 8 * HOUR_S,
        shift=Shift(0b0010000, 480, 840),  # AT_S is a Friday, 08:00
    )
    grant_id = hotel.grant().grant_id
    cases: dict[str, tuple[Grant, IssuerCertificate, DoorState, LockTime, bool]] = {
        "same generation opens": (hotel.grant(), guest, at_101, now, False),
        "older generation is superseded": (hotel.grant(), guest, DoorState(101, generation=TONIGHT + 1), now, False),
        "newer generation promotes": (newer, guest, at_101, now, False),
        "the first guest of a new lock promotes": (hotel.grant(), guest, DoorState(room=101), now, False),
        "newer but not begun does not promote": (
            hotel.grant(generation=TONIGHT + 1, not_before_s=AT_S + 5 * HOUR_S),
            guest,
            at_101,
            now,
            False,
        ),
        "newer and one second early does not promote: no leeway": (
            hotel.grant(generation=TONIGHT + 1, not_before_s=now.now_s + 1),
            guest,
            at_101,
            now,
            False,
        ),
        "same generation a minute early opens: leeway": (
            hotel.grant(not_before_s=now.now_s + 60),
            guest,
            at_101,
            now,
            False,
        ),
        "same generation 61 seconds early does not": (
            hotel.grant(not_before_s=now.now_s + 61),
            guest,
            at_101,
            now,
            False,
        ),
        "newer with the deadbolt thrown does not promote": (
            newer,
            guest,
            DoorState(101, generation=TONIGHT, privacy=True),
            now,
            False,
        ),
        "privacy keeps the guest's own grant out too": (
            hotel.grant(),
            guest,
            DoorState(101, generation=TONIGHT, privacy=True),
            now,
            False,
        ),
        "a generation of the day after tomorrow is refused": (
            hotel.grant(generation=TONIGHT + 512),
            guest,
            at_101,
            now,
            False,
        ),
        "a generation of tomorrow is taken": (hotel.grant(generation=TONIGHT + 256), guest, at_101, now, False),
        "another room": (hotel.grant(), guest, DoorState(room=102), now, False),
        "the pool by zone, whatever the generation": (
            hotel.grant(),
            guest,
            DoorState(zones=POOL_ZONE | 1),
            now,
            False,
        ),
        "another zone": (hotel.grant(), guest, DoorState(zones=1), now, False),
        "withdrawn": (
            hotel.grant(),
            guest,
            DoorState(101, generation=TONIGHT, revoked=frozenset({grant_id})),
            now,
            False,
        ),
        "expired within drift and leeway opens": (
            hotel.grant(not_after_s=AT_S + 3 * DAY_S - 600),
            guest,
            at_101,
            drifted,
            False,
        ),
        "expired beyond the most leeway": (
            hotel.grant(not_after_s=AT_S + 3 * DAY_S - 601),
            guest,
            at_101,
            drifted,
            False,
        ),
        "no time: same generation opens": (hotel.grant(), guest, at_101, lost, False),
        "no time: a grant issued at check-in raises the floor and promotes": (newer, guest, at_101, lost, False),
        "no time: a grant of later tonight does not promote": (
            hotel.grant(generation=TONIGHT + 1, not_before_s=AT_S + HOUR_S),
            guest,
            at_101,
            lost,
            False,
        ),
        "no time: expired before the floor": (
            hotel.grant(not_before_s=AT_S - 2 * HOUR_S, not_after_s=AT_S),
            guest,
            at_101,
            LockTime(AT_S, AT_S, TimeQuality.UNCERTAIN),
            False,
        ),
        "no time, more than 48 hours behind: the floor stays, the known guest still opens": (
            hotel.grant(),
            guest,
            at_101,
            LockTime(AT_S - 3 * DAY_S, AT_S - 3 * DAY_S, TimeQuality.UNCERTAIN),
            False,
        ),
        "no time, more than 48 hours behind: a newer guest needs the clock set first": (
            newer,
            guest,
            at_101,
            LockTime(AT_S - 3 * DAY_S, AT_S - 3 * DAY_S, TimeQuality.UNCERTAIN),
            False,
        ),
        "certain time: issued more than 48 hours ahead is doubted": (
            hotel.grant(),
            guest,
            at_101,
            LockTime(AT_S - 3 * DAY_S, AT_S - 3 * DAY_S, TimeQuality.FRESH),
            False,
        ),
        "no time: staff wait": (on_staff, staff, DoorState(room=101), lost, False),
        "staff on shift": (on_staff, staff, DoorState(room=101, generation=TONIGHT + 9), now, False),
        "staff after the shift": (
            on_staff,
            staff,
            DoorState(room=101),
            LockTime(AT_S + 6 * HOUR_S, AT_S, TimeQuality.FRESH),
            False,
        ),
        "staff powers from a guest issuer": (on_staff, guest, DoorState(room=101), now, False),
        "a guest grant from the revocation class": (
            hotel.grant(),
            hotel.revocation.certificate,
            at_101,
            now,
            False,
        ),
        "emergency opens, whatever the generation": (hotel.emergency(), alarm, at_101, at_once, False),
        "emergency opens over privacy": (
            hotel.emergency(),
            alarm,
            DoorState(101, generation=TONIGHT, privacy=True),
            at_once,
            False,
        ),
        "emergency without override respects privacy": (
            hotel.emergency(flags=GrantFlag.EMERGENCY),
            alarm,
            DoorState(101, privacy=True),
            at_once,
            False,
        ),
        "emergency, its last second": (
            hotel.emergency(),
            alarm,
            at_101,
            LockTime(AT_S + 900, AT_S, TimeQuality.FRESH),
            False,
        ),
        "emergency, a second later: no leeway": (
            hotel.emergency(),
            alarm,
            at_101,
            LockTime(AT_S + 901, AT_S, TimeQuality.FRESH),
            False,
        ),
        "emergency of a lock whose clock is behind: its own iat is enough": (
            hotel.emergency(),
            alarm,
            at_101,
            LockTime(AT_S - 50, AT_S - 50, TimeQuality.DRIFTING, drift_s=52),
            False,
        ),
        "emergency, no time": (hotel.emergency(), alarm, at_101, lost, False),
        "emergency for more than 15 minutes": (
            hotel.emergency(not_after_s=AT_S + 901),
            alarm,
            at_101,
            at_once,
            False,
        ),
        "emergency without its flag": (
            hotel.emergency(flags=GrantFlag.PRIVACY_OVERRIDE),
            alarm,
            at_101,
            at_once,
            False,
        ),
        "emergency with a generation": (hotel.emergency(generation=TONIGHT), alarm, at_101, at_once, False),
        "emergency, another room": (hotel.emergency(), alarm, DoorState(room=102), at_once, False),
        "emergency, withdrawn": (
            hotel.emergency(),
            alarm,
            DoorState(101, revoked=frozenset({hotel.emergency().grant_id})),
            at_once,
            False,
        ),
        "approvals under a guest grant": (
            hotel.grant(approvals=hotel.emergency().approvals),
            guest,
            at_101,
            now,
            False,
        ),
        "privacy override under a guest issuer": (
            hotel.grant(flags=GrantFlag.PRIVACY_OVERRIDE),
            guest,
            DoorState(101, generation=TONIGHT, privacy=True),
            now,
            False,
        ),
        "privacy override under a staff issuer": (
            replace(on_staff, flags=GrantFlag.STAFF | GrantFlag.PRIVACY_OVERRIDE),
            staff,
            DoorState(room=101, privacy=True),
            now,
            False,
        ),
        "emergency flag under a staff issuer": (
            replace(on_staff, flags=GrantFlag.STAFF | GrantFlag.EMERGENCY),
            staff,
            DoorState(room=101),
            now,
            False,
        ),
        "staff respect privacy": (on_staff, staff, DoorState(room=101, privacy=True), now, False),
        "issued outside its issuer's window": (
            hotel.grant(issued_at_s=AT_S + 26 * HOUR_S),
            guest,
            at_101,
            LockTime(AT_S + 27 * HOUR_S, AT_S, TimeQuality.FRESH),
            False,
        ),
        "longer than its class allows": (
            hotel.grant(not_after_s=AT_S + 14 * DAY_S + 1),
            guest,
            at_101,
            now,
            False,
        ),
        "once: the first time": (hotel.grant(flags=GrantFlag.ONE_SHOT), guest, at_101, now, False),
        "once: the second time": (
            hotel.grant(flags=GrantFlag.ONE_SHOT),
            guest,
            DoorState(101, generation=TONIGHT, uses={grant_id: 1}),
            now,
            False,
        ),
        "once: asked again within 10 s, the answer was lost": (
            hotel.grant(flags=GrantFlag.ONE_SHOT),
            guest,
            DoorState(101, generation=TONIGHT, uses={grant_id: 1}, just_used=frozenset({grant_id})),
            now,
            False,
        ),
        "user not verified": (hotel.grant(flags=GrantFlag.NEEDS_USER_VERIFICATION), guest, at_101, now, False),
        "user verified": (hotel.grant(flags=GrantFlag.NEEDS_USER_VERIFICATION), guest, at_101, now, True),
    }
    table: list[dict[str, Any]] = []
    for name, (grant, certificate, door, time, user_verified) in cases.items():
        verdict = judge(grant, certificate, door, time, user_verified=user_verified)
        table.append(
            {
                "name": name,
                "grant": plain(asdict(grant)),
                "issuer": certificate.issuer_class.name.lower(),
                "door": plain(asdict(door)),
                "time": plain(asdict(time)),
                "user_verified": user_verified,
                "verdict": {
                    "reason": plain(verdict.reason),
                    "promotes_to": verdict.promotes_to,
                    "counts_use": verdict.counts_use,
                    "floor_s": verdict.time.floor_s,
                },
            }
        )
    return {
        "about": "Judgements (protocols/grant/SPEC.md 9): reason null means the door opens.",
        "issuers": {each.name.lower(): issuer.certificate.encoded.hex() for each, issuer in hotel.issuers.items()},
        "judgements": table,
    }


def files() -> dict[str, dict[str, Any]]:
    """Return every file of protocols/vectors/grant, by name."""
    return {
        "grant/certificates.json": certificates(),
        "grant/grants.json": grants(),
        "grant/objects.json": objects(),
        "grant/generation.json": generation_rule(),
        "grant/judgements.json": judgements(),
    }
