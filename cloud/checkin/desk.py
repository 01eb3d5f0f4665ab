"""The remote desk: checks a stay in and out by asking the edge, which alone can make keys.

The bundle of keys passes through this process once and is kept nowhere: asked again with the same key, the
edge answers from its own memory. Whether the guest is in house is told by the edge's record, never assumed
from the answer.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from cloud.fleet.commands import Command, Commands, KeyReusedError
from cloud.kit.database import Database, execute, fetch_one
from cloud.kit.times import at, unix_ms
from cloud.platform.properties import Property
from cloud.stays.life import StayState
from cloud.stays.listing import Stay, stay_by_id
from protocols.device_model.command import Phase
from protocols.errors import PlatformError

OPENS_BEFORE_ARRIVAL_MS: Final = 24 * 3_600_000
"""Keys are not asked for earlier than this before arrival; the edge's own policy may be stricter."""
ANSWER_WAIT_MS: Final = 15_000
CARD_WAIT_MS: Final = 55_000
"""A card is written, and then comes out of a machine, within so long."""


class Refusal(StrEnum):
    """Why a check-in or check-out did not happen, or is not known to have happened."""

    TOO_EARLY = "too_early"
    NOT_READY = "not_ready"
    ENDED = "ended"
    NOT_IN_HOUSE = "not_in_house"
    EDGE_REFUSED = "edge_refused"
    EDGE_AWAY = "edge_away"
    UNANSWERED = "unanswered"
    TOO_LATE = "too_late"
    KEY_REUSED = "key_reused"
    STEPS_OPEN = "steps_open"
    NO_SESSION = "no_session"
    LINK_USED = "link_used"


class NotAdmissibleError(PlatformError):
    """The desk cannot do it; `refusal` says why, the text can be read aloud."""

    def __init__(self, refusal: Refusal, detail: str, *, available_from_ms: int | None = None) -> None:
        super().__init__(detail)
        self.refusal, self.available_from_ms = refusal, available_from_ms
        self.may_be_retried = refusal in (Refusal.EDGE_AWAY, Refusal.UNANSWERED, Refusal.TOO_LATE)


@dataclass(frozen=True, slots=True)
class CardGiven:
    """What came of a key card at a kiosk: `result` as the machine says, None: nobody knows.

    `is_lost`: the card was written, or may have been, and the guest surely has none, or may have one: staff looks.
    """

    result: bool | None
    room: str | None
    is_lost: bool


class WallClock(Protocol):
    """What the desk needs of a clock."""

    def wall_ms(self) -> int:
        """Unix milliseconds, UTC."""
        ...


def admissible(stay: Stay, *, now_ms: int) -> None:
    """Return if a stay may be checked in now. Pure.

    Raises:
        NotAdmissibleError: too early (with the time from which it will do), not ready, or over.
    """
    if stay.state in (StayState.LEFT, StayState.VOID):
        raise NotAdmissibleError(Refusal.ENDED, "This stay has ended.")
    if now_ms >= unix_ms(stay.expected_until):
        raise NotAdmissibleError(Refusal.ENDED, "This stay was to end before now; please ask the front desk.")
    opens_ms = unix_ms(stay.expected_from) - OPENS_BEFORE_ARRIVAL_MS
    if stay.state is not StayState.IN_HOUSE and now_ms < opens_ms:
        raise NotAdmissibleError(
            Refusal.TOO_EARLY, "Check-in for this stay is not open yet.", available_from_ms=opens_ms
        )
    if stay.room is None:
        raise NotAdmissibleError(Refusal.NOT_READY, "No room has been assigned yet; please ask the front desk.")
    if stay.state is StayState.PLANNED:
        raise NotAdmissibleError(Refusal.NOT_READY, "The room is not ready yet.")


