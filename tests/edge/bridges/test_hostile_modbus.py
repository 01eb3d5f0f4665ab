"""A gateway behind which one unit answers nonsense of every kind: it is told and set apart, its neighbour is heard."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bridges.assembly import Devices, build
from edge.bridges.ports import DeviceEvent
from edge.bridges.settings import BridgesSettings
from firmware_bridges.field_emulator.modbus_server import EmulatedUnit
from firmware_bridges.field_emulator.physics import build as emulated
from kit.clock import SystemClock
from kit.dice import SeededDice
from protocols.device_model.capability import Capability
from protocols.device_model.command import Command, Phase
from protocols.device_model.identity import DeviceId, RoomId
from protocols.device_model.site_plan import ModbusTcpBus
from protocols.errors import PeerProtocolError
from protocols.modbus.frames import (
    Frame,
    FrameReader,
    Read,
    Refused,
    WriteWords,
    decode_reply,
    decode_request,
    encode_frame,
    encode_reply,
)
from tests.edge.bridges.field import CATALOGUE, THERMOSTAT, Heard, plan

BAD_UNIT: Final = 1
SETPOINT: Final = "occupied_heating_setpoint"
Answer = Callable[[Frame, bytes], bytes]
"""Makes what the bad unit sends of the question and of what would have been right."""


def _frame(asked: Frame, pdu: bytes, *, unit: int | None = None, transaction: int | None = None) -> bytes:
    its_transaction = asked.transaction if transaction is None else transaction
    return encode_frame(Frame(its_transaction, asked.unit if unit is None else unit, pdu or b"\x00"))


def _head(asked: Frame, protocol: int, length: int) -> bytes:
    return struct.pack(">HHHB", asked.transaction, protocol, length, asked.unit)


ANSWERS: Final[dict[str, Answer]] = {
    "another unit's id": lambda asked, right: _frame(asked, right, unit=77),
    "the neighbour's id": lambda asked, right: _frame(asked, right, unit=2),
    "another transaction": lambda asked, right: _frame(asked, right, transaction=asked.transaction ^ 0x8000),
    "another function": lambda asked, right: _frame(asked, bytes((right[0] ^ 1,)) + right[1:]),
    "a byte too few": lambda asked, right: _frame(asked, right[:-1]),
    "a byte too many": lambda asked, right: _frame(asked, right + b"\x00"),
    "a lying byte count": lambda asked, right: _frame(asked, right[:1] + b"\xff" + right[2:]),
    "the function alone": lambda asked, right: _frame(asked, right[:1]),
    "an exception of no code": lambda asked, right: _frame(asked, bytes((right[0] | 0x80,))),
    "exception 0": lambda asked, right: _frame(asked, bytes((right[0] | 0x80, 0))),
    "exception 4": lambda asked, right: _frame(asked, bytes((right[0] | 0x80, 4))),
    "exception 5": lambda asked, right: _frame(asked, bytes((right[0] | 0x80, 5))),
    "exception 6": lambda asked, right: _frame(asked, bytes((right[0] | 0x80, 6))),
    "exception 11": lambda asked, right: _frame(asked, bytes((right[0] | 0x80, 11))),
    "exception 255": lambda asked, right: _frame(asked, bytes((right[0] | 0x80, 255))),
    "all ones": lambda asked, right: _frame(asked, right[:2] + b"\xff" * (len(right) - 2)),
    "another protocol": lambda asked, right: _head(asked, 7, len(right) + 1) + right,
    "a length of nothing": lambda asked, right: _head(asked, 0, 0),
    "a length without end": lambda asked, right: _head(asked, 0, 0xFFFF) + right,
    "plain text": lambda asked, right: b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a flood": lambda asked, right: _frame(asked, right, transaction=0xFFFF) * 2_000,
    "nothing": lambda asked, right: b"",
}


@dataclass
class Gateway:
    heard: Heard
    devices: Devices
    counts: Callable[[str], int]
    clock: SystemClock

    def command(self, device: str, value: float) -> Command:
        name = f"{device}-{value}"
        deadline_ms = self.clock.wall_ms() + 3_000
        return Command(name, DeviceId(device), Capability.THERMOSTAT, SETPOINT, value, deadline_ms, name)

    async def neighbour_is_heard_again(self) -> None:
        """The good unit goes on answering while the other misbehaves."""
        before = self.counts("requests")
        await self.heard.until(lambda: any(each.device == "thermostat-2" for each in self.heard.readings))
        outcome = await self.devices.write(self.command("thermostat-2", 22.0))
        assert (outcome.phase, outcome.read_back) == (Phase.DONE, 22.0), outcome
        assert self.counts("requests") > before


@contextlib.asynccontextmanager
async def gateway(answer: Answer | None, *, hang_up: bool = False) -> AsyncIterator[Gateway]:
    made = plan([THERMOSTAT, THERMOSTAT])
    [bus] = made.buses
    assert isinstance(bus, ModbusTcpBus)
    units = {
        number: EmulatedUnit(
            emulated(DeviceId(f"thermostat-{number}"), RoomId("101"), CATALOGUE[THERMOSTAT], lambda _: None)
        )
        for number in (1, 2)
    }

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = FrameReader()
        with contextlib.suppress(OSError):
            while data := await reader.read(4_096):
                for asked in frames.receive_data(data):
                    request = decode_request(asked.pdu)
                    assert isinstance(request, Read | WriteWords)
                    right = encode_reply(asked.pdu, units[asked.unit].answer(request, at_ms=0))
                    if asked.unit == BAD_UNIT and hang_up:
                        writer.transport.abort()
                        return
                    bad = asked.unit == BAD_UNIT and answer is not None
                    writer.write(answer(asked, right) if bad and answer is not None else _frame(asked, right))
        writer.close()

    server = await asyncio.start_server(serve, bus.host, bus.port)
    heard, clock = Heard(), SystemClock("host")
    [supervisor] = build(
        made, CATALOGUE, clock, SeededDice(1), heard, BridgesSettings(), lambda _: pytest.fail("there is no such bus")
    )
    running = asyncio.create_task(supervisor.run())
    try:
        yield Gateway(heard, Devices(made, [supervisor]), lambda word: supervisor.counts.get(word, 0), clock)
        assert not running.done(), running
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        server.close()


TOLD_AS_BAD: Final = {"exception 0", "exception 4", "exception 255", "all ones"}
PATIENT: Final = {"exception 5", "exception 6"}


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("what", ANSWERS, ids=str)
async def test_one_units_nonsense_costs_the_other_nothing(what: str) -> None:
    async with gateway(ANSWERS[what]) as it:
        await it.neighbour_is_heard_again()
        if what in TOLD_AS_BAD:
            told = it.heard.told("thermostat-1", DeviceEvent.UNKNOWN_DEVICE)
        elif what in PATIENT:
            return  # it says "not now": it is asked again, and nothing else is known of it
        else:
            told = it.heard.told("thermostat-1", DeviceEvent.QUARANTINED)
        await it.heard.until(told)
        assert not it.heard.told("thermostat-2", DeviceEvent.QUARANTINED)()
        await it.devices.write(it.command("thermostat-2", 21.0))
        outcome = await it.devices.write(it.command("thermostat-1", 21.0))
        assert outcome.phase in (Phase.FAILED, Phase.UNKNOWN, Phase.EXPIRED), outcome


@pytest.mark.guarantee("G19")
async def test_a_unit_at_whose_question_the_gateway_hangs_up_is_quarantined_and_the_bus_goes_on() -> None:
    async with gateway(None, hang_up=True) as it:
        await it.heard.until(it.heard.told("thermostat-1", DeviceEvent.QUARANTINED))
        await it.neighbour_is_heard_again()


@pytest.mark.guarantee("G19")
@given(
    pdu=st.binary(max_size=260),
    request_=st.builds(
        Read,
        table=st.sampled_from(["coil", "discrete", "input", "holding"]),
        start=st.integers(0, 60_000),
        count=st.integers(1, 125),
    ),
)
def test_noise_for_an_answer_is_an_answer_or_a_peers_error(pdu: bytes, request_: Read) -> None:
    with contextlib.suppress(PeerProtocolError):
        reply = decode_reply(request_, pdu)
        assert isinstance(reply, Refused) or len(getattr(reply, "words", ())) == request_.count


@pytest.mark.guarantee("G19")
@given(data=st.lists(st.binary(max_size=300), max_size=8))
def test_noise_for_a_stream_is_frames_or_a_peers_error_and_is_not_hoarded(data: list[bytes]) -> None:
    frames = FrameReader()
    with contextlib.suppress(PeerProtocolError):
        for piece in data:
            frames.receive_data(piece)
            assert len(frames._inbox) <= 260


@pytest.mark.guarantee("G19")
@given(pdu=st.binary(max_size=260))
def test_noise_for_a_request_is_refused_as_the_specification_says(pdu: bytes) -> None:
    assert isinstance(decode_request(pdu), Read | WriteWords | Refused)
