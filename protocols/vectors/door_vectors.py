"""Vectors of protocols/door: adverts, frames, every message of whole exchanges, the audit chain."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from protocols.door.advert import (
    WEEK_S,
    AdvertBit,
    eid,
    fallback_id,
    fallback_key,
    gate_key,
    week_of,
    weekly_eik,
)
from protocols.door.audit import AuditEvent, open_chunk
from protocols.door.channel import PSM_OFFSET_MOST, Heard, LockWays, Then, Way, prefixed, psm_of
from protocols.door.fast import LIFE_S, Resumption
from protocols.door.frames import cut
from protocols.door.hardware import Bolt
from protocols.door.identity import LockIdentity
from protocols.door.lock import LockExchange, advert
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.messages import CertificateForm
from protocols.door.phone import AskStatus, Carry, Fetch, Request, Resume, Unlock
from protocols.door.status import Status
from protocols.errors import LocalProtocolError, PlatformError
from protocols.grant.grant import GrantFlag
from protocols.grant.keys import IssuerClass, private_key, private_key_hex
from protocols.grant.revocation import Acknowledgement, Bump, Revocations, TimeBeacon
from protocols.vectors.fixed import (
    AT_S,
    DAY_S,
    RTC_S,
    TONIGHT,
    FixedHotel,
    Meeting,
    bundle_of,
    fixed_hotel,
    fresh_core,
    stream,
)
from protocols.vectors.grant_vectors import keys_document, plain

PRESENT: Final = Sensed(RTC_S, battery_percent=87, bolt=Bolt.LOCKED)


def adverts() -> dict[str, Any]:
    """Ids by slot, weekly keys, gate keys, whole adverts."""
    hotel = fixed_hotel()
    lock, core = hotel.room_101, fresh_core(hotel.room_101)
    week_s = (week_of(AT_S) + 1) * WEEK_S
    moments = [AT_S, AT_S + 511, AT_S + 512, week_s - 1, week_s, AT_S + 7 * DAY_S]
    lost = core.restarted(Sensed(0))
    return {
        "about": "Adverts (protocols/door/SPEC.md 3).",
        "lock": plain(lock.to_document()),
        "weeks": [
            {"week": week, "eik": weekly_eik(lock.eik_root, lock.lock_id, week).hex()}
            for week in sorted({week_of(at_s) for at_s in moments})
        ],
        "ids": [
            {
                "at_s": at_s,
                "week": (week := week_of(at_s)),
                "id": eid(weekly_eik(lock.eik_root, lock.lock_id, week), at_s).hex(),
                "gate_key": gate_key(weekly_eik(lock.eik_root, lock.lock_id, week), lock.lock_id, at_s).hex(),
            }
            for at_s in moments
        ],
        "fallback": {
            "key": (key := fallback_key(lock.eik_root, lock.lock_id)).hex(),
            "id": fallback_id(key).hex(),
        },
        "adverts": [
            {"name": name, "service_data": advert(lock, each, sensed).encode().hex(), "bits": int(bits)}
            for name, each, sensed, bits in (
                ("quiet", core, Sensed(RTC_S), AdvertBit(0)),
                (
                    "privacy on, battery low",
                    core,
                    Sensed(RTC_S, True, 15),
                    AdvertBit.PRIVACY_ON | AdvertBit.BATTERY_LOW,
                ),
                (
                    "wants sync",
                    core.recorded(AuditEvent.OPENED, Sensed(RTC_S), Status.OPENED),
                    Sensed(RTC_S),
                    AdvertBit.WANTS_SYNC,
                ),
                ("time uncertain", lost, Sensed(0), AdvertBit.TIME_UNCERTAIN | AdvertBit.WANTS_SYNC),
            )
        ],
    }


def frames() -> dict[str, Any]:
    """Messages cut at several MTUs, and what is refused."""
    message = bytes(range(64))
    return {
        "about": "Frames (protocols/door/SPEC.md 2): message, frame size, frames.",
        "cut": [
            {"message": each.hex(), "frame_bytes": size, "frames": [frame.hex() for frame in cut(each, size)]}
            for each, size in ((message, 20), (message, 182), (b"\x04", 20), (bytes(1024), 20))
        ],
        "refused": [
            {"name": "a first frame that is not the first", "frames": ["0100"]},
            {"name": "number 2 where 1 was due", "frames": ["80aa", "02bb"]},
            {"name": "first again", "frames": ["80aa", "81bb"]},
            {"name": "empty", "frames": ["c0"]},
            {"name": "nothing at all", "frames": [""]},
            {"name": "longer than 1024 bytes", "frames": ["80" + "00" * 512, "01" + "00" * 512, "42" + "00"]},
        ],
    }


def channel() -> dict[str, Any]:
    """The L2CAP channel: ports, streams, which way an exchange goes, and an exchange that goes that way."""
    hotel = fixed_hotel()
    lock, core = hotel.room_101, fresh_core(hotel.room_101)
    message = bytes(range(64))
    long_log = core
    for _ in range(30):
        long_log = long_log.recorded(AuditEvent.OPENED, PRESENT, Status.OPENED, bytes.fromhex("a1a2a3a4a5a6a7a8"))
    return {
        "about": "The L2CAP channel (protocols/door/SPEC.md 1.1). Streams are given whole and may be cut anywhere.",
        "ports": [{"offset": offset, "psm": psm_of(offset)} for offset in range(PSM_OFFSET_MOST + 1)],
        "adverts": [
            {"service_data": advert(lock, core, sensed, channel=offset).encode().hex(), "bits": bits, "offset": offset}
            for offset, sensed, bits in ((0, PRESENT, 0), (1, PRESENT, 0), (15, Sensed(RTC_S, True, 15), 9))
        ],
        "streams": [
            {"message": each.hex(), "stream": prefixed(each).hex()} for each in (message, b"\x04", bytes(1024))
        ],
        "refused": [
            {"name": "an SDU without a byte", "sdus": [""]},
            {"name": "longer than 4096 bytes, from a lock", "sdus": ["1001"], "from": "lock"},
            {"name": "an SDU without a byte, within a message", "sdus": ["0002aa", ""]},
            {"name": "a message of no bytes", "sdus": ["0000"]},
            {"name": "a message of no bytes, cut in its length", "sdus": ["00", "00"]},
            {"name": "longer than 1024 bytes", "sdus": ["0401"]},
            {"name": "a byte behind a message", "sdus": ["0001aabb"]},
            {"name": "a second message behind the first", "sdus": ["0002aa", "bb0001cc"]},
        ],
        "ways": [
            {"way": way.value, "heard": heard.value, "then": then.value, "next": after.value}
            for way in Way
            for heard in Heard
            for then, after in (_then(way, heard),)
        ],
        "exchange": exchange(
            "open_channel",
            "A guest opens a door in the channel and asks to be known the next time. A frame is an SDU here.",
            lock,
            core,
            [hotel.unlock(), Resume()],
            frame_bytes=None,
        ),
        "fetch": exchange(
            "fetch_channel",
            "The edge fetches more records at once than a message in GATT holds. A frame is an SDU here.",
            lock,
            long_log,
            [AskStatus(), Fetch(1)],
            frame_bytes=None,
        ),
    }


def _then(way: Way, heard: Heard) -> tuple[Then, Way]:
    ways = LockWays()
    ways.way = way
    return ways.on(heard), ways.way


def exchange(
    name: str,
    about: str,
    lock: LockIdentity,
    core: LockCore,
    requests: Sequence[Request],
    *,
    sensed: Sensed = PRESENT,
    frame_bytes: int | None = 244,
    knows: LockIdentity | None = None,
    notes: dict[str, Any] | None = None,
    signer: ec.EllipticCurvePrivateKey | None = None,
) -> dict[str, Any]:
    """Run an exchange and write down every input and every frame."""
    meeting = Meeting(lock, core, sensed, frame_bytes, seed=name)
    try:
        answers = meeting.run(*requests, knows=knows)
    except PlatformError as error:
        raise LocalProtocolError(f"vector {name}: {error}") from error
    lock_random, phone_random = stream(f"{name} lock"), stream(f"{name} phone")
    nonce = lock_random(16)
    document: dict[str, Any] = {
        "about": about,
        "lock": plain(lock.to_document()),
        "lock_memory_before": core.encode().hex(),
        "sensed": plain(asdict(sensed)),
        "frame_bytes": frame_bytes,
        "phone_knows": plain(asdict((knows or lock).door_keys(AT_S, AT_S))),
        "random": {
            "seed": name,
            "nonce": nonce.hex(),
            "lock_ephemerals_private": [
                private_key_hex(private_key(lock_random))
                for _ in range(1 + sum(isinstance(each, Fetch) for each in requests))
            ],
            "phone_ephemeral_private": private_key_hex(private_key(phone_random)),
        },
        "requests": [plain(_request(each)) for each in requests],
        "phone_key_private": private_key_hex(signer or fixed_hotel().phone),
        "frames": [{"from": side, "frame": frame.hex()} for side, frame in meeting.frames],
        "answers": [
            plain({**each.result._asdict(), "status": each.result.status.name, "sealed": each.sealed})
            for each in answers
        ],
        "motor": meeting.opened,
        **({"latches": latches} if (latches := _latches(meeting)) else {}),
        **({"resumption_after": meeting.kept.hex()} if _resumes(requests) else {}),
        "lock_memory_after": meeting.core.encode().hex(),
        "lock_state": meeting.lock_side.state.name if meeting.lock_side else "",
        "faults": [step.fault for step in meeting.steps if step.fault],
        **(notes or {}),
    }
    if "seal" in document.get("opens_with", ()):
        document["records"] = _records(lock, answers[-1].sealed)
    return document


def _latches(meeting: Meeting) -> list[bool]:
    return [step.latch for step in meeting.steps if step.latch is not None]


def _resumes(requests: Sequence[Request]) -> bool:
    return any(isinstance(each, Resume) or (isinstance(each, Unlock) and each.resumption) for each in requests)


def _request(request: Request) -> dict[str, Any]:
    values = {key: value for key, value in vars_of(request).items() if key not in ("sign", "resumption")}
    if isinstance(request, Unlock) and request.resumption is not None:
        values["resumption"] = request.resumption.secret
    return {"kind": type(request).__name__, **values}


def vars_of(request: Request) -> dict[str, Any]:
    """Return the fields of a request by name."""
    return {name: getattr(request, name) for name in request.__slots__}


def _records(lock: LockIdentity, sealed: bytes) -> list[dict[str, Any]]:
    chunk = open_chunk(sealed, lock.lock_id, audit_key=lock.audit.public_key(), edge_key=fixed_hotel().ca.seal)
    return [{**plain(asdict(each)), "encoded": each.encode().hex()} for each in chunk.records]


def used_core(hotel: FixedHotel) -> LockCore:
    """Return the memory of room 101's lock after its guest opened it twice."""
    meeting = Meeting(hotel.room_101, fresh_core(hotel.room_101), seed="before")
    meeting.run(hotel.unlock())
    meeting.run(hotel.unlock())
    return meeting.core


