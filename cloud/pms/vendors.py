"""Which adapter and which emulator belong to a PMS by name, and what each has to be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from cloud.kit.database import Database
from cloud.pms.cloudbeds.adapter import CloudbedsAdapter
from cloud.pms.cloudbeds.emulator import Emulator as Cloudbeds
from cloud.pms.emulation.face import Face
from cloud.pms.ezee.adapter import EzeeAdapter
from cloud.pms.ezee.emulator import Emulator as Ezee
from cloud.pms.mews.adapter import MewsAdapter
from cloud.pms.mews.emulator import Emulator as Mews
from cloud.pms.ohip.adapter import OhipAdapter, bearer, exchange
from cloud.pms.ohip.consumer import EventConsumer
from cloud.pms.ohip.emulator import Emulator as Ohip
from cloud.pms.ohip.sink import ChainSink
from cloud.pms.port import PmsAdapter, System
from cloud.pms.reading import HouseTime
from cloud.pms.stayntouch.adapter import StayNTouchAdapter
from cloud.pms.stayntouch.emulator import Emulator as StayNTouch
from kit.clock import Clock
from kit.dice import Dice
from protocols.errors import InvalidInputError

EMULATORS: Final[Mapping[System, type[Face]]] = {
    "mews": Mews,
    "cloudbeds": Cloudbeds,
    "ohip": Ohip,
    "stayntouch": StayNTouch,
    "ezee": Ezee,
}
NEEDS: Final[Mapping[System, tuple[str, ...]]] = {
    "mews": ("client",),
    "cloudbeds": ("time",),
    "ohip": ("client", "time", "hotel", "app_key", "enterprise"),
    "stayntouch": ("client", "time", "hotel", "auth"),
    "ezee": ("time", "hotel"),
}
"""Beside the platform and the property's secret; ohip: and `chain`, or `external_system` where there is none;
cloudbeds: and `hotel`, where the key reads a whole group.
"""


@dataclass(frozen=True, slots=True)
class Access:
    """What one connection needs; which of it, says `NEEDS`.

    Attributes:
        platform: the partner's host.
        secret: the property's token, api key, client secret or authentication code.
        client: our integration's token or client id.
        hotel: what the partner calls the property.
        time: the property's wall clock.
        callback: our own address for webhooks, where we subscribe ourselves.
        chain: whose event stream tells of the property.
        stream: the stream's address, where the platform does not explain it.
    """

    platform: str
    secret: str
    client: str | None = None
    hotel: str | None = None
    auth: str | None = None
    app_key: str | None = None
    enterprise: str | None = None
    external_system: str | None = None
    time: HouseTime | None = None
    callback: str | None = None
    chain: str | None = None
    stream: str | None = None

    def need(self, name: str) -> str:
        """Return a text that this system cannot do without. Raises InvalidInputError."""
        value = getattr(self, name)
        if not isinstance(value, str) or not value:
            raise InvalidInputError(f"pms: {name}", "is missing: this system needs it")
        return value

    @property
    def clock(self) -> HouseTime:
        """The property's wall clock. Raises InvalidInputError."""
        if self.time is None:
            raise InvalidInputError("pms: zone", "is missing: this system writes the property's own time")
        return self.time


def make_adapter(system: System, http: httpx.AsyncClient, access: Access, *, clock: Clock) -> PmsAdapter:
    """Return the adapter of one connection. Raises InvalidInputError naming what is missing."""
    platform = access.platform
    match system:
        case "mews":
            return MewsAdapter(
                http,
                platform=platform,
                client_token=access.need("client"),
                access_token=access.secret,
                clock=clock,
            )
        case "cloudbeds":
            return CloudbedsAdapter(
                http,
                platform=platform,
                api_key=access.secret,
                time=access.clock,
                clock=clock,
                callback=access.callback,
                hotel=access.hotel,
            )
        case "ohip":
            return OhipAdapter(
                http,
                platform=platform,
                client_id=access.need("client"),
                client_secret=access.secret,
                app_key=access.need("app_key"),
                enterprise=access.need("enterprise"),
                hotel=access.need("hotel"),
                external_system=None if access.chain is not None else access.need("external_system"),
                time=access.clock,
                clock=clock,
            )
        case "stayntouch":
            return StayNTouchAdapter(
                http,
                platform=platform,
                auth=access.need("auth"),
                client_id=access.need("client"),
                client_secret=access.secret,
                hotel=access.need("hotel"),
                time=access.clock,
                clock=clock,
            )
        case "ezee":
            return EzeeAdapter(
                http,
                platform=platform,
                hotel=access.need("hotel"),
                auth_code=access.secret,
                time=access.clock,
                clock=clock,
            )


def streams(system: System, access: Access) -> tuple[str, str, str] | None:
    """Return what makes the event stream of a connection the same as another's; None: it has none."""
    if system != "ohip" or access.chain is None:
        return None
    return access.stream or access.platform, access.need("app_key"), access.chain


def make_consumer(
    database: Database,
    http: httpx.AsyncClient,
    connections: Sequence[tuple[str, Access]],
    *,
    clock: Clock,
    dice: Dice,
    log: Any,  # noqa: ANN401 - structlog's lazy logger
) -> EventConsumer:
    """Return who listens to the one stream of connections, each with our property's id.

    Raises:
        InvalidInputError: something is missing, or two of them are one hotel.
    """
    _, access = connections[0]
    hotels: dict[str, str] = {}
    for property_id, each in connections:
        if hotels.setdefault(each.need("hotel").casefold(), property_id) != property_id:
            raise InvalidInputError("pms: hotel", f"{each.hotel!r} is that of {property_id} and of another property")
    return EventConsumer(
        ChainSink(database, hotels, clock=clock),
        bearer(
            exchange(http, clock=clock),
            platform=access.platform,
            client_id=access.need("client"),
            client_secret=access.secret,
            app_key=access.need("app_key"),
            enterprise=access.need("enterprise"),
            clock=clock,
        ),
        platform=access.stream or access.platform,
        app_key=access.need("app_key"),
        chain=access.need("chain"),
        clock=clock,
        dice=dice,
        log=log,
    )
