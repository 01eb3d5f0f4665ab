"""Real-time status of a receipt printer: DLE EOT 1 to 4. Source of truth: SPEC.md section 1."""

from typing import Final

from protocols.peripherals.conversation import Answered, Conversation, Nonsense, Said

DLE_EOT: Final = b"\x10\x04"
FLAGS: Final[tuple[dict[str, int], ...]] = (
    {"offline": 0x08},
    {"cover_open": 0x04, "paper_stop": 0x20, "error": 0x40},
    {"cutter_error": 0x08, "unrecoverable": 0x20},
    {"paper_low": 0x0C, "paper_out": 0x60},
)
"""For each n from 1 on: the bits that mean a field, any of them."""
FIELDS: Final = frozenset(name for flags in FLAGS for name in flags)
_FIXED, _FIXED_ARE = 0b1001_0011, 0b0001_0010


class EscPos(Conversation):
    """See `Conversation`: four questions, a byte each."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0

    def _begin(self) -> None:
        self._asked = 0
        self._ask()

    def _ask(self) -> None:
        self._asked += 1
        self._outbox += DLE_EOT + bytes((self._asked,))

    def receive_data(self, data: bytes) -> list[Said]:
        """See `Conversation.receive_data`."""
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


def status(fields: dict[str, bool], number: int) -> bytes:
    """Return the answer to DLE EOT `number` of a printer that stands so."""
    byte = _FIXED_ARE
    for name, mask in FLAGS[number - 1].items():
        byte |= mask if fields.get(name) else 0
    return bytes((byte,))
