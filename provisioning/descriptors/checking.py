"""Checks a descriptor file: what is wrong, where, and how it is mended; then what would make a right one better.

The loader says what is wrong (protocols/descriptors); this adds what to write instead. Pure but for reading files.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firmware_bridges.recording import Recording, replay, replay_write
from firmware_bridges.recording import load as load_recording
from protocols.descriptors.descriptor import Descriptor, Point, load
from protocols.descriptors.firmware import every, quirks_of, version_of
from protocols.descriptors.wires import ModbusWire, MqttWire, OpcUaWire
from protocols.device_model.capability import ATTRIBUTES, Capability, Kind
from protocols.errors import InvalidInputError, PlatformError
from protocols.modbus.read_planner import plan_by_interval

KEYS: Final = (
    "format",
    "identity",
    "quality",
    "wire",
    "points",
    "identify",
    "quirks",
    "emulation",
    "id",
    "vendor",
    "model",
    "title",
    "source",
    "level",
    "proven",
    "on",
    "kind",
    "answer_wait_ms",
    "pause_ms",
    "block_most",
    "gap_most",
    "unreadable",
    "silence_s",
    "availability",
    "ask",
    "encoding",
    "dialect",
    "poll_s",
    "root",
    "publishing_ms",
    "capability",
    "attribute",
    "type",
    "table",
    "register",
    "bit",
    "bits",
    "word_order",
    "byte_order",
    "write_only",
    "topic",
    "path",
    "node",
    "exponent",
    "scale",
    "offset",
    "unit",
    "nan",
    "values",
    "least",
    "most",
    "every_s",
    "deadband",
    "heartbeat_s",
    "readable",
    "write",
    "note",
    "step",
    "min_interval_s",
    "burst",
    "settle_ms",
    "key",
    "payload",
    "equals",
    "firmware",
    "says",
    "start",
    "registers",
    "zigbee",
    "value",
    "raw",
    "online",
    "offline",
    "since",
    "before",
    "missing",
    "read_only",
    "set",
    "wire",
    "words",
    "form",
    "object",
    "after",
    "doubt",
    "writes",
)
"""Every key of the format (SPEC.md), for the nearest to what was meant."""
_QUOTED: Final = re.compile(r"'([^']{1,60})'|`([^`]{1,60})`")
_CAPABILITY: Final = re.compile(r"no such attribute; (\w+) has")
_DEVICE_MODEL_UNIT: Final = re.compile(r"the device model has (\S+)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a check. `problem` and `fix` are None for a file that is right; `advice` is for one that is."""

    descriptor: Descriptor | None
    problem: str | None = None
    fix: str | None = None
    advice: tuple[str, ...] = ()


def check(path: Path) -> Verdict:
    """Read a descriptor file and say how it is. Never raises for what is in it."""
    try:
        descriptor = load(path)
    except PlatformError as error:
        return Verdict(None, str(error), fix_for(str(error)))
    recordings, broken = _recordings(path, descriptor)
    return Verdict(descriptor, advice=(*broken, *advice_on(descriptor, recordings)))


def fix_for(problem: str) -> str:
    """Return what to do about an error of the loader."""
    if (unit := _DEVICE_MODEL_UNIT.search(problem)) is not None:
        wanted = unit[1].rstrip(".,")
        return "leave `unit` out" if wanted == "None" else f'write unit = "{wanted}", and scale the raw value to it'
    if (capability := _CAPABILITY.search(problem)) is not None:
        names = [name for found, name in ATTRIBUTES if found.value == capability[1]]
        return f"use one of {', '.join(names)}; a second one of a kind is <attribute>:<what it is of>"
    quoted = [first or second for first, second in _QUOTED.findall(problem)]
    if "unknown field" in problem or "unknown key" in problem:
        for each in quoted:
            near = difflib.get_close_matches(each, KEYS, 1, 0.6)
            if near:
                return f"write {near[0]!r} instead of {each!r}"
        return "leave the key out: a descriptor holds the keys of SPEC.md and no others"
    for hint, fix in _HINTS:
        if hint in problem:
            return fix
    for each in quoted:
        near = difflib.get_close_matches(each, [capability.value for capability in Capability], 1, 0.6)
        if near:
            return f"write {near[0]!r} instead of {each!r}"
    return "see protocols/descriptors/SPEC.md for what may stand there"


