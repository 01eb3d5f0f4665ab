"""Claims behind a good signature: what is of another type than the page says is refused, not taken for its like."""

import pytest

from protocols import cbor, cose
from protocols.errors import CredentialRefusedError, RefusalReason
from protocols.grant.certificate import open_certificate, remembered
from protocols.grant.claims import EXP, IAT, NBF, PRIVATE
from protocols.grant.keys import IssuerClass, compressed, kid_of
from protocols.grant.revocation import Kind, open_object
from protocols.vectors.fixed import AT_S, TONIGHT, fixed_hotel

HOTEL = fixed_hotel()
CA = HOTEL.ca.ca
NOT_ONE: list[object] = [True, 2, 0, "1", b"\x01", None]
"""True is what Python takes for 1."""


def signed_by_ca(private: dict[int, object]) -> bytes:
    payload = cbor.encode({EXP: AT_S + 90_000, NBF: AT_S, IAT: AT_S, PRIVATE: private})
    return cose.sign1(payload, CA, kid_of(CA.public_key()))


@pytest.mark.guarantee("G5")
@pytest.mark.requirement("P1")
@pytest.mark.parametrize("version", NOT_ONE, ids=repr)
def test_a_version_that_is_not_the_number_one_is_not_supported(version: object) -> None:
    point = compressed(HOTEL.guest.key.public_key())
    certificate = signed_by_ca({0: version, 1: int(IssuerClass.GUEST), 2: AT_S + 90_000, 3: point})
    with pytest.raises(CredentialRefusedError) as refused:
        open_certificate(certificate, {kid_of(CA.public_key()): CA.public_key()})
    assert refused.value.reason is RefusalReason.UNSUPPORTED_VERSION
    with pytest.raises(CredentialRefusedError):
        remembered(certificate)
    payload = cbor.encode({IAT: AT_S, PRIVATE: {0: version, 1: int(Kind.BUMP), 2: 101, 3: TONIGHT}})
    bump = cose.sign1(payload, HOTEL.revocation.key, HOTEL.revocation.certificate.kid)
    with pytest.raises(CredentialRefusedError) as refused:
        open_object(bump, HOTEL.revocation.certificate)
    assert refused.value.reason is RefusalReason.UNSUPPORTED_VERSION
