"""Which firmware a device runs, as far as it has said so, and the descriptor that follows from it.

Pure; what is done about it is the supervisors'. Source of truth: protocols/descriptors/SPEC.md section 8.
"""

from typing import Final

from protocols.descriptors.descriptor import Descriptor, Point
from protocols.descriptors.firmware import all_points, quirks_of, told_apart, under, version_of
from protocols.descriptors.variants import Key, Version, key_of

PATIENCE_MS: Final = 10_000
"""A device that is there and has not said its version for so long is told as one that does not."""
ASKED_EVERY_MS: Final = 600_000
"""How often a device is asked again: a firmware may be updated without anybody noticing the restart."""
ASKED_AGAIN_MS: Final = 60_000
"""One that answered with what is no version is asked so soon."""
QUIRKS_CHARACTERS_MAX: Final = 200


class Running:
    """One device's firmware. `descriptor` is its model under that firmware."""

    def __init__(self, model: Descriptor) -> None:
        self.model = model
        self.descriptor = under(model, None)
        self.text: str | None = None
        self._version: Version | None = None

    @property
    def known(self) -> bool:
        """Whether the device has said which version it runs, or it makes no difference."""
        return self._version is not None or not told_apart(self.model)

    @property
    def quirks(self) -> str:
        """What this firmware does otherwise, for people."""
        return "; ".join(each.says for each in quirks_of(self.model, self._version))[:QUIRKS_CHARACTERS_MAX]

    def heard(self, text: object) -> bool:
        """Take what the device says of its version; True if that is another than before. Nonsense changes nothing."""
        version = version_of(self.model.firmware, text)
        if version is None or version == self._version:
            return False
        self._version, self.text = version, str(text)
        self.descriptor = under(self.model, version)
        return True

    def says_none(self, text: object) -> bool:
        """Say whether an answer to the question for the version tells none."""
        return version_of(self.model.firmware, text) is None

    def forget(self) -> None:
        """Hold the device to what all firmwares have alike: it may be another thing, or another firmware, now."""
        self._version, self.text, self.descriptor = None, None, under(self.model, None)

    def withheld(self) -> list[Point]:
        """Return the points of any firmware that are not told and not written under this one."""
        mine = {key_of(point) for point in self.descriptor.points}
        return [point for key, point in all_points(self.model).items() if key not in mine]

    def has(self, key: Key) -> bool:
        """Whether some firmware of the model has the attribute."""
        return key in all_points(self.model)
