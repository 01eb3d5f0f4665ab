"""Coverage-guided fuzzing of everything that a lock, a phone and the edge read: before a valid MAC, and behind one.

    python -m tests.protocols.door.coverage_fuzz CORPUS_FOLDER -max_total_time=300

Needs `atheris`, which nothing else here does: install it beside the environment, not into it. The first byte of an
input chooses the target, by TARGETS; further arguments go to libFuzzer. A finding ends the run with the input in a file
`crash-...`; `... crash-FILE` plays it again. `test_coverage_fuzz.py` plays the seeds without atheris.

What must hold: nothing but errors of ours is raised, nothing hangs, no motor moves without a right to it, and what is
read is written again as the very bytes that were read, so that nobody can say one thing in two ways.
"""

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

if __name__ == "__main__" and importlib.util.find_spec("atheris") is not None:
    with importlib.import_module("atheris").instrument_imports(include=["protocols"]):
        for _each in ("lock", "phone", "bundle"):  # before anything else reads them: to be watched
            importlib.import_module(f"protocols.door.{_each}")

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocols import cbor, cose
from protocols.door.advert import Advert, derive
from protocols.door.audit import (
    _CHECKPOINT,
    _SIGNATURE_LABEL,
    AuditBrokenError,
    check_follows,
    open_chunk,
)
from protocols.door.bundle import Bundle
from protocols.door.channel import prefixed
from protocols.door.frames import cut
from protocols.door.lock import LockExchange, State
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.messages import MessageKind, Result, decode_command, encode_command
from protocols.door.phone import AskStatus, Fetch, PhoneExchange, Resume
from protocols.door.session import session_keys, shared, transcript_of
from protocols.door.status import Status
from protocols.errors import CredentialRefusedError, InvalidInputError, LocalProtocolError, PeerProtocolError
from protocols.grant.certificate import open_certificate
from protocols.grant.grant import open_grant
from protocols.grant.keys import compressed, kid_of, private_key, public_key
from protocols.grant.revocation import Acknowledgement, Bump, Revocations, TimeBeacon, open_object
from protocols.vectors.fixed import AT_S, RTC_S, Meeting, bundle_of, fixed_hotel, fresh_core, stream

HOTEL: Final = fixed_hotel()
LOCK: Final = HOTEL.room_101
NOW: Final = Sensed(RTC_S)
FRESH: Final = fresh_core(LOCK)
KEYS: Final = LOCK.door_keys(AT_S, AT_S)
CA_KEYS: Final = {HOTEL.ca.kid: HOTEL.ca.ca.public_key()}


def _met() -> tuple[LockCore, bytes]:
    first = Meeting(LOCK, FRESH, NOW, seed="met by a fuzzer")
    first.run(HOTEL.unlock(), Resume())
    return first.core, first.kept


MET, SECRET = _met()


def _pieces(data: bytes) -> list[bytes]:
    """Cut `data` as it says itself: a length byte, then so many bytes."""
    pieces: list[bytes] = []
    while data:
        pieces.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    return pieces


def _lock(core: LockCore, frame_bytes: int | None) -> LockExchange:
    lock = LockExchange(LOCK, random=stream("fuzzed lock"), frame_bytes=frame_bytes)
    lock.begin(core=core, sensed=NOW, now_ms=0)
    return lock


# -- before a valid MAC -----------------------------------------------------------------------------------------------


def _noise_to_lock(data: bytes, frame_bytes: int | None) -> None:
    lock, core = _lock(MET, frame_bytes), MET
    lock.data_to_send()
    for piece in _pieces(data):
        step = lock.receive_data(piece, core=core, sensed=NOW, now_ms=1)
        core = step.core
        assert not step.motor
        assert step.fault is None or lock.state is State.OVER
    assert sum(map(len, lock.data_to_send())) <= 16  # never a long answer to noise
    assert core.records[: len(MET.records)] == MET.records


def frames_to_lock(data: bytes) -> None:
    """Frames of a stranger, in GATT."""
    _noise_to_lock(data, 244)


def stream_to_lock(data: bytes) -> None:
    """SDUs of a stranger, in the channel."""
    _noise_to_lock(data, None)


def noise_to_phone(data: bytes) -> None:
    """What a stranger says for a lock, in GATT or in the channel."""
    frame_bytes = 244 if data[:1] < b"\x80" else None
    phone = PhoneExchange(KEYS, AskStatus(), random=stream("fuzzed phone"), frame_bytes=frame_bytes, now_ms=0)
    with suppress(PeerProtocolError, CredentialRefusedError):
        for piece in _pieces(data[1:]):
            assert phone.receive_data(piece, now_ms=1) is None


def advert(data: bytes) -> None:
    """Service data."""
    with suppress(PeerProtocolError):
        assert Advert.decode(data).encode() == data