_HINTS: Final = (
    ("is not TOML", "mend the line named: a key, an equals sign, a value; texts in quotes"),
    ("lies in the place of", "rename the file, or the id: a model lies in <family>/descriptors/<model>.toml"),
    ("is taken already", "one point each; a second one is <attribute>:<of what>"),
    ("missing required field", "add the key that is named"),
    ("missing: a choice needs", "add values = [[raw, \"word\"], ...] with the device model's words"),
    ("is no bool by itself", "add values = [[raw, true], [raw, false]]"),
    ("leaves nothing of the value", "leave `scale` out for 1, or write what one raw step is worth in the unit"),
    ("needs exactly one of register, path, node and topic", "say once where the value is, on the wire of [wire]"),
    ("leaves the plausible range", "narrow the write rule, or widen the point's own least and most"),
    ("a number needs least and most", "add least and most to the write rule: what is never passed, whoever commands"),
    ("is no multiple of the scale", "make `step` a multiple of `scale`"),
    ("does not fit", "take a wider type, or mend scale and range: the raw value must fit"),
    ("lies half in", "two values share half of their registers: one of the two addresses or types is wrong"),
    ("cannot be written so", "drop `write`: input registers and discrete inputs are read only"),
    ("is written by reading its register first", "drop `write_only`, or write the register whole (no `bit`)"),
    ("is not a thing to be written", "drop `write`: the device model lets this attribute be read only"),
    ("an advert cannot be written to", "drop `write`"),
    ("says nothing of the value", "put $json or $text where the value belongs in `payload`"),
    ("is no topic with one", "write the topic with {name} where the device's own name stands, without wildcards"),
    ("is not supported here", "write format = 1"),
    ("is wider than", "raise wire.block_most if the device allows it, or take a narrower type"),
    ("is read with the value", "raise wire.block_most: value and exponent come in one request"),
    ("needs since or before", "say which versions it is of, or in `firmware` what else tells it apart"),
    ("that needs since or before, and a source", "add since or before, and a source: who found out, and where"),
    ("says nothing of what differs", "write missing = true, read_only = true, or set = { the keys that differ }"),
    ("where the version is told", "add [firmware]: table and register, object, topic and path, or node"),
    ("cannot be read", "see that the file is there and may be read"),
    ("given twice", "keep one of the two"),
    ("is outside", "narrow it to the range that is named"),
)  # fmt: skip


def advice_on(descriptor: Descriptor, recordings: Iterable[Recording]) -> list[str]:
    """Return what would make a right descriptor better, the most useful first."""
    said: list[str] = []
    mine = list(recordings)
    told = {(each.capability, each.attribute) for recording in mine for each in recording.readings}
    written = {(each.capability, each.attribute) for recording in mine for each in recording.writes}
    if not mine:
        said.append("no recording: add one under recordings/, so that tests hold the map")
    for recording in mine:
        model = recording.model(descriptor)
        if tuple(replay(model, recording.raw)) != recording.readings:
            said.append(f"recording {recording.name}: the descriptor makes other readings of it")
        said += [
            f"recording {recording.name}: {write.attribute} = {write.value!r} is written otherwise"
            for write in recording.writes
            if replay_write(model, write) != (write.written, write.wire)
        ]
    for index, point in enumerate(descriptor.points):
        spot = f"points[{index}] ({point.capability}.{point.attribute})"
        if mine and (point.capability, point.attribute) not in told and point.attribute != "link_quality":
            said.append(f"{spot}: no recording speaks of it")
        if mine and point.write is not None and (point.capability, point.attribute) not in written:
            said.append(f"{spot}: no recording shows how it is written")
        said += [f"{spot}: {each}" for each in _of_point(point)]
    said += _of_quirks(descriptor, mine)
    if descriptor.emulation is None:
        said.append('no [emulation]: with model = "plain" the thing can be emulated and rehearsed')
    if descriptor.quality.level == "emulator":
        said.append("quality.level is emulator: nothing outside this house has confirmed the map")
    if not descriptor.identify and isinstance(descriptor.wire, ModbusWire | OpcUaWire):
        said.append("no [[identify]]: another model on the same address would not be noticed")
    if isinstance(descriptor.wire, MqttWire) and descriptor.wire.availability is None:
        said.append("no wire.availability: that it is gone is noticed only after silence_s")
    return said


def summary(descriptor: Descriptor) -> str:
    """Return what a descriptor holds, in one line."""
    wire = descriptor.wire
    facts = f"{len(descriptor.points)} points on {wire.__struct_config__.tag}"
    facts += f", {sum(point.write is not None for point in descriptor.points)} writable"
    if isinstance(wire, ModbusWire):
        reads = sum(len(blocks) for blocks in plan_by_interval(descriptor).values())
        facts += f", read in {reads} requests"
    if len(firmwares := every(descriptor)) > 1:
        facts += f", {len(firmwares)} firmwares told apart"
    return f"{descriptor.id} ({descriptor.identity.vendor} {descriptor.identity.model}): {facts}"


def _of_quirks(descriptor: Descriptor, recordings: list[Recording]) -> list[str]:
    said = []
    versions = [version_of(descriptor.firmware, each.firmware) for each in recordings]
    for index, quirk in enumerate(descriptor.quirks):
        if quirk.points and not any(quirk in quirks_of(descriptor, each) for each in versions if each is not None):
            said.append(f"quirks[{index}] ({quirk.versions}): no recording is of such a firmware")
    if descriptor.firmware is not None and not descriptor.quirks:
        said.append("[firmware] without [[quirks]]: the version is asked for and changes nothing")
    return said


def _of_point(point: Point) -> list[str]:
    said = []
    row = point.row
    if row.kind is Kind.NUMBER and not point.deadband and point.heartbeat_s <= point.every_s:
        said.append("without a deadband every reading is kept")
    if point.write is not None and not point.write.min_interval_s and row.kind is Kind.NUMBER:
        said.append("write.min_interval_s is 0: a memory cell would be worn out by a rule that oscillates")
    return said


def _recordings(path: Path, descriptor: Descriptor) -> tuple[list[Recording], list[str]]:
    found: list[Recording] = []
    broken: list[str] = []
    folder = path.parent.parent / "recordings" if path.parent.name == "descriptors" else path.parent
    for each in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            recording = load_recording(each)
        except (InvalidInputError, ValueError) as error:
            broken.append(f"{each.name} is no recording: {error}")
            continue
        if recording.descriptor == descriptor.id:
            found.append(recording)
    return found, broken
