"""Behind a valid signature or seal: a thief of keys, a lock of another maker. Refused by name, never anything else."""

from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols import cbor, cose
from protocols.door.advert import Advert, derive
from protocols.door.audit import _CHECKPOINT, _SIGNATURE_LABEL, RECORD_BYTES, check_follows, open_chunk
from protocols.door.bundle import Bundle
from protocols.door.fast import Resumption
from protocols.door.frames import cut
from protocols.door.identity import LockIdentity, with_next_ca
from protocols.door.lock import LockExchange, State
from protocols.door.lock_core import LockCore
from protocols.door.lock_memory import Sensed
from protocols.door.messages import Challenge, MessageKind, Result
from protocols.door.phone import AskStatus, Fetch, PhoneExchange, Resume
from protocols.door.session import session_keys, shared, transcript_of
from protocols.errors import CredentialRefusedError, InvalidInputError, PeerProtocolError, PlatformError
from protocols.grant.certificate import certify, open_certificate
from protocols.grant.claims import CTI, EXP, IAT, NBF, PRIVATE
from protocols.grant.grant import open_grant, sign_grant
from protocols.grant.keys import IssuerClass, compressed, generate_property_ca, kid_of, private_key, public_key
from protocols.grant.revocation import open_object
from protocols.vectors.fixed import AT_S, RTC_S, Meeting, bundle_of, fixed_hotel, fresh_core, stream
from tests.seeds import THOROUGH

HOTEL = fixed_hotel()
LOCK = HOTEL.room_101
NOW = Sensed(RTC_S)
MANY = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])

LEAVES = st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(0, 9), inner), max_leaves=6
)
CLAIMS = st.dictionaries(
    st.sampled_from([EXP, NBF, IAT, CTI, PRIVATE, 1, 99]),
    LEAVES | st.dictionaries(st.integers(0, 10), st.just(1) | VALUES, max_size=8) | VALUES,
    max_size=6,
)


def signed(payload: bytes, issuer: Any) -> bytes:
    return cose.sign1(payload, issuer.key, kid_of(issuer.key.public_key()))


@pytest.mark.guarantee("G19")
@pytest.mark.requirement("P19")
@given(claims=CLAIMS, noise=st.binary(max_size=60), raw=st.booleans())
@MANY
def test_what_a_stolen_issuer_key_signs_is_read_or_refused_by_name(
    claims: dict[int, object], noise: bytes, raw: bool
) -> None:
    payload = noise if raw else cbor.encode(claims, depth=12)
    with suppress(CredentialRefusedError):
        open_grant(signed(payload, HOTEL.guest), HOTEL.guest.certificate)
    with suppress(CredentialRefusedError):
        open_object(signed(payload, HOTEL.revocation), HOTEL.revocation.certificate)
    with suppress(CredentialRefusedError):
        ca = HOTEL.ca.ca
        open_certificate(cose.sign1(payload, ca, kid_of(ca.public_key())), LOCK.ca_keys)
    core = fresh_core(LOCK)
    outcome = core.carried(
        LOCK, signed(payload, HOTEL.revocation), HOTEL.revocation.certificate.encoded, bytes(16), NOW
    )
    assert not outcome.motor
    assert outcome.core.generation == core.generation or outcome.status.reason is None
    told = core.present(
        LOCK, signed(payload, HOTEL.guest), HOTEL.guest.certificate.encoded, lambda _: True, NOW, now_ms=0
    )
    assert not told.motor or told.status.name == "OPENED"


def sealed_answer(plaintext: bytes, request: AskStatus | Fetch) -> PlatformError | None:
    """What a phone says of a lock that holds its keys and answers `plaintext`."""
    random = stream("hostile lock")
    ephemeral = private_key(random)
    keys = LOCK.door_keys(AT_S, AT_S)
    phone = PhoneExchange(keys, request, random=stream("phone"), frame_bytes=244, now_ms=0)
    challenge = Challenge(AT_S, 0, 0, 0, bytes(16), compressed(ephemeral.public_key())).encode()
    for frame in cut(challenge, 244):
        phone.receive_data(frame, now_ms=0)
    opened = b"".join(frame[1:] for frame in phone.data_to_send())
    e_phone = opened[1:34]
    session = session_keys(
        shared(LOCK.static, public_key(e_phone)),
        shared(ephemeral, public_key(e_phone)),
        transcript_of(LOCK.lock_id, LOCK.s_lock, challenge, e_phone),
    )
    header = bytes([MessageKind.RESULT])
    try:
        for frame in cut(header + session.to_phone.seal(plaintext, header), 244):
            phone.receive_data(frame, now_ms=0)
    except PlatformError as error:
        return error
    return None


