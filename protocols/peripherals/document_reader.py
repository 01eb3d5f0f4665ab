"""A reader of machine readable zones on a serial line. Source of truth: SPEC.md section 3.

What it reads is told as `Presented` and in no other form: no part of it is in a field, a problem or an exception.
"""

import re
from datetime import date
from typing import ClassVar, Final

from protocols.errors import InvalidInputError
from protocols.peripherals.conversation import INBOX_BYTES_MAX, Answered, Conversation, Nonsense, Presented, Said
from protocols.travel_document import zone

ENQ, ACK, NAK, CR, LF = 0x05, 0x06, 0x15, 0x0D, 0x0A
ASK_REVISION: Final = b"\x16M\rREVINF."
FIELDS: Final = frozenset(("document", "misread"))
SHAPES: Final = ((2, 44), (2, 36), (3, 30))
_ZONE_LINE: Final = re.compile(r"[A-Z0-9<]+")
_STORAGE: Final = b".!"
_ENDS: Final = frozenset((ENQ, ACK, NAK))


class DocumentReader(Conversation):
    """See `Conversation`. `today` settles the centuries of a zone's dates."""

    answers_alike: ClassVar[bool] = False  # what it read comes by itself; the answer says only that it is there

    def __init__(self, today: date) -> None:
        super().__init__()
        self._today = today
        self._inbox = bytearray()
        self._lines: list[str] = []
        self._document = self._misread = self._echo = False

    def _begin(self) -> None:
        self._outbox += ASK_REVISION

    def receive_data(self, data: bytes) -> list[Said]:
        """See `Conversation.receive_data`."""
        said: list[Said] = []
        for byte in data:
            if byte in _ENDS:
                said += self._ended()
            elif self._echo and byte in _STORAGE:
                self._echo = False  # the command's last character, said again behind the end
            elif byte in (CR, LF):
                said += self._line()
                self._echo = False
            elif len(self._inbox) < INBOX_BYTES_MAX:
                self._inbox.append(byte)
        return said

    def pause(self) -> list[Said]:
        """See `Conversation.pause`: lines that do not make a zone are none."""
        if not self.finished or not (self._inbox or self._lines):
            return []
        said = self._line()
        if not self._lines:
            return said
        self._lines.clear()
        self._misread = True
        return [*said, Nonsense("lines that are no zone"), Answered({"misread": True})]

    def _ended(self) -> list[Said]:
        if self.finished:
            return [Nonsense("an end that nobody asked for")]
        self.finished = self._echo = True
        self._inbox.clear()  # of the revision's text nothing is needed
        fields = {"document": self._document, "misread": self._misread}
        self._document = self._misread = False
        return [Answered(fields)]

    def _line(self) -> list[Said]:
        text = self._inbox.decode("ascii", "replace").strip()
        self._inbox.clear()
        if not text or (not self.finished and not self._lines and not _is_zone_line(text)):
            return []  # a line of the revision that was asked for
        self._lines.append(text)
        columns = len(self._lines[0])
        wanted = next((lines for lines, width in SHAPES if width == columns), 1)
        if len(self._lines) < wanted:
            return []
        lines, self._lines = self._lines, []
        return self._zone("\n".join(lines))

    def _zone(self, text: str) -> list[Said]:
        try:
            holds = zone.read(text, today=self._today).holds
        except InvalidInputError:  # the error names characters of the document: not to be passed on
            holds = False
        if not holds:
            self._misread = True
            return [Nonsense("a zone whose check digits do not hold, or none"), Answered({"misread": True})]
        self._document = True
        return [Presented(text), Answered({"document": True})]


def _is_zone_line(text: str) -> bool:
    """Say whether a line that comes while an answer is under way is a zone's: of its length, and its letters alone."""
    return any(len(text) == width for _, width in SHAPES) and _ZONE_LINE.fullmatch(text) is not None
