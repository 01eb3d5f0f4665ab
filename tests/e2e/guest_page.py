"""The guest's page as a guest meets it, in Chromium, with emulated locks behind the browser's Bluetooth.

`BrowserBluetooth` is the air between the two: Chromium emulates a Bluetooth adapter and asks over its debugging
protocol what a peripheral would answer; each question goes through bleak's API to the emulated lock in the same event
loop. It adds nothing of its own: services and properties are those the lock shows, values are the lock's. It cannot
pass on a notification (the debugging protocol has no such command), so the page reads the frame notified last, as
SPEC.md 1 allows. Nor does the protocol tell when a page lets go of a device, which a real adapter sees before it
connects again: `RELEASED` has the tab tell it.
"""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, cast

from bleak import BleakClient
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData
from bleak.exc import BleakError
from playwright.async_api import Browser, BrowserContext, CDPSession, ConsoleMessage, Locator, Page, Request, expect

from cloud.kit.database import Database
from cloud.platform.principals import Principals
from cloud.public.app import build
from cloud.public.gate import Gate
from cloud.public.web import pages
from firmware_bridges.ble_radio.backend import BleBackend
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.http import serve
from protocols.door.advert import SERVICE_UUID, Advert, DoorKeys
from protocols.door.bundle import Bundle
from protocols.errors import PeerProtocolError
from tests.firmware_bridges.innkeeper_lock.world import until

WAIT_MS: Final = 45_000
expect.set_options(timeout=WAIT_MS)  # what comes may take its time on a slow machine; the default is 5 s
WEB_BLUETOOTH: Final = "--enable-features=WebBluetooth"  # Chromium on Linux has it, switched off
CLIENT_CONFIGURATION: Final = "00002902-0000-1000-8000-00805f9b34fb"
GATT_OK: Final = 0
GATT_FAILED: Final = 0x0E  # "unlikely error"
SCAN_WAIT_S: Final = 5.0
LOCK_WAIT_S: Final = 1.0
ARRIVING_S: Final = 0.03  # a question that the browser has put meanwhile is here by then; it asks each 60 ms

RELEASED: Final = """
if ('BluetoothRemoteGATTServer' in self) {
  const { connect, disconnect } = BluetoothRemoteGATTServer.prototype
  let released = Promise.resolve()
  BluetoothRemoteGATTServer.prototype.disconnect = function () { disconnect.call(this); released = self.tellReleased() }
  BluetoothRemoteGATTServer.prototype.connect = async function () { await released; return connect.call(this) }
}
"""

Say = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]


@asynccontextmanager
async def served(dist: Path) -> AsyncIterator[str]:
    """The cloud's own page routes behind its own gate and headers, on a free port; nothing of it needs its database."""
    clock, database = SystemClock("host"), Database("", most=1)
    principals = Principals([], dice=SystemDice())
    gate = Gate(principals, database, clock=clock, origins=frozenset())
    app = build(gate, pages(dist, principals, database, clock=clock, secure_cookie=False))
    bound: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(app, "127.0.0.1", 0, bound=bound.set_result))
    try:
        async with asyncio.timeout(WAIT_MS / 1_000):
            port = await bound
        yield f"http://127.0.0.1:{port}"
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


