"""The service with an OPERA chain: what its stream tells is here at once, and one of two services listens."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cloud.app.service import run
from cloud.app.settings import CloudSettings
from cloud.kit.database import Database, fetch_all
from cloud.pms.emulation.face import TAME, Credentials
from cloud.pms.emulation.server import build
from cloud.pms.ohip import emulator as ohip
from kit.clock import SystemClock
from kit.dice import SeededDice, SystemDice
from kit.http import serving
from kit.settings import load
from tests.cloud.houses import DAY_MS, ROOMS, open_house

pytestmark = [pytest.mark.tier("postgres"), pytest.mark.requirement("PMS-08"), pytest.mark.timeout(400)]
PATIENCE_S = 150.0
"""More than the minute that a consumer waits for another one."""


def written(folder: Path, dsn: str, port: int) -> CloudSettings:
    """Return settings with a chain; its platform and its stream are at one address."""
    for name, secret in {"secret": "access", "hook": "h" * 40, "client": "client", "key": ohip.APP_KEY}.items():
        (folder / name).write_text(secret)
    path = folder / "cloud.toml"
    path.write_text(
        f"""[database]
dsn = "{dsn}"
[http]
port = 0
[[pms]]
property = "aurora"
system = "ohip"
platform = "http://127.0.0.1:{port}"
hotel = "{ohip.HOTEL}"
enterprise = "NORTHLIGHT"
chain = "{ohip.CHAIN}"
zone = "Europe/Vienna"
access_token_path = "{folder / "secret"}"
webhook_secret_path = "{folder / "hook"}"
client_token_path = "{folder / "client"}"
app_key_path = "{folder / "key"}"
"""
    )
    return load(CloudSettings, path, "INNKEEPER_CLOUD", {})


@asynccontextmanager
async def service(settings: CloudSettings) -> AsyncIterator[asyncio.Event]:
    """Run the service; whoever sets the event stops it."""
    stop, bound = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving_ = asyncio.create_task(
        run(settings, clock=SystemClock("host"), dice=SystemDice(), bound=bound.set_result, stop=stop)
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({serving_, bound}, return_when=asyncio.FIRST_COMPLETED)
        yield stop
    finally:
        stop.set()
        await serving_


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await true():
            await asyncio.sleep(0.02)


async def test_a_chain_is_heard_by_one_service_and_by_the_other_when_that_one_goes(
    database: Database, dsn: str, tmp_path: Path
) -> None:
    await open_house(database)
    clock = SystemClock("host")
    emulator = ohip.Emulator(
        rooms=list(ROOMS), reservations=0, credentials=Credentials("client", "access"), clock=clock,
        dice=SeededDice(1), push=None, knobs=TAME,
    )  # fmt: skip
    emulator.stream.between_ms = 0

    async def known() -> set[str]:
        async with database.transaction() as connection:
            return {
                row["external_id"] for row in await fetch_all(connection, "SELECT external_id FROM stays.reservation")
            }

    async def compared() -> bool:
        async with database.transaction() as connection:
            return bool(await fetch_all(connection, "SELECT 1 FROM pms.connection WHERE full_at IS NOT NULL"))

    async def told() -> None:
        made = emulator.hotel.add(
            room="101", start_ms=clock.wall_ms(), end_ms=clock.wall_ms() + DAY_MS, first_name="Anna", last_name="Żółć"
        ).id  # no list is read for five minutes: the stream alone can tell of him

        async def is_known() -> bool:
            return made in await known()

        await until(is_known)

    async def listening(*, more_than: int) -> None:
        async def subscribed() -> bool:
            return len(emulator.stream.subscriptions) > more_than

        await until(subscribed)

    async with serving(build(emulator)) as port:
        settings = written(tmp_path, dsn, port)
        async with service(settings) as first:
            await until(compared)
            await listening(more_than=0)
            await told()
            async with service(settings):
                await told()
                assert 4409 not in emulator.stream.closed, "the second service does not listen beside the first"
                before = len(emulator.stream.subscriptions)
                first.set()
                await listening(more_than=before)
                await told()
    assert len(await known()) == 3
