"""bleak's GATT client on a bumble radio, errors in bleak's terms.

As on BlueZ, the disconnected callback is called for every end of a connection, asked for or not, and whatever waits
for an answer then gets a BleakError rather than hanging until the ATT timeout.
"""

import asyncio
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ClassVar, Final, TypeVar

from bleak.args import SizedBuffer
from bleak.assigned_numbers import gatt_char_props_to_strs
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient, NotifyCallback
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakDeviceNotFoundError, BleakError, BleakGATTProtocolError
from bumble import att, core, hci
from bumble.core import UUID
from bumble.device import Connection
from bumble.gatt import (
    GATT_CHARACTERISTIC_ATTRIBUTE_TYPE,
    GATT_CLIENT_CHARACTERISTIC_CONFIGURATION_DESCRIPTOR,
    GATT_PRIMARY_SERVICE_ATTRIBUTE_TYPE,
    Characteristic,
)
from bumble.gatt_client import CharacteristicProxy, Client, DescriptorProxy, ServiceProxy

from firmware_bridges.ble_radio.advertisement import uuid_text
from firmware_bridges.ble_radio.backend import ChannelWish
from firmware_bridges.ble_radio.channel import open_channel
from firmware_bridges.ble_radio.radio import Radio

T = TypeVar("T")

ATT_MTU_BYTES: Final = 517  # the largest useful: an attribute value has at most 512
ATT_WRITE_HEADER_BYTES: Final = 3
_TELLS: Final = int(Characteristic.Properties.NOTIFY | Characteristic.Properties.INDICATE)
_DECLARATION_BYTES_LEAST: Final = 5  # properties, value handle, 16-bit UUID


