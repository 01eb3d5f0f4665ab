"""The house's values for Prometheus: one gauge, a series for each number that a planned device says now. Pure.

What is bad or stale has no sample: a scrape must never make an old number look like a new one. Words (modes, codes)
have no
number and are left out. Labels are names of the site plan: a closed set, and nothing of a guest.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from protocols.device_model.reading import Quality

NAME: Final = "device_value"
HELP: Final = "What a device says now, in the unit that the label names"
LABELS: Final = ("device", "capability", "attribute", "unit")


def rows(values: Iterable[Mapping[str, Any]]) -> list[tuple[tuple[str, str, str, str], float]]:
    """Return (label values, number) of every value that is a number and believed.

    Args:
        values: {"device", "capability", "attribute", "value", "unit", "quality"}, as the live state tells it.
    """
    found = []
    for each in values:
        value = each.get("value")
        if each.get("quality") not in (Quality.GOOD, Quality.UNCERTAIN) or not isinstance(value, bool | int | float):
            continue
        labels = (str(each["device"]), str(each["capability"]), str(each["attribute"]), str(each.get("unit") or ""))
        found.append((labels, float(value)))
    return found
