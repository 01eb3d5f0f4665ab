"""What a kiosk asks of its peripherals: documents taken once, cards and receipts at most once.

An order is in edge.db before it is sent, so that the same key asked again after a crash gives no second card: what was
under way when the edge ended is unknown. What is printed and what was read is in no store, no record and no log line.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from edge.app.edge_store import EdgeStore
from edge.app.live_buses import Peripheral
from kit.clock import Clock
from kit.dice import Dice
from protocols.device_model.command import FINAL_PHASES, Phase
from protocols.device_model.identity import DeviceId
from protocols.errors import InvalidInputError, StoreFailedError
from protocols.peripherals.conversation import Order

DOCUMENT: Final = "kiosk_orders"
KEPT_MOST: Final = 256
"""Orders remembered, the oldest forgotten first; one that is under way is not."""
DEADLINE_MOST_MS: Final = 60_000
"""A guest stands before it: nobody wants a card that comes later."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One order as it stands. `kind` is `card` or `receipt`; times are unix ms."""

    key: str
    id: str
    device: str
    kind: str
    by: str
    asked_at_ms: int
    deadline_ms: int
    phase: Phase = Phase.ACCEPTED
    reason: str | None = None

    def to_body(self) -> dict[str, Any]:
        """Return what the API tells: `result` is true, false or unknown (null)."""
        result = {Phase.DONE: True, Phase.FAILED: False, Phase.EXPIRED: False}.get(self.phase)
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
        }


class KioskDesk:
    """The desk of all kiosks of the house.

    Args:
        peripheral: The supervisor of a device; None: it is no kiosk peripheral.
        store: Where orders survive.
        documents: What `store` held.
        clock: Wall time.
        dice: For names and marks.
    """

    def __init__(
        self,
        *,
        peripheral: Callable[[DeviceId], Peripheral | None],
        store: EdgeStore,
        documents: Mapping[str, bytes],
        clock: Clock,
        dice: Dice,
    ) -> None:
        self._peripheral, self._store, self._clock, self._dice = peripheral, store, clock, dice
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        for each in _restored(documents.get(DOCUMENT)):
            over = each.phase in FINAL_PHASES
            ended = replace(each, phase=Phase.UNKNOWN, reason="the edge ended while it was under way")
            self._kept[each.key] = each if over else ended

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
        kind = "card" if text is None else "receipt"
        if (known := self._kept.get(key)) is not None:
            if (known.device, known.kind) != (device, kind):
                raise InvalidInputError("idempotency_key", f"{key!r} was used for a {known.kind} of {known.device}")
        else:
            where, now_ms = self._of(device), self._clock.wall_ms()
            if deadline_ms > now_ms + DEADLINE_MOST_MS:
                raise InvalidInputError("deadline_ms", f"may be at most {DEADLINE_MOST_MS} ms away")
            name = f"kiosk-{self._dice.bytes(8).hex()}"
            self._kept[key] = Kept(key, name, device, kind, by, now_ms, deadline_ms)
            order = Order(self._dice.bytes(2).hex(), text)
            self._tasks[key] = asyncio.create_task(self._carry_out(key, where, order), name=name)
            self._tasks[key].add_done_callback(lambda _: self._tasks.pop(key, None))
        if (task := self._tasks.get(key)) is not None:
            await asyncio.shield(task)  # the asker may go away: what was begun is carried to its end
        return self._kept[key].to_body()

    async def settle(self) -> None:
        """Wait for the orders under way; call at shutdown, before the store closes."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _carry_out(self, key: str, where: Peripheral, order: Order) -> None:
        kept = self._kept[key]
        self._kept[key] = replace(kept, phase=Phase.EXECUTING)
        begun = False
        try:
            await self._keep()
            outcome = await where.order(order, deadline_ms=kept.deadline_ms)
            begun = True
        finally:
            if not begun:  # it was never sent: the same key may be asked again
                self._kept.pop(key, None)
        self._kept[key] = replace(kept, phase=outcome.phase, reason=outcome.reason)
        with suppress(StoreFailedError):  # it is told all the same; a restart would call it unknown
            await self._keep()

    async def _keep(self) -> None:
        ended = [key for key, each in self._kept.items() if each.phase in FINAL_PHASES]
        for key in ended[: max(0, len(self._kept) - KEPT_MOST)]:
            del self._kept[key]
        await self._store.save_document(DOCUMENT, msgspec.json.encode(list(self._kept.values())))

    def _of(self, device: DeviceId) -> Peripheral:
        found = self._peripheral(device)
        if found is None:
            raise InvalidInputError("device", f"{device!r} is no kiosk peripheral of this house")
        return found


def _restored(body: bytes | None) -> list[Kept]:
    if body is None:
        return []
    try:
        return msgspec.json.decode(body, type=list[Kept])
    except msgspec.MsgspecError:
        return []  # of another build, or damaged
