"""Who has announced himself: announcements put together into things, each with one name and the points that it says.

Pure. Source of truth: protocols/home_assistant/SPEC.md sections 1 and 2. A thing that is bound keeps its name, the
names of its points and what it took back, whatever is announced later: history, room and rules are those names'.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from edge.bridges.mqtt.bus_memory import BusMemory
from kit.net import matches
from protocols.descriptors.descriptor import FORMAT, Descriptor, Identity, Proof
from protocols.descriptors.wires import AnnouncedWire
from protocols.device_model.capability import ENDPOINT_SEPARATOR
from protocols.device_model.identity import DescriptorId, DeviceId
from protocols.device_model.site_plan import HomeAssistantBus
from protocols.documents import shown
from protocols.errors import InvalidInputError, PeerProtocolError
from protocols.home_assistant import announcements
from protocols.home_assistant.announcements import About, Announcement, Entity
from protocols.home_assistant.availability import Availability, availability_of
from protocols.home_assistant.components import made
from protocols.home_assistant.entities import SILENCE_S, AnnouncedPoint, free_name, rank

FAMILY: Final = "announced"
TOPICS_MAX: Final = 5_000
BYTES_MAX: Final = 16 * 1024 * 1024
THINGS_MAX: Final = 1_000
ENTITIES_MAX: Final = 200
"""Of one thing; what is announced of it beyond them is not taken."""
REFUSED_MAX: Final = 200
WITHDRAWN_MAX: Final = 100
"""Points of a thing that are kept though it announces them no more; the longest gone are forgotten first."""
NAMES_MAX: Final = 1_000
TOPIC_CHARACTERS_MAX: Final = 300
_KEPT: Final = 27


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing as it stands. `withdrawn`: slots of points that it announces no more, and that are kept for their names.

    `descriptor` None: it says nothing that the device model has. `elsewhere`: a device of the plan that speaks there
    already, on a bus of its own.
    """

    key: str
    about: About
    origins: tuple[str, ...]
    macs: tuple[str, ...]
    topics: tuple[str, ...]
    points: tuple[AnnouncedPoint, ...]
    refused: tuple[tuple[str, str], ...]
    availability: Mapping[str, Availability]
    withdrawn: frozenset[str] = frozenset()
    elsewhere: DeviceId | None = None

    @property
    def gone(self) -> bool:
        """Whether it announces nothing any more."""
        return not self.topics

    @property
    def descriptor(self) -> Descriptor | None:
        """What the thing is, as any descriptor says it."""
        if not self.points:
            return None
        name, topic = self.about.name or self.key, next(iter(self.topics), "what it announced before")
        return Descriptor(
            format=FORMAT,
            identity=Identity(
                id=descriptor_id(self.key),
                vendor=self.about.vendor or "not said",
                model=self.about.model or "not said",
                title=name,
                source=f"its own announcement, {topic}",
            ),
            quality=Proof(level="manual", proven="what it announces of itself", on=topic),
            wire=AnnouncedWire(silence_s=max((each.silence_s for each in self.points), default=SILENCE_S)),
            points=self.points,
        )


@dataclass(slots=True)
class _Memory:
    """What is kept of a thing beside its messages: how its points are called, and the last that each was."""

    names: dict[str, str] = field(default_factory=dict)
    points: dict[str, AnnouncedPoint] = field(default_factory=dict)
    marks: set[str] = field(default_factory=set)
    about: About = field(default_factory=About)
    owners: dict[str, str] = field(default_factory=dict)
    """By entity the topic that announces it."""


@dataclass(frozen=True, slots=True)
class _Read:
    """An entity, what was made of it, and how it says that it is there."""

    entity: Entity
    points: tuple[AnnouncedPoint, ...]
    refused: tuple[tuple[str, str], ...]
    availability: Availability


class KeptThing(msgspec.Struct, frozen=True):
    """A bound thing on disk: its announcements as they came, and how its points are called."""

    key: str
    marks: list[str]
    names: dict[str, str]
    messages: dict[str, str]
    """Payload by topic."""


def descriptor_id(key: str) -> DescriptorId:
    """Return the model's name of a thing: there is one of each."""
    return DescriptorId(f"{FAMILY}/{key}")


def key_of(mark: str) -> str:
    """Return a name for a thing: a few characters of its mark, for people, and a digest of all of it."""
    text = mark.partition(":")[2].lower()
    kept = "".join(each if each.isascii() and each.isalnum() else "-" for each in text)[:_KEPT].strip("-")
    return f"{kept or 'x'}-{hashlib.sha256(mark.encode('utf-8', 'replace')).digest()[:4].hex()}"


