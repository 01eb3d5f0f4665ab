"""The small messages of the link: hello, ack, live state and answers. Source of truth: SPEC.md sections 6 to 8."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, cast

from protocols import cbor
from protocols.device_model.identity import EdgeId, PropertyId, parse_edge_id, parse_property_id
from protocols.errors import InvalidInputError, LocalProtocolError, PeerProtocolError, UnsupportedVersionError
from protocols.link.batch import INCARNATION_BYTES, OPENING_BYTES, array_head
from protocols.link.lanes import LANES, Lane
from protocols.link.reconnect import SPREAD_S_MAX
from protocols.link.record import SEQ_MAX, TIME_MS_MAX, Body, body_problem
from protocols.link.versions import VERSION, VERSIONS, agree

HELLO_BYTES_MAX: Final = 4 * 1024
ACK_BYTES_MAX: Final = 16 * 1024
LIVE_BYTES_MAX: Final = 512 * 1024
ANSWER_BYTES_MAX: Final = 64 * 1024
STREAMS_MAX: Final = 32
"""Streams of one edge that a hello or an ack may name: three lanes, some lives each."""
OPENINGS_MAX: Final = 32
"""Openings of one store that a welcome names."""
LIVE_ITEMS_MAX: Final = 5_000
RESULT_DEPTH_MAX: Final = 8
"""Containers in a command's result: a key bundle is deeper than a record."""
SLOW_MS_MAX: Final = 10 * 60_000
_TEXT_MAX: Final = 512
_NO_ITEMS: Final = cbor.encode("state") + array_head(0)
_ITEMS_HEAD_BYTES: Final = len(array_head(LIVE_ITEMS_MAX)) - len(array_head(0))
_ITEM_DEPTH: Final = 4


@dataclass(frozen=True, slots=True)
class StreamMark:
    """One stream and the positions its log holds: `first` to `last`; `last` = `first` - 1 where it holds none."""

    incarnation: bytes
    lane: Lane
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Hello:
    """An edge is here: which streams it has; asks for the cloud's marks. `nonce` names this hello in the answer."""

    versions: tuple[int, ...]
    edge: EdgeId
    property: PropertyId
    nonce: int
    streams: tuple[StreamMark, ...]
    at_ms: int


class AckStatus(StrEnum):
    """Why an ack was sent."""

    STORED = "stored"
    """Committed."""
    DUPLICATE = "duplicate"
    """It was there already."""
    GAP = "gap"
    """The batch starts past the mark: send again from there."""
    REFUSED = "refused"
    """Not read: see `error`. The mark says whether the cloud stepped over it."""
    WELCOME = "welcome"
    """The answer to a hello."""


@dataclass(frozen=True, slots=True)
class AckMark:
    """Everything of the stream up to and including `hi` is committed in the cloud.

    In a welcome, `openings` names the openings of the edge's store that wrote what the cloud holds, newest first, so
    that a store put back from a backup is recognised (SPEC.md 6.3).
    """

    incarnation: bytes
    lane: Lane
    hi: int
    openings: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Ack:
    """The cloud's marks, cumulative: only ever sent after the commit that made them true."""

    status: AckStatus
    marks: tuple[AckMark, ...]
    re: int | None = None
    """The nonce of the hello that this answers."""
    error: str | None = None
    slow_ms: int = 0
    """The cloud asks for this long without batches of lanes B and C."""
    lane: Lane | None = None
    """The lane that a refusal is about, where its head could not be read and no mark can be given."""
    spread_s: int = 0
    """Over so many seconds the cloud wants its edges to come back after a loss; 0: it says nothing about it."""


class LiveHead(NamedTuple):
    """The last position that a lane's current stream held before the live state was read."""

    incarnation: bytes
    lane: Lane
    last: int


@dataclass(frozen=True, slots=True)
class Live:
    """How the house is now: state, not history. May be lost; the next one makes it good."""

    edge: EdgeId
    incarnation: bytes
    at_ms: int
    state: tuple[Body, ...]
    backlog: Mapping[Lane, int]
    heads: tuple[LiveHead, ...] = ()
    """Of each lane at most one; empty: an edge of an earlier version, which says nothing of positions."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command, told at once; the same phases are records of lane A."""

    edge: EdgeId
    id: str
    phase: str
    result: Body | None
    error: str | None


