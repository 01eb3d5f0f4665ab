"""Vectors of protocols/door: refusals that others do not show, the pause after too many, a clock that was lost."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Final

from protocols import cbor, cose
from protocols.door.audit import AuditEvent
from protocols.door.lock import NONCE_BYTES, LockExchange
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.phone import Carry, Fetch, PhoneExchange, Unlock
from protocols.door.status import Status
from protocols.door.throttle import THROTTLE_FAILURES, THROTTLE_MOST_MS, Throttle, let_through
from protocols.errors import CredentialRefusedError
from protocols.grant.certificate import certify
from protocols.grant.claims import PRIVATE, SIGNED_BYTES_MOST
from protocols.grant.grant import sign_grant
from protocols.grant.judge import USES_KEPT_MOST
from protocols.grant.keys import IssuerClass, generate_property_ca, private_key
from protocols.grant.revocation import Acknowledgement, Body, Bump, TimeBeacon
from protocols.vectors.door_vectors import PRESENT, exchange, used_core
from protocols.vectors.fixed import AT_S, DAY_S, RTC_S, TONIGHT, FixedHotel, Meeting, fixed_hotel, fresh_core, stream
from protocols.vectors.grant_vectors import plain

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _shown(hotel: FixedHotel, grant: bytes, certificate: bytes = b"") -> Unlock:
    return Unlock(grant, certificate or hotel.guest.certificate.encoded, partial(cose.sign_raw, hotel.phone))


def _other_property(hotel: FixedHotel) -> Unlock:
    ca, key = generate_property_ca("boreal", stream("another property")), private_key(stream("its issuer"))
    certificate = certify(ca, key.public_key(), IssuerClass.GUEST, AT_S)
    return _shown(hotel, sign_grant(hotel.grant(), key), certificate.encoded)


def _with_a_field_more(hotel: FixedHotel) -> bytes:
    signed = cose.parse1(sign_grant(hotel.grant(), hotel.guest.key), most_bytes=SIGNED_BYTES_MOST)
    claims: Any = cbor.decode(signed.payload, SIGNED_BYTES_MOST)
    claims[PRIVATE][11] = 1
    return cose.sign1(cbor.encode(claims), hotel.guest.key, signed.kid)


def _with_high_s(signed: bytes) -> bytes:
    r, s = signed[-64:-32], int.from_bytes(signed[-32:])
    return signed[:-64] + r + max(s, P256_ORDER - s).to_bytes(32)


def exchanges() -> dict[str, dict[str, Any]]:
    """Return the exchanges by name."""
    hotel = fixed_hotel()
    lock, used, certificate = hotel.room_101, used_core(hotel), hotel.revocation.certificate.encoded
    granted = sign_grant(hotel.grant(), hotel.guest.key)
    crowd = tuple((number.to_bytes(8), 1, AT_S + DAY_S) for number in range(USES_KEPT_MOST))

    def carry(body: Body) -> Carry:
        return Carry(hotel.signed(body), certificate)

    told: dict[str, tuple[str, Any, Sensed, list[Any]]] = {
        "refused_other_property": ("Another property's issuer.", used, PRESENT, [_other_property(hotel)]),
        "refused_malformed": ("A byte behind the grant.", used, PRESENT, [_shown(hotel, granted + b"\0")]),
        "refused_unsupported": (
            "A field that nobody knows yet: it may be a restriction.",
            used,
            PRESENT,
            [_shown(hotel, _with_a_field_more(hotel))],
        ),
        "refused_time_uncertain": (
            "The lock lost its time, and the next guest's grant does not prove that it has begun.",
            used.restarted(Sensed(0)),
            replace(PRESENT, rtc_s=0),
            [hotel.unlock(hotel.grant(generation=TONIGHT + 1, not_before_s=AT_S + 60))],
        ),
        "refused_busy": (
            "It remembers 64 limited grants that are still valid: no room for another.",
            replace(used, uses=crowd),
            PRESENT,
            [hotel.unlock(hotel.grant(uses_most=2))],
        ),
        "open_high_s": (
            "A signature whose s is above n / 2 verifies like its twin below.",
            used,
            PRESENT,
            [_shown(hotel, _with_high_s(granted))],
        ),
        "carry_bump_ahead": (
            "A bump to a generation of the day after tomorrow.",
            used,
            PRESENT,
            [carry(Bump(101, TONIGHT + (2 << 8)))],
        ),
        "carry_acknowledgement_ahead": (
            "Records that the lock has not written yet, and one whose chain is another.",
            used,
            PRESENT,
            [
                carry(Acknowledgement(lock.lock_id, used.audit_seq + 1, bytes(16))),
                carry(Acknowledgement(lock.lock_id, used.audit_seq, bytes(16))),
            ],
        ),
        "carry_time_of_another": (
            "A time object that answers another exchange's nonce.",
            used,
            PRESENT,
            [carry(TimeBeacon(bytes(16)))],
        ),
        "carry_time_below": (
            "A time object with this exchange's nonce, a second further below the floor than is taken.",
            fresh_core(lock, AT_S + 3_600 + 61),
            PRESENT,
            [carry(TimeBeacon(stream("carry_time_below lock")(16)))],
        ),
        "fetch_beyond": (
            "Records after one that is not there: none.",
            used,
            PRESENT,
            [Fetch(2**32 - 1)],
        ),
    }
    return {
        name: exchange(name, about, lock, core, requests, sensed=sensed)
        for name, (about, core, sensed, requests) in told.items()
    }


def throttled() -> dict[str, Any]:
    """The fifth refusal on one link pauses public-key work; who asks for more of it is told to wait."""
    hotel = fixed_hotel()
    lock_id, core = hotel.room_101, used_core(hotel)
    refused = Carry(hotel.signed(Bump(102, TONIGHT + 1)), hotel.revocation.certificate.encoded)
    keys = lock_id.door_keys(AT_S, AT_S)
    lock = LockExchange(lock_id, random=stream("throttled lock"), frame_bytes=512)
    phone = PhoneExchange(keys, refused, random=stream("throttled phone"), frame_bytes=512, now_ms=0)
    before, reason = core, ""
    said: list[tuple[str, bytes]] = []

    def speak() -> Iterator[tuple[str, bytes]]:
        nonlocal core
        while True:
            for frame in lock.data_to_send():
                yield "lock", frame
                if phone.receive_data(frame, now_ms=0) is not None:
                    phone.ask(refused, now_ms=0)
            for frame in phone.data_to_send():
                yield "phone", frame
                core = lock.receive_data(frame, core=core, sensed=PRESENT, now_ms=0).core

    lock.begin(core=core, sensed=PRESENT, now_ms=0)
    try:
        said.extend(speak())
    except CredentialRefusedError as error:
        reason = error.reason.value
    return {
        "about": "CARRY refused five times on one link, and once more (protocols/door/SPEC.md 7, Throttle).",
        "lock": plain(lock_id.to_document()),
        "nonce_seed": "throttled lock",
        "lock_memory_before": before.encode().hex(),
        "sensed": plain({name: getattr(PRESENT, name) for name in PRESENT.__slots__}),
        "frame_bytes": 512,
        "refusals": THROTTLE_FAILURES,
        "frames": [{"from": side, "frame": frame.hex()} for side, frame in said],
        "phone_is_told": reason,
        "lock_state": lock.state.name,
        "lock_memory_after": core.encode().hex(),
    }


def throttled_by_lot() -> dict[str, Any]:
    """Within a pause of 10 s: one OPEN that the lot lets through, one that it does not, one let through and refused."""
    hotel = fixed_hotel()
    lock, core = hotel.room_101, used_core(hotel)
    refused = Carry(hotel.signed(Bump(102, TONIGHT + 1)), hotel.revocation.certificate.encoded)
    at_ms = 1_000
    paused = replace(core, throttle=Throttle((at_ms,) * THROTTLE_FAILURES, THROTTLE_MOST_MS, at_ms + THROTTLE_MOST_MS))

    def played(about: str, request: Unlock | Carry, *, wins: bool) -> dict[str, Any]:
        seed = next(seed for seed in (f"lot {at}" for at in range(1_000)) if let_through(_lot(seed)) == wins)
        meeting, reason = Meeting(lock, paused, PRESENT, seed=seed, now_ms=at_ms), ""
        try:
            meeting.run(request)
        except CredentialRefusedError as error:
            reason = error.reason.value
        side = meeting.lock_side
        return {
            "about": about,
            "seed": seed,
            "lot": _lot(seed)[0],
            "frames": [{"from": side, "frame": frame.hex()} for side, frame in meeting.frames],
            "phone_is_told": reason or next(step.status.name for step in meeting.steps if step.status is not None),
            "motor": meeting.opened,
            "lock_state": side.state.name if side is not None else "",
            "pause_left_ms": meeting.core.throttle.wait_ms(at_ms),
            "lock_memory_after": meeting.core.encode().hex(),
        }

    return {
        "about": "OPEN within a pause: one byte, drawn when it is whole, decides (protocols/door/SPEC.md 7, Throttle).",
        "lock": plain(lock.to_document()),
        "lock_memory_before": core.encode().hex(),
        "sensed": plain({name: getattr(PRESENT, name) for name in PRESENT.__slots__}),
        "frame_bytes": 244,
        "pause_left_ms": THROTTLE_MOST_MS,
        "cases": [
            played("Let through: the guest is in.", hotel.unlock(), wins=True),
            played("Not let through: no public-key work.", hotel.unlock(), wins=False),
            played("Let through and refused: answered, and nothing is changed.", refused, wins=True),
        ],
    }


def throttled_run() -> dict[str, Any]:
    """One insider who fails at the end of each pause: which of his failures the log tells of, and as what."""
    hotel = fixed_hotel()
    lock, core = hotel.room_101, fresh_core(hotel.room_101)
    refused = Carry(hotel.signed(Bump(102, TONIGHT + 1)), hotel.revocation.certificate.encoded)
    at_ms, failures = 1_000, list[dict[str, Any]]()
    for number in range(24):
        before = core.audit_seq
        meeting = Meeting(lock, core, Sensed(RTC_S + at_ms // 1_000), seed=f"run {number}", now_ms=at_ms)
        meeting.run(refused)
        core = meeting.core
        failures.append(
            {
                "at_ms": at_ms,
                "pause_ms": core.throttle.wait_ms(at_ms),
                "records": [
                    {"event": int(each.event), "actor": each.actor.hex(), "status": int(each.status)}
                    for each in core.records
                    if each.seq > before
                ],
            }
        )
        at_ms += core.throttle.wait_ms(at_ms) if number != 17 else 90_000
    return {
        "about": "CARRY refused again as each pause ends, and once after a rest (protocols/door/SPEC.md 7, Throttle).",
        "lock": plain(lock.to_document()),
        "failures": failures,
    }


def _lot(seed: str) -> bytes:
    """Return the byte that the lock side of a meeting draws third: after its nonce and its ephemeral key."""
    random = stream(f"{seed} lock")
    random(NONCE_BYTES)
    private_key(random)
    return random(1)


def restarted() -> dict[str, Any]:
    """Power is back and the RTC begins at 0: from where a lock counts, by what its log says."""
    hotel = fixed_hotel()
    core = used_core(hotel)

    def noted(before: LockCore, rtc_s: int) -> LockCore:
        return before.recorded(AuditEvent.BOLT, replace(PRESENT, rtc_s=rtc_s), Status.DONE)

    later = noted(core, PRESENT.rtc_s + 9 * DAY_S)
    told = {
        "No record is later than the floor.": core,
        "A record of nine days after the last sync: less the drift and a second.": later,
        "A record of an uncertain clock is not counted, but the one before.": noted(later.restarted(Sensed(0)), DAY_S),
        "By number, not by time: the clock was set back between.": noted(later, PRESENT.rtc_s + 2 * DAY_S),
    }
    return {
        "about": "A lock after a power loss: its clock and its memory (protocols/grant/SPEC.md 8).",
        "cases": [
            {
                "about": about,
                "lock_memory_before": before.encode().hex(),
                "starts_at_s": (after := before.restarted(Sensed(0))).time(0).now_s,
                "floor_s": after.floor_s,
                "lock_memory_after": after.encode().hex(),
            }
            for about, before in told.items()
        ],
    }


def files() -> dict[str, dict[str, Any]]:
    """Return these files of protocols/vectors/door, by name."""
    return {
        "door/restarted.json": restarted(),
        "door/throttled.json": throttled(),
        "door/throttled_by_lot.json": throttled_by_lot(),
        "door/throttled_run.json": throttled_run(),
        **{f"door/exchange_{name}.json": document for name, document in exchanges().items()},
    }
