"""The ingest worker over PostgreSQL: what edges publish, into the database, and only then acknowledged.

Puts `cloud.telemetry.fan_in` together: one life of a worker, its leases and its ledger. Source of truth:
protocols/link/SPEC.md sections 5 to 8.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from cloud.kit.database import Database
from cloud.telemetry.fan_in.arrivals import Arrived, read
from cloud.telemetry.fan_in.hints import HintSender
from cloud.telemetry.fan_in.keeper import TICK, ShardKeeper
from cloud.telemetry.fan_in.lease_store import LEASE, PostgresLeases
from cloud.telemetry.fan_in.leases import Worker
from cloud.telemetry.fan_in.ledger import LOST, Counts, PostgresLedger
from cloud.telemetry.fan_in.returning import hold_ms
from cloud.telemetry.fan_in.worker import FanInWorker, WorkerSettings
from cloud.telemetry.ports import OwnerOf, Projection
from cloud.telemetry.store.port import TelemetryStore
from kit.clock import Clock
from kit.logs import logger
from kit.metrics import Metrics
from kit.net import Transport
from kit.task_groups import TaskGroup
from protocols.errors import LinkLostError
from protocols.link.messages import Ack
from protocols.link.topics import UpTopic


class IngestWorker:
    """Takes what edges publish on the shards it serves. `run` until cancelled; a lost broker raises LinkLostError.

    Args:
        transport: the cloud's broker.
        owner_of: whose edge it is, asked at most once a minute an edge.
        projections: what other modules make of records, by record kind, in the order they are to run.
        store: the time series that readings go to.
        me: this life of this worker; no two that run may share it.
        lease: how long a shard stays this worker's without a renewal.
    """

    def __init__(
        self,
        database: Database,
        transport: Transport,
        *,
        owner_of: OwnerOf,
        projections: Mapping[str, Sequence[Projection]],
        clock: Clock,
        store: TelemetryStore | None = None,
        metrics: Metrics | None = None,
        settings: WorkerSettings | None = None,
        me: Worker | None = None,
        lease: timedelta = LEASE,
        tick: timedelta = TICK,
    ) -> None:
        self._count = _metrics(metrics)
        self._settings = settings or WorkerSettings()
        self._hints = HintSender(database)
        self._ledger = PostgresLedger(
            database, owner_of=owner_of, projections=projections, clock=clock, store=store, count=self._count,
            hint=self._hints.add, returns_a_second=self._settings.returns_a_second,
            points_most=self._settings.points_most,
        )  # fmt: skip
        self._keeper = ShardKeeper(
            PostgresLeases(database, lease=lease), me or Worker("ingest", "1"), clock=clock, lease=lease, tick=tick
        )
        self._worker = FanInWorker(
            transport,
            self._ledger,
            self._keeper,
            clock=clock,
            settings=self._settings,
            lost=LOST,
            refused=self._ledger.refuse,
            dropped=self._dropped,
        )
        self._clock = clock
        self._log = logger("cloud.telemetry")

    @property
    def counts(self) -> Counts:
        """What was done since the start."""
        return self._ledger.counts

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker."""
        return self._worker.connected

    @property
    def shards(self) -> frozenset[int]:
        """The shards that this worker serves now."""
        return self._worker.shards

    async def run(self) -> None:
        """See `FanInWorker.run`; hints are sent beside it."""
        try:
            async with TaskGroup() as tasks:
                tasks.create_task(self._hints.run())
                await self._worker.run()
        except* LinkLostError as lost:
            raise LinkLostError(str(lost.exceptions[0])) from lost

    async def hand_over(self) -> None:
        """See `FanInWorker.hand_over`; what was stored is hinted at."""
        await self._worker.hand_over()
        await self.hint()

    async def hint(self) -> None:
        """Send the hints of what was stored, if the database is there."""
        with suppress(*LOST):
            await self._hints.send()

    async def take(self, topic: UpTopic, payload: bytes, *, waited_ms: int = 0) -> Ack | None:
        """Ingest one message, whoever serves its shard, and return the ack to send; None: nothing is acknowledged."""
        item = read(Arrived(topic, payload, self._clock.now_ms()))
        try:
            replies = await self._ledger.commit([] if item is None else [item])
        except LOST as error:
            self._dropped(1)
            self._log.warning("ingest_not_stored", edge=topic.edge, what=topic.what.value, error=str(error))
            return None
        await self.hint()
        ack = replies[0].ack if replies else None
        if ack is not None and timedelta(milliseconds=waited_ms) > self._settings.slow_after:
            most_ms = self._settings.slow // timedelta(milliseconds=1)
            ack = replace(ack, slow_ms=hold_ms(topic.edge, waited_ms, most_ms))
        return ack

    def _dropped(self, messages: int) -> None:
        if messages:
            self.counts.unstored += messages
            self._count("unstored", messages)


def _metrics(metrics: Metrics | None) -> Callable[[str, int], None]:
    if metrics is None:
        return lambda _what, _by: None
    counter = metrics.counter("ingest_total", "What the ingest did with what edges sent.", ("what",))
    return lambda what, by: counter.labels(what=what).inc(by)
