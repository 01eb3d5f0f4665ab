"""What stands in a kiosk, on its real line: a printer, a dispenser, a reader; and all ways in which they disappoint."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import pytest
import structlog

from edge.app.live_buses import LiveBuses
from edge.bridges.peripherals import supervisor as peripherals
from edge.bridges.peripherals.supervisor import PeripheralSupervisor
from edge.bridges.ports import DeviceEvent
from firmware_bridges.catalogue import load_all
from firmware_bridges.field_emulator.misbehaviour import GOOD, Knobs
from protocols.descriptors.descriptor import Descriptor
from protocols.device_model import site_plan
from protocols.device_model.capability import Capability
from protocols.device_model.command import Outcome, Phase
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from protocols.device_model.reading import Quality
from protocols.peripherals.conversation import Order
from tests.edge.bridges.field import Field, field, free_port
from tests.edge.bridges.test_firmwares import IT, one

F, B = Capability.FAULT_STATE, Capability.BOOLEAN_STATE
CATALOGUE: Final = load_all()
ZONE: Final = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10"


PATIENT_MS: Final = 10_000
"""Where every answer comes: however busy this machine is, it is waited for."""


def quick(model: str, wait_ms: int = 100) -> Descriptor:
    """Return a model that is asked without a pause."""
    descriptor = CATALOGUE[DescriptorId(model)]
    wire = msgspec.structs.replace(descriptor.wire, poll_s=0.02, answer_wait_ms=wait_ms)
    return msgspec.structs.replace(descriptor, wire=wire)


@asynccontextmanager
async def kiosk(
    model: str, *, path: Path | None = None, knobs: Knobs = GOOD, wait_ms: int = 100
) -> AsyncIterator[Field]:
    descriptor, bus = quick(model, wait_ms), BusId("kiosk")
    line: site_plan.Bus = (
        site_plan.RawTcpBus(bus, "127.0.0.1", free_port()) if path is None else site_plan.SerialBus(bus, str(path))
    )
    plan = one(descriptor, line, site_plan.Address(bus))
    async with field(plan, catalogue={descriptor.id: descriptor}, knobs=knobs) as it:
        yield it


def said(it: Field, attribute: str) -> Callable[[], bool]:
    """Whether an attribute was ever told as true: the next poll may have taken it back already."""
    return lambda: any(each.attribute == attribute and each.value is True for each in it.heard.readings)


async def put(it: Field, attribute: str, *, value: bool, capability: Capability = F) -> None:
    await it.cause(IT, "set", capability=capability.value, attribute=attribute, value=value)


@pytest.mark.requirement("DEV-11")
async def test_a_printer_out_of_paper_is_told_and_told_again_when_it_has_some() -> None:
    async with kiosk("epson/tm_t88vi") as it:
        await it.heard.until(it.heard.says(IT, F, "active:paper_out", False))
        await it.heard.until(it.heard.told(IT, DeviceEvent.ONLINE))
        for value in (True, False):
            await put(it, "active:paper_out", value=value)
            await it.heard.until(it.heard.says(IT, F, "active:paper_out", value))
        outcome = await it.devices.write(it.command(IT, F, "active:paper_out", False))
        assert outcome.phase is Phase.FAILED


@pytest.mark.requirement("DEV-11")
async def test_a_dispenser_on_a_serial_line_says_jam_and_empty_stack(tmp_path: Path) -> None:
    async with kiosk("quio/qu_cd_720m", path=tmp_path / "ttyS1") as it:
        await it.heard.until(it.heard.says(IT, B, "state_value:ready", True))
        for attribute in ("active:jam", "active:stack_empty"):
            await put(it, attribute, value=True)
            await it.heard.until(it.heard.says(IT, F, attribute, True))


@pytest.mark.requirement("DEV-11")
async def test_a_document_is_taken_once_from_memory_and_is_in_no_reading(tmp_path: Path) -> None:
    async with kiosk("honeywell/ocr_reader", path=tmp_path / "ttyS2") as it:
        [bus] = it.buses
        assert isinstance(bus, PeripheralSupervisor)
        await it.heard.until(it.heard.told(IT, DeviceEvent.ONLINE))
        assert bus.take_document() is None
        await it.emulator.answer("present", {"device": IT, "text": ZONE})
        await it.heard.until(said(it, "state_value:document"))
        await it.heard.until(it.heard.says(IT, B, "state_value:document", False))
        assert bus.take_document() == ZONE
        assert bus.take_document() is None
        await it.emulator.answer("present", {"device": IT, "text": ZONE.replace("7408122", "7408123")})
        await it.heard.until(said(it, "active:misread"))
        assert bus.take_document() is None
        told = repr(it.heard.readings) + repr(it.heard.events) + repr(bus.counts)
        assert "ERIKSSON" not in told


@pytest.mark.guarantee("G19")
@pytest.mark.parametrize("model", ["epson/tm_t88vi", "quio/qu_cd_720m", "honeywell/ocr_reader"])
async def test_one_that_misbehaves_in_every_way_is_still_heard_in_between(model: str, tmp_path: Path) -> None:
    bad = Knobs(answer_ms_most=5, late=0.05, silent=0.1, hang_up=0.05, torn=0.3, twice=0.1, noise=0.1, garbled=0.1)
    path = None if model.startswith("epson") else tmp_path / "ttyS3"
    attributes = {"epson": "active:cover_open", "quio": "active:jam", "honeywell": "active:misread"}
    attribute = attributes[model.partition("/")[0]]
    async with kiosk(model, path=path, knobs=bad) as it:
        await it.heard.until(lambda: it.buses[0].counts.get("answers", 0) >= 8)
        if attribute != "active:misread":
            await put(it, attribute, value=True)
            await it.heard.until(it.heard.says(IT, F, attribute, True))
        # A flipped bit of a status byte is a status too: DLE EOT has no sum. All else is told as what it is.
        assert all(each.quality in (Quality.GOOD, Quality.STALE, Quality.BAD) for each in it.heard.readings)


@pytest.mark.guarantee("G19")
async def test_a_line_that_breaks_in_any_way_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    broken: list[str] = []

    class Broken:
        """A line that is pulled out: a read fails, or a write."""

        def __init__(self, *, reads: bool) -> None:
            self._reads = reads

        async def read(self) -> bytes:
            if self._reads:
                raise OSError(5, "Input/output error")
            await asyncio.sleep(3600)
            return b""

        async def write(self, data: bytes) -> None:
            del data
            if not self._reads:
                raise ConnectionResetError

        async def close(self) -> None:
            broken.append("read" if self._reads else "write")

    async def opens(bus: site_plan.SerialBus | site_plan.RawTcpBus) -> Broken:
        del bus
        return Broken(reads=len(broken) % 2 == 0)

    monkeypatch.setattr("edge.bridges.peripherals.supervisor._open", opens)
    async with kiosk("epson/tm_t88vi") as it:
        await it.heard.until(lambda: len(broken) >= 3)
        assert set(broken) == {"read", "write"}


@pytest.mark.guarantee("G17")
async def test_a_silent_one_goes_off_line_and_comes_back_and_a_babbler_is_not_believed(tmp_path: Path) -> None:
    async with kiosk("quio/qu_cd_720m", path=tmp_path / "ttyS4") as it:
        await it.heard.until(it.heard.says(IT, B, "state_value:ready", True))
        await it.emulator.answer("power", {"device": IT, "on": False})
        await it.heard.until(it.heard.told(IT, DeviceEvent.QUARANTINED))
        last = it.heard.last(IT, B, "state_value:ready")
        assert last is not None
        assert last.quality is Quality.STALE
        line = it.emulator.peripherals[BusId("kiosk")]
        for _ in range(50):
            line.babble(b"\x06\x02PB???\x03\x00" * 20)
            await asyncio.sleep(0)
        await it.emulator.answer("power", {"device": IT, "on": True})
        await it.heard.until(it.heard.says(IT, B, "state_value:ready", True))
        assert not [each for each in it.heard.readings if each.attribute == "active:jam" and each.value is True]


def supervisor(it: Field) -> PeripheralSupervisor:
    [bus] = it.buses
    assert isinstance(bus, PeripheralSupervisor)
    return bus


async def ordered(it: Field, *, text: str | None = None, mark: str = "0001", within_ms: int = 60_000) -> Outcome:
    return await supervisor(it).order(Order(mark, text), deadline_ms=it.clock.wall_ms() + within_ms)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for orders no longer than a test may."""
    monkeypatch.setattr(peripherals, "ORDER_WAIT_S", 0.5)
    monkeypatch.setattr(peripherals, "LOOK_PAUSE_S", 0.01)