def exchanges() -> dict[str, dict[str, Any]]:
    """Every exchange, by file name."""
    hotel = fixed_hotel()
    lock, fresh, used = hotel.room_101, fresh_core(hotel.room_101), used_core(hotel)
    alarm = hotel.issuers[IssuerClass.EMERGENCY]
    newer = hotel.grant(generation=TONIGHT + 1, grant_id=bytes.fromhex("b1b2b3b4b5b6b7b8"))
    bump, certificate = hotel.signed(Bump(101, TONIGHT + 1)), hotel.revocation.certificate.encoded
    lost = used.restarted(Sensed(10))
    nonce = stream("time lock")(16)
    withdrawn = hotel.signed(Revocations(1, ((hotel.grant().grant_id, AT_S + DAY_S),)))
    return {
        **fast_exchanges(hotel, used),
        "open_cold": exchange(
            "open_cold", "First visit: the whole certificate goes along.", lock, fresh, [hotel.unlock()]
        ),
        "open_warm": exchange(
            "open_warm",
            "Later visit: the issuer's 4-byte key id is enough.",
            lock,
            used,
            [hotel.unlock(form=CertificateForm.ID)],
        ),
        "open_warm_unknown": exchange(
            "open_warm_unknown",
            "A lock that has not seen the issuer asks for the certificate; asked again on the same link it opens.",
            lock,
            fresh,
            [hotel.unlock(form=CertificateForm.ID), hotel.unlock()],
        ),
        "open_mtu_23": exchange(
            "open_mtu_23", "The same at the smallest MTU.", lock, fresh, [hotel.unlock()], frame_bytes=20
        ),
        "open_promotes": exchange(
            "open_promotes", "The next guest replaces the one before.", lock, used, [hotel.unlock(newer)]
        ),
        "open_pool": exchange(
            "open_pool", "A common door by its zone.", hotel.pool, fresh_core(hotel.pool), [hotel.unlock()]
        ),
        "refused_superseded": exchange(
            "refused_superseded",
            "After a bump the guest's generation is too old.",
            lock,
            replace(used, generation=TONIGHT + 1),
            [hotel.unlock()],
        ),
        "refused_wrong_door": exchange(
            "refused_wrong_door",
            "The neighbour's door, by a phone that even holds its keys.",
            hotel.room_102,
            fresh_core(hotel.room_102),
            [hotel.unlock()],
        ),
        "refused_stranger": exchange(
            "refused_stranger",
            "The grant of one phone, shown by another.",
            lock,
            fresh,
            [hotel.unlock(key=hotel.stranger)],
            signer=hotel.stranger,
        ),
        "refused_privacy": exchange(
            "refused_privacy", "Privacy is on.", lock, used, [hotel.unlock()], sensed=Sensed(RTC_S, True)
        ),
        "open_emergency": exchange(
            "open_emergency",
            "Two officers approved it: it opens over privacy, leaves a record of its own, and gets no pass.",
            lock,
            used,
            [hotel.unlock(hotel.emergency(), issuer=alarm), Resume()],
            sensed=Sensed(RTC_S, True, 87, Bolt.LOCKED),
        ),
        "refused_emergency_alone": exchange(
            "refused_emergency_alone",
            "One officer is not two.",
            lock,
            used,
            [hotel.unlock(hotel.emergency(hotel.officers[0]), issuer=alarm)],
        ),
        "refused_not_yet": exchange(
            "refused_not_yet",
            "Tomorrow's guest cannot evict tonight's.",
            lock,
            used,
            [hotel.unlock(hotel.grant(generation=TONIGHT + 1, not_before_s=AT_S + DAY_S))],
        ),
        "refused_expired": exchange(
            "refused_expired",
            "A grant of two hours, two hours and eleven minutes later.",
            lock,
            used,
            [hotel.unlock(hotel.grant(not_after_s=AT_S + 7_200))],
            sensed=Sensed(RTC_S + 7_860),
        ),
        "refused_used_up": exchange(
            "refused_used_up",
            "Once means once.",
            lock,
            replace(used, uses=((hotel.grant().grant_id, 1, AT_S + 3 * DAY_S),)),
            [hotel.unlock(hotel.grant(flags=GrantFlag.ONE_SHOT))],
        ),
        "carry_bump": exchange(
            "carry_bump",
            "Anybody delivers the signed bump; the second time it is old news.",
            lock,
            used,
            [Carry(bump, certificate), Carry(bump, certificate)],
        ),
        "carry_bump_elsewhere": exchange(
            "carry_bump_elsewhere",
            "A bump for room 101 at the door of 102.",
            hotel.room_102,
            fresh_core(hotel.room_102),
            [Carry(bump, certificate)],
        ),
        "carry_revocations": exchange(
            "carry_revocations",
            "A withdrawn grant is refused on the same link.",
            lock,
            used,
            [Carry(withdrawn, certificate), hotel.unlock()],
        ),
        "carry_acknowledgement": exchange(
            "carry_acknowledgement",
            "The edge holds the records up to here.",
            lock,
            used,
            [Carry(hotel.signed(Acknowledgement(lock.lock_id, used.audit_seq, used.audit_head)), certificate)],
        ),
        "time": exchange(
            "time",
            "A lock that lost its clock gets it back in answer to its own nonce.",
            lock,
            lost,
            [AskStatus(), Carry(hotel.signed(TimeBeacon(nonce), AT_S + 60), certificate)],
            sensed=Sensed(20),
        ),
        "fetch": exchange(
            "fetch",
            "Records after 1, sealed to the edge. `records` is what the edge reads with the key named seal.",
            lock,
            used,
            [Fetch(1)],
            notes={"opens_with": ["seal"]},
        ),
        "status": exchange(
            "status",
            "STATUS needs no grant.",
            lock,
            replace(used, generation=TONIGHT + 1),
            [AskStatus()],
        ),
    }


