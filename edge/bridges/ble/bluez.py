"""Whether BlueZ can serve us, by name: the system bus, bluetoothd on it, an adapter, its power. Notices when one goes.

bleak tells none of this: a scan on an adapter that was switched off, or of a bluetoothd that was started again, is
silent and stays so. Asks and listens, and changes nothing: what a person switched off is not switched on from here.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from bleak.backends.bluezdbus.utils import get_dbus_authenticator
from dbus_fast import BusType, Message, MessageType, unpack_variants
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusFastError

from protocols.errors import LinkLostError

BLUEZ: Final = "org.bluez"
ADAPTER: Final = "org.bluez.Adapter1"
BUS: Final = "org.freedesktop.DBus"
ANSWER_WAIT_S: Final = 5.0
_RULES: Final = (
    f"type='signal',sender='{BUS}',member='NameOwnerChanged',arg0='{BLUEZ}'",
    f"type='signal',sender='{BLUEZ}',member='PropertiesChanged',path_namespace='/org/bluez',arg0='{ADAPTER}'",
    f"type='signal',sender='{BLUEZ}',member='InterfacesRemoved',arg0path='/org/bluez/'",
)
NO_DAEMON: Final = "bluetoothd is not on the system bus (systemctl status bluetooth)"
_REFUSALS: Final = {
    f"{BUS}.Error.AccessDenied": "the system bus does not let this user speak to bluetoothd (group bluetooth)",
    f"{BUS}.Error.ServiceUnknown": NO_DAEMON,
    f"{BUS}.Error.NameHasNoOwner": NO_DAEMON,
}


class BluezWatch:
    """BlueZ, which served when this was made. `lost` is set, and `why` says so, once it does so no more."""

    def __init__(self, bus: MessageBus) -> None:
        self.lost = asyncio.Event()
        self.why = ""
        self._bus = bus
        self._powered: set[str] = set()

    async def begin(self) -> None:
        """Listen, then look. Raises LinkLostError: what is missing."""
        self._bus.add_message_handler(self._heard)
        for rule in _RULES:
            await self._ask(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", rule)
        [objects] = await self._ask(BLUEZ, "/", f"{BUS}.ObjectManager", "GetManagedObjects")
        adapters = {path: unpack_variants(of[ADAPTER]) for path, of in objects.items() if ADAPTER in of}
        if not adapters:
            raise LinkLostError("there is no Bluetooth adapter (rfkill list; is the stick in its socket?)")
        self._powered |= {path for path, props in adapters.items() if props.get("Powered")}
        if not self._powered:
            raise LinkLostError(_switched_off(*adapters))
        if self.lost.is_set():
            raise LinkLostError(self.why)

    async def follow(self) -> None:
        """Notice the end of the bus itself, until cancelled."""
        with suppress(EOFError, OSError, DBusFastError):
            await self._bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # the library is untyped there
        self._lose("the system bus is gone (systemctl status dbus)")

    def _lose(self, why: str) -> None:
        if not self.lost.is_set():
            self.why = why
            self.lost.set()

    def _heard(self, message: Message) -> bool:
        """Take a signal; what the bus delivers is of the senders that were asked for."""
        if message.message_type is not MessageType.SIGNAL:
            return False
        match message.member, message.body:
            case "NameOwnerChanged", [_, old, _] if old:
                self._lose("bluetoothd has ended, or was started again")
            case "PropertiesChanged", [_, {"Powered": powered}, _] if message.path in self._powered:
                if not powered.value:
                    self._lose(_switched_off(message.path))
            case "InterfacesRemoved", [path, interfaces] if path in self._powered and ADAPTER in interfaces:
                self._lose(f"the Bluetooth adapter {_short(path)} was taken away")
        return False

    async def _ask(self, name: str, path: str, interface: str, member: str, *said: str) -> Any:  # noqa: ANN401 - D-Bus
        call = Message(
            destination=name, path=path, interface=interface, member=member, signature="s" * len(said), body=[*said]
        )
        try:
            async with asyncio.timeout(ANSWER_WAIT_S):
                reply = await self._bus.call(call)
        except TimeoutError as error:
            raise LinkLostError(f"{name} does not answer on the system bus ({member})") from error
        except (EOFError, OSError, DBusFastError) as error:
            raise LinkLostError(f"the system bus is gone: {error!r}") from error
        if reply.message_type is MessageType.ERROR:
            kind = str(reply.error_name)
            text = reply.body[0] if reply.body else ""
            raise LinkLostError(_REFUSALS.get(kind, f"bluetoothd does not serve: {kind}: {text}"))
        return reply.body


@asynccontextmanager
async def watched() -> AsyncIterator[BluezWatch]:
    """Watch BlueZ for the length of the block.

    Raises:
        LinkLostError: it cannot serve now, and what of it is missing; safe to try again.
    """
    bus = MessageBus(bus_type=BusType.SYSTEM, auth=get_dbus_authenticator())
    try:
        async with asyncio.timeout(ANSWER_WAIT_S):
            await bus.connect()
    except TimeoutError as error:
        raise LinkLostError("the system bus does not answer (systemctl status dbus)") from error
    except (EOFError, OSError, DBusFastError) as error:
        raise LinkLostError(f"there is no system bus to reach BlueZ by: {error!r} (systemctl status dbus)") from error
    following: asyncio.Task[None] | None = None
    try:
        watch = BluezWatch(bus)
        following = asyncio.get_running_loop().create_task(watch.follow())
        await watch.begin()
        yield watch
    finally:
        bus.disconnect()
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


def _switched_off(*paths: str | None) -> str:
    names = ", ".join(sorted(_short(each or "") for each in paths))
    return f"the Bluetooth adapter {names} is switched off (rfkill list; bluetoothctl power on)"


def _short(path: str) -> str:
    return path.rpartition("/")[2]
