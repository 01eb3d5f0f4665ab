"""Modbus frames and the read planner against their vectors and properties; pymodbus is the oracle of the wire."""

import asyncio
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge.bridges.complaints import Complaints
from edge.bridges.modbus.link import ModbusLink
from firmware_bridges.catalogue import load_all
from firmware_bridges.field_emulator.misbehaviour import GOOD, Misbehaviour
from firmware_bridges.field_emulator.modbus_server import EmulatedUnit, ModbusServer
from firmware_bridges.field_emulator.physics import build
from kit.clock import ManualClock
from kit.dice import SeededDice
from protocols.descriptors.descriptor import Point, unreadable_register
from protocols.descriptors.wires import ModbusWire
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, RoomId
from protocols.errors import PeerProtocolError
from protocols.modbus import frames, read_planner
from protocols.modbus.frames import Frame, FrameReader, Read, Refused, Request, Words, WriteWords, Written
from protocols.modbus.read_planner import Limits, plan, plan_by_interval

VECTORS: Final = Path(frames.__file__).parents[1] / "vectors" / "modbus"
FRAMES: Final = json.loads((VECTORS / "frames.json").read_text())
PLANS: Final = json.loads((VECTORS / "plans.json").read_text())["plans"]
CATALOGUE: Final = load_all()
RCF: Final = CATALOGUE[DescriptorId("regin/rcf_230")]


def request_of(vector: dict[str, Any]) -> Request:
    asked = vector["request"]
    if "words" in asked:
        words = tuple(asked["words"])
        return WriteWords(asked["table"], asked["start"], words, multiple=asked.get("multiple", False))
    return Read(asked["table"], asked["start"], asked["count"])


@pytest.mark.parametrize("vector", FRAMES["frames"], ids=lambda vector: vector["name"])
def test_requests_and_replies_are_the_specifications(vector: dict[str, Any]) -> None:
    request, reply_pdu = request_of(vector), bytes.fromhex(vector["reply_pdu"])
    pdu = frames.encode_request(request)
    assert pdu.hex() == vector["request_pdu"]
    assert frames.decode_request(pdu) == request
    reply = frames.decode_reply(request, reply_pdu)
    if "refused" in vector:
        assert reply == Refused(vector["refused"])
    elif "words" in vector:
        assert reply == Words(tuple(vector["words"]))
    else:
        assert reply == Written()
    assert frames.encode_reply(pdu, reply) == reply_pdu


@pytest.mark.parametrize("vector", FRAMES["adus"], ids=lambda vector: vector["name"])
def test_frames_are_the_specifications(vector: dict[str, Any]) -> None:
    frame = Frame(vector["transaction"], vector["unit"], bytes.fromhex(vector["pdu"]))
    assert frames.encode_frame(frame).hex() == vector["adu"]
    assert FrameReader().receive_data(bytes.fromhex(vector["adu"])) == [frame]


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("vector", FRAMES["malformed_replies"], ids=lambda vector: vector["name"])
def test_a_malformed_reply_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(PeerProtocolError):
        frames.decode_reply(request_of(vector), bytes.fromhex(vector["reply_pdu"]))


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("vector", FRAMES["broken_streams"], ids=lambda vector: vector["name"])
def test_a_stream_that_is_no_modbus_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(PeerProtocolError):
        FrameReader().receive_data(bytes.fromhex(vector["bytes"]))


FRAME: Final = st.builds(
    Frame, st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.binary(min_size=1, max_size=frames.PDU_BYTES_MAX)
)


@given(sent=st.lists(FRAME, max_size=5), cuts=st.lists(st.integers(1, 40), max_size=40))
def test_frames_split_anywhere_come_out_whole_and_in_order(sent: list[Frame], cuts: list[int]) -> None:
    data, reader, got = b"".join(frames.encode_frame(each) for each in sent), FrameReader(), []
    for cut in [*cuts, len(data)]:
        got += reader.receive_data(data[:cut])
        data = data[cut:]
    assert got == sent


@pytest.mark.guarantee("G19")
@given(data=st.binary(max_size=600))
def test_noise_on_the_stream_raises_nothing_but_a_peer_error(data: bytes) -> None:
    reader = FrameReader()
    try:
        for frame in reader.receive_data(data):
            asked = frames.decode_request(frame.pdu)
            assert isinstance(asked, Read | WriteWords | Refused)
            frames.decode_reply(Read("holding", 0, 3), frame.pdu)
    except PeerProtocolError:
        pass


# --- the planner --------------------------------------------------------------------------------------------


def point_of(table: str, register: int, words: int) -> Point:
    bits = table in ("coil", "discrete")
    kind = {"type": "bool"} if bits else {"type": "uint32" if words == 2 else "uint16"}
    return msgspec.convert(
        {
            "capability": "electrical_measurement",
            "attribute": "active_power",
            "table": table,
            "register": register,
            **kind,
        },
        Point,
    )


@pytest.mark.parametrize("vector", PLANS, ids=lambda vector: vector["name"])
def test_the_plan_is_the_vectors(vector: dict[str, Any]) -> None:
    limits = Limits(
        vector["block_most"], vector["gap_most"], frozenset(unreadable_register(each) for each in vector["unreadable"])
    )
    blocks = plan([point_of(*each) for each in vector["points"]], limits)
    assert [[each.read.table, each.read.start, each.read.count] for each in blocks] == vector["blocks"]


PLACES: Final = st.lists(
    st.tuples(st.sampled_from(["holding", "input"]), st.integers(0, 60), st.sampled_from([1, 2])),
    min_size=1, max_size=14, unique_by=lambda each: each[:2],
)  # fmt: skip