def encode_hello(hello: Hello) -> bytes:
    """Encode a hello. Raises LocalProtocolError over the bounds."""
    if len(hello.streams) > STREAMS_MAX:
        raise LocalProtocolError(f"hello names {len(hello.streams)} streams, at most {STREAMS_MAX}")
    return cbor.encode(
        {
            "v": list(hello.versions),
            "edge": hello.edge,
            "property": hello.property,
            "nonce": hello.nonce,
            "streams": [[each.incarnation, each.lane.value, each.first, each.last] for each in hello.streams],
            "at": hello.at_ms,
        }
    )


def decode_hello(payload: bytes) -> Hello:
    """Read a hello.

    Raises:
        UnsupportedVersionError: the edge offers no version that we speak.
        PeerProtocolError: not a hello.
    """
    match cbor.decode(payload, HELLO_BYTES_MAX):
        case {
            "v": [*versions], "edge": str() as edge, "property": str() as property_, "nonce": int() as nonce,
            "streams": [*streams], "at": int() as at_ms,
        } if len(streams) <= STREAMS_MAX and type(nonce) is int:  # fmt: skip
            pass
        case {"v": [*versions]}:
            agree(versions)  # of a version that we do not speak: say so, rather than that it is none
            raise PeerProtocolError("not a hello")
        case _:
            raise PeerProtocolError("not a hello")
    agree(versions)
    try:
        return Hello(
            versions=tuple(each for each in versions if isinstance(each, int)),
            edge=parse_edge_id(edge),
            property=parse_property_id(property_),
            nonce=nonce,
            streams=tuple(_stream_mark(each) for each in streams),
            at_ms=_milliseconds(at_ms),
        )
    except InvalidInputError as error:
        raise PeerProtocolError(f"hello: {error}") from error


def encode_ack(ack: Ack) -> bytes:
    """Encode an ack. Raises LocalProtocolError over the bounds."""
    if len(ack.marks) > STREAMS_MAX:
        raise LocalProtocolError(f"ack names {len(ack.marks)} streams, at most {STREAMS_MAX}")
    value: dict[str, object] = {
        "v": VERSION,
        "status": ack.status.value,
        "marks": [
            [each.incarnation, each.lane.value, each.hi, *([list(each.openings)] if each.openings else [])]
            for each in ack.marks
        ],
    }
    if ack.re is not None:
        value["re"] = ack.re
    if ack.error is not None:
        value["error"] = ack.error[:_TEXT_MAX]
    if ack.slow_ms:
        value["slow_ms"] = ack.slow_ms
    if ack.spread_s:
        value["spread_s"] = ack.spread_s
    if ack.lane is not None:
        value["lane"] = ack.lane.value
    return cbor.encode(value)


def decode_ack(payload: bytes) -> Ack:
    """Read an ack. Raises UnsupportedVersionError, PeerProtocolError."""
    value = _versioned(payload, ACK_BYTES_MAX, "link ack", floats=False, depth=4)
    match value:
        case {"status": str() as status, "marks": [*marks]} if len(marks) <= STREAMS_MAX:
            pass
        case _:
            raise PeerProtocolError("not an ack")
    re, error, slow_ms = value.get("re"), value.get("error"), value.get("slow_ms", 0)
    if not (re is None or type(re) is int) or not (error is None or isinstance(error, str)):
        raise PeerProtocolError("ack: re is not a number or error is not text")
    if type(slow_ms) is not int or not 0 <= slow_ms <= SLOW_MS_MAX:
        raise PeerProtocolError(f"ack: slow_ms {slow_ms!r} is outside 0..{SLOW_MS_MAX}")
    spread_s = value.get("spread_s", 0)
    if type(spread_s) is not int or not 0 <= spread_s <= SPREAD_S_MAX:
        raise PeerProtocolError(f"ack: spread_s {spread_s!r} is outside 0..{SPREAD_S_MAX}")
    lane = value.get("lane")
    if not (lane is None or isinstance(lane, str)):
        raise PeerProtocolError("ack: lane is not text")
    try:
        return Ack(
            AckStatus(status),
            tuple(_ack_mark(each) for each in marks),
            re,
            error,
            slow_ms,
            None if lane is None else _lane(lane),
            spread_s,
        )
    except ValueError as unknown:
        raise PeerProtocolError(f"ack: {unknown}") from unknown


