"""Vectors of protocols/link: records, the chain, batches good and bad, messages, signed documents, topics, streams."""

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from protocols import cbor
from protocols.device_model.identity import EdgeId, PropertyId
from protocols.errors import LocalProtocolError, PlatformError
from protocols.grant.keys import private_key, private_key_hex
from protocols.link import chain, topics
from protocols.link.batch import POSITIONS_MAX, RECORDS_MAX, Hole, HoleReason, Packed, pack_batch, parse_batch
from protocols.link.cloud_stream import CloudStream
from protocols.link.documents import (
    CommandEnvelope,
    DesiredDocument,
    open_command,
    open_desired,
    sign_command,
    sign_desired,
)
from protocols.link.lanes import LANES, Lane
from protocols.link.messages import (
    Ack,
    AckMark,
    AckStatus,
    Answer,
    Hello,
    Live,
    LiveHead,
    StreamMark,
    decode_ack,
    decode_answer,
    decode_hello,
    decode_live,
    encode_ack,
    encode_answer,
    encode_hello,
    encode_live,
)
from protocols.link.record import ClockQuality, Record, decode_record, encode_record
from protocols.vectors import log_vectors
from protocols.vectors.fixed import AT_S, stream

EDGE: Final = EdgeId("e-aurora0000000001")
INCARNATION: Final = bytes(range(16))
OPENING: Final = bytes(range(8))
KID: Final = b"command-1"
AT_MS: Final = AT_S * 1_000

BODIES: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("access", {"door": "door-101", "event": "opened", "lock_seq": 17, "grant": "a1a2a3a4a5a6a7a8"}),
    ("reading", {"device": "thermostat-101", "attribute": "local_temperature", "value": 21.5, "unit": "°C"}),
    ("room", {"room": "101", "mode": "comfort", "cause": None, "rules": [{"id": 1}, True, -5, 0.1]}),
)


def files() -> dict[str, dict[str, Any]]:
    """Return every vector document by its path."""
    return {
        "link/records.json": records_document(),
        "link/batches.json": batches_document(),
        "link/messages.json": messages_document(),
        "link/documents.json": documents_document(),
        "link/topics.json": topics_document(),
        "link/summaries.json": log_vectors.summaries_document(),
        "link/heads.json": log_vectors.heads_document(),
    }


def encoded(n: int) -> bytes:
    """Return the n-th record of the vectors (from 0), encoded."""
    kind, body = BODIES[n % len(BODIES)]
    return encode_record(
        kind,
        body,
        device_at_ms=None if n % 2 else AT_MS - 5,
        edge_at_ms=AT_MS + n,
        mono_ms=1_000 + n,
        clock=list(ClockQuality)[n % 3],
    )


def run(count: int, *, first: int = 1, lane: Lane = Lane.A) -> Packed:
    """Return a run of the vectors' records from position 1 or later."""
    data = [encoded(n) for n in range(first - 1 + count)]
    links = [chain.genesis(INCARNATION)]
    for seq, each in enumerate(data, start=1):
        links.append(chain.link(links[-1], seq, each))
    return Packed(
        first,
        first + count - 1,
        range(first, first + count),
        data[first - 1 :],
        before=links[first - 1] if lane is Lane.A else None,
        links=links[first:] if lane is Lane.A else (),
        opening=OPENING,
    )


def stored(inside: bytes) -> bytes:
    """Return `inside` in stored deflate blocks: the one deflate form that every library makes alike."""
    blocks = b""
    pieces = [inside[at : at + 0xFFFF] for at in range(0, len(inside), 0xFFFF)] or [b""]
    for n, piece in enumerate(pieces):
        size = len(piece).to_bytes(2, "little")
        blocks += bytes([n == len(pieces) - 1]) + size + bytes(255 - byte for byte in size) + piece
    return blocks


