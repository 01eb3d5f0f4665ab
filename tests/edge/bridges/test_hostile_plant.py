"""An OPC UA server whose bytes do not decode, or that answers another number of questions: a lost session, no crash."""

import asyncio
import contextlib
import struct
from collections.abc import Callable
from typing import Any, Final, cast

import pytest
from asyncua import ua
from asyncua.client.ua_client import UaClient, UASocketProtocol
from hypothesis import given
from hypothesis import strategies as st

from edge.bridges.opcua import supervisor as opcua
from edge.bridges.opcua.bounds import (
    BYTES_A_SECOND,
    CHUNK_COSTS_BYTES,
    CHUNKS_A_TURN,
    MESSAGE_BYTES_MAX,
    BoundedProtocol,
)
from edge.bridges.opcua.security import OpcUaSecurity
from edge.bridges.opcua.supervisor import OpcUaSupervisor
from edge.bridges.ports import DeviceEvent
from edge.bridges.settings import OpcUaSettings
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.simulation import SimClock, SimLoop, run_simulated
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality
from protocols.device_model.site_plan import OpcUaBus
from protocols.opcua.node_map import judge_node
from tests.edge.bridges.field import CATALOGUE, CHILLER, PLANT, Heard

GARBLED: Final = (
    struct.error("unpack requires a buffer of 4 bytes"),
    AssertionError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    KeyError(7),
    TypeError("x"),
    AttributeError("y"),
    OverflowError("z"),
    RecursionError("deep"),
)


class Garbler:
    """Stands for asyncua's client: connects, and fails at the first question as the test says."""

    def __init__(self, answer: Callable[[int], list[Any]]) -> None:
        self._answer = answer
        self.asked = asyncio.Event()
        self.sessions = 0
        self.uaclient = UaClient()

    def __call__(self, url: str, timeout: float) -> "Garbler":
        self.sessions += 1
        return self

    async def connect(self) -> None:
        """Connected."""

    async def disconnect(self) -> None:
        """Gone."""

    def get_node(self, node: str) -> str:
        return node

    async def read_attributes(self, nodes: list[str]) -> list[Any]:
        self.asked.set()
        return self._answer(len(nodes))


