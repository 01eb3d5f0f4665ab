"""The doors process: settings in, parts joined, run until told to stop. The one place in this room that constructs.

The store and the desk come first, so that grants are issued at once; the radio is supervised beside them, so that a
dead adapter delays no guest at the desk.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from edge.doors.closing_desk import ClosingDesk
from edge.doors.door_book import DoorBook, read_secret_json
from edge.doors.grant_desk import GrantDesk
from edge.doors.grant_keeping import EVERY_MS, Agreement, GrantKeeping
from edge.doors.intake import Intake
from edge.doors.issuers import Issuers, SoundTime
from edge.doors.number_mark import NumberMark
from edge.doors.put_back import PutBack, tell_at_doors
from edge.doors.radio import DoorRadio
from edge.doors.server import DoorsServer
from edge.doors.settings import DoorsSettings
from edge.doors.staff_desk import StaffDesk
from edge.doors.store import DoorStore
from edge.doors.sync import LockSync
from edge.doors.vendors.desk import KeyDesk
from edge.doors.vendors.foreign import ForeignSystem
from edge.doors.vendors.ledger import KeyLedger
from edge.doors.vendors.reach import Reach
from edge.doors.vendors.remote_desk import RemoteDesk
from kit import event_loop
from kit.clock import Clock, SystemClock
from kit.dice import Dice, SystemDice
from kit.files import SystemDisk
from kit.health import Health
from kit.logs import configure, logger
from kit.memory import settle
from kit.metrics import Metrics
from kit.settings import load
from kit.supervision import Backoff, Supervisor
from protocols.errors import InvalidInputError, PlatformError, StoreFailedError
from protocols.grant.keys import PropertyCa

SETTLE_AFTER_S: Final = 5.0
WATCH_EVERY_S: Final = 60.0
VENDOR_BACKOFF: Final = Backoff(first_ms=5_000, most_ms=300_000)
RADIO_BACKOFF: Final = Backoff(first_ms=500, most_ms=15_000)
EPOCH_BYTES: Final = 16
FAILED: Final = 1
WRONG_CONFIGURATION: Final = 2

OpensRadio: TypeAlias = Callable[[], AbstractAsyncContextManager[DoorRadio]]


class Doors:
    """All parts of the process but the radio, which comes and goes."""

    def __init__(
        self,
        *,
        book: DoorBook,
        ca: PropertyCa,
        store: DoorStore,
        settings: DoorsSettings,
        clock: Clock,
        dice: Dice,
        foreign: Sequence[ForeignSystem] = (),
        ledger: KeyLedger | None = None,
    ) -> None:
        if ca.property_id != book.property_id:
            raise InvalidInputError(
                "property_ca_key_path", f"is of property {ca.property_id!r}, the site plan of {book.property_id!r}"
            )
        self.health, self.metrics = Health(clock), Metrics("doors")
        for part in ("socket", "clock"):
            self.health.expect(part)
        damaged = store.set_aside
        self.health.report("store", damaged is None, "" if damaged is None else f"damaged, set aside as {damaged.name}")
        self.time = SoundTime(clock, store)
        self._clock, self._looks_ms, self._agreed = clock, clock.now_ms(), Agreement()
        self.issuers = Issuers(ca, dice, officers=settings.officer_points())
        self.staff = StaffDesk(book=book, store=store, issuers=self.issuers, time=self.time, dice=dice)
        self.desk = GrantDesk(
            book=book,
            store=store,
            issuers=self.issuers,
            time=self.time,
            clock=clock,
            dice=dice,
            policy=settings.grants,
            bumped=self._bumped,
        )
        self.closing = ClosingDesk(book=book, store=store, issuers=self.issuers, time=self.time, news=self._bumped)
        self.sync = LockSync(
            book=book,
            store=store,
            desk=self.desk,
            closing=self.closing,
            ca=ca,
            time=self.time,
            clock=clock,
            dice=dice,
            metrics=self.metrics,
        )
        self._keeping = GrantKeeping(store, book, self.sync.reads)
        self.keys: KeyDesk | None = None
        self.remote: RemoteDesk | None = None
        if ledger is not None:
            self.keys = KeyDesk(
                foreign, property_id=book.property_id, ledger=ledger, clock=clock, dice=dice, metrics=self.metrics
            )
            self.remote = RemoteDesk(
                foreign,
                property_id=book.property_id,
                ledger=ledger,
                time=self.time,
                clock=clock,
                sealed=self.closing.is_sealed,
                news=self.keys.news.set,
                metrics=self.metrics,
            )
        self.intake = Intake(
            book=book,
            store=store,
            desk=self.desk,
            sync=self.sync,
            closing=self.closing,
            ca=ca,
            time=self.time,
            metrics=self.metrics,
        )
        self.server = DoorsServer(
            settings.socket_path,
            book=book,
            desk=self.desk,
            staff=self.staff,
            closing=self.closing,
            store=store,
            sync=self.sync,
            issuers=self.issuers,
            time=self.time,
            clock=clock,
            health=self.health,
            metrics=self.metrics,
            intake=self.intake,
            keys=self.keys,
            remote=self.remote,
            put_back=PutBack("doors_store_put_back", store, told=partial(self._tell_put_back, book, store)),
        )

    def _tell_put_back(self, book: DoorBook, store: DoorStore) -> None:
        store.forget_up_to(store.spent)
        tell_at_doors(book, store, self.time)
        self.sync.changed.set()

    def _bumped(self, locks: Sequence[bytes]) -> None:
        self.sync.bumped(locks)

    async def watch(self) -> None:
        """Let issuer keys go when their window has passed, and report the clock, until cancelled."""
        while True:
            sound = self.time.is_sound()
            self.health.report("clock", sound, "" if sound else "unsound: verifies, signs nothing")
            if sound:
                self.desk.begin(self.time.at_ms() // 1_000)
                self.issuers.expire(self.time.at_ms() // 1_000)
                self.closing.settle()
                self._let_go()
            await asyncio.sleep(WATCH_EVERY_S)

    def _let_go(self) -> None:
        """Look through a part of the store for what nobody asks for any more, when it is time."""
        if self._clock.now_ms() < self._looks_ms:
            return
        self._looks_ms = self._clock.now_ms() + EVERY_MS
        if not self._agreed.holds(self._clock.wall_ms(), self._clock.now_ms()):
            return
        if any((gone := self._keeping.look(self.time.at_ms())).values()):
            logger("edge.doors").info("doors_store_let_go", **gone)

    async def listen(self, radio: OpensRadio) -> None:
        """Open the adapter and visit locks until it fails. Raises LinkLostError."""
        async with radio() as opened:
            self.health.report("radio", ok=True)
            await self.sync.run(opened)


async def run(
    settings: DoorsSettings,
    *,
    radio: OpensRadio,
    clock: Clock | None = None,
    dice: Dice | None = None,
    reach: Reach | None = None,
) -> None:
    """Run the doors until SIGTERM, SIGINT or cancellation.

    Args:
        settings: doors.toml.
        radio: Opens the adapter.
        clock: The machine's, unless handed in.
        dice: The machine's, unless handed in.
        reach: The same Bluetooth, for locks of other makers.

    Raises:
        InvalidInputError: a file is missing or wrong.
        StoreFailedError: the store cannot be opened, or was found damaged: the next start sets it aside.
    """
    clock = clock or SystemClock(settings.clock_trust)
    dice = dice or SystemDice()
    log = logger("edge.doors")
    book = DoorBook.read(settings.site_plan_path, settings.door_secrets_path)
    if closed := [each.door for each in book.closed_to_guests]:
        log.error("doors_closed_to_guests", doors=closed, why="their zones open a plant room too: give them their own")
    path = settings.property_ca_key_path
    ca = PropertyCa.from_document(read_secret_json(path), str(path))
    numbers = NumberMark(settings.store_path.with_name(f"{settings.store_path.stem}-numbers"), SystemDisk())
    store = DoorStore(
        settings.store_path,
        epoch=dice.bytes(EPOCH_BYTES),
        at_ms=clock.wall_ms(),
        numbers=numbers,
    )
    ledger: KeyLedger | None = None
    keys: KeyDesk | None = None
    try:
        if store.set_aside is not None:
            log.error("doors_store_damaged", set_aside=str(store.set_aside), saved=store.saved)
        foreign: list[ForeignSystem] = []
        if settings.lock_systems:
            try:  # aiohttp and the vendors' libraries: only here
                from edge.doors.vendors.choice import foreign_systems
            except ModuleNotFoundError as error:
                raise InvalidInputError("lock_systems", f"{error}: install innkeeper[locks]") from error
            path = settings.vendor_keys_path or settings.store_path.with_name("vendor-keys.db")
            ledger = KeyLedger(path, epoch=dice.bytes(EPOCH_BYTES), at_ms=clock.wall_ms(), changes=numbers.changes)
            foreign = foreign_systems(settings.lock_systems, clock, reach=reach, slot_book=ledger)
            if ledger.set_aside is not None:
                log.error("vendor_keys_damaged", set_aside=str(ledger.set_aside))
        doors = Doors(
            book=book,
            ca=ca,
            store=store,
            settings=settings,
            clock=clock,
            dice=dice,
            foreign=foreign,
            ledger=ledger,
        )
        keys = doors.keys
        stop = asyncio.Event()
        harm: list[str] = []

        def damaged() -> None:
            harm.append("the store is damaged: starting again sets it aside")
            stop.set()

        store.damaged = damaged
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            async with Supervisor(clock=clock, dice=dice, log=log, health=doors.health) as supervisor:
                supervisor.start("socket", doors.server.run)
                supervisor.start("watch", doors.watch)
                supervisor.start("radio", lambda: doors.listen(radio), restart=RADIO_BACKOFF)
                if keys is not None:
                    supervisor.start("vendor-keys", keys.heal, restart=RADIO_BACKOFF)
                    for each in foreign:
                        watch = partial(keys.watch, each.name)
                        supervisor.start(f"vendor-{each.name}", watch, restart=VENDOR_BACKOFF)
                settling = loop.call_later(SETTLE_AFTER_S, settle)
                log.info("doors_started", property=book.property_id, doors=len(book.doors))
                await stop.wait()
                settling.cancel()
                log.info("doors_stopping")
            if harm:
                raise StoreFailedError(f"{settings.store_path}: {harm[0]}")
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
    finally:
        if keys is not None:
            await keys.close()
        if ledger is not None:
            ledger.close()
        store.close()


def main(
    config: Path,
    environ: Mapping[str, str],
    radio: Callable[[DoorsSettings, Clock], OpensRadio],
    reach: Reach | None = None,
) -> int:
    """Run `innkeeper-edge doors`; return the exit status: 0, 1 (failed) or 2 (wrong configuration).

    `radio` chooses the Bluetooth that the settings name: edge/app does, the doors know no adapter. `reach`: the same
    Bluetooth, for locks of other makers.
    """
    try:
        settings = load(DoorsSettings, config, "DOORS", environ)
    except PlatformError as error:
        return _say(WRONG_CONFIGURATION, error)
    configure("doors", settings.log_level, json=settings.log_json)
    try:
        clock = SystemClock(settings.clock_trust)
        event_loop.run(run(settings, clock=clock, radio=radio(settings, clock), reach=reach))
    except InvalidInputError as error:
        return _say(WRONG_CONFIGURATION, error)
    except PlatformError as error:
        return _say(FAILED, error)
    return 0


def _say(status: int, error: PlatformError) -> int:
    sys.stderr.write(f"innkeeper-edge doors: {error}\n")
    return status
