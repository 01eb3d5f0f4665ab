"""A descriptor as a page of documentation, in Markdown: what the model says, takes, and how far the map is proven."""

from typing import Any

import msgspec

from protocols.descriptors.descriptor import Descriptor, Point, WriteRule
from protocols.descriptors.quirks import Firmware, Quirk
from protocols.descriptors.wires import MqttWire

LEVELS = {
    "emulator": "proven on our emulator alone",
    "manual": "as the maker's document says; nobody here has measured it",
    "public": "as somebody has published it for the thing",
    "bench": "measured on one on our bench",
    "field": "running in a building",
}


def page(descriptor: Descriptor) -> str:
    """Return the page, ending in a line feed."""
    about, wire = descriptor.identity, descriptor.wire
    lines = [
        f"# {about.vendor} {about.model}",
        "",
        f"{about.title}. Descriptor `{descriptor.id}`, wire `{wire.__struct_config__.tag}`.",
        "",
        f"**How far it is to be believed:** {LEVELS[descriptor.quality.level]}. {_sentence(descriptor.quality.proven)} "
        f"On: {_sentence(descriptor.quality.on)}",
        "",
        f"Source: {_sentence(about.source)}",
        "",
        "## What it tells",
        "",
        "| attribute | where | raw | value | every |",
        "|---|---|---|---|---|",
        *(_row(point) for point in descriptor.points),
    ]
    writable = [(point, point.write) for point in descriptor.points if point.write is not None]
    lines += ["", "## What it takes", ""]
    if writable:
        lines += ["| attribute | range | at most | how |", "|---|---|---|---|"]
        lines += [_write_row(point, rule) for point, rule in writable]
    else:
        lines.append("Nothing: it is read only.")
    lines += ["", "## How it is spoken to", "", "| | |", "|---|---|"]
    lines += [f"| {key} | {cell(value)} |" for key, value in _settings(wire).items()]
    if descriptor.identify:
        places = (f"{each.table} {each.register}" if each.node is None else each.node for each in descriptor.identify)
        known = "; ".join(f"{place} holds {', '.join(map(str, each.equals))}" for place, each in zip(
            places, descriptor.identify, strict=True
        ))  # fmt: skip
        lines += ["", f"Known by: {known}. Anything else there is told as an unknown device and never written to."]
    if descriptor.quirks:
        lines += ["", "## Firmware", ""]
        if descriptor.firmware is not None:
            lines += [
                f"The version is told at {_version_place(descriptor.firmware)}. While it is not known, "
                "what differs below is neither told nor written, and the strictest limits hold.",
                "",
            ]
        lines += ["| firmware | says | what is done about it | source |", "|---|---|---|---|"]
        lines += [
            f"| {cell(each.versions)} | {cell(each.says)} | {cell(_done(each))} | {cell(each.source)} |"
            for each in descriptor.quirks
        ]
    return "\n".join(lines) + "\n"


def _version_place(told: Firmware) -> str:
    if told.register is not None:
        return f"{told.table} {told.register} ({told.form.replace('_', ' ')})"
    if told.object is not None:
        return f"object {told.object} of its Modbus identification"
    if told.topic is not None:
        return f"`{told.topic}`" + ("" if told.path is None else f", key `{told.path}`")
    return f"`{told.node}`" if told.node is not None else "`software_build_id` of bridge/devices"


def _done(quirk: Quirk) -> str:
    done = []
    for each in quirk.points:
        name = f"`{each.capability}.{each.attribute}`"
        if each.missing:
            done.append(f"{name}: not there")
            continue
        differs = [f"{key} {value}" for key, value in each.set.items()] + (["read only"] if each.read_only else [])
        done.append(f"{name}: {', '.join(differs)}")
    done += [f"{key} {value}" for key, value in quirk.wire.items()]
    return "; ".join(done) or "nothing: for whoever looks after it"


def _row(point: Point) -> str:
    unit = f" {point.unit}" if point.unit else ""
    least, most = point.range
    if point.values:
        value = ", ".join(f"{raw} = {meaning}" for raw, meaning in point.values)
    elif least is None or most is None:
        value = point.row.kind.value
    else:
        value = f"{least:g} to {most:g}{unit}"
    raw = point.type
    if point.scale != 1.0:
        raw += f" x {point.scale:g}"
    if point.exponent is not None:
        raw += f" x 10^(register {point.exponent})"
    if point.offset:
        raw += f" + {point.offset:g}"
    if point.word_order == "little":
        raw += ", low word first"
    if point.byte_order == "little":
        raw += ", low byte first"
    if point.write_only:
        raw += ", never read"
    if point.nan:
        raw += f"; none: {', '.join(map(str, point.nan))}"
    note = f"<br>{point.note}" if point.note else ""
    every = f"{point.every_s:g} s" if point.register is not None else "when it says so"
    cells = (f"{point.capability}.{point.attribute}{note}", _where(point), raw, value, every)
    return f"| {' | '.join(cell(each) for each in cells)} |"


def _where(point: Point) -> str:
    if point.register is not None:
        last = "" if point.bits is None else f" to {(point.bit or 0) + point.bits - 1}"
        bit = "" if point.bit is None else f", bit {point.bit}{last}"
        return f"{point.table} {point.register}{bit}"
    if point.topic is not None:
        return f"`{point.topic}`" + ("" if point.path is None else f", key `{point.path}`")
    return f"`{point.node or point.path}`"


def _write_row(point: Point, rule: WriteRule) -> str:
    if rule.least is not None and rule.most is not None:
        allowed = f"{rule.least:g} to {rule.most:g} {point.unit or ''}".strip()
        allowed += "" if rule.step is None else f" in steps of {rule.step:g}"
    else:
        allowed = ", ".join(str(meaning) for _, meaning in point.values) or "true, false"
    pace = "as often as asked" if not rule.min_interval_s else f"once in {rule.min_interval_s:g} s"
    pace += "" if rule.burst == 1 else f", {rule.burst} in a row"
    how = _where(point) if rule.topic is None else f"`{rule.topic}`: `{rule.payload or 'the bare value'}`"
    return f"| {point.capability}.{point.attribute} | {cell(allowed)} | {pace} | {cell(how)} |"


def _settings(wire: Any) -> dict[str, str]:  # noqa: ANN401 - any of the wires
    settings: dict[str, str] = {}
    for key, value in msgspec.to_builtins(wire).items():
        if key == "kind" or value in (None, [], (), ""):
            continue
        settings[key] = str(value)
    if isinstance(wire, MqttWire):
        settings["{name}"] = "the device's name in the site plan"
    return settings


def _sentence(text: str) -> str:
    clean = " ".join(text.split())
    return clean if clean.endswith(".") else f"{clean}."


def cell(text: str) -> str:
    """Return a text as it may stand in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