def encode_live(live: Live) -> bytes:
    """Encode the live state. Raises LocalProtocolError over the bounds or for a body that is not JSON-safe."""
    payload, count = encode_live_most(live)
    if count < len(live.state):
        raise LocalProtocolError(f"live state of {len(live.state)} items, of which {count} fit")
    return payload


def encode_live_most(live: Live) -> tuple[bytes, int]:
    """Encode the live state with as many of its items, from the first, as fit; return how many those are.

    Raises LocalProtocolError for a body that is not JSON-safe.
    """
    heads = {"heads": [[each.incarnation, each.lane.value, each.last] for each in live.heads]} if live.heads else {}
    head = cbor.encode(
        {
            "v": VERSION,
            "edge": live.edge,
            "inc": live.incarnation,
            "at": live.at_ms,
            "state": [],
            "backlog": {lane.value: count for lane, count in live.backlog.items()},
            **heads,
        }
    )
    at = head.rindex(_NO_ITEMS) + len(_NO_ITEMS) - 1
    items: list[bytes] = []
    left = LIVE_BYTES_MAX - len(head) - _ITEMS_HEAD_BYTES
    for each in live.state[:LIVE_ITEMS_MAX]:
        if (problem := body_problem(each)) is not None:
            raise LocalProtocolError(f"live state: {problem}")
        item = cbor.encode(each, floats=True, depth=_ITEM_DEPTH)
        left -= len(item)
        if left < 0:
            break
        items.append(item)
    count = len(items)
    return b"".join((head[:at], array_head(count), *items, head[at + 1 :])), count


def decode_live(payload: bytes) -> Live:
    """Read a live state. Raises UnsupportedVersionError, PeerProtocolError."""
    value = _versioned(payload, LIVE_BYTES_MAX, "link live state", floats=True, depth=6)
    heads = value.get("heads", [])
    match value:
        case {
            "edge": str() as edge, "inc": bytes() as incarnation, "at": int() as at_ms, "state": [*state],
            "backlog": {**backlog},
        } if len(state) <= LIVE_ITEMS_MAX and len(incarnation) == INCARNATION_BYTES:  # fmt: skip
            pass
        case _:
            raise PeerProtocolError("not a live state")
    for each in state:
        if (problem := body_problem(each)) is not None:
            raise PeerProtocolError(f"live state of {edge}: {problem}")
    try:
        return Live(
            parse_edge_id(edge),
            incarnation,
            _milliseconds(at_ms),
            tuple(cast(Body, each) for each in state),  # body_problem has just walked it
            {_lane(str(lane)): _count(count) for lane, count in backlog.items()},
            _live_heads(heads),
        )
    except (InvalidInputError, ValueError) as error:
        raise PeerProtocolError(f"live state: {error}") from error


def encode_answer(answer: Answer) -> bytes:
    """Encode an answer. Raises LocalProtocolError over the bounds or for a result that is not JSON-safe."""
    if answer.result is not None and (problem := body_problem(answer.result, depth_max=RESULT_DEPTH_MAX)) is not None:
        raise LocalProtocolError(f"answer to {answer.id}: {problem}")
    value = {
        "v": VERSION,
        "edge": answer.edge,
        "id": answer.id,
        "phase": answer.phase,
        "result": answer.result,
        "error": answer.error if answer.error is None else answer.error[:_TEXT_MAX],
    }
    payload = cbor.encode(value, floats=True, depth=1 + RESULT_DEPTH_MAX)
    if len(payload) > ANSWER_BYTES_MAX:
        raise LocalProtocolError(f"answer of {len(payload)} bytes, at most {ANSWER_BYTES_MAX}")
    return payload


