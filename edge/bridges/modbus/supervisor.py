"""Drives one Modbus bus, whatever carries it: reads what is due, writes what is asked, and waits for nobody silent.

Holds: a silent unit costs its neighbours nothing (places.py, quarantine.py), a slow one no more than its share of the
line (line_time.py); writes before reads; written, then read back; clamped and rate-limited (write_desk.py). Knows no
device: what a register means is the descriptor's.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from edge.bridges.evidence import unknown_id
from edge.bridges.firmware import ASKED_AGAIN_MS, ASKED_EVERY_MS
from edge.bridges.modbus.answers import BUSY_PAUSE_MS, NOT_NOW, Answers
from edge.bridges.modbus.line_time import LineTime
from edge.bridges.modbus.places import Class, Places
from edge.bridges.modbus.ports import Link
from edge.bridges.modbus.unit import JOBS_MAX, Proof, Unit, WaitingJob
from edge.bridges.modbus.ways import way_to
from edge.bridges.ports import DeviceEvent, ReadingSink
from edge.bridges.quarantine import Quarantine
from edge.bridges.settings import BridgesSettings
from edge.bridges.supervision import SupervisedBus
from edge.bridges.write_desk import Job
from kit.cancellation import heed_cancellation
from kit.clock import Clock
from kit.dice import Dice
from kit.supervision import Backoff
from protocols.descriptors.codec import (
    WHOLE,
    Reason,
    RegisterWrite,
    bad,
    encode,
    judge,
    raw_of_words,
    reading,
    same,
)
from protocols.descriptors.descriptor import Descriptor, Point
from protocols.device_model.capability import Capability, Value
from protocols.device_model.command import Command, Outcome, Phase
from protocols.device_model.identity import DeviceId
from protocols.device_model.probe import Found
from protocols.device_model.site_plan import ModbusBus
from protocols.errors import LinkLostError, PeerProtocolError, ReplyTimeoutError
from protocols.modbus.frames import ExceptionCode, Read, Refused, Reply, Request, Words, WriteWords
from protocols.modbus.identification import Identification
from protocols.modbus.probe import probe_unit
from protocols.modbus.read_planner import interval_ms

CONNECT_WAIT_S: Final = 5.0
RECONNECT: Final = Backoff(first_ms=200, most_ms=10_000)
DOWN_MS: Final = 3_000
"""A bus that cannot be reached for so long takes its devices off line, and fails what waits to be written."""
LINK_LOST_PAUSE_MS: Final = 50
BUSY_TRIES: Final = 4
READ_BACK_TRIES: Final = 4
READ_BACK_PAUSE_MS: Final = 150
STRANGER_RETRY_MS: Final = 60_000
IDLE_MS: Final = 60_000
PROVED_FOR_MS: Final = 60_000
PROVED_FOR_A_WRITE_MS: Final = 5_000
"""After so long it is asked anew who answers on a unit id: before a read, and before a write."""
PROBE_WAIT_MS: Final = 500
_SILENT: Final = frozenset({ExceptionCode.GATEWAY_PATH_UNAVAILABLE, ExceptionCode.GATEWAY_TARGET_SILENT})
"""Exceptions by which a gateway says that the unit behind it did not answer."""
_TELLS_NONE: Final = frozenset({ExceptionCode.ILLEGAL_FUNCTION, ExceptionCode.ILLEGAL_DATA_ADDRESS})
"""Exceptions by which a unit says that it has no such thing as a version."""


def _stale_ms(point: Point) -> int:
    return 2 * interval_ms(point)


class ModbusSupervisor(SupervisedBus):
    """`edge.bridges.ports.BusSupervisor` for a Modbus bus.

    Args:
        bus: where it is.
        devices: device, unit id and descriptor of everything on it.
        clock: both clocks.
        dice: for pauses and jitter.
        sink: where readings and events go.
        settings: bounds.

    Raises:
        InvalidInputError: its certificates are not named, or cannot be used.
    """

    def __init__(
        self,
        bus: ModbusBus,
        devices: Sequence[tuple[DeviceId, int, Descriptor]],
        *,
        clock: Clock,
        dice: Dice,
        sink: ReadingSink,
        settings: BridgesSettings,
    ) -> None:
        super().__init__(bus.id, clock=clock, dice=dice, sink=sink)
        self._way = way_to(bus, settings, clock)
        self._places = Places(self._way.in_flight_max, self._way.probes_max, clock.now_ms)
        side_by_side = self._way.in_flight_max > 1
        self._units = {
            device: Unit.of(device, number, descriptor, Quarantine(dice), bus=bus.id, steps=side_by_side)
            for device, number, descriptor in devices
        }
        self._answers = Answers(self._reporter, self._doubted)
        self._line = LineTime(alone=self._way.in_flight_max == 1)
        self._link: Link | None = None
        self._reachable = True

    async def run(self) -> None:
        """See `BusSupervisor.run`."""
        now_ms = self._clock.now_ms()
        for unit in self._units.values():
            self._expect(unit.device, unit.running, _stale_ms, now_ms=now_ms)
        units = {f"unit {unit.number}": self._serve(unit) for unit in self._units.values()}
        await self._attend(connection=self._keep_connected(), stale=self._sweep(), **units)

    # --- the connection ------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        failures = 0
        while True:
            link = await self._connect()
            if link is not None:
                failures = 0
                try:
                    await self._while_connected(link)
                finally:
                    await link.close()
            heed_cancellation()
            failures += 1
            await asyncio.sleep(RECONNECT.pause_ms(failures, self._dice) / 1000)

    async def _connect(self) -> Link | None:
        try:
            async with asyncio.timeout(CONNECT_WAIT_S):
                link = await self._way.dial(self._counts, self._complaints)
        except (OSError, UnicodeError) as error:  # refused, unreachable, too late, no name, not our line
            place = ":".join(map(str, self._way.where.values()))
            self._complaints.refused("connections_failed", place, str(error) or type(error).__name__)
            return None
        self._counts["connections"] += 1
        return link

    async def _while_connected(self, link: Link) -> None:
        self._link, self._down_since_ms = link, None
        if not self._reachable:
            self._reachable = True  # the units' own answers say who is on line again
        now_ms = self._clock.now_ms()
        for unit in self._units.values():
            unit.here_ms = now_ms
            unit.answered_in(None)
        self._wake_all()
        try:
            await link.listen()
        finally:
            self._link, self._down_since_ms = None, self._clock.now_ms()
            self._wake_all()

    def _wake_all(self) -> None:
        for unit in self._units.values():
            unit.wake.set()

    async def _sweep(self) -> None:
        while True:
            now_ms = self._clock.now_ms()
            self._reporter.sweep(now_ms=now_ms)
            self._sweep_firmwares(lambda device: self._units[device].quarantine.answered_once, now_ms=now_ms)
            waits = [IDLE_MS, self._reporter.sweep_in_ms(now_ms=now_ms) or IDLE_MS]
            if self._down_since_ms is not None and self._reachable:
                down_ms = now_ms - self._down_since_ms
                if down_ms >= DOWN_MS:
                    self._bus_is_away(now_ms)
                else:
                    waits.append(DOWN_MS - down_ms)
            else:
                waits.append(DOWN_MS)
            await asyncio.sleep(max(10, min(waits)) / 1000)

    def _bus_is_away(self, now_ms: int) -> None:
        self._reachable = False
        for unit in self._units.values():
            if unit.quarantine.answered_once:
                self._reporter.silent(unit.device, now_ms=now_ms)
            unit.quarantine.forget()
            unit.version_due_ms = 0
            unit.identified = not unit.descriptor.identify
            self._event(unit.device, DeviceEvent.OFFLINE, {"cause": "bus", **self._way.where})
            unit.wake.set()

    # --- one unit -------------------------------------------------------------------------------------------

    async def _serve(self, unit: Unit) -> None:
        unit.begin(self._clock.now_ms())
        while True:
            unit.wake.clear()
            if unit.jobs and await self._next_job(unit):
                continue
            now_ms = self._clock.now_ms()
            due_ms = unit.next_due_ms()
            if self._link is not None and due_ms <= now_ms and not unit.jobs:
                await self._read_due(unit)
                continue
            wait_ms = self._job_patience_ms(unit) if unit.jobs else IDLE_MS
            if self._link is not None:
                wait_ms = min(wait_ms, max(1, due_ms - now_ms))
            await unit.wake.wait(wait_ms)

    async def _read_due(self, unit: Unit) -> None:
        if self._proof_is_old(unit, PROVED_FOR_MS) and await self._identify(unit) is not Proof.YES:
            return
        if unit.version_due_ms <= self._clock.now_ms() and not await self._ask_version(unit):
            return
        if not unit.blocks or (due := unit.most_due()).due_ms > self._clock.now_ms():
            return  # it was the version alone that was due
        reply = await self._ask(unit, due.block.read)
        now_ms = self._clock.now_ms()
        if reply is None:
            return  # the quarantine says when again
        self._let_breathe(unit, now_ms)
        due.refused = due.refused and not isinstance(reply, Words)  # what it has again has its own turns at once
        unit.read_done(due, now_ms)
        self._answers.take(unit, due, reply, now_ms)
        if unit.doubt.doubted != unit.doubt_told:
            self._doubted(unit, None)  # what it was too early to tell

    def _doubted(self, unit: Unit, refusal: str | None) -> None:
        """Tell that another thing may answer where nobody can be asked who it is, or no longer; not without end."""
        if not unit.doubt_changed(self._clock.now_ms()):
            return
        doubt = unit.doubt
        why = "another thing may answer here: it refuses most of what it had" if doubt.doubted else None
        facts = {"expected": unit.descriptor.id, "points_refused": doubt.lost, "points_had": doubt.had}
        told = {"doubted": doubt.doubted, "why": why, **facts, "refused": refusal}
        self._event(unit.device, DeviceEvent.DOUBTED, {"unit": unit.number, **told})

    def _let_breathe(self, unit: Unit, now_ms: int) -> None:
        """Ask a unit that takes more than its share of the line less often, and say so."""
        unit.stretch = self._line.stretch(unit.number, now_ms=now_ms)
        if unit.slow_changed(now_ms):
            figures = self._line.figures(unit.number, unit.stretch)
            self._event(unit.device, DeviceEvent.SLOW, {"unit": unit.number, "slow": unit.slow, **figures})

    def _proof_is_old(self, unit: Unit, most_ms: int) -> bool:
        """Whether it must be seen again who answers: a unit may be swapped between two questions."""
        if not unit.identified:
            return True
        return bool(unit.descriptor.identify) and self._clock.now_ms() - unit.identified_ms >= most_ms

    async def _identify(self, unit: Unit, kind: Class = Class.READ) -> Proof:
        """Ask the unit whether it is the model that the plan says; a stranger is told, and never written to."""
        read = unit.identification()
        if read is None:
            unit.identified = True
            return Proof.YES
        reply = await self._ask(unit, read, kind)
        now_ms = self._clock.now_ms()
        if reply is None:
            return Proof.SILENT
        if isinstance(reply, Refused) and reply.code in NOT_NOW:
            unit.quarantine.next_try_ms = now_ms + BUSY_PAUSE_MS
            return Proof.SILENT
        word = reply.words[0] if isinstance(reply, Words) else None
        if word is not None and unit.is_model(read.table, read.start, word):
            new, unit.identified, unit.stranger, unit.identified_ms = not unit.identified, True, False, now_ms
            if new:
                self._is_back(unit)
            return Proof.YES
        unit.identified = False
        unit.quarantine.next_try_ms = now_ms + STRANGER_RETRY_MS
        if not unit.stranger:
            unit.stranger = True
            found = {"table": read.table, "register": read.start, "word": word}
            refused = reply.name if isinstance(reply, Refused) else None
            facts = {"unit": unit.number, "expected": unit.descriptor.id, **found, "refused": refused}
            self._event(unit.device, DeviceEvent.UNKNOWN_DEVICE, facts)
        for point in unit.descriptor.points:
            self._reporter.take(reading(point, unit.device, bad(Reason.NOT_THIS_MODEL)), now_ms=now_ms)
        return Proof.STRANGER

    async def _ask_version(self, unit: Unit) -> bool:
        """Have the unit say which firmware it runs, where it tells; False if it must be asked again first."""
        question = unit.version_question()
        if question is None:
            unit.version_due_ms = self._clock.now_ms() + ASKED_EVERY_MS
            return True
        reply = await self._ask(unit, question)
        now_ms = self._clock.now_ms()
        if reply is None:
            return False
        if isinstance(reply, Refused) and reply.code in NOT_NOW:
            unit.quarantine.next_try_ms = now_ms + BUSY_PAUSE_MS
            return False
        unit.version_due_ms = now_ms + ASKED_EVERY_MS
        if isinstance(reply, Refused) and reply.code in _TELLS_NONE:
            # It said one once: it is another unit now, or has another firmware, and which one nobody knows.
            if self._forgot_firmware(unit.device, unit.running):
                unit.plan_anew(now_ms)
        elif isinstance(reply, Words | Identification):
            text = unit.version_text(reply)
            if self._said_firmware(unit.device, unit.running, text, _stale_ms):
                unit.plan_anew(now_ms)
            elif unit.running.says_none(text):
                unit.version_due_ms = now_ms + ASKED_AGAIN_MS
                if self._told_none(unit.device, unit.running, text):
                    unit.plan_anew(now_ms)
        return True

    async def _ask(self, unit: Unit, request: Request, kind: Class = Class.READ) -> Reply | None:
        """Ask for a read in a place of its class; None if there was no answer, which the quarantine has noted."""
        trusted = unit.quarantine.trusted
        kind = kind if trusted else Class.PROBE
        if self._link is not None and (owed_ms := self._link.owed_ms(unit.number, request)):
            unit.quarantine.next_try_ms = max(unit.quarantine.next_try_ms, self._clock.now_ms() + owed_ms)
            return None
        async with self._places.take(kind):
            link = self._link
            if link is None:
                return None
            try:
                reply = await self._put(link, unit, request, polled=trusted)
            except LinkLostError:  # the bus's fault, not the unit's; let the connection's task see it too
                await asyncio.sleep(LINK_LOST_PAUSE_MS / 1000)
                return None
            except ReplyTimeoutError as error:
                # Also where the connection ended meanwhile: a unit at whose question the gateway hangs up, again and
                # again, must not cost its neighbours the bus. One that was only in the same boat answers next time.
                self._failed(unit, str(error))
                return None
            except PeerProtocolError as error:
                self._complaints.refused("malformed_answers", f"unit {unit.number}", error)
                self._failed(unit, str(error))
                return None
            finally:
                if unit.wire.pause_ms:
                    await asyncio.sleep(unit.wire.pause_ms / 1000)
        if isinstance(reply, Refused):
            self._counts[f"refused_{reply.name}"] += 1
            if reply.code in _SILENT:
                self._failed(unit, reply.name)
                return None
        self._answered(unit)
        return reply

    async def _put(self, link: Link, unit: Unit, request: Request, *, polled: bool = False) -> Reply:
        """Ask on the link: longer where it may first have to carry other answers. Raises as `Link.ask` does.

        `polled`: the unit is asked at its descriptor's pace.
        """
        asked_ms = self._clock.now_ms()
        before_ms = self._line.asks(unit.number, unit.expected_ms(), now_ms=asked_ms)
        try:
            reply = await link.ask(unit.number, request, wait_ms=before_ms + unit.wire.answer_wait_ms)
        finally:
            now_ms, pace = self._clock.now_ms(), unit.questions_a_ms() if polled else None
            self._line.took(unit.number, pace, now_ms=now_ms, pause_ms=unit.wire.pause_ms)
        unit.answered_in(now_ms - asked_ms)
        return reply

    def _failed(self, unit: Unit, cause: str) -> None:
        now_ms = self._clock.now_ms()
        # Whoever did not answer may have restarted, with another firmware, or be another.
        unit.version_due_ms, unit.identified_ms = 0, -PROVED_FOR_MS
        unit.answered_in(None)
        if unit.quarantine.failed(now_ms):
            self._line.forget(unit.number)
            self._event(unit.device, DeviceEvent.QUARANTINED, {"unit": unit.number, "cause": cause})
            self._reporter.silent(unit.device, now_ms=now_ms)
            unit.identified = not unit.descriptor.identify  # whoever comes back may be another

    def _answered(self, unit: Unit) -> None:
        if unit.quarantine.answered() and unit.identified:
            self._is_back(unit)

    def _is_back(self, unit: Unit) -> None:
        unit.begin_again(self._clock.now_ms())
        self._line.forget(unit.number)
        self._event(unit.device, DeviceEvent.ONLINE, {"unit": unit.number})
        unit.doubt_told = False  # whoever hears that it is on line holds it for what it should be
        self._doubted(unit, None)

    # --- writes ---------------------------------------------------------------------------------------------

    def _point(self, device: DeviceId, capability: Capability, attribute: str) -> Point | None:
        unit = self._units.get(device)
        return None if unit is None else unit.descriptor.point(capability, attribute)

    @staticmethod
    def _point_of(unit: Unit, command: Command) -> Point | None:
        return unit.descriptor.point(command.capability, command.attribute)

    async def _perform(self, job: Job) -> Outcome:
        unit = self._units[job.command.device]
        if len(unit.jobs) >= JOBS_MAX:
            return Outcome(Phase.FAILED, None, "too many commands wait for this device")
        waiting = WaitingJob(job, asyncio.get_running_loop().create_future())
        unit.jobs.append(waiting)
        unit.wake.set()
        return await waiting.done

    def _job_patience_ms(self, unit: Unit) -> int:
        """Return how long the oldest job may still wait for the connection."""
        left = min(each.job.command.deadline_ms for each in unit.jobs) - self._clock.wall_ms()
        if self._down_since_ms is not None:
            left = min(left, self._down_since_ms + DOWN_MS - self._clock.now_ms())
        return max(1, left)

    async def _next_job(self, unit: Unit) -> bool:
        """Carry out or give up the oldest job; False if it must wait for the connection."""
        waiting = unit.jobs[0]
        if waiting.done.done():
            unit.jobs.popleft()  # given up by the desk: the bus stops
            return True
        outcome: Outcome | None = None
        if self._desk.expired(waiting.job.command):
            outcome = Outcome(Phase.EXPIRED, None, "its deadline passed before the bus was free")
        elif unit.stranger:
            outcome = Outcome(Phase.FAILED, None, f"another model answers on unit {unit.number}")
        elif self._link is None:
            down_ms = self._clock.now_ms() - (self._down_since_ms or 0)
            if self._down_since_ms is None or down_ms < DOWN_MS:
                return False
            outcome = Outcome(Phase.FAILED, None, f"bus {self._name} cannot be reached")
        elif self._proof_is_old(unit, PROVED_FOR_A_WRITE_MS):
            # A write to a register of another model could do anything: first see who it is.
            if await self._identify(unit, Class.WRITE) is not Proof.SILENT:
                return True
            outcome = Outcome(Phase.FAILED, None, f"unit {unit.number} does not answer")
        elif unit.version_due_ms <= self._clock.now_ms():
            if await self._ask_version(unit):
                return True
            outcome = Outcome(Phase.FAILED, None, f"unit {unit.number} does not answer")
        elif self._point_of(unit, waiting.job.command) != waiting.job.point:
            outcome = Outcome(Phase.FAILED, None, "it runs another firmware now, which takes that in another way")
        if outcome is None:
            outcome = await self._write(unit, waiting.job)
        unit.jobs.popleft()
        if not waiting.done.done():
            waiting.done.set_result(outcome)
        return True

    async def _write(self, unit: Unit, job: Job) -> Outcome:
        write = encode(job.point, job.value)
        if not isinstance(write, RegisterWrite):
            raise TypeError(f"{unit.descriptor.id}: {job.point.attribute} is on no register")
        for attempt in range(BUSY_TRIES):
            if attempt:
                await asyncio.sleep(BUSY_PAUSE_MS / 1000)
            outcome = await self._write_once(unit, job, write)
            if outcome is not None:
                return outcome
        return Outcome(Phase.FAILED, None, "the device is busy")

    async def _write_once(self, unit: Unit, job: Job, write: RegisterWrite) -> Outcome | None:
        """Send the write at most once and look what came of it; None if the unit certainly did not take it: busy."""
        sent = True
        request = WriteWords(write.table, write.register, write.words, multiple=unit.wire.writes == "multiple")
        if write.mask != WHOLE:
            await self._let_pay(unit, Read(write.table, write.register, 1))
        await self._let_pay(unit, request)
        async with self._places.take(Class.WRITE):
            link = self._link
            if self._desk.expired(job.command):  # asked last, with the place in hand
                return Outcome(Phase.EXPIRED, None, "its deadline passed before the bus was free")
            if link is None:
                return Outcome(Phase.FAILED, None, "the connection was lost before it was sent")
            if write.mask != WHOLE:
                # Its neighbours in the register are the unit's: they are written as it holds them in this moment.
                held = await self._held(unit, link, write)
                if held is None or isinstance(held, Outcome):
                    return held
                word = held & ~write.mask | write.words[0] & write.mask
                request = WriteWords(write.table, write.register, (word,), multiple=request.multiple)
            self._desk.sending(job)
            self._counts["writes"] += 1
            reason: str | None = None
            try:
                reply = await self._put(link, unit, request)
            except LinkLostError:
                return Outcome(Phase.FAILED, None, "the connection was lost before it was sent")
            except ReplyTimeoutError:
                sent, reason = False, "no answer to the write"
                self._failed(unit, reason)
            except PeerProtocolError as error:
                sent, reason = False, f"malformed answer: {error}"[:100]
                self._complaints.refused("malformed_answers", f"unit {unit.number}", error)
                self._failed(unit, str(error))
            else:
                if isinstance(reply, Refused):
                    self._counts[f"refused_{reply.name}"] += 1
                    if reply.code == ExceptionCode.DEVICE_BUSY:
                        return None
                    if reply.code in (ExceptionCode.GATEWAY_TARGET_SILENT, ExceptionCode.ACKNOWLEDGE):
                        sent, reason = False, reply.name  # it may still take effect
                    else:
                        return Outcome(Phase.FAILED, None, f"the device refused: {reply.name}")
        if job.point.write_only:
            return Outcome(Phase.UNKNOWN, None, reason or "the device took it; it cannot be read back")
        if job.point.write is not None and job.point.write.settle_ms:
            await asyncio.sleep(job.point.write.settle_ms / 1000)
        return await self._verify(unit, job, acknowledged=sent, reason=reason)

    async def _held(self, unit: Unit, link: Link, write: RegisterWrite) -> int | Outcome | None:
        """Return what a register holds, why it cannot be told (nothing was written), or None: busy."""
        try:
            reply = await self._put(link, unit, Read(write.table, write.register, 1))
        except (LinkLostError, ReplyTimeoutError, PeerProtocolError) as error:
            return Outcome(Phase.FAILED, None, f"its register could not be read first: {error}"[:120])
        if isinstance(reply, Words):
            return reply.words[0]
        if isinstance(reply, Refused) and reply.code in NOT_NOW:
            return None
        name = reply.name if isinstance(reply, Refused) else "no words"
        return Outcome(Phase.FAILED, None, f"its register could not be read first: {name}")

    async def _verify(self, unit: Unit, job: Job, *, acknowledged: bool, reason: str | None) -> Outcome:
        """Read back what was written. Only what the device says now makes it done."""
        found: Value | None = None
        for attempt in range(READ_BACK_TRIES):
            if attempt:
                await asyncio.sleep(READ_BACK_PAUSE_MS / 1000)
            found = await self._read_point(unit, job.point)
            if same(job.point, job.value, found):
                return Outcome(Phase.DONE, found, None)
        if found is None:
            return Outcome(Phase.UNKNOWN, None, reason or "written, and not read back")
        if acknowledged:
            return Outcome(Phase.FAILED, found, f"the device took it and holds {found!r}")
        # No answer, and the old value: it may still lie in a gateway's queue.
        return Outcome(Phase.UNKNOWN, found, reason)

    async def _read_point(self, unit: Unit, point: Point) -> Value | None:
        if point.table is None or point.register is None:
            return None
        request = Read(point.table, point.register, point.words)
        await self._let_pay(unit, request)
        async with self._places.take(Class.WRITE):
            link = self._link
            if link is None:
                return None
            try:
                reply = await self._put(link, unit, request)
            except (LinkLostError, ReplyTimeoutError, PeerProtocolError):
                return None
        if not isinstance(reply, Words):
            return None
        self._answered(unit)
        found = reading(point, unit.device, judge(point, raw_of_words(point, reply.words)))
        self._reporter.take(found, now_ms=self._clock.now_ms())
        unit.forget_words()
        return found.value

    async def _let_pay(self, unit: Unit, request: Request) -> None:
        """Wait, off the bus, until a late answer of the unit can no longer pass for the answer to this request."""
        if self._link is not None and (owed_ms := self._link.owed_ms(unit.number, request)):
            await asyncio.sleep(owed_ms / 1000)

    # --- who else is there ----------------------------------------------------------------------------------

    async def probe(self, number: int, descriptors: Iterable[Descriptor]) -> Found | None:
        """Ask whoever answers on a unit id who it is; None if nobody does, or the bus is away. Writes nothing.

        A probe takes a prober's place, so it costs neighbours no more than a silent unit does. A unit that the plan
        does not name is told as an unknown device.
        """

        async def ask(request: Request) -> Reply | None:
            async with self._places.take(Class.PROBE):
                link = self._link
                if link is None or link.owed_ms(number, request):
                    return None
                try:
                    return await link.ask(number, request, wait_ms=PROBE_WAIT_MS)
                except (LinkLostError, ReplyTimeoutError, PeerProtocolError):
                    return None

        found = await probe_unit(ask, descriptors)
        if found is not None and all(each.number != number for each in self._units.values()):
            likeliest = found.candidates[0] if found.candidates else None
            guess = (
                {} if likeliest is None else {"descriptor": likeliest.descriptor, "confidence": likeliest.confidence}
            )
            unknown = unknown_id(self._name, f"unit-{number}", None)
            self._event(unknown, DeviceEvent.UNKNOWN_DEVICE, {"unit": number, **guess, **found.evidence})
        return found
