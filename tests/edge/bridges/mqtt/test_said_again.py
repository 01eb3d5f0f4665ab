"""What a message says once more is told exactly as if every word of it were taken: the same records, sooner."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bridges.complaints import Complaints
from edge.bridges.mqtt.state_news import StateNews
from edge.bridges.reporter import Reporter
from firmware_bridges.catalogue import load_all
from kit.clock import ManualClock
from protocols.descriptors.codec import readings_of_document
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.device_model.capability import Capability, Unit
from protocols.device_model.identity import BusId, DescriptorId, DeviceId
from protocols.device_model.reading import Quality, Reading
from tests.edge.bridges.field import CONTACT, Heard

CLIMATE: Final = load_all()[DescriptorId("zigbee2mqtt/aqara_wsdcgq11lm")]
DOOR: Final = load_all()[CONTACT]
DEVICE: Final = DeviceId("sensor-1")
STALE_MS: Final = 7_200_000
DEEP: Final = msgspec.structs.replace(
    CLIMATE,
    points=(
        Point(Capability.TEMPERATURE_MEASUREMENT, "measured_value", "number", path="inner.1.t", unit=Unit.CELSIUS),
        Point(Capability.TEMPERATURE_MEASUREMENT, "measured_value:doubted", "number", path="t", doubt="a guess"),
        Point(Capability.TEMPERATURE_MEASUREMENT, "measured_value:none", "number", path="n", nan=(21,)),
        Point(Capability.TEMPERATURE_MEASUREMENT, "measured_value:spelt", "numeral", path="s"),
    ),
)

raws = st.sampled_from([21.0, 21.05, 21.1, 21.3, 25.0, 999.0, "?", 21, True, None, [21], {"t": 21}, -(10**400), "21.5"])
keys = st.sampled_from(["temperature", "humidity", "battery", "voltage", "linkquality", "contact", "t", "n", "s"])
deep = st.builds(lambda raw: {"inner": [0, {"t": raw}]}, raws)
documents = st.one_of(st.dictionaries(keys, raws, max_size=6), deep)
pauses = st.sampled_from([1, 20, 100, 60_000, 3_600_000, 7_200_000])
steps = st.lists(
    st.tuples(documents, pauses, st.sampled_from(["say"] * 6 + ["gone", "renew", "old", "-"])), max_size=80
)


class Told:
    """A reporter with all that comes of it."""

    def __init__(self, descriptor: Descriptor) -> None:
        self.heard, self.counts = Heard(), Counter[str]()
        self.reporter = Reporter(self.heard, self.counts, Complaints(BusId("zigbee"), self.counts, ManualClock()))
        self.descriptor = descriptor
        for point in descriptor.points:
            self.reporter.expect(DEVICE, point, stale_ms=STALE_MS, now_ms=0)

    def renew(self, now_ms: int) -> None:
        """Another firmware: a point goes, or comes back."""
        every = self.descriptor.points
        known = [each for each in every if self.reporter.known(DEVICE, each) is not None]
        wanted = every[1:] if len(known) == len(every) else every
        self.reporter.renew(DEVICE, [(each, STALE_MS) for each in wanted], now_ms=now_ms)

    def take(self, document: Mapping[str, Any], now_ms: int, *, doubted: bool = False) -> None:
        """Take every word."""
        for each in readings_of_document(self.descriptor.points, DEVICE, document, now_ms):
            told = (
                msgspec.structs.replace(each, quality=Quality.UNCERTAIN) if doubted and each.value is not None else each
            )
            self.reporter.take(told, now_ms=now_ms, age_ms=7)


@pytest.mark.guarantee("G17")
@pytest.mark.parametrize("descriptor", [CLIMATE, DOOR, DEEP], ids=["climate", "door", "deep"])
@given(said=steps)
def test_what_is_said_again_is_told_as_if_it_were_taken(
    descriptor: Descriptor, said: list[tuple[Mapping[str, Any], int, str]]
) -> None:
    whole, brief = Told(descriptor), Told(descriptor)
    news = StateNews(DEVICE, brief.reporter)
    now_ms = 0
    for document, pause_ms, what in said:
        now_ms += pause_ms
        for each in (whole, brief):
            each.reporter.sweep(now_ms=now_ms)
            if what == "gone":
                each.reporter.silent(DEVICE, now_ms=now_ms)
            elif what == "renew":
                each.renew(now_ms)
        if what == "say":
            whole.take(document, now_ms)
            news.take(descriptor, document, now_ms, now_ms=now_ms, age_ms=7, topic="z/sensor-1")
        elif what == "old":
            whole.take(document, now_ms, doubted=True)
            news.forget()
            brief.take(document, now_ms, doubted=True)
        assert brief.reporter.sweep_in_ms(now_ms=now_ms) == whole.reporter.sweep_in_ms(now_ms=now_ms)
    for each in (whole, brief):
        each.reporter.sweep(now_ms=now_ms + STALE_MS)
    assert brief.heard.readings == whole.heard.readings
    assert brief.counts == whole.counts


def test_who_changes_without_end_is_told_as_if_every_word_were_taken() -> None:
    whole, brief = Told(CLIMATE), Told(CLIMATE)
    news = StateNews(DEVICE, brief.reporter)
    for n, now_ms in enumerate(range(1_000, 9_000, 20)):
        document = {"temperature": 20.0 + n % 7, "humidity": 40.0 + n % 3 / 100}
        whole.take(document, now_ms)
        news.take(CLIMATE, document, now_ms, now_ms=now_ms, age_ms=7, topic="z/sensor-1")
    for each in (whole, brief):
        each.reporter.sweep(now_ms=20_000)
    assert brief.heard.readings == whole.heard.readings
    assert brief.counts == whole.counts
    assert brief.counts["babbled"] > 100


@pytest.mark.guarantee("G17")
def test_what_is_told_as_stale_has_the_time_at_which_the_device_said_it_last() -> None:
    told = Told(CLIMATE)
    news = StateNews(DEVICE, told.reporter)
    for at_ms in (1_000, 2_000, 3_000):
        news.take(CLIMATE, {"temperature": 21.3}, at_ms, now_ms=at_ms, age_ms=0, topic="z/sensor-1")
    [said] = told.heard.readings
    told.reporter.sweep(now_ms=3_000 + STALE_MS - 1)
    assert told.heard.readings == [said], "it spoke at 3,000"
    told.reporter.sweep(now_ms=3_000 + STALE_MS)
    stale = told.heard.readings[-1]
    assert (stale.value, stale.quality, stale.device_at_ms) == (21.3, Quality.STALE, 3_000)


@pytest.mark.guarantee("G1")
def test_what_one_message_tells_goes_on_together_and_once() -> None:
    told = Told(CLIMATE)
    news = StateNews(DEVICE, told.reporter)
    handed_on: list[list[float]] = []
    together = told.heard.together

    def noted(readings: Sequence[Reading]) -> None:
        handed_on.append([float(each.value or 0) for each in readings])
        together(readings)

    told.heard.together = noted  # type: ignore[method-assign]  # watched
    documents: list[dict[str, Any]] = [
        {"temperature": 21.3, "humidity": 40.1}, {"temperature": 21.3}, {"temperature": 22.3, "humidity": "?"},
    ]  # fmt: skip
    for at_ms, document in enumerate(documents, 1):
        news.take(CLIMATE, document, at_ms, now_ms=at_ms, age_ms=0, topic="z/sensor-1")
    assert handed_on == [[21.3, 40.1], [22.3, 0.0]], "what is no news is not handed on"
    assert [each.quality for each in told.heard.readings] == [Quality.GOOD] * 3 + [Quality.BAD]
    assert told.counts["readings"] == 4


def test_what_a_message_told_before_a_defect_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(CLIMATE)

    def broken(*_: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr("edge.bridges.mqtt.state_news.judge", broken)
    with pytest.raises(ZeroDivisionError):
        StateNews(DEVICE, told.reporter).take(
            CLIMATE, {"temperature": 21.3, "humidity": "?"}, 1, now_ms=1, age_ms=0, topic="z/sensor-1"
        )
    assert [each.value for each in told.heard.readings] == [21.3]


def test_a_word_of_the_same_number_and_of_another_kind_is_another() -> None:
    told = Told(DOOR)
    news = StateNews(DEVICE, told.reporter)
    for raw in (True, 1, True):
        news.take(DOOR, {"contact": raw}, None, now_ms=1, age_ms=0, topic="z/door")
    assert [each.quality for each in told.heard.readings] == [Quality.GOOD, Quality.BAD, Quality.GOOD]
