"""What Innkeeper believed against what was true. Pure: answers of its APIs and the truth in, verdicts out.

Lost: it happened and is not told. Doubled: told more often than it happened. Invented: told and never happened.
Wrong: believed otherwise than it was. What is not yet owed (an alert that waits ten minutes) is neither judged nor
hidden: it is counted as not due.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from provisioning.rehearsal.grand.truth import OCCUPANCY_SETTLES_MS, WINDOW_AFTER_MS, RoomTruth, Truth

EMPTY_MODES: Final = frozenset({"away_set_back", "vacant_set_back"})
SHOWN_MOST: Final = 10


@dataclass(slots=True)
class Verdict:
    """How one kind of belief did. Lists name what was wrong, for a person to look at."""

    what: str
    judged: int = 0
    right: int = 0
    not_due: int = 0
    unknown: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def flaws(self) -> int:
        """How many things are not as they were."""
        return len(self.lost) + len(self.doubled) + len(self.invented) + len(self.wrong)

    def told(self) -> dict[str, Any]:
        """Return it for the report: counts, and the first of each that was wrong."""
        counts = {name: getattr(self, name) for name in ("judged", "right", "not_due", "unknown")}
        flaws = {name: getattr(self, name) for name in ("lost", "doubled", "invented", "wrong")}
        shown = {name: each[:SHOWN_MOST] for name, each in flaws.items() if each}
        return {**counts, **{name: len(each) for name, each in flaws.items()}, **({"shown": shown} if shown else {})}


def door_log(truth: Truth, motor_runs: Mapping[str, int], events: Iterable[Mapping[str, Any]]) -> Verdict:
    """Hold the cloud's door log against the motors and the phones.

    Args:
        truth: The hotel.
        motor_runs: By door, how often its motor really ran.
        events: Every door event that the cloud holds.
    """
    verdict = Verdict("door log")
    told = [each for each in events if each["event"] in ("opened", "refused")]
    seen = Counter((each["door"], each["lock_seq"], each["event"]) for each in told)
    verdict.doubled += [f"{door} {event} {seq} x {many}" for (door, seq, event), many in seen.items() if many > 1]
    opened = Counter(each["door"] for each in told if each["event"] == "opened")
    for door in sorted(motor_runs.keys() | opened.keys()):
        ran, held = motor_runs.get(door, 0), opened[door]
        verdict.judged += ran
        verdict.right += min(ran, held)
        verdict.lost += [f"{door} opened"] * max(0, ran - held)
        verdict.invented += [f"{door} opened"] * max(0, held - ran)
    refused = Counter(each["door"] for each in told if each["event"] == "refused")
    for room, each in truth.rooms.items():
        door = f"door-{room}"
        verdict.judged += each.refusals
        verdict.right += min(each.refusals, refused[door])
        verdict.lost += [f"{door} refused"] * max(0, each.refusals - refused[door])
    for event in told:
        stay = truth.rooms[event["room"]].stay if event["room"] in truth.rooms else None
        if event["event"] == "opened" and event["room"] in truth.rooms and event["stay"] != stay:
            verdict.wrong.append(f"{event['door']} {event['lock_seq']}: stay {event['stay']}, it was {stay}")
    return verdict


def contacts(truth: Truth, records: Iterable[Mapping[str, Any]]) -> Verdict:
    """Hold the ledger's door contacts against the doors that moved: each change once, in its order.

    Args:
        truth: The hotel.
        records: Bodies of the `reading` records of lane B, in order.
    """
    verdict = Verdict("door contacts")
    told: dict[str, list[bool]] = {}
    for body in records:
        if body.get("attribute") == "state_value" and isinstance(body.get("value"), bool):
            told.setdefault(str(body["device"]), []).append(body["value"])
    for room, each in truth.rooms.items():
        happened = each.contact  # all begin closed, which a contact may or may not have said by itself
        heard = [level for level, _ in groupby(told.get(f"contact-{room}", []))]
        heard = heard[1:] if heard[:1] == [True] else heard
        verdict.judged += len(happened)
        verdict.right += min(len(happened), len(heard))
        if heard == happened:
            continue
        missing, too_many = len(happened) - len(heard), len(heard) - len(happened)
        verdict.lost += [f"contact-{room}"] * max(0, missing)
        verdict.invented += [f"contact-{room}"] * max(0, too_many)
        if missing == 0:
            verdict.wrong.append(f"contact-{room}: {heard}, it was {happened}")
    return verdict


def treated_as_absent(truth: Truth, rooms: Iterable[Mapping[str, Any]], *, now_ms: int) -> list[str]:
    """Return the rooms with a guest inside that are run as empty ones: the flaw that a guest feels."""
    found = []
    for room in rooms:
        each = truth.rooms[room["id"]]
        if each.entered_ms is None or not each.inside or now_ms - each.entered_ms < OCCUPANCY_SETTLES_MS:
            continue
        if room["mode"] in EMPTY_MODES or room["occupancy"]["occupied"] is False:
            found.append(f"{room['id']}: {room['mode']}, occupied {room['occupancy']['occupied']}")
    return found


def occupancy(truth: Truth, rooms: Sequence[Mapping[str, Any]], *, now_ms: int) -> Verdict:
    """Hold the belief about every room against who is inside. "Cannot tell" is no flaw where nobody could."""
    verdict = Verdict("occupancy")
    for room in rooms:
        each, believed = truth.rooms[room["id"]], room["occupancy"]["occupied"]
        changed_ms = max(each.entered_ms or 0, each.left_ms or 0, each.moved_ms or 0)
        if now_ms - changed_ms < OCCUPANCY_SETTLES_MS:
            verdict.not_due += 1
            continue
        verdict.judged += 1
        if believed is each.inside:
            verdict.right += 1
        elif believed is None and not _proved(truth, each):
            verdict.unknown += 1
        else:
            verdict.wrong.append(f"{room['id']}: believed {believed}, inside {each.inside}")
    return verdict


def _proved(truth: Truth, room: RoomTruth) -> bool:
    """Whether the edge, in its present life, was shown that somebody is inside: a door that closed, then motion."""
    closed_ms, moved_ms = room.closed_ms, room.moved_ms
    if not room.inside or closed_ms is None or moved_ms is None:
        return False
    return moved_ms > closed_ms >= (truth.edge_back_ms or 0)


def alerts(truth: Truth, told: Iterable[Mapping[str, Any]], *, now_ms: int) -> Verdict:
    """Hold the cloud's alerts, over or not, against what was caused."""
    verdict = Verdict("alerts")
    held = Counter((str(each["kind"]), str(each["room"])) for each in told if each["state"] != "cleared")
    owed, allowed = truth.alerts_owed(now_ms), truth.alerts_allowed()
    verdict.judged, verdict.not_due = len(owed), len(allowed - owed - held.keys())
    verdict.right = len(owed & held.keys())
    verdict.lost += [f"{kind} in {room}" for kind, room in sorted(owed - held.keys())]
    verdict.invented += [f"{kind} in {room}" for kind, room in sorted(held.keys() - allowed)]
    verdict.doubled += [f"{kind} in {room} x {many}" for (kind, room), many in sorted(held.items()) if many > 1]
    return verdict


