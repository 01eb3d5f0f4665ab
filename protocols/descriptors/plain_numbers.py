"""What an ordinary number at a point means, for who hears many: all that can be known beforehand is looked up once.

Source of truth: `codec.judge`. What is not an ordinary good number is left to it (tests hold one against the other).
"""

from functools import lru_cache
from sys import float_info

import msgspec

from protocols.descriptors.codec import scaled
from protocols.descriptors.descriptor import Point
from protocols.device_model.capability import Kind


class PlainNumber(msgspec.Struct, frozen=True):
    """How the ordinary numbers at a point are read; made by `plain_number`."""

    least: float
    most: float
    scale: float
    offset: float
    whole: bool

    def value(self, raw: object) -> float | None:
        """Return the good value that `judge` makes of a raw value; None: ask `judge`."""
        if type(raw) is not float and type(raw) is not int:
            return None
        value = raw if self.scale == 1.0 and self.offset == 0.0 else scaled(raw, self.scale, self.offset)
        if not self.least <= value <= self.most:  # NaN too
            return None
        return round(value) if self.whole else value


@lru_cache(maxsize=4_096)
def plain_number(point: Point) -> PlainNumber | None:
    """Return how the ordinary numbers at a point are read; None: it holds something else, or needs a closer look.

    Remembered: a house has hundreds of devices of one model.
    """
    row = point.row
    if row.kind not in (Kind.NUMBER, Kind.INTEGER) or point.values or point.nan or point.doubt:
        return None
    least, most = point.range
    return PlainNumber(
        least=-float_info.max if least is None else least,
        most=float_info.max if most is None else most,
        scale=point.scale,
        offset=point.offset,
        whole=row.kind is Kind.INTEGER,
    )
