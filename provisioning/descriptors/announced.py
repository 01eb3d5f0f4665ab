"""The page of a device that announces itself to Home Assistant: what it becomes, and what of it does not.

Read are `{"<topic>": configuration}`, pairs of topic and configuration, both also under the key `announced`, and lines
of `<topic> <configuration>` as `mosquitto_sub -v` prints them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from protocols.device_model.capability import Capability
from protocols.documents import shown
from protocols.errors import InvalidInputError, PeerProtocolError
from protocols.home_assistant import announcements
from protocols.home_assistant.announcements import Announcement, Entity
from protocols.home_assistant.components import made
from protocols.home_assistant.entities import AnnouncedPoint, free_name, rank
from provisioning.descriptors.page import cell
from provisioning.descriptors.sources import read_bytes

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
_LEAST: Final = 3


def read(path: Path, prefix: str) -> list[Announcement]:
    """Return the announcements in a file. Raises InvalidInputError: it is none, or one of them is not right."""
    found: list[Announcement] = []
    for topic, payload in _messages(read_bytes(path, FILE_BYTES_MAX), path):
        place = announcements.where(prefix, topic)
        if place is None:
            continue  # what it says, between what it announces
        try:
            said = announcements.parse(place, topic, payload)
        except PeerProtocolError as error:
            raise InvalidInputError(f"{path}: {shown(topic, 100)}", str(error)) from error
        if said is not None:
            found = [each for each in found if each.topic != topic] + [said]
    if not found:
        raise InvalidInputError(str(path), f"holds no announcement under {prefix}/")
    return found


def _messages(data: bytes, path: Path) -> list[tuple[str, bytes]]:
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        lines = (line.partition(b" ") for line in data.splitlines() if line.strip())
        return [(topic.decode(errors="replace"), payload.strip()) for topic, _, payload in lines]
    if isinstance(document, dict) and "announced" in document:
        document = document["announced"]
    pairs = list(document.items()) if isinstance(document, dict) else document
    if not isinstance(pairs, list):
        raise InvalidInputError(str(path), "holds neither topics with configurations nor lines of them")
    found: list[tuple[str, bytes]] = []
    for each in pairs:
        match each:
            case [str(topic), config]:
                found.append((topic, config.encode() if isinstance(config, str) else msgspec.json.encode(config)))
            case _:
                raise InvalidInputError(str(path), f"{shown(each, 60)} is no pair of topic and configuration")
    return found


def pages(said: Sequence[Announcement]) -> str:
    """Return a page for each device that announcements are of, one after the other."""
    return "\n".join(_page(each) for each in _devices(said))


def _devices(said: Sequence[Announcement]) -> list[list[Announcement]]:
    """Return them by device: those that share a mark are of one."""
    devices: list[tuple[set[str], list[Announcement]]] = []
    for each in said:
        marks, members = set(each.marks), [each]
        apart = []
        for other in devices:
            if other[0] & marks:
                marks, members = marks | other[0], other[1] + members
            else:
                apart.append(other)
        devices = [*apart, (marks, members)]
    order = {each.topic: at for at, each in enumerate(said)}
    return sorted((members for _, members in devices), key=lambda members: order[members[0].topic])


def _page(said: Sequence[Announcement]) -> str:
    about = said[0].about
    found = [(entity, made(entity, _speaks)) for each in said for entity in each.entities]
    points = _named([(point, entity) for entity, one in found for point in one.points])
    refused = [part for _, one in found for part in one.refused]
    origins = ", ".join(sorted({each.origin for each in said if each.origin}))
    lines = [
        f"# {about.vendor or 'Maker not said'} {about.model or about.name or 'model not said'}",
        "",
        f"{about.name or 'A device'}, as it announces itself to Home Assistant"
        f"{f' (by {origins})' if origins else ''}{f', firmware {about.firmware}' if about.firmware else ''}.",
        "",
        "**How far it is to be believed:** its own word; nobody here has measured it.",
        "",
        "## What it tells",
        "",
        *_table(("attribute", "topic", "read as", "value"), [_told(each) for each in points if each.topic], "Nothing."),
        "",
        "## What it takes",
        "",
        *_table(
            ("attribute", "topic", "sent", "range"),
            [_taken(each) for each in points if each.write is not None],
            "Nothing: it is read only.",
        ),
        "",
        "## What of it is not taken",
        "",
        *_table(("part", "why"), refused, "Nothing: all of it is taken."),
    ]
    return "\n".join(lines) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], nothing: str) -> list[str]:
    if not rows:
        return [nothing]
    told = [f"| {' | '.join(cell(each) for each in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *told]


def _named(taken: Sequence[tuple[AnnouncedPoint, Entity]]) -> list[AnnouncedPoint]:
    """Return the points under the names that an edge gives them which hears of the device for the first time."""
    used: set[tuple[Capability, str]] = set()
    found: list[AnnouncedPoint] = []
    for point, entity in sorted(taken, key=lambda each: rank(*each)):
        name = free_name(point, entity, used)
        used.add((point.capability, name))
        found.append(msgspec.structs.replace(point, attribute=name))
    return found


def _told(point: AnnouncedPoint) -> tuple[str, str, str, str]:
    how = f"`{point.template}`" if point.template else "the message"
    return _name(point), f"`{point.topic}`", f"{how}, {point.sense}" if point.sense else how, _values(point)


def _taken(point: AnnouncedPoint) -> tuple[str, str, str, str]:
    rule = point.write
    what = ", ".join(f"{meaning}: `{word}`" for meaning, word in point.spoken) or "the number"
    span = "its words"
    if rule is not None and rule.least is not None and rule.most is not None and not point.spoken:
        step = "" if rule.step is None else f" in steps of {rule.step:.{_LEAST}g}"
        span = f"{rule.least:g} to {rule.most:g} {point.unit or ''}".strip() + step
    sent = f"{what}, as `{point.command}`" if point.command else what
    return _name(point), f"`{'' if rule is None else rule.topic}`", sent, span


def _values(point: AnnouncedPoint) -> str:
    if point.values:
        return ", ".join(f"{word} = {meaning}" for word, meaning in point.values)
    scale = "" if point.scale == 1 else f" x {point.scale:.{_LEAST}g}"
    offset = f" + {point.offset:.{_LEAST}g}" if point.offset else ""
    return f"{point.row.kind.value}{scale}{offset} {point.unit or ''}".strip()


def _name(point: AnnouncedPoint) -> str:
    return f"{point.capability.value}.{point.attribute}"


def _speaks(topic: str) -> str | None:
    """Say why a topic is none for a device; which ones a bus is open to is the site plan's."""
    return "is no topic of a device" if topic.startswith("$") or any(each in topic for each in "+#\0") else None
