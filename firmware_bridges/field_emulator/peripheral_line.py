"""A kiosk peripheral on its own line: a pseudo terminal or a TCP port, and all ways in which such a thing disappoints.

Speaks the dialects of protocols/peripherals from the device's side. Its fields are the thing's state by the paths of
its points; a document is presented by `present`.
"""

import asyncio
import os
import tty
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from firmware_bridges.field_emulator.misbehaviour import Misbehaviour
from firmware_bridges.field_emulator.physics import EmulatedDevice
from protocols.descriptors.wires import PeripheralWire
from protocols.device_model.site_plan import RawTcpBus, SerialBus
from protocols.errors import InvalidInputError
from protocols.peripherals import card_dispenser, document_reader, escpos

TORN_PAUSE_S: Final = 0.003
INBOX_MOST: Final = 1_024
COMMANDS: Final = (card_dispenser.ASK_FLAGS, card_dispenser.CLEAR_FLAGS, card_dispenser.DISPENSE)
REVISION: Final = b"REVINFProduct Name: OCR imager\r\nSoftware Part Number: 31205480-108\r\n\x06."


class PeripheralLine:
    """One peripheral.

    Args:
        bus: where it listens; a TCP port of 0 takes any, see `port`.
        thing: what it is.
        misbehaviour: shared with the other buses.

    Raises:
        InvalidInputError: its descriptor is of another wire.
    """

    def __init__(self, bus: SerialBus | RawTcpBus, thing: EmulatedDevice, misbehaviour: Misbehaviour) -> None:
        wire = thing.descriptor.wire
        if not isinstance(wire, PeripheralWire):
            raise InvalidInputError(thing.device, f"{thing.descriptor.id} is no kiosk peripheral")
        self._bus, self.thing, self._luck, self._dialect = bus, thing, misbehaviour, wire.dialect
        self.counts: Counter[str] = Counter()
        self._inbox = bytearray()
        self._taken = b""
        self._more: dict[str, bool] = {}
        """What a dispenser tells that is no point."""
        self.printed: list[str] = []
        """What a printer has put out, receipt by receipt."""
        self._say: Callable[[bytes], None] = lambda _: None
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._master = self._slave = -1
        self._answers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises OSError: something is at its place already."""
        if isinstance(self._bus, RawTcpBus):
            self._server = await asyncio.start_server(self._serve, self._bus.host, self._bus.port)
            return
        self._open_line(self._bus.path)

    def _open_line(self, path: str) -> None:
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        try:
            Path(path).symlink_to(os.ttyname(self._slave))
        except OSError:
            os.close(self._master)
            os.close(self._slave)
            self._master = self._slave = -1
            raise
        self._say = self._say_on_line
        asyncio.get_running_loop().add_reader(self._master, self._heard_on_line)

    async def stop(self) -> None:
        """Take it away, as a pulled plug does."""
        for each in list(self._answers):
            each.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)
        if self._server is not None:
            self._server.close()
            self.hang_up()
        if self._master >= 0:
            self._close_line()

    def _close_line(self) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        if isinstance(self._bus, SerialBus):
            with suppress(OSError):
                Path(self._bus.path).unlink()
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1

    def hang_up(self) -> None:
        """End every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    def present(self, text: str) -> None:
        """Put a document on the reader: its zone comes a line at a time."""
        self._say(b"".join(line.encode("ascii", "replace") + b"\r" for line in text.splitlines()))

    def take_card(self) -> None:
        """Take the card out of a dispenser's mouth."""
        self._put("card_at_mouth", so=False)
        self._more["taken_away"] = True

    def _put(self, field: str, *, so: bool) -> None:
        for point in self.thing.descriptor.points:
            if point.path == field:
                self.thing.state[(point.capability, point.attribute)] = so

    def babble(self, data: bytes) -> None:
        """Say bytes that nobody asked for."""
        self._say(data)

    def _say_on_line(self, data: bytes) -> None:
        with suppress(OSError):
            os.write(self._master, data)

    def _heard_on_line(self) -> None:
        with suppress(OSError):
            self._heard(os.read(self._master, 512))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._inbox.clear()
        self._say = writer.write
        try:
            while data := await reader.read(512):
                self._heard(data)
        except OSError:
            self.counts["broken_connections"] += 1
        finally:
            self._writers.discard(writer)
            writer.close()

    def _heard(self, data: bytes) -> None:
        self._inbox = (self._inbox + data)[-INBOX_MOST:]
        for answer in self._answers_to():
            self.counts["requests"] += 1
            task = asyncio.get_running_loop().create_task(self._answer(answer))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    def _answers_to(self) -> list[bytes]:
        fields = {
            point.path: bool(self.thing.state[(point.capability, point.attribute)])
            for point in self.thing.descriptor.points
            if point.path is not None
        }
        match self._dialect:
            case "escpos":
                return self._of_printer(fields)
            case "quio_card_dispenser":
                return self._of_dispenser(fields)
            case _:
                found = self._inbox.count(document_reader.ASK_REVISION)
                if found:
                    self._inbox.clear()
                return [REVISION] * found

    def _of_printer(self, fields: dict[str, bool]) -> list[bytes]:
        answers: list[bytes] = []
        while True:
            asked, marked = self._inbox.find(escpos.DLE_EOT), self._inbox.find(escpos.MARK)
            if marked >= 0 and (asked < 0 or marked < asked):
                end = marked + len(escpos.MARK) + 4
                if len(self._inbox) < end:
                    return answers
                answers += self._print(bytes(self._inbox[:end]), fields)
                del self._inbox[:end]
            elif asked >= 0 and len(self._inbox) > asked + 2:
                number = self._inbox[asked + 2]
                del self._inbox[asked : asked + 3]  # in real time: what is printed around it stays
                if 1 <= number <= len(escpos.FLAGS):
                    answers.append(escpos.status(fields, number))
            else:
                return answers

    def _print(self, data: bytes, fields: dict[str, bool]) -> list[bytes]:
        if any(fields.get(each) for each in ("cover_open", "paper_out", "paper_stop")):
            return []  # it waits for somebody
        text = data[: -len(escpos.MARK) - 4].removeprefix(escpos.BEGIN).removesuffix(escpos.CUT)
        self.printed.append(text.decode(escpos.ENCODING))
        return [escpos.MARKED + data[-4:] + b"\0"]

    def _of_dispenser(self, fields: dict[str, bool]) -> list[bytes]:
        answers = []
        frames = [card_dispenser.frame(each) for each in COMMANDS]
        while self._inbox:
            if self._inbox[0] == card_dispenser.STX and len(self._inbox) < len(frames[0]):
                break
            if (whole := bytes(self._inbox[: len(frames[0])])) in frames:
                del self._inbox[: len(whole)]
                self._taken = whole[1:3]
                answers.append(bytes((card_dispenser.ACK,)))
            elif self._inbox[0] == card_dispenser.ENQ and self._taken:
                del self._inbox[0]
                answers += self._acted(self._taken, fields | self._more)
                self._taken = b""
            else:
                self._inbox.clear()
                answers.append(bytes((card_dispenser.NAK,)))
        return answers

    def _acted(self, command: bytes, fields: dict[str, bool]) -> list[bytes]:
        if command == card_dispenser.ASK_FLAGS:
            return [card_dispenser.flags_answer(fields)]
        if command == card_dispenser.CLEAR_FLAGS:
            self._more["taken_away"] = False
            return [card_dispenser.flags_answer(fields | self._more, command)]
        if not self.thing.powered:
            return []
        self.counts["orders"] += 1
        if fields.get("hopper_empty") or fields.get("jammed"):
            self._put("dispense_failed", so=True)
        else:
            self.counts["cards"] += 1
            self._put("card_at_mouth", so=True)
        return []

    async def _answer(self, data: bytes) -> None:
        luck, knobs = self._luck, self._luck.knobs
        if not self.thing.powered or luck.happens(knobs.silent):
            self.counts["unanswered"] += 1
            return
        if luck.happens(knobs.hang_up) and self._server is not None:
            self.hang_up()
            return
        delay_ms = luck.answer_delay_ms()
        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        if luck.happens(knobs.garbled):
            place = int(luck.between(0, len(data) - 0.001))
            data = data[:place] + bytes((data[place] ^ 0x10,)) + data[place + 1 :]
        if luck.happens(knobs.noise):
            self._say(b"\x7f\x00")
        if luck.happens(knobs.torn):
            cut = max(1, len(data) // 2)
            self._say(data[:cut])
            await asyncio.sleep(TORN_PAUSE_S)
            data = data[cut:]
        self._say(data)
        if luck.happens(knobs.twice):
            self._say(data)
