"""Which adapters there are, by the settings. Imports a vendor's library only where the settings name that vendor."""

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from edge.doors.vendors.foreign import ForeignSystem
from edge.doors.vendors.http import tls
from edge.doors.vendors.port import LockSystem, Medium
from edge.doors.vendors.reach import Reach, SlotBook
from edge.doors.vendors.settings import LockSystemSettings
from kit.clock import Clock
from protocols.device_model.identity import RoomId, parse_name
from protocols.errors import InvalidInputError, StoreFailedError

SECRET_BYTES_MOST: Final = 4_096
LOCKS_BYTES_MOST: Final = 65_536


def foreign_systems(
    settings: Sequence[LockSystemSettings],
    clock: Clock,
    *,
    reach: Reach | None = None,
    slot_book: SlotBook | None = None,
) -> list[ForeignSystem]:
    """Return the systems that the settings name. Nothing is connected yet.

    `reach` and `slot_book`: for locks that the house's own Bluetooth reaches; without them these cannot be reached.

    Raises:
        InvalidInputError: a secret or certificate cannot be read or others may read it, a name or address is none.
    """
    return [
        ForeignSystem(
            parse_name(each.name, "lock_systems.name"),
            adapter(each, clock, reach=reach, slot_book=slot_book),
            {RoomId(parse_name(room, f"{each.name}: doors")): tuple(doors) for room, doors in each.doors.items()},
            deadline_s=each.deadline.total_seconds(),
            poll_s=each.poll.total_seconds(),
            medium=_medium(each),
            encoder=each.encoder,
        )
        for each in settings
    ]


def adapter(
    settings: LockSystemSettings, clock: Clock, *, reach: Reach | None = None, slot_book: SlotBook | None = None
) -> LockSystem:
    """Return the adapter for one system. Raises as `foreign_systems`."""
    if settings.kind == "august_ble":
        from edge.doors.vendors.august_ble_choice import august_ble

        return august_ble(
            settings, clock, reach, slot_book, read_owned(settings.locks_path, bytes_most=LOCKS_BYTES_MOST)
        )
    verify = tls(settings.ca_path, settings.certificate_sha256)
    wait_s = settings.answer_wait.total_seconds()
    match settings.kind:
        case "unifi_access":
            from edge.doors.vendors.unifi_access import UnifiAccess

            token = read_secret(settings.token_path)
            return UnifiAccess(settings.url, token=token, clock=clock, answer_wait_s=wait_s, verify=verify)
        case "visionline":
            from edge.doors.vendors.visionline import Visionline

            return Visionline(
                settings.url,
                username=settings.username or "",
                password=read_secret(settings.password_path),
                zone=settings.zone or "",
                clock=clock,
                answer_wait_s=wait_s,
                verify=verify,
            )
        case "salto_ks":
            from edge.doors.vendors.salto_ks import SaltoKs

            return SaltoKs(
                settings.url,
                identity_url=settings.identity_url or "",
                site=settings.site or "",
                client_id=settings.client_id or "",
                client_secret=read_secret(settings.client_secret_path),
                refresh_token=read_secret(settings.refresh_token_path),
                keep_refresh_token=_keeper(settings.refresh_token_path),
                otp_seed=None if settings.otp_seed_path is None else read_secret(settings.otp_seed_path),
                clock=clock,
                answer_wait_s=wait_s,
                verify=verify,
            )

        case "salto_space":
            from edge.doors.vendors.salto_space import SaltoSpace

            token = read_secret(settings.token_path)
            return SaltoSpace(settings.url, token=token, clock=clock, answer_wait_s=wait_s, verify=verify)
        case "august":
            from edge.doors.vendors.august import August

            return August(
                settings.url,
                house=settings.site or "",
                locks=tuple(door for doors in settings.doors.values() for door in doors),
                api_key=read_secret(settings.api_key_path),
                token=read_secret(settings.token_path),
                keep_token=_keeper(settings.token_path),
                clock=clock,
                answer_wait_s=wait_s,
                verify=verify,
            )


def _medium(settings: LockSystemSettings) -> Medium:
    match settings.key_medium:
        case "card":
            return "card"
        case "mobile":
            return "mobile"
        case _:
            return "pin"


def read_secret(path: Path | None) -> str:
    """Return a secret from a file that only its owner may read, without the line's end.

    Raises:
        InvalidInputError: names the file, never what is in it.
    """
    raw = read_owned(path, bytes_most=SECRET_BYTES_MOST)
    try:
        secret = raw.decode("ascii").strip()
    except UnicodeDecodeError:
        secret = ""
    if not secret or len(raw) > SECRET_BYTES_MOST or not secret.isprintable():
        raise InvalidInputError(str(path), f"is not one line of at most {SECRET_BYTES_MOST} printable characters")
    return secret


def read_owned(path: Path | None, *, bytes_most: int) -> bytes:
    """Return what is in a file that only its owner may read, up to one byte more than `bytes_most`.

    Raises:
        InvalidInputError: names the file, never what is in it.
    """
    if path is None:
        raise InvalidInputError("lock_systems", "a secret's path is missing")
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(bytes_most + 1)
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise InvalidInputError(str(path), "others may read this secret; set its mode to 0600")
    return raw


def _keeper(path: Path | None) -> Callable[[str], None]:
    """Return what keeps a newer token: durable and whole, or the old one stays.

    Raises (when called):
        StoreFailedError: the disk refuses; the newer token must not be used.
    """

    def keep(token: str) -> None:
        if path is None:
            return
        beside = path.with_name(f".{path.name}.new")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{token}\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except (OSError, UnicodeEncodeError) as error:
            raise StoreFailedError(f"{path}: the newer token could not be kept") from error

    return keep
