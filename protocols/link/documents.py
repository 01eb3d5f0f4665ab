"""Signed intentions, cloud to edge: desired documents and commands as COSE_Sign1. Source of truth: SPEC.md section 9.

A desired document says how something shall be: retained, versioned, the newest wins, never older again. A
command asks for
one effect: it carries a deadline and an idempotency key, and takes effect at most once and never late.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from protocols import cbor, cose
from protocols.device_model.identity import EdgeId, parse_edge_id
from protocols.errors import InvalidInputError, LocalProtocolError, PeerProtocolError, UnsupportedVersionError
from protocols.link.record import TIME_MS_MAX, Body

VERSION: Final = 1
VERSIONS: Final = (VERSION,)
DESIRED_BYTES_MAX: Final = 512 * 1024
COMMAND_BYTES_MAX: Final = 64 * 1024
DOCUMENT_DEPTH_MAX: Final = 10
DESIRED_USE: Final = b"innkeeper/link/desired/1"
"""COSE external data: keeps a signature under one use from being taken for another."""
COMMAND_USE: Final = b"innkeeper/link/command/1"
REFUSAL_HELD_MS: Final = 60_000
"""How long an outcome stands under its idempotency key, from one command's `issued_at_ms` to the next (SPEC.md 9.3)."""
RESULT_HELD_MS: Final = 3_600_000
OUTCOME_HELD_MS: Final = 86_400_000
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")

Resolve = Callable[[bytes], ec.EllipticCurvePublicKey | None]
"""Key id to the public key that may sign for this edge, None for a stranger."""


@dataclass(frozen=True, slots=True)
class DesiredDocument:
    """How `name` shall be at `edge`, as of `version` (counts up, per edge and name)."""

    edge: EdgeId
    name: str
    version: int
    body: Body
    issued_at_ms: int


@dataclass(frozen=True, slots=True)
class CommandEnvelope:
    """One effect, asked for once. `deadline_ms` is wall time (Unix ms, UTC): after it nothing may happen any more."""

    edge: EdgeId
    id: str
    idempotency_key: str
    kind: str
    args: Body
    deadline_ms: int
    issued_at_ms: int


def sign_desired(document: DesiredDocument, key: ec.EllipticCurvePrivateKey, kid: bytes) -> bytes:
    """Sign a desired document.

    Raises:
        LocalProtocolError: name, version, body or size is outside the specification.
    """
    if _NAME.fullmatch(document.name) is None or document.version < 1:
        raise LocalProtocolError(f"desired document {document.name!r} version {document.version}")
    payload = cbor.encode(
        {
            "v": VERSION,
            "edge": document.edge,
            "name": document.name,
            "version": document.version,
            "body": document.body,
            "iat": document.issued_at_ms,
        },
        floats=True,
        depth=DOCUMENT_DEPTH_MAX,
    )
    return _signed(payload, key, kid, DESIRED_USE, DESIRED_BYTES_MAX)


def open_desired(data: bytes, resolve: Resolve, *, edge: EdgeId) -> DesiredDocument:
    """Return the desired document in `data`, believed: signed by a key that `resolve` knows, for this `edge`.

    Raises:
        CredentialRefusedError: not signed by a key we pin.
        UnsupportedVersionError: a later document format.
        PeerProtocolError: not a desired document, or for another edge.
    """
    value = _opened(data, resolve, DESIRED_USE, DESIRED_BYTES_MAX, "desired document")
    match value:
        case {
            "edge": str() as to, "name": str() as name, "version": int() as version,
            "body": {**body}, "iat": int() as iat,
        } if _NAME.fullmatch(name) and version >= 1 and 0 <= iat <= TIME_MS_MAX:  # fmt: skip
            pass
        case _:
            raise PeerProtocolError("not a desired document")
    return DesiredDocument(_meant_for(to, edge, f"desired document {name}"), name, version, _text_keys(body), iat)