def bundle(data: bytes) -> None:
    """A bundle in JSON."""
    with suppress(ValueError, RecursionError):
        document = json.loads(data)
        with suppress(InvalidInputError, PeerProtocolError):
            Bundle.from_document(document)


def memory(data: bytes) -> None:
    """The flash of a lock."""
    with suppress(PeerProtocolError):
        core = LockCore.decode(data)
        assert LockCore.decode(core.encode()) == core
        core.time(0)


# -- behind a valid MAC -----------------------------------------------------------------------------------------------


def command(data: bytes) -> None:
    """What somebody with the door's keys says under the right seal, one command after the other."""
    with suppress(PeerProtocolError):
        assert encode_command(decode_command(data)) == data
    lock, core = _lock(MET, None), MET
    phone = PhoneExchange(KEYS, AskStatus(), random=stream("fuzzed insider"), frame_bytes=None, now_ms=0)
    for piece in lock.data_to_send():
        phone.receive_data(piece, now_ms=0)
    for piece in phone.data_to_send():
        core = lock.receive_data(piece, core=core, sensed=NOW, now_ms=1).core
    lock.data_to_send()
    header = bytes([MessageKind.MORE])
    for plaintext in [*_pieces(data), data[:900]]:
        sealed = prefixed(header + phone._session().to_lock.seal(plaintext, header))
        step = lock.receive_data(sealed, core=core, sensed=NOW, now_ms=1)
        assert not step.motor
        core = step.core
        assert bool(lock.data_to_send()) == (lock.state is State.OPEN)
    assert core.generation == MET.generation
    assert LockCore.decode(core.encode()) == core


def grant(payload: bytes) -> None:
    """Claims under the signature of a guest issuer."""
    signed = cose.sign1(payload, HOTEL.guest.key, HOTEL.guest.certificate.kid)
    told = FRESH.present(LOCK, signed, HOTEL.guest.certificate.encoded, lambda _: True, NOW, now_ms=0)
    assert LockCore.decode(told.core.encode()) == told.core
    try:
        read = open_grant(signed, HOTEL.guest.certificate)
    except CredentialRefusedError:
        assert not told.motor
        return
    assert read.payload() == payload
    if told.motor:
        assert told.status is Status.OPENED
        assert read.names(LOCK.room)
        assert read.not_before_s <= read.not_after_s
        assert read.not_before_s - 600 <= AT_S <= read.not_after_s + 600
        assert read.generation >= FRESH.generation


def signed_object(payload: bytes) -> None:
    """What anybody carries, under the signature of the revocation class."""
    issuer = HOTEL.revocation
    signed = cose.sign1(payload, issuer.key, issuer.certificate.kid)
    outcome = FRESH.carried(LOCK, signed, issuer.certificate.encoded, bytes(16), NOW)
    assert not outcome.motor
    assert outcome.core.generation >= FRESH.generation
    assert outcome.core.revocation_seq >= FRESH.revocation_seq
    assert LockCore.decode(outcome.core.encode()) == outcome.core
    with suppress(CredentialRefusedError):
        open_object(signed, issuer.certificate)


def certificate(payload: bytes) -> None:
    """Claims under the signature of the property's CA."""
    ca = HOTEL.ca.ca
    with suppress(CredentialRefusedError):
        opened = open_certificate(cose.sign1(payload, ca, kid_of(ca.public_key())), CA_KEYS)
        opened.public_key  # noqa: B018 - it can be read


def answer(data: bytes) -> None:
    """What a lock says under its own seal."""
    lock = _lock(MET, None)
    phone = PhoneExchange(KEYS, Fetch(0), random=stream("fuzzed reader"), frame_bytes=None, now_ms=0)
    [challenge] = lock.data_to_send()
    phone.receive_data(challenge, now_ms=0)
    [asked] = phone.data_to_send()
    e_phone = public_key(asked[3:36])
    keys = session_keys(
        shared(LOCK.static, e_phone),
        shared(lock._ephemeral, e_phone),
        transcript_of(LOCK.lock_id, LOCK.s_lock, challenge[2:], asked[3:36]),
    )
    header = bytes([MessageKind.RESULT])
    try:
        said = phone.receive_data(prefixed(header + keys.to_phone.seal(data[:900], header)), now_ms=1)
    except PeerProtocolError:
        return
    assert said is not None
    assert said.result == Result.decode(data[:900])


