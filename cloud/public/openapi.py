"""How the API describes itself: what the framework knows of the routes, and what it does not.

The framework writes down paths, parameters and structs. Added here: every error is a problem (RFC 9457, kit/http.py),
each with its schema; who may be refused for what (401, 403, 429 come from the gate, before any route); and an
example of every parameter and body, made from the schema and the names in SAMPLES. tests/integration/test_openapi.py
holds each example against its schema and every answer against this description.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin

from kit.http import PROBLEM_TYPE

Document = dict[str, Any]
DEPTH_MOST: Final = 12
PROBLEM: Final[Document] = {
    "type": "object",
    "title": "Problem",
    "description": "What is wrong, for programs (`type`, `status`) and for people (`detail`): RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {
            "type": "string",
            "pattern": r"^(about:blank|urn:innkeeper:problem:[a-z0-9]+(-[a-z0-9]+)*)$",
            "description": "about:blank, or urn:innkeeper:problem: and a kind, its words joined by hyphens.",
        },
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "retryable": {"type": "boolean", "description": "The same request may be sent again later."},
        "may_have_taken_effect": {"type": "boolean", "description": "Ask for the state before sending it again."},
        "reason": {"type": "string", "description": "Why a grant, a stay or a command was refused."},
        "errors": {
            "type": "array",
            "description": "What is wrong with which part of the request.",
            "items": {"type": "object", "properties": {"message": {"type": "string"}, "key": {"type": "string"}}},
        },
    },
    "example": {
        "type": "urn:innkeeper:problem:invalid-input",
        "title": "Bad Request",
        "status": 400,
        "detail": "email: 'anna' is not an e-mail address",
        "retryable": False,
        "may_have_taken_effect": False,
    },
}
_ANY: Final = (
    (400, "The request is not of the form, or not of the values, that are wanted."),
    (408, "The body did not come in time."),
    (413, "The body is too large."),
    (429, "Too many requests; `Retry-After` says when to come again."),
    (503, "The database is not reachable; nothing took effect."),
)
_CLOSED: Final = (
    (401, "Nobody is signed in, or no longer."),
    (403, "Whoever is signed in may not do this."),
)
_SAID: Final = {
    404: "There is no such thing here, or it is not the caller's to know of.",
    409: "Not as things stand; `detail` says what stands against it.",
    415: "The body is said to be something else than JSON in UTF-8.",
    502: "A partner did not answer as it should.",
    504: "A partner or a building did not answer in time; it may have taken effect.",
}
TOO_LONG: Final = ("414", "The address is too long for anybody to look at it: refused without a body.")
SAMPLES: Final[Mapping[str, Any]] = {
    "account_id": "u-5f0c2a91d3b44e07",
    "address": "Praterstrasse 1, 1020 Wien",
    "alone_until": "13:00",
    "arrival": "2026-11-23",
    "attribute": "on",
    "before": "1042",
    "birth_date": "1984-05-17",
    "birth_state": "AUT",
    "client_id": "innkeeper",
    "client_secret": "kept-by-the-provider",
    "clientDataJSON": "eyJ0eXBlIjoid2ViYXV0aG4uZ2V0In0",
    "code": "ikx_5f0c2a91d3b44e07a1b2c3d4e5f60718",
    "company": "northlight",
    "currency": "EUR",
    "cursor": "1764547200000-1042",
    "day": "2026-11-21",
    "document_exempt": ["AUT"],
    "departure": "2026-11-25",
    "documents": ["P", "I"],
    "domains": ["northlight.example"],
    "edge": "edge-aurora",
    "email": "anna@northlight.example",
    "expires_at": "2027-11-21T12:00:00Z",
    "given_names": "Noor",
    "guest_id": "g-5f0c2a91d3b44e07a1b2",
    "idempotency_key": "desk-2026-11-21-0007",
    "incarnation": "0f1e2d3c4b5a69780f1e2d3c4b5a6978",
    "issuer": "https://id.northlight.example",
    "jurisdiction": "AUT",
    "kinds": ["stay.changed"],
    "language": "de",
    "latest": "15:00",
    "lock": "0f1e2d3c4b5a6978",
    "locks": ["0f1e2d3c4b5a6978"],
    "mrz": "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10",
    "booking_code": "4711",
    "name": "northlight",
    "nationality": "AUT",
    "new": "quite another sentence",
    "old": "correct horse battery",
    "password": "correct horse battery",
    "payment_method": "pm_card_visa",
    "phone_public_key": "02" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    "properties": ["aurora"],
    "property_id": "aurora",
    "reason": "the guest's passport was seen at the desk",
    "refresh_token": "ikr_5f0c2a91d3b44e07",
    "reporter": "alloggiati",
    "request": (
        "016fce8280c3de75688c399ede04cbf1f1000001a3185c5000066175726f72611b696b2d303132333435363738396162"
        "63646566303132333435363708616e6e65782d6131c98f13192e4b3354d537d16cfa05c7b858e79cee9fc9ac223cd256"
        "daeecbb08ccc2845b22c073cc5e63153dd94d891a202c996459a50b452d085d1506740236c"
    ),
    "return_to": "#/p/aurora",
    "rings": [["aurora"], ["borealis"]],
    "room": "101",
    "room_id": "101",
    "sha256": "0f1e2d3c4b5a69780f1e2d3c4b5a69780f1e2d3c4b5a69780f1e2d3c4b5a6978",
    "signature": "MEUCIQDq5f0c2a91",
    "signed_as": "Noor Haddad",
    "slot": "g1",
    "stay": "res-1",
    "stay_id": "res-1",
    "steps": ["room", "grant"],
    "state": "b2YtdGhpcy1icm93c2Vy",
    "subject": "g1",
    "surname": "Haddad",
    "terms": "2026-11",
    "text": "Breakfast is from 7 to 10.\n\nQuiet from 22:00.",
    "type": "public-key",
    "until": "13:00",
    "url": "https://erp.northlight.example/hooks/innkeeper",
    "value": True,
    "version": "2026-11",
    "wish": "lw-5f0c2a91d3b44e07a1b2",
}
"""What stands for a value in an example, by the name of its field or parameter, where it fits the schema there."""


_HEX: Final = re.compile(r"\^\[0-9a-f\]\{(\d+)\}\$")
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,), "array": (list,), "boolean": (bool,), "integer": (int,), "number": (int, float),
    "object": (dict,), "unknown": (),
}  # fmt: skip


def described(document: Document) -> Document:
    """Return the framework's document with what it does not know; `document` stays as it is."""
    schemas = {**document.get("components", {}).get("schemas", {}), "Problem": PROBLEM}
    plain: Document = _portable({**document, "components": {**document.get("components", {}), "schemas": schemas}})
    components = plain["components"]["schemas"]
    for path in plain["paths"].values():
        for operation in path.values():
            _describe(operation, components)
    return plain


