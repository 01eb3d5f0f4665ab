"""The catalogue: every descriptor that this release carries, and more from a folder of the property's own.

Answers for finding the files; what is in them is `protocols.descriptors.descriptor`'s.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from protocols.descriptors.descriptor import Descriptor, load
from protocols.device_model.identity import DescriptorId
from protocols.device_model.site_plan import SitePlan
from protocols.errors import InvalidInputError

PACKAGE: Final = Path(__file__).parent
DESCRIPTORS_MAX: Final = 2_000


def descriptor_files(root: Path = PACKAGE) -> list[Path]:
    """List the descriptor files under `<root>/<family>/descriptors/`, in the order of their names."""
    return sorted(root.glob("*/descriptors/*.toml"))


def load_all(more: Iterable[Path] = ()) -> dict[DescriptorId, Descriptor]:
    """Load every descriptor of this release and those under the roots in `more`.

    Raises:
        InvalidInputError: a file is wrong, or two files claim one id; names file, place and value.
        UnsupportedVersionError: a file is of a format that is not spoken here.
    """
    catalogue: dict[DescriptorId, Descriptor] = {}
    for root in (PACKAGE, *more):
        for path in descriptor_files(root):
            descriptor = load(path)
            if descriptor.id in catalogue:
                raise InvalidInputError(f"{path}: identity.id", f"{descriptor.id!r} is described by another file too")
            if len(catalogue) >= DESCRIPTORS_MAX:
                raise InvalidInputError(str(path), f"is one more than the {DESCRIPTORS_MAX} descriptors that fit")
            catalogue[descriptor.id] = descriptor
    return catalogue


def own_models(folder: Path | None) -> tuple[Path, ...]:
    """Return the folder of a property's own models, for `load_all`; none if there is none.

    Raises:
        InvalidInputError: it is no folder, or nothing in it lies where a descriptor must.
    """
    if folder is None:
        return ()
    if not folder.is_dir():
        raise InvalidInputError(str(folder), "is no folder; descriptors lie in <family>/descriptors/<model>.toml in it")
    if not descriptor_files(folder):
        strange = next((each.relative_to(folder) for each in sorted(folder.glob("**/*.toml"))), None)
        found = "it holds none" if strange is None else f"{strange} is not in its place"
        raise InvalidInputError(str(folder), f"descriptors lie in <family>/descriptors/<model>.toml in it; {found}")
    return (folder,)


def check_plan(plan: SitePlan, catalogue: Mapping[DescriptorId, Descriptor], place: str = "site plan") -> None:
    """See that every device of the plan is described, and hangs on a bus of its descriptor's wire.

    Raises:
        InvalidInputError: names the device and what is wrong.
    """
    kinds = {bus.id: type(bus).__name__ for bus in plan.buses}
    for index, device in enumerate(plan.devices):
        spot = f"{place}: devices[{index}] ({device.id})"
        descriptor = catalogue.get(device.descriptor)
        if descriptor is None:
            known = ", ".join(sorted(catalogue))
            raise InvalidInputError(f"{spot}.descriptor", f"{device.descriptor!r} is not described; known: {known}")
        wanted = _BUS_OF[type(descriptor.wire).__name__]
        if kinds[device.address.bus] not in wanted:
            raise InvalidInputError(
                f"{spot}.address.bus", f"{device.address.bus!r} is a {kinds[device.address.bus]}, not a {wanted[0]}"
            )


_BUS_OF: Final[dict[str, tuple[str, ...]]] = {
    "ModbusWire": ("ModbusTcpBus", "ModbusTlsBus", "ModbusRtuBus", "ModbusRtuTcpBus"),
    "Zigbee2MqttWire": ("MqttBus",),
    "OpcUaWire": ("OpcUaBus",),
    "MqttWire": ("MqttDevicesBus",),
    "BleAdvertWire": ("BleAdvertBus",),
    "PeripheralWire": ("SerialBus", "RawTcpBus"),
    "AnnouncedWire": ("HomeAssistantBus",),
}
"""The kinds of bus that each kind of wire hangs on."""