def repacked(payload: bytes, **changes: object) -> bytes:
    """Return a batch with its inside in stored blocks and `changes` to its head."""
    head = cbor.decode(payload, len(payload))
    if not isinstance(head, dict) or not isinstance(head["z"], bytes):
        raise LocalProtocolError("a vector is not a batch")
    inside = stored(zlib.decompress(head["z"], -15))
    changed: dict[int | str, object] = {**head, "z": inside}
    changed.update(changes)
    return cbor.encode(changed)


MANY_ITEMS: Final = bytes.fromhex(
    "edd2b10d40501440d1f74d21b19401343fa1251103a8cc40f9630d3196da140ac93923dcdc92e7fddefa715a86a7894867ddb591a2e47c"
    "54d70a3fe5693c0d9e064f83a7c1d3781a3c0d9e064f83a7f134781a3c0d9e064fe369f034781a3c0d9ec6d39ec6d3e069f034781a4f7b"
    "1a4f83a7c1d3e0693ced693c0d9e064f83a7c1d3781a3c0d9e064f83a7f134781a3c0d9e064fe369f034781a3c0d9ec6d39ec6d3e069f0"
    "34781a4f7b1a4f83a7c1d3e0693ced693c0d9e064f83a7c1d3781a3c0d9e064f83a7f134781a3c0d9e064fe369f034781a3c0d9ec6d39e"
    "c6d3e069f034781a4f7b1a4f83a7c1d3e0693ced693c0d9e064f83a7c1d3781a3c0d9e064f83a7f134781a3c0d9e064fe369f034781a3c"
    "0d9ec6d3cae069f034781a3c8da73d8da7c1d3e069f0349ef6349e064f83a7c1d3e0693c0d9e064f83a7c1d3781a3c0d9e064f83a7f134"
    "781a3c0d9e064fe369f034781a3c0d9ec6d39ec6d3e069f034781a4f7b1a4f83a7c1d3e0693ced693c0d9e064f83a7c1d3781a3c0d9e06"
    "4f83a7f134781a3c0d9e064fe369f034781a3c0d9ec6d39ec6d3e069f034781a4f7b1a4f83a7e16b2f"
)
"""{"r": 190 records of 700 empty lists}, raw deflate: sound but for its 137,000 items."""


def records_document() -> dict[str, Any]:
    """Return records: their fields, their one encoding, and the chain over them."""
    link = chain.genesis(INCARNATION)
    rows: list[dict[str, Any]] = []
    for n in range(4):
        data, seq = encoded(n), n + 1
        link = chain.link(link, seq, data)
        rows.append({**fields(decode_record(data, lane=Lane.A, seq=seq)), "encoded": data.hex(), "chain": link.hex()})
    return {"incarnation": INCARNATION.hex(), "genesis": chain.genesis(INCARNATION).hex(), "records": rows}


def fields(record: Record) -> dict[str, Any]:
    """Return a record as JSON has it."""
    return {
        "lane": record.lane.value,
        "seq": record.seq,
        "kind": record.kind,
        "body": record.body,
        "device_at_ms": record.device_at_ms,
        "edge_at_ms": record.edge_at_ms,
        "mono_ms": record.mono_ms,
        "clock": record.clock.value,
    }


