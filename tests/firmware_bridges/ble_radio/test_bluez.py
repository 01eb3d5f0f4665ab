"""The emulated bluetoothd says no where BlueZ does, tells of its going as BlueZ does, and gives sockets away."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from bleak.backends.bluezdbus.client import BleakClientBlueZDBus
from bleak.exc import BleakDBusError, BleakError
from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from firmware_bridges.ble_radio.air import Air, device_on
from firmware_bridges.ble_radio.backend import PLATFORM
from firmware_bridges.ble_radio.bluez.bus import private_bus
from firmware_bridges.ble_radio.bluez.daemon import HCI0, NAME, Bluetoothd
from firmware_bridges.ble_radio.bluez.device import KnownDevice
from firmware_bridges.ble_radio.bluez.manners import tame
from firmware_bridges.ble_radio.bluez.tree import CHARACTERISTIC
from firmware_bridges.ble_radio.radio import Radio
from kit.dice import SeededDice
from tests.firmware_bridges.ble_radio.test_air import IN, OUT, Echo, until

pytestmark = pytest.mark.tier("dbus")


@dataclass
class Machine:
    daemon: Bluetoothd
    echo: Echo
    bus: MessageBus

    async def ask(self, path: str, interface: str, member: str) -> Message:
        reply = await self.bus.call(Message(destination=NAME, path=path, interface=interface, member=member))
        assert reply is not None
        return reply

    async def error(self, path: str, interface: str, member: str) -> str | None:
        reply = await self.ask(path, interface, member)
        return reply.error_name if reply.message_type is MessageType.ERROR else None


@pytest.fixture
async def machine(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Machine]:
    async with AsyncExitStack() as stack:
        air = Air(dice=SeededDice("bluez"))
        echo = Echo(air, device_on(air, "echo", address=b"\x02" * 6))
        await echo.start()
        stack.push_async_callback(echo.device.power_off)
        stack.push_async_callback(echo.device.stop_advertising)
        radio = await stack.enter_async_context(Radio(device_on(air, "hci0", address=b"\x01" * 6)))
        await radio.power_on()
        bus = await stack.enter_async_context(private_bus())
        daemon = Bluetoothd(radio, SeededDice("daemon"), manners=tame())
        await daemon.start(bus.address)
        stack.push_async_callback(daemon.crash)
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        ours = await MessageBus(bus_address=bus.address, negotiate_unix_fd=True).connect()
        stack.callback(ours.disconnect)
        yield Machine(daemon, echo, ours)


async def test_values_come_through_a_socket_that_was_given_away(machine: Machine) -> None:
    heard: list[bytes] = []
    async with PLATFORM.client(machine.echo.address) as client:
        await client.start_notify(OUT, lambda _, value: heard.append(bytes(value)), bluez={"use_start_notify": False})
        sent = [bytes([number]) * 9 for number in range(20)]
        for each in sent:
            await client.write_gatt_char(IN, each, response=False)
        await until(lambda: len(heard) == len(sent))
        assert heard == sent
        assert machine.daemon.calls["AcquireNotify"] == 1
        assert machine.daemon.calls["StartNotify"] == 0
        backend = client._backend
        assert isinstance(backend, BleakClientBlueZDBus)
        await backend._acquire_mtu()
        assert client.mtu_size == 517


async def test_a_program_discovers_once_and_its_end_ends_its_discovery(machine: Machine) -> None:
    adapter = "org.bluez.Adapter1"
    assert await machine.error(HCI0, adapter, "StartDiscovery") is None
    assert await machine.error(HCI0, adapter, "StartDiscovery") == "org.bluez.Error.InProgress"
    async with PLATFORM.scanner():  # another connection to the bus: another program
        assert machine.daemon.discovering == 2
    assert machine.daemon.discovering == 1
    machine.bus.disconnect()
    await until(lambda: machine.daemon.discovering == 0)


async def test_without_power_it_is_not_ready_and_whoever_discovered_does_so_no_more(machine: Machine) -> None:
    adapter = "org.bluez.Adapter1"
    assert await machine.error(HCI0, adapter, "StopDiscovery") == "org.bluez.Error.Failed"
    assert await machine.error(HCI0, adapter, "StartDiscovery") is None
    await machine.daemon.power(False)
    assert machine.daemon.discovering == 0
    for member in ("StartDiscovery", "StopDiscovery"):
        assert await machine.error(HCI0, adapter, member) == "org.bluez.Error.NotReady"
    await machine.daemon.power(True)
    assert await machine.error(HCI0, adapter, "StartDiscovery") is None


async def test_what_is_not_there_is_an_unknown_object_or_method(machine: Machine) -> None:
    device = "org.bluez.Device1"
    assert await machine.error(f"{HCI0}/dev_00", device, "Connect") == "org.freedesktop.DBus.Error.UnknownObject"
    assert await machine.error(HCI0, "org.bluez.Adapter1", "Fly") == "org.freedesktop.DBus.Error.UnknownMethod"


async def test_an_aborted_connect_is_tried_again_by_bleak_and_a_busy_one_is_not(machine: Machine) -> None:
    device = await PLATFORM.scanner().find_device_by_address(machine.echo.address, timeout=10)
    assert device is not None
    machine.daemon.manners.abort = 1.0
    connecting = asyncio.ensure_future(PLATFORM.client(device).connect())
    await until(lambda: machine.daemon.calls["Connect"] >= 3)
    machine.daemon.manners.abort = 0.0
    await connecting
    known = machine.daemon.device(machine.echo.address)
    assert known is not None
    assert known.is_connected
    await known.end()
    machine.daemon.manners.busy = 1.0
    with pytest.raises(BleakDBusError, match="InProgress"):
        await PLATFORM.client(device).connect()
    machine.daemon.manners.busy, machine.daemon.manners.vanish = 0.0, 1.0
    with pytest.raises(BleakError, match="not found"):
        await PLATFORM.client(device).connect()
    assert machine.daemon.device(machine.echo.address) is None


async def linked(machine: Machine) -> tuple[MessageBus, KnownDevice]:
    """Another program, which discovers the echo and connects to it."""
    program = await MessageBus(bus_address=os.environ["DBUS_SYSTEM_BUS_ADDRESS"], negotiate_unix_fd=True).connect()
    await program.call(_call(HCI0, "org.bluez.Adapter1", "StartDiscovery"))
    await until(lambda: machine.daemon.device(machine.echo.address))
    known = machine.daemon.device(machine.echo.address)
    assert known is not None
    await program.call(_call(known.path, "org.bluez.Device1", "Connect"))
    await until(lambda: path_of(known, OUT))
    return program, known


def path_of(known: KnownDevice, uuid: str) -> str:
    return next((path for path, each in known._characteristics.items() if each.uuid == uuid), "")


def is_told(known: KnownDevice, path: str) -> bool:
    """Whether somebody is told of its values, by signals or through a socket."""
    return bool(known._notified.get(path)) or path in known._pipes


def _options(member: str) -> tuple[str, tuple[object, ...]]:
    """AcquireNotify takes options, StartNotify nothing."""
    return ("a{sv}", ({},)) if member == "AcquireNotify" else ("", ())


def _call(path: str, interface: str, member: str, signature: str = "", *body: object) -> Message:
    return Message(NAME, path, interface, member, signature=signature, body=list(body))


@pytest.mark.parametrize("member", ["StartNotify", "AcquireNotify"])
@pytest.mark.parametrize("next_member", ["StartNotify", "AcquireNotify"])
async def test_a_program_that_dies_in_the_middle_of_a_question_leaves_the_next_one_its_values(
    machine: Machine, member: str, next_member: str
) -> None:
    """The link stays, as BlueZ lets it; what the dead program was told of is free, and its socket is closed."""
    dead, known = await linked(machine)
    out = path_of(known, OUT)
    signature, body = _options(member)
    async with asyncio.timeout(5):
        asked = await dead.call(_call(out, CHARACTERISTIC, member, signature, *body))
        assert asked is not None
        assert asked.message_type is MessageType.METHOD_RETURN
        for number in asked.unix_fds:
            os.close(number)
        dead.disconnect()
        await until(lambda: not is_told(known, out))
        await until(lambda: machine.daemon.discovering == 0)
        assert known.is_connected
        signature, body = _options(next_member)
        answer = await machine.bus.call(_call(out, CHARACTERISTIC, next_member, signature, *body))
        assert answer is not None
        assert (answer.message_type, answer.error_name) == (MessageType.METHOD_RETURN, None)
        assert is_told(known, out)
        sent = _call(
            path_of(known, IN), CHARACTERISTIC, "WriteValue", "aya{sv}", b"who", {"type": Variant("s", "command")}
        )
        await machine.bus.call(sent)
        if next_member == "AcquireNotify":
            with socket.socket(fileno=answer.unix_fds[0]) as values:
                values.setblocking(False)
                assert await asyncio.get_running_loop().sock_recv(values, 512) == b"who"
        else:
            await until(lambda: machine.daemon._tree.get(out, CHARACTERISTIC, "Value") == b"who")
    await machine.daemon.crash()