def fast_exchanges(hotel: FixedHotel, used: LockCore) -> dict[str, dict[str, Any]]:
    """Exchanges about FAST: how it begins, how it goes on, and everything that leads to the full one."""
    lock, soon = hotel.room_101, replace(PRESENT, rtc_s=RTC_S + 600)
    met = Meeting(lock, used, PRESENT, seed="met")
    met.run(hotel.unlock(), Resume())
    core, first = met.core, Resumption(met.kept)
    before = Meeting(lock, core, soon, seed="before the lost answer")
    before.run(hotel.unlock(resumption=first))
    verified = hotel.grant(flags=GrantFlag.NEEDS_USER_VERIFICATION)
    unlock = hotel.unlock(resumption=first)
    spent = replace(core, passes=(replace(core.passes[0], uses_left=0),))
    old = replace(core, passes=(replace(core.passes[0], made_at_s=AT_S + 600 - LIFE_S),))
    late = hotel.grant(not_after_s=AT_S + 7_200)
    short = Meeting(lock, fresh_core(lock), PRESENT, seed="short")
    short.run(hotel.unlock(late), Resume())
    careful = Meeting(lock, fresh_core(lock), PRESENT, seed="careful")
    careful.run(hotel.unlock(verified, user_verified=True), Resume())
    cases: dict[str, tuple[str, LockCore, Sequence[Request], Sensed]] = {
        "resume": (
            "RESUME after the door opened: the next visit may be FAST.",
            used,
            [hotel.unlock(), Resume()],
            PRESENT,
        ),
        "resume_unopened": ("RESUME where nothing opened.", used, [AskStatus(), Resume()], PRESENT),
        "resume_limited": (
            "A limited grant gets no pass: its uses are counted under its signature.",
            used,
            [hotel.unlock(hotel.grant(uses_most=5)), Resume()],
            PRESENT,
        ),
        "resume_after_fast": ("FAST has replaced its secret itself.", core, [unlock, Resume()], soon),
        "fast": ("FAST, and a further request on the same link.", core, [unlock, AskStatus()], soon),
        "fast_second": (
            "The next one, with the secret that the first left.",
            before.core,
            [hotel.unlock(resumption=Resumption(before.kept))],
            soon,
        ),
        "fast_answer_lost": (
            "The phone never heard the answer to its last FAST: the lock still knows the secret before.",
            before.core,
            [unlock],
            soon,
        ),
        "fast_verified": (
            "FAST with the user verified, where the grant wants that.",
            careful.core,
            [hotel.unlock(verified, user_verified=True, resumption=Resumption(careful.kept))],
            soon,
        ),
        "fast_not_verified": (
            "Without: referred to the full exchange, which tells why.",
            careful.core,
            [hotel.unlock(verified, resumption=Resumption(careful.kept))],
            soon,
        ),
        "fast_unknown": ("A lock that has no such pass: the full exchange follows on this link.", used, [unlock], soon),
        "fast_spent": ("After 50 uses.", spent, [unlock], soon),
        "fast_old": ("After 7 days.", old, [unlock], soon),
        "fast_privacy": ("Privacy is on.", core, [unlock], replace(soon, privacy=True)),
        "fast_bumped": (
            "A newer generation took the older guests' passes along.",
            core._of_generation(TONIGHT + 1),
            [unlock],
            soon,
        ),
        "fast_expired": (
            "The grant ended: FAST judges it as the full exchange does.",
            short.core,
            [hotel.unlock(late, resumption=Resumption(short.kept))],
            replace(PRESENT, rtc_s=RTC_S + 7_860),
        ),
        "fast_clock_lost": ("The lock lost its clock.", core.restarted(Sensed(0)), [unlock], replace(PRESENT, rtc_s=9)),
    }
    return {
        name: exchange(name, about, lock, each, requests, sensed=sensed)
        for name, (about, each, requests, sensed) in cases.items()
    }


