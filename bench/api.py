"""The API at 1,000 guests at once: each with his own link and his own connection, thinking between two requests.

Cloud, PostgreSQL and the guests share this machine; the cloud is the real program in a process of its own. Every guest
is a caller of his own, so that nobody comes near a rate limit, and a refusal counts as an error. The peers, under the
same guests in the same run: the cloud's empty handler, and a bare litestar that reads one row with psycopg
(bench/api_bare.py): what HTTP and the database cost without sign-in, policies, fence, audit and sealing.
"""

import asyncio
import contextlib
import json
import os
import random
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from bench.rows import Row, quantile, row
from cloud.app.plan import load_property
from cloud.checkin import links
from cloud.kit.acting import system
from cloud.kit.database import Database
from cloud.migrations.upgrade import upgrade
from cloud.platform.properties import property_by_id
from cloud.stays.listing import stay_by_id
from cloud.stays.reservation import PmsStatus, Reservation
from cloud.stays.stays import Place, stay_id, upsert_reservations
from kit.clock import SystemClock
from kit.dice import SystemDice
from protocols.device_model.site_plan import parse
from provisioning.rehearsal.embedded_postgres import EmbeddedPostgres

GUESTS: Final = 1_000
THINK_S: Final = (5.0, 15.0)
RUN_S: Final = 30.0
UP_S: Final = 60.0
IDLE_S: Final = 5.0
HOUR_MS: Final = 3_600_000
ANSWER_S: Final = 20.0
BAR_MS: Final = 200.0
ERRORS_MOST: Final = 0.01
FACTS: Final = json.dumps({"surname": "Haddad", "given_names": "Noor"}).encode()
BEGIN: Final = json.dumps({"channel": "web", "language": "en"}).encode()


@dataclass
class Figures:
    """What came of one kind of request."""

    took_ms: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> float:
        """The share of requests that had no good answer."""
        bad = sum(self.errors.values())
        return bad / max(1, bad + len(self.took_ms))


@dataclass(frozen=True)
class Spent:
    """How long something took, and which share of a core the cloud and PostgreSQL had meanwhile."""

    took_s: float
    rates: tuple[float, float]


Ask = Callable[["Line", int], Any]