class Registry:
    """Everything that announced itself on one bus.

    Args:
        bus: Where announcements come, and where announced devices may speak.
    """

    def __init__(self, bus: HomeAssistantBus) -> None:
        self._bus = bus
        self._messages: dict[str, Announcement] = {}
        self._raw: dict[str, bytes] = {}
        self._bytes = 0
        self._read: dict[str, list[_Read]] = {}
        """By topic, what its entities came to."""
        self._keys: dict[str, str] = {}
        """By mark, which thing it is."""
        self._marks: dict[str, set[str]] = {}
        """By thing, which marks it has."""
        self._topics: dict[str, set[str]] = {}
        self._things: dict[str, Thing] = {}
        self._memory: dict[str, _Memory] = {}
        self._bound: frozenset[str] = frozenset()
        self._taken: Mapping[str, DeviceId] = {}
        self.ours = 0
        """Announcements of our own façades, since the start."""
        self.told: dict[str, tuple[int, Mapping[str, object] | None]] = {}
        """Of each thing told as found: when (monotonic), and what. A supervisor made anew tells it no second time."""
        self.memory = BusMemory()
        """What bound things were heard to say, and who was on line."""
        self.listener: Callable[[set[str]], None] = _nobody
        """Told of things that are not as they were for another reason than an announcement."""

    @property
    def bus(self) -> HomeAssistantBus:
        """The bus."""
        return self._bus

    def thing(self, key: str) -> Thing | None:
        """Return a thing by its name."""
        return self._things.get(key)

    def things(self) -> Iterable[Thing]:
        """Return everything that is known."""
        return self._things.values()

    def bind(self, keys: Collection[str]) -> None:
        """Take which things are bound: they keep their names, and are never made one with another."""
        released = self._bound - frozenset(keys)
        self._bound = frozenset(keys)
        for key in released:
            if key in self._things and self._things[key].withdrawn:
                self._build(key)

    def spoken_elsewhere(self, taken: Mapping[str, DeviceId]) -> None:
        """Take on which topics devices of other buses speak: what speaks there is one of them, and not found again."""
        if taken == self._taken:
            return
        self._taken = taken
        if keys := {key for key in sorted(self._things) if self._build(key)}:
            self.listener(keys)

    def bound(self, key: str) -> bool:
        """Say whether a thing is bound."""
        return key in self._bound

    def speaks(self, topic: str) -> str | None:
        """Say why a topic is not for a device of this bus, None if it is."""
        if not topic or len(topic) > TOPIC_CHARACTERS_MAX or any(each in topic for each in "+#\0"):
            return f"{shown(topic, 60)} is no topic"
        if topic.startswith("$") or topic.startswith(f"{self._bus.prefix}/"):
            return f"{shown(topic, 60)} is the broker's, or where announcements are made"
        if not any(matches(each, topic) for each in self._bus.topics):
            return f"{shown(topic, 60)} is in none of the bus's topics: {', '.join(self._bus.topics)[:60]}"
        return None

    # --- announcements ---------------------------------------------------------------------------------------

    def take(self, topic: str, payload: bytes) -> set[str]:
        """Take a message; return the names of the things that are not as they were.

        Raises:
            PeerProtocolError: it is no announcement, or one too many; nothing has changed.
        """
        found = announcements.where(self._bus.prefix, topic)
        if found is None:
            raise PeerProtocolError(f"{shown(topic, 80)} announces nothing")
        if self._raw.get(topic) == payload:
            return set()
        said = announcements.parse(found, topic, payload)
        if said is not None and said.ours:
            self.ours += 1
            said = None
        before = self._messages.get(topic)
        if said is None and before is None:
            return set()
        if said is not None:
            self._see_room(topic, payload, said)
        self._bytes += (len(payload) if said is not None else 0) - len(self._raw.pop(topic, b""))
        if said is None:
            del self._messages[topic], self._read[topic]
        else:
            self._messages[topic], self._raw[topic] = said, payload
            self._read[topic] = [self._reading(each) for each in said.entities]
        return self._regroup(topic, before, said)

    def _see_room(self, topic: str, payload: bytes, said: Announcement) -> None:
        if topic not in self._messages and len(self._messages) >= TOPICS_MAX:
            raise PeerProtocolError(f"one announcement more than the {TOPICS_MAX} that are remembered")
        if self._bytes + len(payload) - len(self._raw.get(topic, b"")) > BYTES_MAX:
            raise PeerProtocolError(f"announcements of more than {BYTES_MAX} bytes in all")
        keys = {self._keys[each] for each in said.marks if each in self._keys}
        if topic not in self._messages and any(len(self._topics.get(key, ())) >= ENTITIES_MAX for key in keys):
            raise PeerProtocolError(f"one announcement more than the {ENTITIES_MAX} that a thing may have")
        if len(self._things) >= THINGS_MAX and not keys:
            raise PeerProtocolError(f"one thing more than the {THINGS_MAX} that are remembered")

    def _regroup(self, topic: str, before: Announcement | None, now: Announcement | None) -> set[str]:
        marks = {mark for each in (before, now) if each is not None for mark in each.marks}
        keys = {self._keys[each] for each in marks if each in self._keys}
        topics = {each for key in keys for each in self._topics.get(key, ())} | {topic}
        grouped = self._grouped(sorted(topics & self._messages.keys()))
        touched = set(keys)
        for key in keys:
            self._topics[key] = set()
            stay = self._memory[key].marks if key in self._bound and key in self._memory else set[str]()
            for mark in self._marks.get(key, set()) - stay:
                del self._keys[mark]
            self._marks[key] = self._marks.get(key, set()) & stay
        named: set[str] = set()
        for marks_of, members in grouped:
            key = self._name(marks_of, keys - named)
            named.add(key)
            touched.add(key)
            self._topics[key] = members
            for mark in marks_of:
                if mark not in self._keys:
                    self._keys[mark] = key
                    self._marks.setdefault(key, set()).add(mark)
        return {key for key in touched if self._build(key)}

    def _grouped(self, topics: Iterable[str]) -> list[tuple[set[str], set[str]]]:
        """Return marks and topics of each thing; no group holds two that are bound."""
        groups: list[tuple[set[str], set[str]]] = []
        for topic in topics:
            marks, members = set(self._messages[topic].marks), {topic}
            apart: list[tuple[set[str], set[str]]] = []
            for group in groups:
                bound = self._bound_of(marks) | self._bound_of(group[0])
                if marks & group[0] and len(bound) <= 1:
                    marks |= group[0]
                    members |= group[1]
                else:
                    apart.append(group)
            groups = [*apart, (marks, members)]
        return groups

    def _bound_of(self, marks: Iterable[str]) -> set[str]:
        return {key for mark in marks if (key := self._keys.get(mark)) in self._bound and key is not None}

    def _name(self, marks: Collection[str], free: Collection[str]) -> str:
        """Return the name of a thing: the one that its marks have, or a new one."""
        bound = sorted(self._bound_of(marks))
        if bound:
            return bound[0]
        smallest = min(marks, key=lambda each: (not each.startswith("id:"), each))
        made_of = {key_of(each) for each in marks}
        return next((each for each in sorted(free) if each in made_of and each not in self._bound), key_of(smallest))

    # --- things ----------------------------------------------------------------------------------------------

    def _build(self, key: str) -> bool:
        """Make a thing of what is known of it; whether it is another than before."""
        before, topics = self._things.get(key), sorted(self._topics.get(key, ()))
        bound = key in self._bound
        if not topics and not bound:
            self._forget(key)
            return before is not None
        memory = self._memory.setdefault(key, _Memory())
        owners = set(memory.owners.values())
        ordered = sorted(topics, key=lambda each: (each not in owners, each))  # who announced it first goes on to
        said = [self._messages[each] for each in ordered]
        every, refused = _each_once([one for each in ordered for one in self._read[each]], memory.owners)
        for each in every:
            refused += each.refused
        points = self._named([(point, each.entity) for each in every for point in each.points], memory)
        here = {each.slot for each in points}
        if bound:
            points += [each for slot, each in memory.points.items() if slot not in here][:WITHDRAWN_MAX]
        memory.points = {each.slot: each for each in points}
        if len(memory.names) > NAMES_MAX:
            memory.names = {slot: name for slot, name in memory.names.items() if slot in memory.points}
        if said:
            memory.marks, memory.about = {mark for each in said for mark in each.marks}, _told(said)
        elsewhere = (self._taken[topic] for each in every for topic in _topics_of(each.entity, self._taken))
        thing = Thing(
            key=key,
            about=memory.about,
            origins=tuple(sorted({each.origin for each in said if each.origin is not None})),
            macs=tuple(sorted({mac for each in said for mac in each.macs})),
            topics=tuple(topics),
            points=tuple(sorted(points, key=lambda each: each.slot)),
            refused=tuple(refused[:REFUSED_MAX]),
            availability={each.entity.key: each.availability for each in every if each.points},
            withdrawn=frozenset(each.slot for each in points if each.slot not in here),
            elsewhere=next(elsewhere, None),
        )
        self._things[key] = thing
        return thing != before

    def _reading(self, entity: Entity) -> _Read:
        one, availability = made(entity, self.speaks), Availability()
        if one.points:
            try:
                availability = availability_of(entity, self.speaks)
            except InvalidInputError as error:
                one.refused.append((f"{entity.name} availability", str(error)))
        return _Read(entity, tuple(one.points), tuple(one.refused), availability)

    def _forget(self, key: str) -> None:
        self._things.pop(key, None)
        self._topics.pop(key, None)
        self._memory.pop(key, None)
        for mark in self._marks.pop(key, set()):
            del self._keys[mark]

    def _named(self, taken: Iterable[tuple[AnnouncedPoint, Entity]], memory: _Memory) -> list[AnnouncedPoint]:
        """Give every point a name of its own; a name once given stays."""
        points: list[AnnouncedPoint] = []
        used = {(memory.points[slot].capability, name) for slot, name in memory.names.items() if slot in memory.points}
        for point, entity in sorted(taken, key=lambda each: rank(*each)):
            known = memory.points.get(point.slot)
            name = memory.names.get(point.slot)
            moved = known is not None and known.capability is not point.capability
            if name is None or moved or _plain(name) != _plain(point.attribute):
                name = free_name(point, entity, used)
                memory.names[point.slot] = name
            used.add((point.capability, name))
            points.append(msgspec.structs.replace(point, attribute=name))
        return points

    # --- what is kept ----------------------------------------------------------------------------------------

    def kept(self, keys: Iterable[str]) -> list[KeptThing]:
        """Return what must be on disk of these things, so that `restore` makes them again."""
        return [
            KeptThing(
                key=key,
                marks=sorted(memory.marks),
                names=dict(memory.names),
                messages={
                    topic: self._raw[topic].decode("utf-8", "replace")
                    for topic in sorted(self._topics.get(key, ()))
                    if topic in self._raw
                },
            )
            for key in sorted(keys)
            if (memory := self._memory.get(key)) is not None
        ]

    def restore(self, kept: Iterable[KeptThing]) -> None:
        """Take what was kept; announcements that are none any more are left out."""
        for each in kept:
            self._bound |= {each.key}
            memory = self._memory.setdefault(each.key, _Memory())
            memory.names, memory.marks = dict(each.names), set(each.marks)
            self._keys.update(dict.fromkeys(each.marks, each.key))
            self._marks[each.key] = set(each.marks)
            for topic, payload in each.messages.items():
                try:
                    self.take(topic, payload.encode())
                except PeerProtocolError:
                    continue


