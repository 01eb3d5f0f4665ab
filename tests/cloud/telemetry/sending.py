"""Edges by hand: records, batches and their arrival, for tests of the fan-in."""

from collections.abc import Mapping, Sequence

from cloud.kit.database import Connection
from cloud.telemetry.fan_in.arrivals import Arrived, Item, read
from cloud.telemetry.fan_in.newest import NewestValues, store_newest
from cloud.telemetry.ports import EdgeOwner
from protocols.device_model.identity import EdgeId
from protocols.link.batch import Packed, pack_batch
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality, encode_record
from protocols.link.topics import parse_up, up_topic

INCARNATION = bytes(range(16))
NOW_MS = 1_767_225_600_000
AURORA = EdgeOwner("northlight", "aurora")


def edge(n: int) -> EdgeId:
    return EdgeId(f"e-hotel{n:011d}")


async def owner_of(_connection: Connection, who: EdgeId) -> EdgeOwner | None:
    """Every edge called e-hotel.. has a property; all others are strangers."""
    return EdgeOwner("northlight", f"p-{who[-6:]}") if who.startswith("e-hotel") else None


def note(n: int) -> bytes:
    return encode_record(
        "note", {"n": n}, device_at_ms=None, edge_at_ms=NOW_MS + n, mono_ms=n, clock=ClockQuality.SYNCHRONISED
    )


def reading(n: int, value: object = 21.5, **other: object) -> bytes:
    body = {
        "room": "101", "device": "thermostat-101", "capability": "thermostat", "attribute": "local_temperature",
        "value": value, "unit": "°C", "quality": "good", **other,
    }  # fmt: skip
    return encode_record(
        "reading", body, device_at_ms=None, edge_at_ms=NOW_MS + n, mono_ms=n, clock=ClockQuality.SYNCHRONISED
    )


async def show_live(
    connection: Connection, body: Mapping[str, object], *, at_ms: int, received_ms: int, owner: EdgeOwner = AURORA
) -> None:
    """Make `body` what a building last said of one attribute."""
    values = NewestValues(received_ms, {})
    values.take_live(owner.tenant, owner.property, body, at_ms)
    await store_newest(connection, values)


def packed(who: EdgeId, first: int, records: Sequence[bytes], lane: Lane = Lane.C) -> bytes:
    last = first + len(records) - 1
    payload, reached = pack_batch(who, INCARNATION, lane, Packed(first, last, range(first, last + 1), records))
    assert reached == last
    return payload


def arrived(who: EdgeId, payload: bytes, lane: Lane = Lane.C) -> Item:
    item = read(Arrived(parse_up(up_topic(who, lane)), payload, 0))
    assert item is not None
    return item
