"""The code does what the vectors say."""

import json
from pathlib import Path
from typing import Any

import pytest

from protocols.device_model.identity import EdgeId
from protocols.errors import PeerProtocolError, PlatformError
from protocols.grant.keys import private_key
from protocols.link import chain, topics
from protocols.link.batch import Batch, parse_batch
from protocols.link.cloud_stream import CloudStream
from protocols.link.documents import open_command, open_desired
from protocols.link.lanes import Lane
from protocols.link.messages import decode_ack, decode_answer, decode_hello, decode_live, encode_ack, encode_live
from protocols.link.record import ClockQuality, Record, decode_record, encode_record
from protocols.vectors import generate, link_vectors
from protocols.vectors.fixed import stream

FOLDER = generate.FOLDER / "link"


def read(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def facts(record: Record) -> dict[str, Any]:
    return {
        "lane": record.lane, "seq": record.seq, "kind": record.kind, "body": record.body,
        "device_at_ms": record.device_at_ms, "edge_at_ms": record.edge_at_ms, "mono_ms": record.mono_ms,
        "clock": record.clock,
    }  # fmt: skip


def test_the_vectors_are_what_the_generator_makes() -> None:
    made = {Path(name).name: document for name, document in link_vectors.files().items()}
    assert {path.name for path in FOLDER.glob("*.json")} == set(made)
    for name, document in made.items():
        assert read(name) == json.loads(json.dumps({"v": 1, **document}))


def test_records_and_their_chain() -> None:
    vector = read("records.json")
    link = chain.genesis(bytes.fromhex(vector["incarnation"]))
    assert link.hex() == vector["genesis"]
    for row in vector["records"]:
        data = bytes.fromhex(row.pop("encoded"))
        link = chain.link(link, row["seq"], data)
        assert link.hex() == row.pop("chain")
        assert facts(decode_record(data, lane=Lane.A, seq=row["seq"])) == row
        again = encode_record(
            row["kind"], row["body"], device_at_ms=row["device_at_ms"], edge_at_ms=row["edge_at_ms"],
            mono_ms=row["mono_ms"], clock=ClockQuality(row["clock"]),
        )  # fmt: skip
        assert again == data


@pytest.mark.parametrize("row", read("batches.json")["taken"], ids=lambda row: row["name"])
def test_batches_that_are_taken(row: dict[str, Any]) -> None:
    batch: Batch = parse_batch(bytes.fromhex(row["payload"])).open()
    assert (batch.edge, batch.incarnation.hex(), batch.lane) == (row["edge"], row["incarnation"], row["lane"])
    assert (batch.opening.hex(), batch.first, batch.last) == (row["opening"], row["first"], row["last"])
    assert [facts(each) for each in batch.records] == row["records"]
    assert [[each.first, each.last, each.reason.name.lower()] for each in batch.holes] == row["holes"]
    assert (None if batch.chain is None else [each.hex() for each in batch.chain]) == row["chain"]


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("row", read("batches.json")["refused"], ids=lambda row: row["name"])
def test_batches_that_are_refused_by_name(row: dict[str, Any]) -> None:
    with pytest.raises(PlatformError) as caught:
        parse_batch(bytes.fromhex(row["payload"])).open()
    assert type(caught.value).__name__ == row["error"]


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("row", read("batches.json")["stepped"], ids=lambda row: row["name"])
def test_how_far_a_refused_batch_moves_the_mark(row: dict[str, Any]) -> None:
    head = parse_batch(bytes.fromhex(row["payload"]))
    with pytest.raises(PlatformError):
        head.open()
    offered = CloudStream(link_vectors.INCARNATION, Lane.C).step_over(head)
    assert (offered.status, offered.hi) == (row["status"], row["hi"])


def test_a_streams_answers() -> None:
    cloud = CloudStream(link_vectors.INCARNATION, Lane.A)
    for step in read("batches.json")["stream"]:
        offered = cloud.offer(parse_batch(bytes.fromhex(step["payload"])).open())
        assert (offered.status, offered.hi, offered.verdict.value) == (step["status"], step["hi"], step["chain"])
        assert [record.seq for record in offered.records] == step["stored"]


def test_messages() -> None:
    vector = read("messages.json")
    assert decode_hello(bytes.fromhex(vector["hello"]["payload"])).nonce == vector["hello"]["nonce"]
    assert list(decode_live(bytes.fromhex(vector["live"]["payload"])).state) == vector["live"]["state"]
    told = decode_live(bytes.fromhex(vector["live with heads"]["payload"]))
    assert [[each.incarnation.hex(), each.lane, each.last] for each in told.heads] == vector["live with heads"]["heads"]
    assert encode_live(told).hex() == vector["live with heads"]["payload"]
    assert decode_answer(bytes.fromhex(vector["answer"]["payload"])).result == vector["answer"]["result"]
    for row in vector["acks"]:
        ack = decode_ack(bytes.fromhex(row["payload"]))
        assert encode_ack(ack).hex() == row["payload"]
        assert (ack.status, ack.re, ack.error, ack.slow_ms, ack.spread_s, ack.lane) == (
            row["status"], row["re"], row["error"], row["slow_ms"], row["spread_s"], row["lane"],
        )  # fmt: skip
        marks = [[m.incarnation.hex(), m.lane, m.hi, [each.hex() for each in m.openings]] for m in ack.marks]
        assert marks == row["marks"]


def test_signed_documents() -> None:
    vector = read("documents.json")
    key, kid = private_key(stream("command key")).public_key(), bytes.fromhex(vector["kid"])
    edge = EdgeId(link_vectors.EDGE)
    desired = open_desired(bytes.fromhex(vector["desired"]["signed"]), {kid: key}.get, edge=edge)
    assert (desired.name, desired.version, desired.body) == (
        vector["desired"]["name"], vector["desired"]["version"], vector["desired"]["body"],
    )  # fmt: skip
    command = open_command(bytes.fromhex(vector["command"].pop("signed")), {kid: key}.get, edge=edge)
    assert {name: getattr(command, name) for name in vector["command"]} == vector["command"]


def test_topics_and_shards() -> None:
    vector = read("topics.json")
    for edge, shard in vector["shards"].items():
        assert topics.shard_of(EdgeId(edge)) == shard < topics.SHARDS
    for what, topic in vector["up"].items():
        assert topics.parse_up(topic).what == what
    edge = link_vectors.EDGE
    assert {topics.parse_down(topic, edge) for topic in vector["down"].values()} == {
        (topics.Down.ACK, None), (topics.Down.COMMAND, None), (topics.Down.DESIRED, "stays"),
    }  # fmt: skip
    for topic in vector["refused"]:
        with pytest.raises(PeerProtocolError):
            topics.parse_up(topic)
    for topic in (*vector["up"].values(), "down/e-other/ack", f"down/{edge}/desired/A b"):
        with pytest.raises(PeerProtocolError):
            topics.parse_down(topic, edge)
