"""What an announced entity says, and the points that are made of it.

Source of truth: SPEC.md section 4. Pure. A part that cannot be taken (a template outside the subset, a unit that the
attribute does not have, a topic outside the bus's) is told with its reason, and the other parts are taken.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from protocols.descriptors.descriptor import Point, WriteRule
from protocols.device_model.capability import ENDPOINT_SEPARATOR, Capability, Kind, Value, attribute
from protocols.documents import shown
from protocols.errors import InvalidInputError
from protocols.home_assistant import meanings
from protocols.home_assistant.announcements import Entity
from protocols.home_assistant.meanings import C, Key
from protocols.home_assistant.templates import compiled

NAMES_MAX: Final = 200
"""Points of one attribute that are told apart by their entities' names; of more, by their slots."""
SILENCE_S: Final = 93_600
"""A thing that announces no `expire_after` says nothing of how often it speaks: a contact may be shut for a day."""
EXPIRE_S_MAX: Final = 7 * 86_400
WORDS_MAX: Final = 32
WORD_CHARACTERS_MAX: Final = 120

_ELSEWHERE: Final = frozenset(
    {"topic", "state_topic", "command_topic", "availability_topic", "json_attributes_topic", "last_reset_topic"}
)
"""Topics that are asked for by other names, or tell nothing of the room."""

Speaks = Callable[[str], str | None]
"""Says why a topic is not for a device of this bus, None if it is."""


class AnnouncedPoint(Point, frozen=True, kw_only=True):
    """A point that was announced. `slot` tells which part of which entity it is, however it is named.

    `template` makes of a message the text that is read (empty: the message itself), `silent` are texts that say
    nothing, `sense` is how a number is told (senses.SENSES; empty: plainly). What is written is the value's text in
    `spoken`, or the number in the device's unit, through `command`. `colour` is the form (colours.FORMS) in which the
    point is sent with the other half of its colour; empty: it is none, or cannot be sent.
    """

    slot: str
    template: str = ""
    silent: tuple[str, ...] = ()
    sense: str = ""
    spoken: tuple[tuple[Value, str], ...] = ()
    command: str = ""
    colour: str = ""
    expire_s: float | None = None

    @property
    def entity(self) -> str:
        """Which entity it is of."""
        return self.slot.rpartition("/")[0]

    @property
    def silence_s(self) -> float:
        """After how long of silence what it said is old."""
        return self.expire_s or SILENCE_S


@dataclass(slots=True)
class Made:
    """What an entity came to. `refused`: the part, and why."""

    points: list[AnnouncedPoint] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def own_template(given: object, name: str) -> str:
    """Return an announced template, empty if there is none. Raises InvalidInputError: it is outside the subset."""
    if given is None or given == "":
        return ""
    if not isinstance(given, str):
        raise InvalidInputError(name, f"{shown(given, 60)} is no template")
    try:
        compiled(given)
    except InvalidInputError as error:
        raise InvalidInputError(name, f"{shown(given, 60)}: {error.problem}") from error
    return given


def slug(text: str) -> str:
    """Return a text as the end of an attribute's name: 1 to 40 of a-z, 0-9 and `_`, not beginning with `_`."""
    clean = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:40].strip("_")
    return clean or "x"


def rank(point: AnnouncedPoint, entity: Entity) -> tuple[int, str]:
    """Return an order in which points of one attribute are named: the plainest has the plain name."""
    told = f"{entity.key} {entity.name}".lower()
    total = point.attribute.startswith("cumulative_energy") and "total" not in told
    return (int(total) + int(point.write is None), point.slot)


def free_name(point: AnnouncedPoint, entity: Entity, used: Collection[tuple[Capability, str]]) -> str:
    """Return a name for a point that none has yet: its attribute's, or that and what its entity is called."""
    if (point.capability, point.attribute) not in used:
        return point.attribute
    plain, end = point.attribute.partition(ENDPOINT_SEPARATOR)[0], slug(entity.name)
    for number in range(1, NAMES_MAX + 2):
        tail = end if number == 1 else f"{end[:36]}_{number}"
        name = f"{plain}{ENDPOINT_SEPARATOR}{tail}"
        if (point.capability, name) not in used:
            return name
    return f"{plain}{ENDPOINT_SEPARATOR}{hashlib.sha256(point.slot.encode('utf-8', 'replace')).hexdigest()[:8]}"


