"""A card dispenser of the Quio kind: STX frames, ACK, ENQ, twelve flags. Source of truth: SPEC.md section 2."""

from functools import reduce
from operator import xor
from typing import Final

from protocols.peripherals.conversation import INBOX_BYTES_MAX, Answered, Conversation, Nonsense, Said

STX, ETX, ENQ, ACK, NAK = 0x02, 0x03, 0x05, 0x06, 0x15
FLAGS: Final[tuple[tuple[str | None, ...], ...]] = (
    ("bin_full", "dispense_failed", None, None),
    ("hopper_low", "jammed", None, None),
    ("ready", "card_at_reader", "card_at_mouth", "hopper_empty"),
)
FIELDS: Final = frozenset(name for byte in FLAGS for name in byte if name is not None)
ASK_FLAGS: Final = b"PB"
_ANSWER_BYTES: Final = 8


def frame(body: bytes) -> bytes:
    """Return a frame around a command or an answer."""
    whole = bytes((STX,)) + body + bytes((ETX,))
    return whole + bytes((reduce(xor, whole),))


class CardDispenser(Conversation):
    """See `Conversation`: a command, its ACK, our ENQ, the answer."""

    def __init__(self) -> None:
        super().__init__()
        self._inbox = bytearray()
        self._acknowledged = False

    def _begin(self) -> None:
        self._inbox.clear()
        self._acknowledged = False
        self._outbox += frame(ASK_FLAGS)

    def receive_data(self, data: bytes) -> list[Said]:
        """See `Conversation.receive_data`."""
        if self.finished:
            return [Nonsense(f"{len(data)} bytes that nobody asked for")]
        self._inbox += data
        if not self._acknowledged:
            first = self._inbox[0]
            if first != ACK:
                problem = "NAK: it does not take the command" if first == NAK else f"{first:#04x} for an ACK"
                return self._over(problem)
            del self._inbox[0]
            self._acknowledged = True
            self._outbox.append(ENQ)
        if len(self._inbox) > INBOX_BYTES_MAX:
            return self._over(f"{len(self._inbox)} bytes without an end")
        if len(self._inbox) < _ANSWER_BYTES:
            return []
        answer, rest = bytes(self._inbox[:_ANSWER_BYTES]), len(self._inbox) - _ANSWER_BYTES
        flags = answer[3:6]
        if rest or answer != frame(ASK_FLAGS + flags) or any(each >> 4 != 3 for each in flags):
            return self._over(f"answer {answer.hex()} and {rest} bytes more")
        self.finished = True
        self._inbox.clear()
        return [
            Answered(
                {
                    name: bool(byte >> bit & 1)
                    for byte, names in zip(flags, FLAGS, strict=True)
                    for bit, name in enumerate(names)
                    if name is not None
                }
            )
        ]

    def _over(self, problem: str) -> list[Said]:
        self.finished = True
        self._inbox.clear()
        return [Nonsense(problem)]


def flags_answer(fields: dict[str, bool]) -> bytes:
    """Return the answer of a dispenser that stands so."""
    flags = bytes(
        0x30 | sum(1 << bit for bit, name in enumerate(names) if name is not None and fields.get(name))
        for names in FLAGS
    )
    return frame(ASK_FLAGS + flags)
