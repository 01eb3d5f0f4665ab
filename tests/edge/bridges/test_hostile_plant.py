"""An OPC UA server whose bytes do not decode, or that answers another number of questions: a lost session, no crash."""

import asyncio
import contextlib
import struct
from collections.abc import Callable
from typing import Any, Final

import pytest
from asyncua import ua

from edge.bridges.opcua import supervisor as opcua
from edge.bridges.opcua.security import OpcUaSecurity
from edge.bridges.opcua.supervisor import OpcUaSupervisor
from edge.bridges.ports import DeviceEvent
from edge.bridges.settings import OpcUaSettings
from kit.clock import SystemClock
from kit.dice import SeededDice
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
