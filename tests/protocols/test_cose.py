"""COSE_Sign1: one algorithm, one shape, no way to be talked into another."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import cbor, cose
from protocols.errors import CredentialRefusedError, LocalProtocolError, PeerProtocolError, RefusalReason
from protocols.grant.keys import private_key, public_key
from protocols.vectors.fixed import stream

KEY = private_key(stream("cose"))
OTHER = private_key(stream("cose other"))
BY_CWT = Path(__file__).with_name("cose_by_cwt.json")
MESSAGE = cose.sign1(b"payload", KEY, b"kid1", external=b"use")


def known(kid: bytes) -> ec.EllipticCurvePublicKey | None:
    return {b"kid1": KEY.public_key()}.get(kid)


@pytest.mark.requirement("P1")
@given(payload=st.binary(max_size=500), kid=st.binary(min_size=1, max_size=32), external=st.binary(max_size=40))
@settings(max_examples=30)
def test_what_is_signed_verifies_and_nothing_else_does(payload: bytes, kid: bytes, external: bytes) -> None:
    message = cose.sign1(payload, KEY, kid, external=external)
    assert cose.verify1(message, lambda _: KEY.public_key(), external=external) == payload
    assert cose.sign1(payload, KEY, kid, external=external) == message  # RFC 6979
    for key, use in ((OTHER, external), (KEY, external + b"x")):
        with pytest.raises(CredentialRefusedError) as refused:
            cose.verify1(message, lambda _, key=key: key.public_key(), external=use)  # type: ignore[misc]  # mypy infers no lambda with a default
        assert refused.value.reason is RefusalReason.BAD_SIGNATURE


def test_the_known_answer_of_rfc_6979() -> None:
    """RFC 6979 A.2.5: P-256, SHA-256, message "sample"."""
    scalar = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
    signature = cose.sign_raw(ec.derive_private_key(scalar, ec.SECP256R1()), b"sample")
    assert signature.hex() == (
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
    )


def test_an_unknown_key_id_is_an_unknown_issuer() -> None:
    with pytest.raises(CredentialRefusedError) as refused:
        cose.verify1(cose.sign1(b"", KEY, b"who?"), known)
    assert refused.value.reason is RefusalReason.UNKNOWN_ISSUER


@pytest.mark.guarantee("G5")
def test_every_flipped_bit_is_refused() -> None:
    assert cose.verify1(MESSAGE, known, external=b"use") == b"payload"
    for at in range(len(MESSAGE) * 8):
        mutant = bytearray(MESSAGE)
        mutant[at // 8] ^= 1 << at % 8
        with pytest.raises((PeerProtocolError, CredentialRefusedError)):
            cose.verify1(bytes(mutant), known, external=b"use")


@pytest.mark.requirement("P1")
@pytest.mark.parametrize(
    "header",
    [
        {1: -7},
        {1: -9, 4: b"kid1"},
        {1: -8, 4: b"kid1"},
        {1: 5, 4: b"kid1"},
        {1: -7, 4: b""},
        {1: -7, 4: b"kid1", 3: 0},
        {1: -7, 4: "kid1"},
        {1: -7, 4: b"k" * 33},
    ],
)
def test_another_header_is_refused_even_if_signed(header: dict[int, object]) -> None:
    protected = cbor.encode(header)
    signature = cose.sign_raw(KEY, cbor.encode(["Signature1", protected, b"", b"payload"]))
    with pytest.raises(PeerProtocolError, match="header"):
        cose.verify1(cbor.encode([protected, {}, b"payload", signature]), known)


@pytest.mark.parametrize(
    "shape", [[b"", {}, b""], [b"", {1: 2}, b"", b""], [b"", {}, None, b""], {}, 7, [b"", [], b"", b""]]
)
def test_another_shape_is_refused(shape: object) -> None:
    with pytest.raises(PeerProtocolError):
        cose.parse1(cbor.encode(shape))


def test_another_curve_is_our_own_defect() -> None:
    with pytest.raises(LocalProtocolError, match="P-256"):
        cose.sign_raw(ec.generate_private_key(ec.SECP384R1()), b"")
    assert not cose.verify_raw(ec.generate_private_key(ec.SECP384R1()).public_key(), bytes(64), b"")


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(63), b"\x00" * 32 + b"\x01" * 32])
def test_degenerate_signatures_are_false_and_nothing_worse(signature: bytes) -> None:
    assert not cose.verify_raw(KEY.public_key(), signature, b"payload")


def test_a_long_message_is_refused_unread() -> None:
    with pytest.raises(PeerProtocolError, match="at most 10"):
        cose.parse1(MESSAGE, most_bytes=10)


@pytest.mark.requirement("P1")
@pytest.mark.parametrize("case", json.loads(BY_CWT.read_text())["messages"], ids=lambda case: case["kid"][:8])
def test_what_an_independent_implementation_signed_verifies(case: dict[str, str]) -> None:
    """cose_oracle.py made them with the library cwt; and with it sees every vector of ours verify there."""
    key = public_key(bytes.fromhex(json.loads(BY_CWT.read_text())["public"]))
    message, external = bytes.fromhex(case["message"]), bytes.fromhex(case["external"])
    kids: list[bytes] = []

    def resolve(kid: bytes) -> ec.EllipticCurvePublicKey:
        kids.append(kid)
        return key

    assert cose.verify1(message, resolve, external=external).hex() == case["payload"]
    assert kids == [bytes.fromhex(case["kid"])]
    with pytest.raises(CredentialRefusedError):
        cose.verify1(message, resolve, external=external + b"another use")
