"""Takes messages that may have come before: what a broker delivers again (DUP), and what it keeps (RETAIN).

Pure. A kill or a cut loses acknowledgements, never records: of what comes again the log holds a beginning, and only
what follows that is new. A retained message tells how things stand: what the log says already is not told twice. A
broker that waits too long for our acknowledgement sends again on the connection it has (nats-server after `ack_wait`;
MQTT 3.1.1 does not forbid it): what this connection brought is not taken again (docs/decisions/0130).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

import cbor2

from edge.bridges.mqtt.json_readings import JsonReadings, Taken
from edge.bridges.mqtt.log_end import LogEnd, Place, fingerprint
from kit.mqtt_wire import packets
from kit.mqtt_wire.parser import Publish
from protocols import cbor
from protocols.device_model.capability import Value
from protocols.link.lanes import Lane
from protocols.link.record import ClockQuality

WINDOW_LEAST: Final = 10
"""No broker delivers fewer at once, if it has more: with fewer in flight all of them are seen, and their end tells."""
BROUGHT_LIVE_MAX: Final = 20_000
"""Messages of a connection that are remembered by what they say: more than a broker keeps in flight."""
_BEFORE: Final = packets.DUP | packets.RETAIN


class Again:
    """One connection's messages.

    Args:
        readings: makes records of messages.
        end: the log's end, as it was when the connection began.
    """

    def __init__(self, readings: JsonReadings, end: LogEnd) -> None:
        self._readings, self._end = readings, end
        self._brought: dict[int, int] = {}  # packet identifier to what it last was, on this connection
        self._live: deque[int] = deque(maxlen=BROUGHT_LIVE_MAX)  # what it brought that never came before

    def take(self, messages: Sequence[Publish], *, wall_ms: int, mono_ms: int, clock: ClockQuality) -> Taken:
        """Read a batch: see `JsonReadings.take`. What the log holds by its content is not taken again."""
        take = self._readings.take
        if not any(each[3] & _BEFORE for each in messages):
            said_now = [hash(each[:2]) for each in messages]
            self._brought.update(zip([each[2] for each in messages], said_now, strict=True))
            self._live.extend(said_now)
            return take(messages, wall_ms=wall_ms, mono_ms=mono_ms, clock=clock)
        taken = Taken()
        live = set(self._live)
        for before, some in groupby(self._first_time(messages, live, taken), lambda each: each[3] & _BEFORE):
            if not before:
                taken.add(take(list(some), wall_ms=wall_ms, mono_ms=mono_ms, clock=clock))
                continue
            for each in some:
                heard = self._readings.heard_on(each[0])
                alone = take([each], wall_ms=wall_ms, mono_ms=mono_ms, clock=clock)
                said = _Said(alone)
                if before & packets.RETAIN:
                    _leave_out(alone, [[self._stands(one, heard) for one in lane] for lane in said.lanes])
                elif said.timed or said.is_whole(self._end):
                    _leave_out(alone, [[self._end.holds(one.mark) for one in lane] for lane in said.lanes])
                self._note(said)
                taken.add(alone)
        return taken

    def replay(self, messages: Sequence[Publish], *, wall_ms: int, mono_ms: int, clock: ClockQuality) -> Taken:
        """Read all that a broker delivers again as a connection begins, in order.

        Of each topic the beginning that is the end of what the log holds of it is not taken a second time.
        """
        topics: dict[bytes, list[tuple[Taken, _Said]]] = {}
        every: list[tuple[Taken, _Said]] = []
        taken = Taken()
        messages = self._first_time(messages, set(), taken)
        for each in messages:
            alone = self._readings.take([each], wall_ms=wall_ms, mono_ms=mono_ms, clock=clock)
            every.append((alone, _Said(alone)))
            topics.setdefault(each[0], []).append(every[-1])
        if len(messages) >= WINDOW_LEAST and self._has_all([said for _, said in every]):
            for alone, said in every:
                _leave_out(alone, [[True] * len(ones) for ones in said.lanes])
        else:
            for some in topics.values():
                self._leave_out_beginning(some)
        for alone, said in every:
            self._note(said)
            taken.add(alone)
        return taken

    def _first_time(self, messages: Sequence[Publish], live: set[int], taken: Taken) -> list[Publish]:
        """Return the messages without those that this very connection has brought before; count these as repeated.

        It is the same packet identifier, or another one that was given after our acknowledgement had crossed the
        repetition: then `live` says what came. What a connection begins with are messages of the one before, each with
        an identifier of its own, and any two may say the same: for them `live` is empty.
        """
        brought = self._brought
        new: list[Publish] = []
        for each in messages:
            packet_id, what = each[2], hash(each[:2])
            if each[3] & packets.DUP:
                if brought.get(packet_id) == what or what in live:
                    taken.repeated += 1
                    continue
            elif not each[3] & packets.RETAIN:
                self._live.append(what)
                live.add(what)
            brought[packet_id] = what
            new.append(each)
        return new

    def _note(self, said: "_Said") -> None:
        """A message with its device's time is one thing, however often it comes."""
        if said.timed:
            self._end.note([one.mark for lane in said.lanes for one in lane])

    def _has_all(self, every: Sequence["_Said"]) -> bool:
        """Say whether all of it, as it stands, is in the log, be it before the end.

        So it is where more was durable than a broker delivers at once: what follows comes when this is acknowledged.
        """
        for n, lane in enumerate(_LANES):
            ones = [one for said in every for one in said.lanes[n]]
            if ones and not self._end.contains(lane, {one.place for one in ones}, [one.mark for one in ones]):
                return False
        return any(ones for said in every for ones in said.lanes)

    def settle(self) -> None:
        """The broker has delivered again what was in flight: what is left of the log's end are fingerprints."""
        self._end.settle()

    def _leave_out_beginning(self, some: Sequence[tuple[Taken, "_Said"]]) -> None:
        counts = [self._kept(lane, [one for _, each in some for one in each.lanes[n]]) for n, lane in enumerate(_LANES)]
        none = [not count for count in counts]
        for alone, said in some:
            known: list[list[bool]] = []
            for n, ones in enumerate(said.lanes):
                # where nothing is the end of the log, a reading may still be known by its time
                by_time = none[n] and said.timed
                known.append([i < counts[n] or (by_time and self._end.holds(one.mark)) for i, one in enumerate(ones)])
                counts[n] = max(0, counts[n] - len(ones))
            if said.timed or all(any(lane) for lane in known if lane):
                _leave_out(alone, known)  # else one lane has nothing of it, and without a time all of it may be new

    def _kept(self, lane: Lane, ones: Sequence["_One"]) -> int:
        if not ones:
            return 0
        return self._end.kept(lane, ones[0].place[0], {one.place for one in ones}, [one.mark for one in ones])

    def _stands(self, one: "_One", heard: Mapping[tuple[str, str], Value]) -> bool:
        """Say whether a retained reading is what is known."""
        if self._end.holds(one.mark):
            return True
        known = heard.get(one.place[1:], self._end.newest(one.place))
        return one.device_at_ms is None and known is not None and type(known) is type(one.value) and known == one.value


