"""MQTT clients compared: how many QoS 1 messages a second each takes and gives, on the same stand-ins."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from bench.hot_path.child import Child
from bench.hot_path.payload import FILTER
from bench.rows import Row, row
from kit import mqtt
from kit.clock import SystemClock
from kit.mqtt_wire import transport as wire
from kit.net import Transport

ROUNDS: Final = 3
WINDOW: Final = 1_000
BATCH: Final = 1_000
AT_ONCE: Final = 500
SLOW: Final = 4
"""The library is given so many times fewer messages: its rate is told just as well by them."""
WAIT_S: Final = 120.0


async def rows(count: int) -> list[Row]:
    """Measure and return the rows; `count`: messages a run of our own client."""
    library, ours = "aiomqtt (kit.mqtt)", "kit.mqtt_wire"
    taken: dict[str, list[float]] = {library: [], f"{ours}, one by one": [], f"{ours}, batches": []}
    given: dict[str, list[float]] = {library: [], f"{ours}, one by one": [], f"{ours}, many at once": []}
    for _ in range(ROUNDS):
        taken[library].append(await _taken(_one_by_one_of_library, count // SLOW))
        taken[f"{ours}, one by one"].append(await _taken(_one_by_one, count))
        taken[f"{ours}, batches"].append(await _taken(_batches, count))
        given[library].append(await _given(_publish_of_library, count // SLOW))
        given[f"{ours}, one by one"].append(await _given(_publish, count))
        given[f"{ours}, many at once"].append(await _given(_publish_many, count))
    return [
        *_compared("received", taken, library, f"{ours}, batches"),
        *_compared("published", given, library, f"{ours}, many at once"),
    ]


def _compared(what: str, found: dict[str, list[float]], peer: str, best: str) -> list[Row]:
    middle = sorted(found[peer])[len(found[peer]) // 2]
    return [
        row(
            f"client, QoS 1 {what}: {name}", rates, "msg/s", ratio_to=None if name == peer else peer,
            peer=None if name == peer else middle, bar="> 1 of the library" if name == best else None,
            holds=(lambda _rate, ratio: (ratio or 0) > 1) if name == best else None,
        )
        for name, rates in found.items()
    ]  # fmt: skip


async def _taken(run: Callable[[int, int], Awaitable[None]], count: int) -> float:
    async with Child("bench.hot_path.site") as site:
        port = (await site.ask("listen"))["port"]
        reading = asyncio.create_task(_within(run(port, count)))
        base_ms = SystemClock("host").wall_ms()
        said = await site.ask("send", count=count, rate=0, devices=100, base_ms=base_ms, window=WINDOW)
        await reading
        rate: float = said["rate"]
        return rate


async def _given(run: Callable[[int, int], Awaitable[None]], count: int) -> float:
    async with Child("bench.hot_path.cloud") as cloud:
        port = (await cloud.ask("listen", keep=False))["port"]
        began = time.perf_counter()
        await _within(run(port, count))
        return count / (time.perf_counter() - began)


async def _within(work: Awaitable[None]) -> None:
    async with asyncio.timeout(WAIT_S):
        await work


async def _read(transport: Transport, count: int) -> None:
    async with transport.connect(subscribe=[FILTER]) as link:
        async for _ in link.messages():
            count -= 1
            if not count:
                await asyncio.sleep(0.05)  # the last acknowledgements leave
                return


async def _one_by_one_of_library(port: int, count: int) -> None:
    await _read(mqtt.MqttTransport(mqtt.Broker("127.0.0.1", port, client_id="client-0001")), count)


async def _one_by_one(port: int, count: int) -> None:
    await _read(wire.WireTransport(wire.Broker("127.0.0.1", port, client_id="client-0001")), count)


async def _batches(port: int, count: int) -> None:
    broker = wire.Broker("127.0.0.1", port, client_id="client-0001")
    async with wire.WireTransport(broker).connect(subscribe=[FILTER]) as link:
        while count > 0:
            batch = await link.batch(BATCH)
            link.acknowledge(batch)
            count -= len(batch)
        await asyncio.sleep(0.05)


async def _write(transport: Transport, count: int) -> None:
    payload = bytes(60)
    async with transport.connect() as link:
        for _ in range(0, count, AT_ONCE):
            await asyncio.gather(*(link.publish("out/device", payload) for _ in range(AT_ONCE)))


async def _publish_of_library(port: int, count: int) -> None:
    await _write(mqtt.MqttTransport(mqtt.Broker("127.0.0.1", port, client_id="client-0001")), count)


async def _publish(port: int, count: int) -> None:
    await _write(wire.WireTransport(wire.Broker("127.0.0.1", port, client_id="client-0001")), count)


async def _publish_many(port: int, count: int) -> None:
    broker = wire.Broker("127.0.0.1", port, client_id="client-0001")
    async with wire.WireTransport(broker).connect() as link:
        for _ in range(0, count, AT_ONCE):
            await link.publish_many([(b"out/device", bytes(60))] * AT_ONCE)
