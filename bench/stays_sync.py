"""A whole hotel read from its PMS: 10,000 reservations from the Mews emulator at its rate limit, into PostgreSQL.

Emulator, cloud and database share this machine and one event loop serves the first two; real sockets between them. The
peer is the same question asked of the emulator without a database behind it: what the wire alone costs.
"""

import asyncio
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.rows import Row, row
from cloud.app.plan import load_property
from cloud.kit.acting import system
from cloud.kit.database import Database, fetch_one
from cloud.migrations.upgrade import upgrade
from cloud.pms.emulation.face import TAME, Credentials, Knobs
from cloud.pms.emulation.server import build
from cloud.pms.engine import PmsSync, Rhythm
from cloud.pms.exchange import http_client
from cloud.pms.mews.adapter import MewsAdapter
from cloud.pms.mews.emulator import Emulator
from kit.clock import SystemClock
from kit.dice import SeededDice
from kit.http import serving
from kit.logs import logger
from protocols.device_model.site_plan import parse
from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres

RESERVATIONS: Final = 10_000
ROOMS: Final = 800
TOKENS: Final = Credentials("client", "access")
BAR_S: Final = 60.0
HARSH: Final = msgspec.structs.replace(Knobs(), fault=0.0, limited=0.0, push_dropped=1.0)
"""Slow and stale as by default; one 500 in a list begins it anew, which the tests hold."""


def rows() -> list[Row]:
    """Measure one full sync of a hotel that nobody has read before, and the wire alone."""
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    clock = SystemClock(trust="host")
    with tempfile.TemporaryDirectory(prefix="ik-bench-") as folder:
        async with EmbeddedPostgres(Path(folder) / "postgres") as server:
            await asyncio.to_thread(upgrade, server.dsn)
            database = Database(server.dsn, most=4, actor=system("bench"))
            await database.open()
            try:
                return await _syncs(database, clock)
            finally:
                await database.close()


async def _syncs(database: Database, clock: SystemClock) -> list[Row]:
    names = [str(each) for each in range(100, 100 + ROOMS)]
    await load_property(database, parse(msgspec.json.encode(_plan(names))), now_ms=clock.wall_ms())
    emulator = Emulator(
        rooms=names,
        reservations=RESERVATIONS,
        credentials=TOKENS,
        clock=clock,
        dice=SeededDice(1),
        push=None,
        knobs=HARSH,
    )
    async with serving(build(emulator), port=0) as port, http_client() as http:

        def adapter() -> MewsAdapter:
            return MewsAdapter(
                http,
                platform=f"http://127.0.0.1:{port}",
                client_token=TOKENS.client_token,
                access_token=TOKENS.access_token,
                clock=clock,
            )

        sync = PmsSync(
            database,
            adapter(),
            property_id="aurora",
            rhythm=Rhythm(timedelta(seconds=30), timedelta(minutes=10), timedelta(hours=24)),
            clock=clock,
            log=logger("bench"),
        )
        found = await sync._property()
        assert found is not None
        began_ms = clock.now_ms()
        run = await sync.full(found)
        first_s = (clock.now_ms() - began_ms) / 1000
        asked = sum(emulator.calls.values())
        async with database.transaction() as connection:
            held = await fetch_one(connection, "SELECT count(*) AS count FROM stays.reservation")
        assert held is not None
        emulator.knobs = TAME
        await asyncio.sleep(31)  # the emulator's window of 30 s: the peer starts with an unspent one
        began_ms = clock.now_ms()
        told = 0
        now_ms = clock.wall_ms()
        async for page in adapter().colliding(now_ms - 2 * 86_400_000, now_ms + 87 * 86_400_000):
            told += len(page.reservations)
        wire_s = (clock.now_ms() - began_ms) / 1000
    return [
        row(
            f"{held['count']:,} reservations, full sync from Mews ({asked} requests)",
            [first_s],
            "s",
            ratio_to="the wire alone",
            peer=wire_s,
            bar=f"< {BAR_S:g} s",
            holds=lambda median, _: median < BAR_S and run.created == told == held["count"],
        ),
        row(f"the wire alone, {told:,} reservations", [wire_s], "s"),
    ]


def _plan(names: list[str]) -> dict[str, Any]:
    return {
        "v": 1,
        "property": {"id": "aurora", "name": "Hotel Aurora", "zone": "Europe/Vienna", "tenant": "northlight"},
        "edge": "e-aurora0000000001",
        "rooms": [{"id": each, "floor": 1, "kind": "guest_room", "type": "double"} for each in names],
        "buses": [],
        "doors": [],
    }