_LANES: Final = (Lane.B, Lane.C)


class _One:
    """One record of a message."""

    __slots__ = ("device_at_ms", "mark", "place", "value")

    def __init__(self, record: bytes) -> None:
        _, self.device_at_ms, _, _, _, body = cbor2.loads(record)
        self.place: Place = (body["device"], body["capability"], body["attribute"])
        self.value: Value | None = body["value"]
        self.mark = fingerprint(self.device_at_ms, cbor.encode(body, floats=True))


class _Said:
    """What one message came to, a list a lane."""

    def __init__(self, alone: Taken) -> None:
        self.lanes = [[_One(record) for record in records] for records in (alone.events, alone.telemetry)]
        self.timed = any(one.device_at_ms is not None for lane in self.lanes for one in lane)

    def is_whole(self, end: LogEnd) -> bool:
        """Say whether the log holds each of its records."""
        return all(end.holds(one.mark) for lane in self.lanes for one in lane)


def _leave_out(alone: Taken, known: Sequence[Sequence[bool]]) -> None:
    events, telemetry = known
    if not any(events) and not any(telemetry):
        return
    alone.events = [record for record, out in zip(alone.events, events, strict=True) if not out]
    alone.telemetry = [record for record, out in zip(alone.telemetry, telemetry, strict=True) if not out]
    if not alone.events and not alone.telemetry:
        alone.repeated += 1
