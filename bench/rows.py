"""The shape of a result: what every benchmark returns and `build/bench/<name>.json` holds."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import TypedDict


class Row(TypedDict):
    """One measured figure with its spread, and how it stands against a peer or limit of the same run."""

    name: str
    median: float
    min: float
    max: float
    unit: str
    ratio_to: str | None
    ratio: float | None
    bar: str | None
    holds: bool | None


def row(
    name: str,
    samples: Sequence[float],
    unit: str,
    *,
    ratio_to: str | None = None,
    peer: float | None = None,
    bar: str | None = None,
    holds: Callable[[float, float | None], bool] | None = None,
) -> Row:
    """Make a row from samples.

    Args:
        name: What was measured, with its conditions.
        samples: One figure a run, in `unit`; at least one.
        unit: For people, such as "ms" or "rows/s".
        ratio_to: The name of the peer or limit that `peer` was measured on in the same run.
        peer: Its figure, in the same unit.
        bar: What is asked, in words.
        holds: Judges (median, ratio); None where nothing is asked.
    """
    middle = median(samples)
    ratio = middle / peer if peer else None
    return Row(
        name=name,
        median=middle,
        min=min(samples),
        max=max(samples),
        unit=unit,
        ratio_to=ratio_to,
        ratio=ratio,
        bar=bar,
        holds=None if holds is None else holds(middle, ratio),
    )


def quantile(samples: Sequence[float], fraction: float) -> float:
    """Return the sample below which `fraction` of the others lie (nearest rank)."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]
