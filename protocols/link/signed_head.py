"""A signed head: the edge's word on how far lane A had come and what its hash chain said there.

Source of truth: SPEC.md section 4.1; vectors in protocols/vectors/link/heads.json. A chain can be computed again by
whoever rewrites the records; a head signed before, kept anywhere else, then fits no more. Pure: who signs when is the
edge's affair.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from protocols import cbor
from protocols.cose import sign1, verify1
from protocols.device_model.identity import EdgeId, parse_edge_id
from protocols.errors import InvalidInputError, PeerProtocolError, UnsupportedVersionError
from protocols.link.batch import INCARNATION_BYTES
from protocols.link.chain import CHAIN_BYTES
from protocols.link.record import SEQ_MAX, TIME_MS_MAX

VERSION: Final = 1
HEAD_BYTES_MAX: Final = 512
EXTERNAL: Final = b"innkeeper/link/head/1"


@dataclass(frozen=True, slots=True)
class LogHead:
    """Lane A of `incarnation` reached `seq` at `at_ms` (the edge's wall clock), the chain's value there was `link`."""

    edge: EdgeId
    incarnation: bytes
    seq: int
    link: bytes
    at_ms: int


def sign_head(head: LogHead, key: ec.EllipticCurvePrivateKey, kid: bytes) -> bytes:
    """Return the signed head."""
    payload = {
        "v": VERSION, "edge": head.edge, "inc": head.incarnation, "seq": head.seq, "link": head.link, "at": head.at_ms,
    }  # fmt: skip
    return sign1(cbor.encode(payload), key, kid, external=EXTERNAL)


def open_head(data: bytes, resolve: Callable[[bytes], ec.EllipticCurvePublicKey | None]) -> LogHead:
    """Return the head that `data` holds, if the key known for its kid signed it.

    Raises:
        UnsupportedVersionError: of a later version.
        PeerProtocolError: not a signed head.
        CredentialRefusedError: UNKNOWN_ISSUER or BAD_SIGNATURE.
    """
    value = cbor.decode(verify1(data, resolve, external=EXTERNAL, most_bytes=HEAD_BYTES_MAX), HEAD_BYTES_MAX)
    if isinstance(value, dict) and type(value.get("v")) is int and value["v"] != VERSION:
        raise UnsupportedVersionError("log head", value["v"], (VERSION,))
    match value:
        case {
            "v": 1, "edge": str() as edge, "inc": bytes() as incarnation, "seq": int() as seq, "link": bytes() as link,
            "at": int() as at_ms, **rest,
        } if not rest and len(incarnation) == INCARNATION_BYTES and len(link) == CHAIN_BYTES:  # fmt: skip
            if 0 <= seq <= SEQ_MAX and 0 <= at_ms <= TIME_MS_MAX:
                try:
                    return LogHead(parse_edge_id(edge), incarnation, seq, link, at_ms)
                except InvalidInputError as error:
                    raise PeerProtocolError(f"log head: {error}") from error
    raise PeerProtocolError("a log head is {v, edge, inc, seq, link, at}")
