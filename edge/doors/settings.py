"""doors.toml: what the doors process is told at start."""

from pathlib import Path
from typing import Literal

import msgspec

from edge.doors.grant_desk import GrantPolicy
from edge.doors.radio import RadioSettings
from edge.doors.vendors.settings import LockSystemSettings, check_names
from protocols.door.identity import point
from protocols.errors import InvalidInputError
from protocols.grant.certificate import OFFICERS_LEAST, OFFICERS_MOST

_NO_RADIO = RadioSettings()
_STANDARD = GrantPolicy()


class DoorsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """doors.toml; environment prefix DOORS.

    `store_path`: the doors' own SQLite file, made if absent.
    `socket_path`: where the node asks; at most 100 bytes.
    `site_plan_path`: the site plan, JSON. `door_secrets_path`: doors.secrets.json, mode 0600.
    `property_ca_key_path`: the property CA file, mode 0600.
    `lock_systems`: foreign lock systems of the house; `vendor_keys_path`: what is known of their keys, made if absent.
    `officers`: compressed P-256 keys, hexadecimal, of 2 to 8 people of whom two approve an emergency key; none: there
    are no emergency keys. A change counts from the next start.
    `clock_trust`: "ntp" asks the kernel whether its clock is disciplined; "host" takes the host's word.
    """

    store_path: Path
    socket_path: Path
    site_plan_path: Path
    door_secrets_path: Path
    property_ca_key_path: Path
    radio: RadioSettings = _NO_RADIO
    grants: GrantPolicy = _STANDARD
    officers: tuple[str, ...] = ()
    clock_trust: Literal["ntp", "host"] = "ntp"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_json: bool = True
    lock_systems: tuple[LockSystemSettings, ...] = ()
    vendor_keys_path: Path | None = None
    """None: `vendor-keys.db` beside the store."""

    def __post_init__(self) -> None:
        """Raises ValueError: two systems of one name."""
        check_names(self.lock_systems)

    def officer_points(self) -> tuple[bytes, ...]:
        """Return the officers' keys.

        Raises:
            InvalidInputError: one alone, more than 8, one twice, or no point of the curve.
        """
        points = tuple(point(each, f"officers[{at}]") for at, each in enumerate(self.officers))
        if points and not OFFICERS_LEAST <= len(set(points)) == len(points) <= OFFICERS_MOST:
            raise InvalidInputError(
                "officers", f"{len(points)}, not {OFFICERS_LEAST} to {OFFICERS_MOST} different ones"
            )
        return points
