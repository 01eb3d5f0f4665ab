"""The quick way of opening a batch against the thorough one: what it takes, it takes alike; else it does not decide."""

import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloud.telemetry.fan_in import opening
from cloud.telemetry.fan_in.arrivals import Arrived, BatchItem, read
from cloud.telemetry.fan_in.ledger_rows import RowFrame, copy_rows
from cloud.telemetry.fan_in.one_encoding import EncodedSizes
from cloud.telemetry.fan_in.opening import Place, open_batch
from cloud.telemetry.ports import BatchContext
from protocols import cbor
from protocols.errors import PeerProtocolError
from protocols.link.batch import INFLATED_BYTES_MAX, BatchHead, parse_batch
from protocols.link.cloud_stream import CloudStream
from protocols.link.lanes import Lane
from protocols.link.record import RECORD_BYTES_MAX
from protocols.link.topics import parse_up, up_topic
from tests.cloud.telemetry.sending import INCARNATION, NOW_MS, edge, note, packed, reading

CONTEXT = BatchContext("northlight", "aurora", edge(1), INCARNATION, Lane.C, NOW_MS)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts
    | st.floats(allow_nan=False, allow_infinity=False) | st.floats(width=16, allow_nan=False, allow_infinity=False)
)  # fmt: skip
bodies = st.dictionaries(
    texts, scalars | st.lists(scalars, max_size=3) | st.dictionaries(texts, scalars, max_size=3), max_size=6
)
times = st.integers(0, 253_402_300_799_999)
names = st.text("abc-", min_size=1, max_size=5) | st.sampled_from(["", "x" * 80, "x" * 81]) | scalars
nearly_readings = st.fixed_dictionaries(
    {
        "device": names,
        "capability": names,
        "attribute": names,
        "quality": st.sampled_from(["good", "uncertain", "bad", "stale", "best"]),
        "value": scalars | st.sampled_from(["x" * 256, "x" * 257, 1e200, -1e201]),
    },
    optional={"room": names, "unit": names, "device_at_ms": times | scalars, "more": scalars},
)
kinds = st.sampled_from(["note", "reading", "access", "k_9"])
wire_records = (
    st.tuples(kinds, st.none() | times, times, times, st.integers(0, 2), bodies)
    | st.tuples(st.just("reading"), st.none() | times, times, times, st.integers(0, 2), nearly_readings)
).map(list)


def head_of(inside: bytes, n: int, *, first: int = 1, lane: Lane = Lane.C) -> BatchHead:
    return BatchHead(edge(1), INCARNATION, lane, bytes(8), first, first + n - 1, None, inside)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def verdict(head: BatchHead, *, quick: bool, hi: int = 0) -> object:
    """What is made of a batch, comparable: the refusal's words, or all that was opened."""
    stream = CloudStream(INCARNATION, head.lane, hi)
    way = open_batch if quick else opening._thoroughly
    try:
        opened = way(head, stream, Place.of(CONTEXT, 7), frozenset({"access"}))
    except PeerProtocolError as error:
        assert stream.hi == hi
        return str(error)
    assert stream.hi == head.last
    return {**asdict(opened), "refused": [(seq, str(error)) for seq, error in opened.refused]}


@given(records=st.lists(wire_records, min_size=1, max_size=8), hi=st.integers(0, 3))
def test_whatever_a_batch_holds_both_ways_agree(records: list[list[Any]], hi: int) -> None:
    head = head_of(deflated(cbor2.dumps({"r": records}, canonical=True)), len(records))
    hi = min(hi, len(records) - 1)
    quick, thorough = verdict(head, quick=True, hi=hi), verdict(head, quick=False, hi=hi)
    assert quick == thorough


@given(data=st.data())
def test_whatever_is_done_to_the_bytes_both_ways_agree(data: st.DataObject) -> None:
    records = data.draw(st.lists(wire_records, min_size=1, max_size=3))
    inside = bytearray(cbor2.dumps({"r": records}, canonical=True))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(inside) - 1))
        match data.draw(st.sampled_from(["flip", "drop", "insert"])):
            case "flip":
                inside[place] ^= 1 << data.draw(st.integers(0, 7))
            case "drop":
                del inside[place]
            case _:
                inside.insert(place, data.draw(st.integers(0, 255)))
    head = head_of(deflated(bytes(inside)), len(records))
    assert verdict(head, quick=True) == verdict(head, quick=False)


BODY = {"room": "1", "device": "t", "capability": "c", "attribute": "a", "value": 1.5, "unit": None, "quality": "good"}
RECORD = ["reading", None, NOW_MS, 5, 0, BODY]
GOOD = cbor2.dumps({"r": [RECORD]}, canonical=True)


