"""A serial line of this machine, opened for one program alone: raw bytes, eight data bits, no flow control.

By termios and not a library: what is needed of one is what stands here, and the event loop reads the line itself.
"""

import asyncio
import errno
import fcntl
import os
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from protocols.device_model.site_plan import ModbusRtuBus, SerialBus

READ_BYTES: Final = 512
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _ISPEED, _OSPEED, _CC = range(7)
_PARITY: Final = {"none": 0, "even": termios.PARENB, "odd": termios.PARENB | termios.PARODD}


class SerialPort:
    """An open line. `rtu_link.Wire`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: asyncio.Future[None] | None = None

    @classmethod
    def open(cls, bus: ModbusRtuBus | SerialBus) -> "SerialPort":
        """Open and set up a line. Raises OSError: not there, not ours, no serial line, or open elsewhere."""
        descriptor = os.open(bus.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _set_up(descriptor, bus)
            fcntl.ioctl(descriptor, termios.TIOCEXCL)
        except termios.error as error:
            os.close(descriptor)
            raise OSError(error.args[0], f"is no serial line that can be set so: {error.args[1]}", bus.path) from error
        except OSError as error:
            os.close(descriptor)
            if error.errno == errno.EWOULDBLOCK:
                raise OSError(errno.EBUSY, "another program has it open", bus.path) from error
            raise OSError(error.errno, error.strerror, bus.path) from error
        return cls(descriptor)

    async def read(self) -> bytes:
        """Return what came, at least one byte; nothing once the line is gone. Raises OSError."""
        loop = asyncio.get_running_loop()
        while self._descriptor >= 0:
            try:
                return os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:
                await self._ready(loop.add_reader, loop.remove_reader)
            except OSError as error:
                if error.errno == errno.EIO:  # unplugged, or a pseudo terminal's other end is gone
                    return b""
                raise
        return b""

    async def write(self, data: bytes) -> None:
        """Write all of it. Raises OSError."""
        loop = asyncio.get_running_loop()
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                await asyncio.sleep(0.001) if self._waiting else await self._ready(loop.add_writer, loop.remove_writer)

    def forget_input(self) -> None:
        """Drop what came and was not read."""
        with suppress(OSError, termios.error):
            termios.tcflush(self._descriptor, termios.TCIFLUSH)

    async def close(self) -> None:
        """Give the line back; a read under way returns nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)
            if self._waiting is not None and not self._waiting.done():
                self._waiting.set_result(None)
            with suppress(OSError, termios.error):
                termios.tcflush(descriptor, termios.TCIOFLUSH)  # a line that is gone must not be waited for
            os.close(descriptor)

    async def _ready(self, add: Callable[..., None], remove: Callable[[int], bool]) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        descriptor = self._descriptor
        add(descriptor, _settle, future)
        self._waiting = future
        try:
            await future
        finally:
            self._waiting = None
            if self._descriptor == descriptor:
                remove(descriptor)


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _set_up(descriptor: int, bus: ModbusRtuBus | SerialBus) -> None:
    flags = termios.tcgetattr(descriptor)
    flags[_IFLAG] = termios.INPCK if bus.parity != "none" else 0
    flags[_OFLAG] = flags[_LFLAG] = 0
    two = termios.CSTOPB if bus.stop_bits == 2 else 0
    flags[_CFLAG] = termios.CS8 | termios.CREAD | termios.CLOCAL | _PARITY[bus.parity] | two
    flags[_ISPEED] = flags[_OSPEED] = getattr(termios, f"B{bus.baud}")
    flags[_CC][termios.VMIN], flags[_CC][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, flags)
