"""How the rest of the node talks to the doors process. One request at a time per client; reconnects by itself.

`issue` and `end_stay` may be repeated safely: the doors answer the same again.
"""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from edge.doors.store import AccessEvent
from edge.doors.wire import Reply, Request, pack, raised, read_body
from protocols.device_model.identity import RoomId, StayId
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError

REPLY_WAIT_S: Final = 10.0
EVENTS_WAIT_MS: Final = 20_000
LOCKS_WAIT_MS: Final = 5_000
OPENINGS_MOST: Final = 4
"""From afar, at once; each has a connection of its own, so that no guest waits behind another's silent lock."""
KEYS_WAIT_S: Final = 25.0
"""Longer than any deadline of a foreign lock system."""


class _Line:
    """One connection, one request at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = asyncio.Lock()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, args: Mapping[str, Any], *, wait_s: float = REPLY_WAIT_S) -> Any:  # noqa: ANN401 - JSON
        message = pack(Request(method, dict(args)))
        async with self._turn:
            reader, writer = await self._connected()
            whole = False
            try:
                async with asyncio.timeout(wait_s):
                    writer.write(message)
                    await writer.drain()
                    body = await read_body(reader)
                whole = body is not None
            except (TimeoutError, OSError, LinkLostError) as error:
                raise ReplyTimeoutError(f"doors: {method} was asked and not answered") from error
            finally:
                if not whole:
                    await self._drop()  # also when cancelled: a late answer must not be taken for the next one's
        if body is None:
            raise ReplyTimeoutError(f"doors: {method} was asked and not answered")
        try:
            reply = msgspec.json.decode(body, type=Reply)
        except msgspec.MsgspecError as error:
            raise PeerProtocolError(f"doors: {error}") from error
        if reply.failure is not None:
            raise raised(reply.failure)
        return reply.result

    async def close(self) -> None:
        async with self._turn:
            await self._drop()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            await self._drop()
        if self._streams is None:
            try:
                self._streams = await asyncio.open_unix_connection(str(self._path))
            except OSError as error:
                raise LinkLostError(f"doors process not reached at {self._path}: {error.strerror or error}") from error
        return self._streams

    async def _drop(self) -> None:
        if self._streams is None:
            return
        (_, writer), self._streams = self._streams, None
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            return  # gone either way


class DoorsClient:
    """The doors process, seen from the node. Fits edge.checkin.ports.Doors."""

    def __init__(self, path: Path) -> None:
        self._path, self._openings = path, asyncio.Semaphore(OPENINGS_MOST)
        self._line, self._events_line, self._locks_line = _Line(path), _Line(path), _Line(path)
        self._keys_line, self._key_events_line = _Line(path), _Line(path)  # no grant of ours waits behind a vendor

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop the connections; harmless to call twice."""
        await self._line.close()
        await self._events_line.close()
        await self._locks_line.close()
        await self._keys_line.close()
        await self._key_events_line.close()

    async def issue(
        self,
        stay: StayId,
        room: RoomId,
        phone_public_key: bytes,
        *,
        not_before_ms: int,
        not_after_ms: int,
        join: bool = False,
        more_rooms: Sequence[RoomId] = (),
        zones: int | None = None,
        replaces: bool = True,
        beside: Sequence[StayId] = (),
    ) -> dict[str, Any]:
        """Return the bundle for a phone of a stay (protocols/door/SPEC.md 9.3, JSON object).

        With a room behind a foreign lock it tells of the vendors' keys; without any door of ours it holds no grant.

        Args:
            stay: Names the stay.
            room: Its room; `more_rooms` are further ones of the same stay.
            phone_public_key: 33 bytes, compressed P-256.
            not_before_ms: Unix ms.
            not_after_ms: Unix ms, the stay's end.
            join: One more phone beside the stay's others.
            more_rooms: Further rooms.
            zones: Mask of common doors, None for all.
            replaces: Without `join`: the stay's other phones lose their rights once this one is used.
            beside: The other stays that have these rooms, with whom this one shares them: nobody's rights end.

        Raises:
            LinkLostError: not reached, nothing happened. ReplyTimeoutError: may have happened, ask again.
            InvalidInputError, ClockUnsoundError, StayEndedError, StoreFailedError: refused, nothing happened.
        """
        bundle: dict[str, Any] = await self._line.ask(
            "issue",
            {
                "stay": stay,
                "rooms": [room, *more_rooms],
                "phone_public_key": phone_public_key.hex(),
                "not_before_ms": not_before_ms,
                "not_after_ms": not_after_ms,
                "zones": zones,
                "join": join,
                "replaces": replaces,
                **({"beside": beside[0] if len(beside) == 1 else list(beside)} if beside else {}),
            },
        )
        return bundle

    async def issue_keys(
        self,
        stay: StayId,
        rooms: Sequence[RoomId],
        *,
        not_before_ms: int,
        not_after_ms: int,
        holder: str | None = None,
        join: bool = False,
        medium: str | None = None,
        encoder: str | None = None,
    ) -> list[dict[str, Any]]:
        """Return how the stay's keys in foreign lock systems stand (edge/doors/vendors/desk.py, `document`).

        Answered within the systems' deadlines, good or bad; `code` opens doors and is secret. `holder` None: the
        stay's own key. Raises as `issue`.
        """
        args = {
            "stay": stay,
            "rooms": list(rooms),
            "not_before_ms": not_before_ms,
            "not_after_ms": not_after_ms,
            "holder": holder,
            "join": join,
            "medium": medium,
            "encoder": encoder,
        }
        answer = await self._keys_line.ask("issue_keys", args, wait_s=KEYS_WAIT_S)
        return list(answer["keys"])

    async def serves(self, room: RoomId) -> bool:
        """Return whether a room has a door that keys are made for here, ours or of a foreign lock system."""
        answer = await self._line.ask("serves", {"room": room})
        return bool(answer["own"] or answer["foreign"])

    async def key_cards(self, stay: StayId, *, encoder: str | None = None) -> list[dict[str, Any]]:
        """Write the first card of a stay that waits for one on the encoder; return how all its cards stand."""
        args = {"stay": stay, "encoder": encoder}
        return list((await self._keys_line.ask("key_cards", args, wait_s=KEYS_WAIT_S))["keys"])

    async def keys(self, stay: StayId) -> list[dict[str, Any]]:
        """Return how the stay's keys in foreign lock systems stand now."""
        return list((await self._line.ask("keys", {"stay": stay}))["keys"])

    async def open_door(self, room: RoomId, *, actor: str) -> list[dict[str, Any]]:
        """Open a room's foreign doors from afar, once. ReplyTimeoutError: they may have opened; do not ask again."""
        answer = await self._keys_line.ask("open_door", {"room": room, "actor": actor}, wait_s=KEYS_WAIT_S)
        return list(answer["opened"])

    async def open_remotely(self, request: bytes) -> dict[str, Any]:
        """Hand over a phone's request to open a door from afar (protocols/door/SPEC.md 13); judged there alone.

        Returns `outcome` and `reason` (13.3). ReplyTimeoutError: the door may have opened. StoreFailedError: see there.
        """
        async with self._openings:
            line = _Line(self._path)
            try:
                answer: dict[str, Any] = await line.ask("open_remotely", {"request": request.hex()}, wait_s=KEYS_WAIT_S)
            finally:
                await line.close()
        return answer

    def vendor_events(self) -> "VendorEvents":
        """Return what foreign lock systems tell, as a source of its own beside `events`."""
        return VendorEvents(self._key_events_line)

    async def end_stay(self, stay: StayId, *, emptied: Sequence[RoomId] = ()) -> None:
        """End every right of the stay: durable when this returns, at the locks as `status` tells. Raises as `issue`.

        `emptied`: rooms in which nobody is any more, so that keys end there of which a store put back from a copy has
        forgotten.
        """
        await self._line.ask("end_stay", {"stay": stay, **({"emptied": list(emptied)} if emptied else {})})

    async def curtail(self, stay: StayId, until_ms: int) -> int:
        """End the keys of a stay that last beyond its end; return how many ms it is until that, 0: it is over.

        Raises:
            LinkLostError, ReplyTimeoutError: ask again. ClockUnsoundError, StoreFailedError: nothing happened.
        """
        told = await self._line.ask("curtail", {"stay": stay, "until_ms": until_ms})
        return int(told["due_in_ms"])

    async def status(self) -> dict[str, Any]:
        """Return how the doors are: readiness, clock, issuers, waiting events and bumps, last contact per door."""
        status: dict[str, Any] = await self._line.ask("status", {})
        return status

    async def issue_staff(
        self,
        person: str,
        rooms: Sequence[RoomId],
        phone_public_key: bytes,
        *,
        not_after_ms: int,
        zones: int = 0,
        shift: tuple[int, int, int] | None = None,
        user_verified: bool = True,
        passage: bool = False,
    ) -> dict[str, Any]:
        """Return the bundle of a shift key (edge/doors/staff_desk.py); raises as `issue`.

        Args:
            person: A name `[a-z0-9-]`, kept at the doors alone.
            rooms: The section.
            phone_public_key: 33 bytes.
            not_after_ms: Unix ms; a day from now at most.
            zones: Mask of common doors.
            shift: Days (bit 0 = Monday), from minute, to minute; UTC.
            user_verified: Whether the phone asks for face, finger or code at each door.
            passage: Whether it may hold its common doors open; then it names no rooms.
        """
        bundle: dict[str, Any] = await self._line.ask(
            "issue_staff",
            {
                "person": person,
                "rooms": list(rooms),
                "phone_public_key": phone_public_key.hex(),
                "not_after_ms": not_after_ms,
                "zones": zones,
                "shift": shift,
                "user_verified": user_verified,
                "passage": passage,
            },
        )
        return bundle

    async def draft_emergency(
        self, person: str, rooms: Sequence[RoomId], phone_public_key: bytes, *, reason: str, over_privacy: bool
    ) -> dict[str, Any]:
        """Return what two officers are to sign: `grant`, `statement` (hex), `until_ms`, `officers`, `doors`."""
        draft: dict[str, Any] = await self._line.ask(
            "draft_emergency",
            {
                "person": person,
                "rooms": list(rooms),
                "phone_public_key": phone_public_key.hex(),
                "reason": reason,
                "over_privacy": over_privacy,
            },
        )
        return draft

    async def issue_emergency(self, grant: str, approvals: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
        """Return the bundle of a draft that two officers approved: (key id, signature) of each. Raises as `issue`."""
        bundle: dict[str, Any] = await self._line.ask(
            "issue_emergency",
            {"grant": grant, "approvals": [(kid.hex(), signature.hex()) for kid, signature in approvals]},
        )
        return bundle

    async def drop_emergency(self, grant: str, *, by: str) -> dict[str, bool]:
        """Take a draft back: no approval makes a key of it. `dropped`: there was one; `issued`: it is a key by now."""
        told = await self._line.ask("drop_emergency", {"grant": grant, "by": by})
        return {"dropped": bool(told["dropped"]), "issued": bool(told["issued"])}

    async def bring(
        self, chunks: Sequence[tuple[str, bytes]], locks: Sequence[str]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Hand over what a phone brings (edge/doors/intake.py); return what became of it, and how the locks stand.

        Args:
            chunks: (lock id in hexadecimal, sealed chunk), 8 at most.
            locks: Lock ids in hexadecimal, 16 at most; those of this building are answered for.

        Raises:
            LinkLostError, ReplyTimeoutError, StoreFailedError: bring it again, in full. InvalidInputError: too much.
        """
        answer = await self._line.ask(
            "bring",
            {
                "chunks": [{"lock": lock, "sealed": b64encode(sealed).decode()} for lock, sealed in chunks],
                "locks": list(locks),
            },
        )
        return list(answer["taken"]), list(answer["locks"])

    async def withdraw_key(
        self,
        *,
        by: str,
        reason: str,
        grant: str | None = None,
        stay: StayId | None = None,
        person: str | None = None,
        phone_public_key: bytes | None = None,
    ) -> dict[str, Any]:
        """Withdraw a phone's keys: by one of its grants (hex), or all of a stay or person, or that one phone of theirs.

        Returns `grants` withdrawn and, as `revocations` does, which doors have confirmed it: none has yet. Raises as
        `issue`.
        """
        args: dict[str, Any] = {"by": by, "reason": reason, "grant": grant, "stay": stay, "person": person}
        args["phone_public_key"] = None if phone_public_key is None else phone_public_key.hex()
        answer: dict[str, Any] = await self._line.ask("withdraw_key", args)
        return answer

    async def withdraw_issuer(
        self, *, by: str, reason: str, kid: str | None = None, issuer_class: str | None = None
    ) -> dict[str, Any]:
        """Withdraw an issuer, by its key id or as that which signs for a class now: all that it signed is void."""
        args = {"by": by, "reason": reason, "kid": kid, "issuer_class": issuer_class}
        answer: dict[str, Any] = await self._line.ask("withdraw_issuer", args)
        return answer

    async def lock_out(self, room: RoomId, *, sealed: bool, by: str, reason: str) -> list[str]:
        """Seal a room for all but emergency keys, or lift that; return its doors. Done when `revocations` says so."""
        args = {"room": room, "sealed": sealed, "by": by, "reason": reason}
        return list((await self._line.ask("lock_out", args))["doors"])

    async def inhibit(self, room: RoomId, *, by: str, reason: str) -> list[str]:
        """End every key ever handed out for a room; return its doors. Who is in house asks again."""
        return list((await self._line.ask("inhibit", {"room": room, "by": by, "reason": reason}))["doors"])

    async def issue_failsafe(
        self, room: RoomId, phone_public_key: bytes, *, not_after_ms: int, life_hours: int = 24
    ) -> dict[str, Any]:
        """Return the bundle of a key for an outage: `life_hours` from its first opening, for a room nobody is in."""
        args = {
            "room": room,
            "phone_public_key": phone_public_key.hex(),
            "not_after_ms": not_after_ms,
            "life_hours": life_hours,
        }
        bundle: dict[str, Any] = await self._line.ask("issue_failsafe", args)
        return bundle

    async def revocations(self) -> dict[str, Any]:
        """Return what is withdrawn and sealed, and per door whether it has confirmed that (closing_desk.py)."""
        status: dict[str, Any] = await self._line.ask("revocations", {})
        return status

    async def phones(self, stay: StayId) -> list[dict[str, Any]]:
        """Return the phones that hold keys of a stay: what its main guest may see."""
        return list((await self._line.ask("phones", {"stay": stay}))["phones"])

    async def stay_keys(self, stay: StayId) -> dict[str, Any]:
        """Return who has keys of a stay: `keys` of phones (edge/doors/stay_keys.py), `others` of foreign systems."""
        answer: dict[str, Any] = await self._line.ask("stay_keys", {"stay": stay})
        return answer

    async def news(self) -> list[dict[str, Any]]:
        """Return what any phone may carry to the locks: `lock` (None: every lock), `signed`, `certificate`, hex."""
        return list((await self._line.ask("news", {}))["carry"])

    async def reset_clock(self, by: str, reason: str) -> dict[str, Any]:
        """Undo what a clock years ahead has signed (edge/doors/clock_reset.py); return what that was.

        Raises:
            InvalidInputError: nothing to undo. ClockUnsoundError: the clock is not mended. Else as `issue`.
        """
        done: dict[str, Any] = await self._line.ask("reset_clock", {"by": by, "reason": reason})
        return done

    async def metrics(self) -> str:
        """Return the doors' metrics in Prometheus' text form."""
        text: str = await self._line.ask("metrics", {})
        return text

    async def epoch(self) -> bytes:
        """Return the life of the doors' store."""
        answer = await self._events_line.ask("events", {"after": 0, "most": 1})
        return bytes.fromhex(answer["epoch"])

    async def events(self, after: int) -> AsyncIterator[AccessEvent]:
        """Yield the access events after `after`, waiting for more without end.

        Raises:
            LinkLostError, ReplyTimeoutError: begin again after the last one kept.
        """
        while True:
            answer = await self._events_line.ask(
                "events",
                {"after": after, "wait_ms": EVENTS_WAIT_MS},
                wait_s=EVENTS_WAIT_MS / 1_000 + REPLY_WAIT_S,
            )
            epoch = bytes.fromhex(answer["epoch"])
            for each in answer["events"]:
                after = each["seq"]
                yield AccessEvent(epoch, after, each["body"], each["device_at_ms"])

    async def locks(self, seen: int, *, wait_ms: int = LOCKS_WAIT_MS) -> tuple[int, list[dict[str, Any]]]:
        """Return a version and what the locks say that changed since `seen` (edge/doors/lock_states.py), once any did.

        After `wait_ms` at the latest, and then of each lock: ages tell even where nothing changed. At once of each lock
        for -1. Raises LinkLostError, ReplyTimeoutError.
        """
        answer = await self._locks_line.ask(
            "locks", {"seen": seen, "wait_ms": wait_ms}, wait_s=wait_ms / 1_000 + REPLY_WAIT_S
        )
        return int(answer["version"]), list(answer["locks"])

    async def ack(self, epoch: bytes, up_to: int) -> None:
        """Say that the events up to here are durable elsewhere: the doors forget them."""
        await self._line.ask("ack", {"epoch": epoch.hex(), "up_to": up_to})


class VendorEvents:
    """Events of foreign lock systems: numbered and acknowledged like the doors' own, in a life of their own."""

    def __init__(self, line: _Line) -> None:
        self._line = line

    async def epoch(self) -> bytes:
        """Return the life of the file that they are kept in. InvalidInputError: there is no foreign lock system."""
        answer = await self._line.ask("key_events", {"after": 0, "most": 1})
        return bytes.fromhex(answer["epoch"])

    async def events(self, after: int) -> AsyncIterator[AccessEvent]:
        """Yield the events after `after`, waiting for more without end.

        Raises:
            LinkLostError, ReplyTimeoutError: begin again after the last one kept.
        """
        while True:
            answer = await self._line.ask(
                "key_events",
                {"after": after, "wait_ms": EVENTS_WAIT_MS},
                wait_s=EVENTS_WAIT_MS / 1_000 + REPLY_WAIT_S,
            )
            epoch = bytes.fromhex(answer["epoch"])
            for each in answer["events"]:
                after = each["seq"]
                yield AccessEvent(epoch, after, each["body"], each["device_at_ms"])

    async def ack(self, epoch: bytes, up_to: int) -> None:
        """Say that the events up to here are durable elsewhere."""
        await self._line.ask("ack_key_events", {"epoch": epoch.hex(), "up_to": up_to})
