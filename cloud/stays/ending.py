"""When a stay ends, of which the building and the PMS say different things. Pure.

The rule is written in docs/decisions/0143 and protocols/stays/SPEC.md 4. It asks no clock which of the two spoke last.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Promise:
    """The end that the building promised a guest, and the one that it was told then (unix ms)."""

    until_ms: int
    told_ms: int


@dataclass(frozen=True, slots=True)
class EndWord:
    """A `stay_until` record of lane A: the building's `n`th word on the end of a stay."""

    stay: str
    n: int
    promise: Promise
    by: str
    at_ms: int


def heard(new: Promise, standing: Promise | None) -> Promise:
    """Return a new promise as it is to be held against the PMS.

    What the building was told may be what an earlier promise of its own had made of the PMS's word: the echo of that is
    no word of the PMS.
    """
    if standing is not None and new.told_ms == standing.until_ms:
        return replace(new, told_ms=standing.told_ms)
    return new


def stands(promise: Promise | None, *, pms_until_ms: int, pms_left: bool, from_ms: int) -> Promise | None:
    """Return the promise if it stands against what the PMS says now; None: the PMS's word counts, from now on.

    It stands until the PMS says another end than the building was told, and no earlier one than it promised; and no
    longer than the guest is there by the PMS's word. One that would end a stay before it begins is none.
    """
    if promise is None or pms_left or promise.until_ms <= from_ms:
        return None
    agreed = pms_until_ms == promise.until_ms
    further = pms_until_ms != promise.told_ms and pms_until_ms > promise.until_ms
    return None if agreed or further else promise
