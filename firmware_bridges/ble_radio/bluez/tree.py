"""The objects that bluetoothd shows, and the signals in which it tells of them. Decides nothing."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from dbus_fast import Message, MessageType, Variant

OBJECT_MANAGER: Final = "org.freedesktop.DBus.ObjectManager"
PROPERTIES: Final = "org.freedesktop.DBus.Properties"
ADAPTER: Final = "org.bluez.Adapter1"
DEVICE: Final = "org.bluez.Device1"
SERVICE: Final = "org.bluez.GattService1"
CHARACTERISTIC: Final = "org.bluez.GattCharacteristic1"
DESCRIPTOR: Final = "org.bluez.GattDescriptor1"
Props = dict[str, Variant]


class Tree:
    """Objects by path; each has properties by interface."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self._tell = tell
        self._objects: dict[str, dict[str, Props]] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._objects

    def below(self, path: str) -> Iterator[str]:
        """Yield what is below `path`, the deepest first."""
        yield from sorted((each for each in self._objects if each.startswith(f"{path}/")), reverse=True)

    def add(self, path: str, interface: str, props: Props) -> None:
        """Show an object: InterfacesAdded."""
        self._objects.setdefault(path, {})[interface] = props
        body = [path, {interface: props, PROPERTIES: {}}]
        self._tell(_signal("/", OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", body))

    def remove(self, path: str) -> None:
        """Take an object away, and what is below it: InterfacesRemoved, the deepest first."""
        for each in [*self.below(path), path]:
            if (interfaces := self._objects.pop(each, None)) is not None:
                names = [*interfaces, PROPERTIES]
                self._tell(_signal("/", OBJECT_MANAGER, "InterfacesRemoved", "oas", [each, names]))

    def clear(self) -> None:
        """Forget all of it without a word, as a program that dies does."""
        self._objects.clear()

    def change(self, path: str, interface: str, changed: Mapping[str, Variant], gone: tuple[str, ...] = ()) -> None:
        """Change properties: PropertiesChanged. An object that is not there changes nothing."""
        props = self._objects.get(path, {}).get(interface)
        if props is None:
            return
        props.update(changed)
        gone = tuple(name for name in gone if props.pop(name, None) is not None)
        if changed or gone:
            body = [interface, dict(changed), list(gone)]
            self._tell(_signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", body))

    def get(self, path: str, interface: str, name: str) -> Any:  # noqa: ANN401 - as D-Bus has it
        """Return a property's value, or None."""
        found = self._objects.get(path, {}).get(interface, {}).get(name)
        return None if found is None else found.value

    def all_of(self, path: str, interface: str) -> Props:
        """Return the properties of one interface of an object."""
        return dict(self._objects.get(path, {}).get(interface, {}))

    def managed(self) -> dict[str, dict[str, Props]]:
        """Return everything, for GetManagedObjects."""
        return {path: {name: dict(props) for name, props in of.items()} for path, of in self._objects.items()}


def _signal(path: str, interface: str, member: str, signature: str, body: list[Any]) -> Message:
    return Message(
        message_type=MessageType.SIGNAL,
        path=path,
        interface=interface,
        member=member,
        signature=signature,
        body=body,
    )