class Line:
    """One connection that stays open, as a phone's does; opened again when it breaks."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, figures: Figures, method: str, path: str, body: bytes = b"") -> None:
        loop = asyncio.get_running_loop()
        kind = "content-type: application/json\r\n" if body else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: cloud\r\nauthorization: Bearer {self._token}\r\n{kind}"
            f"content-length: {len(body)}\r\n\r\n"
        )
        began_s = loop.time()
        try:
            async with asyncio.timeout(ANSWER_S):
                if self._reader is not None and self._reader.at_eof():
                    self.close()  # the service ends what has been idle for five seconds, as any HTTP client knows
                if self._writer is None or self._reader is None:
                    self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
                self._writer.write(head.encode() + body)
                status = await self._status(self._reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.close()
            status = type(error).__name__
        if status.startswith("2"):
            figures.took_ms.append((loop.time() - began_s) * 1_000)
        else:
            figures.errors[status] = figures.errors.get(status, 0) + 1

    @staticmethod
    async def _status(reader: asyncio.StreamReader) -> str:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        length = next((int(each.partition(":")[2]) for each in lines if each.lower().startswith("content-length")), 0)
        await reader.readexactly(length)
        return first.split(" ")[1]

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def rows() -> list[Row]:
    """Measure; some two minutes."""
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="ik-bench-") as name:
        folder = Path(name)
        async with EmbeddedPostgres(folder / "postgres", settings={"max_connections": "100"}) as server:
            await asyncio.to_thread(upgrade, server.dsn)
            guests = await _hotel(server.dsn)
            async with (
                _program(folder, "-m", "bench.api_bare", server.dsn) as (bare, _),
                _cloud(folder, server.dsn) as (port, process),
            ):
                database = psutil.Process(server.pid)
                return await _runs(port, bare, guests, process, database)


async def _runs(
    port: int, bare: int, guests: list[tuple[str, str]], process: psutil.Process, database: psutil.Process
) -> list[Row]:
    begins, reads, writes, empty, plain = (Figures() for _ in range(5))
    tokens = [token for _, token in guests]

    def stay(guest: int) -> str:
        return f"/api/v1/properties/aurora/stays/{guests[guest][0]}/session"

    async def begin(line: Line, guest: int) -> None:
        await line.ask(begins, "POST", stay(guest), BEGIN)

    async def check_in(line: Line, guest: int) -> None:
        if random.random() < 0.25:
            await line.ask(writes, "PUT", f"{stay(guest)}/guests/g1", FACTS)
        else:
            await line.ask(reads, "GET", stay(guest))

    async def nothing(line: Line, _guest: int) -> None:
        await line.ask(empty, "GET", "/health")

    async def one_row(line: Line, guest: int) -> None:
        await line.ask(plain, "GET", f"/stays/{guests[guest][0]}")

    await _guests(port, tokens, nothing)
    await _guests(bare, tokens, one_row)
    await _guests(port, tokens, begin, once=True)
    idle = await _spent(process, database, asyncio.sleep(IDLE_S))
    busy = await _spent(process, database, _guests(port, tokens, check_in))
    used = [spent - rest for spent, rest in zip(busy.rates, idle.rates, strict=True)]
    asked = len(reads.took_ms) + len(writes.took_ms)
    bare_ms, empty_ms = quantile(plain.took_ms, 0.5), quantile(empty.took_ms, 0.5)
    return [
        *_told("begin a check-in", begins, plain, bare_ms),
        *_told("read a check-in", reads, plain, bare_ms),
        *_told("say who comes", writes, plain, bare_ms),
        row("the cloud's CPU, a request, without what it spends idle", [used[0] * busy.took_s / asked * 1_000], "ms"),
        row("PostgreSQL's CPU, a request, without what it spends idle", [used[1] * busy.took_s / asked * 1_000], "ms"),
        row("the cloud's CPU with nobody asking", [idle.rates[0] * 100], "% of a core"),
        row("load average of the machine meanwhile", [os.getloadavg()[0]], ""),
        row("empty handler, p50", [empty_ms], "ms"),
        row("empty handler, p95", [quantile(empty.took_ms, 0.95)], "ms"),
        row("bare litestar and psycopg, one row, p50", [bare_ms], "ms", ratio_to="the empty handler", peer=empty_ms),
        row("bare litestar and psycopg, one row, p95", [quantile(plain.took_ms, 0.95)], "ms"),
    ]


def _told(what: str, figures: Figures, plain: Figures, bare_ms: float) -> list[Row]:
    if not figures.took_ms:
        raise RuntimeError(f"{what}: nobody got an answer: {figures.errors}")
    p95 = quantile(figures.took_ms, 0.95)
    return [
        row(
            f"{what}, p50 ({len(figures.took_ms):,} by {GUESTS:,} guests)", [quantile(figures.took_ms, 0.5)], "ms",
            ratio_to="a bare read", peer=bare_ms,
        ),
        row(
            f"{what}, p95", [p95], "ms", ratio_to="a bare read's", peer=quantile(plain.took_ms, 0.95),
            bar=f"< {BAR_MS:g} ms", holds=lambda median, _: median < BAR_MS,
        ),
        row(
            f"{what}, errors {figures.errors or ''}".strip(), [figures.failed * 100], "%",
            bar="< 1 %", holds=lambda median, _: median < ERRORS_MOST * 100,
        ),
    ]  # fmt: skip


async def _guests(port: int, tokens: list[str], ask: Ask, *, once: bool = False) -> None:
    """Let every guest ask for RUN_S, thinking in between; `once`: each one time within that."""
    ends_s = asyncio.get_running_loop().time() + RUN_S

    async def guest(number: int) -> None:
        line = Line(port, tokens[number])
        await asyncio.sleep(random.uniform(0, THINK_S[1]))
        while asyncio.get_running_loop().time() < ends_s:
            await ask(line, number)
            if once:
                break
            await asyncio.sleep(random.uniform(*THINK_S))
        line.close()

    async with asyncio.TaskGroup() as tasks:
        for number in range(len(tokens)):
            tasks.create_task(guest(number))


async def _spent(process: psutil.Process, database: psutil.Process, work: Coroutine[Any, Any, None]) -> Spent:
    loop = asyncio.get_running_loop()
    began_s, before = loop.time(), (_cpu_s(process), _cpu_s(database))
    await work
    took_s = loop.time() - began_s
    return Spent(took_s, ((_cpu_s(process) - before[0]) / took_s, (_cpu_s(database) - before[1]) / took_s))


def _cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of what it has started."""
    used = 0.0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            used += sum(each.cpu_times()[:2])
    return used