def batches_document() -> dict[str, Any]:
    """Return batches that are taken, batches that are refused, and what a stream says to a row of batches."""
    holed = Packed(
        1,
        9,
        [1, 5, 7],
        [encoded(0), encoded(4), encoded(6)],
        holes=[Hole(2, 4, HoleReason.QUOTA), Hole(6, 9, HoleReason.THINNED)],
        opening=OPENING,
    )
    good = {
        "three records of lane A": (Lane.A, run(3)),
        "one record in the middle of lane A": (Lane.A, run(1, first=3)),
        "two records of lane C": (Lane.C, run(2, lane=Lane.C)),
        "a hole, and a thinned range with a record in it": (Lane.C, holed),
        "the longest hole": (
            Lane.C,
            Packed(1, POSITIONS_MAX, (), (), holes=[Hole(1, POSITIONS_MAX, HoleReason.QUOTA)], opening=OPENING),
        ),
        "nothing but a hole": (Lane.B, Packed(1, 40, (), (), holes=[Hole(1, 40, HoleReason.QUOTA)], opening=OPENING)),
    }
    taken: list[dict[str, Any]] = []
    for name, (lane, packed) in good.items():
        payload = repacked(pack_batch(EDGE, INCARNATION, lane, packed)[0])
        batch = parse_batch(payload).open()
        taken.append(
            {
                "name": name,
                "payload": payload.hex(),
                "edge": batch.edge,
                "incarnation": batch.incarnation.hex(),
                "lane": batch.lane.value,
                "opening": batch.opening.hex(),
                "first": batch.first,
                "last": batch.last,
                "records": [fields(each) for each in batch.records],
                "holes": [[each.first, each.last, each.reason.name.lower()] for each in batch.holes],
                "chain": None if batch.chain is None else [each.hex() for each in batch.chain],
            }
        )
    return {"taken": taken, "refused": refused_batches(), "stream": stream_vector(), "stepped": stepped_batches()}


def refused_batches() -> list[dict[str, Any]]:
    """Return payloads that must be refused, with the error's name and the place where it shows."""
    good = pack_batch(EDGE, INCARNATION, Lane.C, run(2, lane=Lane.C))[0]
    inside: dict[str, object] = {"r": [[]]}
    cases: dict[str, bytes] = {
        "a version from the future": repacked(good, v=2),
        "no map": cbor.encode([1, 2]),
        "an unknown lane": repacked(good, lane="D"),
        "an edge that is no name": repacked(good, edge="E 1"),
        "position zero": repacked(good, first=0),
        "no positions": repacked(good, n=0),
        "less than no positions": repacked(good, n=-1),
        "more positions than a batch covers": repacked(good, n=POSITIONS_MAX + 1),
        "as many positions as a batch covers, and two records": repacked(good, n=POSITIONS_MAX),
        "positions past the last there is": repacked(good, first=2**63 - 2, n=3),
        "fewer positions than records": repacked(good, n=1),
        "more positions than records": repacked(good, n=3),
        "an incarnation too short": repacked(good, inc=bytes(15)),
        "a key nobody knows": repacked(good, extra=1),
        "an inside that is not deflate": repacked(good, z=b"\xff\xff"),
        "an inside cut short": repacked(good, z=stored(cbor.encode(inside))[:-1]),
        "more items than an edge can pack": repacked(good, n=190, z=MANY_ITEMS),
        "bytes after the inside": repacked(good, z=stored(cbor.encode(inside)) + b"\x00"),
        "a record without fields": repacked(good, z=stored(cbor.encode(inside)), n=1),
        "a hole for no known reason": repacked(good, z=stored(cbor.encode({"h": [[1, 2, 99]], "r": [], "s": []}))),
        "holes that overlap": repacked(good, z=stored(cbor.encode({"h": [[1, 2, 1], [2, 2, 1]], "r": [], "s": []}))),
    }
    return [{"name": name, "payload": data.hex(), "error": refusal(data)} for name, data in cases.items()]


def stepped_batches() -> list[dict[str, Any]]:
    """Return batches whose inside is refused, each offered to a stream at 0, and how far the mark moves."""
    two = pack_batch(EDGE, INCARNATION, Lane.C, run(2, lane=Lane.C))[0]
    hole = [2, 1_000, int(HoleReason.THINNED)]
    spoilt = stored(cbor.encode({"h": [hole], "r": [[], [{"a": {"b": {"c": {"d": {}}}}}]], "s": [0, 998]}, depth=9))
    cases: dict[str, bytes] = {
        "not deflate, two positions": repacked(two, z=b"\xff\xff"),
        "not deflate, as many positions as records": repacked(two, z=b"\xff\xff", n=RECORDS_MAX),
        "not deflate, one more": repacked(two, z=b"\xff\xff", n=RECORDS_MAX + 1),
        "two records in seven positions": repacked(two, n=7),
        "two records in one position": repacked(two, n=1),
        "two records in a long head": repacked(two, n=RECORDS_MAX + 1),
        "two records in the longest head": repacked(two, n=POSITIONS_MAX),
        "no record in five positions": repacked(two, n=5, z=stored(cbor.encode({"r": []}))),
        "records that say nothing, and a long hole": repacked(two, n=1_000, z=spoilt),
        "the same, and the head reaches further": repacked(two, n=1_001, z=spoilt),
        "a hole for no known reason that fills the head": repacked(
            two, n=90_000, z=stored(cbor.encode({"h": [[1, 90_000, 99]], "r": [], "s": []}))
        ),
    }
    rows: list[dict[str, Any]] = []
    for name, payload in cases.items():
        refusal(payload)
        offered = CloudStream(INCARNATION, Lane.C).step_over(parse_batch(payload))
        rows.append({"name": name, "payload": payload.hex(), "status": offered.status.value, "hi": offered.hi})
    return rows


