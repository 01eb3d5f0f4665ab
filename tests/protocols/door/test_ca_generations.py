"""A property changes its CA: a lock believes two generations, and goes on when the older one goes."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from protocols.door import lock_core
from protocols.door.identity import LockIdentity, with_next_ca
from protocols.door.lock_core import LockCore
from protocols.door.messages import CertificateForm
from protocols.door.phone import Carry, Unlock
from protocols.door.status import Status
from protocols.grant.certificate import IssuerCertificate, certify, open_certificate
from protocols.grant.grant import GrantFlag
from protocols.grant.keys import IssuerClass, PropertyCa, generate_property_ca, private_key
from protocols.grant.revocation import Bump, sign_object
from protocols.vectors.fixed import AT_S, TONIGHT, FixedIssuer, Meeting, fixed_hotel, fresh_core, stream

HOTEL = fixed_hotel()
FIRST = HOTEL.room_101
NEXT: PropertyCa = generate_property_ca("aurora", stream("the next CA"))
BOTH = with_next_ca(FIRST, NEXT.ca.public_key())
AFTER_NEXT = generate_property_ca("aurora", stream("the CA after it"))
NEXT_ALONE = with_next_ca(BOTH, AFTER_NEXT.ca.public_key())


def issuer_of_next(
    name: str = "an issuer of the next CA", issuer_class: IssuerClass = IssuerClass.GUEST
) -> FixedIssuer:
    key = private_key(stream(name))
    return FixedIssuer(key, certify(NEXT, key.public_key(), issuer_class, AT_S))


def asked(identity: LockIdentity, core: LockCore, request: Unlock | Carry) -> tuple[Status, LockCore]:
    meeting = Meeting(identity, core, seed=f"{len(core.records)}")
    [answer] = meeting.run(request)
    return answer.result.status, meeting.core


def warm(issuer: FixedIssuer) -> Unlock:
    return HOTEL.unlock(issuer=issuer, form=CertificateForm.ID)


@pytest.mark.requirement("P1")
def test_while_both_are_believed_guests_of_both_come_in_warm_and_cold() -> None:
    core, new = fresh_core(BOTH), issuer_of_next()
    for request in (HOTEL.unlock(), HOTEL.unlock(issuer=new), warm(HOTEL.guest), warm(new)):
        status, core = asked(BOTH, core, request)
        assert status is Status.OPENED


@pytest.mark.requirement("P1")
@pytest.mark.guarantee("G4")
def test_when_the_older_one_goes_its_keys_are_unknown_and_everybody_else_comes_in() -> None:
    _, core = asked(FIRST, fresh_core(FIRST), HOTEL.unlock())  # the lock remembers a certificate of the older CA
    new = issuer_of_next()
    for request, told in ((HOTEL.unlock(), Status.UNKNOWN_ISSUER), (warm(HOTEL.guest), Status.NEED_CERTIFICATE)):
        status, core = asked(NEXT_ALONE, core, request)
        assert status is told, request
    for request in (HOTEL.unlock(issuer=new), warm(new)):
        status, core = asked(NEXT_ALONE, core, request)
        assert status is Status.OPENED, request
    assert HOTEL.guest.certificate.encoded not in core.certificates


@pytest.mark.requirement("P1", "P9")
def test_news_of_the_next_ca_is_taken_by_a_lock_that_remembers_the_older_one() -> None:
    _, core = asked(FIRST, fresh_core(FIRST), HOTEL.unlock())
    desk = issuer_of_next("a revocation key of the next CA", IssuerClass.REVOCATION)
    bump = sign_object(Bump(101, TONIGHT + 1), desk.key, AT_S)
    status, core = asked(NEXT_ALONE, core, Carry(bump, desk.certificate.encoded))
    assert (status, core.generation) == (Status.DONE, TONIGHT + 1)


@pytest.mark.requirement("P1")
def test_a_key_that_both_certified_is_found_by_the_certificate_that_is_believed() -> None:
    _, core = asked(FIRST, fresh_core(FIRST), HOTEL.unlock())
    again = FixedIssuer(HOTEL.guest.key, certify(NEXT, HOTEL.guest.key.public_key(), IssuerClass.GUEST, AT_S))
    status, core = asked(BOTH, core, HOTEL.unlock(issuer=again))
    assert status is Status.OPENED
    assert len(core.certificates) == 2
    status, core = asked(NEXT_ALONE, core, warm(again))  # both have one key id
    assert status is Status.OPENED


@pytest.mark.requirement("P14")
def test_finding_a_remembered_certificate_verifies_none(monkeypatch: pytest.MonkeyPatch) -> None:
    core = fresh_core(FIRST)
    for at in range(8):
        key = private_key(stream(f"guest issuer {at}"))
        issuer = FixedIssuer(key, certify(HOTEL.ca, key.public_key(), IssuerClass.GUEST, AT_S))
        status, core = asked(FIRST, core, HOTEL.unlock(replace(HOTEL.grant(), flags=GrantFlag.JOIN), issuer=issuer))
        assert status is Status.OPENED
    assert len(core.certificates) == 8
    opened: list[bytes] = []

    def counted(encoded: bytes, ca_keys: Mapping[bytes, ec.EllipticCurvePublicKey]) -> IssuerCertificate:
        opened.append(encoded)
        return open_certificate(encoded, ca_keys)

    monkeypatch.setattr(lock_core, "open_certificate", counted)
    status, core = asked(FIRST, core, warm(issuer))
    assert status is Status.OPENED
    assert opened == [issuer.certificate.encoded]
