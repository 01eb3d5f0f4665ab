"""What a kiosk asks of its peripherals: documents taken once, cards, keys and receipts at most once.

An order is in edge.db before it is sent, so that the same key asked again after a crash gives no second card: what was
under way when the edge ended is unknown. What is printed and what was read is in no store, no record and no log line.
A key is a card that is written and then given: nothing is written while the dispenser could not give it, and a stay
whose card was written is never given another here.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from edge.app.edge_store import EdgeStore
from edge.app.live_buses import Peripheral
from edge.checkin.errors import CheckInRefusal, CheckInRefusedError
from kit.clock import Clock
from kit.dice import Dice
from protocols.device_model.command import FINAL_PHASES, Outcome, Phase
from protocols.device_model.identity import DeviceId, RoomId, StayId
from protocols.errors import InvalidInputError, PlatformError, StoreFailedError
from protocols.peripherals.conversation import Order

DOCUMENT: Final = "kiosk_orders"
KEPT_MOST: Final = 256
"""Orders remembered, the oldest forgotten first; one that is under way is not."""
DEADLINE_MOST_MS: Final = 60_000
"""A guest stands before it: nobody wants a card that comes later."""
GIVE_WITHIN_MS: Final = 20_000
"""A card that was written is given within so long, or not at all."""
RECORD: Final = "kiosk"
"""The record of lane A of an order that ended."""

_TOLD: Final = ("id", "device", "kind", "by", "asked_at_ms", "phase", "reason", "stay", "room", "written")

Write = Callable[[], Awaitable[tuple[RoomId, Outcome]]]
"""Checks a stay in and writes its card; tells the room and what came of it."""
Note = Callable[[int, Mapping[str, Any]], Awaitable[None]]
"""Keeps a record under a number that rises, once; raises StoreFailedError."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One order as it stands. `kind` is `card`, `key` or `receipt`; times are unix ms.

    `written`: of a key, its card was written, or may have been. `record`: the number of its record; 0: it has none yet.
    """

    key: str
    id: str
    device: str
    kind: str
    by: str
    asked_at_ms: int
    deadline_ms: int
    phase: Phase = Phase.ACCEPTED
    reason: str | None = None
    stay: str | None = None
    room: str | None = None
    written: bool = False
    record: int = 0

    def to_body(self) -> dict[str, Any]:
        """Return what the API tells: `result` is true, false or unknown (null)."""
        result = {Phase.DONE: True, Phase.FAILED: False, Phase.EXPIRED: False}.get(self.phase)
        key = {"stay": self.stay, "room": self.room, "written": self.written} if self.kind == "key" else {}
        return {
            "id": self.id,
            "idempotency_key": self.key,
            "device": self.device,
            "kind": self.kind,
            "by": self.by,
            "asked_at_ms": self.asked_at_ms,
            "deadline_ms": self.deadline_ms,
            "phase": self.phase.value,
            "final": self.phase in FINAL_PHASES,
            "result": result,
            "reason": self.reason,
            "may_have_taken_effect": self.phase in (Phase.EXECUTING, Phase.DONE, Phase.UNKNOWN),
            **key,
        }


class KioskDesk:
    """The desk of all kiosks of the house.

    Args:
        peripheral: The supervisor of a device; None: it is no kiosk peripheral.
        store: Where orders survive.
        documents: What `store` held.
        clock: Wall time.
        dice: For names and marks.
        note: Keeps the record of an order that ended; None: nobody does.
    """

    def __init__(
        self,
        *,
        peripheral: Callable[[DeviceId], Peripheral | None],
        store: EdgeStore,
        documents: Mapping[str, bytes],
        clock: Clock,
        dice: Dice,
        note: Note | None = None,
    ) -> None:
        self._peripheral, self._store, self._clock, self._dice = peripheral, store, clock, dice
        self._note = note
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        for each in _restored(documents.get(DOCUMENT)):
            over = each.phase in FINAL_PHASES
            ended = replace(each, phase=Phase.UNKNOWN, reason="the edge ended while it was under way")
            self._kept[each.key] = each if over else ended
        self._recorded: set[str] = set()
        self._recording = asyncio.Lock()

    def take_document(self, device: DeviceId) -> str | None:
        """Return the machine readable zone read last, once and within a minute. Raises InvalidInputError."""
        return self._of(device).take_document()

    def told(self, key: str) -> dict[str, Any] | None:
        """Return how an order stands; None: nobody asked with that key, or it is long ago."""
        kept = self._kept.get(key)
        return None if kept is None else kept.to_body()

    async def order(self, device: DeviceId, *, text: str | None, key: str, deadline_ms: int, by: str) -> dict[str, Any]:
        """Have a card given (`text` is None) or a receipt printed; the same key asks for the same answer again.

        Raises:
            InvalidInputError: no such device, a deadline too far away, or a key that was used for something else.
            StoreFailedError: it could not be made durable; nothing was done.
        """
        return await self._once(device, "card" if text is None else "receipt", key, deadline_ms, by, text=text)

    async def give_key(self, device: DeviceId, *, stay: StayId, key: str, by: str, write: Write) -> dict[str, Any]:
        """Have a stay's key written on a card, and the card given; the same key asks for the same answer again.

        The body tells `room` and `written` besides: a card that was written and not given lies in the machine.

        Args:
            device: A dispenser.
            stay: Whose key.
            key: Names the order.
            by: Which kiosk.
            write: Checks the stay in and writes the card; called at most once, and only if the dispenser could give it.

        Raises:
            CheckInRefusedError: the stay may not come, or a card of it was written here before; nothing happened.
            InvalidInputError, LinkLostError, StoreFailedError: nothing was given; ask again.
        """
        if key not in self._kept:
            open_ = next((each for each in self._kept.values() if each.stay == stay and _binds(each)), None)
            if open_ is not None:
                raise CheckInRefusedError(
                    CheckInRefusal.CARD_AT_DESK,
                    f"A card of stay {stay} was written before; the front desk has to look.",
                )
        deadline_ms = self._clock.wall_ms() + DEADLINE_MOST_MS
        return await self._once(device, "key", key, deadline_ms, by, stay=stay, write=write)

    async def catch_up(self) -> None:
        """Keep the records that a life before could not, of what it left unknown too; call once at the start.

        Raises:
            StoreFailedError: the records are kept with the next order.
        """
        for key in [key for key, each in self._kept.items() if not each.record]:
            self._kept[key] = replace(self._kept[key], record=self._next_record())
        await self._keep()
        await self._record()

    async def settle(self) -> None:
        """Wait for the orders under way; call at shutdown, before the store closes."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _once(
        self,
        device: DeviceId,
        kind: str,
        key: str,
        deadline_ms: int,
        by: str,
        *,
        text: str | None = None,
        stay: StayId | None = None,
        write: Write | None = None,
    ) -> dict[str, Any]:
        if (known := self._kept.get(key)) is not None:
            if (known.device, known.kind, known.stay) != (device, kind, stay):
                raise InvalidInputError("idempotency_key", f"{key!r} was used for a {known.kind} of {known.device}")
        else:
            where, now_ms = self._of(device), self._clock.wall_ms()
            if deadline_ms > now_ms + DEADLINE_MOST_MS:
                raise InvalidInputError("deadline_ms", f"may be at most {DEADLINE_MOST_MS} ms away")
            name = f"kiosk-{self._dice.bytes(8).hex()}"
            self._kept[key] = Kept(key, name, device, kind, by, now_ms, deadline_ms, stay=stay)
            order = Order(self._dice.bytes(2).hex(), text)
            self._tasks[key] = asyncio.create_task(self._carry_out(key, where, order, write), name=name)
            self._tasks[key].add_done_callback(lambda _: self._tasks.pop(key, None))
        if (task := self._tasks.get(key)) is not None:
            await asyncio.shield(task)  # the asker may go away: what was begun is carried to its end
        return self._kept[key].to_body()

    async def _carry_out(self, key: str, where: Peripheral, order: Order, write: Write | None) -> None:
        kept = self._kept[key]
        kept = self._kept[key] = replace(kept, phase=Phase.EXECUTING)
        begun = False
        try:
            if write is None:
                await self._keep()
                outcome = await where.order(order, deadline_ms=kept.deadline_ms)
            else:
                outcome = await self._written_and_given(key, where, order, write)
            begun = True
        except PlatformError:  # refused before anything was given: edge.db may say otherwise by now
            self._kept.pop(key, None)
            with suppress(StoreFailedError):
                await self._keep()
            raise
        finally:
            if not begun:  # it was never sent: the same key may be asked again
                self._kept.pop(key, None)
        number = self._next_record()
        self._kept[key] = replace(self._kept[key], phase=outcome.phase, reason=outcome.reason, record=number)
        with suppress(StoreFailedError):  # it is told all the same; a restart would call it unknown
            await self._keep()
            await self._record()

    async def _written_and_given(self, key: str, where: Peripheral, order: Order, write: Write) -> Outcome:
        if (against := where.against(order)) is not None:
            return Outcome(Phase.FAILED, None, against)
        self._kept[key] = replace(self._kept[key], written=True)
        await self._keep()
        room, written = await write()
        if written.phase is not Phase.DONE:
            may_be = written.phase is Phase.UNKNOWN
            self._kept[key] = replace(self._kept[key], room=room, written=may_be)
            return replace(written, reason=f"writing the card: {written.reason}")
        self._kept[key] = replace(self._kept[key], room=room)
        return await where.order(order, deadline_ms=self._clock.wall_ms() + GIVE_WITHIN_MS)

    def _next_record(self) -> int:
        """A number above all before; of the clock, so that a store that was lost begins above them as well."""
        return max([self._clock.wall_ms(), *(each.record + 1 for each in self._kept.values())])

    async def _record(self) -> None:
        """Keep, in order, who was given what and what came of it; what was kept before is not kept twice.

        Of a receipt its text is in none, and of no order its key, the kiosk's own word. Raises StoreFailedError.
        """
        async with self._recording:
            due = sorted((each for each in self._kept.values() if each.record), key=lambda each: each.record)
            for each in due if self._note is not None else ():
                if each.key not in self._recorded and self._note is not None:
                    body = each.to_body()
                    await self._note(each.record, {name: body[name] for name in _TOLD if body.get(name) is not None})
                    self._recorded.add(each.key)

    async def _keep(self) -> None:
        wanted = self._note is not None and len(self._kept) < 2 * KEPT_MOST
        ended = [
            key
            for key, each in self._kept.items()
            if each.phase in FINAL_PHASES and (key in self._recorded or not wanted)
        ]
        for key in ended[: max(0, len(self._kept) - KEPT_MOST)]:
            del self._kept[key]
            self._recorded.discard(key)
        await self._store.save_document(DOCUMENT, msgspec.json.encode(list(self._kept.values())))

    def _of(self, device: DeviceId) -> Peripheral:
        found = self._peripheral(device)
        if found is None:
            raise InvalidInputError("device", f"{device!r} is no kiosk peripheral of this house")
        return found


def _binds(kept: Kept) -> bool:
    """Whether a key order stands in the way of another one for the stay: its card was, or may have been, written."""
    return kept.kind == "key" and (kept.written or kept.phase not in FINAL_PHASES)


def _restored(body: bytes | None) -> list[Kept]:
    if body is None:
        return []
    try:
        return msgspec.json.decode(body, type=list[Kept])
    except msgspec.MsgspecError:
        return []  # of another build, or damaged
