"""Evidence: what somebody on a bus said, in a form that every log, record and page can hold, and a name for them.

What a peer chose (names, payloads, addresses) may be of any length and hold anything. Cut and cleaned here, once, so
that an unknown device is told and listed rather than lost because its own name fits no record.
"""

import hashlib
import re
from collections.abc import Mapping
from math import isfinite
from typing import Final

from edge.bridges.ports import Detail
from protocols.device_model.identity import BusId, DeviceId
from protocols.documents import INTEGER_LEAST, INTEGER_MOST, shown

EVIDENCE_BYTES_MAX: Final = 240
"""One value, in UTF-8."""
FACTS_MAX: Final = 16
_IEEE: Final = re.compile(r"0x[0-9a-f]{16}")
_NAME_CHARACTERS: Final = 20
_DIGEST_BYTES: Final = 4


def evidence(facts: Mapping[str, object]) -> Detail:
    """Return what was found as a flat map that a record holds; at most `FACTS_MAX` of it."""
    return {str(name)[:40]: _fit(value) for name, value in list(facts.items())[:FACTS_MAX]}


def unknown_id(bus: BusId, name: str, ieee: str | None) -> DeviceId:
    """Return an id for a thing that no plan names.

    Its radio address if it has one; else made of its name and a digest, for two names may look alike once they are cut
    and cleaned. Never what a plan would call a device: a peer must not be able to speak for another.
    """
    if ieee is not None and _IEEE.fullmatch(ieee.lower()) is not None:
        return DeviceId(ieee.lower())
    kept = "".join(each if each.isascii() and each.isalnum() else "-" for each in name[:_NAME_CHARACTERS].lower())
    digest = hashlib.sha256(f"{bus}/{name}".encode("utf-8", "replace")).digest()[:_DIGEST_BYTES].hex()
    return DeviceId(f"unknown-{kept.strip('-') or 'x'}-{digest}")


def _fit(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if INTEGER_LEAST <= value <= INTEGER_MOST else shown(value)
    if isinstance(value, float):
        return value if isfinite(value) else repr(value)
    text = str(value[:EVIDENCE_BYTES_MAX]) if isinstance(value, str) else shown(value)
    clean = "".join(each if each.isprintable() else "\ufffd" for each in text)
    return clean.encode("utf-8", "replace")[:EVIDENCE_BYTES_MAX].decode("utf-8", "ignore")
