"""What the pages read of the API's description: the schemas named here and all that they are made of.

Run as a program it writes web/packages/api/openapi.json anew; `npm run generate:api` makes the TypeScript of it.
"""

import json
from pathlib import Path
from typing import Any, Final, cast

from cloud.public.app import build
from cloud.public.checkin_routes import CheckInServices, checkin_routes
from cloud.public.guest_routes import GuestServices, guest_routes
from cloud.public.openapi import described
from cloud.public.payment_routes import PaymentServices, payment_routes
from cloud.public.routes import Services, api

PLACE: Final = Path(__file__).parents[3] / "web" / "packages" / "api" / "openapi.json"
READ: Final = (
    "AccessEvents", "Alerts", "Properties", "Rooms", "Stays", "HandOvers", "Session", "TermsText", "TermsVersions",
    "People", "DepositPage", "DepositStanding", "PaymentStates",
    "WaitingLateWishes", "WaitingRefunds", "ArrivingGuest",
)  # fmt: skip
_NOBODY: Final = cast("Any", None)
"""No route is asked: only what they say of themselves."""


def document() -> dict[str, Any]:
    """Return the description, cut down to READ."""
    app = build(
        _NOBODY_GATE,
        [
            api(Services(*[_NOBODY] * 6)),
            checkin_routes(CheckInServices(*[_NOBODY] * 5)),
            payment_routes(PaymentServices(_NOBODY, _NOBODY, _NOBODY, {}, _NOBODY)),
            guest_routes(GuestServices(*[_NOBODY] * 4)),
        ],
    )
    whole = described(app.openapi_schema.to_schema())["components"]["schemas"]
    kept: dict[str, Any] = {}
    wanted = list(READ)
    while wanted:
        name = wanted.pop()
        if name in kept:
            continue
        kept[name] = whole[name]
        wanted += sorted(_named(whole[name]))
    info = {"title": "Innkeeper, as its pages read it", "version": "1"}
    return {"openapi": "3.1.0", "info": info, "paths": {}, "components": {"schemas": dict(sorted(kept.items()))}}


def written(made: dict[str, Any]) -> str:
    """Return the document as it is kept."""
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def _named(schema: Any) -> set[str]:
    """Return the schemas that one refers to."""
    if isinstance(schema, dict):
        own = {schema["$ref"].rpartition("/")[2]} if isinstance(schema.get("$ref"), str) else set[str]()
        return own.union(*(_named(each) for each in schema.values()))
    return set[str]().union(*(_named(each) for each in schema)) if isinstance(schema, list) else set()


class _Gate:
    async def guard(self, *_: object) -> None:
        """Let nobody in."""


_NOBODY_GATE: Final = cast("Any", _Gate())

if __name__ == "__main__":
    PLACE.write_text(written(document()), encoding="utf-8")
