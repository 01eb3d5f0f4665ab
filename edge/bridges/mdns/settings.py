"""[mdns]: whether devices that announce themselves on the network are listened to, and where."""

from datetime import timedelta
from ipaddress import IPv4Address
from typing import Annotated, Final

import msgspec

from edge.bridges.mdns.services import DEFAULT_SERVICES

SERVICES_MOST: Final = 16
ASK_LEAST: Final = timedelta(minutes=1)
ASK_MOST: Final = timedelta(days=1)
_Service = Annotated[str, msgspec.Meta(pattern=r"^_[a-z0-9-]{1,15}\._(tcp|udp)$")]


class MdnsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[mdns]: left out, nobody is listened to.

    `interface`: the IPv4 address of ours on the network of the devices. `services`: which kinds are worth telling.
    `ask_every`: how often everybody is asked again, besides listening all the time.
    """

    interface: str
    services: Annotated[tuple[_Service, ...], msgspec.Meta(min_length=1, max_length=SERVICES_MOST)] = DEFAULT_SERVICES
    ask_every: timedelta = timedelta(minutes=10)

    def __post_init__(self) -> None:
        try:
            IPv4Address(self.interface)
        except ValueError as error:
            raise ValueError(f"interface: {self.interface!r:.60} is no IPv4 address of this machine") from error
        if not ASK_LEAST <= self.ask_every <= ASK_MOST:
            raise ValueError(f"ask_every: {self.ask_every} is outside {ASK_LEAST}..{ASK_MOST}")
