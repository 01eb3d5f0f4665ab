"""Metrics: one registry a process, one prefix, no second meaning for a name."""

import pytest

from kit.metrics import Metrics


def test_names_carry_the_prefix_and_two_registries_share_nothing() -> None:
    first, second = Metrics("edge"), Metrics("cloud")
    first.counter("records", "Records appended", labels=("lane",)).labels("A").inc(3)
    second.counter("records", "Records appended", labels=("lane",)).labels("A").inc()
    assert b'innkeeper_records_total{lane="A"} 3.0' in first.render()
    assert b'innkeeper_records_total{lane="A"} 1.0' in second.render()
    assert b'innkeeper_up{service="edge"} 1.0' in first.render()


def test_asking_again_gives_the_same_metric() -> None:
    metrics = Metrics("edge")
    assert metrics.counter("opened", "Doors") is metrics.counter("opened", "Doors")
    assert metrics.gauge("backlog", "Rows") is metrics.gauge("backlog", "Rows")
    assert metrics.histogram("commit_seconds", "Commit") is metrics.histogram("commit_seconds", "Commit")


def test_a_name_has_one_kind_and_one_set_of_labels() -> None:
    metrics = Metrics("edge")
    metrics.counter("opened", "Doors")
    with pytest.raises(ValueError, match="opened is already a Counter"):
        metrics.gauge("opened", "Doors")
    with pytest.raises(ValueError, match="opened is already a Counter"):
        metrics.counter("opened", "Doors", labels=("door",))


def test_a_histogram_counts_in_its_buckets() -> None:
    metrics = Metrics("edge")
    metrics.histogram("unlock_seconds", "Unlock decision", buckets=(0.02, 0.1)).observe(0.05)
    assert b'innkeeper_unlock_seconds_bucket{le="0.02"} 0.0' in metrics.render()
    assert b'innkeeper_unlock_seconds_bucket{le="0.1"} 1.0' in metrics.render()


def test_a_table_shows_what_it_is_told_when_it_is_asked() -> None:
    metrics, counts = Metrics("edge"), {"requests": 1}
    metrics.table("bus_counts", "Bus", ("bus", "what"), lambda: [(("b", what), n) for what, n in counts.items()])
    assert b'innkeeper_bus_counts{bus="b",what="requests"} 1.0' in metrics.render()
    counts |= {"requests": 2, 'odd "\n': 3}
    assert b'innkeeper_bus_counts{bus="b",what="requests"} 2.0' in metrics.render()
    assert b'what="odd \\"\\n"} 3.0' in metrics.render()
