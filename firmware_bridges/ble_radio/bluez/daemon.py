"""bluetoothd emulated: one adapter on one bumble radio, on a bus that somebody else runs (bus.py).

It misbehaves as its `manners` say (manners.py), and on demand: `power`, `forget`, `crash` and `start` again.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from bleak.exc import BleakError, BleakGATTProtocolError
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from firmware_bridges.ble_radio.advertisement import Payload, decode
from firmware_bridges.ble_radio.bluez.device import KnownDevice
from firmware_bridges.ble_radio.bluez.manners import BluezError, Manners, in_progress, not_ready, refused
from firmware_bridges.ble_radio.bluez.tree import (
    ADAPTER,
    CHARACTERISTIC,
    DESCRIPTOR,
    DEVICE,
    OBJECT_MANAGER,
    PROPERTIES,
    Props,
    Tree,
)
from firmware_bridges.ble_radio.client import BumbleClient
from firmware_bridges.ble_radio.radio import Heard, Radio
from kit.dice import Dice

NAME: Final = "org.bluez"
HCI0: Final = "/org/bluez/hci0"
RSSI_STEP_DBM: Final = 8
"""A smaller change of the signal strength is not told (BlueZ: RSSI_THRESHOLD)."""
_LEAVING: Final = (
    "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged'"
)
Answer = tuple[str, list[Any]]
NOTHING: Final[Answer] = ("", [])


class Bluetoothd:
    """`org.bluez`, until `crash`. `calls` counts what was asked, by member."""

    def __init__(self, radio: Radio, dice: Dice, *, manners: Manners | None = None) -> None:
        self.manners = manners or Manners()
        self.calls: Counter[str] = Counter()
        self.deaf = False
        """True: what is asked is never answered, as of a process that hangs."""
        self.held: dict[str, asyncio.Event] = {}
        """Members that are done at once and answered once their event is set, as of a process that is slow."""
        self.holding: Counter[str] = Counter()
        """How many answers were held back so, by member."""
        self.written: list[int] = []
        """Bytes of each value written."""
        self._radio, self._dice = radio, dice
        self._client_class = type("BumbleClient", (BumbleClient,), {"radio": radio})
        self._bus: MessageBus | None = None
        self._tree = Tree(self._tell)
        self._known: dict[str, KnownDevice] = {}
        self._sessions: dict[str, Props] = {}
        """Bus names that discover > their filters."""
        self._filters: dict[str, Props] = {}
        self._stop_scan: Callable[[], Awaitable[None]] | None = None
        self._scan_change = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._methods: dict[tuple[str, str], Callable[[Message], Awaitable[Answer]]] = {
            (OBJECT_MANAGER, "GetManagedObjects"): self._managed,
            (PROPERTIES, "Get"): self._get,
            (PROPERTIES, "GetAll"): self._get_all,
            (PROPERTIES, "Set"): self._set,
            (ADAPTER, "SetDiscoveryFilter"): self._set_filter,
            (ADAPTER, "StartDiscovery"): self._start_discovery,
            (ADAPTER, "StopDiscovery"): self._stop_discovery,
            (ADAPTER, "RemoveDevice"): self._remove_device,
            (DEVICE, "Connect"): self._connect,
            (DEVICE, "Disconnect"): self._disconnect,
            (DEVICE, "Pair"): self._pair,
            (CHARACTERISTIC, "ReadValue"): self._read,
            (CHARACTERISTIC, "WriteValue"): self._write,
            (CHARACTERISTIC, "StartNotify"): self._start_notify,
            (CHARACTERISTIC, "StopNotify"): self._stop_notify,
            (DESCRIPTOR, "ReadValue"): self._read,
            (DESCRIPTOR, "WriteValue"): self._write,
        }

    # -- by hand ------------------------------------------------------------------------------------------------------

    async def start(self, bus_address: str, *, adapter: bool = True, powered: bool = True) -> None:
        """Come up on the bus. Raises OSError and dbus_fast's errors when the bus refuses."""
        bus = MessageBus(bus_address=bus_address, negotiate_unix_fd=True)
        await bus.connect()
        bus.add_message_handler(self._on_message)
        await bus.call(
            Message(
                destination="org.freedesktop.DBus",
                path="/org/freedesktop/DBus",
                interface="org.freedesktop.DBus",
                member="AddMatch",
                signature="s",
                body=[_LEAVING],
            )
        )
        self._bus = bus
        await bus.request_name(NAME)
        if adapter:
            self.plug(powered=powered)

    def plug(self, *, powered: bool = True) -> None:
        """Plug the adapter in."""
        self._tree.add(HCI0, ADAPTER, _adapter(powered=powered))

    async def unplug(self) -> None:
        """Pull the adapter out."""
        await self._drop_all()
        self._known.clear()
        self._tree.remove(HCI0)

    async def crash(self) -> None:
        """Die: the name is free, links break, and nobody is told that any object is gone."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.disconnect()
            with suppress(EOFError, OSError):  # the bus itself may have gone before
                await bus.wait_for_disconnect()  # type: ignore[no-untyped-call]  # the library is untyped there
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._drop_all()
        self._known.clear()
        self._tree.clear()

    async def power(self, on: bool) -> None:
        """Switch the adapter, as rfkill or a person does. Without power links break and nobody discovers any more."""
        if not on:
            await self._drop_all()
        self._tree.change(HCI0, ADAPTER, {"Powered": Variant("b", on)})

    async def forget(self, address: str) -> None:
        """Forget a device, as after 30 s out of sight."""
        if (device := self._known.pop(address, None)) is not None:
            await device.end()
            self._tree.remove(device.path)

    def device(self, address: str) -> KnownDevice | None:
        """Return what is known under an address."""
        return self._known.get(address)

    @property
    def discovering(self) -> int:
        """How many programs discover."""
        return len(self._sessions)

    async def _drop_all(self) -> None:
        for device in list(self._known.values()):
            await device.end()
        self._sessions.clear()
        await self._settle_scan()

    # -- the air ------------------------------------------------------------------------------------------------------

    async def _settle_scan(self) -> None:
        """See that the radio listens exactly while somebody discovers."""
        async with self._scan_change:
            if self._sessions and self._stop_scan is None:
                self._stop_scan = await self._radio.listen(self._on_advert)
                self._tree.change(HCI0, ADAPTER, {"Discovering": Variant("b", True)})
            elif not self._sessions and self._stop_scan is not None:
                stop, self._stop_scan = self._stop_scan, None
                with suppress(BleakError):
                    await stop()
                self._tree.change(HCI0, ADAPTER, {"Discovering": Variant("b", False)})
                for device in self._known.values():
                    self._tree.change(device.path, DEVICE, {}, ("RSSI",))

    def _on_advert(self, heard: Heard) -> None:
        seen = decode(heard.data_bytes)
        if HCI0 not in self._tree or not any(_lets_through(each, seen) for each in self._sessions.values()):
            return
        address = heard.address
        sway = self.manners.rssi_sway_dbm
        rssi = max(-127, min(20, round(heard.rssi + self._dice.uniform(-sway, sway))))
        facts = _facts(seen)
        device = self._known.get(address)
        if device is None:
            path = f"{HCI0}/dev_{address.replace(':', '_')}"
            self._known[address] = KnownDevice(
                self._tree, path, address, client_class=self._client_class, dice=self._dice, manners=self.manners
            )
            self._tree.add(path, DEVICE, {**_device(address), **facts, "RSSI": Variant("n", rssi)})
            return
        path = device.path
        changed = {name: value for name, value in facts.items() if self._tree.get(path, DEVICE, name) != value.value}
        told = self._tree.get(path, DEVICE, "RSSI")
        if told is None or abs(told - rssi) >= RSSI_STEP_DBM:
            changed["RSSI"] = Variant("n", rssi)
        self._tree.change(path, DEVICE, changed)

    # -- the bus ------------------------------------------------------------------------------------------------------

    def _tell(self, message: Message) -> None:
        if self._bus is not None and self._bus.connected:
            self._bus.send(message).add_done_callback(_told)

    def _on_message(self, message: Message) -> bool:
        if message.message_type is MessageType.SIGNAL:
            if message.member == "NameOwnerChanged" and not message.body[2]:
                self._spawn(self._left(message.body[0]))
            return False
        if message.message_type is not MessageType.METHOD_CALL:
            return False
        self._spawn(self._serve(message))
        return True

    def _spawn(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, message: Message) -> None:
        member = message.member or ""
        self.calls[member] += 1
        if self.deaf:
            return
        try:
            if member in {"AcquireNotify", "AcquireWrite"} and message.interface == CHARACTERISTIC:
                await self._acquire(message)
                return
            method = self._methods.get((message.interface or "", member))
            if message.path != "/" and (message.path or "") not in self._tree:
                text = f'Method "{member}" on interface "{message.interface}" doesn\'t exist'
                raise BluezError("org.freedesktop.DBus.Error.UnknownObject", text)
            if method is None:
                raise BluezError("org.freedesktop.DBus.Error.UnknownMethod", f"no method {member!r}")
            signature, body = await method(message)
            if (answers := self.held.get(member)) is not None:
                self.holding[member] += 1
                await answers.wait()
            self._tell(Message.new_method_return(message, signature, body))
        except BluezError as error:
            self._tell(Message.new_error(message, error.name, str(error)))
        except BleakGATTProtocolError as error:
            said = refused(error)
            self._tell(Message.new_error(message, said.name, str(said)))
        except BleakError as error:
            self._tell(Message.new_error(message, f"{NAME}.Error.Failed", str(error)))

    async def _acquire(self, message: Message) -> None:
        device, path = self._of(message), message.path or ""
        if message.member == "AcquireNotify":
            end, mtu = await device.acquire_notify(path)
        else:
            end, mtu = device.acquire_write(path)
        with end:
            if self._bus is not None:
                await self._bus.send(Message.new_method_return(message, "hq", [0, mtu], [end.fileno()]))

    async def _left(self, sender: str) -> None:
        self._filters.pop(sender, None)
        for device in list(self._known.values()):
            await device.left(sender)
        if self._sessions.pop(sender, None) is not None:
            await self._settle_scan()

    def _of(self, message: Message) -> KnownDevice:
        path = message.path or ""
        for device in self._known.values():
            if path == device.path or path.startswith(f"{device.path}/"):
                return device
        raise BluezError("org.freedesktop.DBus.Error.UnknownObject", f"no object at {path}")

    # -- methods ------------------------------------------------------------------------------------------------------

    async def _managed(self, _message: Message) -> Answer:
        return "a{oa{sa{sv}}}", [self._tree.managed()]

    async def _get(self, message: Message) -> Answer:
        interface, name = message.body
        found = self._tree.all_of(message.path or "", interface).get(name)
        if found is None:
            raise BluezError("org.freedesktop.DBus.Error.InvalidArgs", f"No such property '{name}'")
        return "v", [found]

    async def _get_all(self, message: Message) -> Answer:
        return "a{sv}", [self._tree.all_of(message.path or "", message.body[0])]

    async def _set(self, message: Message) -> Answer:
        interface, name, value = message.body
        if (interface, name) == (ADAPTER, "Powered"):
            await self.power(bool(value.value))
        else:
            self._tree.change(message.path or "", interface, {name: value})
        return NOTHING

    async def _set_filter(self, message: Message) -> Answer:
        self._ready()
        self._filters[message.sender or ""] = message.body[0]
        return NOTHING

    async def _start_discovery(self, message: Message) -> Answer:
        self._ready()
        sender = message.sender or ""
        if sender in self._sessions or self._chance(self.manners.busy):
            raise in_progress()
        self._sessions[sender] = self._filters.get(sender, {})
        await self._settle_scan()
        return NOTHING

    async def _stop_discovery(self, message: Message) -> Answer:
        self._ready()
        if self._sessions.pop(message.sender or "", None) is None:
            raise BluezError("Failed", "No discovery started")
        await self._settle_scan()
        return NOTHING

    async def _remove_device(self, message: Message) -> Answer:
        for address, device in self._known.items():
            if device.path == message.body[0]:
                await self.forget(address)
                return NOTHING
        raise BluezError("DoesNotExist", "Does Not Exist")

    async def _connect(self, message: Message) -> Answer:
        self._ready()
        device = self._of(message)
        if self._chance(self.manners.vanish):
            await self.forget(device.address)
            raise BluezError("org.freedesktop.DBus.Error.UnknownObject", f"no object at {device.path}")
        await device.connect()
        return NOTHING

    async def _disconnect(self, message: Message) -> Answer:
        await self._of(message).disconnect()
        return NOTHING

    async def _pair(self, message: Message) -> Answer:
        await self._of(message).pair()
        return NOTHING

    async def _read(self, message: Message) -> Answer:
        return "ay", [await self._of(message).read(message.path or "")]

    async def _write(self, message: Message) -> Answer:
        value, options = message.body
        self.written.append(len(value))
        kind = options.get("type")
        response = kind is None or kind.value != "command"
        await self._of(message).write(message.path or "", bytes(value), response=response)
        return NOTHING

    async def _start_notify(self, message: Message) -> Answer:
        await self._of(message).start_notify(message.path or "", message.sender or "")
        return NOTHING

    async def _stop_notify(self, message: Message) -> Answer:
        await self._of(message).stop_notify(message.path or "", message.sender or "")
        return NOTHING

    def _ready(self) -> None:
        if not self._tree.get(HCI0, ADAPTER, "Powered"):
            raise not_ready()

    def _chance(self, share: float) -> bool:
        return share > 0 and self._dice.uniform(0, 1) < share


def _told(sent: "asyncio.Future[None]") -> None:
    """A bus that broke meanwhile takes nothing more: nobody is there to be told of it."""
    if not sent.cancelled():
        sent.exception()


def _adapter(*, powered: bool) -> Props:
    return {
        "Address": Variant("s", "00:1A:7D:DA:71:13"),
        "AddressType": Variant("s", "public"),
        "Name": Variant("s", "innkeeper"),
        "Alias": Variant("s", "innkeeper"),
        "Class": Variant("u", 0),
        "Powered": Variant("b", powered),
        "Discoverable": Variant("b", False),
        "Pairable": Variant("b", False),
        "Discovering": Variant("b", False),
        "UUIDs": Variant("as", []),
        "Modalias": Variant("s", "usb:v1D6Bp0246d0542"),
        "Roles": Variant("as", ["central", "peripheral"]),
    }


def _device(address: str) -> Props:
    return {
        "Address": Variant("s", address),
        "AddressType": Variant("s", "random"),
        "Alias": Variant("s", address.replace(":", "-")),
        "Adapter": Variant("o", HCI0),
        "Paired": Variant("b", False),
        "Bonded": Variant("b", False),
        "Trusted": Variant("b", False),
        "Blocked": Variant("b", False),
        "LegacyPairing": Variant("b", False),
        "Connected": Variant("b", False),
        "ServicesResolved": Variant("b", False),
        "UUIDs": Variant("as", []),
    }


def _facts(seen: Payload) -> Props:
    """Return what an advert says as properties. BlueZ shows 128-bit UUIDs only, lower case."""
    facts: Props = {}
    if seen.local_name is not None:
        facts |= {"Name": Variant("s", seen.local_name), "Alias": Variant("s", seen.local_name)}
    if seen.service_uuids:
        facts["UUIDs"] = Variant("as", seen.service_uuids)
    if seen.service_data:
        facts["ServiceData"] = Variant("a{sv}", {key: Variant("ay", data) for key, data in seen.service_data.items()})
    if seen.manufacturer_data:
        data = {key: Variant("ay", value) for key, value in seen.manufacturer_data.items()}
        facts["ManufacturerData"] = Variant("a{qv}", data)
    if seen.tx_power_dbm is not None:
        facts["TxPower"] = Variant("n", seen.tx_power_dbm)
    return facts


def _lets_through(wanted: Props, seen: Payload) -> bool:
    uuids = wanted.get("UUIDs")
    return uuids is None or not uuids.value or bool(set(uuids.value) & set(seen.service_uuids))