class BumbleClient(BaseBleakClient):
    """Make it through `use_radio`, which binds the class to its radio."""

    radio: ClassVar[Radio]

    def __init__(
        self,
        address_or_ble_device: BLEDevice | str,
        *,
        disconnected_callback: Callable[[], None] | None = None,
        timeout: float = 10.0,
        services: set[str] | None = None,
        channel: ChannelWish | None = None,
        **_: Any,
    ) -> None:
        super().__init__(address_or_ble_device, disconnected_callback=disconnected_callback, timeout=timeout)
        self._wanted = services
        self._wish = channel
        self._name = address_or_ble_device.name if isinstance(address_or_ble_device, BLEDevice) else None
        self._connection: Connection | None = None
        self._gone: asyncio.Future[None] | None = None
        self._subscribers: dict[int, Callable[[bytes], None]] = {}

    @property
    def name(self) -> str:
        """The name it advertised, or its address with dashes."""
        return self._name or self.address.replace(":", "-")

    @property
    def mtu_size(self) -> int:
        """ATT_MTU of this connection, in bytes; 23 when not connected."""
        return int(self._connection.att_mtu) if self._connection is not None else att.ATT_DEFAULT_MTU

    @property
    def is_connected(self) -> bool:
        """Whether the link is up."""
        return self._connection is not None

    async def connect(self, pair: bool, **_: Any) -> None:
        """Connect, discover, agree on the MTU unless the peer did so meanwhile; none of this where a channel stands.

        Raises:
            BleakDeviceNotFoundError: nobody advertised under this address in time.
            BleakError: connected already, or the link broke on the way.
        """
        if self._connection is not None:
            raise BleakError("already connected")
        try:
            connection = await self.radio.connect(self.address, timeout_s=self._timeout)
        except TimeoutError as error:
            raise BleakDeviceNotFoundError(
                self.address, f"{self.address} did not answer within {self._timeout} s"
            ) from error
        self._connection, self._gone = connection, asyncio.get_running_loop().create_future()
        connection.on(connection.EVENT_DISCONNECTION, self._on_disconnection)
        if self.radio.device.connections.get(connection.handle) is not connection:
            self._connection = None
            raise BleakError(f"{self.address}: the link broke as soon as it was made")
        try:
            async with asyncio.timeout(self._timeout):
                if pair:
                    await self.pair()
                if self._wish is not None and await self._channel(connection, self._wish):
                    self.services = BleakGATTServiceCollection()
                    return
                self.services = await self._ask(self._discover(connection))
                if connection.att_mtu == att.ATT_DEFAULT_MTU:  # else the peer asked, beside our discovery
                    await self._ask(connection.gatt_client.request_mtu(ATT_MTU_BYTES))
        except BaseException:
            with suppress(BleakError):
                await self.disconnect()
            raise

    async def _channel(self, connection: Connection, wish: ChannelWish) -> bool:
        """Open the channel wished for; False: GATT it is. Raises BleakError when the link breaks over it."""
        try:
            wish.channel = await self._ask(
                open_channel(
                    self.radio.device,
                    connection,
                    wish.psm,
                    wish.terms,
                    on_data=wish.on_data,
                    on_closed=wish.on_closed,
                    wait_s=wish.wait_ms / 1_000,
                )
            )
        except BleakError as error:
            self._connected()
            wish.failed = str(error)
        return wish.channel is not None

    async def disconnect(self) -> None:
        """End the connection; harmless when there is none."""
        if (connection := self._connection) is not None:
            try:
                await self.radio.disconnect(connection)
            finally:
                self._on_disconnection(0)

    async def pair(self, *_: Any, **__: Any) -> None:
        """Pair and encrypt (LE Secure Connections). Raises BleakError when the peer refuses."""
        connection = self._connected()
        if not connection.is_encrypted:
            await self._ask(connection.pair())

    async def unpair(self) -> None:
        """Forget the bond and disconnect."""
        address = hci.Address(self.address.upper(), hci.Address.RANDOM_DEVICE_ADDRESS)
        await self.disconnect()
        keystore = self.radio.device.keystore
        if keystore is not None:
            with suppress(KeyError):
                await keystore.delete(str(address))

    async def read_gatt_char(
        self,
        characteristic: BleakGATTCharacteristic,
        *,
        use_cached: bool = False,
        **_: Any,
    ) -> bytearray:
        """Read a value; `use_cached` answers with the last one read or notified, if there is one."""
        return await self._read(characteristic.handle, use_cached)

    async def read_gatt_descriptor(
        self,
        descriptor: BleakGATTDescriptor,
        *,
        use_cached: bool = False,
        **_: Any,
    ) -> bytearray:
        """Read a descriptor's value."""
        return await self._read(descriptor.handle, use_cached)

    async def _read(self, handle: int, use_cached: bool) -> bytearray:
        client = self._connected().gatt_client
        if use_cached and (cached := client.cached_values.get(handle)) is not None:
            return bytearray(cached[1])
        value = await self._ask(client.read_value(handle))
        client.cache_value(handle, value)
        return bytearray(value)

    async def write_gatt_char(self, characteristic: BleakGATTCharacteristic, data: SizedBuffer, response: bool) -> None:
        """Write a value. Raises BleakError when it does not fit a write without response."""
        value = bytes(data)
        if not response and len(value) > self.mtu_size - ATT_WRITE_HEADER_BYTES:
            raise BleakError(
                f"{len(value)} bytes do not fit a write without response at MTU {self.mtu_size}"
                f" (at most {self.mtu_size - ATT_WRITE_HEADER_BYTES})"
            )
        await self._write(characteristic.handle, value, response=response)

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: SizedBuffer) -> None:
        """Write a descriptor's value, with response."""
        await self._write(descriptor.handle, bytes(data), response=True)

    async def _write(self, handle: int, value: bytes, *, response: bool) -> None:
        await self._ask(self._connected().gatt_client.write_value(handle, value, with_response=response))

    async def start_notify(
        self,
        characteristic: BleakGATTCharacteristic,
        callback: NotifyCallback,
        **_: Any,
    ) -> None:
        """Subscribe, to notifications where the characteristic has both. Raises BleakError when subscribed already."""
        client, handle = self._connected().gatt_client, characteristic.handle
        if handle in self._subscribers:
            raise BleakError(f"notifications of {characteristic.uuid} are on already")

        def on_value(value: bytes) -> None:
            callback(bytearray(value))

        self._subscribers[handle] = on_value
        try:
            await self._ask(client.subscribe(characteristic.obj, on_value))
        except BaseException:
            self._subscribers.pop(handle, None)
            raise

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        """Unsubscribe; harmless when not subscribed."""
        client = self._connected().gatt_client
        if (on_value := self._subscribers.pop(characteristic.handle, None)) is not None:
            await self._ask(client.unsubscribe(characteristic.obj, on_value))

    def _connected(self) -> Connection:
        if self._connection is None:
            raise BleakError("Not connected")
        return self._connection

    def _on_disconnection(self, _reason: int) -> None:
        if self._connection is None:
            return
        self._connection = None
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        self._subscribers.clear()
        self.services = None
        if self._disconnected_callback is not None:
            self._disconnected_callback()

    async def _ask(self, answer: Coroutine[Any, Any, T]) -> T:
        """Await `answer` with errors in bleak's terms; the end of the link ends the wait.

        bumble cancels a request that is pending when the link ends, but lets one that comes a moment later wait for its
        ATT timeout: so both are raced here.
        """
        asking = asyncio.ensure_future(answer)
        ends: set[asyncio.Future[Any]] = {asking} if self._gone is None else {asking, self._gone}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done() or asking.cancelled():
                raise BleakError(f"{self.address}: disconnected while waiting for an answer")
            return asking.result()
        except att.ATT_Error as error:
            raise BleakGATTProtocolError(int(error.error_code)) from error
        except core.BaseBumbleError as error:
            raise BleakError(f"{self.address}: {error!r}") from error
        finally:
            if not asking.done():
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)  # how it ends no longer matters

    async def _discover(self, connection: Connection) -> BleakGATTServiceCollection:
        client = connection.gatt_client
        found: list[ServiceProxy] = []
        if self._wanted:
            for uuid in sorted(self._wanted):
                found += await _first_service(client, UUID(uuid))
        else:
            found = await client.discover_services()
        collection = BleakGATTServiceCollection()
        for service in found:
            bleak_service = BleakGATTService(service, service.handle, uuid_text(service.uuid.uuid_bytes))
            collection.add_service(bleak_service)
            for characteristic in await _characteristics(client, service):
                bleak_characteristic = self._characteristic(characteristic, bleak_service)
                collection.add_characteristic(bleak_characteristic)
                for descriptor in characteristic.descriptors:
                    collection.add_descriptor(_descriptor(descriptor, bleak_characteristic))
        return collection

    def _characteristic(
        self, found: "CharacteristicProxy[bytes]", service: BleakGATTService
    ) -> BleakGATTCharacteristic:
        return BleakGATTCharacteristic(
            found,
            found.handle,
            uuid_text(found.uuid.uuid_bytes),
            list(gatt_char_props_to_strs(int(found.properties))),
            lambda: self.mtu_size - ATT_WRITE_HEADER_BYTES,
            service,
        )


