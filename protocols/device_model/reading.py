"""A reading: what a device said of one attribute, and how far it is to be believed.

Source of truth: SPEC.md section 3.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from protocols.device_model.capability import Capability, Unit, attribute, problem_with
from protocols.device_model.capability import Value as Value  # noqa: PLC0414 - a reading's word too
from protocols.device_model.identity import DeviceId, parse_device_id
from protocols.errors import InvalidInputError, PeerProtocolError

REASON_CHARACTERS_MAX: Final = 120
TIME_MS_MAX: Final = 2**53 - 1


class Quality(StrEnum):
    """How far a value is to be believed."""

    GOOD = "good"
    UNCERTAIN = "uncertain"  # the device itself doubts it, or it is a set value that was not read back
    BAD = "bad"  # the device answered nonsense, a fault code or an error: the value is None
    STALE = "stale"  # it was good and has not been heard for too long: the value is the last one known


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One attribute of one device at one moment.

    `value` is None exactly if `quality` is bad, or stale with nothing ever known. `device_at_ms` is the device's
    own clock (Unix ms, UTC), None if it has none. `reason` says in a few words why a value is not good.
    """

    device: DeviceId
    capability: Capability
    attribute: str
    value: Value | None
    unit: Unit | None
    quality: Quality
    device_at_ms: int | None = None
    reason: str | None = None

    def to_body(self) -> dict[str, Any]:
        """Return a flat map of JSON- and CBOR-safe values; `reason` and `device_at_ms` only if there are any."""
        body: dict[str, Any] = {
            "device": str(self.device),
            "capability": self.capability.value,
            "attribute": self.attribute,
            "value": self.value,
            "unit": None if self.unit is None else self.unit.value,
            "quality": self.quality.value,
        }
        if self.device_at_ms is not None:
            body["device_at_ms"] = self.device_at_ms
        if self.reason is not None:
            body["reason"] = str(self.reason)  # may be an enumeration's member, which is not plain text
        return body

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> "Reading":
        """Return the reading of a body; keys that are not a reading's (a record's room) are left alone.

        Raises:
            PeerProtocolError: the body is no reading: a key is missing, or a value cannot be one.
        """
        try:
            capability = Capability(body["capability"])
            name, value, unit = body["attribute"], body["value"], body["unit"]
            if not isinstance(name, str):
                raise PeerProtocolError(f"no reading: attribute {name!r:.80}")
            reading = cls(
                device=parse_device_id(body["device"]),
                capability=capability,
                attribute=name,
                value=value,
                unit=None if unit is None else Unit(unit),
                quality=Quality(body["quality"]),
                device_at_ms=body.get("device_at_ms"),
                reason=body.get("reason"),
            )
            row = attribute(capability, name)
        except (KeyError, ValueError, TypeError, InvalidInputError) as error:
            raise PeerProtocolError(f"no reading: {error}") from error
        if (problem := _problem(reading, row.unit)) is not None:
            raise PeerProtocolError(f"no reading: {problem}")
        if reading.quality is not Quality.BAD and value is not None and (why := problem_with(row, value)):
            raise PeerProtocolError(f"no reading: {capability}.{name}: {why}")
        return reading


def _problem(reading: Reading, unit: Unit | None) -> str | None:
    if reading.unit is not unit:
        return f"{reading.capability}.{reading.attribute} is in {unit}, not {reading.unit}"
    if reading.value is None and reading.quality in (Quality.GOOD, Quality.UNCERTAIN):
        return f"{reading.quality} without a value"
    if reading.value is not None and reading.quality is Quality.BAD:
        return "bad, and yet a value"
    at, reason = reading.device_at_ms, reading.reason
    if at is not None and (type(at) is not int or not 0 <= at <= TIME_MS_MAX):
        return f"device_at_ms {at!r:.80}"
    if reason is not None and (type(reason) is not str or len(reason) > REASON_CHARACTERS_MAX):
        return f"reason {reason!r:.80}"
    return None
