"""The air behaves like one: packets wait for events, losses cost time and not data, dead peers are noticed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from bleak.exc import BleakError
from bumble.device import Connection, Device
from bumble.gatt import Characteristic, CharacteristicValue, Service

from firmware_bridges.ble_radio.air import Air, Conditions, _Lane, device_on
from firmware_bridges.ble_radio.hci_port import HciPort
from firmware_bridges.ble_radio.radio import Radio, use_radio
from kit.dice import SeededDice

SERVICE, IN, OUT = (f"7a3b000{n}-52f4-4c6e-9d0a-0123456789ab" for n in (1, 2, 3))
WAIT_S = 10.0


@dataclass
class Echo:
    air: Air
    device: Device
    written: list[bytes] = field(default_factory=list)

    async def start(self) -> None:
        out: Characteristic[bytes] = Characteristic(
            OUT, Characteristic.Properties.NOTIFY, Characteristic.Permissions(0)
        )

        async def echo(connection: Connection, value: bytes) -> None:
            self.written.append(value)
            await self.device.notify_subscriber(connection, out, value)

        write: Characteristic[bytes] = Characteristic(
            IN,
            Characteristic.Properties.WRITE_WITHOUT_RESPONSE,
            Characteristic.Permissions.WRITEABLE,
            CharacteristicValue(write=echo),
        )
        self.device.add_service(Service(SERVICE, [write, out]))
        await self.device.power_on()
        self.device.advertising_interval_min = self.device.advertising_interval_max = 20
        await self.device.start_advertising(auto_restart=True)

    @property
    def address(self) -> str:
        return str(self.device.random_address.to_string(False))


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    air = Air(dice=SeededDice("air"))
    peripheral = Echo(air, device_on(air, "echo", address=b"\x02" * 6))
    await peripheral.start()
    yield peripheral
    await peripheral.device.stop_advertising()
    await peripheral.device.power_off()


@pytest.fixture
async def radio(echo: Echo) -> AsyncIterator[Radio]:
    async with Radio(device_on(echo.air, "central", address=b"\x01" * 6)) as radio:
        await radio.power_on()
        yield radio


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize(
    "conditions",
    [
        Conditions(connection_interval_ms=8, packet_loss=0.3, advert_loss=0.3),
        Conditions(packet_loss=0.05),
        Conditions(late=0.5, late_ms=20),
        Conditions(connection_interval_ms=8, late=0.3, late_ms=20, packet_loss=0.2),
    ],
    ids=str,
)
async def test_a_bad_air_delays_but_neither_loses_nor_reorders(
    echo: Echo, radio: Radio, conditions: Conditions
) -> None:
    echo.air.conditions = conditions
    heard: list[bytes] = []
    sent = [bytes([number]) for number in range(30)]
    async with use_radio(radio).client(echo.address, services=[SERVICE]) as client:
        await client.start_notify(OUT, lambda _, value: heard.append(bytes(value)))
        for each in sent:
            await client.write_gatt_char(IN, each, response=False)
        await until(lambda: len(heard) == len(sent))
    assert echo.written == sent
    assert heard == sent


async def test_packets_wait_for_the_next_connection_event(echo: Echo, radio: Radio) -> None:
    echo.air.conditions.connection_interval_ms = 20
    loop = asyncio.get_running_loop()
    async with use_radio(radio).client(echo.address, services=[SERVICE]) as client:
        heard = asyncio.Event()
        await client.start_notify(OUT, lambda _, __: heard.set())
        began = loop.time()
        await client.write_gatt_char(IN, b"x", response=False)
        await heard.wait()
        # out at one event, back at the next: never less than one whole interval
        assert loop.time() - began >= 0.020


@pytest.mark.parametrize(("size", "in_one"), [(20, 5), (244, 2)])
async def test_an_event_carries_what_fits_into_the_interval(
    echo: Echo, radio: Radio, monkeypatch: pytest.MonkeyPatch, size: int, in_one: int
) -> None:
    """LE 1M, Vol 6 Part B 2.1 and 4.1: 27 bytes take 676 us with their acknowledgement, 251 bytes 2468 us."""
    conditions = echo.air.conditions
    conditions.us_per_byte = 8
    assert (conditions.packet_us(27), conditions.packet_us(251)) == (676, 2_468)
    fitted: list[int] = []
    event = _Lane._event
    has_all = False

    def counted(lane: _Lane) -> None:
        if not has_all:  # a slow machine hands over fewer in an interval than fit
            lane._arm(0.0)
            return
        before = len(lane._waiting)
        event(lane)
        fitted.append(before - len(lane._waiting))

    async with use_radio(radio).client(echo.address, services=[SERVICE]) as client:
        heard: list[bytes] = []
        await client.start_notify(OUT, lambda _, value: heard.append(bytes(value)))
        conditions.connection_interval_ms = 5 if size > 20 else 4
        monkeypatch.setattr(_Lane, "_event", counted)
        sent = [bytes([number]) * size for number in range(3 * in_one)]
        for each in sent:
            await client.write_gatt_char(IN, each, response=False)
        has_all = True
        await until(lambda: len(heard) == len(sent))
    assert heard == sent
    assert max(fitted) == in_one


async def test_a_jammed_link_ends_for_both_sides(echo: Echo, radio: Radio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firmware_bridges.ble_radio.air.SUPERVISION_MS", 60)
    async with use_radio(radio).client(echo.address, services=[SERVICE]) as client:
        echo.air.conditions.packet_loss = 1.0
        await client.write_gatt_char(IN, b"x", response=False)
        await until(lambda: not client.is_connected)
    await until(lambda: not echo.device.connections)
    assert echo.air.dropped_links == 1
    assert echo.written == []


async def test_a_doomed_link_drops_and_the_next_one_holds(
    echo: Echo, radio: Radio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware_bridges.ble_radio.air.DROP_WITHIN_MS", 20)
    echo.air.conditions.drop = 1.0
    client = use_radio(radio).client(echo.address, services=[SERVICE])
    try:
        await client.connect()
    except BleakError:
        assert not client.is_connected  # it died during discovery
    await until(lambda: not client.is_connected)
    echo.air.conditions.drop = 0.0
    async with use_radio(radio).client(echo.address) as client:
        assert client.is_connected


async def test_two_centrals_at_one_advert_get_one_link_and_one_clean_end(echo: Echo, radio: Radio) -> None:
    async with Radio(device_on(echo.air, "rival", address=b"\x03" * 6)) as rival:
        await rival.power_on()
        made = await asyncio.gather(radio.connect(echo.address, timeout_s=5), rival.connect(echo.address, timeout_s=5))
        centrals = (radio.device, rival.device)
        await until(lambda: sum(len(each.connections) for each in centrals) == 1)
        assert len(made) == 2
        assert len(echo.device.connections) == 1


async def test_a_connect_given_up_at_any_moment_leaves_the_radio_free(echo: Echo, radio: Radio) -> None:
    for turns in range(12):
        absent = asyncio.ensure_future(radio.connect("C0:FF:EE:00:00:01", timeout_s=30))
        for _ in range(turns):
            await asyncio.sleep(0)
        absent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await absent
        await radio.disconnect(await radio.connect(echo.address, timeout_s=30))
        await until(lambda: not echo.device.connections)


async def test_who_hangs_up_takes_its_links_with_it_and_frees_its_place(echo: Echo) -> None:
    port = await HciPort(echo.air, SeededDice("port"), most=1).start()
    try:
        radio = await Radio.open(port.transport)
        client = use_radio(radio).client(echo.address)
        await client.connect()
        await until(lambda: len(echo.device.connections) == 1)
        with pytest.raises(BleakError):
            await Radio.open(port.transport)  # the only place is taken
        transport = radio._transport  # as if the process had been killed: no goodbye
        assert transport is not None
        await transport.close()
        await until(lambda: not echo.device.connections and port.controllers == 0)
        async with await Radio.open(port.transport) as next_radio, use_radio(next_radio).client(echo.address) as again:
            assert again.is_connected
        await radio.close()
    finally:
        await port.close()


async def test_a_controller_that_goes_away_ends_everything_at_once(echo: Echo) -> None:
    port = await HciPort(echo.air, SeededDice("port")).start()
    radio = await Radio.open(port.transport)
    client = use_radio(radio).client(echo.address)
    await client.connect()
    await port.close()
    await asyncio.wait_for(radio.lost.wait(), WAIT_S)
    await until(lambda: not client.is_connected)
    with pytest.raises(BleakError):
        await client.connect()
    with pytest.raises(BleakError):
        await use_radio(radio).scanner().start()
    await radio.close()


async def test_noise_on_the_hci_port_is_hung_up_on(echo: Echo) -> None:
    port = await HciPort(echo.air, SeededDice("port")).start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), WAIT_S) == b""
        writer.close()
        await writer.wait_closed()
        await until(lambda: port.controllers == 0)
    finally:
        await port.close()


async def test_a_central_back_before_its_goodbye_arrives_gets_a_clean_link(echo: Echo, radio: Radio) -> None:
    async def stay_connectable(_: Connection) -> None:
        await echo.device.start_advertising(auto_restart=True)

    tasks: list[asyncio.Task[None]] = []
    echo.device.on(
        Device.EVENT_CONNECTION, lambda connection: tasks.append(asyncio.create_task(stay_connectable(connection)))
    )
    backend = use_radio(radio)
    for _ in range(5):
        async with backend.client(echo.address, services=[SERVICE]) as client:
            echo.air.conditions.late, echo.air.conditions.late_ms = 1.0, 60  # the goodbye is held back
            assert client.is_connected
        async with backend.client(echo.address, services=[SERVICE]) as client:
            echo.air.conditions.late = 0.0
            heard: list[bytes] = []
            await client.start_notify(OUT, lambda _, value: heard.append(bytes(value)))  # noqa: B023 - awaited before the next round
            await asyncio.sleep(0.065)  # the old goodbye is through by now
            await client.write_gatt_char(IN, b"x", response=False)
            await until(lambda: heard)  # noqa: B023 - awaited before the next round
        await until(lambda: not echo.device.connections)
    await asyncio.gather(*tasks)
