"""A UniFi Access controller on the real wire: visitors, PIN codes, doors and the log, as SPEC.md tells.

It has no idea of our grants: posting twice makes two visitors. What a door would do is asked with `opens`.
"""

import datetime
import hashlib
import hmac
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from firmware_bridges.lock_systems.misbehaviour import TAME, Knobs, Misbehaving
from kit.clock import Clock
from kit.dice import Dice

BASE: Final = "/api/v1/developer"
UNLOCK_MS: Final = 5_000
PAGE_MOST: Final = 200


@dataclass(slots=True)
class Visitor:
    """A visitor as the controller keeps it; times in seconds."""

    visitor_id: str
    first_name: str
    last_name: str
    start_time: int
    end_time: int
    doors: list[str]
    pin: str | None = None
    status: int = 1

    def document(self) -> dict[str, Any]:
        """Return it as the API shows it."""
        return {
            "id": self.visitor_id,
            "first_name": self.first_name,
            "last_name": self.last_name,
            "start_time": self.start_time,
            "end_time": self.end_time,
            "status": self.status,
            "visit_reason": "Others",
            "resources": [{"id": each, "type": "door", "name": each} for each in self.doors],
            "pin_code": None if self.pin is None else {"token": hashlib.sha256(self.pin.encode()).hexdigest()},
            "nfc_cards": [],
        }


@dataclass(slots=True)
class _Door:
    unlocked_until_ms: int = 0
    opened: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)


class RefusalError(Exception):
    """An envelope whose code is not SUCCESS."""

    def __init__(self, code: str, status: int = 200) -> None:
        super().__init__(code)
        self.code, self.status = code, status


