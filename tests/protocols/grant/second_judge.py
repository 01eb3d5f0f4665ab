"""Section 9 of the grant's SPEC once more, from the page alone: an error of either judge shows beside the other.

It shares no line with protocols/grant/judge.py and reads plain values, as `judgements.json` has them.
"""

from typing import Any, Final

DAY_S: Final = 86_400
MAY: Final = {"guest": 1 | 2 | 16, "staff": 2 | 8 | 16 | 128, "emergency": 2 | 4 | 16 | 32}
MUST: Final = {"guest": 0, "staff": 128, "emergency": 32}
LONGEST_S: Final = {"guest": 14 * DAY_S, "staff": DAY_S, "emergency": 8 * 3_600}
LEEWAY_MOST_S: Final = {"guest": 600, "staff": 120, "emergency": 0}


def judged(
    grant: dict[str, Any],
    issuer: dict[str, Any],
    door: dict[str, Any],
    time: dict[str, int],
    *,
    verified: bool,
    latch: bool,
) -> dict[str, Any]:
    """Return the verdict as the vectors write it.

    Args:
        grant: As in `judgements.json`; `shift` None or its three numbers.
        issuer: `class`, `nbf`, `signs_until`, `exp`, `iat`, `kid` of its certificate.
        door: As in `judgements.json`.
        time: Likewise.
        verified: Whether the phone asserts its user.
        latch: Whether it is LATCH.
    """
    verdict: dict[str, Any] = {"promotes_to": None, "counts_use": False, "begins": False, "floor_s": time["floor_s"]}
    return {"reason": _reason(grant, issuer, door, time, verdict, verified=verified, latch=latch), **verdict}


def _reason(
    grant: dict[str, Any],
    issuer: dict[str, Any],
    door: dict[str, Any],
    time: dict[str, int],
    verdict: dict[str, Any],
    *,
    verified: bool,
    latch: bool,
) -> str | None:
    if issuer["kid"] in door["withdrawn"]:
        return "revoked"
    of_class = issuer["class"]
    if of_class == "revocation" or _beyond(grant, issuer, latch=latch):
        return "not_allowed"
    if not issuer["nbf"] <= grant["issued_at_s"] <= issuer["signs_until"]:
        return "not_allowed"
    uncertain = time["quality"] == 2
    floor_s, now_s = time["floor_s"], max(time["now_s"], time["floor_s"])
    for issued_at_s in (issuer["iat"], grant["issued_at_s"]):
        if issued_at_s <= now_s + 48 * 3_600:
            floor_s, now_s = max(floor_s, issued_at_s), max(now_s, issued_at_s)
        elif not uncertain:
            return "time_uncertain"
    verdict["floor_s"] = floor_s
    leeway_s = 0 if uncertain else min(60 + 2 * time["drift_s"], LEEWAY_MOST_S[of_class])
    if now_s > issuer["exp"] + leeway_s:
        return "expired"
    if not uncertain and now_s < issuer["nbf"] - leeway_s:
        return "not_yet_valid"
    private = door["room"] != 0
    named = door["room"] in grant["rooms"] or any(first <= door["room"] <= last for first, last in grant["ranges"])
    if not (named if private else grant["zones"] & door["zones"]):
        return "wrong_door"
    if grant["grant_id"] in door["revoked"]:
        return "revoked"
    if door["locked_out"] and of_class != "emergency":
        return "locked_out"
    counts = private and of_class == "guest"
    if counts and (grant["generation"] == 0 or grant["generation"] < door["generation"]):
        return "superseded"
    promotes = counts and grant["generation"] > door["generation"]
    early_s = 0 if promotes else leeway_s
    if uncertain:
        reason = _uncertain(grant, of_class, now_s, certainly_begun=promotes or not private)
    elif now_s > grant["not_after_s"] + leeway_s:
        reason = "expired"
    elif now_s < grant["not_before_s"] - early_s:
        reason = "not_yet_valid"
    else:
        reason = None if grant["shift"] is None or _on_shift(grant["shift"], now_s) else "out_of_hours"
    if reason is not None:
        return reason
    began_s = door["begun"].get(grant["grant_id"])
    life_hours = grant["life_hours"]
    if life_hours and began_s is not None and now_s > began_s + life_hours * 3_600 + leeway_s:
        return "expired"
    if promotes and grant["generation"] >> 8 > now_s // DAY_S + 1:
        return "not_yet_valid"
    if door["privacy"] and not grant["flags"] & 4:
        return "privacy_on"
    if grant["flags"] & 16 and not verified:
        return "needs_user_verification"
    limit = 1 if grant["flags"] & 2 else grant["uses_most"]
    if limit and grant["grant_id"] not in door["just_used"]:
        if door["uses"].get(grant["grant_id"], 0) >= limit:
            return "used_up"
        if grant["grant_id"] not in door["uses"] and len(door["uses"]) >= 64:
            return "busy"
        counted = True
    else:
        counted = False
    begins = bool(life_hours) and began_s is None
    if begins and len(door["begun"]) >= 16:
        return "busy"
    verdict.update(promotes_to=grant["generation"] if promotes else None, counts_use=counted, begins=begins)
    return None


def _beyond(grant: dict[str, Any], issuer: dict[str, Any], *, latch: bool) -> bool:
    of_class, flags = issuer["class"], grant["flags"]
    emergency, passage = of_class == "emergency", bool(flags & 8)
    return bool(
        flags & ~MAY[of_class]
        or flags & MUST[of_class] != MUST[of_class]
        or grant["not_after_s"] - grant["not_before_s"] > LONGEST_S[of_class]
        or (grant["generation"] and of_class != "guest")
        or grant["not_after_s"] > issuer["exp"]
        or bool(grant["approvals"]) != emergency
        or (emergency and grant["not_after_s"] > grant["issued_at_s"] + 900)
        or (passage and (grant["rooms"] or grant["ranges"] or flags & 2 or grant["uses_most"]))
        or (grant["life_hours"] and of_class != "guest")
        or (latch and not passage)
    )


def _uncertain(grant: dict[str, Any], of_class: str, now_s: int, *, certainly_begun: bool) -> str | None:
    if of_class != "guest":
        return "time_uncertain"
    if grant["not_after_s"] <= now_s:
        return "expired"
    late = certainly_begun and grant["not_before_s"] > now_s
    return "time_uncertain" if late or grant["shift"] is not None else None


def _on_shift(shift: tuple[int, int, int], at_s: int) -> bool:
    days, first, last = shift
    weekday, minute = (at_s // DAY_S + 3) % 7, at_s % DAY_S // 60
    today, yesterday = days >> weekday & 1, days >> (weekday - 1) % 7 & 1
    if first < last:
        return bool(today and first <= minute < last)
    return bool((today and minute >= first) or (yesterday and minute < last))
