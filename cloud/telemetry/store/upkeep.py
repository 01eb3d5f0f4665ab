"""Keeps the time series in order while the service runs: rolls up, compresses, lets go; says how far it is."""

import asyncio
from typing import Final, Protocol

import psycopg

from cloud.telemetry.store.port import MaintenanceReport, TelemetryStore
from kit.clock import Clock
from kit.metrics import Metrics
from protocols.errors import StoreFailedError

EVERY_S: Final = 10.0
AGAIN_S: Final = 0.1
"""Between runs while there is more to do: writers come first."""


class Logger(Protocol):
    """What upkeep needs of a logger."""

    def info(self, event: str, **facts: object) -> object:
        """Log a fact."""
        ...


class Upkeep:
    """The runner of maintenance. Any number may run: one works at a time."""

    def __init__(self, store: TelemetryStore, *, clock: Clock, log: Logger, metrics: Metrics | None = None) -> None:
        self._store, self._clock, self._log = store, clock, log
        self._counts = None if metrics is None else metrics.counter(
            "telemetry_upkeep_total", "What upkeep of the time series did.", ("what",)
        )  # fmt: skip

    async def run(self) -> None:
        """Maintain until cancelled. Raises StoreFailedError when the database goes away: start it again."""
        while True:
            more = await self.once()
            await asyncio.sleep(AGAIN_S if more else EVERY_S)

    async def once(self) -> bool:
        """Run maintenance once; return whether there is more to do."""
        try:
            report = await self._store.run_maintenance(self._clock.wall_ms())
        except psycopg.OperationalError as error:
            raise StoreFailedError(f"upkeep of the time series: {error}") from error
        self._tell(report)
        return report.more

    def _tell(self, report: MaintenanceReport) -> None:
        if report.dropped or report.held_back or report.folded:
            self._log.info("telemetry_upkeep", dropped=report.dropped, held_back=report.held_back, folded=report.folded)
        if self._counts is None:
            return
        for resolution, count in report.rolled_up.items():
            self._counts.labels(what=f"rolled_up_{resolution.value}").inc(count)
        for what, count in (
            ("folded", report.folded), ("dropped", len(report.dropped)), ("held_back", len(report.held_back)),
            ("compressed", report.compressed), ("sealed", report.sealed),
        ):  # fmt: skip
            self._counts.labels(what=what).inc(count)
