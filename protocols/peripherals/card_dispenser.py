"""A card dispenser of the Quio kind: STX frames, ACK, ENQ, twelve flags. Source of truth: SPEC.md section 2."""

from collections.abc import Mapping
from functools import reduce
from operator import xor
from typing import Final

from protocols.peripherals.conversation import INBOX_BYTES_MAX, Answered, Conversation, Nonsense, Order, Ordered, Said

STX, ETX, ENQ, ACK, NAK = 0x02, 0x03, 0x05, 0x06, 0x15
FLAGS: Final[tuple[tuple[str | None, ...], ...]] = (
    ("bin_full", "dispense_failed", None, "dispensing"),
    ("hopper_low", "jammed", None, "taken_away"),
    ("ready", "card_at_reader", "card_at_mouth", "hopper_empty"),
)
FIELDS: Final = frozenset(name for byte in FLAGS for name in byte if name is not None)
ASK_FLAGS: Final = b"PB"
CLEAR_FLAGS: Final = b"PC"
"""Answered as `ASK_FLAGS` is; clears `taken_away` and "called back"."""
DISPENSE: Final = b"DC"
_AGAINST: Final = {
    "jammed": "it is jammed",
    "dispense_failed": "it could not give the last card",
    "hopper_empty": "it has no card",
    "card_at_mouth": "a card still lies in its mouth",
    "dispensing": "it is giving a card",
}
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
        self._command = ASK_FLAGS

    def prepare(self) -> None:
        """See `Conversation.prepare`: what was taken away before is no longer told, so that the next card is."""
        self.begin()
        self._ask(CLEAR_FLAGS)

    def refuses(self, order: Order, fields: Mapping[str, bool]) -> str | None:
        """See `Conversation.refuses`."""
        if order.text is not None:
            return "it prints nothing"
        against = next((why for name, why in _AGAINST.items() if fields.get(name)), None)
        return against or (None if fields.get("ready") else "it is not ready")

    def begin_order(self, order: Order) -> None:  # noqa: ARG002 - one card is as the other
        """See `Conversation.begin_order`: it acts on our ENQ, and answers nothing."""
        self.finished = False
        self._outbox.clear()
        self._ask(DISPENSE)

    def came_of(self, fields: Mapping[str, bool]) -> bool | None:
        """See `Conversation.came_of`."""
        if fields.get("card_at_mouth") or fields.get("taken_away"):
            return True
        return False if fields.get("dispense_failed") or fields.get("jammed") else None

    def _begin(self) -> None:
        self._ask(ASK_FLAGS)

    def _ask(self, command: bytes) -> None:
        self._inbox.clear()
        self._acknowledged = False
        self._command = command
        self._outbox[:] = frame(command)

    def receive_data(self, data: bytes) -> list[Said]:
        """See `Conversation.receive_data`."""
        if self.finished:
            return [Nonsense(f"{len(data)} bytes that nobody asked for")]
        self._inbox += data
        if not self._acknowledged:
            first = self._inbox[0]
            if first == NAK and self._command == DISPENSE:
                self._over("")
                return [Ordered(done=False)]
            if first != ACK:
                problem = "NAK: it does not take the command" if first == NAK else f"{first:#04x} for an ACK"
                return self._over(problem)
            del self._inbox[0]
            self._acknowledged = True
            self._outbox.append(ENQ)
            if self._command == DISPENSE:
                more = len(self._inbox)
                self._over("")
                return [Ordered(done=None), *([Nonsense(f"{more} bytes behind an ACK")] if more else [])]
        if len(self._inbox) > INBOX_BYTES_MAX:
            return self._over(f"{len(self._inbox)} bytes without an end")
        if len(self._inbox) < _ANSWER_BYTES:
            return []
        answer, rest = bytes(self._inbox[:_ANSWER_BYTES]), len(self._inbox) - _ANSWER_BYTES
        flags = answer[3:6]
        if rest or answer != frame(self._command + flags) or any(each >> 4 != 3 for each in flags):
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


def flags_answer(fields: dict[str, bool], command: bytes = ASK_FLAGS) -> bytes:
    """Return the answer of a dispenser that stands so."""
    flags = bytes(
        0x30 | sum(1 << bit for bit, name in enumerate(names) if name is not None and fields.get(name))
        for names in FLAGS
    )
    return frame(command + flags)