class UnifiEmulator:
    """The controller."""

    def __init__(self, *, doors: list[str], token: str, clock: Clock, dice: Dice, knobs: Knobs = TAME) -> None:
        self._clock, self._dice, self._token = clock, dice, token
        self.misbehaving = Misbehaving(dice, knobs)
        self.visitors: dict[str, Visitor] = {}
        self.doors = {each: _Door() for each in doors}
        self.log: list[dict[str, Any]] = []
        self.hits_bare = False
        """The log's answer as the package expects it, a bare list."""

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(middlewares=[self.misbehaving.middleware(), self._enveloped])
        app.router.add_get(f"{BASE}/visitors", self._list)
        app.router.add_post(f"{BASE}/visitors", self._create)
        app.router.add_put(f"{BASE}/visitors/{{id}}", self._update)
        app.router.add_delete(f"{BASE}/visitors/{{id}}", self._delete)
        app.router.add_put(f"{BASE}/visitors/{{id}}/pin_codes", self._pin)
        app.router.add_get(f"{BASE}/doors", self._doors)
        app.router.add_put(f"{BASE}/doors/{{id}}/unlock", self._unlock)
        app.router.add_post(f"{BASE}/system/logs", self._logs)
        return app

    # -- what a door would do ---------------------------------------------------------------------------------------

    def opens(self, door: str, pin: str) -> bool:
        """Type a PIN at a door."""
        now_s = self._now_ms() // 1_000
        for visitor in self.visitors.values():
            if visitor.pin == pin and door in visitor.doors and visitor.start_time <= now_s < visitor.end_time:
                self.happened("access.door.unlock", door, visitor.last_name, "ACCESS")
                return True
        self.happened("access.door.unlock", door, "", "BLOCKED")
        return False

    def happened(self, event: str, door: str, actor: str, result: str) -> str:
        """Write a line of the log; return its id."""
        event_id = self._dice.bytes(8).hex()
        at = datetime.datetime.fromtimestamp(self._now_ms() / 1_000, tz=datetime.UTC)
        self.log.append(
            {
                "@timestamp": at.isoformat().replace("+00:00", "Z"),
                "_id": event_id,
                "_source": {
                    "actor": {"id": actor, "type": "visitor", "display_name": f"Innkeeper {actor}".strip()},
                    "event": {
                        "type": event,
                        "result": result,
                        "published": self._now_ms(),
                        "display_message": f"Access {result}",
                    },
                    "target": [{"type": "door", "id": door, "display_name": door}],
                },
            }
        )
        return event_id

    def _now_ms(self) -> int:
        return self._clock.wall_ms() + self.misbehaving.knobs.clock_skew_ms

    # -- the wire ---------------------------------------------------------------------------------------------------

    @web.middleware
    async def _enveloped(self, request: web.Request, handler: Any) -> web.StreamResponse:  # noqa: ANN401 - aiohttp's
        try:
            if self.misbehaving.chance(self.misbehaving.knobs.token_dies):
                raise RefusalError("CODE_ACCESS_TOKEN_INVALID", 401)  # the console restarts: for once nobody is known
            if request.headers.get("Authorization") != f"Bearer {self._token}":
                raise RefusalError("CODE_AUTH_FAILED", 401)
            data = await handler(request)
        except RefusalError as refusal:
            return web.json_response({"code": refusal.code, "msg": "refused", "data": None}, status=refusal.status)
        except (ValueError, KeyError, TypeError):
            return web.json_response({"code": "CODE_PARAMS_INVALID", "msg": "Invalid parameters.", "data": None})
        if isinstance(data, tuple):
            return web.json_response({"code": "SUCCESS", "msg": "success", "data": data[0], "pagination": data[1]})
        return web.json_response({"code": "SUCCESS", "msg": "success", "data": data})

    async def _list(self, request: web.Request) -> Any:  # noqa: ANN401 - JSON; the envelope is the middleware's
        keyword = request.query.get("keyword", "")
        found = [
            each.document()
            for each in self.visitors.values()
            if each.first_name.startswith(keyword) or each.last_name.startswith(keyword)
        ]
        number, size = int(request.query.get("page_num", 1)), int(request.query.get("page_size", 25))
        if not (1 <= size <= PAGE_MOST and number >= 1):
            raise ValueError(size)
        page = found[(number - 1) * size : number * size]
        return page, {"page_num": number, "page_size": size, "total": len(found)}

    def _resources(self, body: dict[str, Any]) -> list[str]:
        doors = [str(each["id"]) for each in body["resources"] if each["type"] == "door"]
        if any(each not in self.doors for each in doors):
            raise RefusalError("CODE_RESOURCE_NOT_FOUND")
        return doors

    async def _create(self, request: web.Request) -> Any:  # noqa: ANN401 - JSON; the envelope is the middleware's
        body = await request.json()
        start, end = int(body["start_time"]), int(body["end_time"])
        if end <= start:
            raise ValueError("end_time")
        made = Visitor(
            self._dice.bytes(16).hex(),
            str(body["first_name"]),
            str(body["last_name"]),
            start,
            end,
            self._resources(body) if "resources" in body else [],
        )
        self.visitors[made.visitor_id] = made
        return made.document()

    def _known(self, request: web.Request) -> Visitor:
        found = self.visitors.get(request.match_info["id"])
        if found is None:
            raise RefusalError("CODE_NOT_EXISTS")
        return found

    async def _update(self, request: web.Request) -> Any:  # noqa: ANN401 - JSON; the envelope is the middleware's
        found, body = self._known(request), await request.json()
        found.start_time = int(body.get("start_time", found.start_time))
        found.end_time = int(body.get("end_time", found.end_time))
        if "resources" in body:
            found.doors = self._resources(body)
        return found.document()

    async def _delete(self, request: web.Request) -> Any:  # noqa: ANN401 - JSON; the envelope is the middleware's
        del self.visitors[self._known(request).visitor_id]

    async def _pin(self, request: web.Request) -> Any:  # noqa: ANN401 - JSON; the envelope is the middleware's
        found, pin = self._known(request), str((await request.json())["pin_code"])
        if not (pin.isdecimal() and 4 <= len(pin) <= 8):
            raise RefusalError("CODE_CREDS_PIN_CODE_CREDS_LENGTH_INVALID")
        if any(each.pin == pin for each in self.visitors.values() if each is not found):
            raise RefusalError("CODE_CREDS_PIN_CODE_CREDS_ALREADY_EXIST")
        found.pin = pin
        return "success"

    async def _doors(self, _request: web.Request) -> Any:  # noqa: ANN401 - JSON; the envelope is the middleware's
        now_ms = self._clock.now_ms()
        return [
            {
                "id": name,
                "name": name,
                "full_name": f"Site - {name}",
                "is_bind_hub": True,
                "door_lock_relay_status": "unlock" if now_ms < door.unlocked_until_ms else "lock",
                "door_position_status": "close",
                "type": "door",
            }
            for name, door in self.doors.items()
        ]

    async def _unlock(self, request: web.Request) -> Any:  # noqa: ANN401 - JSON; the envelope is the middleware's
        name = request.match_info["id"]
        if (door := self.doors.get(name)) is None:
            raise RefusalError("CODE_RESOURCE_NOT_FOUND")
        if self.misbehaving.chance(self.misbehaving.knobs.busy):
            raise RefusalError("CODE_DEVICE_DEVICE_BUSY")
        body = await request.json()
        door.opened += 1
        door.unlocked_until_ms = self._clock.now_ms() + UNLOCK_MS
        self.happened("access.door.unlock", name, str(body.get("actor_name", "")), "ACCESS")
        return "success"

    async def _logs(self, request: web.Request) -> Any:  # noqa: ANN401 - JSON; the envelope is the middleware's
        body = await request.json()
        since, until = int(body.get("since", 0)), int(body.get("until", 2**40))
        hits = [each for each in self.log if since * 1_000 <= each["_source"]["event"]["published"] <= until * 1_000]
        number, size = int(request.query.get("page_num", 1)), int(request.query.get("page_size", 25))
        page = hits[(number - 1) * size : number * size]
        if page and self.misbehaving.chance(self.misbehaving.knobs.event_twice):
            page = [*page, page[0]]
        if self.misbehaving.chance(self.misbehaving.knobs.event_order):
            page = page[::-1]
        found: Any = page if self.hits_bare else {"hits": page}
        return found, {"page_num": number, "page_size": size, "total": len(hits)}


def signature(secret: str, at_s: int, body: bytes) -> str:
    """Return what the controller writes into a webhook's Signature header."""
    mac = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={mac}"


def self_signed(clock: Clock) -> tuple[ssl.SSLContext, str]:
    """Return a server's TLS with a certificate of its own making, and that certificate's SHA-256 in hexadecimal."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "UniFi")])
    now = datetime.datetime.fromtimestamp(clock.wall_ms() / 1_000, tz=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "both.pem"
        path.touch(mode=0o600)
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context.load_cert_chain(path)
    return context, certificate.fingerprint(hashes.SHA256()).hex()
