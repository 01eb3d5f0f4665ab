"""A Mews that answers on the real wire: POST /api/connector/v1/... as design page pms.md B.1 describes it.

Its manners (limits, faults, late pushes) are cloud/pms/emulation's.
"""

from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from cloud.kit.times import unix_ms
from cloud.pms.emulation.face import Ask, Face, Reply, WireError
from cloud.pms.emulation.hotel import FolioLine, Missing, Reservation, Resource
from cloud.pms.mews.wire import API, utc_text

COUNT_MOST: Final = 1_000
COUNT_DEFAULT: Final = 100
INTERVAL_MOST_MS: Final = 100 * 24 * 3_600_000


class Emulator(Face):
    """Mews around a hotel."""

    LIMIT: ClassVar[tuple[int, int]] = (200, 30_000)
    NUMERIC_IDS: ClassVar[bool] = False

    def operation(self, ask: Ask) -> str:
        """See Face."""
        return ask.path.removeprefix(API)

    def admit(self, ask: Ask) -> None:
        """See Face."""
        if ask.method != "POST" or not ask.path.startswith(API):
            raise WireError(404, "Not found.")
        body, known = ask.json(), self._credentials
        if body.get("ClientToken") != known.client_token or body.get("AccessToken") != known.access_token:
            raise WireError(401, "Invalid ClientToken or AccessToken.")
        if not isinstance(body.get("Client"), str):
            raise WireError(400, "Invalid Client: it must be a name and a version.")

    def do(self, ask: Ask) -> object:
        """See Face."""
        return self._do(self.operation(ask), ask.json())

    def sorry(self, error: WireError) -> Reply:
        """See Face."""
        headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
        said = {"Message": str(error), "RequestId": self._dice.bytes(8).hex(), "Details": None}
        return Reply(error.status, said, headers)

    def push_body(self, kind: str, changed_id: str) -> bytes | None:
        """See Face."""
        return msgspec.json.encode(
            {
                "EnterpriseId": "851df8c8-90f2-4c4a-8e01-a4fc46b25178",
                "IntegrationId": "c8bee838-7fb1-4f4e-8fac-ac87008b2f90",
                "Events": [{"Discriminator": kind, "Value": {"Id": changed_id}}],
            }
        )

    def shown_json(self, found: Reservation) -> dict[str, Any]:
        """Return a reservation as Mews writes it."""
        return {
            "Id": found.id,
            "ServiceId": "bd26d8db-86da-4f96-9efc-e5a4654a4a94",
            "AccountId": found.account_id,
            "AccountType": "Customer",
            "Number": found.number,
            "State": found.state,
            "Origin": "Connector",
            "AssignedResourceId": found.resource_id,
            "RequestedResourceCategoryId": found.room_type,
            "AssignedResourceLocked": False,
            "ScheduledStartUtc": utc_text(found.start_ms),
            "ScheduledEndUtc": utc_text(found.end_ms),
            "PersonCounts": [{"AgeCategoryId": "1f67644f-052d-4863-acdf-ae1600c60ca0", "Count": found.adults}],
            "CancellationReason": found.cancellation_reason,
            "CreatedUtc": utc_text(found.created_ms),
            "UpdatedUtc": utc_text(found.updated_ms),
        }

    def _do(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        match operation:
            case "reservations/getAll/2023-06-06":
                return self._reservations(body)
            case "customers/getAll":
                ids = set(_ids(body, "CustomerIds") or ())
                found = [each for key, each in self.hotel.customers.items() if key in ids]
                return self._page("Customers", found, body)
            case "customers/search":
                found = self.guests_named(str(body.get("Name") or ""))
                return {"Customers": [{"Customer": each} for each in found[:100]]}
            case "resources/getAll":
                rooms = sorted(self.hotel.resources.values(), key=lambda each: (-each.updated_ms, each.name))
                return self._page("Resources", [_resource_json(each) for each in rooms], body)
            case "resources/update":
                return self._update_resources(body)
            case "reservations/update":
                return self._update_reservations(body)
            case "orderItems/getAll":
                asked = self.hotel.reservation((_ids(body, "ServiceOrderIds") or [""])[0])
                return self._page("OrderItems", [_item_json(each) for each in asked.folio], body)
            case "reservations/start":
                self.hotel.start(_id(body))
                return {}
            case "reservations/process":
                self.hotel.process(_id(body))
                return {}
            case "reservations/cancel":
                for each in _ids(body, "ReservationIds") or [_id(body)]:
                    self.hotel.cancel(each, "Other")
                return {}
            case _:
                raise WireError(404, f"Operation {operation} not found.")

    def _reservations(self, body: dict[str, Any]) -> dict[str, Any]:
        shown = [self.shown(each) for each in self.hotel.reservations.values()]
        ids = _ids(body, "ReservationIds")
        intervals = {name: _interval(body, name) for name in ("UpdatedUtc", "CollidingUtc", "ScheduledStartUtc")}
        if ids is None and not any(intervals.values()):
            raise WireError(400, "Invalid filter: one of ReservationIds, UpdatedUtc, CollidingUtc is needed.")
        if ids is not None:
            shown = [each for each in shown if each.id in set(ids)]
        if (accounts := _ids(body, "AccountIds")) is not None:
            shown = [each for each in shown if each.account_id in set(accounts)]
        if (states := body.get("States")) is not None:
            shown = [each for each in shown if each.state in states]
        if (span := intervals["UpdatedUtc"]) is not None:
            shown = [each for each in shown if span[0] <= each.updated_ms <= span[1]]
        if (span := intervals["CollidingUtc"]) is not None:
            shown = [each for each in shown if each.start_ms < span[1] and each.end_ms > span[0]]
        if (span := intervals["ScheduledStartUtc"]) is not None:
            shown = [each for each in shown if span[0] <= each.start_ms <= span[1]]
        shown.sort(key=lambda each: (-each.updated_ms, each.id))
        return self._page("Reservations", [self.row(each) for each in shown], body)

    def _update_resources(self, body: dict[str, Any]) -> dict[str, Any]:
        updates = body.get("ResourceUpdates")
        if not isinstance(updates, list):
            raise WireError(400, "Invalid ResourceUpdates.")
        done = []
        for update in updates:
            resource = self.hotel.resources.get(str(update.get("ResourceId")))
            if resource is None:
                raise Missing(f"Resource {update.get('ResourceId')} not found.")
            state = update.get("State", {}).get("Value")
            if state not in ("Dirty", "Clean", "Inspected", "OutOfService", "OutOfOrder"):
                raise WireError(400, "Invalid State.")
            done.append(_resource_json(self.hotel.set_room_state(resource.name, state)))
        return {"Resources": done}

    def _update_reservations(self, body: dict[str, Any]) -> dict[str, Any]:
        for update in body.get("ReservationUpdates") or ():
            if (end := update.get("EndUtc")) is not None:
                check = body.get("CheckOverbooking") is True
                self.depart(str(update.get("ReservationId")), _moment(end.get("Value")), check=check)
            if (assigned := update.get("AssignedResourceId")) is None:
                continue
            room = assigned.get("Value")
            resource = self.hotel.resources.get(str(room))
            if resource is None:
                raise Missing(f"Resource {room} not found.")
            self.hotel.update(str(update.get("ReservationId")), room=resource.name)
        return {}

    def _page(self, name: str, items: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
        limitation = body.get("Limitation")
        if limitation is None:
            limitation = {}
        count = limitation.get("Count", COUNT_DEFAULT)
        if not isinstance(count, int) or not 1 <= count <= COUNT_MOST:
            raise WireError(400, f"Invalid Limitation.Count: 1 to {COUNT_MOST}.")
        cursor = limitation.get("Cursor")
        if cursor is not None:
            at = next((n for n, each in enumerate(items) if each["Id"] == cursor), None)
            if at is None:
                raise WireError(400, "Invalid Limitation.Cursor.")
            items = items[at + 1 :]
        count = self.turned(count)
        page = items[:count]
        return {name: page, "Cursor": page[-1]["Id"] if len(items) > count else None}


def _resource_json(found: Resource) -> dict[str, Any]:
    return {
        "Id": found.id,
        "Name": found.name,
        "State": found.state,
        "IsActive": True,
        "ParentResourceId": None,
        "Data": {"Discriminator": "Space", "Value": {"FloorNumber": found.name[:1], "LocationNotes": ""}},
        "UpdatedUtc": utc_text(found.updated_ms),
    }


def _item_json(line: FolioLine) -> dict[str, Any]:
    return {
        "Id": line.id,
        "Name": line.text,
        "Amount": {"Currency": line.currency, "GrossValue": line.minor / 100},
        "ConsumedUtc": utc_text(line.at_ms),
    }


def _ids(body: dict[str, Any], name: str) -> list[str] | None:
    ids = body.get(name)
    if ids is None:
        return None
    if not isinstance(ids, list) or len(ids) > COUNT_MOST or not all(isinstance(each, str) for each in ids):
        raise WireError(400, f"Invalid {name}: at most {COUNT_MOST} ids.")
    return ids


def _id(body: dict[str, Any]) -> str:
    found = body.get("ReservationId")
    if not isinstance(found, str):
        raise WireError(400, "Invalid ReservationId.")
    return found


def _moment(told: object) -> int:
    try:
        return unix_ms(datetime.fromisoformat(str(told)))
    except ValueError as error:
        raise WireError(400, "Invalid EndUtc.") from error


def _interval(body: dict[str, Any], name: str) -> tuple[int, int] | None:
    span = body.get(name)
    if span is None:
        return None
    try:
        start, end = (unix_ms(datetime.fromisoformat(span[key])) for key in ("StartUtc", "EndUtc"))
    except (TypeError, KeyError, ValueError) as error:
        raise WireError(400, f"Invalid {name}.") from error
    if not 0 <= end - start <= INTERVAL_MOST_MS:
        raise WireError(400, f"Invalid {name}: at most three months.")
    return start, end