def hostile() -> dict[str, Any]:
    """Inputs that a lock must survive: what it says, and that the motor stays still."""
    hotel = fixed_hotel()
    lock, core = hotel.room_101, used_core(hotel)
    meeting = Meeting(lock, core, seed="recorded")
    meeting.run(hotel.unlock())
    recorded = [frame for side, frame in meeting.frames if side == "phone"]
    flipped = bytearray(recorded[-1])
    flipped[-1] ^= 1
    wrong_gate = bytearray(recorded[0])
    wrong_gate[1 + 1 + 33] ^= 1
    met = Meeting(lock, core, Sensed(RTC_S), seed="met")
    met.run(hotel.unlock(), Resume())
    core = met.core
    again = Meeting(lock, core, Sensed(RTC_S), seed="recorded")
    again.run(hotel.unlock(resumption=Resumption(met.kept)))
    fast = [frame for side, frame in again.frames if side == "phone"]
    flipped_fast = fast[0][:-1] + bytes([fast[0][-1] ^ 1])
    cases: dict[str, list[bytes]] = {
        "a recorded OPEN, replayed": recorded,
        "its last byte flipped": [*recorded[:-1], bytes(flipped)],
        "its gate tag flipped": [bytes(wrong_gate), *recorded[1:]],
        "MORE before OPEN": [b"\xc0\x03" + bytes(40)],
        "a message kind that does not exist": [b"\xc0\x7f"],
        "FAST, a byte too long": [b"\xc0\x02" + bytes(26)],
        "FAST, a byte too short": [b"\xc0\x02" + bytes(24)],
        "FAST with flags that do not exist": [b"\xc0\x02" + bytes(8) + b"\x02" + bytes(16)],
        "a FAST that nobody can have made": [b"\xc0\x02" + bytes(25)],
        "FAST twice": [b"\xc0\x02" + bytes(25)] * 2,
        "a recorded FAST, replayed": fast,
        "its tag flipped": [flipped_fast],
        "RESULT from a phone": [b"\xc0\x81" + bytes(51)],
        "OPEN cut after its key": [b"\xc0" + recorded[0][1:35]],
        "a frame out of sequence": [b"\x05\x00"],
    }
    told: list[dict[str, Any]] = []
    for name, sent in cases.items():
        same = name in ("its last byte flipped", "its gate tag flipped", "its tag flipped")
        exchange = LockExchange(lock, random=stream(("recorded" if same else "hostile") + " lock"), frame_bytes=244)
        exchange.begin(core=core, sensed=Sensed(RTC_S), now_ms=0)
        exchange.data_to_send()
        steps = [exchange.receive_data(each, core=core, sensed=Sensed(RTC_S), now_ms=1) for each in sent]
        told.append(
            {
                "name": name,
                "nonce_seed": ("recorded" if same else "hostile") + " lock",
                "phone_sends": [each.hex() for each in sent],
                "lock_sends": [each.hex() for each in exchange.data_to_send()],
                "motor": sum(step.motor for step in steps),
                "state": exchange.state.name,
                "faults": [step.fault for step in steps if step.fault],
            }
        )
    return {
        "about": "What a lock must survive (protocols/door/SPEC.md 7). `nonce_seed` names its fixed stream.",
        "lock": plain(lock.to_document()),
        "lock_memory": core.encode().hex(),
        "sensed": plain(asdict(Sensed(RTC_S))),
        "cases": told,
    }


def bundles() -> dict[str, Any]:
    """A bundle as a phone gets it."""
    hotel = fixed_hotel()
    return {
        "about": "A bundle (protocols/door/SPEC.md 9.3).",
        "bundle": bundle_of(hotel, (hotel.room_101, hotel.pool), hotel.grant()).to_document(),
    }


def keys() -> dict[str, Any]:
    """The fixed hotel's keys and locks."""
    hotel = fixed_hotel()
    return {
        "about": "Who is who in these vectors. Fixed on purpose: never use one of these keys for anything else.",
        "keys": keys_document(hotel),
        "property_ca": hotel.ca.to_document(),
        "locks": {
            name: lock.to_document()
            for name, lock in (("room_101", hotel.room_101), ("room_102", hotel.room_102), ("pool", hotel.pool))
        },
    }


def files() -> dict[str, dict[str, Any]]:
    """Return every file of protocols/vectors/door, by name."""
    return {
        "door/keys.json": keys(),
        "door/adverts.json": adverts(),
        "door/frames.json": frames(),
        "door/hostile.json": hostile(),
        "door/channel.json": channel(),
        "door/bundle.json": bundles(),
        **{f"door/exchange_{name}.json": document for name, document in exchanges().items()},
    }
