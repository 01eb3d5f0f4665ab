"""An interface program in a box: the PMS's side of FIAS over TCP, misbehaving by default on seeded dice.

It takes one client at a time (a new one displaces the old), sends LS first, lives once a record it needs is described
and LA came, sends only the fields that were asked for in an order of its own, and cuts its bytes where it likes. While
nobody is connected, what happens is buffered and sent later, unless the buffer is told to forget.
"""

import asyncio
from base64 import b64decode
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final

import msgspec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from kit.dice import Dice
from protocols.errors import PeerProtocolError
from protocols.fias.framing import TcpDeframer, framed
from protocols.fias.record import Record, decode, description, stamped

READ_BYTES: Final = 4_096
NEEDED: Final = frozenset({"GI", "GO", "GC"})
_Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Knobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How badly it behaves; shares are probabilities."""

    noise: _Share = 0.2
    """Bytes between frames."""
    cut: _Share = 0.5
    """A frame in pieces."""
    twice: _Share = 0.2
    """A guest record again."""
    live_in_resync: _Share = 0.3
    """A record without SF among those of a resynchronisation."""
    forget: bool = False
    """What happens while nobody is connected is never sent: only a resynchronisation tells it."""
    posting_lost: _Share = 0.1
    """The link is lost at a charge: half of the time before it was posted, half of it after and before the answer."""
    posting_silent: _Share = 0.05
    """A charge is posted and never answered."""
    posting_later: _Share = 0.1
    """A charge is not taken now: RY or BY."""
    deaf_to_resync: bool = False
    """DR is not answered: seen where the interface licence lacks it."""


TAME: Final = Knobs(
    noise=0.0, cut=0.0, twice=0.0, live_in_resync=0.0, posting_lost=0.0, posting_silent=0.0, posting_later=0.0
)


@dataclass
class Guest:
    """One guest in house."""

    number: str
    room: str
    name: str
    departure: str


@dataclass
class InterfaceProgram:
    """The server; `start` listens on loopback.

    Attributes:
        answers: every KA, in order.
        rooms: the last RS told of each room.
    """

    dice: Dice
    now: datetime
    knobs: Knobs = field(default_factory=Knobs)
    guests: dict[str, Guest] = field(default_factory=dict)
    answers: list[Record] = field(default_factory=list)
    rooms: dict[str, str] = field(default_factory=dict)
    heard: list[Record] = field(default_factory=list)
    connections: int = 0
    posted: list[Record] = field(default_factory=list)
    """Every charge that came onto a bill, in order."""
    code_page: str = "cp1252"
    script: deque[str] = field(default_factory=deque)
    """What becomes of the next charges, before the dice are asked: an AS, or lost_before, lost_after, silent, late."""
    late: list[Record] = field(default_factory=list)
    """Answers that were held back."""
    bill_mute: bool = False
    """A bill is begun and never ended."""
    bill_shows_text: bool = True
    """A line of a bill shows the charge's text; otherwise the PMS's own."""
    key: bytes | None = None
    blocked: bool = False
    """A wrong key came: until a restart by hand nothing is answered."""
    sign_ins: int = 0
    auditing: bool = False
    out: list[str] = field(default_factory=list)
    """Guest numbers that were checked out from afar, in order."""
    wake_ups: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """What was asked for: (room, day, time) -> AS; WC takes it away."""
    left: list[Record] = field(default_factory=list)
    """Messages of guests, and what they have read."""
    messages: dict[tuple[str, str], str] = field(default_factory=dict)
    """What guests have not read, as far as we have heard: (guest number, message) -> text."""
    no_post: frozenset[str] = frozenset()
    """Guest numbers to whom nothing may be charged."""
    deaf: frozenset[str] = frozenset()
    """Records that are not answered."""
    slow_resync: bool = False
    """A resynchronisation is begun; `finish` ends it."""

    def __post_init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._asked: dict[str, tuple[str, ...]] = {}
        self._alive = False
        self._buffer: deque[Record] = deque(maxlen=1_000)
        self._numbers: set[str] = set()
        """P# that came, of inquiries and of charges to guests."""

    @property
    def alive(self) -> bool:
        """True once the client described itself and said LA."""
        return self._alive

    async def start(self) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Hang up and listen no more."""
        self.drop()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def drop(self) -> None:
        """Lose the link."""
        if self._writer is not None:
            self._writer.transport.abort()
        self._writer, self._alive = None, False

    # What happens in the hotel

    def check_in(self, number: str, room: str, name: str, departure: str) -> None:
        """A guest is checked in at the desk."""
        self.guests[number] = Guest(number, room, name, departure)
        self._tell(self._came("GI", self.guests[number]))

    def move(self, number: str, room: str, *, as_pair: bool = False) -> None:
        """A guest moves: one GC with the old room, or GO and GI."""
        guest = self.guests[number]
        old, guest.room = guest.room, room
        if as_pair:
            self._tell(Record("GO", {"RN": old, "G#": number, "GS": self._shared(old, number)}))
            self._tell(self._came("GI", guest))
            return
        record = self._came("GC", guest)
        self._tell(Record("GC", {**record.fields, "RO": old}))

    def check_out(self, number: str) -> None:
        """A guest is checked out at the desk."""
        guest = self.guests.pop(number)
        self._tell(Record("GO", {"RN": guest.room, "G#": number, "GS": self._shared(guest.room, number)}))

    def order_key(self, room: str, number: str | None, *, record: str = "KR", **more: str) -> None:
        """Order a key, or its end."""
        fields = {"KC": "1", "RN": room, "WS": "FRONT", **({"KT": "N"} if record == "KR" else {}), **more}
        self._say(Record(record, fields | ({"G#": number} if number else {})))

    def message(self, number: str, message: str, text: str) -> None:
        """The desk leaves a message for a guest."""
        self.messages[number, message] = text
        room = self.guests[number].room
        self._tell(Record("XL", {"RN": room, "G#": number, "MI": message, "MT": text}))

    def say(self, record: Record) -> None:
        """Send anything, described or not."""
        self._say(record)

    def audit(self, *, running: bool) -> None:
        """The night audit begins or ends."""
        self.auditing = running
        self._say(stamped("NS" if running else "NE", self.now))

    def release(self) -> None:
        """Give the answers that were held back."""
        while self.late:
            self._say(self.late.pop(0))

    def restart(self) -> None:
        """Ask for the description again, as after a start of its own."""
        self._alive = False
        self._say(stamped("LS", self.now))

    # The wire

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.drop()
        self._writer, self._asked = writer, {}
        self.connections += 1
        self._say(stamped("LS", self.now))
        deframer = TcpDeframer()
        try:
            while data := await reader.read(READ_BYTES):
                for raw in deframer.feed(data):
                    if self._writer is writer:
                        self._take(decode(raw, self.code_page))
                await writer.drain()
        except (OSError, PeerProtocolError):
            pass
        finally:
            if self._writer is writer:
                self._writer, self._alive = None, False
            writer.close()

    def _take(self, record: Record) -> None:
        self.heard.append(record)
        if self.blocked:
            return
        match record.id:
            case "LD" if self.key is not None and not self._knows(record):
                self.blocked = True
                self.drop()
            case "LD":
                self._asked = {}
                self._say(Record("LC", {"PH": "1", "A1": "emulator"}))
            case "LR":
                told = description(record)
                self._asked[told.record] = told.fields
            case "LA" if not self._alive:
                if not self._asked.keys() >= NEEDED:
                    self._say(stamped("LS", self.now))  # an LR was lost: describe yourself again
                    return
                self._alive = True
                self._say(stamped("LA", self.now))
                while self._buffer:
                    self._tell(self._buffer.popleft())
            case "DR" if not self.knobs.deaf_to_resync:
                self._resync()
            case "KA":
                self.answers.append(record)
            case "RE":
                self.rooms[record.need("RN")] = record.need("RS")
            case "PS":
                self._post(record)
            case "XR":
                self._bill(record)
            case "PR" if record.get("TA"):
                self._post_to_guest(record)
            case "XC" | "WR" | "WC" | "PR" if record.id not in self.deaf:
                self._serve_guest(record)
            case "XM":
                self._tell_messages(record)
            case "XL" | "XD":
                self.left.append(record)
                self.messages.pop((record.need("G#"), record.get("MI") or ""), None)

    def _knows(self, record: Record) -> bool:
        """Tell whether CG is that of our key and our last LS."""
        self.sign_ins += 1
        sealed = b64decode((record.get("CG") or "")[24:])
        iv = b64decode((record.get("CG") or "")[:24])
        if len(iv) != 16 or not sealed or len(sealed) % 16:
            return False
        decryptor = Cipher(algorithms.AES(self.key or b""), modes.CBC(iv)).decryptor()
        plain = decryptor.update(sealed) + decryptor.finalize()
        return plain[: -plain[-1]] == self.now.strftime("%y%m%d%H%M%S").encode()

    def _post(self, record: Record) -> None:
        fate = self.script.popleft() if self.script else self._fate()
        if self.auditing:
            fate = "NA"
        if fate == "lost_before":
            self.drop()
            return
        if fate in ("OK", "lost_after", "silent", "late"):
            self.posted.append(record)
        if fate == "lost_after":
            self.drop()
        elif fate != "silent":
            status = "OK" if fate == "late" else fate
            fields = [("AS", status), ("P#", record.need("P#")), ("RN", record.need("RN")), ("CT", "told")]
            answer = stamped("PA", self.now, fields)
            self.late.append(answer) if fate == "late" else self._say(answer)

    def _post_to_guest(self, record: Record) -> None:
        """A charge to one guest: only as PL has told of him, and never twice under a number."""
        guest = self.guests.get(record.need("G#"))
        known = guest is not None and (guest.room, guest.name) == (record.need("RN"), record.get("GN"))
        number = record.need("P#")
        if not known or guest is None or guest.number in self.no_post or number in self._numbers:
            fields = [("AS", "NG"), ("P#", number), ("RN", record.need("RN")), ("CT", "no such guest")]
            self._say(stamped("PA", self.now, fields))
            return
        self._numbers.add(number)
        self._post(record)

    def _tell_messages(self, record: Record) -> None:
        """Answer XM: an XT for each message, or an empty one."""
        whose = {"RN": record.need("RN"), "G#": record.need("G#")}
        held = [(message, text) for (number, message), text in self.messages.items() if number == whose["G#"]]
        for message, text in held or [("", "")]:
            self._tell(Record("XT", {**whose, "MI": message, "MT": text}))

    def _serve_guest(self, record: Record) -> None:
        """Answer what a guest asked for."""
        if record.id == "PR":
            self._inquire(record)
            return
        room = record.need("RN")
        if record.id == "XC":
            guest = self.guests.get(record.need("G#"))
            status = "NG" if guest is None or guest.room != room else "BM"
            if guest is not None and status == "BM" and int(record.need("BA")) == self._balance(room):
                status = "OK"
            self._tell(stamped("XC", self.now, [("RN", room), ("G#", record.need("G#")), ("AS", status)]))
            if status == "OK":
                self.out.append(record.need("G#"))
                self.check_out(record.need("G#"))
            return
        call = (room, record.need("DA"), record.need("TI"))
        status = "OK" if record.id == "WR" or call in self.wake_ups else "NG"
        self.wake_ups.pop(call, None)
        if record.id == "WR":
            self.wake_ups[call] = status
        self._tell(Record("WA", {"RN": room, "DA": call[1], "TI": call[2], "AS": status}))

    def _inquire(self, record: Record) -> None:
        sought, number = record.need("PI"), record.need("P#")
        self._numbers.add(number)
        found = [each for each in self.guests.values() if sought in (each.room, each.name)]
        if not found:
            self._say(stamped("PA", self.now, [("AS", "NG"), ("P#", number)]))
            return
        blocks = "".join(
            f"RN{each.room}|G#{each.number}|GN{each.name}|GD{each.departure}|BA{self._balance(each.room)}|"
            f"NP{'Y' if each.number in self.no_post else 'N'}|"
            for each in found
        )
        self._say_raw(f"PL|P#{number}|WS{record.need('WS')}|{blocks}".encode(self.code_page))

    def _balance(self, room: str) -> int:
        return sum(int(each.need("TA")) for each in self.posted if each.need("RN") == room)

    def _fate(self) -> str:
        throw, knobs = self.dice.uniform(0, 1), self.knobs
        if throw < knobs.posting_lost:
            return "lost_before" if throw < knobs.posting_lost / 2 else "lost_after"
        throw -= knobs.posting_lost
        if throw < knobs.posting_silent:
            return "silent"
        return self.dice.choice(("RY", "BY")) if throw - knobs.posting_silent < knobs.posting_later else "OK"

    def _bill(self, record: Record) -> None:
        whose = {"RN": record.need("RN"), "G#": record.need("G#")}
        lines = [
            each for each in self.posted if each.need("RN") == whose["RN"] and each.get("G#") in (None, whose["G#"])
        ]
        for each in lines:
            text = each.need("CT") if self.bill_shows_text else "Sundry"
            amount = int(each.need("TA"))
            self._tell(Record("XI", {**whose, "BD": text, "BI": f"{amount / 100:.2f}", "F#": "1", "FD": "Y"}))
        if not self.bill_mute:
            self._tell(Record("XB", {**whose, "BA": str(self._balance(whose["RN"]))}))

    def _resync(self) -> None:
        self._say(stamped("DS", self.now))
        for guest in list(self.guests.values()):
            record = self._came("GI", guest)
            live = self.dice.uniform(0, 1) < self.knobs.live_in_resync
            self._tell(record if live else Record("GI", {**record.fields, "SF": ""}))
        if not self.slow_resync:
            self.finish()

    def finish(self) -> None:
        """End a resynchronisation."""
        self._say(stamped("DE", self.now))

    def _came(self, record_id: str, guest: Guest) -> Record:
        told = {"RN": guest.room, "G#": guest.number, "GS": self._shared(guest.room, guest.number)}
        return Record(record_id, {**told, "GN": guest.name, "GD": guest.departure, "GL": "EA"})

    def _shared(self, room: str, number: str) -> str:
        """Return GS: whether anybody else is in a room."""
        return "Y" if any(each.room == room and each.number != number for each in self.guests.values()) else "N"

    def _tell(self, record: Record) -> None:
        """Send what the client asked for of a record; buffer it while nobody is there."""
        if not self._alive:
            if not self.knobs.forget:
                self._buffer.append(record)
            return
        asked = self._asked.get(record.id)
        if asked is None:
            return
        names = [each for each in record.fields if each in asked]
        shuffled = sorted(names, key=lambda _: self.dice.uniform(0, 1))
        for _ in range(2 if self.dice.uniform(0, 1) < self.knobs.twice else 1):
            self._say(Record(record.id, {each: record.fields[each] for each in shuffled}))

    def _say(self, record: Record) -> None:
        self._say_raw(record.encode(self.code_page))

    def _say_raw(self, raw: bytes) -> None:
        if self._writer is None or self._writer.is_closing():
            return
        data = framed(raw)
        if self.dice.uniform(0, 1) < self.knobs.noise:
            data = b"\r\n" + data
        if self.dice.uniform(0, 1) < self.knobs.cut:
            at = self.dice.integer(1, len(data) - 1)
            self._writer.write(data[:at])
            self._writer.write(data[at:])
            return
        self._writer.write(data)