class CheckInDesk:
    """Check-in and check-out from afar."""

    def __init__(self, database: Database, commands: Commands, *, clock: WallClock) -> None:
        """Ask edges through `commands`."""
        self._database, self._commands, self._clock = database, commands, clock

    async def check_in(
        self, at_property: Property, stay_id: str, *, phone_public_key: str, idempotency_key: str, by: str
    ) -> dict[str, Any]:
        """Return the bundle of keys for a phone (protocols: the doors' bundle).

        A guest in house whom the PMS has moved is moved by it (docs/decisions/0079): the keys are the new room's.

        Raises:
            NotAdmissibleError: nothing happened, except for UNANSWERED where it may have: ask again with the
                same key.
        """
        now_ms = self._clock.wall_ms()
        stay = await self._admitted(at_property, stay_id, now_ms)
        key_hash = hashlib.sha256(phone_public_key.encode()).digest()
        args = {"stay": stay_id, "phone_public_key": phone_public_key, "by": f"cloud:{by}"[:80]}
        kind, key = "check_in", f"check-in:{stay_id}:{idempotency_key}"
        if stay.moved_to is not None:
            kind, key = "move", f"move:{stay_id}:{stay.moved_to}:{idempotency_key}"
            args["room"] = stay.moved_to
        await self._begin(at_property, stay_id, key, key_hash, by=by, now_ms=now_ms)
        command = await self._ask(at_property, kind, args, key, by=by)
        if command.phase is Phase.DONE and command.result is None:
            # Made before, and no longer held by the edge. However often it is asked, the house makes one key for one
            # phone of a stay: so it is asked anew, not sent away.
            command = await self._ask(at_property, kind, args, f"{key}:{now_ms}", by=by)
        bundle = None if command.result is None else command.result.get("bundle")
        done = command.phase is Phase.DONE and isinstance(bundle, dict)
        await self._end(at_property, key, command, done=done)
        if done and isinstance(bundle, dict):
            return bundle
        raise _refused(command)

    async def _ask(self, at_property: Property, kind: str, args: dict[str, Any], key: str, *, by: str) -> Command:
        try:
            return await self._commands.run(
                at_property,
                kind=kind,
                args=args,
                idempotency_key=key,
                within_ms=ANSWER_WAIT_MS,
                asked_by=by,
                secret_result=True,
            )
        except KeyReusedError as error:
            raise NotAdmissibleError(Refusal.KEY_REUSED, str(error)) from error

    async def kiosk_card(self, at_property: Property, stay_id: str, *, kiosk: str, by: str) -> CardGiven:
        """Have the edge check a stay in, write its key on a card and give it at a kiosk, once.

        Raises:
            NotAdmissibleError: nothing happened, except for UNANSWERED where it may have.
        """
        now_ms = self._clock.wall_ms()
        await self._admitted(at_property, stay_id, now_ms)
        command = await self._commands.run(
            at_property,
            kind="kiosk_card",
            args={"stay": stay_id, "kiosk": kiosk, "by": f"cloud:{by}"[:80]},
            idempotency_key=f"kiosk-card:{stay_id}:{now_ms}",  # the house gives one card of a stay, whoever asks
            within_ms=CARD_WAIT_MS,
            asked_by=by,
        )
        told = command.result or {}
        room = told.get("room")
        match command.phase:
            case Phase.DONE:
                return CardGiven(True, room if isinstance(room, str) else None, is_lost=False)
            case Phase.UNKNOWN:
                return CardGiven(None, None, is_lost=True)
            case Phase.FAILED if not command.link_lost:
                return CardGiven(False, None, is_lost=told.get("written") is True)
        raise _refused(command)

    async def check_out(self, at_property: Property, stay_id: str, *, by: str) -> None:
        """Ask the edge to end a stay.

        Raises:
            NotAdmissibleError: the guest is not in house, or the edge did not do it or did not say.
        """
        stay = await self._stay(at_property, stay_id)
        if stay is None or stay.state is StayState.LEFT:
            return
        if stay.state is not StayState.IN_HOUSE:
            raise NotAdmissibleError(Refusal.NOT_IN_HOUSE, "Only a guest who is in house checks out.")
        now_ms = self._clock.wall_ms()
        command = await self._commands.run(
            at_property,
            kind="check_out",
            args={"stay": stay_id, "by": f"cloud:{by}"[:80]},
            idempotency_key=f"check-out:{stay_id}:{now_ms}",
            within_ms=ANSWER_WAIT_MS,
            asked_by=by,
        )
        if command.phase is not Phase.DONE:
            raise _refused(command)

    async def _stay(self, at_property: Property, stay_id: str) -> Stay | None:
        async with self._database.transaction() as connection:
            return await stay_by_id(connection, tenant=at_property.tenant, property_id=at_property.id, stay=stay_id)

    async def _admitted(self, at_property: Property, stay_id: str, now_ms: int) -> Stay:
        """Return a stay that may check in now. Raises NotAdmissibleError."""
        stay = await self._stay(at_property, stay_id)
        if stay is None:
            raise NotAdmissibleError(Refusal.ENDED, "There is no such stay.")
        admissible(stay, now_ms=now_ms)
        return stay

    async def _begin(
        self, at_property: Property, stay_id: str, key: str, key_hash: bytes, *, by: str, now_ms: int
    ) -> None:
        async with self._database.transaction() as connection:
            await execute(
                connection,
                """INSERT INTO checkin.key_request (tenant, property, stay, channel, idempotency_key, phone_key_hash,
                                                asked_by, state, began_at)
                   VALUES (%s, %s, %s, 'remote', %s, %s, %s, 'initiated', %s)
                   ON CONFLICT (property, idempotency_key) DO NOTHING""",
                [at_property.tenant, at_property.id, stay_id, key, key_hash, by, at(now_ms)],
            )
            known = await fetch_one(
                connection,
                "SELECT phone_key_hash FROM checkin.key_request WHERE property = %s AND idempotency_key = %s",
                [at_property.id, key],
            )
        if known is None or bytes(known["phone_key_hash"]) != key_hash:
            raise NotAdmissibleError(
                Refusal.KEY_REUSED, "This idempotency key was used before, for another phone: nothing was done."
            )

    async def _end(self, at_property: Property, key: str, command: Command, *, done: bool) -> None:
        state = "completed" if done else "unknown" if command.phase is Phase.UNKNOWN else "refused"
        async with self._database.transaction() as connection:
            await execute(
                connection,
                """UPDATE checkin.key_request SET state = %s, command = %s, reason = %s, ended_at = %s
                    WHERE property = %s AND idempotency_key = %s AND state <> 'completed'""",
                [
                    state,
                    command.id,
                    None if done else command.reason,
                    at(self._clock.wall_ms()),
                    at_property.id,
                    key,
                ],
            )


def _refused(command: Command) -> NotAdmissibleError:
    if command.link_lost:
        return NotAdmissibleError(Refusal.EDGE_AWAY, "The hotel cannot be reached from here at the moment.")
    match command.phase:
        case Phase.FAILED:
            return NotAdmissibleError(Refusal.EDGE_REFUSED, command.reason or "The hotel refused.")
        case Phase.EXPIRED:
            return NotAdmissibleError(Refusal.TOO_LATE, "The request reached the hotel too late; nothing was done.")
        case _:
            return NotAdmissibleError(
                Refusal.UNANSWERED, "The hotel has not answered; it may still have been done. Ask again."
            )
