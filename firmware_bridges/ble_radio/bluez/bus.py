"""A private message bus: a `dbus-daemon` of our own on a socket of our own, both gone when the block ends."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from protocols.errors import LinkLostError

PROGRAM: Final = "dbus-daemon"
START_WAIT_S: Final = 10.0
_CONFIG: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:dir={folder}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow send_type="signal"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"""


class PrivateBus:
    """A bus that runs. `address`: what `DBUS_SYSTEM_BUS_ADDRESS` is set to."""

    def __init__(self, address: str, process: asyncio.subprocess.Process) -> None:
        self.address = address
        self._process = process

    async def end(self) -> None:
        """End the bus, as a restart of it would: every connection breaks. Harmless twice."""
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()


@asynccontextmanager
async def private_bus() -> AsyncIterator[PrivateBus]:
    """Run a bus for the length of the block.

    Raises:
        LinkLostError: there is no `dbus-daemon` here (Debian: package dbus-daemon), or it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="ik-bus-") as name:  # a short path: sockets allow 107 bytes
        config = Path(name) / "bus.conf"
        config.write_text(_CONFIG.format(folder=name), encoding="ascii")
        try:
            process = await asyncio.create_subprocess_exec(
                PROGRAM, f"--config-file={config}", "--nofork", "--nopidfile", "--print-address=1",
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise LinkLostError(f"no program {PROGRAM} here (Debian: package dbus-daemon)") from error
        bus = PrivateBus("", process)
        try:
            bus.address = await _address(process)
            yield bus
        finally:
            await bus.end()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None  # noqa: S101 - asked for above
    try:
        async with asyncio.timeout(START_WAIT_S):
            line = await process.stdout.readline()
    except TimeoutError as error:
        raise LinkLostError(f"{PROGRAM} did not start within {START_WAIT_S} s") from error
    if not line:
        raise LinkLostError(f"{PROGRAM} ended at once: status {await process.wait()}")
    return line.decode().strip()