def refusal(payload: bytes) -> str:
    """Return the name of the error that refuses `payload`."""
    return error_of(lambda: parse_batch(payload).open())


def error_of(action: Callable[[], object]) -> str:
    """Return the name of the error that `action` raises. LocalProtocolError if none: the vector would be wrong."""
    try:
        action()
    except PlatformError as error:
        return type(error).__name__
    raise LocalProtocolError("a vector of a refusal was accepted")


def stream_vector() -> list[dict[str, Any]]:
    """Return batches offered to one stream of lane A in turn, and its answers."""
    cloud = CloudStream(INCARNATION, Lane.A)
    forged = run(2, first=7)
    forged = replace(forged, records=[encoded(0), *forged.records[1:]])
    steps: list[dict[str, Any]] = []
    for name, packed in (
        ("the first", run(2)),
        ("again", run(2)),
        ("one is missing before it", run(1, first=4)),
        ("half of it is there already", run(4)),
        ("it follows on", run(2, first=5)),
        ("a record was changed in the building", forged),
    ):
        payload = repacked(pack_batch(EDGE, INCARNATION, Lane.A, packed)[0])
        offered = cloud.offer(parse_batch(payload).open())
        steps.append(
            {
                "name": name,
                "payload": payload.hex(),
                "status": offered.status.value,
                "hi": offered.hi,
                "stored": [each.seq for each in offered.records],
                "chain": offered.verdict.value,
            }
        )
    return steps


def messages_document() -> dict[str, Any]:
    """Return hellos, acks, live states and answers."""
    hello = Hello((1,), EDGE, PropertyId("aurora"), 77, (StreamMark(INCARNATION, Lane.A, 1, 9),), AT_MS)
    acks = {
        "stored": Ack(AckStatus.STORED, (AckMark(INCARNATION, Lane.A, 9),)),
        "gap, and slower please": Ack(AckStatus.GAP, (AckMark(INCARNATION, Lane.C, 3),), slow_ms=5_000),
        "heard, not stored yet": Ack(AckStatus.STORED, (), slow_ms=3_000),
        "welcome": Ack(AckStatus.WELCOME, (AckMark(INCARNATION, Lane.A, 9, (OPENING,)),), re=77),
        "come back over half a minute": Ack(AckStatus.STORED, (AckMark(INCARNATION, Lane.B, 4),), spread_s=30),
        "refused lane": Ack(AckStatus.REFUSED, (), error="UnsupportedVersionError: ...", lane=Lane.B),
    }
    live = Live(EDGE, INCARNATION, AT_MS, ({"device": "lamp-101", "value": True},), dict.fromkeys(LANES, 4))
    heads = tuple(LiveHead(INCARNATION, lane, 2**40 * place) for place, lane in enumerate(LANES))
    told = replace(live, heads=heads)
    answer = Answer(EDGE, "c-1", "done", {"read_back": 21.5}, None)
    if decode_live(encode_live(told)) != told:
        raise LocalProtocolError("a vector does not read back")
    if decode_hello(encode_hello(hello)) != hello or decode_live(encode_live(live)) != live:
        raise LocalProtocolError("a vector does not read back")
    if decode_answer(encode_answer(answer)) != answer or any(decode_ack(encode_ack(a)) != a for a in acks.values()):
        raise LocalProtocolError("a vector does not read back")
    return {
        "hello": {"nonce": 77, "at_ms": AT_MS, "payload": encode_hello(hello).hex()},
        "acks": [
            {
                "name": name,
                "status": ack.status.value,
                "marks": [[m.incarnation.hex(), m.lane.value, m.hi, [o.hex() for o in m.openings]] for m in ack.marks],
                "re": ack.re,
                "error": ack.error,
                "slow_ms": ack.slow_ms,
                "spread_s": ack.spread_s,
                "lane": ack.lane,
                "payload": encode_ack(ack).hex(),
            }
            for name, ack in acks.items()
        ],
        "live": {"at_ms": AT_MS, "state": list(live.state), "payload": encode_live(live).hex()},
        "live with heads": {
            "heads": [[each.incarnation.hex(), each.lane.value, each.last] for each in heads],
            "payload": encode_live(told).hex(),
        },
        "answer": {"id": "c-1", "phase": "done", "result": answer.result, "payload": encode_answer(answer).hex()},
    }