@pytest.mark.requirement("DEV-11")
async def test_a_card_is_given_once_and_only_by_one_who_can(tmp_path: Path) -> None:
    async with kiosk("quio/qu_cd_720m", path=tmp_path / "ttyS5", wait_ms=PATIENT_MS) as it:
        line = it.emulator.peripherals[BusId("kiosk")]
        await put(it, "state_value:ready", value=True, capability=B)
        await it.heard.until(it.heard.says(IT, B, "state_value:ready", True))
        outcome = await ordered(it)
        assert (outcome.phase, outcome.read_back) == (Phase.DONE, True), outcome
        assert line.counts["cards"] == 1
        outcome = await ordered(it)
        assert (outcome.phase, line.counts["cards"]) == (Phase.FAILED, 1), "it still lies in the mouth"
        line.take_card()
        outcome = await ordered(it, within_ms=0)
        assert (outcome.phase, line.counts["cards"]) == (Phase.EXPIRED, 1)
        assert (await ordered(it)).phase is Phase.DONE
        line.take_card()
        await put(it, "active:stack_empty", value=True)
        outcome = await ordered(it)
        assert (outcome.phase, outcome.reason, line.counts["cards"]) == (Phase.FAILED, "it has no card", 2)
        assert (await ordered(it, text="a receipt")).phase is Phase.FAILED


