"""Who may do what: the policies of the API in Cedar, and the one place that asks them.

A role includes the lesser ones: admin is in staff, staff in viewer; a guest is in none. What no policy permits is
denied; a caller who is bound to some properties may do nothing with others, and nothing that concerns the tenant as a
whole beyond itself.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cedarpy import PolicySet, is_authorized

from cloud.platform.principals import Principal, Role

ACTION: Final = "action"
"""Route option: what calling a route is called in the policies. A route that names none lets nobody in."""
POLICIES: Final = """
// reading, and what is the caller's own
permit (
    principal in Role::"viewer",
    action in [
        Action::"property.list", Action::"self.read", Action::"self.change", Action::"schema.read"
    ],
    resource is Tenant
);
permit (
    principal in Role::"viewer",
    action in [
        Action::"property.read", Action::"stay.read", Action::"access.read", Action::"completeness.read",
        Action::"command.read", Action::"pms.read", Action::"telemetry.read"
    ],
    resource is Property
) when { principal.every_property || principal.properties.contains(resource.id) };

// the desk's work
permit (
    principal in Role::"staff",
    action in [
        Action::"stay.check_in", Action::"stay.check_out", Action::"stay.door_log", Action::"room.command"
    ],
    resource is Property
) when { principal.every_property || principal.properties.contains(resource.id) };

permit (
    principal in Role::"staff",
    action in [
        Action::"checkin.use", Action::"checkin.assist", Action::"checkin.people", Action::"stay.invite",
        Action::"payment.manage", Action::"payment.approve", Action::"room.assign"
    ],
    resource is Property
) when { principal.every_property || principal.properties.contains(resource.id) };

// who comes, and when he came before; what is kept of somebody is erased by whoever answers for the house
permit (
    principal in Role::"staff", action in [Action::"guest.read", Action::"guest.change"], resource is Property
) when { principal.every_property || principal.properties.contains(resource.id) };
permit (principal in Role::"admin", action == Action::"guest.erase", resource is Property)
    when { principal.every_property || principal.properties.contains(resource.id) };

// a guest's own way to the keys of the one stay that the link is for; opening from afar is nobody else's to ask
permit (
    principal in Role::"guest",
    action in [Action::"checkin.use", Action::"stay.check_in", Action::"door.carry", Action::"door.open"],
    resource is Property
) when {
    principal.properties.contains(resource.id) && principal has stay && context has stay
    && principal.stay == context.stay
};

// who has keys of a stay: a guest of his own alone, and of those what his phone may see (stay_key_routes.py)
permit (
    principal in Role::"guest", action == Action::"stay.keys", resource is Property
) when {
    principal.properties.contains(resource.id) && principal has stay && context has stay
    && principal.stay == context.stay
};
permit (principal in Role::"staff", action == Action::"stay.keys", resource is Property)
    when { principal.every_property || principal.properties.contains(resource.id) };

// a kiosk finds a booking by its code and name; who stands there may go on by phone, and leave. Keys go to phones
permit (principal in Role::"kiosk", action == Action::"kiosk.visit", resource is Property)
    when { principal.properties.contains(resource.id) };
permit (principal in Role::"guest", action == Action::"kiosk.visiting", resource is Property) when {
    principal has kiosk && principal.properties.contains(resource.id) && principal has stay && context has stay
    && principal.stay == context.stay
};
forbid (
    principal,
    action in [Action::"stay.check_in", Action::"stay.keys", Action::"door.carry", Action::"door.open"],
    resource
) when { principal has kiosk };
permit (principal in Role::"admin", action == Action::"kiosk.manage", resource is Property)
    when { principal.every_property || principal.properties.contains(resource.id) };

// what phones bring from locks is sealed to the building; an emergency key is two people's word
permit (
    principal in Role::"staff",
    action in [Action::"door.carry", Action::"emergency.draft", Action::"emergency.approve"],
    resource is Property
) when { principal.every_property || principal.properties.contains(resource.id) };

// taking keys away, and writing cards, is the desk's; what shuts a room to everybody is not
permit (
    principal in Role::"staff",
    action in [Action::"key.read", Action::"key.withdraw", Action::"key.card", Action::"room.inhibit"],
    resource is Property
) when { principal.every_property || principal.properties.contains(resource.id) };

// who gives out the keys of whole sections, and takes them back; seals rooms; fills the safe; what guests agree to;
// how much one person alone may give back
permit (
    principal in Role::"admin",
    action in [
        Action::"staff_key.issue", Action::"room.seal", Action::"failsafe_key.issue", Action::"terms.publish",
        Action::"payment.rule"
    ],
    resource is Property
)
    when { principal.every_property || principal.properties.contains(resource.id) };

// how the machine runs
permit (principal in Role::"admin", action == Action::"records.read", resource is Property)
    when { principal.every_property || principal.properties.contains(resource.id) };

// whoever makes accounts could make one that is bound to nothing
permit (
    principal in Role::"admin",
    action in [Action::"account.manage", Action::"client.manage", Action::"audit.read", Action::"policy.manage",
        Action::"webhook.manage", Action::"company.manage"
    ],
    resource is Tenant
) when { principal.every_property };
"""

_ROLES: Final = {
    Role.KIOSK: ("kiosk",),
    Role.GUEST: ("guest",),
    Role.VIEWER: ("viewer",),
    Role.STAFF: ("staff", "viewer"),
    Role.ADMIN: ("admin", "staff", "viewer"),
}
DECISIONS_KEPT: Final = 4_096
NAMES_KEPT_MOST: Final = 256
"""Characters that a property and a stay may be named by together. A path may be named by 64 kB that nothing is called,
each time by others: that is judged, and not kept.
"""
_PARSED: Final = PolicySet.from_str(POLICIES)  # reading the text takes longer than a decision


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and by which policies; none: nothing permits it."""

    allowed: bool
    because: tuple[str, ...]


def may(principal: Principal, action: str, property_id: str | None, stay: str | None = None) -> Decision:
    """Decide whether a caller may do `action` with a property of its tenant, or, None, with the tenant as a whole.

    `stay` is the one that the request is about, where it is about one. The answer follows from the arguments and the
    policies above alone, so the last ones are kept: who asks asks again.
    """
    is_kept = len(property_id or "") + len(stay or "") <= NAMES_KEPT_MOST
    return (_decided if is_kept else _decide)(principal, action, property_id, stay)


def _decide(principal: Principal, action: str, property_id: str | None, stay: str | None) -> Decision:
    who = {"type": "Principal", "id": principal.name}
    if property_id is None:
        what, known = {"type": "Tenant", "id": principal.tenant}, {}
    else:
        what, known = {"type": "Property", "id": property_id}, {"id": property_id}
    attributes: dict[str, object] = {
        "every_property": principal.properties is None,
        "properties": sorted(principal.properties or ()),
    }
    if principal.stay is not None:
        attributes["stay"] = principal.stay
    if principal.kiosk is not None:
        attributes["kiosk"] = principal.kiosk
    entities: list[dict[str, object]] = [
        {
            "uid": who,
            "attrs": attributes,
            "parents": [{"type": "Role", "id": name} for name in _ROLES[principal.role]],
        },
        {"uid": what, "attrs": known, "parents": []},
    ]
    context = {} if stay is None else {"stay": stay}
    request = {"principal": who, "action": {"type": "Action", "id": action}, "resource": what, "context": context}
    answer = is_authorized(request, _PARSED, entities)
    return Decision(answer.allowed, tuple(answer.diagnostics.reasons))


_decided: Final = lru_cache(maxsize=DECISIONS_KEPT)(_decide)
