"""Writes a descriptor as the TOML text that a person would write: parts in the order of SPEC.md, comments kept beside.

What it writes, the loader reads: `descriptor_text` parses its own text before it hands it out.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from protocols.descriptors.descriptor import Descriptor, parse

_TABLES: Final = ("identity", "quality", "wire")
_LISTS: Final = ("identify", "quirks", "points")
_WRAP: Final = 110


def descriptor_text(document: Mapping[str, Any], comments: Sequence[str] = ()) -> tuple[str, Descriptor]:
    """Return the text of a descriptor and the descriptor that it is.

    Args:
        document: keys as SPEC.md names them; values None are left out.
        comments: sentences for the head of the file.

    Raises:
        InvalidInputError: the document is no descriptor; names the place.
    """
    lines = [f"# {line}" for comment in comments for line in _wrapped(comment)]
    lines.append("format = 1")
    for table in _TABLES:
        lines += ["", f"[{table}]", *_pairs(document[table])]
    for name in _LISTS:
        for each in document.get(name, ()):
            lines += ["", f"[[{name}]]", *_pairs(each)]
    if document.get("emulation"):
        lines += ["", "[emulation]", *_pairs(document["emulation"])]
    text = "\n".join(lines) + "\n"
    return text, parse(text.encode(), str(document["identity"].get("id", "descriptor")))


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items() if value is not None]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key} = {_value(each)}" for key, each in value.items() if each is not None)
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, Sequence):
        inside = ", ".join(_value(each) for each in value)
        if value and isinstance(value[0], Mapping) and len(inside) > _WRAP:
            return "[\n" + "".join(f"  {_value(each)},\n" for each in value) + "]"
        return f"[{inside}]"
    return repr(value)


def _wrapped(comment: str) -> list[str]:
    clean = " ".join("".join(each if each.isprintable() else " " for each in comment).split())
    lines, line = [], ""
    for word in clean.split(" "):
        if line and len(line) + 1 + len(word) > _WRAP:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]
