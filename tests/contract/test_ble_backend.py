"""What every bleak backend must do for us: adverts, connections, GATT, and errors in bleak's own terms.

The peripheral of the suite is an emulated one, and so is the BlueZ (firmware_bridges/ble_radio/bluez) that bleak's own
back end for Linux meets here. A further back end joins by adding a `Subject` that can reach the same peripheral.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from bleak import BleakClient
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import (
    BleakBluetoothNotAvailableError,
    BleakDBusError,
    BleakDeviceNotFoundError,
    BleakError,
    BleakGATTProtocolError,
    BleakGATTProtocolErrorCode,
)
from bumble import att
from bumble.core import UUID, AdvertisingData
from bumble.device import Connection, Device
from bumble.gatt import Characteristic, CharacteristicValue, Descriptor, Service

from firmware_bridges.ble_radio.air import Air, device_on
from firmware_bridges.ble_radio.backend import PLATFORM, BleBackend
from firmware_bridges.ble_radio.hci_port import HciPort
from firmware_bridges.ble_radio.radio import Radio, use_radio
from kit.dice import SeededDice

SERVICE = "7a3b0001-52f4-4c6e-9d0a-0123456789ab"
ECHO_IN = "7a3b0002-52f4-4c6e-9d0a-0123456789ab"  # write, both kinds: echoed on ECHO_OUT
ECHO_OUT = "7a3b0003-52f4-4c6e-9d0a-0123456789ab"  # notify
STATE = "7a3b0004-52f4-4c6e-9d0a-0123456789ab"  # read, with a user description
SECRET = "7a3b0005-52f4-4c6e-9d0a-0123456789ab"  # read, only encrypted
REFUSING = "7a3b0006-52f4-4c6e-9d0a-0123456789ab"  # refuses every value
DESCRIPTION = "00002901-0000-1000-8000-00805f9b34fb"
SHORT_UUID = "0000fd99-0000-1000-8000-00805f9b34fb"
STATE_VALUE = bytes(range(256)) + bytes(44)  # longer than one ATT read at any MTU below 303
WAIT_S = 10.0


class Peripheral:
    """An echo service with one of everything."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.written: list[bytes] = []
        self.out: Characteristic[bytes] = Characteristic(
            ECHO_OUT, Characteristic.Properties.NOTIFY, Characteristic.Permissions(0)
        )
        properties, permissions = Characteristic.Properties, Characteristic.Permissions
        self.device.add_service(
            Service(
                SERVICE,
                [
                    Characteristic(
                        ECHO_IN,
                        properties.WRITE | properties.WRITE_WITHOUT_RESPONSE,
                        permissions.WRITEABLE,
                        CharacteristicValue(write=self._echo),
                    ),
                    self.out,
                    Characteristic(
                        STATE,
                        properties.READ,
                        permissions.READABLE,
                        STATE_VALUE,
                        [Descriptor(UUID.from_16_bits(0x2901), permissions.READABLE, b"state")],
                    ),
                    Characteristic(
                        SECRET, properties.READ, permissions.READABLE | permissions.READ_REQUIRES_ENCRYPTION, b"42"
                    ),
                    Characteristic(
                        REFUSING, properties.WRITE, permissions.WRITEABLE, CharacteristicValue(write=self._refuse)
                    ),
                ],
            )
        )

    async def _echo(self, connection: Connection, value: bytes) -> None:
        self.written.append(value)
        await self.device.notify_subscriber(connection, self.out, value)

    def _refuse(self, _connection: Connection, _value: bytes) -> None:
        raise att.ATT_Error(att.ErrorCode.INVALID_ATTRIBUTE_LENGTH)

    async def advertise(self) -> None:
        self.device.advertising_interval_min = self.device.advertising_interval_max = 20
        self.device.advertising_data = bytes(
            AdvertisingData(
                [
                    (AdvertisingData.Type.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS, bytes.fromhex("99fd")),
                    (AdvertisingData.Type.SERVICE_DATA_16_BIT_UUID, bytes.fromhex("99fd") + b"\x01eid-0123"),
                    (AdvertisingData.Type.COMPLETE_LOCAL_NAME, b"echo"),
                ]
            )
        )
        await self.device.start_advertising(auto_restart=True)

    async def drop_links(self) -> None:
        for connection in list(self.device.connections.values()):
            await connection.disconnect()


@dataclass(frozen=True)
class Subject:
    """A backend under test and the peripheral within its reach."""

    backend: BleBackend
    peripheral: Peripheral
    address: str


async def in_process(air: Air, stack: AsyncExitStack) -> BleBackend:
    radio = await stack.enter_async_context(Radio(device_on(air, "central", address=b"\x01" * 6)))
    await radio.power_on()
    return use_radio(radio)