def documents_document() -> dict[str, Any]:
    """Return a signed desired document and a signed command, and what refuses each."""
    key = private_key(stream("command key"))
    document = DesiredDocument(EDGE, "stays", 4, {"stays": [{"id": "stay-1", "room": "101"}]}, AT_MS)
    command = CommandEnvelope(EDGE, "c-1", "k-1", "check_in", {"stay": "stay-1"}, AT_MS + 10_000, AT_MS)
    desired, ordered = sign_desired(document, key, KID), sign_command(command, key, KID)

    def ours(kid: bytes) -> Any:  # noqa: ANN401 - JSON
        return key.public_key() if kid == KID else None

    refused: dict[str, Callable[[], object]] = {
        "a stranger's key id": lambda: open_command(ordered, lambda _kid: None, edge=EDGE),
        "another key under our id": lambda: open_command(
            ordered, lambda _kid: private_key(stream("stranger")).public_key(), edge=EDGE
        ),
        "for another edge": lambda: open_command(ordered, ours, edge=EdgeId("e-other")),
        "a command taken for a document": lambda: open_desired(ordered, ours, edge=EDGE),
        "a document taken for a command": lambda: open_command(desired, ours, edge=EDGE),
        "a changed byte": lambda: open_command(ordered.replace(b"check_in", b"checkxin"), ours, edge=EDGE),
    }
    return {
        "key": private_key_hex(key),
        "kid": KID.hex(),
        "desired": {"name": document.name, "version": 4, "body": document.body, "signed": desired.hex()},
        "command": {
            "id": command.id,
            "idempotency_key": command.idempotency_key,
            "kind": command.kind,
            "args": command.args,
            "deadline_ms": command.deadline_ms,
            "signed": ordered.hex(),
        },
        "refused": [{"name": name, "error": error_of(action)} for name, action in refused.items()],
    }


def topics_document() -> dict[str, Any]:
    """Return shards and topics."""
    edges = [EDGE, EdgeId("e-1"), EdgeId("e-northlight-7"), EdgeId("a" * 40)]
    return {
        "shards": {each: topics.shard_of(each) for each in edges},
        "up": {what.value: topics.up_topic(EDGE, what) for what in topics.Up},
        "down": {
            "ack": topics.ack_topic(EDGE),
            "command": topics.command_topic(EDGE),
            "desired": topics.desired_topic(EDGE, "stays"),
        },
        "refused": [
            f"up/0/{EDGE}/a",
            f"up/{topics.shard_of(EDGE)}/{EDGE}/d",
            f"up/{topics.shard_of(EDGE)}/{EDGE}",
            "up/x/e-1/a",
            f"down/{EDGE}/ack",
            f"up/{topics.shard_of(EDGE):03}/{EDGE}/a",
        ],
    }
