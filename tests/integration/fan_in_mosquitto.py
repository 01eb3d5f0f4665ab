"""A mosquitto of one's own for a test: started, killed and started again on the same port, keeping nothing."""

import asyncio
import contextlib
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

from provisioning.rehearsal.nats import free_port
from tests.conftest import find_program

START_WAIT_S = 60.0


class Mosquitto:
    """As `provisioning.rehearsal.nats.Nats`, without TLS and rights."""

    def __init__(self, folder: Path) -> None:
        self.host, self.port = "127.0.0.1", free_port("127.0.0.1")
        self._config = folder / "mosquitto.conf"
        folder.mkdir(parents=True)
        self._config.write_text(
            f"listener {self.port} {self.host}\nallow_anonymous true\npersistence false\n"
            "max_inflight_messages 1000\nmax_queued_messages 10000\nset_tcp_nodelay true\n"
        )
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def start(self) -> None:
        program = find_program("mosquitto")
        assert program is not None
        self._process = await asyncio.create_subprocess_exec(
            program, "-c", str(self._config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(START_WAIT_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection(self.host, self.port)
                    writer.close()
                    await writer.wait_closed()
                    return
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
