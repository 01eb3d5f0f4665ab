"""Who comes on the day, when, and what becomes of them, drawn from a seed. Pure.

Hours are the hotel's, 7.0 to 23.0. The first guests show one of each fate, however few they are; the others are drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kit.dice import Dice
from protocols.errors import InvalidInputError

OPENS: Final = 7.0
CLOSES: Final = 23.0
HOURS: Final = CLOSES - OPENS
CUT_FROM: Final = 16.0
CUT_UNTIL: Final = 19.0
ARRIVALS_LEAST: Final = 18


class Fate(StrEnum):
    """What becomes of a booking."""

    STAYS = "stays"
    EXTENDS = "extends"
    LEAVES_EARLY = "leaves early"
    NO_SHOW = "never comes"
    MOVED = "is moved before arrival"
    NOT_READY = "finds the room not ready"
    SHARES = "shares a room"
    SHARES_AND_LEAVES = "shares a room and leaves early"
    DOUBLE_SOLD = "is let in while the PMS sells the room"
    WALKS_IN = "is sold the room of somebody else"
    MOVED_BEHIND = "is let in while the PMS moves the booking"
    CANCELLED_BEHIND = "is let in while the PMS cancels the booking"
    OUT_BEHIND = "is checked out in the PMS while the line is cut"
    EXTENDED_BEHIND = "is extended in the PMS while the line is cut"
    BOOKED_BEHIND = "books and comes while the line is cut"
    MOVED_INSIDE = "is moved while in house"
    MOVED_INSIDE_BEHIND = "is moved while in house, and the line is cut"


BEHIND: Final = (Fate.DOUBLE_SOLD, Fate.MOVED_BEHIND, Fate.CANCELLED_BEHIND)
"""Let in at the desk while the line is cut, and changed in the PMS meanwhile."""
MOVES: Final = (Fate.WALKS_IN, Fate.MOVED, Fate.MOVED_BEHIND, Fate.MOVED_INSIDE, Fate.MOVED_INSIDE_BEHIND)
"""These end in another room than the one that was booked, or are to."""
INSIDE_BEFORE_THE_CUT: Final = (Fate.OUT_BEHIND, Fate.EXTENDED_BEHIND, Fate.MOVED_INSIDE_BEHIND)
OF_EACH: Final = (
    *(Fate.DOUBLE_SOLD, Fate.WALKS_IN, Fate.MOVED_BEHIND, Fate.CANCELLED_BEHIND, Fate.OUT_BEHIND),
    *(Fate.EXTENDED_BEHIND, Fate.BOOKED_BEHIND, Fate.SHARES, Fate.SHARES_AND_LEAVES, Fate.MOVED, Fate.NOT_READY),
    *(Fate.NO_SHOW, Fate.LEAVES_EARLY, Fate.EXTENDS, Fate.MOVED_INSIDE, Fate.MOVED_INSIDE_BEHIND),
    *(Fate.STAYS, Fate.STAYS),
)
DRAWN: Final = (
    *((Fate.STAYS, 0.4), (Fate.LEAVES_EARLY, 0.1), (Fate.EXTENDS, 0.1), (Fate.NO_SHOW, 0.08), (Fate.MOVED, 0.08)),
    *((Fate.NOT_READY, 0.06), (Fate.MOVED_BEHIND, 0.04), (Fate.OUT_BEHIND, 0.04), (Fate.EXTENDED_BEHIND, 0.04)),
    *((Fate.MOVED_INSIDE, 0.03), (Fate.MOVED_INSIDE_BEHIND, 0.03)),
)
CARDS: Final = (("visa", 0.6), ("secure", 0.25), ("declined", 0.15))


@dataclass(frozen=True, slots=True)
class Booking:
    """One booking.

    Attributes:
        name: The guest's; each once.
        room: The room that is booked.
        spare: The room that a move leads to; "": this one is not moved.
        arrives: Hour at which the guest stands at the desk, or opens the page.
        happens: Hour of what the fate says, where it is not the arrival.
        by_phone: Checks in by the guest's page and pays a deposit; else at the desk.
        card: How the deposit is paid: visa, secure (the bank asks), declined (first, then another card).
        beside: Index of the booking that has the same room, by share or by double sale; None: nobody's.
    """

    name: str
    room: str
    fate: Fate
    arrives: float
    happens: float = 0.0
    spare: str = ""
    by_phone: bool = False
    card: str = "visa"
    beside: int | None = None


def draw(rooms: Sequence[str], arrivals: int, dice: Dice) -> tuple[Booking, ...]:
    """Return the bookings of a day, as they were made.

    Args:
        rooms: Guest rooms.
        arrivals: How many are booked or walk in, no-shows included.
        dice: Decides everything; the same dice, the same day.

    Raises:
        InvalidInputError: too few arrivals to show each fate once, or too few rooms for them.
    """
    if arrivals < ARRIVALS_LEAST:
        raise InvalidInputError("arrivals", f"{arrivals} are too few to show everything: at least {ARRIVALS_LEAST}")
    left = _shuffled(rooms, dice)

    def room() -> str:
        if not left:
            problem = f"{len(rooms)} are too few for {arrivals} arrivals and where they are moved to"
            raise InvalidInputError("rooms", problem)
        return left.pop()

    made: list[Booking] = []
    while len(made) < arrivals:
        fate = OF_EACH[len(made)] if len(made) < len(OF_EACH) else _drawn(dice)
        if len(made) >= len(OF_EACH) and fate in MOVES and len(left) <= arrivals - len(made):
            fate = Fate.STAYS  # a full house moves nobody
        beside = len(made) - 1 if fate in (Fate.WALKS_IN, Fate.SHARES_AND_LEAVES) else None
        moves = fate in MOVES
        arrives, happens = _hours(fate, dice)
        by_phone = fate not in (*BEHIND, Fate.WALKS_IN, Fate.BOOKED_BEHIND) and not CUT_FROM - 0.5 < arrives < CUT_UNTIL
        made.append(
            Booking(
                name=f"No. {len(made)}",
                room=room() if beside is None else made[beside].room,
                fate=fate,
                arrives=arrives,
                happens=happens,
                spare=room() if moves else "",
                by_phone=by_phone and (fate is Fate.NOT_READY or dice.uniform(0, 1) < 0.75),
                card=_card(len(made), dice),
                beside=beside,
            )
        )
    return tuple(made)


def _hours(fate: Fate, dice: Dice) -> tuple[float, float]:
    """Return the hour of arrival and the hour of what happens."""
    behind = dice.uniform(CUT_FROM + 0.7, CUT_UNTIL - 0.6)
    match fate:
        case Fate.DOUBLE_SOLD | Fate.MOVED_BEHIND | Fate.CANCELLED_BEHIND:
            return behind, dice.uniform(CUT_FROM + 0.2, CUT_UNTIL - 0.4)  # before or after the guest stands there
        case Fate.BOOKED_BEHIND:
            return behind, behind - 0.4
        case Fate.WALKS_IN:
            return CUT_UNTIL + 1.0, CUT_FROM + 0.3
        case Fate.OUT_BEHIND | Fate.EXTENDED_BEHIND | Fate.MOVED_INSIDE_BEHIND:
            return dice.uniform(9.5, 13.5), dice.uniform(CUT_FROM + 0.5, CUT_UNTIL - 0.5)
        case Fate.SHARES | Fate.SHARES_AND_LEAVES:
            return dice.uniform(10.0, 14.0), dice.uniform(20.0, 21.0)
        case Fate.NOT_READY:
            return dice.uniform(10.0, 13.0), dice.uniform(13.5, 14.5)
        case Fate.MOVED:
            return dice.uniform(11.0, 15.0), dice.uniform(8.0, 9.5)
        case Fate.NO_SHOW:
            return CLOSES, dice.uniform(20.5, 21.5)
        case Fate.EXTENDS | Fate.LEAVES_EARLY | Fate.MOVED_INSIDE:
            return dice.uniform(9.5, 15.0), dice.uniform(19.5, 21.5)
    share = dice.uniform(0, 1)  # a third each before, during and after the cut
    span = (9.5, 15.4) if share < 0.4 else (CUT_FROM + 0.2, CUT_UNTIL - 0.3) if share < 0.75 else (19.3, 21.0)
    return dice.uniform(*span), 0.0


def _drawn(dice: Dice) -> Fate:
    return Fate(_one(tuple((fate.value, part) for fate, part in DRAWN), dice))


def _card(index: int, dice: Dice) -> str:
    drawn = _one(CARDS, dice)
    return {4: "secure", 5: "declined"}.get(index, drawn)  # one of each, however few there are


def _one(shares: Sequence[tuple[str, float]], dice: Dice) -> str:
    share = dice.uniform(0, 1)
    for name, part in shares:
        if share < part:
            return name
        share -= part
    return shares[0][0]


def _shuffled(rooms: Sequence[str], dice: Dice) -> list[str]:
    left, out = list(rooms), []
    while left:
        out.append(left.pop(dice.integer(0, len(left) - 1)))
    return out
