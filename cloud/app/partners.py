"""What one [[pms]] table says, with its secrets read: what an adapter is made from."""

from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cloud.app.secrets import read_secret
from cloud.app.settings import PmsSettings
from cloud.pms.reading import HouseTime
from cloud.pms.vendors import Access
from protocols.errors import InvalidInputError


def pms_access(settings: PmsSettings) -> Access:
    """Return what the connection needs. Raises InvalidInputError naming file or key."""
    return Access(
        platform=settings.platform,
        secret=read_secret(settings.access_token_path),
        client=_secret(settings.client_token_path),
        hotel=settings.hotel,
        auth=settings.auth,
        app_key=_secret(settings.app_key_path),
        enterprise=settings.enterprise,
        external_system=settings.external_system,
        time=_house_time(settings),
        callback=settings.callback,
        chain=settings.chain,
        stream=settings.stream,
    )


def _secret(path: Path | None) -> str | None:
    return None if path is None else read_secret(path)


def _house_time(settings: PmsSettings) -> HouseTime | None:
    if settings.zone is None:
        return None
    try:
        return HouseTime(ZoneInfo(settings.zone), arrival=settings.arrival, departure=settings.departure)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidInputError("pms: zone", f"{settings.zone!r} is no time zone of the IANA list") from error