def chunk(data: bytes) -> None:
    """A log that a lock has signed and sealed."""
    checkpoint = LOCK.lock_id + data[8 : _CHECKPOINT.size].ljust(_CHECKPOINT.size - 8, b"\0")
    signature = cose.sign_raw(LOCK.audit, _SIGNATURE_LABEL + checkpoint)
    plaintext = checkpoint + signature + data[_CHECKPOINT.size :]
    ephemeral = private_key(stream("fuzzed chunk"))
    point = compressed(ephemeral.public_key())
    key = derive(shared(ephemeral, HOTEL.ca.seal.public_key()), point, b"seal" + LOCK.lock_id, 32)
    sealed = point + AESGCM(key).encrypt(bytes(12), plaintext, point)
    with suppress(PeerProtocolError, AuditBrokenError):
        read = open_chunk(sealed, LOCK.lock_id, audit_key=LOCK.audit.public_key(), edge_key=HOTEL.ca.seal)
        assert read.checkpoint.encode() + signature + b"".join(each.encode() for each in read.records) == plaintext
        check_follows(read, 1, bytes(16))


def values(data: bytes) -> None:
    """The encoding beneath all of them: one way to say a thing."""
    with suppress(PeerProtocolError, LocalProtocolError):
        assert cbor.encode(cbor.decode(data, 2_000)) == data


TARGETS: Final[tuple[Callable[[bytes], None], ...]] = (
    frames_to_lock,
    stream_to_lock,
    noise_to_phone,
    advert,
    bundle,
    memory,
    command,
    grant,
    signed_object,
    certificate,
    answer,
    chunk,
    values,
)


def one_input(data: bytes) -> None:
    """Give `data` to the target that its first byte names."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


def seeds() -> dict[str, bytes]:
    """Return inputs to begin with, by name: what honest parties say."""

    def listed(pieces: list[bytes]) -> bytes:
        return b"".join(bytes([len(piece)]) + piece for piece in pieces)

    meeting = Meeting(LOCK, FRESH, NOW, seed="seed")
    answers = meeting.run(AskStatus(), Fetch(0))
    said = {side: [frame for who, frame in meeting.frames if who == side] for side in ("phone", "lock")}
    opened = b"".join(frame[1:] for frame in said["phone"][:1])
    porter = HOTEL.porter()
    officers = HOTEL.emergency()
    section = HOTEL.grant(rooms=(), ranges=((1, 200),))
    bodies = (
        Bump(101, HOTEL.grant().generation + 1),
        TimeBeacon(bytes(16)),
        Acknowledgement(LOCK.lock_id, 1, bytes(16)),
        Revocations(1, ()),
    )
    read = open_chunk(answers[-1].sealed, LOCK.lock_id, audit_key=LOCK.audit.public_key(), edge_key=HOTEL.ca.seal)
    inputs: dict[Callable[[bytes], None], list[bytes]] = {
        frames_to_lock: [listed(said["phone"]), listed(cut(bytes([MessageKind.FAST]) + bytes(25), 244))],
        stream_to_lock: [listed([prefixed(opened)[at : at + 50] for at in range(0, len(opened), 50)])],
        noise_to_phone: [b"\x00" + listed(said["lock"]), b"\xff" + listed([prefixed(b"\x8f\x02\x00")])],
        advert: [Advert(bytes(8), Advert.decode(b"\x01" + bytes(9)).bits, 5).encode()],
        bundle: [json.dumps(bundle_of(HOTEL, (LOCK, HOTEL.pool), HOTEL.grant()).to_document()).encode()],
        memory: [FRESH.encode(), MET.encode()],
        command: [b"\x04", b"\x05", b"\x03" + bytes(4) + b"\x14", listed([b"\x04", b"\x03" + bytes(4) + b"\x01"])],
        grant: [each.payload() for each in (HOTEL.grant(), porter, officers, section)],
        signed_object: [_payload(HOTEL.signed(each)) for each in bodies],
        certificate: [_payload(each.certificate.encoded) for each in HOTEL.issuers.values()],
        answer: [answers[0].result.encode(), answers[-1].result.encode() + answers[-1].sealed[:200]],
        chunk: [read.checkpoint.encode() + b"".join(each.encode() for each in read.records)],
        values: [FRESH.encode(), HOTEL.grant().payload()],
    }
    return {
        f"{target.__name__}-{number}": bytes([TARGETS.index(target)]) + data
        for target, each in inputs.items()
        for number, data in enumerate(each)
    }


def _payload(signed: bytes) -> bytes:
    document: Any = cbor.decode(signed, 2_000)
    payload = document[2]
    assert isinstance(payload, bytes)
    return payload


def main(argv: list[str]) -> int:
    """Fuzz; status 2 without atheris or without a folder."""
    if importlib.util.find_spec("atheris") is None or len(argv) < 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    atheris = importlib.import_module("atheris")
    corpus = Path(argv[1])
    if not corpus.is_file():
        corpus.mkdir(parents=True, exist_ok=True)
        for name, data in seeds().items():
            (corpus / name).write_bytes(data)
    atheris.Setup(argv, one_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