def _nobody(keys: set[str]) -> None:
    """Nobody is told."""
    del keys


def _each_once(every: Iterable[_Read], owners: dict[str, str]) -> tuple[list[_Read], list[tuple[str, str]]]:
    """Return each entity once, of whoever announced it first."""
    found: dict[str, _Read] = {}
    refused: list[tuple[str, str]] = []
    for each in every:
        entity = each.entity
        if (known := found.get(entity.key)) is not None:
            refused.append((entity.name, f"its id is announced on {shown(known.entity.topic, 80)} already"))
        elif len(found) >= ENTITIES_MAX:
            refused.append((entity.name, f"one more than the {ENTITIES_MAX} entities that a thing may have"))
        else:
            found[entity.key] = each
    owners.clear()
    owners.update({key: each.entity.topic for key, each in found.items()})
    return list(found.values()), refused


def _told(said: Iterable[Announcement]) -> About:
    """Return what the announcements say of the thing, each fact of the first that tells it."""
    every = [each.about for each in said]

    def first(what: Callable[[About], str | None]) -> str | None:
        return next((text for each in every if (text := what(each))), None)

    return About(
        first(lambda each: each.name),
        first(lambda each: each.vendor),
        first(lambda each: each.model),
        first(lambda each: each.firmware),
        first(lambda each: each.area),
    )


def _topics_of(entity: Entity, taken: Mapping[str, DeviceId]) -> list[str]:
    values = (value for key, value in entity.options.items() if key.endswith("topic") and "availab" not in key)
    return [each for each in values if isinstance(each, str) and each in taken]


def _plain(name: str) -> str:
    return name.partition(ENDPOINT_SEPARATOR)[0]
