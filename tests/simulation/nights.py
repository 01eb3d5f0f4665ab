"""A small world for the simulator's own tests: devices that must not lose a reading over a bad line.

Stdlib and kit alone, so that a second interpreter can run it: `python -m tests.simulation.nights SEED DAYS`.
Not the product's protocol (that is protocols/link): the smallest one that needs acknowledgements to be right.
"""

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass, field

from kit.net import Connection
from kit.simulation import Faults, SimClock, SimLoop, SimNet, Simulated, run_simulated
from protocols.errors import LinkLostError, ReplyTimeoutError

DAY_S = 86_400.0
READ_EVERY_S = 300.0
ACK_WAIT_S = 15.0
BAD_LINE = Faults(loss=0.05, duplicate=0.05, delay_least_ms=10, delay_most_ms=2_000, in_order=False)


@dataclass
class World:
    """What is true: who said what, and what was heard."""

    said: dict[str, list[int]] = field(default_factory=dict)
    heard: dict[str, list[int]] = field(default_factory=dict)
    dedupe: bool = True  # False plants the defect that the checker must find


async def device(loop: SimLoop, net: SimNet, world: World, name: str, days: float) -> None:
    """Say a number every READ_EVERY_S; keep saying what is not acknowledged, up to 50 at a time."""
    clock = SimClock(loop, drift_ppm=20)
    dice = loop.dice(name)
    outbox: list[int] = []
    said = world.said.setdefault(name, [])
    news = asyncio.Event()

    async def read() -> None:
        while len(said) < days * DAY_S / READ_EVERY_S:
            await asyncio.sleep(READ_EVERY_S)
            said.append(len(said) + 1)
            outbox.append(said[-1])
            news.set()

    async def hear(link: Connection) -> None:
        async for message in link.messages():
            while outbox and outbox[0] <= int(message.payload):
                outbox.pop(0)
                news.set()

    async def speak(link: Connection) -> None:
        while True:
            news.clear()
            if outbox:
                await link.publish(f"say/{name}", " ".join(map(str, outbox[:50])).encode())
            with suppress(TimeoutError):
                async with asyncio.timeout(ACK_WAIT_S if outbox else None):
                    await news.wait()

    async def send() -> None:
        while True:
            try:
                async with net.transport(name).connect(subscribe=[f"ack/{name}"]) as link, asyncio.TaskGroup() as both:
                    both.create_task(hear(link))
                    both.create_task(speak(link))
            except (LinkLostError, ReplyTimeoutError, ExceptionGroup):
                loop.trace.add(loop.time(), "reconnect", name, clock.now_ms())
            await asyncio.sleep(dice.uniform(1, 60))

    async with asyncio.TaskGroup() as parts:
        sending = parts.create_task(send())
        await parts.create_task(read())
        while outbox:
            await asyncio.sleep(60)
        sending.cancel()


async def collector(loop: SimLoop, net: SimNet, world: World) -> None:
    """Hear each number once, in order, and acknowledge the highest without a gap."""

    async def acknowledge(link: Connection, name: str) -> None:
        with suppress(LinkLostError, ReplyTimeoutError):
            await link.publish(f"ack/{name}", str(len(world.heard[name])).encode())

    while True:
        try:
            async with net.transport("cloud").connect(subscribe=["say/+"]) as link, asyncio.TaskGroup() as acks:
                async for message in link.messages():
                    name = message.topic.removeprefix("say/")
                    heard = world.heard.setdefault(name, [])
                    for number in map(int, message.payload.split()):
                        if number == len(heard) + 1 or not world.dedupe:
                            heard.append(number)
                            loop.trace.add(loop.time(), "heard", name, number)
                    acks.create_task(acknowledge(link, name))
        except (LinkLostError, ExceptionGroup):
            await asyncio.sleep(5)


async def weather(loop: SimLoop, net: SimNet, names: list[str]) -> None:
    """Cut a line for up to some hours, a few times a day; kill the broker once in a while."""
    dice = loop.dice("weather")
    while True:
        await asyncio.sleep(dice.uniform(1, 8) * 3600)
        name = dice.choice([*names, "cloud"])
        if dice.uniform(0, 1) < 0.1:
            net.stop_broker()
            await asyncio.sleep(dice.uniform(1, 600))
            net.start_broker()
        elif dice.uniform(0, 1) < 0.3:
            net.drop(name)
        else:
            net.cut(name, dice.choice(("up", "down", "both")))
            await asyncio.sleep(dice.uniform(10, 4 * 3600))
            net.heal(name)


def night(seed: int, days: float, *, dedupe: bool = True, devices: int = 5) -> tuple[World, Simulated[None]]:
    """Run `devices` devices for `days` days; return what is true and how the run ended."""
    world = World(dedupe=dedupe)

    async def main(loop: SimLoop) -> None:
        net = SimNet(loop, BAD_LINE)
        names = [f"device-{number}" for number in range(devices)]
        others = [
            asyncio.create_task(collector(loop, net, world)),
            asyncio.create_task(weather(loop, net, names)),
        ]
        async with asyncio.TaskGroup() as all_devices:
            for name in names:
                all_devices.create_task(device(loop, net, world, name, days))
        for other in others:
            other.cancel()

    return world, run_simulated(main, seed, until_s=(days + 10) * DAY_S)


if __name__ == "__main__":
    ended = night(int(sys.argv[1]), float(sys.argv[2]))[1]
    print(ended.trace_hash, ended.events)
