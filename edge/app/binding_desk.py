"""Carries out what an engineer asks of devices: judged, written to lane A, then put in force while the house runs.

Order of a change, under one lock: judged whole against plan, models and the version that the asker saw; the bus as it
will be is made, which reaches out to nothing; the fact becomes durable on lane A; the book takes it and is stored;
then, without a pause in between, rooms, devices and the bus change over. So a kill at any moment leaves the change
undone, or durable and carried out at the next start. Nobody who goes away in the middle stops it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import msgspec

from edge.app.devices import Devices
from edge.app.house import House
from edge.app.live_buses import Served
from edge.app.ports import Log
from edge.binding.blink import Blink, Said
from edge.binding.book import (
    Asked,
    Book,
    Check,
    Desk,
    Effective,
    checker,
    effective,
    laid_over,
    numbered,
    place_of,
)
from edge.binding.errors import BindingRefusedError, UnknownDeviceError
from edge.binding.found import Found, found
from edge.binding.proposals import Proposal, propose, where
from edge.log.record_log import Entry
from edge.rooms.ports import DeviceWriter
from edge.stays.document import StayState
from firmware_bridges.catalogue import check_plan
from kit.clock import Clock
from kit.dice import Dice
from kit.files import Disk, write_atomic
from protocols.descriptors.descriptor import Descriptor
from protocols.descriptors.firmware import all_points
from protocols.device_model import binding
from protocols.device_model.binding import Act, Fact, Place
from protocols.device_model.capability import Capability
from protocols.device_model.identity import BusId, DescriptorId, DeviceId, RoomId
from protocols.device_model.probe import Found as Probed
from protocols.device_model.site_plan import Address, SitePlan, may_have_unit
from protocols.errors import InvalidInputError, StoreFailedError
from protocols.link.lanes import Lane

SOURCE: Final = "bindings"
COPY_NAME: Final = "bindings.json"
TESTS_MOST: Final = 8
"""Tests at a time: an engineer tests what he looks at."""

T = TypeVar("T")
Fresh = Callable[[SitePlan, Mapping[DescriptorId, Descriptor]], Mapping[tuple[DeviceId, Capability, str], int]]


class Buses(Protocol):
    """The buses, as far as a change of their devices needs them."""

    def made(self, plan: SitePlan, bus: BusId) -> Served:
        """Return a supervisor for the bus as the plan has it, not yet running. Raises InvalidInputError."""
        ...

    async def probe(self, bus: BusId, number: int, descriptors: Iterable[Descriptor]) -> Probed | None:
        """Ask a unit number of a bus who is there. Raises InvalidInputError."""
        ...

    def replace(self, bus: BusId, served: Served) -> None:
        """Serve the bus with that supervisor from now on."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a change. `pending`: what takes it up only at the next start of the edge."""

    fact: Fact
    pending: tuple[str, ...] = ()