class Maker:
    """Reads what an entity says, and collects what is made of it."""

    def __init__(self, entity: Entity, speaks: Speaks) -> None:
        self.entity, self.options, self._speaks = entity, entity.options, speaks
        self.made = Made()
        self._asked: set[str] = set(_ELSEWHERE)

    def part(self, name: str, make: Callable[[], None]) -> None:
        """Make a part; what cannot be is told and costs the others nothing."""
        try:
            make()
        except InvalidInputError as error:
            self.made.refused.append((name, str(error)))

    # --- what an entity says ---------------------------------------------------------------------------------

    def topic(self, *names: str, needed: bool = False) -> str | None:
        """Return the first of these topics that is given, if it is one. Raises InvalidInputError."""
        self._asked.update(names)
        for name in names:
            given = self.options.get(name)
            if given is None or given == "":
                continue
            if not isinstance(given, str):
                raise InvalidInputError(name, f"{shown(given)} is no topic")
            if (problem := self._speaks(given)) is not None:
                raise InvalidInputError(name, problem)
            return given
        if needed:
            raise InvalidInputError(names[0], "is not announced")
        return None

    def template(self, *names: str, sees: Mapping[str, str] | None = None) -> str:
        """Return the first of these templates that is given; empty if none is. Raises InvalidInputError.

        Args:
            names: Where one may be given.
            sees: Names that it may use beside `value` and `value_json`, each with the expression that it stands for.
        """
        for name in names:
            given = self.options.get(name)
            used = [each for each in sees or () if isinstance(given, str) and re.search(rf"\b{each}\b", given)]
            told = "".join(f"{{% set {each} = {(sees or {})[each]} %}}" for each in used)
            if own := own_template(f"{told}{given}" if told else given, name):
                return own
        return ""

    def knows(self, *names: str) -> None:
        """Learn that these topics are of no use beside what was taken, and need not be told of."""
        self._asked.update(names)

    def tell_left(self) -> None:
        """Tell by name what is announced besides: there is no attribute of the device model for it."""
        for name in self.options:
            part = re.sub(r"(_command|_state|_status)?_topic$", "", name)
            if name.endswith("_topic") and name not in self._asked and self.options[name]:
                self._asked |= {f"{part}{each}_topic" for each in ("", "_command", "_state", "_status")}
                self.left(part, *(self.words(f"{part}s") or self.words(f"{part}_list")))

    def left(self, part: str, *words: str) -> None:
        """Tell that a part, or these words of it, have no place in the device model."""
        told = f"not mapped: {shown(', '.join(words), 80)}" if words else "not mapped"
        self.made.refused.append((f"{self.entity.name} {part}", f"{told}: no attribute of the device model"))

    def word(self, name: str, otherwise: str) -> str:
        """Return a word as it stands on the wire; what is no text is spelt as Home Assistant does."""
        given = self.options.get(name)
        if given is None:
            return otherwise
        if isinstance(given, dict | list) or len(text := str(given)) > WORD_CHARACTERS_MAX:
            raise InvalidInputError(name, f"{shown(given, 60)} is no word")
        return text

    def number(self, name: str, otherwise: float) -> float:
        """Return a finite number. Raises InvalidInputError."""
        given = self.options.get(name)
        if given is None:
            return otherwise
        if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) <= 1e12:
            raise InvalidInputError(name, f"{shown(given, 40)} is no number")
        return float(given)

    def words(self, name: str) -> list[str]:
        """Return a list of words; what is none is left out."""
        given = self.options.get(name)
        return [each for each in given[:WORDS_MAX] if isinstance(each, str)] if isinstance(given, list) else []

    def tells(self, *words: str) -> bool:
        """Return whether its name or id holds one of these words."""
        told = f"{self.entity.key} {self.entity.name}".lower()
        return any(each in told for each in words)

    @property
    def klass(self) -> str:
        """Its device class; empty if it has none."""
        given = self.options.get("device_class")
        return given if isinstance(given, str) else ""

    # --- what is made of it ----------------------------------------------------------------------------------

    def add(
        self,
        part: str,
        key: Key,
        *,
        state: str | None,
        template: str = "",
        values: Sequence[tuple[str, Value]] = (),
        scale: tuple[float, float] = (1.0, 0.0),
        silent: Iterable[str] = (),
        write: WriteRule | None = None,
        words: Sequence[tuple[Value, str]] = (),
        command: str = "",
        sense: str = "",
        colour: str = "",
    ) -> None:
        """Take one point."""
        if state is None and write is None:
            return
        if self.options.get("encoding") not in (None, "utf-8", "utf8"):
            raise InvalidInputError("encoding", f"{shown(self.options['encoding'], 40)}: only utf-8 is read")
        expire = self.options.get("expire_after")
        timed = isinstance(expire, int) and not isinstance(expire, bool) and 0 < expire <= EXPIRE_S_MAX
        expire_s = float(expire) if timed and isinstance(expire, int) else None
        beat_s = (expire_s or SILENCE_S) / 2
        row = attribute(*key)
        self.made.points.append(
            AnnouncedPoint(
                capability=key[0],
                attribute=key[1],
                type="text" if values else "number",
                topic=state,
                scale=scale[0],
                offset=scale[1],
                unit=row.unit,
                values=tuple(dict(values).items()),
                every_s=min(30.0, beat_s),
                heartbeat_s=beat_s,
                write=write,
                slot=f"{self.entity.key}/{part}",
                template=template,
                silent=tuple(silent),
                sense=sense,
                spoken=tuple(words),
                command=command,
                colour=colour,
                expire_s=expire_s,
            )
        )

    def switched(
        self,
        part: str,
        key: Key,
        *,
        template: str,
        silent: Iterable[str] = (),
        meant: tuple[Value, Value] = (True, False),
    ) -> None:
        """Take what is on or off, and told so; `meant` is what these are for the attribute."""
        on, off = self.word("payload_on", "ON"), self.word("payload_off", "OFF")
        said_on, said_off = self.word("state_on", on), self.word("state_off", off)
        if on == off or said_on == said_off:
            raise InvalidInputError("payload_on", f"{shown(on)} is both on and off")
        command = self.topic("command_topic")
        self.add(
            part,
            key,
            state=self.topic("state_topic"),
            template=template,
            values=[(said_on, meant[0]), (said_off, meant[1])],
            silent=silent,
            write=None if command is None else WriteRule(topic=command),
            words=[(meant[0], on), (meant[1], off)],
            command=self.template("command_template"),
        )


def scaled(key: Key, unit: str) -> tuple[float, float]:
    """Return scale and offset of a unit as announced. Raises InvalidInputError: the attribute is in no such unit."""
    row = attribute(*key)
    if key == (C.ELECTRICAL_MEASUREMENT, "power_factor"):
        known: Mapping[str, tuple[float, float]] = meanings.POWER_FACTOR
    else:
        known = {"": (1.0, 0.0)} if row.unit is None else meanings.UNITS.get(row.unit, {})
    if unit not in known:
        listed = ", ".join(known) or "none"
        raise InvalidInputError("unit_of_measurement", f"{shown(unit)} is none of {listed}")
    return known[unit]


def rule(key: Key, topic: str, least: float, most: float, step: float) -> WriteRule:
    """Return a write rule within what the attribute can plausibly be. Raises InvalidInputError."""
    row = attribute(*key)
    least = least if row.least is None else max(least, row.least)
    most = most if row.most is None else min(most, row.most)
    if not least < most or step <= 0:
        raise InvalidInputError("min", f"{least:g} to {most:g} in steps of {step:g} leaves nothing to be written")
    whole = row.kind is Kind.INTEGER
    return WriteRule(topic=topic, least=least, most=most, step=None if whole else min(step, most - least))