async def over_bluez(air: Air, stack: AsyncExitStack) -> BleBackend:
    from firmware_bridges.ble_radio.bluez.bus import private_bus
    from firmware_bridges.ble_radio.bluez.daemon import Bluetoothd
    from firmware_bridges.ble_radio.bluez.manners import tame

    radio = await stack.enter_async_context(Radio(device_on(air, "hci0", address=b"\x01" * 6)))
    await radio.power_on()
    daemon = Bluetoothd(radio, SeededDice("bluez"), manners=tame())
    stack.push_async_callback(daemon.crash)
    bus = await stack.enter_async_context(private_bus())
    await daemon.start(bus.address)
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
    return PLATFORM


async def over_tcp(air: Air, stack: AsyncExitStack) -> BleBackend:
    port = await HciPort(air, SeededDice("port")).start()
    stack.push_async_callback(port.close)
    radio = await stack.enter_async_context(await Radio.open(port.transport))
    return use_radio(radio)


BACKENDS = [
    pytest.param(in_process, id="bumble in process"),
    pytest.param(over_tcp, id="bumble over tcp"),
    pytest.param(over_bluez, id="bluez", marks=pytest.mark.tier("dbus")),
]


@pytest.fixture(params=BACKENDS)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with AsyncExitStack() as stack:
        air = Air(dice=SeededDice("contract"))
        peripheral = Peripheral(device_on(air, "echo", address=b"\x02" * 6))
        await peripheral.device.power_on()
        await peripheral.advertise()
        stack.push_async_callback(peripheral.device.power_off)
        stack.push_async_callback(peripheral.device.stop_advertising)
        backend: BleBackend = await request.param(air, stack)
        yield Subject(backend, peripheral, peripheral.device.random_address.to_string(False))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_scan_tells_what_is_in_the_advert(subject: Subject) -> None:
    seen: list[tuple[BLEDevice, AdvertisementData]] = []
    async with subject.backend.scanner(lambda device, advert: seen.append((device, advert))) as scanner:
        await until(lambda: len(seen) >= 2)
        device, advert = seen[0]
        assert scanner.discovered_devices_and_advertisement_data[device.address][0] is device
    assert device.address == subject.address
    assert (device.name, advert.local_name) == ("echo", "echo")
    assert advert.service_uuids == [SHORT_UUID]
    assert advert.service_data == {SHORT_UUID: b"\x01eid-0123"}
    assert -127 <= advert.rssi <= 20


async def test_a_stopped_scan_is_silent_and_can_start_again(subject: Subject) -> None:
    seen: list[str] = []
    scanner = subject.backend.scanner(lambda device, _: seen.append(device.address))
    await scanner.start()
    await until(lambda: seen)
    await scanner.stop()
    seen.clear()
    await asyncio.sleep(0.05)  # two and a half adverts
    assert seen == []
    await scanner.start()
    await until(lambda: seen)
    await scanner.stop()
    await scanner.stop()


async def test_a_filter_lets_through_only_its_services(subject: Subject) -> None:
    wanted: list[str] = []
    other: list[str] = []
    # one after the other: BlueZ lets a program discover once (InProgress), and so does this suite
    async with subject.backend.scanner(lambda device, _: other.append(device.address), service_uuids=[SERVICE]):
        await asyncio.sleep(0.05)  # two and a half adverts
    async with subject.backend.scanner(lambda device, _: wanted.append(device.address), service_uuids=[SHORT_UUID]):
        await until(lambda: len(wanted) >= 2)
    assert other == []


async def test_services_characteristics_and_descriptors_are_found(subject: Subject) -> None:
    async with subject.backend.client(subject.address) as client:
        service = client.services.get_service(SERVICE)
        assert service is not None
        assert {each.uuid for each in service.characteristics} == {ECHO_IN, ECHO_OUT, STATE, SECRET, REFUSING}
        write = client.services.get_characteristic(ECHO_IN)
        out = client.services.get_characteristic(ECHO_OUT)
        state = client.services.get_characteristic(STATE)
        assert write is not None
        assert out is not None
        assert state is not None
        assert set(write.properties) == {"write", "write-without-response"}
        assert set(out.properties) == {"notify"}
        assert write.max_write_without_response_size == 514  # of an MTU of 517; client.mtu_size is unknown to BlueZ
        description = state.get_descriptor(DESCRIPTION)
        assert description is not None
        assert bytes(await client.read_gatt_descriptor(description)) == b"state"


async def test_only_the_services_asked_for_are_discovered(subject: Subject) -> None:
    async with subject.backend.client(subject.address, services=[SERVICE]) as client:
        assert [service.uuid for service in client.services] == [SERVICE]
        assert bytes(await client.read_gatt_char(STATE)) == STATE_VALUE


async def test_a_long_value_is_read_whole(subject: Subject) -> None:
    async with subject.backend.client(subject.address) as client:
        assert bytes(await client.read_gatt_char(STATE)) == STATE_VALUE
        assert bytes(await client.read_gatt_char(STATE, use_cached=True)) == STATE_VALUE


