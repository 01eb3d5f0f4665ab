"""Every vendor's adapter and emulator, as tests make them: for the contract suite and for the engine over each."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import httpx

from cloud.pms.cloudbeds import emulator as cloudbeds
from cloud.pms.cloudbeds.adapter import CloudbedsAdapter
from cloud.pms.emulation.face import Face
from cloud.pms.ezee import emulator as ezee
from cloud.pms.ezee.adapter import EzeeAdapter
from cloud.pms.mews import emulator as mews
from cloud.pms.mews.adapter import MewsAdapter
from cloud.pms.ohip import emulator as ohip
from cloud.pms.ohip.adapter import OhipAdapter
from cloud.pms.port import PmsAdapter
from cloud.pms.reading import HouseTime
from cloud.pms.stayntouch import emulator as stayntouch
from cloud.pms.stayntouch.adapter import StayNTouchAdapter
from kit.clock import Clock

VIENNA = HouseTime(ZoneInfo("Europe/Vienna"))
CALLBACK = "https://cloud.invalid/webhooks/pms/secret"
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Vendor:
    """How one vendor's adapter and emulator are made, and what it does its own way."""

    face: type[Face]
    adapter: Callable[[httpx.AsyncClient, Clock, Sleep], PmsAdapter]
    by_day: bool
    """It knows days of arrival and departure, no hours."""
    refused: str
    """What a check-out before the check-in is answered with."""
    empty: bytes
    """An answer without items that always goes on, where its lists can."""
    rooms_at_once: int
    """Calls of `rooms()` that its budget lets through at once."""


def _mews(http: httpx.AsyncClient, clock: Clock, sleep: Sleep) -> PmsAdapter:
    return MewsAdapter(
        http, platform="http://pms.invalid/", client_token="client", access_token="access", clock=clock, sleep=sleep
    )


def _cloudbeds(http: httpx.AsyncClient, clock: Clock, sleep: Sleep) -> PmsAdapter:
    return CloudbedsAdapter(
        http,
        platform="http://pms.invalid/",
        api_key="access",
        time=VIENNA,
        clock=clock,
        callback=CALLBACK,
        hotel=cloudbeds.PROPERTY,
        sleep=sleep,
    )


def _ohip(http: httpx.AsyncClient, clock: Clock, sleep: Sleep) -> PmsAdapter:
    return OhipAdapter(
        http,
        platform="http://pms.invalid/",
        client_id="client",
        client_secret="access",
        app_key=ohip.APP_KEY,
        enterprise="NORTHLIGHT",
        hotel=ohip.HOTEL,
        external_system=ohip.EXTERNAL_SYSTEM,
        time=VIENNA,
        clock=clock,
        sleep=sleep,
    )


def _stayntouch(http: httpx.AsyncClient, clock: Clock, sleep: Sleep) -> PmsAdapter:
    return StayNTouchAdapter(
        http,
        platform="http://pms.invalid/",
        auth="http://pms.invalid",
        client_id="client",
        client_secret="access",
        hotel=stayntouch.HOTEL,
        time=VIENNA,
        clock=clock,
        sleep=sleep,
    )


def _ezee(http: httpx.AsyncClient, clock: Clock, sleep: Sleep) -> PmsAdapter:
    return EzeeAdapter(
        http,
        platform="http://pms.invalid/",
        hotel="client",
        auth_code="access",
        time=VIENNA,
        clock=clock,
        sleep=sleep,
    )


VENDORS = {
    "ezee": Vendor(ezee.Emulator, _ezee, True, "422: 115 .*not yet checked in", b"", rooms_at_once=60),
    "stayntouch": Vendor(
        stayntouch.Emulator,
        _stayntouch,
        True,
        "403: .*not Started",
        b'{"results": [{"id": 1, "number": "1", "status": "CLEAN"}], "total_count": 99999, "access_token": "t"}',
        rooms_at_once=4,
    ),
    "ohip": Vendor(ohip.Emulator, _ohip, True, "403: .*not Started", b"", rooms_at_once=39),
    "mews": Vendor(
        mews.Emulator, _mews, False, "403: .*not Started", b'{"Resources": [], "Cursor": "again"}', rooms_at_once=150
    ),
    "cloudbeds": Vendor(
        cloudbeds.Emulator,
        _cloudbeds,
        True,
        "422: .*not Started",
        b'{"success": true, "total": 999999, "data": [{"roomID": "1", "roomName": "1"}]}',
        rooms_at_once=2,
    ),
}
