"""When a stay ends, of which the building and the PMS say different things. Pure.

The rule is written in docs/decisions/0143 and protocols/stays/SPEC.md 4. It asks no clock which of the two spoke last.
What the PMS was told of it by us comes back from there and is no word of its own (docs/decisions/0146). A late
check-out that the guest was granted lies on top of what they say of that day (docs/decisions/0173).
"""

from dataclasses import dataclass, replace
from typing import Final

SAME_DAY_MS: Final = 12 * 3_600_000
"""A building that lets a guest leave so much later than the PMS says has not given him another night."""


@dataclass(frozen=True, slots=True)
class Promise:
    """The end that the building promised a guest, and the one that it was told then (unix ms)."""

    until_ms: int
    told_ms: int
    sent_ms: tuple[int, ...] = ()
    """The ends that we told the PMS for words of the building, since it last agreed; or may have told it."""

    @property
    def superseded_ms(self) -> tuple[int, ...]:
        """Those of an earlier word: the PMS may have them, or get them yet."""
        return tuple(each for each in self.sent_ms if each != self.until_ms)


@dataclass(frozen=True, slots=True)
class LateEnd:
    """The hour that the guest was granted (unix ms). `sent`: the PMS was told of it, or may have been."""

    until_ms: int
    sent: bool = False


@dataclass(frozen=True, slots=True)
class EndWord:
    """A `stay_until` record of lane A: the building's `n`th word on the end of a stay."""

    stay: str
    n: int
    promise: Promise
    by: str
    at_ms: int


def heard(new: Promise, standing: Promise | None, *, ours_ms: int | None = None) -> Promise:
    """Return a new promise as it is to be held against the PMS.

    What the building was told may be what an earlier promise of its own had made of the PMS's word: the echo of that is
    no word of the PMS. Nor is what the PMS has from us, though the building has not heard that it has it.

    Args:
        new: The building's word.
        standing: Its word before that, if it stands still.
        ours_ms: The end that the PMS names, if it has it from us; see `from_us`.
    """
    sent_ms = () if standing is None else standing.sent_ms
    if ours_ms is not None and not sent_ms:  # else an echo is known by what was sent
        return replace(new, told_ms=ours_ms)
    if standing is None:
        return new
    told_ms = standing.told_ms if new.told_ms == standing.until_ms else new.told_ms
    return replace(new, told_ms=told_ms, sent_ms=sent_ms)


def from_us(pms_until_ms: int, promise: Promise | None, ours_ms: int | None) -> int | None:
    """Return the end that the PMS names, if it has it from us; None: it is its own.

    It stays ours when the promise is kept, until the PMS names another night.

    Args:
        pms_until_ms: The end.
        promise: The building's word, as it stood before the PMS named this end.
        ours_ms: The end that it had from us until then.
    """
    sent_ms = () if promise is None else promise.sent_ms
    known = sent_ms if ours_ms is None else (*sent_ms, ours_ms)
    return pms_until_ms if any(same_night(pms_until_ms, each) for each in known) else None


def stands(promise: Promise | None, *, pms_until_ms: int, pms_left: bool, from_ms: int) -> Promise | None:
    """Return the promise if it stands against what the PMS says now; None: the PMS's word counts, from now on.

    It stands until the PMS says another end than the building was told, and no earlier one than it promised; and no
    longer than the guest is there by the PMS's word. One that would end a stay before it begins is none. While the PMS
    may have an earlier word of the building from us, or get it yet, that it agrees is nothing to go by, and neither is
    an end before the latest of these: that word may have been written over it. Who tells the last word reads it anew.
    """
    if promise is None or pms_left or promise.until_ms <= from_ms:
        return None
    agreed = pms_until_ms == promise.until_ms and not promise.superseded_ms
    echo = any(same_night(pms_until_ms, each) for each in promise.superseded_ms)
    known_ms = max((promise.until_ms, *promise.superseded_ms))
    further = pms_until_ms != promise.told_ms and pms_until_ms > known_ms and not echo
    return None if agreed or further else promise


def settled(promise: Promise, *, pms_until_ms: int) -> Promise:
    """Return a promise of which the PMS is told nothing more: what it has from us now, it is measured against."""
    ours = any(same_night(pms_until_ms, each) for each in promise.sent_ms)  # this word's too: it may know days alone
    return Promise(promise.until_ms, pms_until_ms if ours else promise.told_ms)


def same_night(one_ms: int, other_ms: int) -> bool:
    """Tell whether two ends are so near that they are nobody's business: a late check-out, or days without hours."""
    return abs(one_ms - other_ms) <= SAME_DAY_MS


def late_stands(late: LateEnd | None, *, end_ms: int) -> LateEnd | None:
    """Return a late check-out if the stay still ends on its day by PMS and building, at `end_ms`; else None.

    Who stays another night, or leaves on a day before, was granted nothing for that day. An end that is later than the
    hour granted counts; the hour is kept, to be known again when PMS and building speak of it.
    """
    return late if late is not None and same_night(end_ms, late.until_ms) else None


def heard_beside(
    new: Promise, standing: Promise | None, late: LateEnd | None, *, pms_until_ms: int, ours_ms: int | None = None
) -> Promise:
    """Return what `heard` does, of a stay whose guest was granted a late check-out.

    What the building was told of that day may be an hour that was granted, and so may be what the PMS says of it, be it
    there already or on its way: neither is a word of the PMS's own.

    Args:
        new: The building's word.
        standing: Its word before that, if it stands still.
        late: What was granted, if it stands still.
        pms_until_ms: The end that the PMS names.
        ours_ms: See `heard`.
    """
    if late is None:
        return heard(new, standing, ours_ms=ours_ms)
    end_ms = pms_until_ms if standing is None else standing.until_ms
    is_of_that_day = same_night(new.told_ms, late.until_ms) and same_night(end_ms, late.until_ms)
    told_ms = end_ms if is_of_that_day else new.told_ms
    known = heard(replace(new, told_ms=told_ms), standing, ours_ms=ours_ms)
    return replace(known, sent_ms=(*known.sent_ms, late.until_ms)) if late.sent else known
