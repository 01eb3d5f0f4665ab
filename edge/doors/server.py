"""The doors' unix socket: who may ask, what may be asked, and what comes back.

The peer's user is checked by the kernel's word (SO_PEERCRED), not by the file's mode alone. Malformed requests are
counted and answered by name; they end their connection and touch nothing else.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from prometheus_client import Counter, Histogram

from edge.doors.clock_reset import reset_clock
from edge.doors.closing_desk import ClosingDesk
from edge.doors.closing_methods import ClosingMethods, octets, withdrawn_beside_others
from edge.doors.curtailed_keys import CurtailedKeys
from edge.doors.door_book import DoorBook
from edge.doors.grant_desk import GrantDesk
from edge.doors.intake import Intake
from edge.doors.issuers import Issuers, SoundTime
from edge.doors.put_back import PutBack
from edge.doors.staff_desk import StaffDesk
from edge.doors.store import EVENTS_READ_MOST, DoorStore
from edge.doors.sync import LockSync
from edge.doors.vendor_methods import AckArgs, VendorMethods
from edge.doors.vendors.desk import KeyDesk
from edge.doors.vendors.remote_desk import RemoteDesk
from edge.doors.wire import VERSION, Failure, Reply, Request, failure_of, pack, read_body
from kit.clock import Clock
from kit.health import Health
from kit.logs import logger
from kit.metrics import Metrics
from protocols.device_model.identity import RoomId, parse_name
from protocols.errors import (
    InvalidInputError,
    LocalProtocolError,
    PeerProtocolError,
    PlatformError,
    UnsupportedVersionError,
)
from protocols.grant.grant import Approval, Shift

CONNECTIONS_MOST: Final = 16
"""One more takes the place of the one that has asked nothing for longest; where all are at work it is refused."""
PEER_WAIT_S: Final = 10.0
"""A message once begun is here by then, and an answer taken."""
MILLISECONDS_MOST: Final = 2**53
SEQ_MOST: Final = 2**63 - 1
EVENTS_WAIT_MOST_MS: Final = 30_000


class EventsArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `events`: answered at once if there are any, else after `wait_ms` with none."""

    after: Annotated[int, msgspec.Meta(ge=0, le=SEQ_MOST)]
    most: Annotated[int, msgspec.Meta(ge=1, le=EVENTS_READ_MOST)] = 100
    wait_ms: Annotated[int, msgspec.Meta(ge=0, le=EVENTS_WAIT_MOST_MS)] = 0


class LocksArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `locks`: answered at once if the version is not `seen`, else when it changes, or after `wait_ms`.

    With what changed since `seen`; with every lock where nothing did, or `seen` is no version of this life.
    """

    seen: int = -1
    wait_ms: Annotated[int, msgspec.Meta(ge=0, le=EVENTS_WAIT_MOST_MS)] = 0


class EndStayArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `end_stay`. `emptied`: rooms in which nobody is any more."""

    stay: str
    emptied: Annotated[list[str], msgspec.Meta(max_length=64)] = []


class CurtailArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `curtail`: a stay in house and its end, which may have passed."""

    stay: str
    until_ms: Annotated[int, msgspec.Meta(ge=0, le=MILLISECONDS_MOST)]


class StaffArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `issue_staff`. `shift`: [days, from minute, to minute], UTC, bit 0 of days = Monday."""

    person: str
    rooms: Annotated[list[str], msgspec.Meta(max_length=64)]
    phone_public_key: str
    not_after_ms: Annotated[int, msgspec.Meta(ge=0, le=MILLISECONDS_MOST)]
    zones: int = 0
    shift: (
        tuple[
            Annotated[int, msgspec.Meta(ge=1, le=127)],
            Annotated[int, msgspec.Meta(ge=0, le=1439)],
            Annotated[int, msgspec.Meta(ge=0, le=1439)],
        ]
        | None
    ) = None
    user_verified: bool = True
    passage: bool = False


class DraftArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `draft_emergency`."""

    person: str
    rooms: Annotated[list[str], msgspec.Meta(max_length=64)]
    phone_public_key: str
    reason: str
    over_privacy: bool
    zones: int = 0


class EmergencyArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `issue_emergency`: [key id, signature], both hexadecimal, of each officer."""

    grant: str
    approvals: Annotated[list[tuple[str, str]], msgspec.Meta(min_length=1, max_length=4)]


class DropArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `drop_emergency`: who takes the draft back."""

    grant: str
    by: str


class ResetClockArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Arguments of `reset_clock`: who says so, and why."""

    by: str
    reason: str