def decode_answer(payload: bytes) -> Answer:
    """Read an answer. Raises UnsupportedVersionError, PeerProtocolError."""
    value = _versioned(payload, ANSWER_BYTES_MAX, "link answer", floats=True, depth=1 + RESULT_DEPTH_MAX)
    result, error = value.get("result"), value.get("error")
    match value:
        case {"edge": str() as edge, "id": str() as id_, "phase": str() as phase} if len(id_) <= _TEXT_MAX:
            pass
        case _:
            raise PeerProtocolError("not an answer")
    if result is not None and (problem := body_problem(result, depth_max=RESULT_DEPTH_MAX)) is not None:
        raise PeerProtocolError(f"answer to {id_}: {problem}")
    if error is not None and not isinstance(error, str):
        raise PeerProtocolError(f"answer to {id_}: error is not text")
    try:
        return Answer(parse_edge_id(edge), id_, phase, result, error)
    except InvalidInputError as wrong:
        raise PeerProtocolError(f"answer: {wrong}") from wrong


def _versioned(payload: bytes, most_bytes: int, what: str, *, floats: bool, depth: int) -> dict[int | str, Any]:
    value = cbor.decode(payload, most_bytes, floats=floats, depth=depth)
    if not isinstance(value, dict) or "v" not in value:
        raise PeerProtocolError(f"{what}: not a map with a version")
    if value["v"] != VERSION or type(value["v"]) is not int:
        raise UnsupportedVersionError(what, value["v"], VERSIONS)
    return value


def _stream_mark(value: cbor.Value) -> StreamMark:
    match value:
        case [bytes() as incarnation, str() as lane, int() as first, int() as last] if bool not in map(type, value):
            pass
        case _:
            raise PeerProtocolError(f"hello: {value!r} is not [incarnation, lane, first, last]")
    if len(incarnation) != INCARNATION_BYTES or not 1 <= first <= SEQ_MAX or not first - 1 <= last <= SEQ_MAX:
        raise PeerProtocolError(f"hello: stream {incarnation.hex()}/{lane} {first}-{last} is out of range")
    return StreamMark(incarnation, _lane(lane), first, last)


def _live_heads(value: cbor.Value) -> tuple[LiveHead, ...]:
    if not isinstance(value, list) or len(value) > len(LANES):
        raise PeerProtocolError(f"live state: heads are not a list of at most {len(LANES)}")
    heads: list[LiveHead] = []
    for each in value:
        match each:
            case [bytes() as incarnation, str() as lane, int() as last] if (
                type(last) is int and 0 <= last <= SEQ_MAX and len(incarnation) == INCARNATION_BYTES
            ):
                heads.append(LiveHead(incarnation, _lane(lane), last))
            case _:
                raise PeerProtocolError(f"live state: {each!r:.90} is not [incarnation, lane, last]")
    if len({each.lane for each in heads}) < len(heads):
        raise PeerProtocolError("live state: a lane has two heads")
    return tuple(heads)


def _ack_mark(value: cbor.Value) -> AckMark:
    match value:
        case [bytes() as incarnation, str() as lane, int() as hi, *rest] if (
            0 <= hi <= SEQ_MAX and type(hi) is int and len(rest) <= 1
        ):
            openings = rest[0] if rest else []
        case _:
            raise PeerProtocolError(f"ack: {value!r} is not [incarnation, lane, hi, openings?]")
    if not isinstance(openings, list) or len(openings) > OPENINGS_MAX:
        raise PeerProtocolError(f"ack: openings are not a list of at most {OPENINGS_MAX}")
    named = tuple(each for each in openings if isinstance(each, bytes) and len(each) == OPENING_BYTES)
    if len(named) != len(openings):
        raise PeerProtocolError(f"ack: an opening is {OPENING_BYTES} bytes")
    if len(incarnation) != INCARNATION_BYTES:
        raise PeerProtocolError(f"ack: incarnation of {len(incarnation)} bytes")
    return AckMark(incarnation, _lane(lane), hi, named)


def _lane(value: str) -> Lane:
    try:
        return Lane(value)
    except ValueError as error:
        raise PeerProtocolError(f"unknown lane {value!r}") from error


def _milliseconds(value: int) -> int:
    if type(value) is not int or not 0 <= value <= TIME_MS_MAX:
        raise PeerProtocolError(f"time {value} is not milliseconds")
    return value


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise PeerProtocolError(f"count {value!r}")
    return value


def marks_of(marks: Sequence[AckMark]) -> dict[tuple[bytes, Lane], int]:
    """Return the marks by stream."""
    return {(each.incarnation, each.lane): each.hi for each in marks}
