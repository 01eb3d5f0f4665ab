"""The signed envelope of a policy: made by the cloud, judged by the edge. Source of truth: SPEC.md sections 1 and 2.

Pure: bytes and time in, a policy or a refusal out. What a body means is its kind's business (`check_in.py`, the
room policy of edge/policy); where policies are kept is the caller's.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from protocols import cbor, cose
from protocols.documents import shown
from protocols.errors import (
    CredentialRefusedError,
    InvalidInputError,
    LocalProtocolError,
    PeerProtocolError,
    PlatformError,
    UnsupportedVersionError,
)

VERSION: Final = 1
USE: Final = b"innkeeper/policy/1"
ENVELOPE_BYTES_MAX: Final = 64 * 1024
BODY_BYTES_MAX: Final = 48 * 1024
VERSION_MOST: Final = 2**53 - 1
TIME_MS_MOST: Final = 4_102_444_800_000  # 2100-01-01
LIFE_MS_MOST: Final = 400 * 24 * 3_600_000
_KIND: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")

Resolve = Callable[[bytes], ec.EllipticCurvePublicKey | None]
"""Key id to the public key that may sign policies for this property, None for a stranger."""


class PolicyRefusal(StrEnum):
    """Why a policy was not taken up."""

    UNSIGNED = "unsigned"
    UNSUPPORTED = "unsupported"
    FOREIGN = "foreign"
    EXPIRED = "expired"
    OLDER = "older"
    CONFLICTING = "conflicting"
    MALFORMED = "malformed"


class PolicyRefusedError(PlatformError):
    """A policy was judged and refused; what was in force still is."""

    def __init__(self, refusal: PolicyRefusal, detail: str) -> None:
        super().__init__(f"policy refused ({refusal.value}): {detail}")
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of one kind of policy for one property. `body` is JSON text; times are unix ms."""

    property: str
    kind: str
    version: int
    issued_at_ms: int
    until_ms: int
    body: str


@dataclass(frozen=True, slots=True)
class Held:
    """What an edge holds of one kind: the highest version it has taken up, and what that said."""

    version: int
    body: str


def sign(policy: Policy, key: ec.EllipticCurvePrivateKey, kid: bytes) -> bytes:
    """Return the signed envelope.

    Raises:
        LocalProtocolError: a field is outside SPEC.md section 1.
    """
    problem = _problem(policy)
    if problem is not None:
        raise LocalProtocolError(f"policy {policy.kind!r} of {policy.property!r}: {problem}")
    payload = cbor.encode(
        {
            "v": VERSION,
            "property": policy.property,
            "kind": policy.kind,
            "version": policy.version,
            "iat": policy.issued_at_ms,
            "until": policy.until_ms,
            "body": policy.body,
        }
    )
    return cose.sign1(payload, key, kid, external=USE)


def opened(data: bytes, resolve: Resolve) -> Policy:
    """Return the policy in `data`, believed to be from whom `resolve` knows; not yet judged for any property.

    Raises:
        PolicyRefusedError: UNSIGNED, UNSUPPORTED, or MALFORMED for an envelope signed by us that is none.
    """
    try:
        value = cbor.decode(
            cose.verify1(data, resolve, external=USE, most_bytes=ENVELOPE_BYTES_MAX), ENVELOPE_BYTES_MAX
        )
    except UnsupportedVersionError as error:
        raise PolicyRefusedError(PolicyRefusal.UNSUPPORTED, str(error)) from error
    except (CredentialRefusedError, PeerProtocolError) as error:
        raise PolicyRefusedError(PolicyRefusal.UNSIGNED, str(error)) from error
    if not isinstance(value, dict):
        raise PolicyRefusedError(PolicyRefusal.MALFORMED, "the envelope holds no map")
    if value.get("v") != VERSION or type(value.get("v")) is not int:
        raise PolicyRefusedError(PolicyRefusal.UNSUPPORTED, f"envelope version {shown(value.get('v'))}")
    match value:
        case {
            "property": str() as property_id, "kind": str() as kind, "version": int() as version,
            "iat": int() as iat, "until": int() as until, "body": str() as body, **others,
        } if set(others) == {"v"}:  # fmt: skip
            policy = Policy(property_id, kind, version, iat, until, body)
        case _:
            raise PolicyRefusedError(PolicyRefusal.MALFORMED, "a field is missing, unknown or of another type")
    if (problem := _problem(policy)) is not None:
        raise PolicyRefusedError(PolicyRefusal.MALFORMED, problem)
    return policy


def judged(
    data: bytes,
    resolve: Resolve,
    *,
    ours: str,
    held: Mapping[str, Held],
    kinds: Mapping[str, Callable[[str], object]],
    now_ms: int | None,
) -> Policy:
    """Return the policy in `data` if an edge may take it up. SPEC.md section 2, in its order.

    Args:
        data: From anybody.
        resolve: The pinned keys.
        ours: The property that this edge serves.
        held: By kind: the highest version taken up so far.
        kinds: By kind: reads a body and raises a PlatformError if it is not of its format.
        now_ms: Wall time; None while the clock is unsound: `until` is then not judged.

    Raises:
        PolicyRefusedError: says why; nothing of it may be used.
    """
    policy = opened(data, resolve)
    name = f"{policy.kind} version {policy.version}"
    if policy.kind not in kinds:
        raise PolicyRefusedError(PolicyRefusal.UNSUPPORTED, f"{name}: known here are {', '.join(sorted(kinds))}")
    if policy.property != ours:
        raise PolicyRefusedError(PolicyRefusal.FOREIGN, f"{name} is for {shown(policy.property)}, this is {ours!r}")
    if now_ms is not None and now_ms > policy.until_ms:
        raise PolicyRefusedError(PolicyRefusal.EXPIRED, f"{name} was to be taken up by {policy.until_ms} at the latest")
    before = held.get(policy.kind)
    if before is not None and policy.version < before.version:
        raise PolicyRefusedError(PolicyRefusal.OLDER, f"{name}: version {before.version} was here")
    if before is not None and policy.version == before.version and policy.body != before.body:
        raise PolicyRefusedError(PolicyRefusal.CONFLICTING, f"{name} is held and says something else")
    try:
        kinds[policy.kind](policy.body)
    except PlatformError as error:
        raise PolicyRefusedError(PolicyRefusal.MALFORMED, f"{name}: {error}") from error
    return policy


def body_bytes(body: str) -> bytes:
    """Return a body's bytes. Raises InvalidInputError: half of a surrogate pair is no text."""
    try:
        return body.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError("policy body", "is no text") from error


def _problem(policy: Policy) -> str | None:
    if _KIND.fullmatch(policy.kind) is None or not policy.property:
        return "kind or property is no name"
    if not 1 <= policy.version <= VERSION_MOST:
        return f"version {shown(policy.version)} is outside 1..{VERSION_MOST}"
    if not 0 <= policy.issued_at_ms <= policy.until_ms <= TIME_MS_MOST:
        return "iat and until are not two times in their order"
    if policy.until_ms - policy.issued_at_ms > LIFE_MS_MOST:
        return f"until is more than {LIFE_MS_MOST // 86_400_000} days after iat"
    try:
        long = len(body_bytes(policy.body)) > BODY_BYTES_MAX
    except InvalidInputError as error:
        return str(error)
    return f"body is longer than {BODY_BYTES_MAX} bytes" if long else None