@contextlib.asynccontextmanager
async def _cloud(folder: Path, dsn: str) -> AsyncIterator[tuple[int, psutil.Process]]:
    (folder / "key").write_text("00" * 32)
    with socket.socket() as asking:
        asking.bind(("127.0.0.1", 0))
        port = int(asking.getsockname()[1])
    (folder / "cloud.toml").write_text(
        f'[database]\ndsn = "{dsn}"\n[http]\nport = {port}\n'
        f'[privacy]\nkey = "one"\npaths = {{ one = "{folder / "key"}" }}\n[log]\nlevel = "error"\n'
    )
    async with _program(folder, "-m", "cloud.app.main", "run", "--config", str(folder / "cloud.toml"), port=port) as (
        _,
        process,
    ):
        yield port, process


@contextlib.asynccontextmanager
async def _program(folder: Path, *arguments: str, port: int = 0) -> AsyncIterator[tuple[int, psutil.Process]]:
    """Run a program until it is left; its port is the one given, or the first line that it prints."""
    errors = (folder / f"{arguments[1]}.err").open("wb")
    program = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=errors
    )
    try:
        assert program.stdout is not None
        async with asyncio.timeout(UP_S):
            port = port or int(await program.stdout.readline())
            while not await _answers(port):
                await asyncio.sleep(0.05)
        yield port, psutil.Process(program.pid)
    finally:
        program.terminate()
        await program.communicate()
        errors.close()


async def _answers(port: int) -> bool:
    figures, line = Figures(), Line(port, "none")
    await line.ask(figures, "GET", "/health")
    line.close()
    return bool(figures.took_ms)


async def _hotel(dsn: str) -> list[tuple[str, str]]:
    """Open a hotel whose every room has a guest with a link; return their stays and tokens."""
    names = [str(1_000 + each) for each in range(GUESTS)]
    plan = {
        "v": 1,
        "property": {"id": "aurora", "name": "Hotel Aurora", "zone": "Europe/Vienna", "tenant": "northlight"},
        "edge": "e-aurora0000000001",
        "rooms": [{"id": each, "floor": 1, "kind": "guest_room", "type": "double"} for each in names],
        "buses": [],
        "doors": [],
    }
    clock, dice = SystemClock("host"), SystemDice()
    now_ms = clock.wall_ms()
    database = Database(dsn, most=2, actor=system("bench"))
    await database.open()
    await load_property(database, parse(msgspec.json.encode(plan)), now_ms=now_ms)
    booked = [
        Reservation(
            system="mews", external_id=name, number=name, status=PmsStatus.BOOKED, room=name, guest_name="Noor Haddad",
            arrival_ms=now_ms - HOUR_MS, departure_ms=now_ms + 24 * HOUR_MS, adults=2, children=None, updated_ms=now_ms,
        )
        for name in names
    ]  # fmt: skip
    guests = []
    async with database.transaction() as connection:
        await upsert_reservations(
            connection, Place("northlight", "aurora", "e-aurora0000000001"), booked, now_ms=now_ms
        )  # fmt: skip
        house = await property_by_id(connection, "aurora")
        assert house is not None
        for name in names:
            stay = await stay_by_id(
                connection, tenant="northlight", property_id="aurora", stay=stay_id("aurora", "mews", name)
            )
            assert stay is not None
            token, _ = await links.make(connection, house, stay, by="bench", dice=dice, now_ms=now_ms)
            guests.append((stay.id, token))
    await database.close()
    return guests
