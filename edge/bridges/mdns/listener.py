"""Listens for devices that announce themselves, asks now and then who is there, and tells each once as unknown.

Holds: whatever anybody on the network announces costs bounded memory, bounded log lines and a bounded number of
records. Nothing found is connected to; binding it is a person's decision.
"""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

from edge.bridges.complaints import Complaints
from edge.bridges.evidence import evidence, unknown_id
from edge.bridges.listening import ListeningBus
from edge.bridges.mdns.messages import parse, question
from edge.bridges.mdns.services import Services, service_name
from edge.bridges.mdns.settings import MdnsSettings
from edge.bridges.ports import UNKNOWN_UNTOLD, DeviceEvent, ReadingSink
from kit.clock import Clock
from kit.dice import Dice
from kit.supervision import Backoff
from protocols.device_model.identity import BusId
from protocols.errors import PeerProtocolError

BUS: Final = BusId("mdns")
GROUP: Final = "224.0.0.251"
PORT: Final = 5353
MESSAGES_A_SECOND_MAX: Final = 200
REOPEN: Final = Backoff(first_ms=1_000, most_ms=60_000)

Open = Callable[[str], socket.socket]


class MdnsListener(ListeningBus):
    """`edge.bridges.ports.BusSupervisor` of what announces itself: nothing hangs on it, and nothing can be written.

    Args:
        settings: where to listen, and for what.
        clock: both clocks.
        dice: for pauses.
        sink: where what is found is told.
        open_socket: joins the group on an interface; raises OSError.
    """

    def __init__(
        self, settings: MdnsSettings, *, clock: Clock, dice: Dice, sink: ReadingSink, open_socket: Open | None = None
    ) -> None:
        super().__init__(BUS, why_not="is found and not bound")
        self._settings, self._clock, self._dice, self._sink = settings, clock, dice, sink
        self._open = join if open_socket is None else open_socket
        self._complaints = Complaints(BUS, self._counts, clock)
        self._services = Services(settings.services)
        self._second, self._in_second = 0, 0

    async def run(self) -> None:
        """See `BusSupervisor.run`."""
        failures = 0
        while True:
            try:
                with self._open(self._settings.interface) as channel:
                    failures = 0
                    await self._listen(channel)
            except OSError as error:  # no such address now, the port is another's, the interface went away
                self._complaints.refused("listening_failed", self._settings.interface, error)
            failures += 1
            await asyncio.sleep(REOPEN.pause_ms(failures, self._dice) / 1000)

    async def _listen(self, channel: socket.socket) -> None:
        channel.setblocking(False)
        loop = asyncio.get_running_loop()
        asked = question([service_name(each) for each in self._settings.services])
        every_s = self._settings.ask_every.total_seconds()
        next_ms = self._clock.now_ms()
        while True:
            left_ms = next_ms - self._clock.now_ms()
            if left_ms <= 0:
                await loop.sock_sendto(channel, asked, (GROUP, PORT))
                next_ms = self._clock.now_ms() + round(every_s * 1000)
                continue
            try:
                async with asyncio.timeout(left_ms / 1000):
                    data, (sender, _) = await loop.sock_recvfrom(channel, 9_216)
            except TimeoutError:
                continue
            self.take(data, sender)
            await self._within_rate()

    async def _within_rate(self) -> None:
        """Give the house its turn: a storm of announcements waits in the kernel, which drops what is too much."""
        second = self._clock.now_ms() // 1000
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        if self._in_second >= MESSAGES_A_SECOND_MAX:
            self._counts["storms"] += 1
            await asyncio.sleep((second + 1) - self._clock.now_ms() / 1000)

    def take(self, data: bytes, sender: str) -> None:
        """Take one message as it came. Never raises for what is in it."""
        self._counts["messages"] += 1
        try:
            records = parse(data)
        except PeerProtocolError as error:
            self._complaints.refused("malformed_messages", sender, error)
            return
        refused = self._services.refused
        for name, told in self._services.take(records, sender):
            self._counts[f"event_{DeviceEvent.UNKNOWN_DEVICE}"] += 1
            self._sink.device_event(
                unknown_id(BUS, name, None), DeviceEvent.UNKNOWN_DEVICE, evidence({"bus": BUS, **told})
            )
        if (untold := self._services.refused - refused) > 0:
            self._complaints.refused(UNKNOWN_UNTOLD, sender, "announces more than is kept", times=untold)


def join(interface: str) -> socket.socket:
    """Return a socket that hears the group on an interface. Raises OSError."""
    channel = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        channel.bind((GROUP, PORT))
        own = socket.inet_aton(interface)
        channel.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", socket.inet_aton(GROUP), own)
        )
        channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        channel.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    except OSError:
        channel.close()
        raise
    return channel
