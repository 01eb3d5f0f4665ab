"""[[lock_systems]] of doors.toml: which foreign lock systems the house has, and which doors of theirs each room has.

Imports no vendor's library: what is wrong with the settings is known before anything is loaded. Which keys a kind
needs and may have is a table, in docs/operating/edge-settings.md for people.
"""

from datetime import timedelta
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from kit.settings import check_span, check_zone

Kind = Literal["unifi_access", "visionline", "salto_ks", "salto_space", "august", "august_ble"]
DEADLINE_MOST: Final = timedelta(seconds=20)
"""A PMS waits no longer for a key; most callers of ours less."""
_KEYS: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {
    "unifi_access": (frozenset({"token_path"}), frozenset({"certificate_sha256"})),
    "visionline": (frozenset({"username", "password_path", "zone"}), frozenset({"certificate_sha256", "encoder"})),
    "salto_ks": (
        frozenset({"identity_url", "site", "client_id", "client_secret_path", "refresh_token_path"}),
        frozenset({"otp_seed_path"}),
    ),
    "salto_space": (frozenset({"token_path"}), frozenset({"certificate_sha256"})),
    "august": (frozenset({"site", "api_key_path", "token_path"}), frozenset()),
    "august_ble": (frozenset({"locks_path", "slots"}), frozenset()),
}
"""For each kind: the keys that it needs, and those that it may have besides `ca_path` and the common ones."""
_NO_SERVER: Final = frozenset({"august_ble"})
"""Kinds that are reached by the house's own Bluetooth: no url, nothing of TLS."""
SLOT_MOST: Final = 0xFFFF
SLOTS_MOST: Final = 64
_OWN: Final = frozenset[str]().union(*(needed | allowed for needed, allowed in _KEYS.values()))
_MEDIA: Final[dict[str, tuple[str, ...]]] = {
    "unifi_access": ("pin",),
    "visionline": ("card", "mobile"),
    "salto_ks": ("pin",),
    "salto_space": ("mobile",),
    "august": ("pin",),
    "august_ble": ("pin",),
}


class LockSystemSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[lock_systems]]`.

    `name`: ours, for keys, logs and status; renaming it forgets its keys. `url`: where its server is; none for
    august_ble, whose `locks_path` names each lock's address and key, and whose `slots` [first, last] of every keypad
    are ours alone. `doors`: for each room the vendor's names of its doors (august_ble: those of `locks_path`).
    `deadline`: a key request is answered within it. `answer_wait`: for one request of it. `poll`: how often it is asked
    what happened. `medium`: what a key is, where a request does not say. Secrets are files that only their owner may
    read.
    """

    name: str
    kind: Kind
    doors: dict[str, list[str]]
    url: str = ""
    deadline: timedelta = timedelta(seconds=8)
    answer_wait: timedelta = timedelta(seconds=4)
    poll: timedelta = timedelta(seconds=10)
    medium: Literal["pin", "card", "mobile"] | None = None
    ca_path: Path | None = None
    certificate_sha256: str | None = None
    token_path: Path | None = None
    username: str | None = None
    password_path: Path | None = None
    zone: str | None = None
    encoder: str | None = None
    identity_url: str | None = None
    site: str | None = None
    client_id: str | None = None
    client_secret_path: Path | None = None
    refresh_token_path: Path | None = None
    otp_seed_path: Path | None = None
    api_key_path: Path | None = None
    locks_path: Path | None = None
    slots: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant. Raises ValueError."""
        needed, allowed = _KEYS[self.kind]
        given = {key for key in _OWN if getattr(self, key) is not None}
        if missing := sorted(needed - given):
            raise ValueError(f"lock system {self.name!r}: kind {self.kind!r} needs {missing[0]}")
        if extra := sorted(given - needed - allowed):
            raise ValueError(f"lock system {self.name!r}: {extra[0]} has no meaning for kind {self.kind!r}")
        if self.ca_path is not None and self.certificate_sha256 is not None:
            raise ValueError(f"lock system {self.name!r}: ca_path and certificate_sha256 exclude each other")
        if self.medium is not None and self.medium not in _MEDIA[self.kind]:
            raise ValueError(f"lock system {self.name!r}: medium is one of {', '.join(_MEDIA[self.kind])}")
        self._check_slots()
        for url in (self.url, self.identity_url):
            if self.kind not in _NO_SERVER and url is not None and not _is_safe(url):
                raise ValueError(f"lock system {self.name!r}: its address is not https://host[:port][/path]")
        if not self.doors or any(not doors or not all(doors) for doors in self.doors.values()):
            raise ValueError(f"lock system {self.name!r}: every room in doors names at least one door of the vendor's")
        if self.zone is not None:
            check_zone("zone", self.zone)
        check_span("deadline", self.deadline, timedelta(seconds=1), DEADLINE_MOST)
        check_span("answer_wait", self.answer_wait, timedelta(milliseconds=100), self.deadline)
        check_span("poll", self.poll, timedelta(seconds=1), timedelta(hours=1))

    def _check_slots(self) -> None:
        if self.kind not in _NO_SERVER:
            return
        if self.url or self.ca_path is not None:
            raise ValueError(f"lock system {self.name!r}: url and ca_path have no meaning for kind {self.kind!r}")
        first, last = self.slots or (0, 0)
        if not 1 <= first <= last <= min(SLOT_MOST, first + SLOTS_MOST - 1):
            raise ValueError(
                f"lock system {self.name!r}: slots is [first, last], at most {SLOTS_MOST} of 1..{SLOT_MOST}"
            )

    @property
    def key_medium(self) -> str:
        """What a key is, where a request does not say."""
        return self.medium or _MEDIA[self.kind][0]


def _is_safe(url: str) -> bool:
    """Whether nobody on the way reads along: TLS, or this very machine. No user or password in it: those are files."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port  # raises for one that is none
    except ValueError:
        return False
    if not host or parts.username is not None or parts.query or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in {"127.0.0.1", "::1", "localhost"})


def check_names(systems: tuple[LockSystemSettings, ...]) -> None:
    """See that no name is used twice: for a `__post_init__` of settings. Raises ValueError."""
    names = [each.name for each in systems]
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise ValueError(f"lock_systems: the name {twice[0]!r} is given twice")