async def _first_service(client: Client, uuid: UUID) -> list[ServiceProxy]:
    """Find one primary service by its UUID (Vol 3 Part G 4.4.2), and do not ask whether there is another."""
    response = await client.send_request(
        att.ATT_Find_By_Type_Value_Request(
            starting_handle=1,
            ending_handle=0xFFFF,
            attribute_type=GATT_PRIMARY_SERVICE_ATTRIBUTE_TYPE,
            attribute_value=uuid.to_pdu_bytes(),
        )
    )
    if isinstance(response, att.ATT_Error_Response):
        if response.error_code == att.ErrorCode.ATTRIBUTE_NOT_FOUND:
            return []
        raise att.ATT_Error(error_code=response.error_code)
    handle, end = response.handles_information[0]
    return [ServiceProxy(client, handle, end, uuid, True)]  # type: ignore[no-untyped-call]  # the library is untyped there


async def _characteristics(client: Client, service: ServiceProxy) -> "list[CharacteristicProxy[bytes]]":
    """Find a service's characteristics with their descriptors (Vol 3 Part G 4.6.1 and 4.7.1) in few round trips.

    A request that can only end in "not found" is left out: descriptors are asked for wherever handles are unaccounted
    for, and a further declaration that turns up there is followed.
    """
    found: list[CharacteristicProxy[bytes]] = []
    start, end = service.handle + 1, service.end_group_handle
    while start <= end:
        response = await client.send_request(
            att.ATT_Read_By_Type_Request(
                starting_handle=start, ending_handle=end, attribute_type=GATT_CHARACTERISTIC_ATTRIBUTE_TYPE
            )
        )
        if isinstance(response, att.ATT_Error_Response):
            if response.error_code == att.ErrorCode.ATTRIBUTE_NOT_FOUND:
                break
            raise att.ATT_Error(error_code=response.error_code)
        batch: list[tuple[int, CharacteristicProxy[bytes]]] = []
        for declared, value in response.attributes:
            if declared < start or len(value) < _DECLARATION_BYTES_LEAST:
                raise BleakError(f"a characteristic declaration at {declared} that cannot be")
            properties, handle = struct.unpack_from("<BH", value)
            batch.append((declared, CharacteristicProxy(client, handle, end, UUID.from_bytes(value[3:]), properties)))
        if not batch:
            break
        start = end + 1
        for at, (_, characteristic) in enumerate(batch):
            last = at == len(batch) - 1
            characteristic.end_group_handle = end if last else batch[at + 1][0] - 1
            further = await _descriptors(client, characteristic)
            if further is not None and last:
                characteristic.end_group_handle, start = further - 1, further
            found.append(characteristic)
    service.characteristics = found
    return found


async def _descriptors(client: Client, characteristic: "CharacteristicProxy[bytes]") -> int | None:
    """Find a characteristic's descriptors; return where a further characteristic begins, if one does."""
    characteristic.descriptors_discovered = True  # or bumble would ask again on subscribe
    if characteristic.handle >= characteristic.end_group_handle:
        return None
    if characteristic.handle + 1 == characteristic.end_group_handle and characteristic.properties & _TELLS:
        # it must have this descriptor (Vol 3 Part G 3.3.3.3), there is one place for it: asking tells nothing new
        characteristic.descriptors.append(
            DescriptorProxy(client, characteristic.handle + 1, GATT_CLIENT_CHARACTERISTIC_CONFIGURATION_DESCRIPTOR)
        )
        return None
    for each in await client.discover_descriptors(
        start_handle=characteristic.handle + 1, end_handle=characteristic.end_group_handle
    ):
        if each.type == GATT_CHARACTERISTIC_ATTRIBUTE_TYPE:
            return int(each.handle)
        characteristic.descriptors.append(each)
    return None


def _descriptor(found: DescriptorProxy, characteristic: BleakGATTCharacteristic) -> BleakGATTDescriptor:
    return BleakGATTDescriptor(found, found.handle, uuid_text(found.type.uuid_bytes), characteristic)
