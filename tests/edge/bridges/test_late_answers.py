"""A kiosk peripheral whose answer comes later than anybody waits: in the place of the next one, and not believed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest

from edge.bridges.peripherals.supervisor import PeripheralSupervisor
from kit.clock import SystemClock
from kit.dice import SeededDice
from protocols.device_model.capability import Capability
from protocols.device_model.command import Phase
from protocols.device_model.identity import BusId
from protocols.device_model.site_plan import RawTcpBus
from protocols.peripherals import card_dispenser, escpos
from protocols.peripherals.conversation import Order
from tests.edge.bridges.field import Heard
from tests.edge.bridges.test_firmwares import IT
from tests.edge.bridges.test_kiosk import quick

F, B = Capability.FAULT_STATE, Capability.BOOLEAN_STATE
WAIT_MS: Final = 200
STALE, NOW = True, False
ACK: Final = bytes((card_dispenser.ACK,))


class Printer:
    """Answers each question; the first one only when the second has come, and both then."""

    def __init__(self) -> None:
        self.questions = 0

    def heard(self, data: bytes) -> list[bytes]:
        said = b""
        for number in data.replace(escpos.DLE_EOT, b""):
            self.questions += 1
            if self.questions == 1:
                continue
            if self.questions == 2:
                said += escpos.status({"offline": STALE}, 1)
            said += escpos.status({"offline": NOW}, number)
        return [said]


class Dispenser:
    """As `Printer`: what it says late is that a card was taken and its hopper is empty; it wakes to the second question
    only when it has said so.
    """

    def __init__(self) -> None:
        self.questions, self.given, self._inbox, self._command = 0, 0, b"", b""

    def heard(self, data: bytes) -> list[bytes]:
        said, self._inbox = [b""], self._inbox + data
        while self._inbox:
            if self._inbox[0] == card_dispenser.ENQ:
                self._inbox = self._inbox[1:]
                said[-1] += self._flags()
                if self.questions == 2:
                    said.append(ACK)  # to the second question, whose answer nobody asks for any more
                continue
            if len(self._inbox) < 5:
                break
            self._command, self._inbox = self._inbox[1:3], self._inbox[5:]
            self.given += self._command == card_dispenser.DISPENSE
            self.questions += self._command != card_dispenser.DISPENSE
            said[-1] += b"" if self.questions == 1 else ACK
        return said

    def _flags(self) -> bytes:
        if self._command == card_dispenser.DISPENSE:
            return b""
        late = {"ready": True, "hopper_empty": STALE, "taken_away": True}
        now = {"ready": True, "card_at_mouth": self.given > 0}
        return card_dispenser.flags_answer(late if self.questions == 2 else now, self._command)


@asynccontextmanager
async def served(model: str, thing: Printer | Dispenser) -> AsyncIterator[tuple[PeripheralSupervisor, Heard]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(64):
            first, *later = thing.heard(data)
            writer.write(first)
            for each in later:
                answers = supervisor.counts["answers"]
                while supervisor.counts["answers"] == answers:  # what it says first is heard first
                    await asyncio.sleep(0)
                writer.write(each)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    bus = RawTcpBus(BusId("kiosk"), "127.0.0.1", server.sockets[0].getsockname()[1])
    heard = Heard()
    supervisor = PeripheralSupervisor(
        bus, IT, quick(model, WAIT_MS), clock=SystemClock("host"), dice=SeededDice(1), sink=heard
    )
    running = asyncio.create_task(supervisor.run())
    try:
        yield supervisor, heard
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()
        await server.wait_closed()


@pytest.mark.guarantee("G13")
@pytest.mark.requirement("DEV-11")
@pytest.mark.parametrize(
    ("model", "make", "attribute"),
    [("epson/tm_t88vi", Printer, "active:offline"), ("quio/qu_cd_720m", Dispenser, "active:stack_empty")],
)
async def test_an_answer_of_before_is_told_as_nothing(
    model: str, make: Callable[[], Printer | Dispenser], attribute: str
) -> None:
    thing = make()
    async with served(model, thing) as (supervisor, heard):
        await heard.until(heard.says(IT, F, attribute, NOW))
        assert supervisor.counts["unanswered"] >= 2  # the question without an answer, and the one that got two
        assert thing.questions >= 3
        assert not [each for each in heard.readings if each.attribute == attribute and each.value is STALE]


@pytest.mark.guarantee("G13")
@pytest.mark.requirement("DEV-11")
async def test_a_card_that_was_taken_before_is_not_the_one_that_was_ordered() -> None:
    thing = Dispenser()
    async with served("quio/qu_cd_720m", thing) as (supervisor, _):
        now_ms = SystemClock("host").wall_ms()
        outcome = await supervisor.order(Order("0000"), deadline_ms=now_ms + 60_000)
        assert (outcome.phase, thing.given) == (Phase.DONE, 1)
