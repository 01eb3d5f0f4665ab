"""A grant signed, as the store keeps it. Source of truth: protocols/grant/SPEC.md section 5."""

from edge.doors.issuers import Issuer
from edge.doors.store import IssuedGrant
from protocols.grant.grant import Grant, sign_grant


def sign_for(grant: Grant, issuer: Issuer, holder: str, *, at_ms: int, wanted_until_s: int) -> IssuedGrant:
    """Sign `grant` for `holder`.

    Args:
        grant: What is signed.
        issuer: Of the grant's class.
        holder: The stay, or the person.
        at_ms: Unix ms.
        wanted_until_s: Unix s until which it was asked for; the grant may end before that and be renewed.
    """
    return IssuedGrant(
        grant_id=grant.grant_id,
        stay=holder,
        phone=grant.phone,
        generation=grant.generation,
        issued_at_ms=at_ms,
        not_before_s=grant.not_before_s,
        not_after_s=grant.not_after_s,
        wanted_until_s=wanted_until_s,
        rooms=grant.rooms,
        zones=grant.zones,
        flags=grant.flags,
        signed=sign_grant(grant, issuer.key),
        certificate=issuer.certificate.encoded,
    )
