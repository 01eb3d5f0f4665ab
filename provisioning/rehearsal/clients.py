"""The public APIs as a rehearsal uses them: the edge's local API and the cloud's, over HTTP with a token.

Thin on purpose: whatever is asserted here is what any integrator could see. A program that is down for a moment is
asked again; what may have happened is asked for twice only where it carries an idempotency key.
"""

import contextlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

import httpx

from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from provisioning.rehearsal.patience import NotNowError, PerhapsDoneError, ask_again

ANSWER_WAIT_S: Final = 15.0
RECORDS_A_PAGE: Final = 1_000


class JsonApi:
    """One HTTP API that speaks JSON and problem+json."""

    def __init__(self, name: str, address: str, *, token: str | None = None) -> None:
        self._name = name
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.AsyncClient(base_url=address, headers=headers, timeout=ANSWER_WAIT_S, trust_env=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def get(self, path: str, **query: str | int) -> Any:  # noqa: ANN401 - JSON
        """GET a resource; ask again for some seconds while it is down.

        Raises:
            LinkLostError, ReplyTimeoutError: it did not answer.
            NotNowError: it answered with a problem that asking later may help; quotes it.
            PeerProtocolError: it answered with any other problem; quotes it.
        """
        return await ask_again(lambda: self._ask("GET", path, params=query), harmless_twice=True)

    async def post(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """POST a body; one that may have happened is repeated only with an `idempotency_key`. Raises as `get` does."""
        keyed = isinstance(body, dict) and "idempotency_key" in body
        return await ask_again(lambda: self._ask("POST", path, json=body), harmless_twice=keyed)

    async def put(self, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
        """PUT a body, again while it is down: it says how a thing shall be. Raises as `get` does."""
        return await ask_again(lambda: self._ask("PUT", path, json=body), harmless_twice=True)

    async def answers(self, path: str) -> bool:
        """Return whether `path` answers with success right now."""
        try:
            return (await self._http.get(path)).is_success
        except httpx.HTTPError:
            return False

    async def _ask(self, method: str, path: str, **arguments: Any) -> Any:  # noqa: ANN401 - httpx's own
        try:
            response = await self._http.request(method, path, **arguments)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise LinkLostError(f"{self._name}: {method} {path}: {error}") from error
        except httpx.HTTPError as error:
            raise ReplyTimeoutError(f"{self._name}: {method} {path}: {error!r}") from error
        if not response.is_success:
            raise _refusal(response)(f"{self._name}: {method} {path} answered {response.status_code}: {response.text}")
        return response.json()


class EdgeApi(JsonApi):
    """The local API of the edge."""

    async def ready(self) -> bool:
        """Return whether the edge says that it is ready."""
        return await self.answers("/ready")

    async def stays(self) -> dict[str, Any]:
        """Return the replica as the edge holds it."""
        return dict(await self.get("/api/v1/stays"))

    async def link(self) -> dict[str, Any]:
        """Return how the way to the cloud stands."""
        return dict(await self.get("/api/v1/link"))

    async def heads(self) -> dict[str, int]:
        """Return the last sequence number of every lane: "A", "B", "C"."""
        return {str(lane): int(seq) for lane, seq in (await self.link())["heads"].items()}

    async def reported(self, room: str) -> dict[tuple[str, str], Any]:
        """Return what a room's devices last reported: (capability, attribute) to value."""
        told = await self.get(f"/api/v1/rooms/{room}")
        return {(each["capability"], each["attribute"]): each["value"] for each in told["reported"]}

    async def check_in(self, stay: str, phone_public_key: str) -> dict[str, Any]:
        """Check a stay in at the desk of the building; the answer holds the bundle."""
        return dict(
            await self.post(
                f"/api/v1/stays/{stay}/check-in", {"phone_public_key": phone_public_key, "by": "front desk"}
            )
        )

    async def command(self, room: str, capability: str, attribute: str, value: object, *, key: str) -> dict[str, Any]:
        """Ask a room for a value; the answer says what was read back."""
        body = {"capability": capability, "attribute": attribute, "value": value, "idempotency_key": key}
        return dict(await self.post(f"/api/v1/rooms/{room}/commands", body))


class CloudApi(JsonApi):
    """The cloud's API for one property."""

    def __init__(self, address: str, *, token: str, property_id: str) -> None:
        super().__init__("cloud", address, token=token)
        self._address = address
        self._property, self._at = property_id, f"/api/v1/properties/{property_id}"

    def as_guest(self, token: str) -> "CloudApi":
        """Return the API as a guest's page with the token of a link uses it; the caller closes it."""
        return CloudApi(self._address, token=token, property_id=self._property)

    async def ask_guests(self, steps: Sequence[str], *, deposit: dict[str, Any] | None = None) -> None:
        """Release a check-in policy of these steps to the property, by Austria's rules; `deposit` {currency, minor}."""
        policy = {"v": 1, "jurisdiction": "AUT", "steps": list(steps), "terms": "2026-1", "keep_days": 30}
        policy |= {} if deposit is None else {"deposit": deposit}
        await self.post("/api/v1/policies/releases", {"policy": policy, "rings": [[self._property]]})

    async def stays(self) -> list[dict[str, Any]]:
        """Return all current stays."""
        return list((await self.get(f"{self._at}/stays"))["stays"])

    async def stay(self, stay: str) -> dict[str, Any]:
        """Return one stay."""
        return the_one(await self.stays(), "id", stay, "a current stay of the cloud")

    async def check_in(self, stay: str, phone_public_key: str, *, key: str = "check-in") -> dict[str, Any]:
        """Check in remotely, as a guest's phone does; with another `key` the phone asks anew."""
        body = {"phone_public_key": phone_public_key, "idempotency_key": f"{key}:{stay}:{phone_public_key[-16:]}"}
        return dict(await self.post(f"{self._at}/stays/{stay}/check-in", body))

    async def share(self, stay: str, other: str) -> None:
        """Say that a stay has its room together with another."""
        await self.put(f"{self._at}/stays/{stay}/share", {"with": other})

    async def check_out(self, stay: str) -> None:
        """Ask the building to end a stay."""
        await self.post(f"{self._at}/stays/{stay}/check-out", {})

    async def guest_link(self, stay: str) -> str:
        """Return the token of a new link for a guest of a stay."""
        return str((await self.post(f"{self._at}/stays/{stay}/guest-links", {}))["token"])

    async def session(self, stay: str) -> dict[str, Any]:
        """Return how far a check-in is, having begun it if need be."""
        return dict(await self.post(f"{self._at}/stays/{stay}/session", {"channel": "web"}))

    async def pay(self, stay: str, method: str, *, key: str) -> dict[str, Any]:
        """Have the deposit of a check-in held by a token; the answer is the payment."""
        body = {"payment_method": method, "idempotency_key": key}
        return dict(await self.post(f"{self._at}/stays/{stay}/session/payment", body))

    async def push_events(self, url: str, kinds: Sequence[str]) -> str:
        """Have events of some kinds pushed to an address; return the secret that they are signed with."""
        return str((await self.post("/api/v1/webhooks", {"url": url, "kinds": list(kinds)}))["secret"])

    async def payments(self, stay: str) -> list[dict[str, Any]]:
        """Return the payments of a stay."""
        return list((await self.get(f"{self._at}/stays/{stay}/payments"))["payments"])

    async def capture(self, stay: str, payment: str, minor: int) -> dict[str, Any]:
        """Take part of what is held; the rest is released."""
        body = {"minor": minor, "idempotency_key": "departure"}
        return dict(await self.post(f"{self._at}/stays/{stay}/payments/{payment}/capture", body))

    async def release(self, stay: str, payment: str) -> dict[str, Any]:
        """Let go what is held."""
        body = {"idempotency_key": "departure"}
        return dict(await self.post(f"{self._at}/stays/{stay}/payments/{payment}/release", body))

    async def room(self, room: str) -> dict[str, Any]:
        """Return one room as last known."""
        rooms = (await self.get(f"{self._at}/rooms"))["rooms"]
        return the_one(rooms, "id", room, "a room of the cloud")

    async def all_access_events(self) -> list[dict[str, Any]]:
        """Return the whole door log, newest first."""
        events: list[dict[str, Any]] = []
        query: dict[str, str | int] = {"limit": 200}
        while True:
            page = await self.get(f"{self._at}/access-events", **query)
            events += page["events"]
            if page["next"] is None:
                return events
            query["before"] = page["next"]

    async def access_events(self) -> list[dict[str, Any]]:
        """Return the door log, newest first."""
        return list((await self.get(f"{self._at}/access-events", limit=200))["events"])

    async def heads(self) -> dict[str, int]:
        """Return the high-water mark of every lane of the incarnation heard last."""
        link = (await self.get(self._at))["link"]
        return {lane["lane"]: int(lane["hi"]) for lane in link["lanes"]}

    async def completeness(self) -> list[dict[str, Any]]:
        """Return the proof from sequence numbers, an entry for each incarnation and lane."""
        return list((await self.get(f"{self._at}/completeness"))["streams"])

    async def records(self, lane: str) -> list[dict[str, Any]]:
        """Return a whole lane of the ledger."""
        rows: list[dict[str, Any]] = []
        while True:
            after = rows[-1]["seq"] if rows else 0
            page = (await self.get(f"{self._at}/records", lane=lane, after_seq=after, limit=RECORDS_A_PAGE))["records"]
            rows += page
            if len(page) < RECORDS_A_PAGE:
                return rows


def the_one(found: Iterable[dict[str, Any]], key: str, value: str, what: str) -> dict[str, Any]:
    """Return the entry whose `key` is `value`; PeerProtocolError if there is none."""
    for each in found:
        if each[key] == value:
            return each
    raise PeerProtocolError(f"{value} is not {what}")


def _refusal(response: httpx.Response) -> type[PeerProtocolError]:
    with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError):
        problem = response.json()
        if isinstance(problem, dict) and problem.get("retryable") is True:
            return PerhapsDoneError if problem.get("may_have_taken_effect") is True else NotNowError
    return PeerProtocolError
