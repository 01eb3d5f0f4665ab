"""A receipt printer: real-time status by DLE EOT 1 to 4, and printing. Source of truth: SPEC.md section 1."""

from collections.abc import Mapping
from typing import Final

from protocols.errors import LocalProtocolError
from protocols.peripherals.conversation import Answered, Conversation, Nonsense, Order, Ordered, Said

DLE_EOT: Final = b"\x10\x04"
FLAGS: Final[tuple[dict[str, int], ...]] = (
    {"offline": 0x08},
    {"cover_open": 0x04, "paper_stop": 0x20, "error": 0x40},
    {"cutter_error": 0x08, "unrecoverable": 0x20},
    {"paper_low": 0x0C, "paper_out": 0x60},
)
"""For each n from 1 on: the bits that mean a field, any of them."""
FIELDS: Final = frozenset(name for flags in FLAGS for name in flags)
TEXT_CHARACTERS_MAX: Final = 4_000
CODE_TABLE, ENCODING = 16, "cp1252"
BEGIN: Final = b"\x1b@\x1bt" + bytes((CODE_TABLE,))
"""ESC @ and ESC t: as after power-on, in that code table."""
CUT: Final = b"\x1dVB\x00"
"""GS V 66: feeds to the knife, and cuts."""
MARK: Final = b"\x1d(H\x06\x0000"
"""GS ( H, function 48; four characters follow."""
MARKED: Final = b"\x37\x22"
"""The same four characters and a NUL follow."""
_MARKED_BYTES: Final = 7
_AGAINST: Final = {
    "cover_open": "its cover is open",
    "paper_out": "it has no paper",
    "paper_stop": "it stopped for want of paper",
    "cutter_error": "its knife is stuck",
    "unrecoverable": "it has an error that only switching off ends",
    "error": "it has an error",
    "offline": "it is off line",
}
_FIXED, _FIXED_ARE = 0b1001_0011, 0b0001_0010


class EscPos(Conversation):
    """See `Conversation`: four questions, a byte each."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0
        self._mark: bytes | None = None
        self._inbox = bytearray()

    def refuses(self, order: Order, fields: Mapping[str, bool]) -> str | None:
        """See `Conversation.refuses`."""
        if order.text is None:
            return "it gives no cards"
        if problem := unprintable(order.text):
            return problem
        return next((why for name, why in _AGAINST.items() if fields.get(name)), None)

    def begin_order(self, order: Order) -> None:
        """See `Conversation.begin_order`: its answer is that the paper has come out."""
        mark = order.mark.encode("ascii")
        if len(mark) != _MARKED_BYTES - len(MARKED) - 1 or order.text is None or unprintable(order.text):
            raise LocalProtocolError("an order that `refuses` was not asked about")
        self.finished, self._mark = False, mark
        self._inbox.clear()
        self._outbox[:] = BEGIN + order.text.encode(ENCODING, "replace") + b"\n" + CUT + MARK + mark

    def _begin(self) -> None:
        self._asked, self._mark = 0, None
        self._ask()

    def _ask(self) -> None:
        self._asked += 1
        self._outbox += DLE_EOT + bytes((self._asked,))

    def receive_data(self, data: bytes) -> list[Said]:
        """See `Conversation.receive_data`."""
        if self._mark is not None and not self.finished:
            return self._printed(data)
        said: list[Said] = []
        for byte in data:
            if self.finished:
                said.append(Nonsense(f"byte {byte:#04x} that nobody asked for"))
                break  # the rest of the same breath is no better
            if byte & _FIXED != _FIXED_ARE:
                said.append(Nonsense(f"status {self._asked} is {byte:#04x}: its fixed bits are wrong"))
                self.finished = True
                break
            fields = {name: bool(byte & mask) for name, mask in FLAGS[self._asked - 1].items()}
            said.append(Answered(fields))
            if self._asked == len(FLAGS):
                self.finished = True
            else:
                self._ask()
        return said

    def _printed(self, data: bytes) -> list[Said]:
        self._inbox += data
        wanted = MARKED + (self._mark or b"") + b"\0"
        if wanted not in self._inbox:
            del self._inbox[: -len(wanted)]  # a mark of an earlier order, or noise
            return []
        self.finished = True
        self._inbox.clear()
        return [Ordered(done=True)]


def unprintable(text: str) -> str | None:
    """Say why a text is not to be sent to a printer; None: it is. What is not printable would be its command."""
    if not 0 < len(text) <= TEXT_CHARACTERS_MAX:
        return f"a text of {len(text)} characters; 1 to {TEXT_CHARACTERS_MAX} are printed"
    if any(not each.isprintable() and each != "\n" for each in text):
        return "the text holds a character that is neither printable nor a new line"
    return None


def status(fields: dict[str, bool], number: int) -> bytes:
    """Return the answer to DLE EOT `number` of a printer that stands so."""
    byte = _FIXED_ARE
    for name, mask in FLAGS[number - 1].items():
        byte |= mask if fields.get(name) else 0
    return bytes((byte,))