def with_body(**changes: object) -> list[Any]:
    return [*RECORD[:5], {**BODY, **changes}]


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "records",
    [
        pytest.param([with_body(value=float("nan"))], id="not a number"),
        pytest.param([with_body(value=float("inf"))], id="infinity"),
        pytest.param([with_body(value=2**63)], id="over 64 bits"),
        pytest.param([with_body(value=b"bytes")], id="bytes"),
        pytest.param([with_body(value="nul\x00")], id="NUL in a value"),
        pytest.param([[*RECORD[:5], {**BODY, "k\x00": 1}]], id="NUL in a key"),
        pytest.param([[*RECORD[:5], {**BODY, 5: 1}]], id="key that is no text"),
        pytest.param([with_body(value={"a": {"b": {"c": 1}}})], id="too deep"),
        pytest.param([["reading", None, -1, 5, 0, BODY]], id="before 1970"),
        pytest.param([["reading", None, 2**62, 5, 0, BODY]], id="after the year 9999"),
        pytest.param([["reading", "noon", NOW_MS, 5, 0, BODY]], id="time that is text"),
        pytest.param([["reading", None, NOW_MS, 5, 3, BODY]], id="unknown clock"),
        pytest.param([["reading", None, NOW_MS, 5, True, BODY]], id="clock that is a truth"),
        pytest.param([["Reading", None, NOW_MS, 5, 0, BODY]], id="kind that is no name"),
        pytest.param([["reading", None, NOW_MS, 5, 0, [1]]], id="body that is a list"),
        pytest.param([["reading", None, NOW_MS, 5, 0]], id="five fields"),
        pytest.param([[*RECORD, 1]], id="seven fields"),
        pytest.param([RECORD] * 501, id="too many"),
        pytest.param([with_body(value="x" * RECORD_BYTES_MAX)], id="record over its bound"),
        pytest.param([[*RECORD[:5], {f"k{n}": n for n in range(100_000)}]], id="a hundred thousand keys"),
        pytest.param([{"a": 1}], id="no list"),
        pytest.param({"a": 1}, id="no records"),
    ],
)  # fmt: skip
def test_what_is_outside_the_specification_is_refused_by_both(records: list[Any] | dict[str, Any]) -> None:
    head = head_of(deflated(cbor2.dumps({"r": records}, canonical=True)), len(records))
    assert isinstance(verdict(head, quick=True), str)
    assert verdict(head, quick=True) == verdict(head, quick=False)


@pytest.mark.parametrize(
    ("name", "inside"),
    [
        ("not deflate", b"\xff\x00\x01"),
        ("cut short", deflated(GOOD)[:-3]),
        ("followed by more", deflated(GOOD) + b"x"),
        ("a bomb", lambda: deflated(bytes(INFLATED_BYTES_MAX + 1))),
        ("a larger bomb", lambda: deflated(bytes(200 * INFLATED_BYTES_MAX))),  # a second to pack: when asked for
        ("not CBOR", deflated(b"\x1c")),
        ("keys in another order", deflated(cbor2.dumps({"r": [[*RECORD[:5], dict(reversed(BODY.items()))]]}))),
        ("a longer float", deflated(GOOD.replace(b"\xf9\x3e\x00", b"\xfa\x3f\xc0\x00\x00"))),
        ("a longer integer", deflated(GOOD.replace(b"\x05\x00\xa7", b"\x18\x05\x00\xa7"))),
        ("not a number of 16 bits", deflated(GOOD.replace(b"\xf9\x3e\x00", b"\xf9\x7e\x01"))),
        ("not a number of 32 bits", deflated(GOOD.replace(b"\xf9\x3e\x00", b"\xfa\x7f\xc0\x00\x00"))),
        ("not a number of 64 bits", deflated(GOOD.replace(b"\xf9\x3e\x00", b"\xfb\x7f\xf8" + bytes(6)))),
        ("a negative one", deflated(GOOD.replace(b"\xf9\x3e\x00", b"\xfb\xff\xf8" + bytes(5) + b"\x01"))),
        ("infinity of 64 bits", deflated(GOOD.replace(b"\xf9\x3e\x00", b"\xfb\x7f\xf0" + bytes(6)))),
        ("a tag", deflated(b"\xa1\x61r\x81\x86\x64note\xf6\xc1\x1a\x00\x00\x00\x05\x05\x00\xa0")),
        ("an indefinite length", deflated(b"\xa1\x61r\x9f\xff")),
        ("a key twice", deflated(b"\xa1\x61r\x81\x86\x64note\xf6\x05\x05\x00\xa2\x61a\x01\x61a\x02")),
    ],
)  # fmt: skip
@pytest.mark.guarantee("G19")
def test_another_encoding_is_refused_by_both(name: str, inside: bytes | Callable[[], bytes]) -> None:
    head = head_of(inside if isinstance(inside, bytes) else inside(), 1)
    assert opening._quickly(head) is None, name
    assert isinstance(verdict(head, quick=True), str)


def test_ordinary_telemetry_goes_the_quick_way() -> None:
    payload = packed(edge(1), 1, [reading(n, 20 + n / 100) for n in range(1, 400)])
    assert opening._quickly(parse_batch(payload)) is not None
    assert opening._quickly(parse_batch(packed(edge(1), 1, [note(1)], Lane.B))) is not None