class NoArgs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No arguments."""


class DoorsServer:
    """Serves the doors to the processes of this user (and root)."""

    def __init__(
        self,
        path: Path,
        *,
        book: DoorBook,
        desk: GrantDesk,
        staff: StaffDesk,
        closing: ClosingDesk,
        store: DoorStore,
        sync: LockSync,
        issuers: Issuers,
        time: SoundTime,
        clock: Clock,
        health: Health,
        metrics: Metrics,
        intake: Intake,
        keys: KeyDesk | None = None,
        remote: RemoteDesk | None = None,
        put_back: PutBack,
    ) -> None:
        self._keys, self._intake, self._put_back = keys, intake, put_back
        self._path, self._book, self._desk, self._store, self._sync = path, book, desk, store, sync
        self._issuers, self._time, self._clock, self._health, self._metrics = issuers, time, clock, health, metrics
        self._staff, self._closing = staff, closing
        self._curtailed = CurtailedKeys(book=book, store=store, desk=desk, closing=closing, time=time)
        self._vendors = VendorMethods(keys, book=book, desk=desk, sealed=closing.is_sealed, remote=remote)
        self._log = logger("edge.doors.server")
        self._serving: set[asyncio.Task[None]] = set()
        self._ending = False
        self._idle: dict[asyncio.Task[None], asyncio.StreamWriter] = {}  # longest first
        self._requests: Counter = metrics.counter("doors_requests", "requests to the doors", ("method", "outcome"))
        self._seconds: Histogram = metrics.histogram("doors_issue_seconds", "issuing a grant, durable log included")
        self._methods: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "issue": self._issue,
            "end_stay": self._end_stay,
            "curtail": self._curtail,
            "status": self._status,
            "locks": self._locks,
            "events": self._events,
            "ack": self._ack,
            "reset_clock": self._reset_clock,
            "issue_staff": self._issue_staff,
            "draft_emergency": self._draft_emergency,
            "issue_emergency": self._issue_emergency,
            "drop_emergency": self._drop_emergency,
            "bring": self._bring,
            "metrics": self._render,
            **self._vendors.methods(),
            **ClosingMethods(closing, desk, keys=keys, told=sync.changed.set).methods(),
        }

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            InvalidInputError: the socket cannot be made at its path.
        """
        self._ending = False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.unlink(missing_ok=True)
            mask = os.umask(0o177)
            try:
                server = await asyncio.start_unix_server(self._serve, path=str(self._path))
            finally:
                os.umask(mask)
        except OSError as error:
            raise InvalidInputError("socket_path", f"{self._path}: {error.strerror or error}") from error
        self._health.report("socket", ok=True)
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            self._ending = True
            for task in list(self._serving):
                task.cancel()  # a long poll must not hold up the end
            await asyncio.gather(*self._serving, return_exceptions=True)
            await server.wait_closed()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise LocalProtocolError("a connection is served by a task")
        self._serving.add(task)
        try:
            if not _same_user(writer):
                self._requests.labels("connect", "refused").inc()
                return
            if len(self._serving) > CONNECTIONS_MOST and not self._made_room():
                self._requests.labels("connect", "refused").inc()
                await _say(writer, Reply(failure=Failure("LinkLostError", "too many connections, all at work")))
                return
            while (body := await self._next(reader, writer, task)) is not None:
                reply, fit = await self._answer(body)
                await _say(writer, reply)
                if not fit:
                    return
        except asyncio.CancelledError:
            if not self._ending:  # else it has ended as it should: asyncio would log each such task as a crash
                raise
        except TimeoutError:
            self._requests.labels("connect", "slow").inc()
        except (PlatformError, OSError) as error:
            self._requests.labels("connect", "broken").inc()
            self._log.info("doors_connection_broken", error=str(error))
        finally:
            self._serving.discard(task)
            self._idle.pop(task, None)
            writer.close()

    async def _next(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[None]
    ) -> bytes | None:
        """Wait for the next request as long as it takes, but not for the rest of one.

        Raises:
            PeerProtocolError, LinkLostError: as `read_body`. TimeoutError: it was begun and not ended.
        """
        self._idle[task] = writer
        try:
            first = await reader.read(1)
        finally:
            self._idle.pop(task, None)
        if not first:
            return None
        async with asyncio.timeout(PEER_WAIT_S):
            return await read_body(reader, first)

    def _made_room(self) -> bool:
        if not self._idle:
            return False
        task = next(iter(self._idle))
        self._idle.pop(task).transport.abort()  # it reads its end, and goes
        self._serving.discard(task)
        self._requests.labels("connect", "displaced").inc()
        return True

    async def _answer(self, body: bytes) -> tuple[Reply, bool]:
        """Return the reply, and whether the connection is fit to go on."""
        try:
            request = msgspec.json.decode(body, type=Request)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._requests.labels("none", "malformed").inc()
            return Reply(failure=Failure("InvalidInputError", str(error), "request")), False
        if request.v != VERSION:
            self._requests.labels("none", "unsupported_version").inc()
            refusal = UnsupportedVersionError("doors request", request.v, (VERSION,))
            return Reply(failure=failure_of(refusal)), False
        method = self._methods.get(request.method)
        if method is None:
            self._requests.labels("none", "malformed").inc()
            return Reply(failure=Failure("InvalidInputError", f"{request.method[:40]!r} is unknown", "method")), False
        try:
            result = await method(request.args)
        except msgspec.ValidationError as error:
            self._requests.labels(request.method, "malformed").inc()
            return Reply(failure=Failure("InvalidInputError", str(error), request.method)), True
        except PlatformError as error:
            self._requests.labels(request.method, type(error).__name__).inc()
            return Reply(failure=failure_of(error)), True
        self._requests.labels(request.method, "done").inc()
        return Reply(result=result), True

    async def _issue(self, args: dict[str, Any]) -> object:
        began_ms = self._clock.now_ms()
        issued = partial(self._issued, began_ms)
        return await self._vendors.issue(args, issued=issued)

    def _issued(self, began_ms: int) -> None:
        self._seconds.observe((self._clock.now_ms() - began_ms) / 1_000)

    async def _end_stay(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, EndStayArgs)
        stay = parse_name(asked.stay, "stay")
        emptied = [RoomId(parse_name(room, "emptied")) for room in asked.emptied]
        spare = withdrawn_beside_others(stay, self._desk, self._closing)
        ended = self._desk.end_stay(stay, spare=spare, emptied=emptied)
        self._closing.departed()
        told = await self._vendors.end_stay(stay, emptied=emptied)
        return {"generation": ended.generation, "doors": list(ended.doors), **told}

    async def _curtail(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, CurtailArgs)
        stay = parse_name(asked.stay, "stay")
        done = self._curtailed.end(stay, asked.until_ms)
        systems = [] if done.due_in_ms else self._vendors.curtail(stay, asked.until_ms)
        grants = [each.hex() for each in done.grants]
        if grants or systems:
            self._log.info("keys_ended_with_their_stay", stay=stay, grants=grants, doors=done.doors, systems=systems)
        if done.unplaced:
            self._log.warning("sharers_keys_unlisted", stay=stay, keys=done.unplaced)
        return {"due_in_ms": done.due_in_ms, "grants": grants, "doors": list(done.doors), "unplaced": done.unplaced}

    async def _events(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, EventsArgs)
        if asked.after > self._store.last_position:  # of another life, or of a copy: `ack` says which
            raise InvalidInputError("after", f"{asked.after} is beyond this store: ask for its epoch, and begin there")
        telling = asked.most > 1  # who asks for one asks for the epoch (edge/doors/client.py), and takes nothing
        events = self._store.events(asked.after, asked.most, telling=telling)
        if not events and asked.wait_ms:
            changed = self._sync.changed
            changed.clear()
            try:
                async with asyncio.timeout(asked.wait_ms / 1_000):
                    await changed.wait()
            except TimeoutError:
                pass
            events = self._store.events(asked.after, asked.most, telling=telling)
        return {
            "epoch": self._store.epoch.hex(),
            "events": [{"seq": each.seq, "body": each.body, "device_at_ms": each.device_at_ms} for each in events],
        }

    async def _locks(self, args: dict[str, Any]) -> object:
        asked, states = msgspec.convert(args, LocksArgs), self._sync.states
        if asked.seen == states.version and asked.wait_ms:
            states.changed.clear()
            try:
                async with asyncio.timeout(asked.wait_ms / 1_000):
                    await states.changed.wait()
            except TimeoutError:
                pass
        since = asked.seen if states.began <= asked.seen < states.version else -1
        return {"version": states.version, "locks": states.snapshot(since)}

    async def _ack(self, args: dict[str, Any]) -> None:
        asked = msgspec.convert(args, AckArgs)
        if asked.epoch != self._store.epoch.hex():
            raise InvalidInputError("epoch", f"{asked.epoch[:40]!r} is not the life of this store")
        self._put_back.check(asked.up_to)
        self._store.forget_events(asked.up_to)

    async def _issue_staff(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, StaffArgs)
        bundle = self._staff.issue(
            parse_name(asked.person, "person"),
            [RoomId(parse_name(room, "rooms")) for room in asked.rooms],
            octets(asked.phone_public_key, "phone_public_key"),
            not_after_ms=asked.not_after_ms,
            zones=asked.zones,
            shift=None if asked.shift is None else Shift(*asked.shift),
            user_verified=asked.user_verified,
            passage=asked.passage,
        )
        return bundle.to_document()

    async def _draft_emergency(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, DraftArgs)
        draft = self._staff.draft_emergency(
            parse_name(asked.person, "person"),
            [RoomId(parse_name(room, "rooms")) for room in asked.rooms],
            octets(asked.phone_public_key, "phone_public_key"),
            reason=asked.reason,
            over_privacy=asked.over_privacy,
            zones=asked.zones,
        )
        return {
            "grant": draft.grant_id.hex(),
            "statement": draft.statement.hex(),
            "until_ms": draft.until_s * 1_000,
            "officers": [kid.hex() for kid in draft.officers],
            "doors": list(draft.doors),
        }

    async def _issue_emergency(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, EmergencyArgs)
        bundle = self._staff.issue_emergency(
            octets(asked.grant, "grant"),
            [Approval(octets(kid, "approvals"), octets(signed, "approvals")) for kid, signed in asked.approvals],
        )
        self._log.warning("emergency_key_issued", grant=asked.grant, doors=[each.door for each in bundle.doors])
        self._sync.changed.set()
        return bundle.to_document()

    async def _drop_emergency(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, DropArgs)
        dropped = self._staff.drop_draft(octets(asked.grant, "grant"))
        self._log.warning("emergency_draft_dropped", grant=asked.grant, by=asked.by, found=dropped)
        return {"dropped": dropped, "issued": self._store.grant(octets(asked.grant, "grant")) is not None}

    async def _bring(self, args: dict[str, Any]) -> object:
        return self._intake.answer(args)

    async def _reset_clock(self, args: dict[str, Any]) -> object:
        asked = msgspec.convert(args, ResetClockArgs)
        done = reset_clock(store=self._store, book=self._book, clock=self._clock, by=asked.by, reason=asked.reason)
        self._closing.reload()
        self._desk.clock_was_reset()
        self._log.error("doors_clock_reset", by=asked.by, reason=asked.reason, **asdict(done))
        self._sync.changed.set()
        return asdict(done)

    async def _status(self, args: dict[str, Any]) -> object:
        msgspec.convert(args, NoArgs)
        ready, parts = self._health.ready()
        locks = {each.lock_id: each for each in self._store.locks()}
        pending = {each.lock_id for each in self._store.pending_bumps()}
        return {
            "ready": ready,
            "health": parts,
            "epoch": self._store.epoch.hex(),
            "clock": self._clock.quality.value,
            "signs": self._time.is_sound(),
            "put_back": self._put_back.noticed,
            "issuers": [
                {
                    "class": each.certificate.issuer_class.name.lower(),
                    "kid": each.certificate.kid.hex(),
                    "signs_until_s": each.certificate.signs_until_s,
                }
                for each in self._issuers.held()
            ],
            **self._store.counts(),
            **({} if self._keys is None else {"lock_systems": self._keys.status()}),
            "doors": [
                {
                    "door": door.door,
                    "room": door.room,
                    "bump_pending": door.lock_id in pending,
                    **(
                        {"contact_at_ms": None}
                        if (known := locks.get(door.lock_id)) is None
                        else {
                            "contact_at_ms": known.contact_at_ms,
                            "battery": known.battery_percent,
                            "time_quality": known.time_quality,
                            "generation": known.generation,
                            "lock_seq": known.seq,
                            "noise": known.noise,
                            "broken": known.broken,
                        }
                    ),
                }
                for door in self._book.doors
            ],
        }

    async def _render(self, args: dict[str, Any]) -> object:
        msgspec.convert(args, NoArgs)
        return self._metrics.render().decode()


async def _say(writer: asyncio.StreamWriter, reply: Reply) -> None:
    """Send the reply. Raises TimeoutError where nobody takes it."""
    writer.write(pack(reply))
    async with asyncio.timeout(PEER_WAIT_S):
        await writer.drain()


def _same_user(writer: asyncio.StreamWriter) -> bool:
    """Whether the kernel says that the peer is root or this process's own user."""
    link = writer.get_extra_info("socket")
    if link is None:
        raise PeerProtocolError("doors socket without a peer")
    credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in {0, os.getuid()}