@pytest.mark.guarantee("G19")
@given(plaintext=st.binary(max_size=120), fetch=st.booleans())
@MANY
def test_a_lock_that_answers_nonsense_under_its_own_keys_is_a_peer_error(plaintext: bytes, fetch: bool) -> None:
    error = sealed_answer(plaintext, Fetch(0) if fetch else AskStatus())
    assert error is None or isinstance(error, PeerProtocolError)
    if error is None:
        Result.decode(plaintext)


@pytest.mark.guarantee("G14", "G19")
@given(
    head=st.binary(min_size=_CHECKPOINT.size, max_size=_CHECKPOINT.size),
    records=st.lists(st.binary(min_size=RECORD_BYTES, max_size=RECORD_BYTES), max_size=20),
    known=st.integers(0, 2**32),
)
@MANY
def test_a_lock_that_signs_any_bytes_as_its_log_is_read_or_refused(
    head: bytes, records: list[bytes], known: int
) -> None:
    checkpoint = LOCK.lock_id + head[8:]
    plaintext = checkpoint + cose.sign_raw(LOCK.audit, _SIGNATURE_LABEL + checkpoint) + b"".join(records)
    ephemeral = private_key(stream("chunk"))
    point = compressed(ephemeral.public_key())
    key = derive(shared(ephemeral, HOTEL.ca.seal.public_key()), point, b"seal" + LOCK.lock_id, 32)
    sealed = point + AESGCM(key).encrypt(bytes(12), plaintext, point)
    with suppress(PeerProtocolError):
        chunk = open_chunk(sealed, LOCK.lock_id, audit_key=LOCK.audit.public_key(), edge_key=HOTEL.ca.seal)
        check_follows(chunk, known, bytes(16))