def _raise(error: Exception) -> Callable[[int], list[Any]]:
    def answer(_: int) -> list[Any]:
        raise error

    return answer


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "answer",
    [*map(_raise, GARBLED), lambda _: [], lambda wanted: [ua.DataValue(ua.Variant("CH-60"))] * (wanted + 1)],
    ids=[*(type(each).__name__ for each in GARBLED), "none", "one too many"],
)
async def test_what_does_not_decode_ends_the_session_and_not_the_bus(
    answer: Callable[[int], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    garbler = Garbler(answer)
    monkeypatch.setattr(opcua, "Client", garbler)
    heard = Heard()
    supervisor = OpcUaSupervisor(
        OpcUaBus(PLANT, "opc.tcp://127.0.0.1:1/plant"),
        [(DeviceId("chiller"), None, CATALOGUE[CHILLER])],
        clock=SystemClock("host"),
        dice=SeededDice(1),
        sink=heard,
        security=OpcUaSecurity(OpcUaSettings(PLANT, "none")),
    )
    running = asyncio.create_task(supervisor.run())
    try:
        async with asyncio.timeout(20):
            while not supervisor.counts["garbled_answers"]:
                await asyncio.sleep(0)
        assert not running.done(), running
        assert supervisor.counts["garbled_answers"] <= garbler.sessions, "once a session, however many there were"
        assert not heard.told("chiller", DeviceEvent.ONLINE)()
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize(
    "value",
    [
        None,
        "21.5",
        True,
        b"\x00",
        [7.2],
        [],
        ua.LocalizedText("x"),
        ua.NodeId.from_string("i=1"),
        float("nan"),
        1e300,
        -(2**63),
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("status", [0, 0x40900000, 0x808C0000, 0xC0000000, 0xFFFFFFFF])
def test_a_variant_of_the_wrong_type_is_a_bad_reading(value: object, status: int) -> None:
    point = CATALOGUE[CHILLER].points[0]
    judged = judge_node(point, value, status)
    assert (judged.value, judged.quality) == (None, Quality.BAD)
    assert judged.reason
    assert len(judged.reason) <= 120


CHUNK: Final = b"MSGC" + struct.pack("<I", 1_024) + bytes(1_016)
LIES: Final[dict[str, bytes]] = {
    "a chunk of two gigabytes": b"MSGF" + struct.pack("<I", 0x7FFF_FFFF),
    "a chunk shorter than its head": b"MSGF" + struct.pack("<I", 3),
    "a message without end": CHUNK * 64,
}


class Inner:
    """Stands for asyncua's protocol: takes chunks."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""

    def data_received(self, data: bytes) -> None:
        self.chunks.append(data)


class Pipe(asyncio.Transport):
    """A socket that is read when it may be."""

    def __init__(self) -> None:
        self.paused = self.aborted = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


async def _fed(loop: SimLoop, piece: bytes, seconds: float) -> tuple[Inner, Pipe, list[str], int]:
    inner, pipe, said = Inner(), Pipe(), list[str]()
    protocol = BoundedProtocol(cast("UASocketProtocol", inner), SimClock(loop), said.append)
    protocol.connection_made(pipe)
    fed = 0
    while loop.time() < seconds and not pipe.aborted:
        if not pipe.paused:
            protocol.data_received(piece)
            fed += len(piece)
        await asyncio.sleep(0.001)
    return inner, pipe, said, fed


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("what", LIES, ids=str)
def test_a_server_that_says_too_much_loses_its_session_before_it_has_the_memory(what: str) -> None:
    _, pipe, said, fed = run_simulated(lambda loop: _fed(loop, LIES[what], 60), 1, 100).value
    assert pipe.aborted
    assert len(said) == 1
    assert fed <= MESSAGE_BYTES_MAX + 64 * 1_024


@pytest.mark.guarantee("G19")
def test_a_server_that_babbles_is_read_at_a_pace_and_nothing_of_it_is_lost() -> None:
    short = b"MSGF" + struct.pack("<I", 28) + bytes(20)
    inner, pipe, said, fed = run_simulated(lambda loop: _fed(loop, short * 4_000, 10), 1, 100).value
    assert not pipe.aborted
    assert not said
    assert len(inner.chunks) <= 11 * BYTES_A_SECOND // CHUNK_COSTS_BYTES + CHUNKS_A_TURN
    assert len(inner.chunks) >= 9 * BYTES_A_SECOND // CHUNK_COSTS_BYTES, "and it is not left unread for ever"
    assert set(inner.chunks) == {short}
    assert fed - sum(map(len, inner.chunks)) <= 2 * len(short) * 4_000, "what is left unread waits with the server"


@pytest.mark.guarantee("G19")
@given(cuts=st.lists(st.integers(1, 200), max_size=30))
def test_chunks_come_whole_however_they_are_cut(cuts: list[int]) -> None:
    chunks = [b"MSGF" + struct.pack("<I", 8 + size) + bytes([size]) * size for size in (0, 1, 90, 255)]
    stream = b"".join(chunks)

    async def taken(loop: SimLoop) -> list[bytes]:
        inner = Inner()
        protocol = BoundedProtocol(cast("UASocketProtocol", inner), SimClock(loop), pytest.fail)
        protocol.connection_made(Pipe())
        rest = stream
        for cut in [*cuts, len(stream)]:
            protocol.data_received(rest[:cut])
            rest = rest[cut:]
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        return inner.chunks

    assert run_simulated(taken, 1, 10).value == chunks


@pytest.mark.guarantee("G19")
async def test_a_server_that_accepts_and_lies_about_a_length_is_left_and_tried_again() -> None:
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4_096)
        with contextlib.suppress(OSError):
            writer.write(b"ACKF" + struct.pack("<I", 0x7FFF_FFFF))
            while await reader.read(4_096):
                pass
        hung_up.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"opc.tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}/plant"
    supervisor = OpcUaSupervisor(
        OpcUaBus(PLANT, url),
        [(DeviceId("chiller"), None, CATALOGUE[CHILLER])],
        clock=SystemClock("host"),
        dice=SeededDice(1),
        sink=Heard(),
        security=OpcUaSecurity(OpcUaSettings(PLANT, "none")),
    )
    running = asyncio.create_task(supervisor.run())
    try:
        async with asyncio.timeout(20):
            await hung_up.wait()
            while not supervisor.counts.get("connections_lost"):
                await asyncio.sleep(0.01)
        assert supervisor.counts["too_much"] >= 1
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()