def example_of(schema: Document, components: Mapping[str, Document], name: str = "", depth: int = 0) -> object:
    """Return a value that fits a schema, the same each time; `name` is what the value is called there."""
    if "$ref" in schema:
        return example_of(components[schema["$ref"].rpartition("/")[2]], components, name, depth)
    for word in ("oneOf", "anyOf"):
        if word in schema:
            found = [each for each in schema[word] if each.get("type") != "null"]
            return example_of(found[0], components, name, depth)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if name in SAMPLES and _fits(SAMPLES[name], schema, components):
        return SAMPLES[name]
    if "default" in schema and schema["default"] is not None:
        return schema["default"]
    match _kind(schema):
        case "object":
            wanted = schema.get("properties", {})
            kept = wanted if depth < DEPTH_MOST else {key: wanted[key] for key in schema.get("required", [])}
            return {key: example_of(each, components, key, depth + 1) for key, each in kept.items()}
        case "array":
            if "prefixItems" in schema:
                return [example_of(each, components, name, depth + 1) for each in schema["prefixItems"]]
            one = example_of(schema.get("items", {"type": "string"}), components, name, depth + 1)
            return [one] * max(1, schema.get("minItems", 1))
        case "integer" | "number":
            return max(1, int(schema.get("minimum", 1)))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _text(schema, name)