@given(places=PLACES, block_most=st.integers(2, 20), gap_most=st.integers(0, 6), holes=st.sets(st.integers(0, 60)))
def test_a_plan_reads_every_point_whole_once_within_the_limits(
    places: list[tuple[str, int, int]], block_most: int, gap_most: int, holes: set[int]
) -> None:
    wanted = {(table, start + each) for table, start, words in places for each in range(words)}
    unreadable = frozenset(("holding", each) for each in holes) - wanted
    points = [point_of(*each) for each in places]
    blocks = plan(points, Limits(block_most, gap_most, unreadable))  # type: ignore[arg-type]  # a stand-in, or hostile on purpose
    assert sorted(map(id, (point for block in blocks for point in block.points))) == sorted(map(id, points))
    for block in blocks:
        covered = [(block.read.table, block.read.start + each) for each in range(block.read.count)]
        assert block.read.count <= block_most
        assert not unreadable & set(covered)
        assert covered[0] in wanted
        assert covered[-1] in wanted
        held = [index for index, each in enumerate(covered) if each in wanted]
        assert all(after - before - 1 <= gap_most for before, after in pairwise(held))
        for point in block.points:
            assert {(point.table, (point.register or 0) + each) for each in range(point.words)} <= set(covered)


@given(places=PLACES, block_most=st.integers(2, 12), gap_most=st.integers(0, 4))
def test_no_plan_has_fewer_reads(places: list[tuple[str, int, int]], block_most: int, gap_most: int) -> None:
    """Against the best there is, by dynamic programming over the sorted points of each table."""
    limits = Limits(block_most, gap_most)
    best = 0
    for table in ("holding", "input"):
        mine = sorted((start, start + words) for where, start, words in places if where == table)
        fewest = [0] + [10_000] * len(mine)
        for last in range(1, len(mine) + 1):
            for first in range(1, last + 1):
                part = mine[first - 1 : last]
                reach, whole = part[0][1], True
                for start, end in part[1:]:
                    whole = whole and start - reach <= gap_most
                    reach = max(reach, end)
                if whole and reach - part[0][0] <= block_most:
                    fewest[last] = min(fewest[last], fewest[first - 1] + 1)
        best += fewest[-1]
    assert len(plan([point_of(*each) for each in places], limits)) == best


@pytest.mark.parametrize("descriptor", [d for d in CATALOGUE.values() if isinstance(d.wire, ModbusWire)], ids=str)
def test_every_point_of_a_model_is_read_at_least_as_often_as_it_asks(descriptor: Any) -> None:
    due = plan_by_interval(descriptor)
    found = {id(point): every for every, blocks in due.items() for block in blocks for point in block.points}
    assert set(found) == {id(point) for point in descriptor.points}
    assert all(found[id(point)] <= read_planner.interval_ms(point) for point in descriptor.points)


# --- pymodbus as the oracle ---------------------------------------------------------------------------------


async def test_pymodbus_reads_and_writes_our_emulator() -> None:
    unit = EmulatedUnit(build(DeviceId("t"), RoomId("101"), RCF, lambda _: None))
    server = ModbusServer({7: unit}, Misbehaviour(GOOD, SeededDice(1)), ManualClock())
    await server.start("127.0.0.1", 0)
    client = AsyncModbusTcpClient("127.0.0.1", port=server.port)
    try:
        assert await client.connect()
        room = await client.read_input_registers(11, count=1, device_id=7)
        assert room.registers == [205]
        window = await client.read_discrete_inputs(13, count=1, device_id=7)
        assert window.bits[0] is False
        await client.write_register(284, 235, device_id=7)
        again = await client.read_holding_registers(284, count=1, device_id=7)
        assert again.registers == [235]
        refused = await client.read_holding_registers(9_000, count=1, device_id=7)
        assert refused.isError()
        assert refused.exception_code == frames.ExceptionCode.ILLEGAL_DATA_ADDRESS
        beyond = await client.write_register(5, 77, device_id=7)
        assert beyond.exception_code == frames.ExceptionCode.ILLEGAL_DATA_VALUE
        await client.write_registers(13, [1, 1], device_id=7)
        assert unit.registers()["holding:14"] == 1
    finally:
        client.close()
        await server.stop()


async def test_our_link_reads_and_writes_pymodbus() -> None:
    data = SimData(0, count=50, values=[*range(100, 150)], datatype=DataType.UINT16)
    server: Any = ModbusTcpServer(SimDevice(3, [data]), address=("127.0.0.1", 0))  # its types know no port 0
    serving = asyncio.create_task(server.serve_forever())
    try:
        async with asyncio.timeout(20):
            while server.transport is None:
                await asyncio.sleep(0.01)
        port = server.transport.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        counts: Counter[str] = Counter()
        clock = ManualClock()
        link = ModbusLink(reader, writer, counts, Complaints(BusId("b"), counts, clock), clock)
        listening = asyncio.create_task(link.listen())
        assert await link.ask(3, Read("holding", 4, 3), wait_ms=20_000) == Words((104, 105, 106))
        assert await link.ask(3, WriteWords("holding", 4, (7,)), wait_ms=20_000) == Written()
        assert await link.ask(3, WriteWords("holding", 5, (8, 9)), wait_ms=20_000) == Written()
        assert await link.ask(3, Read("holding", 4, 3), wait_ms=20_000) == Words((7, 8, 9))
        assert isinstance(await link.ask(3, Read("holding", 4_000, 1), wait_ms=20_000), Refused)
        await link.close()
        await listening
    finally:
        await server.shutdown()
        await asyncio.gather(serving, return_exceptions=True)