def comfort(
    truth: Truth, setpoints: Mapping[str, float | None], *, now_ms: int, comfort_c: float, set_back_c: float
) -> Verdict:
    """Hold the setpoints in the controllers against who is inside.

    Args:
        truth: The hotel.
        setpoints: By room, what the controller's register really holds, Celsius; of every room somebody entered.
        now_ms: Monotonic ms.
        comfort_c, set_back_c: What the policy wants.
    """
    verdict = Verdict("comfort")
    for room, celsius in setpoints.items():
        each = truth.rooms[room]
        wanted = set_back_c if each.checked_out_ms is not None else comfort_c
        if each.left_ms is not None and each.checked_out_ms is None:
            verdict.not_due += 1  # a guest who is out for less than a few minutes is owed nothing
            continue
        if each.window_ms is not None:
            # an edge that was killed meanwhile waits afresh: it has not seen the window stand open for so long
            if now_ms - max(each.window_ms, truth.edge_back_ms or 0) < WINDOW_AFTER_MS:
                verdict.not_due += 1
                continue
            wanted = set_back_c
        changed_ms = max(each.entered_ms or 0, each.checked_out_ms or 0)
        if now_ms - changed_ms < OCCUPANCY_SETTLES_MS:
            verdict.not_due += 1
            continue
        verdict.judged += 1
        if celsius == wanted:
            verdict.right += 1
        else:
            verdict.wrong.append(f"{room}: {celsius} °C in the controller, {wanted} °C is right")
    return verdict
