"""Vectors of the keys that a guest has in foreign lock systems (protocols/door/SPEC.md 9.3)."""

from dataclasses import replace
from typing import Any

from protocols.door.vendor_keys import OpensAfar, VendorKey, VendorMedium, VendorState, keys_alone
from protocols.vectors.fixed import AT_S, DAY_S, bundle_of, fixed_hotel


def vendor_keys() -> dict[str, Any]:
    """What a guest has at doors of other systems: beside a grant, alone, and what is none."""
    hotel = fixed_hotel()
    made = VendorKey(
        "annex", ("a1",), VendorMedium.PIN, VendorState.MADE, "accepted-by-vendor", "730941", AT_S * 1_000,
        (AT_S + 3 * DAY_S) * 1_000,
    )  # fmt: skip
    card = replace(made, system="tower", medium=VendorMedium.CARD, state=VendorState.WANTED, truth=None, code=None)
    app = replace(made, system="villa", medium=VendorMedium.MOBILE, truth="online-confirmed", code=None)
    no = replace(made, state=VendorState.REFUSED, truth=None, code=None, problem="annex: no such door")
    late = replace(no, state=VendorState.WANTED, problem="annex: no answer in time", may_have_taken_effect=True)
    window = {"not_before_ms": made.not_before_ms, "not_after_ms": made.not_after_ms}
    alone = keys_alone("stay-1", [made, card, app, no, late], **window)
    afar = OpensAfar("aurora", "ik-0123456789abcdef01234567", "online-confirmed", (("annex-a1", "a1"),))
    opens = replace(made, opens=afar).to_document()
    bundle = bundle_of(hotel, (hotel.pool,), hotel.grant()).to_document()
    entry = made.to_document()
    wrong = [
        ("no list", {"made": entry}),
        ("more than 16", [entry] * 17),
        ("no key", ["730941"]),
        ("no rooms", [{**entry, "rooms": []}]),
        ("a room that is no word", [{**entry, "rooms": [101]}]),
        ("an unknown medium", [{**entry, "medium": "fob"}]),
        ("an unknown state", [{**entry, "state": "done"}]),
        ("an unknown truth", [{**entry, "truth": "surely"}]),
        ("a code that is no text", [{**entry, "code": 730941}]),
        ("a window that is none", [{**entry, "not_after_ms": -1}]),
        ("no way to open from afar", [{**entry, "opens": "yes"}]),
        ("a door from afar in no room of the key", [_afar(opens, doors=[{"door": "annex-a2", "room": "a2"}])]),
        ("a door from afar without a name", [_afar(opens, doors=[{"door": "", "room": "a1"}])]),
        ("no door from afar", [_afar(opens, doors=[])]),
        ("a truth from afar that is unknown", [_afar(opens, truth="surely")]),
        ("a grant from afar that is no name", [_afar(opens, grant="IK 1")]),
        ("a missing field", [{name: value for name, value in entry.items() if name != "truth"}]),
    ]
    return {
        "about": "Keys of other lock systems in a bundle (protocols/door/SPEC.md 9.3).",
        "beside_a_grant": {**bundle, "vendor_keys": [entry, card.to_document()]},
        "alone": alone,
        "from_afar": {**alone, "vendor_keys": [opens, {**entry, "opens": None}]},
        "for_the_desk": [False, True, False, True, False],
        "refused": [{"name": name, "vendor_keys": listed} for name, listed in wrong],
    }


def _afar(entry: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {**entry, "opens": {**entry["opens"], **changes}}


def files() -> dict[str, dict[str, Any]]:
    """Return the file, by its name."""
    return {"door/vendor_keys.json": vendor_keys()}
