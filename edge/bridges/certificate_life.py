"""Where a certificate stands in its life, in words for whoever must renew it. Pure: told the time."""

from datetime import datetime, timedelta
from typing import Final

WARN_BEFORE: Final = timedelta(days=30)


def life_warning(not_before: datetime, not_after: datetime, now: datetime) -> str | None:
    """Return what a person should know; None while all is well. All times are aware."""
    if now < not_before:
        return f"the certificate is valid only from {not_before:%Y-%m-%d %H:%M} UTC"
    if now >= not_after:
        return f"the certificate ended {not_after:%Y-%m-%d %H:%M} UTC: renew it"
    if now >= not_after - WARN_BEFORE:
        return f"the certificate ends {not_after:%Y-%m-%d %H:%M} UTC, in {(not_after - now).days} days: renew it"
    return None
