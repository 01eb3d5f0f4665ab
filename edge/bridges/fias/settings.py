"""[fias]: the PMS interface on the hotel's own network."""

import codecs
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from kit.settings import check_host, check_span

_PLAIN: Final = "LS|DA261121|TI090000|G#$+-. abcxyz"
"""What frames, bars and field ids are made of has to be the same in every code page."""
_LEAST, _MOST = timedelta(milliseconds=100), timedelta(hours=1)


class FiasSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where it listens and how it is spoken to.

    `family`: IF, two letters; DL serves keys. `guest_based` false: the interface tells rooms only, no guest numbers.
    `resync_after`: a longer gap asks for everybody in house again. `walk_ins`: a guest in house whose stay nobody
    told us of gets one here. `departure`: until when on the day of departure such a stay lasts. `rooms`: our room for
    a room of theirs, where lower case and leading zeros do not explain the difference. `charges`: charges are posted
    on this link; `guest_charges`: one that names a guest is posted to him (PR), not to his room (PS), after PL has
    shown that he is there; `bills`: guests' bills are read on it; `check_outs`, `wake_ups`, `messages`, `inquiries`:
    guests may ask for them on it (the interface's licence has to allow each; `inquiries` and `guest_charges` need
    `charges`). `key_path`: a file with the interface's AES-128 key, 32 hex digits; `key_header`: what its cryptogram
    begins with.
    """

    host: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    zone: str
    family: Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")] = "DL"
    code_page: str = "cp1252"
    guest_based: bool = True
    walk_ins: bool = True
    departure: time = time(11)
    resync_after: timedelta = timedelta(minutes=5)
    reconnect_first: timedelta = timedelta(seconds=1)
    reconnect_most: timedelta = timedelta(seconds=30)
    rooms: dict[str, str] = {}
    charges: bool = False
    guest_charges: bool = False
    bills: bool = False
    check_outs: bool = False
    wake_ups: bool = False
    messages: bool = False
    inquiries: bool = False
    key_path: Path | None = None
    key_header: Annotated[str, msgspec.Meta(max_length=32, pattern=r"^[\x21-\x7b\x7d\x7e]*\Z")] = ""

    def __post_init__(self) -> None:
        check_host(self.host)
        if (self.inquiries or self.guest_charges) and not self.charges:
            raise ValueError("inquiries are numbered like charges: they, and guest_charges, need charges = true")
        check_span("resync_after", self.resync_after, timedelta(seconds=1), timedelta(days=1))
        check_span("reconnect_most", self.reconnect_most, _LEAST, _MOST)
        check_span("reconnect_first", self.reconnect_first, _LEAST, self.reconnect_most)
        try:
            if _PLAIN.encode(self.code_page) != _PLAIN.encode("ascii") or "idna" in codecs.lookup(self.code_page).name:
                raise ValueError("its letters, digits and bars are not those of ASCII")
            ZoneInfo(self.zone)
        except (LookupError, ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"code_page {self.code_page!r} or zone {self.zone!r} is not known: {error}") from error
