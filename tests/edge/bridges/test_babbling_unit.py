"""A unit that babbles a thousand frames a second: its neighbours lose nothing, and the processor is not its own.

On virtual time: what is counted are answers, requests and frames, never how long something took here.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import pytest

from edge.bridges.assembly import build
from edge.bridges.complaints import Complaints
from edge.bridges.modbus import ways
from edge.bridges.modbus.link import ModbusLink
from edge.bridges.modbus.pace import BURST_MS, FRAMES_BYTES_A_SECOND, LINE_BYTES_A_SECOND, Pace
from edge.bridges.modbus.ports import Dial
from edge.bridges.modbus.rtu_link import RtuLink
from edge.bridges.ports import DeviceEvent
from edge.bridges.settings import BridgesSettings
from firmware_bridges.field_emulator.modbus_server import EmulatedUnit
from firmware_bridges.field_emulator.physics import build as emulated
from kit.simulation import SimClock, SimLoop, run_simulated
from protocols.device_model.identity import BusId, DeviceId, RoomId
from protocols.device_model.site_plan import SitePlan
from protocols.modbus.frames import (
    Frame,
    FrameReader,
    Read,
    WriteWords,
    decode_request,
    encode_frame,
    encode_reply,
)
from protocols.modbus.rtu import encode_adu
from tests.edge.bridges.field import CATALOGUE, THERMOSTAT, Heard, plan

UNITS: Final = 20
BABBLER: Final = 7
A_SECOND: Final = 1_000
SECONDS: Final = 60


class Gateway:
    """A gateway in memory: answers what it is asked at once, and lets one unit babble beside it."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop
        self.reader = asyncio.StreamReader(limit=1 << 26)
        self.asked: Counter[int] = Counter()
        self.last: Frame = Frame(0, 1, b"\x03\x02\x00\x00")
        self._frames = FrameReader()
        made = CATALOGUE[THERMOSTAT]
        self._units = {
            number: EmulatedUnit(emulated(DeviceId(f"thermostat-{number}"), RoomId("101"), made, lambda _: None))
            for number in range(1, UNITS + 1)
        }

    def write(self, data: bytes) -> None:
        for asked in self._frames.receive_data(data):
            self.asked[asked.unit] += 1
            request = decode_request(asked.pdu)
            assert isinstance(request, Read | WriteWords)
            right = encode_reply(asked.pdu, self._units[asked.unit].answer(request, at_ms=0))
            self.last = Frame(asked.transaction, asked.unit, right)
            self._loop.call_later(0.01, self._say, encode_frame(self.last))

    def _say(self, data: bytes) -> None:
        self.reader.feed_data(data)

    async def babble(self, says: Callable[["Gateway"], bytes]) -> None:
        while True:
            for _ in range(A_SECOND // 100):
                self._say(says(self))
            await asyncio.sleep(0.01)

    def is_closing(self) -> bool:
        return False

    async def drain(self) -> None:
        pass

    def close(self) -> None:
        self.reader.feed_eof()

    async def wait_closed(self) -> None:
        pass


def _numbers() -> Iterator[int]:
    return itertools.cycle(range(0x1_0000))


NUMBERS: Final = _numbers()
BABBLE: Final[dict[str, Callable[[Gateway], bytes]]] = {
    "nothing": lambda _: b"",
    "any transaction": lambda _: encode_frame(Frame(next(NUMBERS), BABBLER, b"\x03\x02\x00\x01")),
    "the last answer again": lambda it: encode_frame(it.last),
    "the next question's number": lambda it: encode_frame(
        Frame((it.last.transaction + 1) & 0xFFFF, BABBLER, b"\x03\x02\xff\xff")
    ),
    "exceptions": lambda _: encode_frame(Frame(next(NUMBERS), BABBLER, b"\x83\x04")),
    "the longest": lambda _: encode_frame(Frame(next(NUMBERS), BABBLER, b"\x03\xfa" + b"\x00" * 250)),
}


async def _minute(
    loop: SimLoop, made: SitePlan, monkeypatch: pytest.MonkeyPatch, says: Callable[[Gateway], bytes]
) -> tuple[Gateway, Heard, Counter[str]]:
    it, heard, clock = Gateway(loop), Heard(), SimClock(loop)

    def dial(*_: Any) -> Dial:
        async def dialled(counts: Counter[str], complaints: Complaints) -> ModbusLink:
            await asyncio.sleep(0)
            return ModbusLink(it.reader, cast("asyncio.StreamWriter", it), counts, complaints, clock)

        return dialled

    monkeypatch.setattr(ways, "_tcp", dial)
    [supervisor] = build(
        made, CATALOGUE, clock, loop.dice("bus"), heard, BridgesSettings(), lambda _: pytest.fail("no such bus")
    )
    tasks = [asyncio.create_task(supervisor.run()), asyncio.create_task(it.babble(says))]
    await asyncio.sleep(SECONDS)
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return it, heard, Counter(supervisor.counts)


@pytest.mark.requirement("DEV-03")
@pytest.mark.parametrize("what", [each for each in BABBLE if each != "nothing"])
def test_the_neighbours_of_a_babbler_lose_nothing(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan([THERMOSTAT] * UNITS)
    quiet, _, calm = run_simulated(lambda loop: _minute(loop, made, monkeypatch, BABBLE["nothing"]), 1, 120).value
    it, heard, counts = run_simulated(lambda loop: _minute(loop, made, monkeypatch, BABBLE[what]), 1, 120).value
    others = set(range(1, UNITS + 1)) - {BABBLER}
    assert {unit: it.asked[unit] for unit in others} == {unit: quiet.asked[unit] for unit in others}
    assert not [each for each in heard.events if each[1] is not DeviceEvent.ONLINE]
    assert {each.device for each in heard.readings} >= {f"thermostat-{unit}" for unit in others}
    assert counts["timeouts"] == calm["timeouts"] == 0
    unasked = counts["late_answers"] + counts["answers_of_another_unit"]
    assert unasked >= 0.99 * A_SECOND * SECONDS, "every frame of it was taken, and dropped"
    assert counts["babble_pauses"] == 0
    assert counts["readings"] <= calm["readings"], "and nothing of it is told"


def test_a_flood_is_left_with_who_floods() -> None:
    """However much comes, so much of it is read a second; the rest waits in the line, and holds back its sender."""
    frame = encode_frame(Frame(9, BABBLER, b"\x03\x02\x00\x01"))

    async def flooded(loop: SimLoop) -> list[int]:
        reader, counts, clock = asyncio.StreamReader(limit=1 << 26), Counter[str](), SimClock(loop)
        gateway = cast("asyncio.StreamWriter", Gateway(loop))
        link = ModbusLink(reader, gateway, counts, Complaints(BusId("b"), counts, clock), clock)
        reader.feed_data(frame * 1_000_000)
        listening = asyncio.create_task(link.listen())
        taken = []
        for _ in range(5):
            await asyncio.sleep(1)
            taken.append(counts["late_answers"])
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        return taken

    taken = run_simulated(flooded, 1, 60).value
    a_second = FRAMES_BYTES_A_SECOND // len(frame)
    assert taken[0] <= (1 + BURST_MS / 1000) * a_second + 1_000
    assert all(after - before <= a_second + 1_000 for before, after in itertools.pairwise(taken))
    assert taken[-1] >= 4 * a_second, "and it is not left unread for ever"


class _Noise:
    """A line over which noise comes as fast as it is read."""

    def __init__(self, noise: bytes) -> None:
        self._noise = noise
        self.read_bytes = 0

    async def read(self) -> bytes:
        await asyncio.sleep(0)
        self.read_bytes += len(self._noise)
        return self._noise

    async def write(self, data: bytes) -> None:
        pass

    def forget_input(self) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("asked", [False, True])
def test_a_line_full_of_noise_is_read_at_a_pace(asked: bool) -> None:
    async def noisy(loop: SimLoop) -> int:
        line = _Noise(encode_adu(BABBLER, b"\x03\x02\x00\x01") * 50)
        counts, clock = Counter[str](), SimClock(loop)
        link = RtuLink(line, baud=None, clock=clock, counts=counts, complaints=Complaints(BusId("b"), counts, clock))
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(link.listen())]
        if asked:
            tasks.append(asyncio.create_task(link.ask(1, Read("holding", 0, 1), wait_ms=60_000)))
        await asyncio.sleep(10)
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return line.read_bytes

    read_bytes = run_simulated(noisy, 1, 60).value
    assert read_bytes <= 11 * LINE_BYTES_A_SECOND + 4_096


def test_a_pace_forgives_a_burst_and_then_asks_for_its_time() -> None:
    pace = Pace(1_000)
    assert pace.owes_ms(1_000, now_ms=50_000) == 0
    assert pace.owes_ms(500, now_ms=50_000) == 500
    assert pace.owes_ms(0, now_ms=50_000) == 0
    assert pace.owes_ms(1, now_ms=52_000) == 0
