"""The end of the record log as a connection to the site broker found it: what is delivered again is held against it.

Pure. MQTT delivers at least once: what was not acknowledged when a connection ended comes again, and nothing in it says
whether it was made durable. The log says it: its records stand in the order in which the messages came, and what comes
again begins somewhere in them. So the longest beginning of what comes again that is an end of what the log holds of the
same source is what was kept, and no more: a door that was opened, closed and opened is open.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from protocols import cbor
from protocols.device_model.capability import Value
from protocols.link.lanes import Lane
from protocols.link.record import Record

RECORD_KIND: Final = "reading"
Place = tuple[str, str, str]
"""Device, capability, attribute."""


def fingerprint(device_at_ms: int | None, body: bytes) -> int:
    """Return what tells a reading from every other: its device's time and its whole body."""
    return hash((device_at_ms, body))


class LogEnd:
    """What the ends of some lanes hold of readings."""

    def __init__(self) -> None:
        self._all: set[int] = set()
        self._order: dict[Lane, list[tuple[Place, int]]] = {}
        self._of_device: dict[tuple[Lane, str], list[tuple[Place, int]]] = {}
        self._newest: dict[Place, Value | None] = {}
        self._places: dict[Place, Place] = {}

    def add(self, lane: Lane, records: Sequence[Record]) -> None:
        """Take the next records of a lane, in order."""
        for each in records:
            if each.kind != RECORD_KIND:
                continue
            body = each.body
            place = (str(body.get("device")), str(body.get("capability")), str(body.get("attribute")))
            place = self._places.setdefault(place, place)  # one of each, however many records
            mark = fingerprint(each.device_at_ms, cbor.encode(body, floats=True))
            self._all.add(mark)
            one = (place, mark)
            self._order.setdefault(lane, []).append(one)
            self._of_device.setdefault((lane, place[0]), []).append(one)
            self._newest[place] = body.get("value")

    def settle(self) -> None:
        """Forget the order: all that was in flight has come again."""
        self._order.clear()
        self._of_device.clear()
        self._places.clear()

    def note(self, marks: Iterable[int]) -> None:
        """Take the fingerprints of what came since."""
        self._all.update(marks)

    def holds(self, mark: int) -> bool:
        """Say whether a reading of this fingerprint is there."""
        return mark in self._all

    def newest(self, place: Place) -> Value | None:
        """Return the newest value of a point, None if there is none."""
        return self._newest.get(place)

    def kept(self, lane: Lane, device: str, places: Collection[Place], marks: Sequence[int]) -> int:
        """Return how many of `marks`, in order, are the end of what the lane holds of these points of a device."""
        tail = [mark for place, mark in self._of_device.get((lane, device), ()) if place in places]
        return _longest_beginning(marks, tail[-len(marks) :] if marks else ())

    def contains(self, lane: Lane, places: Collection[Place], marks: Sequence[int]) -> bool:
        """Say whether `marks` stand somewhere, one after the other, in what the lane holds of these points."""
        tail = [mark for place, mark in self._order.get(lane, ()) if place in places]
        return _longest_beginning(marks, tail, anywhere=True) == len(marks)


def _longest_beginning(marks: Sequence[int], tail: Sequence[int], *, anywhere: bool = False) -> int:
    """Return the length of the longest beginning of `marks` that is an end of `tail` (Knuth, Morris and Pratt).

    `anywhere`: all of `marks` may also stand before the end.
    """
    if not marks:
        return 0
    falls = [0]
    for mark in marks[1:]:
        length = falls[-1]
        while length and marks[length] != mark:
            length = falls[length - 1]
        falls.append(length + (marks[length] == mark))
    length = 0
    for mark in tail:
        if length == len(marks):
            if anywhere:
                return length
            length = falls[length - 1]
        while length and marks[length] != mark:
            length = falls[length - 1]
        length += marks[length] == mark
    return length