def sign_command(command: CommandEnvelope, key: ec.EllipticCurvePrivateKey, kid: bytes) -> bytes:
    """Sign a command.

    Raises:
        LocalProtocolError: an id, the kind, the arguments or the size is outside the specification.
    """
    if _ID.fullmatch(command.id) is None or _ID.fullmatch(command.idempotency_key) is None:
        raise LocalProtocolError(f"command id {command.id!r} or idempotency key {command.idempotency_key!r}")
    if _NAME.fullmatch(command.kind) is None:
        raise LocalProtocolError(f"command kind {command.kind!r} is not a short lower-case name")
    payload = cbor.encode(
        {
            "v": VERSION,
            "edge": command.edge,
            "id": command.id,
            "idem": command.idempotency_key,
            "kind": command.kind,
            "args": command.args,
            "deadline_ms": command.deadline_ms,
            "iat": command.issued_at_ms,
        },
        floats=True,
        depth=DOCUMENT_DEPTH_MAX,
    )
    return _signed(payload, key, kid, COMMAND_USE, COMMAND_BYTES_MAX)


def open_command(data: bytes, resolve: Resolve, *, edge: EdgeId) -> CommandEnvelope:
    """Return the command in `data`, believed: signed by a key that `resolve` knows, for this `edge`.

    Whether it is late or was obeyed before is the caller's to judge.

    Raises:
        CredentialRefusedError: not signed by a key we pin.
        UnsupportedVersionError: a later command format.
        PeerProtocolError: not a command, or for another edge.
    """
    value = _opened(data, resolve, COMMAND_USE, COMMAND_BYTES_MAX, "command")
    match value:
        case {
            "edge": str() as to, "id": str() as id_, "idem": str() as idem, "kind": str() as kind, "args": {**args},
            "deadline_ms": int() as deadline_ms, "iat": int() as iat,
        } if _ID.fullmatch(id_) and _ID.fullmatch(idem) and _NAME.fullmatch(kind):  # fmt: skip
            pass
        case _:
            raise PeerProtocolError("not a command")
    if not 0 <= deadline_ms <= TIME_MS_MAX or not 0 <= iat <= TIME_MS_MAX:
        raise PeerProtocolError(f"command {id_}: deadline {deadline_ms} or issue time {iat} is not milliseconds")
    return CommandEnvelope(_meant_for(to, edge, f"command {id_}"), id_, idem, kind, _text_keys(args), deadline_ms, iat)


def _signed(payload: bytes, key: ec.EllipticCurvePrivateKey, kid: bytes, use: bytes, most_bytes: int) -> bytes:
    data = cose.sign1(payload, key, kid, external=use)
    if len(data) > most_bytes:
        raise LocalProtocolError(f"signed document of {len(data)} bytes, at most {most_bytes}")
    return data


def _opened(data: bytes, resolve: Resolve, use: bytes, most_bytes: int, what: str) -> Mapping[int | str, Any]:
    payload = cose.verify1(data, resolve, external=use, most_bytes=most_bytes)
    value = cbor.decode(payload, most_bytes, floats=True, depth=DOCUMENT_DEPTH_MAX)
    if not isinstance(value, dict) or "v" not in value:
        raise PeerProtocolError(f"{what}: not a map with a version")
    if value["v"] != VERSION or type(value["v"]) is not int:
        raise UnsupportedVersionError(what, value["v"], VERSIONS)
    return value


def _meant_for(to: str, edge: EdgeId, what: str) -> EdgeId:
    if to != edge:
        raise PeerProtocolError(f"{what} is for {to!r}, not for {edge}")
    try:
        return parse_edge_id(to)
    except InvalidInputError as error:
        raise PeerProtocolError(f"{what}: {error}") from error


def _text_keys(body: Mapping[Any, Any]) -> Body:
    for key in body:
        if not isinstance(key, str):
            raise PeerProtocolError(f"map key {key!r} is not text")
    return dict(body)
