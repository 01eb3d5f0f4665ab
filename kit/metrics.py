"""Numbers for Prometheus: one registry a process, handed in, so that tests and emulators never share counters."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

PREFIX: Final = "innkeeper_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_M = TypeVar("_M", Counter, Gauge, Histogram)


class _Table(Collector):
    """Asks for its rows each time it is rendered."""

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 - prometheus_client's word
        labels: tuple[str, ...],
        read: Callable[[], Iterable[tuple[Sequence[str], float]]],
    ) -> None:
        self._name, self._help, self._labels, self._read = name, help, labels, read

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(self._name, self._help, labels=self._labels)]

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self._name, self._help, labels=self._labels)
        for values, number in self._read():
            family.add_metric(values, number)
        return [family]


class Metrics:
    """The metrics of one process.

    Names are given without the prefix and end in their unit (`_seconds`, `_bytes`); Prometheus adds `_total`
    to counters. Labels must come from small closed sets (a lane, a reason), never from guests or payloads.

    Args:
        service: value of the label `service` on `innkeeper_up`.
    """

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self._known: dict[str, tuple[tuple[str, ...], Counter | Gauge | Histogram]] = {}
        ProcessCollector(registry=self.registry)
        self.gauge("up", "1 while the process serves", labels=("service",)).labels(service).set(1)

    def counter(self, name: str, help: str, labels: Sequence[str] = ()) -> Counter:  # noqa: A002 - Prometheus' word
        """Return the counter `innkeeper_<name>_total`; asking again gives the same one."""
        return self._made(Counter, name, help, labels)

    def gauge(self, name: str, help: str, labels: Sequence[str] = ()) -> Gauge:  # noqa: A002 - prometheus_client's word
        """Return the gauge `innkeeper_<name>`."""
        return self._made(Gauge, name, help, labels)

    def histogram(
        self,
        name: str,
        help: str,  # noqa: A002 - prometheus_client's word
        labels: Sequence[str] = (),
        buckets: Sequence[float] = SECONDS,
    ) -> Histogram:
        """Return the histogram `innkeeper_<name>`; `buckets` are upper bounds, in seconds by default."""
        known = self._found(Histogram, name, labels)
        if known is not None:
            return known
        made = Histogram(PREFIX + name, help, tuple(labels), registry=self.registry, buckets=tuple(buckets))
        self._known[name] = (tuple(labels), made)
        return made

    def table(
        self,
        name: str,
        help: str,  # noqa: A002 - prometheus_client's word
        labels: Sequence[str],
        read: Callable[[], Iterable[tuple[Sequence[str], float]]],
    ) -> None:
        """Show as the gauge `innkeeper_<name>` what `read` returns when asked: label values, in order, and a number.

        For numbers that somebody else counts under names of his own; they too must come from a small closed set.
        """
        self.registry.register(_Table(PREFIX + name, help, tuple(labels), read))

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)

    def _made(self, kind: type[_M], name: str, text: str, labels: Sequence[str]) -> _M:
        known = self._found(kind, name, labels)
        if known is not None:
            return known
        made = kind(PREFIX + name, text, tuple(labels), registry=self.registry)
        self._known[name] = (tuple(labels), made)
        return made

    def _found(self, kind: type[_M], name: str, labels: Sequence[str]) -> _M | None:
        if name not in self._known:
            return None
        known_labels, known = self._known[name]
        if not isinstance(known, kind) or known_labels != tuple(labels):
            raise ValueError(f"metric {name} is already a {type(known).__name__} with labels {known_labels}")
        return known