def test_a_batch_that_repeats_what_is_stored_goes_the_quick_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an edge sends again while the cloud is late must not cost the cloud more than it did at first."""
    head = parse_batch(packed(edge(1), 1, [reading(n, 20 + n / 100) for n in range(1, 101)]))
    thorough = verdict(head, quick=False, hi=60)
    monkeypatch.setattr(opening, "_thoroughly", None)
    assert verdict(head, quick=True, hi=60) == thorough


@pytest.mark.parametrize("body", [{"text": "nul\x00"}, {"text": "x" * RECORD_BYTES_MAX}], ids=["NUL", "too long"])
@pytest.mark.parametrize("hi", [0, 1, 2])
def test_what_a_batch_repeats_is_judged_alike_by_both(body: dict[str, Any], hi: int) -> None:
    records = [["note", None, 1, 1, 0, {"n": 1}], ["note", None, 1, 1, 0, body], ["note", None, 1, 1, 0, {"n": 3}]]
    head = head_of(deflated(cbor2.dumps({"r": records}, canonical=True)), 3)
    assert verdict(head, quick=True, hi=hi) == verdict(head, quick=False, hi=hi)


def test_lane_a_never_does() -> None:
    payload = packed(edge(1), 1, [note(1)], Lane.A)
    stream = CloudStream(INCARNATION, Lane.A)
    result = open_batch(parse_batch(payload), stream, Place.of(replace(CONTEXT, lane=Lane.A), 1), frozenset())
    assert result.verdict.value == "broken"  # a batch of lane A without its chain


@given(records=st.lists(wire_records, max_size=5))
@example(records=[["note", None, 0, 0, 0, {"": -0.0}]])
@example(records=[["note", None, 2**32, 2**16, 0, {"a": -1, "b": -24, "c": -25, "d": -256, "e": -257}]])
@example(records=[["note", 23, 24, 255, 0, {"a": 1e-7, "b": 65504.0, "c": 65520.0, "d": 3.4e38, "e": 1e39}]])
def test_the_size_of_the_one_encoding_is_computed_right(records: list[list[Any]]) -> None:
    nested = any(isinstance(value, list | dict) for each in records for value in each[5].values())
    told = EncodedSizes().of_inside([(*each[:5], _sorted(each[5])) for each in records])
    if nested:
        assert told is None
    else:
        assert told == len(cbor.encode({"r": records}, floats=True, depth=6))


reading_bodies = st.fixed_dictionaries(
    dict.fromkeys(
        ("room", "unit", "device", "quality", "attribute", "capability"),
        st.sampled_from(["", "a", "b" * 200, None, 1, 1.0, True]),
    )
    | {"value": scalars}
)


@given(st.lists(reading_bodies, min_size=1, max_size=8))
def test_the_size_of_readings_is_computed_right_though_a_point_is_remembered(bodies: list[dict[str, Any]]) -> None:
    sizes = EncodedSizes()
    for body in bodies + bodies:  # what was met before, and what only looks like it: True is 1 is 1.0
        for time in (None, 24, 2**40):
            fields = ("reading", time, 5, 70_000, 0, _sorted(body))
            assert sizes.of_inside([fields]) == len(cbor.encode({"r": [list(fields)]}, floats=True, depth=6))


def test_keys_in_another_order_have_no_size() -> None:
    assert EncodedSizes().of_inside([("note", None, 1, 1, 0, {"bb": 1, "a": 2})]) is None


def _sorted(body: Mapping[str, Any]) -> dict[str, Any]:
    return {key: body[key] for key in sorted(body, key=lambda each: (len(each.encode()), each.encode()))}


def test_a_row_is_what_postgres_calls_one() -> None:
    frame = RowFrame.of(tenant="t", property_id="p", edge="e", incarnation=b"i", lane="C", received_ms=946_684_800_001)
    [row] = copy_rows(frame, [9], [("note", None, 3, 4, 1, {"n": 1})])
    fields: list[bytes | None] = []
    [count], at = struct.unpack(">h", row[:2]), 2
    for _ in range(count):
        [size] = struct.unpack(">i", row[at : at + 4])
        fields.append(None if size < 0 else row[at + 4 : at + 4 + size])
        at += 4 + max(0, size)
    assert at == len(row)
    assert fields == [
        b"t", b"p", b"e", b"i", b"C", struct.pack(">q", 9), b"note", b'\x01{"n":1}', None, struct.pack(">q", 3),
        struct.pack(">q", 4), b"drifting", struct.pack(">q", 1_000),
    ]  # fmt: skip


def test_six_letters_that_spell_a_nul_are_no_nul() -> None:
    frame = RowFrame.of(tenant="t", property_id="p", edge="e", incarnation=b"i", lane="C", received_ms=0)
    assert len(copy_rows(frame, [1], [("note", None, 1, 1, 0, {"text": "\\u0000"})])) == 1
    with pytest.raises(PeerProtocolError, match="record 1: text with a NUL"):
        copy_rows(frame, [1], [("note", None, 1, 1, 0, {"deep": [{"a": "\x00"}]})])


@pytest.mark.guarantee("G19")
@given(payload=st.binary(max_size=600))
def test_noise_is_an_unreadable_item_and_nothing_else(payload: bytes) -> None:
    item = read(Arrived(parse_up(up_topic(edge(1), Lane.C)), payload, 0))
    assert not isinstance(item, BatchItem)
