"""One device that bluetoothd knows: its link, its services as objects, and who is told of its values."""

import asyncio
import socket
from contextlib import suppress
from typing import Final

from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.exc import BleakDeviceNotFoundError, BleakError
from bumble.att import ATT_DEFAULT_MTU
from dbus_fast import Variant

from firmware_bridges.ble_radio.bluez.manners import BluezError, Manners, in_progress, not_connected
from firmware_bridges.ble_radio.bluez.tree import CHARACTERISTIC, DESCRIPTOR, DEVICE, SERVICE, Tree
from firmware_bridges.ble_radio.client import BumbleClient
from kit.dice import Dice

PAGE_WAIT_S: Final = 20.0
ABORTED_MS: Final = 5
_HIDDEN: Final = frozenset({"00002900-0000-1000-8000-00805f9b34fb", "00002902-0000-1000-8000-00805f9b34fb"})
"""Descriptors that BlueZ keeps to itself: extended properties, and who is notified."""


class KnownDevice:
    """What stands at one `dev_…` path. Services stay known after a link (BlueZ: Cache = always)."""

    def __init__(
        self, tree: Tree, path: str, address: str, *, client_class: type[BumbleClient], dice: Dice, manners: Manners
    ) -> None:
        self.path, self.address = path, address
        self._tree, self._class, self._dice, self._manners = tree, client_class, dice, manners
        self._client: BumbleClient | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._resolving: asyncio.Task[None] | None = None
        self._characteristics: dict[str, BleakGATTCharacteristic] = {}
        self._descriptors: dict[str, BleakGATTDescriptor] = {}
        self._notified: dict[str, set[str]] = {}
        """Characteristic > bus names that asked for its values."""
        self._pipes: dict[str, socket.socket] = {}
        """Characteristic > our end of what AcquireNotify gave away."""
        self._unsubscribing: asyncio.Future[None] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the link stands."""
        return self._client is not None

    async def connect(self) -> None:
        """Device1.Connect. Raises BluezError."""
        if self._client is not None:
            raise BluezError("AlreadyConnected", "Already Connected")
        if self._connecting is not None:
            raise in_progress()
        task = self._connecting = asyncio.ensure_future(self._link())
        try:
            await asyncio.wait({task})
        finally:
            task.cancel()
            await asyncio.wait({task})  # what was begun is taken back before anything else is
            self._connecting = None
        if task.cancelled():
            raise BluezError("Failed", "Operation canceled")
        task.result()

    async def _link(self) -> None:
        manners = self._manners
        if self._chance(manners.busy):
            raise in_progress()
        if self._chance(manners.slow):
            await asyncio.sleep(self._dice.uniform(0, manners.slow_ms) / 1_000)
        if self._chance(manners.abort):
            self._say(Connected=Variant("b", True))  # BlueZ does, and takes it back after its answer
            asyncio.get_running_loop().call_later(ABORTED_MS / 1_000, self._aborted)
            raise BluezError("Failed", "le-connection-abort-by-local")
        client = self._class(self.address, disconnected_callback=self._on_end, timeout=PAGE_WAIT_S)
        try:
            await client.connect(pair=False)
        except BleakDeviceNotFoundError as error:
            raise BluezError("Failed", "le-connection-timeout") from error
        except (BleakError, TimeoutError) as error:
            raise BluezError("Failed", "le-connection-abort-by-remote") from error
        self._client = client
        if not client.is_connected:  # it broke in the very moment
            self._on_end()
            raise BluezError("Failed", "le-connection-abort-by-remote")
        self._say(Connected=Variant("b", True))
        self._resolving = asyncio.ensure_future(self._resolve(client))

    def _aborted(self) -> None:
        if self._client is None:
            self._say(Connected=Variant("b", False))

    async def _resolve(self, client: BumbleClient) -> None:
        await asyncio.sleep(self._manners.resolve_ms / 1_000)
        late = self._manners.mtu_late_ms
        self._show(client, ATT_DEFAULT_MTU if late else client.mtu_size)
        self._say(ServicesResolved=Variant("b", True))
        if late:
            await asyncio.sleep(late / 1_000)
            for path in self._characteristics:
                self._tree.change(path, CHARACTERISTIC, {"MTU": Variant("q", client.mtu_size)})

    def _show(self, client: BumbleClient, mtu: int) -> None:
        """Make objects of the services; those of an earlier link are still there."""
        self._characteristics, self._descriptors = {}, {}
        services = client.services
        for service in services or ():
            at = f"{self.path}/service{service.handle:04x}"
            if at not in self._tree:
                props = {"UUID": Variant("s", service.uuid), "Device": Variant("o", self.path)}
                self._tree.add(at, SERVICE, {**props, "Primary": Variant("b", True), "Includes": Variant("ao", [])})
            for each in service.characteristics:
                path = f"{at}/char{each.handle - 1:04x}"
                self._characteristics[path] = each
                if path in self._tree:
                    self._tree.change(path, CHARACTERISTIC, {"MTU": Variant("q", mtu)})
                else:
                    self._tree.add(path, CHARACTERISTIC, _characteristic(each, at, mtu))
                for descriptor in each.descriptors:
                    if descriptor.uuid in _HIDDEN:
                        continue
                    below = f"{path}/desc{descriptor.handle:04x}"
                    self._descriptors[below] = descriptor
                    if below not in self._tree:
                        props = {"UUID": Variant("s", descriptor.uuid), "Characteristic": Variant("o", path)}
                        empty = {"Value": Variant("ay", b""), "Flags": Variant("as", [])}
                        self._tree.add(below, DESCRIPTOR, {**props, **empty})

    async def disconnect(self) -> None:
        """Device1.Disconnect: ends a link, or an attempt at one. Raises BluezError."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        elif self._client is None:
            raise not_connected()
        await self.end()

    async def end(self) -> None:
        """End the link, if there is one."""
        if (client := self._client) is not None:
            try:
                await client.disconnect()
            except BleakError:
                self._on_end()

    def _on_end(self) -> None:
        if self._client is None:
            return
        self._client = None
        if self._resolving is not None:
            self._resolving.cancel()
        self._notified.clear()
        for path in list(self._pipes):
            self._close(path)
        self._say(Connected=Variant("b", False), ServicesResolved=Variant("b", False))

    async def pair(self) -> None:
        """Device1.Pair. Raises BluezError."""
        client = self._linked()
        try:
            await client.pair()
        except BleakError as error:
            raise BluezError("AuthenticationFailed", "Authentication Failed") from error
        self._say(Paired=Variant("b", True), Bonded=Variant("b", True))

    # -- values -------------------------------------------------------------------------------------------------------

    async def read(self, path: str) -> bytes:
        """ReadValue, which also tells the value to everybody, as BlueZ does. Raises BluezError, BleakError."""
        client = self._linked(busy=True)
        if (descriptor := self._descriptors.get(path)) is not None:
            return bytes(await client.read_gatt_descriptor(descriptor))
        value = bytes(await client.read_gatt_char(self._at(path)))
        self._tree.change(path, CHARACTERISTIC, {"Value": Variant("ay", value)})
        return value

    async def write(self, path: str, value: bytes, *, response: bool) -> None:
        """WriteValue. Raises BluezError, BleakError."""
        client = self._linked(busy=True)
        if (descriptor := self._descriptors.get(path)) is not None:
            await client.write_gatt_descriptor(descriptor, value)
            return
        await client.write_gatt_char(self._at(path), value, response)

    async def start_notify(self, path: str, sender: str) -> None:
        """StartNotify: values are told as changes of the property Value. Raises BluezError, BleakError."""
        client = self._linked(busy=True)
        asked = self._notified.setdefault(path, set())
        if sender in asked:
            raise in_progress()
        first = not asked
        asked.add(sender)
        if first and path not in self._pipes:
            try:
                await self._subscribe(client, path)
            except BaseException:
                asked.discard(sender)  # it was told no: asked again, it is not in progress
                raise
        self._tree.change(path, CHARACTERISTIC, {"Notifying": Variant("b", True)})

    async def stop_notify(self, path: str, sender: str) -> None:
        """StopNotify. Raises BluezError."""
        client = self._linked()
        asked = self._notified.get(path, set())
        if sender not in asked:
            raise BluezError("Failed", "No notify session started")
        asked.discard(sender)
        if not asked:
            if path not in self._pipes:
                await client.stop_notify(self._at(path))
            self._tree.change(path, CHARACTERISTIC, {"Notifying": Variant("b", False)})

    async def acquire_notify(self, path: str) -> tuple[socket.socket, int]:
        """AcquireNotify: values go into a socket instead. Returns the other end and the MTU. Raises BluezError."""
        client = self._linked()
        if path in self._pipes or self._notified.get(path):
            raise BluezError("NotPermitted", "Notify acquired")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._pipes[path] = ours
        try:
            await self._subscribe(client, path)
        except BaseException:
            self._close(path)
            theirs.close()
            raise
        if path in self._pipes:  # the link may have ended in the very moment
            asyncio.get_running_loop().add_reader(ours, self._read_from, path, ours)
        return theirs, client.mtu_size

    def acquire_write(self, path: str) -> tuple[socket.socket, int]:
        """AcquireWrite, as far as bleak uses it: to learn the MTU. Raises BluezError."""
        client = self._linked()
        self._at(path)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.close()
        return theirs, client.mtu_size

    async def left(self, sender: str) -> None:
        """A program is gone from the bus: nothing is told for its sake. The link stays, as it does in BlueZ.

        What it alone was told of is asked for no more, so that the next program may.
        """
        for path, asked in list(self._notified.items()):
            if sender in asked:
                asked.discard(sender)
                if not asked:
                    self._tree.change(path, CHARACTERISTIC, {"Notifying": Variant("b", False)})
                    await self._unsubscribe(path)

    def _read_from(self, path: str, pipe: socket.socket) -> None:
        """Who was given a socket has closed it, or died: the next program may have one."""
        try:
            if pipe.recv(1):
                return  # nobody has anything to say here
        except BlockingIOError:
            return
        except OSError:
            pass  # reset: gone as well
        self._close(path)
        self._unsubscribing = asyncio.ensure_future(self._unsubscribe(path))

    def _close(self, path: str) -> None:
        if (pipe := self._pipes.pop(path, None)) is not None:
            asyncio.get_running_loop().remove_reader(pipe)
            pipe.close()

    async def _unsubscribe(self, path: str) -> None:
        if self._client is not None and path not in self._pipes and not self._notified.get(path):
            with suppress(BleakError, BluezError):
                await self._client.stop_notify(self._at(path))

    async def _subscribe(self, client: BumbleClient, path: str) -> None:
        def on_value(value: bytearray) -> None:
            if (pipe := self._pipes.get(path)) is not None:
                try:
                    pipe.send(bytes(value))
                except OSError:  # the reader is gone or does not read: lost, as in BlueZ
                    self._close(path)
            if self._notified.get(path):
                self._tree.change(path, CHARACTERISTIC, {"Value": Variant("ay", bytes(value))})

        characteristic = self._at(path)
        if not {"notify", "indicate"} & set(characteristic.properties):
            raise BluezError("NotSupported", "Operation is not supported")
        await client.start_notify(characteristic, on_value)

    def _at(self, path: str) -> BleakGATTCharacteristic:
        if (found := self._characteristics.get(path)) is None:
            raise BluezError("Failed", "Not found")
        return found

    def _linked(self, *, busy: bool = False) -> BumbleClient:
        if self._client is None:
            raise not_connected() if not busy else BluezError("Failed", "Not connected")
        if busy and self._chance(self._manners.busy):
            raise in_progress()
        return self._client

    def _chance(self, share: float) -> bool:
        return share > 0 and self._dice.uniform(0, 1) < share

    def _say(self, **changed: Variant) -> None:
        self._tree.change(self.path, DEVICE, changed)


def _characteristic(found: BleakGATTCharacteristic, service: str, mtu: int) -> dict[str, Variant]:
    props = {
        "UUID": Variant("s", found.uuid),
        "Service": Variant("o", service),
        "Value": Variant("ay", b""),
        "Flags": Variant("as", list(found.properties)),
        "MTU": Variant("q", mtu),
    }
    if {"notify", "indicate"} & set(found.properties):
        props |= {"Notifying": Variant("b", False), "NotifyAcquired": Variant("b", False)}
    if "write-without-response" in found.properties:
        props["WriteAcquired"] = Variant("b", False)
    return props
