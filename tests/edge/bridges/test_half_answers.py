"""A unit behind a gateway that says half an answer and then nothing: its neighbours lose nothing, and no value is made
of its half and their bytes.

On virtual time: what is counted are answers, requests and readings, never how long something took here.
"""

import asyncio
import contextlib
from collections import Counter
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bridges.assembly import build
from edge.bridges.complaints import Complaints
from edge.bridges.modbus import ways
from edge.bridges.modbus.link import ModbusLink
from edge.bridges.modbus.ports import Dial
from edge.bridges.ports import DeviceEvent
from edge.bridges.settings import BridgesSettings
from kit.simulation import SimClock, SimLoop, run_simulated
from protocols.device_model.identity import BusId
from protocols.device_model.site_plan import SitePlan
from protocols.errors import PeerProtocolError, ReplyTimeoutError
from protocols.modbus.frames import (
    Frame,
    FrameReader,
    Read,
    Words,
    WriteWords,
    decode_request,
    encode_frame,
    encode_reply,
)
from tests.edge.bridges.field import CATALOGUE as MODELS
from tests.edge.bridges.field import THERMOSTAT, Heard, plan
from tests.edge.bridges.test_babbling_unit import BABBLER, SECONDS, UNITS, Gateway

HALVER: Final = BABBLER
CUTS: Final = (1, 2, 6, 7, 8, 9, 10, -2, -1)


class HalfGateway(Gateway):
    """Answers as the other does; of one unit's answers it lets only so many bytes pass."""

    def __init__(self, loop: SimLoop, cut: int | None) -> None:
        super().__init__(loop)
        self._cut = cut
        self.connections = 0

    def write(self, data: bytes) -> None:
        for asked in self._frames.receive_data(data):
            self.asked[asked.unit] += 1
            request = decode_request(asked.pdu)
            assert isinstance(request, Read | WriteWords)
            right = encode_reply(asked.pdu, self._units[asked.unit].answer(request, at_ms=0))
            whole = encode_frame(Frame(asked.transaction, asked.unit, right))
            self._loop.call_later(0.01, self._say, whole[: self._cut] if asked.unit == HALVER else whole)


async def _minute(
    loop: SimLoop, made: SitePlan, monkeypatch: pytest.MonkeyPatch, cut: int | None
) -> tuple[HalfGateway, Heard, Counter[str]]:
    it, heard, clock = HalfGateway(loop, cut), Heard(), SimClock(loop)

    def dial(*_: Any) -> Dial:
        async def dialled(counts: Counter[str], complaints: Complaints) -> ModbusLink:
            await asyncio.sleep(0)
            it.connections += 1
            if it.connections > 1:
                it.reader = asyncio.StreamReader(limit=1 << 26)
            return ModbusLink(it.reader, cast("asyncio.StreamWriter", it), counts, complaints, clock)

        return dialled

    monkeypatch.setattr(ways, "_tcp", dial)
    [supervisor] = build(
        made, MODELS, clock, loop.dice("bus"), heard, BridgesSettings(), lambda _: pytest.fail("no such bus")
    )
    task = asyncio.create_task(supervisor.run())
    await asyncio.sleep(SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return it, heard, Counter(supervisor.counts)


@pytest.mark.guarantee("G19")
@pytest.mark.requirement("DEV-03")
@pytest.mark.parametrize("cut", CUTS)
def test_the_neighbours_of_a_unit_that_says_half_lose_nothing(cut: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan([THERMOSTAT] * UNITS)
    quiet, _, _ = run_simulated(lambda loop: _minute(loop, made, monkeypatch, None), 1, 120).value
    it, heard, counts = run_simulated(lambda loop: _minute(loop, made, monkeypatch, cut), 1, 120).value
    others = set(range(1, UNITS + 1)) - {HALVER}
    assert {unit: it.asked[unit] for unit in others} == {unit: quiet.asked[unit] for unit in others}
    assert it.connections == 1
    assert not [
        each for each in heard.events if each[0] != f"thermostat-{HALVER}" and each[1] is not DeviceEvent.ONLINE
    ]
    assert heard.told(f"thermostat-{HALVER}", DeviceEvent.QUARANTINED)()
    assert not [each for each in heard.readings if each.device == f"thermostat-{HALVER}" and each.value is not None]
    assert counts["half_answers"] > 0


@pytest.mark.guarantee("G19")
@given(
    cut=st.integers(1, 12), split=st.integers(0, 40), values=st.lists(st.integers(0, 0xFFFF), min_size=2, max_size=2)
)
def test_half_an_answer_before_a_whole_one_takes_nothing_of_it(cut: int, split: int, values: list[int]) -> None:
    """However the two are cut into reads of the socket, the one is heard and the other is none."""
    half_asked, whole_asked = Read("holding", 0, 2), Read("input", 4, 2)

    async def asked(loop: SimLoop) -> tuple[object, object]:
        it, counts, clock = HalfGateway(loop, None), Counter[str](), SimClock(loop)
        said: list[bytes] = []
        it.write = said.append  # type: ignore[method-assign,assignment]  # the test answers itself
        gateway = cast("asyncio.StreamWriter", it)
        link = ModbusLink(it.reader, gateway, counts, Complaints(BusId("b"), counts, clock), clock)
        listening = asyncio.create_task(link.listen())
        halved = asyncio.create_task(link.ask(1, half_asked, wait_ms=1_000))
        whole = asyncio.create_task(link.ask(2, whole_asked, wait_ms=1_000))
        await asyncio.sleep(0.01)
        first, second = (frame for each in said for frame in FrameReader().receive_data(each))
        answers = [
            encode_frame(Frame(each.transaction, each.unit, encode_reply(each.pdu, Words(tuple(values)))))
            for each in (first, second)
        ]
        stream = answers[0][:cut] + answers[1]
        for piece in (stream[:split], stream[split:]):
            if piece:
                it.reader.feed_data(piece)
                await asyncio.sleep(0.01)
        results = await asyncio.gather(halved, whole, return_exceptions=True)
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        return results[0], results[1]

    halved, whole = run_simulated(asked, 1, 60).value
    if cut < split < cut + 9:  # the head of the whole one is torn as well: nobody can say where it begins
        assert whole == Words(tuple(values)) or isinstance(whole, PeerProtocolError | ReplyTimeoutError)
        return
    assert isinstance(halved, PeerProtocolError | ReplyTimeoutError)
    assert whole == Words(tuple(values))
