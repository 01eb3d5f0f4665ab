"""Reads what importers are given: JSON and YAML of strangers, within bounds, with the place in every error."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from protocols.errors import InvalidInputError

SOURCE_BYTES_MAX: Final = 4 * 1024 * 1024


def read_json_any(path: Path) -> Any:  # noqa: ANN401 - whatever stands in it
    """Return the JSON in a file. Raises InvalidInputError."""
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(str(path), f"is no JSON: {error}") from error


def read_json(path: Path) -> Mapping[str, Any]:
    """Return the JSON object in a file. Raises InvalidInputError."""
    return _mapping(read_json_any(path), path)


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Return the mapping in a YAML (or JSON) file; aliases are not followed. Raises InvalidInputError."""
    data = read_bytes(path)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(data, Loader=yaml.SafeLoader)):
            raise InvalidInputError(str(path), "holds YAML aliases, by which a small file can become endless")
        return _mapping(yaml.safe_load(data), path)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidInputError(str(path), f"is no YAML: {str(error)[:200]}") from error


def one_of(document: Any, model: str | None) -> Mapping[str, Any]:  # noqa: ANN401 - just read
    """Return one entry of `bridge/devices`, or the document itself if it is one. Raises InvalidInputError."""
    if isinstance(document, Mapping):
        return document
    entries = [each for each in document if isinstance(each, Mapping)] if isinstance(document, list) else []
    found = {
        str(each["definition"].get("model")): each for each in entries if isinstance(each.get("definition"), Mapping)
    }
    if model is None and len(found) == 1:
        return next(iter(found.values()))
    if model not in found:
        raise InvalidInputError("--model", f"{model!r:.60} is none of {', '.join(sorted(found))}"[:400])
    return found[model]


def _mapping(document: object, path: Path) -> Mapping[str, Any]:
    if not isinstance(document, Mapping):
        raise InvalidInputError(str(path), "holds no object at its top")
    return document


def read_bytes(path: Path, most: int = SOURCE_BYTES_MAX) -> bytes:
    """Return what is in a file of at most `most` bytes. Raises InvalidInputError."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
    if len(data) > most:
        raise InvalidInputError(str(path), f"is longer than {most} bytes")
    return data