def _describe(operation: Document, components: Mapping[str, Document]) -> None:
    for parameter in operation.get("parameters", []):
        parameter.setdefault("example", example_of(parameter["schema"], components, parameter["name"]))
    body = operation.get("requestBody", {}).get("content", {})
    for content in body.values():
        content.setdefault("example", example_of(content["schema"], components))
    answers = operation["responses"]
    for status, answer in answers.items():
        if int(status) >= 400:
            continue
        for kind, content in answer.get("content", {}).items():
            if kind == "application/json" and "schema" in content:
                content.setdefault("example", example_of(content["schema"], components))
    refused = dict(_ANY) | ({} if operation.get("security") == [] else dict(_CLOSED)) | _SAID
    for status, said in refused.items():
        answers[str(status)] = {
            "description": said,
            "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    for status in [each for each in answers if each.isdigit() and int(each) >= 400]:
        answers[status]["content"] = {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    answers[TOO_LONG[0]] = {"description": TOO_LONG[1]}


def _portable(value: Any) -> Any:  # noqa: ANN401 - JSON as it comes
    """Say patterns and bounds as every reader of JSON Schema understands them, in a copy."""
    if isinstance(value, dict):
        told = {key: _portable(each) for key, each in value.items()}
        if isinstance(told.get("pattern"), str):  # ECMA 262 has no \\Z, and its $ is the very end
            told["pattern"] = told["pattern"].replace("(?![\\s\\S])", "$").replace("\\Z", "$")
        for bound in ("minimum", "maximum"):
            if isinstance(told.get(bound), float) and told[bound].is_integer() and told.get("type") != "number":
                told[bound] = int(min(told[bound], 2**63 - 1))
        for word in ("oneOf", "anyOf"):  # of tuple[X, ...] the framework says "X or anything, not both"
            if word in told:
                told[word] = [each for n, each in enumerate(told[word]) if each and each not in told[word][:n]]
                if len(told[word]) == 1:
                    told = {**told.pop(word)[0], **told}
        return told
    return [_portable(each) for each in value] if isinstance(value, list) else value


def _kind(schema: Document) -> str:
    told = schema.get("type", "")
    return str(next((each for each in told if each != "null"), "") if isinstance(told, list) else told)


def _fits(value: object, schema: Document, components: Mapping[str, Document] = MappingProxyType({})) -> bool:
    if "$ref" in schema:
        schema = components.get(schema["$ref"].rpartition("/")[2], {"type": "unknown"})
    kind = _TYPES.get(_kind(schema))
    if kind is not None and not isinstance(value, kind):
        return False
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(
            _fits(each, schema.get("items", {}), components) for each in value
        )
    if not isinstance(value, str):
        return True
    if "enum" in schema:
        return value in schema["enum"]
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        return False
    return re.search(schema.get("pattern", ""), value) is not None


def _text(schema: Document, name: str) -> str:
    match schema.get("format"):
        case "date-time":
            return "2026-11-21T12:00:00Z"
        case "date":
            return "2026-11-21"
        case "time":
            return "15:00:00"
        case "duration":
            return "PT30S"
    if (digits := _HEX.fullmatch(schema.get("pattern", ""))) is not None:
        return "a1" * (int(digits[1]) // 2)
    said = name.replace("_", "-") or "text"
    if not _fits(said, schema):
        said = "x" * max(1, schema.get("minLength", 1))
    return said[: schema.get("maxLength", len(said))]


class DescribedPlugin(JsonRenderPlugin):
    """Serves the description as JSON."""

    _rendered: bytes | None = None  # the same for everybody, and the same until we start again

    def render(self, request: Request[Any, Any, Any], openapi_schema: Document) -> bytes:
        """Return the document."""
        if self._rendered is None:
            self._rendered = self.render_json(request, described(openapi_schema))
        return self._rendered
