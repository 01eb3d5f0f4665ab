"""What the house knows of the models of its devices, by descriptor: what they may tell, and how long they sleep."""

from collections.abc import Mapping
from dataclasses import dataclass

from protocols.descriptors.descriptor import Descriptor
from protocols.descriptors.firmware import all_points
from protocols.descriptors.variants import Key
from protocols.descriptors.wires import BleAdvertWire, MqttWire, Zigbee2MqttWire
from protocols.device_model.identity import DescriptorId


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    Attributes:
        points: Every attribute that any of its firmwares has.
        sleeps_ms: How long it may be silent and yet be well, where it speaks when it likes to; else 0.
    """

    points: frozenset[Key] = frozenset()
    sleeps_ms: int = 0


UNKNOWN = Model()


def models(descriptors: Mapping[DescriptorId, Descriptor]) -> dict[DescriptorId, Model]:
    """Return what is to be known of each model."""
    return {name: Model(frozenset(all_points(each)), _sleeps_ms(each)) for name, each in descriptors.items()}


def _sleeps_ms(descriptor: Descriptor) -> int:
    if isinstance(wire := descriptor.wire, Zigbee2MqttWire | MqttWire | BleAdvertWire):
        return round(1000 * wire.silence_s)
    return 0