@pytest.mark.requirement("DEV-11")
async def test_a_receipt_is_out_when_the_printer_says_so_and_its_text_is_nowhere_else() -> None:
    async with kiosk("epson/tm_t88vi", wait_ms=PATIENT_MS) as it:
        line = it.emulator.peripherals[BusId("kiosk")]
        await it.heard.until(it.heard.told(IT, DeviceEvent.ONLINE))
        with structlog.testing.capture_logs() as lines:
            outcome = await ordered(it, text="Frau Eriksson\nZimmer 101, 250,00 €")
            assert outcome.phase is Phase.DONE, outcome
            assert line.printed == ["Frau Eriksson\nZimmer 101, 250,00 €\n"]
            await put(it, "active:paper_out", value=True)
            await it.heard.until(it.heard.says(IT, F, "active:paper_out", True))
            outcome = await ordered(it, text="Frau Eriksson", mark="0002")
        assert (outcome.phase, outcome.reason) == (Phase.FAILED, "it has no paper")
        assert len(line.printed) == 1
        told = repr(lines) + repr(it.heard.readings) + repr(it.heard.events) + repr(supervisor(it).counts)
        assert "Eriksson" not in told


@pytest.mark.guarantee("G13", "G19")
@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("model", ["epson/tm_t88vi", "quio/qu_cd_720m"])
async def test_whatever_the_line_does_nothing_is_done_twice_or_called_done_that_is_not(
    model: str, tmp_path: Path
) -> None:
    bad = Knobs(
        answer_ms_most=5,
        late=0.1,
        late_ms_least=120,
        late_ms_most=250,
        silent=0.05,
        hang_up=0.03,
        torn=0.3,
        twice=0.05,
        noise=0.05,
        garbled=0.05,
    )
    printer = model.startswith("epson")
    async with kiosk(model, path=None if printer else tmp_path / "ttyS6", knobs=bad) as it:
        line = it.emulator.peripherals[BusId("kiosk")]
        await put(it, "state_value:ready" if not printer else "active:cover_open", value=not printer,
                  capability=F if printer else B)  # fmt: skip
        await it.heard.until(lambda: it.buses[0].counts.get("answers", 0) >= 4)
        phases: list[Phase] = []
        for number in range(200):  # one of the first few is done, unless this machine is busy
            if number >= 12 and Phase.DONE in phases:
                break
            before = len(line.printed) + line.counts["cards"]
            outcome = await ordered(
                it, text=f"number {number}" if printer else None, mark=f"{number:04}", within_ms=8_000
            )
            done = len(line.printed) + line.counts["cards"] - before
            phases.append(outcome.phase)
            assert done <= 1
            if outcome.phase is Phase.DONE:
                assert done == 1
            elif outcome.phase is not Phase.UNKNOWN:
                assert done == 0, outcome
            if not printer:
                line.take_card()
        assert Phase.DONE in phases


@pytest.mark.guarantee("G13")
@pytest.mark.usefixtures("hasty")
async def test_one_that_is_away_costs_an_order_its_time_and_nothing_more(tmp_path: Path) -> None:
    async with kiosk("quio/qu_cd_720m", path=tmp_path / "ttyS7") as it:
        line = it.emulator.peripherals[BusId("kiosk")]
        await put(it, "state_value:ready", value=True, capability=B)
        await it.heard.until(it.heard.says(IT, B, "state_value:ready", True))
        await it.emulator.answer("power", {"device": IT, "on": False})
        outcome = await ordered(it)
        assert (outcome.phase, outcome.read_back) == (Phase.FAILED, None)
        waiting = [asyncio.create_task(ordered(it)) for _ in range(peripherals.ORDERS_MAX + 2)]
        outcomes = await asyncio.gather(*waiting)
        assert {each.phase for each in outcomes} == {Phase.FAILED}
        assert any("too many" in (each.reason or "") for each in outcomes)
        await it.emulator.answer("power", {"device": IT, "on": True})
        await it.heard.until(it.heard.says(IT, B, "state_value:ready", True))
        assert line.counts["cards"] == 0, "what was given up does not come later"


async def test_the_house_finds_a_kiosks_peripheral_by_its_name() -> None:
    async with kiosk("epson/tm_t88vi") as it:
        printer = supervisor(it)
        live = LiveBuses([printer.bus], it.plan, lambda *_: printer, sink=it.heard)
        assert live.peripheral(IT) is printer
        assert live.peripheral(DeviceId("light-101")) is None
