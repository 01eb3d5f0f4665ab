"""What looking at an address found: evidence of who answers there, and which models it may be.

The probes themselves are with their wires: protocols/modbus/probe.py, protocols/opcua/probe.py. Pure: they ask through
a function that they are given, and never raise for what a peer answers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from protocols.device_model.identity import DescriptorId

Evidence = Mapping[str, str | int | float | bool | None]
"""Flat and JSON-safe; texts are cut and hold printable characters only."""

TEXT_CHARACTERS_MAX: Final = 120


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that it may be. `confidence` is 0..1, for ordering and for people; `why` says what fitted."""

    descriptor: DescriptorId
    confidence: float
    why: str


@dataclass(frozen=True, slots=True)
class Found:
    """Somebody answered. `candidates`: the likeliest first; none if nothing that we know fits."""

    evidence: Evidence
    candidates: tuple[Candidate, ...]


def plain(text: str) -> str:
    """Return a peer's text cut, stripped and printable: no control character reaches a log or a page."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text[:TEXT_CHARACTERS_MAX].strip("\0 \t\r\n"))


def likeliest(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Return each model once, by its best reason, the likeliest first."""
    best: dict[DescriptorId, Candidate] = {}
    for each in candidates:
        if each.descriptor not in best or each.confidence > best[each.descriptor].confidence:
            best[each.descriptor] = each
    return tuple(sorted(best.values(), key=lambda each: (-each.confidence, each.descriptor)))


def words_of(text: str) -> frozenset[str]:
    """Return the words of a name in lower case, letters and digits only: `RCF-230 C` is {"rcf", "230", "c"}."""
    return frozenset("".join(each if each.isalnum() else " " for each in text.lower()).split())


def squeezed(text: str) -> str:
    """Return a name as letters and digits in lower case: makers write `SDM 630-M` as they like."""
    return "".join(each for each in text.lower() if each.isalnum())


def by_name(models: Iterable[tuple[DescriptorId, str, str]], vendor: str, model: str) -> list[Candidate]:
    """Return the models whose maker and name fit what a device says of itself.

    Args:
        models: id, vendor and model of every descriptor that could hang on this wire.
        vendor: the maker's name as the device says it.
        model: product code or model name as the device says it; empty fits nothing.
    """
    told, maker = squeezed(model), words_of(vendor)
    found: list[Candidate] = []
    for descriptor, its_vendor, its_model in models:
        known = squeezed(its_model)
        if not told or not known:
            continue
        same_maker = bool(maker & words_of(its_vendor))
        if told == known:
            found.append(Candidate(descriptor, 0.95 if same_maker else 0.7, f"calls itself {plain(model)}"))
        elif len(known) >= 3 and (told.startswith(known) or (len(told) >= 3 and known.startswith(told))) and same_maker:
            found.append(Candidate(descriptor, 0.75, f"calls itself {plain(model)}, of the same maker"))
    return found
