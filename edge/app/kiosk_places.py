"""Which kiosk has which peripherals: those of the site plan that stand at one place are one kiosk's.

A kiosk is named by the place (the plan's room) where its peripherals stand. Which of them is the reader, the dispenser
and the printer is told by their descriptors' dialects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from protocols.descriptors.descriptor import Descriptor
from protocols.descriptors.wires import PeripheralWire
from protocols.device_model.identity import DescriptorId, DeviceId
from protocols.device_model.site_plan import SitePlan

_PARTS: Final = {"honeywell_ocr": "reader", "quio_card_dispenser": "dispenser", "escpos": "printer"}


@dataclass(frozen=True, slots=True)
class KioskPlace:
    """One kiosk. `encoder`: where the dispenser's cards are written; None: it gives no keys."""

    place: str
    reader: DeviceId | None = None
    dispenser: DeviceId | None = None
    printer: DeviceId | None = None
    encoder: str | None = None

    def to_body(self) -> dict[str, Any]:
        """Return what the page is told: `cards` is whether keys are written and given here."""
        return {
            "place": self.place,
            "reader": self.reader,
            "dispenser": self.dispenser,
            "printer": self.printer,
            "cards": self.dispenser is not None and self.encoder is not None,
        }


def places_of(
    plan: SitePlan | None, descriptors: Mapping[DescriptorId, Descriptor], encoders: Mapping[str, str]
) -> dict[str, KioskPlace]:
    """Return the kiosks of a plan by place; of two peripherals of one kind at a place the first by name counts. Pure.

    Args:
        plan: The plan in force; None: there is none.
        descriptors: Every model.
        encoders: By place, the encoder of its dispenser.
    """
    found: dict[str, KioskPlace] = {}
    for device in sorted(() if plan is None else plan.devices, key=lambda each: each.id):
        descriptor = descriptors.get(device.descriptor)
        if descriptor is None or not isinstance(descriptor.wire, PeripheralWire):
            continue
        part = _PARTS[descriptor.wire.dialect]
        kiosk = found.get(device.room) or KioskPlace(device.room, encoder=encoders.get(device.room))
        if getattr(kiosk, part) is None:
            kiosk = replace(kiosk, **{part: device.id})
        found[device.room] = kiosk
    return found
