"""Carries commands to the devices of a room at most once, and tells everybody who asks how each ended (G13).

The order is that of commands.py: `accepted` is durable before a device hears anything, the outcome before anybody is
told. What a command means for the room's own wishes is the engine's.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

from edge.rooms.commands import RESTARTED, CommandBook, RoomCommand, refuse_unsafe
from edge.rooms.fire_acts import held as fire_holds
from edge.rooms.intents import Wish
from edge.rooms.ports import DeviceWriter, RoomRecords
from kit.clock import Clock
from protocols.device_model.command import FINAL_PHASES, Command, Outcome, Phase
from protocols.device_model.identity import DeviceId, RoomId
from protocols.errors import InvalidInputError, PlatformError, StoreFailedError

SETTLE_MS: Final = 15_000  # how long a shutdown waits for what is under way


class CommandDesk:
    """The commands of all rooms.

    Args:
        rooms: The guest rooms.
        able: The devices that take a wish, asked anew each time.
        writer: The way to the devices.
        records: The record log.
        clock: Both clocks.
        held_back: Whether fire mode holds the devices, asked anew each time.
        outranked: Told of what a person asks for by hand, before it is sent: the room's own wish for it is over.
    """

    def __init__(
        self,
        *,
        rooms: Collection[RoomId],
        able: Callable[[Wish], list[DeviceId]],
        writer: DeviceWriter,
        records: RoomRecords,
        clock: Clock,
        held_back: Callable[[], bool],
        outranked: Callable[[Wish], None],
    ) -> None:
        self.book = CommandBook()
        self._rooms, self._able, self._writer, self._records = rooms, able, writer, records
        self._clock, self._held_back, self._outranked = clock, held_back, outranked
        self._running: dict[str, asyncio.Task[Outcome]] = {}

    async def take(self, command: RoomCommand, *, recorded: bool = True) -> Outcome:
        """Carry out a command at most once; the same idempotency key asks for the same answer again.

        Args:
            command: What is asked.
            recorded: False: the caller keeps the durable account of keys and phases itself (edge/link does).

        Raises:
            InvalidInputError: the room, value, device or key makes no sense; nothing was done.
            StoreFailedError: could not be made durable; nothing was done.
        """
        if command.room not in self._rooms:
            raise InvalidInputError("room", f"{command.room!r} is not a guest room of this property")
        known = self.book.known(command)
        if known is not None and known.phase in FINAL_PHASES:
            return known
        task = self._running.get(command.idempotency_key)
        if task is None:
            if known is not None:
                return Outcome(Phase.UNKNOWN, None, RESTARTED)
            refuse_unsafe(command)
            if self._held_back() and fire_holds(command.capability, command.attribute):
                raise InvalidInputError("attribute", f"fire mode holds {command.capability} {command.attribute}")
            devices = self._able((command.room, command.capability, command.attribute))
            if command.device is not None:
                devices = [each for each in devices if each == command.device]
            if not devices:
                who = (
                    f"no device in room {command.room}"
                    if command.device is None
                    else f"{command.device!r} is none that"
                )
                raise InvalidInputError("attribute", f"{who} takes {command.capability} {command.attribute}")
            self.book.write_down(command, Outcome(Phase.ACCEPTED))
            task = asyncio.get_running_loop().create_task(self._carry_out(command, devices, recorded=recorded))
            self._running[command.idempotency_key] = task
            task.add_done_callback(lambda _: self._running.pop(command.idempotency_key, None))
        return await asyncio.shield(task)  # a caller who hangs up does not stop half a write

    async def settle(self) -> None:
        """Wait for the commands under way; call at shutdown, before the log closes."""
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=SETTLE_MS / 1000)

    async def close_unfinished(self) -> None:
        """Call the commands that the last life left under way unknown, durably. Raises StoreFailedError."""
        for command in self.book.unfinished():
            if command.idempotency_key not in self._running:
                await self._finish(command, Outcome(Phase.UNKNOWN, None, RESTARTED), recorded=True)

    async def _carry_out(self, command: RoomCommand, devices: Sequence[DeviceId], *, recorded: bool) -> Outcome:
        if command.deadline_ms <= self._clock.wall_ms():
            return await self._finish(
                command, Outcome(Phase.EXPIRED, None, "the deadline had passed"), recorded=recorded
            )
        if recorded:
            try:
                await self._records.command(command.to_body(Outcome(Phase.ACCEPTED)))
            except StoreFailedError:
                self.book.forget(command)
                raise
            if command.deadline_ms <= self._clock.wall_ms():
                late = Outcome(Phase.EXPIRED, None, "the deadline passed before the device was asked")
                return await self._finish(command, late, recorded=recorded)
        self._outranked((command.room, command.capability, command.attribute))
        outcomes = await asyncio.gather(
            *(
                sent(
                    self._writer,
                    Command(
                        id=f"{command.id}:{device}",
                        device=device,
                        capability=command.capability,
                        attribute=command.attribute,
                        value=command.value,
                        deadline_ms=command.deadline_ms,
                        idempotency_key=f"{command.idempotency_key}:{device}",
                    ),
                )
                for device in devices
            )
        )
        return await self._finish(command, joined(outcomes), recorded=recorded)

    async def _finish(self, command: RoomCommand, outcome: Outcome, *, recorded: bool) -> Outcome:
        if recorded:
            await self._records.command(command.to_body(outcome))
        self.book.write_down(command, outcome)
        return outcome


async def sent(writer: DeviceWriter, command: Command) -> Outcome:
    """Hand a command to its device; what the way to it raises is an outcome too."""
    try:
        return await writer.write(command)
    except PlatformError as error:
        phase = Phase.UNKNOWN if error.may_have_taken_effect else Phase.FAILED
        return Outcome(phase, None, str(error))


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """Return what several devices' outcomes say together: done only if all are, unknown if any is."""
    for phase in (Phase.UNKNOWN, Phase.FAILED, Phase.EXPIRED):
        for each in outcomes:
            if each.phase is phase:
                return each
    return outcomes[0]