class BrowserBluetooth:
    """One browser's emulated adapter. `chooses` is the door that the guest picks in the list; None closes the list."""

    def __init__(self, backend: BleBackend, doors: dict[str, DoorKeys], lock_time_s: Callable[[str], int]) -> None:
        self._backend, self._doors, self._lock_time_s = backend, doors, lock_time_s
        self._addresses = {door: f"09:09:09:00:00:{number:02X}" for number, door in enumerate(doors, 1)}
        self._clients: dict[str, BleakClient] = {}
        self._characteristics: dict[str, tuple[str, str]] = {}  # the browser's id: address, UUID
        self._answered: set[str] = set()
        self._asked: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._say: Say | None = None
        self.chooses: str | None = None
        self.offered: list[list[str]] = []
        self.faults: list[str] = []
        self.before: Callable[[str, str, bytes], Awaitable[None]] | None = None
        """Called with the door, what is asked of it (read, write, subscribe) and the frame, before the lock hears."""

    @asynccontextmanager
    async def plugged(self, browser: Browser, address: str) -> AsyncIterator["BrowserBluetooth"]:
        """Switch the emulation on while inside; `address` serves any page."""
        session = await browser.new_browser_cdp_session()
        self._say = cast(Say, session.send)
        await session.send("BluetoothEmulation.enable", {"state": "powered-on", "leSupported": True})
        for device in self._addresses.values():
            await self._show_device(device)
        self._hear(session, "BluetoothEmulation.gattOperationReceived", self._on_gatt)
        self._hear(session, "BluetoothEmulation.characteristicOperationReceived", self._on_characteristic)
        self._hear(session, "BluetoothEmulation.descriptorOperationReceived", self._on_descriptor)
        working = asyncio.create_task(self._work())
        try:
            # The emulated adapter goes with the last page that uses it, a reload's too: one page more stays.
            holder = await browser.new_page()
            await holder.goto(f"{address}/guest/icon.svg")
            await holder.evaluate("navigator.bluetooth.getAvailability()")
            yield self
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
            while self._clients:
                await self._clients.popitem()[1].disconnect()
            await session.send("BluetoothEmulation.disable")
            await session.detach()

    async def settled(self) -> None:
        """Wait until no lock is connected and the browser knows all that it is to know."""
        await until(lambda: not self.linked)
        async with asyncio.timeout(WAIT_MS / 1_000):
            await self._asked.join()

    @property
    def linked(self) -> bool:
        """Whether any lock is connected."""
        return any(client.is_connected for client in self._clients.values())

    async def switch(self, *, on: bool) -> None:
        """Give the phone an adapter or take it away; one that is only switched off, Chromium calls available."""
        state = {"state": "powered-on" if on else "absent"}
        await self._send("BluetoothEmulation.setSimulatedCentralState", state)

    async def in_tab(self, page: Page) -> None:
        """Answer the list of devices that this tab opens."""
        session = await page.context.new_cdp_session(page)

        async def on_prompt(event: dict[str, Any]) -> None:
            told = {each["id"] for each in event["devices"]}  # Chromium names a device by its address
            devices = {door: address for door, address in self._addresses.items() if address in told}
            if event["id"] in self._answered or (self.chooses is not None and self.chooses not in devices):
                return  # the list grows: it is told again for each device
            self._answered.add(event["id"])
            self.offered.append(sorted(devices))
            if self.chooses is None:
                await session.send("DeviceAccess.cancelPrompt", {"id": event["id"]})
            else:
                await session.send("DeviceAccess.selectPrompt", {"id": event["id"], "deviceId": devices[self.chooses]})

        async def on_released() -> None:
            done = asyncio.get_running_loop().create_future()

            async def release() -> None:
                try:
                    for address in list(self._clients):
                        await self._clients.pop(address).disconnect()
                        await self._tell_lost(address)
                finally:
                    done.set_result(None)

            self._asked.put_nowait(release)
            await done

        await page.expose_function("tellReleased", on_released)
        await page.add_init_script(RELEASED)
        self._hear(session, "DeviceAccess.deviceRequestPrompted", on_prompt)
        await session.send("DeviceAccess.enable")

    def _hear(self, session: CDPSession, event: str, handler: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        session.on(event, lambda said: self._asked.put_nowait(lambda: handler(said)))

    async def _send(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        assert self._say is not None
        return await self._say(method, arguments)

    async def _work(self) -> None:
        while True:
            handler = await self._asked.get()
            try:
                await handler()
            except Exception as error:  # noqa: BLE001 - told by the test that looks, not lost in a task
                self.faults.append(repr(error))
            self._asked.task_done()

    # -- what the browser asks of a peripheral ------------------------------------------------------------------------

    async def _on_gatt(self, event: dict[str, Any]) -> None:
        address, kind = event["address"], event["type"]
        code = GATT_OK
        if kind == "connection":
            code = await self._connect(address)
        elif (client := self._clients.get(address)) is None:
            code = GATT_FAILED
        else:
            await self._show_services(address, client)
        await self._send(
            "BluetoothEmulation.simulateGATTOperationResponse", {"address": address, "type": kind, "code": code}
        )

    async def _connect(self, address: str) -> int:
        [door] = [each for each, at in self._addresses.items() if at == address]
        if (old := self._clients.pop(address, None)) is not None:
            await old.disconnect()
        device = await self._find(door)
        if device is None:
            return GATT_FAILED
        client = self._backend.client(device, services=[SERVICE_UUID], on_disconnected=lambda _: self._lost(address))
        try:
            await client.connect()
        except (BleakError, TimeoutError):
            return GATT_FAILED
        self._clients[address] = client
        return GATT_OK

    async def _find(self, door: str) -> BLEDevice | None:
        found: asyncio.Future[BLEDevice] = asyncio.get_running_loop().create_future()
        ids = self._doors[door].ids_around(self._lock_time_s(door))

        def heard(device: BLEDevice, data: AdvertisementData) -> None:
            with suppress(PeerProtocolError):
                shown = data.service_data.get(SERVICE_UUID)
                if shown is not None and not found.done() and Advert.decode(shown).eid in ids:
                    found.set_result(device)

        with suppress(TimeoutError):
            async with asyncio.timeout(SCAN_WAIT_S), self._backend.scanner(heard):
                return await found
        return None

    def _lost(self, address: str) -> None:
        if self._clients.pop(address, None) is not None:
            self._asked.put_nowait(lambda: self._tell_lost_last(address))

    async def _tell_lost_last(self, address: str) -> None:
        """Tell it once nothing else is under way: the emulation forgets what was asked before, and the page waits."""
        await asyncio.sleep(ARRIVING_S)
        if self._asked.empty():
            await self._tell_lost(address)
        else:
            self._asked.put_nowait(lambda: self._tell_lost_last(address))

    async def _tell_lost(self, address: str) -> None:
        await self._quietly("BluetoothEmulation.simulateGATTDisconnection", {"address": address})
        await self._show_device(address)  # what was disconnected is in no list until it is heard again

    async def _show_device(self, address: str) -> None:
        device = {"address": address, "name": address, "manufacturerData": [], "knownServiceUuids": [SERVICE_UUID]}
        await self._quietly("BluetoothEmulation.simulatePreconnectedPeripheral", device)

    async def _quietly(self, method: str, arguments: dict[str, Any]) -> None:
        with suppress(Exception):  # the browser may have let go first
            await self._send(method, arguments)

    async def _show_services(self, address: str, client: BleakClient) -> None:
        for service in client.services:
            told = await self._send("BluetoothEmulation.addService", {"address": address, "serviceUuid": service.uuid})
            for characteristic in service.characteristics:
                await self._show(address, told["serviceId"], characteristic)

    async def _show(self, address: str, service_id: str, characteristic: BleakGATTCharacteristic) -> None:
        has = set(characteristic.properties)
        properties = {
            "read": "read" in has,
            "write": "write" in has,
            "writeWithoutResponse": "write-without-response" in has,
            "notify": "notify" in has,
        }
        told = await self._send(
            "BluetoothEmulation.addCharacteristic",
            {"serviceId": service_id, "characteristicUuid": characteristic.uuid, "properties": properties},
        )
        self._characteristics[told["characteristicId"]] = (address, characteristic.uuid)
        if properties["notify"]:
            await self._send(
                "BluetoothEmulation.addDescriptor",
                {"characteristicId": told["characteristicId"], "descriptorUuid": CLIENT_CONFIGURATION},
            )

    async def _on_characteristic(self, event: dict[str, Any]) -> None:
        identifier, kind = event["characteristicId"], event["type"]
        address, uuid = self._characteristics[identifier]
        answer: dict[str, Any] = {"characteristicId": identifier, "type": kind, "code": GATT_OK}
        try:
            async with asyncio.timeout(LOCK_WAIT_S):  # an answer that a broken link swallowed never comes
                value = await self._at_lock(address, uuid, kind, event)
        except (BleakError, KeyError, TimeoutError):
            answer["code"] = GATT_FAILED
        else:
            if value is not None:
                answer["data"] = base64.b64encode(value).decode()
        await self._quietly("BluetoothEmulation.simulateCharacteristicOperationResponse", answer)

    async def _at_lock(self, address: str, uuid: str, kind: str, event: dict[str, Any]) -> bytes | None:
        [door] = [each for each, at in self._addresses.items() if at == address]
        value = base64.b64decode(event.get("data", ""))
        if self.before is not None:
            await self.before(door, kind.partition("-")[0], value)
        client = self._clients[address]
        if kind == "read":
            return bytes(await client.read_gatt_char(uuid))
        if kind == "write":
            await client.write_gatt_char(uuid, value, response=event["writeType"] != "write-without-response")
        elif kind == "subscribe-to-notifications":
            await client.start_notify(uuid, lambda _characteristic, _value: None)
        return None

    async def _on_descriptor(self, event: dict[str, Any]) -> None:
        answer = {"descriptorId": event["descriptorId"], "type": event["type"], "code": GATT_OK}
        await self._quietly("BluetoothEmulation.simulateDescriptorOperationResponse", answer)


def key_link(address: str, bundle: Bundle | dict[str, Any]) -> str:
    """Return the link that brings a bundle, behind the # as the hotel would send it."""
    document = bundle if isinstance(bundle, dict) else bundle.to_document()
    packed = base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")
    return f"{address}/guest/#key={packed}"


class GuestPage:
    """One tab with the guest's page in it. `problems` gathers what the browser complained of."""

    def __init__(self, page: Page, address: str, bluetooth: BrowserBluetooth | None) -> None:
        self.page, self.address, self._bluetooth = page, address, bluetooth
        self.problems: list[str] = []
        self.strangers: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.problems.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.strangers.append(request.url)

    async def open(self) -> "GuestPage":
        """Open the page as somebody who has no key yet."""
        await self.page.goto(f"{self.address}/guest/")
        await expect(self.page.locator("h1")).to_be_visible(timeout=WAIT_MS)
        return self

    async def phone_key(self) -> str:
        """The code that the page shows: the phone's public key in hexadecimal."""
        await expect(self.page.locator("h1")).to_be_visible(timeout=WAIT_MS)
        code = self.page.get_by_test_id("phone-code")
        if not await code.is_visible():
            await self.page.locator("details summary").click()
        return re.sub(r"\s", "", await code.inner_text())

    async def take(self, bundle: Bundle | dict[str, Any]) -> None:
        """Open the link that brings a bundle, in the tab as it is."""
        await self.page.goto(key_link(self.address, bundle))

    def door(self, door: str) -> Locator:
        return self.page.locator(f"[data-door='{door}']")

    def button(self, door: str) -> Locator:
        return self.door(door).get_by_role("button")

    def outcome(self, door: str) -> Locator:
        return self.door(door).get_by_test_id("outcome")

    async def tap(self, door: str) -> str:
        """Tap the door's button, wait until it is over, and return how it ended (opened, refused, failed, unknown)."""
        await self.button(door).click()
        await expect(self.door(door)).to_have_attribute("data-ending", re.compile(r"\w+"), timeout=WAIT_MS)
        if self._bluetooth is not None:
            await self._bluetooth.settled()
        return await self.door(door).get_attribute("data-ending") or ""

    def notice(self, name: str) -> Locator:
        return self.page.locator(f"[data-notice='{name}']")

    @property
    def announcer(self) -> Locator:
        """What a screen reader is told without asking."""
        return self.page.get_by_test_id("announcer")

    async def wait_kept(self) -> None:
        """Wait until the page says that it works without internet."""
        await expect(self.page.get_by_test_id("offline")).to_have_attribute("data-kept", "true", timeout=WAIT_MS)

    async def is_wider_than_screen(self) -> bool:
        """Whether a reader would have to scroll sideways."""
        widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        wanted, there = cast("tuple[int, int]", await self.page.evaluate(widths))
        return wanted > there

    async def violations(self, axe: str) -> list[str]:
        """Run axe-core (its source text) over the page; return each violation as one line."""
        await self.page.evaluate(axe)
        found = await self.page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
            ".then(result => result.violations.flatMap(rule => rule.nodes.map(node =>"
            " `${rule.id}: ${node.target.join(' ')}: ${node.failureSummary}`)))"
        )
        return cast("list[str]", found)


async def new_tab(context: BrowserContext, address: str, bluetooth: BrowserBluetooth | None = None) -> GuestPage:
    """Open a tab, with the browser's list of devices answered."""
    page = await context.new_page()
    if bluetooth is not None:
        await bluetooth.in_tab(page)
    return GuestPage(page, address, bluetooth)
