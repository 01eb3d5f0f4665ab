"""What the house knows of the models of its devices, by descriptor: what they tell and take, how long they sleep.

Asked anew each time: devices that announce themselves come into the catalogue, and announce themselves otherwise,
while the house runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.firmware import all_points
from protocols.descriptors.variants import Key
from protocols.descriptors.wires import AnnouncedWire, BleAdvertWire, MqttWire, Zigbee2MqttWire
from protocols.device_model.capability import Kind
from protocols.device_model.identity import DescriptorId


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes:
        points: Every attribute that any of its firmwares has; of a choice that can be written, the words it takes.
        sleeps_ms: How long it may be silent and yet be well, where it speaks when it likes to; else 0.
        steps: What one step of a raw value is, of every attribute that is a number.
    """

    points: Mapping[Key, frozenset[str]] = field(default_factory=dict)
    sleeps_ms: int = 0
    steps: Mapping[Key, float] = field(default_factory=dict)


UNKNOWN = Model()


class Models:
    """What is to be known of each model of a catalogue, as the catalogue is now.

    Args:
        catalogue: Every model by its name; it may change at any time.
    """

    def __init__(self, catalogue: Mapping[DescriptorId, Descriptor]) -> None:
        self._catalogue = catalogue
        self._known: dict[DescriptorId, tuple[Descriptor, Model]] = {}

    def __call__(self, name: DescriptorId) -> Model:
        """Return what is known of a model; `UNKNOWN` if nobody describes it now."""
        descriptor = self._catalogue.get(name)
        if descriptor is None:
            self._known.pop(name, None)
            return UNKNOWN
        known = self._known.get(name)
        if known is None or known[0] is not descriptor:
            known = self._known[name] = (descriptor, model_of(descriptor))
        return known[1]


def model_of(descriptor: Descriptor) -> Model:
    """Return what is to be known of one model."""
    points = all_points(descriptor)
    return Model(
        {key: _words(point) for key, point in points.items()},
        _sleeps_ms(descriptor),
        {key: abs(point.scale) for key, point in points.items() if point.row.kind is Kind.NUMBER},
    )


def _words(point: Point) -> frozenset[str]:
    if point.write is None or point.row.kind is not Kind.CHOICE:
        return frozenset()
    words = {meaning for _, meaning in point.values if isinstance(meaning, str)}
    return frozenset(words or point.row.choices)


def _sleeps_ms(descriptor: Descriptor) -> int:
    if isinstance(wire := descriptor.wire, Zigbee2MqttWire | MqttWire | BleAdvertWire | AnnouncedWire):
        return round(1000 * wire.silence_s)
    return 0
