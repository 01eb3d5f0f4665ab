"""How fine a wire is: how far a value read back may lie from the one written, and whether its raw values can tell.

Source of truth: SPEC.md section 2.
"""

from decimal import Decimal
from math import ulp
from typing import Final

from protocols.descriptors.raw_values import RAW_RANGE
from protocols.device_model.capability import Unit

NUMBER_DIGITS_MAX: Final = 12
"""Decimals that a value is kept to where it is reckoned from a raw one, and a numeral's raw one."""
LAST_DIGIT: Final = 10.0**-NUMBER_DIGITS_MAX
INEXACT: Final = frozenset(("float32", "float64", "Float", "Double"))
_SINGLE: Final = frozenset(("float32", "Float"))
_SINGLE_DIGITS: Final = 7


def resolution(kind: str, value: float, *, scale: float, step: float | None, unit: Unit | None) -> float:
    """Return by how much two values of a raw type lie apart that are not the same, near `value`.

    JSON says nothing of its numbers' resolution: it is the step in which they are written, where that is the finer.
    """
    fine = max(1e-4, abs(value) * 2e-6) if kind in INEXACT else abs(scale)
    if kind not in ("number", "numeral"):
        return fine
    if step is not None:
        return min(fine, step)
    return fine / 10 if unit is Unit.CELSIUS else fine  # half a degree is what thermostats are moved by


def is_told_apart(kind: str, value: float, raw: Decimal, scale: float, apart: float) -> bool:
    """Say whether a value that is reckoned into `raw`, and from it again, is still told from those `apart` from it."""
    grain = 0.0
    if kind in _SINGLE:
        grain = 10.0 ** (raw.adjusted() + 1 - _SINGLE_DIGITS) if raw else 0.0
    elif kind not in RAW_RANGE and kind != "integer":
        grain = max(4 * ulp(float(raw)), 2 * LAST_DIGIT)  # what the value itself loses comes on top
    return max(grain * abs(scale), 4 * ulp(value), 2 * LAST_DIGIT) <= apart
