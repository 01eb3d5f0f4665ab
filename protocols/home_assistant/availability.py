"""Whether an announced entity is there, as its availability topics say.

Source of truth: SPEC.md section 5. Pure; `None` is a verdict: nobody has said.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from protocols.documents import shown
from protocols.errors import InvalidInputError
from protocols.home_assistant.announcements import Entity
from protocols.home_assistant.codec import PAYLOAD_BYTES_MAX, json_value
from protocols.home_assistant.entities import Speaks, own_template
from protocols.home_assistant.templates import NO_DOCUMENT, compiled

MODES: Final = ("all", "any", "latest")
ONLINE: Final = "online"
OFFLINE: Final = "offline"


@dataclass(frozen=True, slots=True)
class Source:
    """One topic, and the words that it says."""

    topic: str
    template: str
    online: str
    offline: str

    def said(self, payload: bytes) -> bool | None:
        """Return what a message says; None: nothing of that."""
        if len(payload) > PAYLOAD_BYTES_MAX:
            return None
        text = payload.decode(errors="replace").strip()
        if self.template:
            template = compiled(self.template)
            document = json_value(payload) if template.wants_json else NO_DOCUMENT
            rendered = template.render(text, document)
            if not isinstance(rendered, str):
                return None
            text = rendered
        return {self.online: True, self.offline: False}.get(text)


@dataclass(frozen=True, slots=True)
class Availability:
    """What an entity announces of its being there. No sources: it says nothing of it."""

    sources: tuple[Source, ...] = ()
    mode: str = "latest"


@dataclass(slots=True)
class Presence:
    """What the sources of one entity have said so far."""

    availability: Availability
    said: dict[Source, bool] = field(default_factory=dict)
    latest: bool | None = None

    def take(self, topic: str, payload: bytes) -> bool | None:
        """Take a message; return whether the entity is there now."""
        for source in self.availability.sources:
            if source.topic == topic and (said := source.said(payload)) is not None:
                self.said[source] = self.latest = said
        return self.verdict

    @property
    def verdict(self) -> bool | None:
        """Whether it is there; None: not enough was said."""
        told = list(self.said.values())
        whole = len(told) == len(self.availability.sources)
        match self.availability.mode:
            case "all":
                return False if False in told else (True if told and whole else None)
            case "any":
                return True if True in told else (False if told and whole else None)
            case _:
                return self.latest


def availability_of(entity: Entity, speaks: Speaks) -> Availability:
    """Return how an entity says that it is there. Raises InvalidInputError: it says it in a way that is not read."""
    options = entity.options
    listed = options.get("availability")
    if isinstance(listed, list) and listed:
        mode = options.get("availability_mode", "latest")
        if mode not in MODES:
            raise InvalidInputError("availability_mode", f"{shown(mode, 40)} is none of {', '.join(MODES)}")
        every = (_source(each, "topic", "value_template", speaks) for each in listed)
        return Availability(tuple(dict.fromkeys(every)), mode)
    if options.get("availability_topic"):
        return Availability((_source(options, "availability_topic", "availability_template", speaks),))
    return Availability()


def _source(told: Mapping[str, Any], topic: str, template: str, speaks: Speaks) -> Source:
    given = told.get(topic)
    if not isinstance(given, str) or not given:
        raise InvalidInputError("availability", f"{shown(given, 60)} is no topic")
    if (problem := speaks(given)) is not None:
        raise InvalidInputError("availability", problem)
    online, offline = (
        str(told.get(name, word)) for name, word in (("payload_available", ONLINE), ("payload_not_available", OFFLINE))
    )
    if online == offline:
        raise InvalidInputError("availability", f"{shown(online, 40)} is both there and not there")
    return Source(given, own_template(told.get(template), template), online, offline)