class BindingDesk:
    """Answers `edge.api.device_ports.DeviceBook`.

    Args:
        site: The site plan as its file has it.
        catalogue: Every model of this release.
        house: Where devices serve rooms.
        devices: What the buses tell of devices.
        writer: The way to the devices.
        log: The record log.
        disk: For the second copy of the book.
        folder: Where that copy lies.
        fresh_ms: How long the values of a plan stay fresh.
        clock: Both clocks.
        dice: For the names of tests.
        logger: A structlog logger.
    """

    def __init__(
        self,
        site: SitePlan,
        catalogue: Mapping[DescriptorId, Descriptor],
        *,
        house: House,
        devices: Devices,
        writer: DeviceWriter,
        log: Log,
        disk: Disk | None,
        folder: Path,
        fresh_ms: Fresh,
        clock: Clock,
        dice: Dice,
        logger: Any,  # noqa: ANN401 - structlog's lazy logger
    ) -> None:
        self._site, self._catalogue, self._house, self._devices = site, catalogue, house, devices
        self._writer, self._log, self._clock, self._dice, self._logger = writer, log, clock, dice, logger
        self._disk, self._copy, self._fresh_ms = disk, folder / COPY_NAME, fresh_ms
        self._check: Check = checker(catalogue, check_plan)
        self._conflicts: Mapping[DeviceId, str] = {}
        self._changing = asyncio.Lock()
        self._testing: set[DeviceId] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.buses: Buses | None = None
        """Set once they are made; before, nothing can be changed."""
        self.before: Callable[[SitePlan], Awaitable[None]] | None = None
        """Asked to make durable what a plan's devices stand on, before the plan is. May raise StoreFailedError."""
        self.changed: Callable[[SitePlan], None] = _nobody
        """Told of the plan as it is after each change: façades and the like."""

    @property
    def _book(self) -> Book:
        return self._house.book

    async def begin(self) -> SitePlan:
        """Lay the book over the site plan, put it in force, and return it. Call once the house has caught up."""
        self._take_copy()
        laid: Effective = await asyncio.to_thread(effective, self._site, self._book, self._check)
        self._conflicts = laid.conflicts
        for device, problem in laid.conflicts.items():
            self._logger.error("binding_contradicts_site_plan", device=device, problem=problem)
        self._house.serve(laid.plan, self._fresh_ms(laid.plan, self._catalogue))
        self._devices.serve(laid.plan)
        return laid.plan

    def wants(self, descriptor: DescriptorId) -> bool:
        """Say whether something is bound to a model that could not be, so far."""
        places = (self._book.entries[each].place for each in self._conflicts if each in self._book.entries)
        return any(place is not None and place.descriptor == descriptor for place in places)

    async def relay(self) -> None:
        """Lay the book over the plan again: models have changed, and what could not be before may be now."""
        async with self._changing:
            laid: Effective = await asyncio.to_thread(effective, self._site, self._book, self._check)
            before, self._conflicts = self._plan(), laid.conflicts
            driven = [] if self.buses is None else [each.id for each in before.buses]
            touched = [bus for bus in driven if before.devices_on(bus) != laid.plan.devices_on(bus)]
            made = {} if self.buses is None else {bus: self.buses.made(laid.plan, bus) for bus in touched}
            self._house.serve(laid.plan, self._fresh_ms(laid.plan, self._catalogue))
            self._devices.serve(laid.plan)
            if self.buses is not None:
                for bus, served in made.items():
                    self.buses.replace(bus, served)
            self.changed(laid.plan)

    # --- what is so ----------------------------------------------------------------------------------------

    def device(self, device: DeviceId) -> dict[str, Any]:
        """Return one device: where it is, its version, its latest facts. Raises UnknownDeviceError."""
        planned = self._plan().device(device)
        entry = self._book.entries.get(device)
        if planned is None and entry is None:
            raise UnknownDeviceError(device)
        place = place_of(planned)
        facts = self._book.facts(device)
        tests = [each for each in facts if each.act is Act.TESTED]
        return {
            "id": device,
            "version": self._book.version(device),
            "bound": place is not None,
            "place": None if place is None else msgspec.to_builtins(place),
            "on_bus": self._devices.state(device),
            "conflict": self._conflicts.get(device),
            "tested": None
            if not tests
            else {**tests[-1].to_body()["test"], "at_ms": tests[-1].at_ms, "by": tests[-1].by},
            "facts": [each.to_body() for each in facts],
        }

    def listed(self) -> dict[DeviceId, dict[str, Any]]:
        """Return what the book adds to the list of devices."""
        names = {each.id for each in self._plan().devices} | self._conflicts.keys()
        return {name: {"version": self._book.version(name), "conflict": self._conflicts.get(name)} for name in names}

    def found(self) -> list[dict[str, Any]]:
        """Return everything that was met and stands behind no name, with where it may belong."""
        silent, plan = self._devices.silent(), self._plan()
        shown = []
        named = {where(each.address) for each in plan.devices}
        for each in self._met():
            if each.stands_at is None and each.address is not None and where(each.address) in named:
                continue  # told before it was given a name
            proposals = propose(each, site=plan, book=self._book, silent=silent)
            shown.append(_found_told(each, [self._proposal_told(proposal) for proposal in proposals]))
        return shown

    async def probe(self, bus: BusId, numbers: Sequence[int]) -> dict[str, Any]:
        """Ask unit numbers of a Modbus bus who is there, one after the other; what answers is found from then on.

        Those that no device of this bus can have are not asked: on a serial line 0 is said to everybody.

        Raises InvalidInputError: no such bus, one whose devices tell of themselves, or one that has none of these.
        """
        plan = self._plan()
        taken = {each.address.unit for each in plan.devices_on(bus)}
        here = [each for each in plan.buses if each.id == bus]
        possible = [each for each in numbers if all(may_have_unit(it, each) for it in here)]
        if not possible:
            raise InvalidInputError("unit", f"no device of bus {bus!r} can have any of these numbers")
        asked = [each for each in possible if each not in taken]
        answered: list[int] = []
        if (buses := self.buses) is not None:
            models = self._catalogue.values()
            answered = [each for each in asked if await buses.probe(bus, each, models) is not None]
        return {"bus": bus, "asked": asked, "answered": answered}

    # --- what is asked -------------------------------------------------------------------------------------

    async def bind(self, device: DeviceId, place: Place, asked: Asked, *, found_id: DeviceId | None) -> dict[str, Any]:
        """Give a free name to a thing. Raises as `Desk.bind`, and StoreFailedError."""
        return await self._kept(self._change(device, lambda desk: desk.bind(device, place, asked), found_id))

    async def swap(
        self,
        device: DeviceId,
        descriptor: DescriptorId,
        address: Address,
        asked: Asked,
        *,
        accept_less: bool,
        found_id: DeviceId | None,
    ) -> dict[str, Any]:
        """Have a name stand for another thing. Raises as `Desk.swap`, and StoreFailedError."""
        judge = partial(_swap, device, descriptor, address, asked, accept_less)
        return await self._kept(self._change(device, judge, found_id))

    async def unbind(self, device: DeviceId, asked: Asked) -> dict[str, Any]:
        """Take a name from its thing. Raises as `Desk.unbind`, and StoreFailedError."""
        return await self._kept(self._change(device, lambda desk: desk.unbind(device, asked), None))

    async def test(self, device: DeviceId, asked: Asked, *, disturb: bool) -> dict[str, Any]:
        """Test what stands behind a name. Raises UnknownDeviceError, BindingRefusedError, StoreFailedError."""
        planned = self._plan().device(device)
        if planned is None:
            raise UnknownDeviceError(device)
        if self._house.fire.active:
            raise BindingRefusedError(device, "there is fire: nothing is switched for a test now", kind="fire")
        if device in self._testing or len(self._testing) >= TESTS_MOST:
            raise BindingRefusedError(device, "it, or enough others, is being tested now: wait for it", kind="busy")
        name = f"test:{device}:{self._dice.bytes(6).hex()}"
        blink = Blink(
            name,
            device,
            self._catalogue[planned.descriptor],
            last=partial(self._said, device),
            writer=self._writer,
            clock=self._clock,
        )
        if blink.disturbs and not disturb and self._occupied(planned.room):
            raise BindingRefusedError(
                device,
                f"somebody may be in room {planned.room}, and would notice: say disturb if that is meant",
                kind="occupied",
            )
        return await self._kept(self._test(device, blink, asked))

    async def _test(self, device: DeviceId, blink: Blink, asked: Asked) -> dict[str, Any]:
        version = self._book.version(device)
        self._testing.add(device)
        try:
            trial = await blink.run()
        finally:
            self._testing.discard(device)
        async with self._changing:
            if self._book.version(device) != version:
                raise BindingRefusedError(
                    device,
                    "it was changed while it was tested: the test says nothing of what stands there now",
                    kind="changed",
                )
            at = Asked(asked.by, self._clock.wall_ms(), version, asked.why)
            fact = await self._written(self._desk().tested(device, trial, at))
        return {"fact": fact.to_body(), "pending": []}

    async def _change(
        self, device: DeviceId, judge: Callable[[Desk], Fact], found_id: DeviceId | None
    ) -> dict[str, Any]:
        async with self._changing:
            if self._house.fire.active:
                raise BindingRefusedError(device, "there is fire: devices are left as they are", kind="fire")
            if device in self._testing:
                raise BindingRefusedError(device, "it is being tested now: wait for it", kind="busy")
            fact = await asyncio.to_thread(judge, self._desk())
            if fact.n <= self._book.n:
                return {"fact": fact.to_body(), "pending": []}  # asked again: it is so already
            plan = laid_over(self._plan(), {device: fact.place})
            touched = sorted({each.address.bus for each in (fact.before, fact.place) if each is not None})
            made = {} if self.buses is None else {bus: self.buses.made(plan, bus) for bus in touched}
            if self.before is not None and fact.place is not None:
                await self.before(plan)
            fact = await self._written(fact)
            self._apply(fact, plan, made, found_id)
        return {"fact": fact.to_body(), "pending": []}

    async def _written(self, fact: Fact) -> Fact:
        """Make a fact durable on lane A, and the book take it. Raises StoreFailedError: it is not durable."""
        mark = await self._log.source_mark(SOURCE, Lane.A)
        fact = numbered(fact, max(fact.n, mark + 1))  # the log knows of more than a book that was lost
        await self._log.append_once(SOURCE, fact.n, Lane.A, Entry(binding.KIND, fact.to_body()))
        try:
            await self._house.catch_up()
        except StoreFailedError as error:
            self._logger.error("bindings_not_stored", error=str(error))  # lane A has it: followed again
        self._book.take(fact)
        await self._keep_copy()
        return fact

    def _apply(self, fact: Fact, plan: SitePlan, made: Mapping[BusId, Served], found_id: DeviceId | None) -> None:
        """Change over; nothing here waits, so nobody sees half of it."""
        self._conflicts = {name: why for name, why in self._conflicts.items() if name != fact.device}
        if fact.act is Act.SWAPPED:
            model = None if fact.place is None else self._catalogue.get(fact.place.descriptor)
            has = () if model is None else all_points(model).keys()
            self._house.view.renewed(fact.device)  # what it said was another thing's word
            self._house.rooms.renewed(fact.device, has)  # and the new one is to hold what it held
        self._house.serve(plan, self._fresh_ms(plan, self._catalogue))
        self._devices.serve(plan, renewed=fact.device)
        if found_id is not None:
            self._devices.forget_unknown(found_id)
        if self.buses is not None:
            for bus, served in made.items():
                self.buses.replace(bus, served)
        self.changed(plan)
        self._logger.info("binding", act=fact.act.value, device=fact.device, by=fact.by, version=fact.version)

    # --- what it stands on ---------------------------------------------------------------------------------

    def _plan(self) -> SitePlan:
        return self._site if self._house.plan is None else self._house.plan

    def _desk(self) -> Desk:
        return Desk(self._book, self._plan(), self._catalogue, self._check)

    def _met(self) -> list[Found]:
        return [
            found(
                device,
                detail,
                since_ms=since_ms,
                site=self._plan(),
                catalogue=self._catalogue,
                stands_at=device if planned else None,
            )
            for device, detail, since_ms, planned in self._devices.met()
        ]

    def _proposal_told(self, proposal: Proposal) -> dict[str, Any]:
        swap_for = proposal.swap_for
        return {
            "act": "bind" if swap_for is None else "swap",
            "device": proposal.device,
            "version": self._book.version(proposal.device),
            "room": proposal.room,
            "descriptor": proposal.descriptor,
            "confidence": proposal.confidence,
            "reasons": proposal.reasons,
        }

    def _said(self, device: DeviceId, capability: Capability, attribute: str) -> Said | None:
        view, now_ms = self._house.view, self._clock.now_ms()
        room = view.room_of(device)
        for each in [] if room is None else view.shown([room], now_ms=now_ms):
            if (each.device, each.capability, each.attribute) == (device, capability, attribute):
                return Said(each.value, each.quality, now_ms - each.age_ms)
        return None

    def _occupied(self, room: RoomId) -> bool:
        """Say whether a guest may be there: believed to be, or living in it and not known to be out."""
        if room not in self._house.rooms.rooms():
            return False
        occupied = self._house.rooms.belief(room).occupied
        rented = any(each.state is StayState.IN_HOUSE for each in self._house.keeper.in_room(room))
        return occupied is True or (rented and occupied is None)

    async def _kept(self, work: Awaitable[T]) -> T:
        """Carry work to its end, whoever stops waiting for it."""
        task: asyncio.Task[T] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    def _take_copy(self) -> None:
        """Take the second copy where it knows more: edge.db was damaged and begun anew."""
        if self._disk is None:
            return
        try:
            copy = Book.from_bytes(self._disk.read(self._copy))
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            self._logger.error("bindings_copy_refused", path=str(self._copy), error=str(error))
            return
        if copy.n > self._book.n:
            self._logger.warning("bindings_from_copy", n=copy.n, before=self._book.n)
            self._book.n, self._book.entries = copy.n, copy.entries

    async def _keep_copy(self) -> None:
        if self._disk is None:
            return
        try:
            await asyncio.to_thread(write_atomic, self._disk, self._copy, self._book.to_bytes())
        except StoreFailedError as error:
            self._logger.error("bindings_copy_not_written", path=str(self._copy), error=str(error))


def _nobody(plan: SitePlan) -> None:
    """Nobody is told."""
    del plan


def _swap(  # noqa: PLR0917 - what is asked
    device: DeviceId,
    descriptor: DescriptorId,
    address: Address,
    asked: Asked,
    accept_less: bool,
    desk: Desk,
) -> Fact:
    return desk.swap(device, descriptor, address, asked, accept_less=accept_less)


def _found_told(each: Found, proposals: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": each.id,
        "bus": each.bus,
        "kind": each.kind,
        "address": None if each.address is None else msgspec.to_builtins(each.address),
        "stands_at": each.stands_at,
        "since_ms": each.since_ms,
        "candidates": [
            {"descriptor": one.descriptor, "confidence": one.confidence, "why": one.why} for one in each.candidates
        ],
        "proposals": proposals,
        "evidence": dict(each.evidence),
    }
