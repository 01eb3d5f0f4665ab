"""What was announced to Home Assistant: kept by the broker under our own base, read by the edge's next life.

The broker is where what was announced is kept, so what is to be taken back one day is kept beside it: an edge that was
replaced, or whose plan changed while it was down, finds it there.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from protocols.device_model.identity import NAME

_PART: Final = re.compile(r"[A-Za-z0-9_.:-]{1,120}")
_NAME: Final = re.compile(NAME)


class AnnouncedModel(msgspec.Struct, frozen=True):
    """A model as it was announced: component by entity, and `<capability>.<attribute>` of its values."""

    components: dict[str, str]
    values: list[str]


class Announced(msgspec.Struct, frozen=True):
    """Every device that was announced, by its model as announced; `discovery`: in which ways; `edges`: by whom."""

    models: dict[str, AnnouncedModel]
    devices: dict[str, str]
    discovery: list[str]
    edges: list[str]

    def components(self, device: str) -> Mapping[str, str]:
        """Return a device's entities, their components by their names; none of one that was not announced."""
        model = self.devices.get(device)
        return {} if model is None else self.models[model].components

    def joined(self, older: "Announced") -> "Announced":
        """Return both, so that nothing is forgotten before it is taken back; of a device in both, all it ever had."""
        models, devices = dict(self.models), dict(self.devices)
        for device, model in older.devices.items():
            then = older.models[model]
            if device in devices:
                now = self.models[devices[device]]
                values = dict.fromkeys([*now.values, *then.values])
                then = AnnouncedModel({**then.components, **now.components}, list(values))
            name = model
            while models.setdefault(name, then) != then:
                name += "'"
            devices[device] = name
        kept = {each: models[each] for each in devices.values()}
        discovery, edges = {*self.discovery, *older.discovery}, {*self.edges, *older.edges}
        return Announced(kept, devices, sorted(discovery), sorted(edges))

    def encode(self) -> bytes:
        """Return it as the broker keeps it."""
        return msgspec.json.encode(self)

    @classmethod
    def parse(cls, payload: bytes) -> "Announced | None":
        """Return what the broker kept; None if it is not ours to read: whoever may publish there may say anything."""
        try:
            found = msgspec.json.decode(payload, type=cls)
        except (msgspec.MsgspecError, RecursionError):
            return None
        parts = [*(each for model in found.models.values() for each in [*model.values, *model.components])]
        parts += [kind for model in found.models.values() for kind in model.components.values()]
        good = (
            all(_PART.fullmatch(each) for each in parts)
            and all(_NAME.fullmatch(each) for each in [*found.devices, *found.edges])
            and found.models.keys() >= set(found.devices.values())
        )
        return found if good else None