@pytest.mark.parametrize("response", [True, False])
async def test_what_is_written_arrives_in_order_and_comes_back_as_notifications(
    subject: Subject, response: bool
) -> None:
    sent = [bytes([number]) * (number + 1) for number in range(20)]
    heard: list[bytes] = []
    async with subject.backend.client(subject.address) as client:
        await client.start_notify(ECHO_OUT, lambda _, value: heard.append(bytes(value)))
        for each in sent:
            await client.write_gatt_char(ECHO_IN, each, response=response)
        await until(lambda: len(heard) == len(sent))
        assert subject.peripheral.written == sent
        assert heard == sent
        await client.stop_notify(ECHO_OUT)
        await client.write_gatt_char(ECHO_IN, b"unheard", response=True)
        await client.read_gatt_char(STATE)  # comes behind any notification that was still under way
    assert heard == sent


async def test_a_refusal_carries_its_att_error(subject: Subject) -> None:
    async with subject.backend.client(subject.address) as client:
        with pytest.raises(BleakGATTProtocolError) as refused:
            await client.write_gatt_char(REFUSING, b"x", response=True)
        assert refused.value.code is BleakGATTProtocolErrorCode.INVALID_ATTRIBUTE_VALUE_LENGTH
        assert client.is_connected


async def test_an_encrypted_value_needs_pairing(subject: Subject) -> None:
    async with subject.backend.client(subject.address) as client:
        with pytest.raises((BleakGATTProtocolError, BleakDBusError)) as refused:
            await client.read_gatt_char(SECRET)
        said = refused.value
        if isinstance(said, BleakDBusError):  # BlueZ has one word for three codes, and bleak leaves it so
            assert (said.dbus_error, said.dbus_error_details) == ("org.bluez.Error.NotPermitted", "Not paired")
        else:
            assert isinstance(said, BleakGATTProtocolError)
            assert said.code in (
                BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION,
                BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHENTICATION,
            )
        await client.pair()
        assert bytes(await client.read_gatt_char(SECRET)) == b"42"
        await client.unpair()
        assert not client.is_connected


async def test_too_much_for_one_write_without_response_is_refused_here(subject: Subject) -> None:
    async with subject.backend.client(subject.address) as client:
        write = client.services.get_characteristic(ECHO_IN)
        assert write is not None
        with pytest.raises(BleakError):
            await client.write_gatt_char(write, bytes(write.max_write_without_response_size + 1), response=False)


async def test_the_end_of_a_connection_is_told_once_whoever_ends_it(subject: Subject) -> None:
    ended: list[BleakClient] = []
    for end in (lambda _: subject.peripheral.drop_links(), lambda client: client.disconnect()):
        client = subject.backend.client(subject.address, on_disconnected=ended.append)
        await client.connect()
        assert client.is_connected
        await end(client)
        await until(lambda: not client.is_connected)  # noqa: B023 - awaited before the next round
        await client.disconnect()
        assert ended.pop() is client
        assert ended == []
        with pytest.raises(BleakError):
            await client.read_gatt_char(STATE)


async def test_a_link_that_breaks_under_a_request_fails_it_at_once(subject: Subject) -> None:
    client = subject.backend.client(subject.address)
    await client.connect()
    reading = asyncio.ensure_future(client.read_gatt_char(STATE))
    await subject.peripheral.drop_links()
    outcome = await asyncio.gather(reading, return_exceptions=True)
    assert isinstance(outcome[0], BleakError) or bytes(outcome[0]) == STATE_VALUE  # type: ignore[arg-type]  # a stand-in, or hostile on purpose
    assert not client.is_connected
    await client.connect()
    assert bytes(await client.read_gatt_char(STATE)) == STATE_VALUE
    await client.disconnect()


async def test_nobody_there_is_an_error_in_time_and_leaves_the_radio_usable(subject: Subject) -> None:
    with pytest.raises((BleakDeviceNotFoundError, TimeoutError)):
        await subject.backend.client("C0:FF:EE:00:00:01", timeout_s=0.05).connect()
    async with subject.backend.client(subject.address) as client:
        assert client.is_connected


async def test_a_cancelled_connect_leaves_nothing_behind(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = asyncio.Event()
    if subject.backend is PLATFORM:  # bleak itself leaves a discovery behind that it was just then asking BlueZ for
        from bleak.backends.bluezdbus.manager import BlueZManager

        scan = BlueZManager.active_scan

        async def told(*given: Any) -> Any:
            stop = await scan(*given)
            looking.set()
            return stop

        monkeypatch.setattr(BlueZManager, "active_scan", told)
    else:
        looking.set()
    client = subject.backend.client("C0:FF:EE:00:00:01")
    connecting = asyncio.ensure_future(client.connect())
    async with asyncio.timeout(WAIT_S):
        await looking.wait()
    await asyncio.sleep(0.02)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    async with subject.backend.client(subject.address) as other:
        assert other.is_connected


async def test_connecting_twice_is_refused_and_harmless(subject: Subject) -> None:
    async with subject.backend.client(subject.address) as client:
        with pytest.raises(BleakError):
            await client.connect()
        assert client.is_connected


async def test_without_a_controller_bluetooth_is_not_available() -> None:
    with pytest.raises(BleakBluetoothNotAvailableError):
        await Radio.open("tcp-client:127.0.0.1:1")