@pytest.mark.guarantee("G19")
@given(data=st.data())
@MANY
def test_a_lock_memory_with_a_changed_value_is_a_memory_or_refused(data: st.DataObject) -> None:
    document = cbor.decode(fresh_core(LOCK).encode(), 10_000)
    assert isinstance(document, list)
    at = data.draw(st.integers(0, len(document) - 1))
    document[at] = data.draw(VALUES)  # type: ignore[assignment]  # any value is meant
    with suppress(PeerProtocolError):
        LockCore.decode(cbor.encode(document, depth=12)).time(0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.guarantee("G19")
@given(data=st.data())
@MANY
def test_a_bundle_or_identity_with_a_changed_value_is_refused_by_place(data: st.DataObject) -> None:
    bundle = bundle_of(HOTEL, (LOCK,), HOTEL.grant()).to_document()
    identity: dict[str, Any] = LOCK.to_document()
    for document in (bundle, bundle["doors"][0], identity):
        document[data.draw(st.sampled_from(sorted(document)))] = data.draw(JSON)
        with suppress(InvalidInputError, PeerProtocolError):
            Bundle.from_document(bundle)
        with suppress(InvalidInputError, PeerProtocolError):
            LockIdentity.from_document(identity, "identity")


@pytest.mark.guarantee("G19")
@given(data=st.binary(max_size=40))
@MANY
def test_an_advert_is_itself_or_refused(data: bytes) -> None:
    with suppress(PeerProtocolError):
        assert Advert.decode(data).encode() == data


# -- behind a seal that is right --------------------------------------------------------------------------------------

COMMANDS = st.binary(max_size=80) | st.builds(
    lambda code, rest: bytes([code]) + rest, st.integers(0, 6), st.binary(max_size=400)
)


def insider(resumption: bytes, core: LockCore) -> tuple[LockExchange, PhoneExchange]:
    """Return both ends of a link on which somebody with the door's keys may say what he likes."""
    lock = LockExchange(LOCK, random=stream("insider lock"), frame_bytes=244)
    held = Resumption(resumption) if resumption else None
    first = HOTEL.unlock(resumption=held) if held else AskStatus()
    phone = PhoneExchange(LOCK.door_keys(AT_S, AT_S), first, random=stream("insider"), frame_bytes=244, now_ms=0)
    lock.begin(core=core, sensed=NOW, now_ms=0)
    for frame in lock.data_to_send():
        phone.receive_data(frame, now_ms=0)
    return lock, phone


def met() -> tuple[LockCore, bytes]:
    first = Meeting(LOCK, fresh_core(LOCK), NOW, seed="met by an insider")
    first.run(HOTEL.unlock(), Resume())
    return first.core, first.kept


MET, SECRET = met()


@pytest.mark.guarantee("G5", "G19")
@pytest.mark.requirement("P19")
@given(said=st.lists(COMMANDS, min_size=1, max_size=4), fast=st.booleans())
@settings(parent=MANY, max_examples=1_000 if THOROUGH else 250)
def test_whatever_an_insider_says_under_the_right_seal_opens_nothing_and_ends_or_is_answered(
    said: list[bytes], fast: bool
) -> None:
    core = MET
    lock, phone = insider(SECRET if fast else b"", core)
    motor = 0
    for frame in phone.data_to_send():
        step = lock.receive_data(frame, core=core, sensed=NOW, now_ms=1)
        core, motor = step.core, motor + step.motor
    assert motor == fast
    lock.data_to_send()
    header = bytes([MessageKind.MORE])
    for plaintext in said:
        for frame in cut(header + phone._session().to_lock.seal(plaintext, header), 244):
            step = lock.receive_data(frame, core=core, sensed=NOW, now_ms=1)
            assert not step.motor
            core = step.core
        answered = bool(lock.data_to_send())
        assert answered == (lock.state is State.OPEN)
    assert core.generation == MET.generation
    assert LockCore.decode(core.encode()) == core


@pytest.mark.guarantee("G5", "G19")
@given(frame=st.binary(max_size=60), flips=st.lists(st.tuples(st.integers(0, 26), st.integers(0, 7)), max_size=4))
@settings(parent=MANY, max_examples=2_000 if THOROUGH else 300)
def test_a_changed_fast_opens_nothing(frame: bytes, flips: list[tuple[int, int]]) -> None:
    lock, phone = insider(SECRET, MET)
    [good] = phone.data_to_send()
    mutant = bytearray(good)
    for at, bit in flips:
        mutant[at] ^= 1 << bit
    for sent in (bytes([0xC0, MessageKind.FAST]) + frame, bytes(mutant)):
        step = lock.receive_data(sent, core=MET, sensed=NOW, now_ms=1)
        if step.motor:
            assert sent == good


@pytest.mark.guarantee("G19")
@given(plaintext=st.binary(max_size=120))
@MANY
def test_a_lock_that_answers_fast_with_nonsense_under_its_own_keys_is_a_peer_error(plaintext: bytes) -> None:
    _, phone = insider(SECRET, MET)
    header = bytes([MessageKind.RESULT])
    sealed = phone._session().to_phone.seal(plaintext, header)
    phone._session().to_phone.counter = 0
    try:
        for frame in cut(header + sealed, 244):
            phone.receive_data(frame, now_ms=1)
    except PeerProtocolError:
        return
    Result.decode(plaintext)


@pytest.mark.guarantee("G19")
@given(data=st.data())
@MANY
def test_a_memory_with_a_changed_pass_is_a_memory_or_refused(data: st.DataObject) -> None:
    document = cbor.decode(MET.encode(), 10_000)
    assert isinstance(document, list)
    passes = document[8]
    assert isinstance(passes, list)
    one = passes[0]
    assert isinstance(one, list)
    one[data.draw(st.integers(0, len(one) - 1))] = data.draw(st.lists(VALUES, max_size=5) | VALUES)  # type: ignore[assignment]  # any value is meant
    with suppress(PeerProtocolError):
        read = LockCore.decode(cbor.encode(document, depth=12))
        lock, phone = insider(SECRET, read)
        for frame in phone.data_to_send():
            lock.receive_data(frame, core=read, sensed=NOW, now_ms=1)


@pytest.mark.requirement("P6")
def test_a_lock_believes_two_generations_of_the_property_ca_and_no_third() -> None:
    """R8: the next CA is made known door by door while the current one goes on; then the oldest is let go."""
    cas = [HOTEL.ca, *(generate_property_ca("aurora", stream(f"CA {number}")) for number in (2, 3))]
    lock, opened = LOCK, []
    for newest in range(3):
        if newest:
            lock = with_next_ca(lock, cas[newest].ca.public_key())
        statuses = []
        for ca in cas:
            key = private_key(stream("issuer of " + ca.kid.hex()))
            certificate = certify(ca, key.public_key(), IssuerClass.GUEST, AT_S).encoded
            grant = sign_grant(HOTEL.grant(), key)
            told = fresh_core(lock).present(lock, grant, certificate, lambda _: True, NOW, now_ms=0)
            statuses.append(told.status.name)
        opened.append(statuses)
    opens, stranger = "OPENED", "UNKNOWN_ISSUER"
    assert opened == [[opens, stranger, stranger], [opens, opens, stranger], [stranger, opens, opens]]
    document = lock.to_document()
    assert LockIdentity.from_document(document, "lock").ca_points == lock.ca_points
