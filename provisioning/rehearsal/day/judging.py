"""The day's invariants: what PMS, cloud, edge, locks, phones and the payment provider say, held together. Pure.

Each judgement returns what is wrong, in words; an empty list is a claim that holds.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from provisioning.rehearsal.day.lived import Day, Life
from provisioning.rehearsal.day.programme import Fate

Row = Mapping[str, Any]
STATES: Final = {
    "Confirmed": ("planned", "ready"),
    "Started": ("in_house",),
    "Processed": ("left",),
    "Canceled": ("void",),
}
"""What a stay is when the PMS says so."""
SHOWN: Final = {
    Fate.WALKS_IN: "double_sale",
    Fate.MOVED_BEHIND: "other_room",
    Fate.CANCELLED_BEHIND: "ended_in_pms",
    Fate.MOVED_INSIDE: "other_room",
    Fate.MOVED_INSIDE_BEHIND: "other_room",
}
"""Which conflict has to be shown of whom."""
INSIDE: Final = (Fate.MOVED_INSIDE, Fate.MOVED_INSIDE_BEHIND)
LASTS: Final = frozenset({Fate.CANCELLED_BEHIND})
"""Whose conflict only a person can end: a PMS takes no cancellation back."""


def reservations(pms: Sequence[Row], stays: Sequence[Row]) -> list[str]:
    """No stay is lost, doubled or invented: one stay a reservation, and no other."""
    held = Counter(str(each["reservation"]["external_id"]) for each in stays)
    told = {str(each["Id"]) for each in pms}
    flaws = [f"{one} is no stay" for one in sorted(told - held.keys())]
    flaws += [f"{one} is {many} stays" for one, many in sorted(held.items()) if many > 1]
    return flaws + [f"{one} is no reservation" for one in sorted(held.keys() - told)]


def read_back(pms: Sequence[Row], stays: Sequence[Row], day: Day) -> list[str]:
    """The PMS says of every reservation what we say of its stay; what cannot agree is shown as a conflict.

    Args:
        pms: Its reservations, as its wire has them, with the `Room` by its name.
        stays: The cloud's.
        day: Who may be in conflict to the end.
    """
    ours = {str(each["reservation"]["external_id"]): each for each in stays}
    flaws = []
    for each in pms:
        stay = ours.get(str(each["Id"]))
        if stay is None:
            continue  # told by `reservations`
        if day.of(str(each["Id"])).booking.fate in LASTS:
            if stay["conflict"] is None:
                flaws.append(
                    f"{stay['id']}: {each['State']} in the PMS, {stay['state']} here, and no conflict is shown"
                )
            continue
        if stay["state"] not in STATES.get(str(each["State"]), ()):
            flaws.append(f"{stay['id']}: {each['State']} in the PMS, {stay['state']} here")
        there = each["Room"]
        if stay["state"] in ("planned", "ready", "in_house") and stay["room"] != there:
            flaws.append(f"{stay['id']}: room {there} in the PMS, {stay['room']} here")
        if stay["conflict"] is not None:
            flaws.append(f"{stay['id']}: {stay['conflict']} still stands")
    return flaws


def replica(edge: Sequence[Row], stays: Sequence[Row]) -> list[str]:
    """The building holds every stay that is in house or to come as the cloud does."""
    held = {str(each["id"]): each for each in edge}
    flaws = []
    for stay in stays:
        ours = held.get(str(stay["id"]))
        if stay["state"] == "in_house" and stay["room"] is not None:
            there = None if ours is None else (ours["state"], ours["room"])
            if there != ("in_house", stay["room"]):
                flaws.append(f"{stay['id']}: in house in {stay['room']} in the cloud, {there} at the edge")
        elif ours is not None and ours["state"] == "in_house":
            flaws.append(f"{stay['id']}: {stay['state']} in the cloud, in house at the edge")
    return flaws


def lives(day: Day) -> list[str]:
    """Every guest was served as the house promises, as his own phone saw it."""
    flaws: list[str] = []
    for life in day.lives:
        flaws += [f"{life.booking.name}, who {life.booking.fate}: {flaw}" for flaw in _life(life)]
    return flaws


def _life(life: Life) -> list[str]:
    fate, flaws = life.booking.fate, []
    if (fate is Fate.NO_SHOW) != (life.in_at_ms is None):
        flaws.append("came in" if life.in_at_ms is not None else "never came in")
    if life.in_at_ms is not None and life.opened == 0:
        flaws.append("has not opened his door")
    if life.inside and not life.opened_at_the_end:
        flaws.append("cannot open his door in the evening")
    if life.out_at_ms is not None and life.refused_at_the_end is None:
        flaws.append("opens a door after he has left")
    if fate in (Fate.MOVED, *INSIDE) and life.old_room_refused is None:
        flaws.append("opens the room that he was moved out of")
    if fate is Fate.NOT_READY and life.way == "page" and not life.told_to_wait:
        flaws.append("was not told that the room is not ready")
    if fate is Fate.BOOKED_BEHIND and not life.unknown_before:
        flaws.append("was known in the building before anybody could tell it")
    if fate in (Fate.EXTENDS, Fate.EXTENDED_BEHIND) and not (life.until_after_ms or 0) > (life.until_before_ms or 0):
        flaws.append("got no longer key")
    if (shown := SHOWN.get(fate)) is not None and shown not in life.conflicts:
        flaws.append(f"{shown} was not shown: {sorted(life.conflicts)}")
    return flaws


def door_log(day: Day, motor_runs: Mapping[str, int], events: Sequence[Row]) -> list[str]:
    """Every run of a motor is in the cloud's door log once, with its own stay, and nobody's after he left."""
    opened = [each for each in events if each["event"] == "opened"]
    told = Counter((each["door"], each["lock_seq"]) for each in opened)
    flaws = [f"{door} {seq} is told {many} times" for (door, seq), many in told.items() if many > 1]
    held = Counter(str(each["door"]) for each in opened)
    flaws += [
        f"{door}: {held[door]} openings are told, its motor ran {motor_runs.get(door, 0)} times"
        for door in sorted(motor_runs.keys() | held.keys())
        if motor_runs.get(door, 0) != held[door]
    ]
    rooms: dict[str, set[str]] = {}
    for life in day.lives:
        if life.in_at_ms is not None:
            rooms.setdefault(f"door-{life.room}", set()).add(life.stay)
            if life.booking.fate in INSIDE:  # had the one first, then the other
                rooms.setdefault(f"door-{life.booking.room}", set()).add(life.stay)
    flaws += [
        f"{each['door']} {each['lock_seq']}: opened by {each['stay']}"
        for each in opened
        if each["stay"] not in rooms.get(each["door"], set())
    ]
    return flaws


def money(day: Day, provider: Row, payments: Mapping[str, Sequence[Row]]) -> list[str]:
    """What was held was taken, let go, or is still held, once; and our books say what the provider's do.

    Args:
        day: Who paid, and who has left.
        provider: Its intents, and each time that money moved.
        payments: Ours, by stay.
    """
    intents = {str(each["id"]): each for each in provider["intents"]}
    moved = Counter((each["what"], each["intent"]) for each in provider["effects"])
    flaws = [f"{what} of {intent} happened {many} times" for (what, intent), many in moved.items() if many > 1]
    held, taken, let_go, standing = 0, 0, 0, 0
    for intent, each in intents.items():
        if ("hold", intent) not in moved:
            continue
        held += each["amount"]
        if each["status"] == "succeeded":
            taken += each["amount_received"]
            let_go += each["amount"] - each["amount_received"]
        elif each["status"] == "canceled":
            let_go += each["amount"]
        else:
            standing += each["amount"]
    if held != taken + let_go + standing:
        flaws.append(f"{held} held is not {taken} taken, {let_go} let go and {standing} still held")
    ours = [each for rows in payments.values() for each in rows]
    if len(ours) != len(intents):
        flaws.append(f"{len(ours)} payments are kept, the provider has {len(intents)}")
    by_state = Counter(str(each["state"]) for each in ours)
    there = Counter(_STATES[str(each["status"])] for each in intents.values())
    if by_state != there:
        flaws.append(f"payments are {dict(by_state)}, at the provider {dict(there)}")
    if (kept := sum(each["captured"] for each in ours)) != taken:
        flaws.append(f"{kept} is kept as taken, the provider took {taken}")
    for life in day.lives:
        states = sorted(str(each["state"]) for each in payments.get(life.stay, ()))
        wanted = ["failed"] * life.declined
        if life.payment:
            wanted.append("held" if life.out_at_ms is None else "captured" if life.captured else "released")
        if states != sorted(wanted):
            flaws.append(f"{life.booking.name}, who {life.booking.fate}: payments {states}, should be {sorted(wanted)}")
    if expected := sum(life.captured for life in day.lives) - taken:
        flaws.append(f"{expected} too little was taken")
    return flaws


def told(day: Day, events: Sequence[Row], payments: Mapping[str, Sequence[Row]]) -> list[str]:
    """Whoever asked for our events was told what came of everybody and of all money, each change once.

    Args:
        day: Who came and left.
        events: What was told, each id once.
        payments: Ours, by stay.
    """
    stays = {(str(each["data"]["stay"]), str(each["data"]["state"])) for each in events if each["type"] == STAY_CHANGED}
    flaws = [
        f"{life.booking.name}: nobody was told that the stay is {state}"
        for life in day.lives
        for state, so in (("in_house", life.in_at_ms is not None), ("left", life.out_at_ms is not None))
        if so and (life.stay, state) not in stays
    ]
    moved = Counter(_money_told(each["data"]) for each in events if each["type"] == PAYMENT_CHANGED)
    flaws += [f"payment {each} was told {many} times" for each, many in moved.items() if many > 1]
    ours = {str(each["id"]): each for rows in payments.values() for each in rows}
    flaws += [f"payment {each[0]} is nobody's" for each in moved if each[0] not in ours]
    for id_, each in ours.items():
        if _money_told({**each, "payment": id_}) not in moved:
            flaws.append(f"payment {id_}: nobody was told that it is {each['state']} with {each['captured']} taken")
    return flaws


def _money_told(told: Row) -> tuple[str, str, int, int]:
    return str(told["payment"]), str(told["state"]), int(told["captured"]), int(told["refunded"])


STAY_CHANGED, PAYMENT_CHANGED = "stay.changed", "payment.changed"
_STATES: Final = {
    "requires_capture": "held",
    "succeeded": "captured",
    "canceled": "released",
    "requires_payment_method": "failed",
    "requires_action": "needs_guest",
}


def sums(provider: Row) -> dict[str, int]:
    """Return what was held and what became of it, in minor units."""
    held = [each for each in provider["intents"] if each["status"] in ("requires_capture", "succeeded", "canceled")]
    return {
        "held": sum(each["amount"] for each in held),
        "captured": sum(each["amount_received"] for each in held),
        "released": sum(
            each["amount"] - each["amount_received"] for each in held if each["status"] in ("succeeded", "canceled")
        ),
        "still_held": sum(each["amount"] for each in held if each["status"] == "requires_capture"),
    }
