"""What of a device's whole state is news: Zigbee2MQTT says all that it knows of a device, to tell one value of it.

Made ready once for a device under its firmware. Of a message each point then costs a look into the document and a
comparison with what it said last; what is otherwise, or due again, becomes a reading exactly as it would without this.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edge.bridges.reporter import Known, Reporter
from protocols.descriptors.codec import judge, reading, value_at
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.plain_numbers import PlainNumber, plain_number
from protocols.device_model.identity import DeviceId
from protocols.device_model.reading import Quality, Reading

_GOOD: Final = Quality.GOOD


@dataclass(slots=True)
class _Place:
    """One point, with what was last said there."""

    point: Point
    path: str
    deep: bool
    number: PlainNumber | None
    known: Known
    raw: object = None


class StateNews:
    """One device's. Who holds it calls `forget` whenever it has had a message read in another way."""

    def __init__(self, device: DeviceId, reporter: Reporter) -> None:
        self._device, self._reporter = device, reporter
        self._descriptor: Descriptor | None = None
        self._edition = -1
        self._places: list[_Place] = []
        self._unexpected: list[Point] = []

    def forget(self) -> None:
        """Forget what was said: whatever is said next is to be taken whole."""
        self._edition = -1

    def take(
        self,
        descriptor: Descriptor,
        document: Mapping[str, Any],
        device_at_ms: int | None,
        *,
        now_ms: int,
        age_ms: int,
        topic: str,
    ) -> None:
        """Have the reporter take what a message says. Its arguments: see `Reporter.take`."""
        reporter, device, heard_ms = self._reporter, self._device, now_ms - age_ms
        if self._edition != reporter.edition or self._descriptor is not descriptor:
            self._prepare(descriptor)
        get = document.get
        told: list[Reading] = []
        try:
            for each in self._places:
                raw = value_at(document, each.path) if each.deep else get(each.path)
                if raw is None:
                    continue
                known, before = each.known, each.raw
                if raw == before and now_ms < known.quiet_until_ms and type(raw) is type(before):
                    if heard_ms > known.heard_ms:  # noqa: PLR1730 - calling max costs more than the rest
                        known.heard_ms = heard_ms
                    known.again_at_ms = device_at_ms
                    continue
                each.raw = raw
                point, number = each.point, each.number
                if number is None or (value := number.value(raw)) is None:
                    said = reading(point, device, judge(point, raw), device_at_ms)
                    if reporter.is_news(said, now_ms=now_ms, age_ms=age_ms, place=topic):
                        told.append(said)
                    continue
                said = Reading(device, point.capability, point.attribute, value, point.unit, _GOOD, device_at_ms)
                if reporter.tells_number(known, said, now_ms, heard_ms):
                    told.append(said)
        finally:  # it counts as told
            if told:
                reporter.hand_on(told)
        for point in self._unexpected:
            if (raw := value_at(document, point.path or "")) is not None:
                judged = reading(point, device, judge(point, raw), device_at_ms)
                reporter.take(judged, now_ms=now_ms, age_ms=age_ms, place=topic)

    def _prepare(self, descriptor: Descriptor) -> None:
        self._descriptor, self._edition = descriptor, self._reporter.edition
        self._places, self._unexpected = [], []
        for point in descriptor.points:
            path, known = point.path or "", self._reporter.known(self._device, point)
            if known is None:
                self._unexpected.append(point)
            else:
                self._places.append(_Place(point, path, "." in path, plain_number(point), known))
