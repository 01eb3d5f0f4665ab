"""Settings: typed, frozen, read once by main; a TOML file, then environment variables, then no surprises.

`PREFIX_A__B=value` overrides key `b` of table `a`. Durations are ISO 8601 ("PT30S"); a bare number is refused.
A relative path in the file is relative to the file's folder; one in the environment, to the working folder.
Why msgspec and not pydantic-settings: docs/decisions/0004-settings-with-msgspec.md.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from kit.logs import REDACTED, is_secret
from protocols.device_model.identity import HOST
from protocols.documents import DEPTH_MAX, SHOWN_CHARACTERS_MAX, parse_toml, shown, value_at
from protocols.errors import InvalidInputError

FILE_BYTES_MAX: Final = 1024 * 1024
LEVEL_SEPARATOR: Final = "__"

KEEPALIVE_LEAST: Final = timedelta(seconds=1)
KEEPALIVE_MOST: Final = timedelta(seconds=65_535)  # MQTT 3.1.1, 3.1.2.10: two bytes of seconds

T = TypeVar("T", bound=msgspec.Struct)
_HOST: Final = re.compile(HOST)
_OF_KEY: Final = re.compile(r"([a-z0-9_]+): (.*)", re.DOTALL)


class InvalidSettingsError(InvalidInputError):
    """Settings with at least one fault; `faults` are all that could be told apart, the error's text a line each."""

    def __init__(self, faults: Sequence[InvalidInputError]) -> None:
        super().__init__(faults[0].place, "\n".join([faults[0].problem, *map(str, faults[1:])]))
        self.faults: Final = tuple(faults)


def check_host(host: str) -> None:
    """See that a host can be called: for a `__post_init__` of settings. Whether it is there is seen when it is called.

    Raises:
        ValueError: no host name and no address.
    """
    if _HOST.fullmatch(host) is None:
        raise ValueError(f"host: {shown(host)} is no host name or address")


def check_tls(ca_path: Path | None, cert_path: Path | None, key_path: Path | None) -> None:
    """See that what was given of mutual TLS is used: for a `__post_init__` of settings.

    Raises:
        ValueError: a certificate without its key, a key without its certificate, or either without the authority that
            the other side is verified by: the connection would be plain, and whoever wrote this meant it not to be.
    """
    if (cert_path is None) != (key_path is None):
        raise ValueError("cert_path and key_path belong together, and one is missing")
    if ca_path is None and cert_path is not None:
        raise ValueError("cert_path without ca_path: the other side would not be verified")


def check_span(name: str, span: timedelta, least: timedelta, most: timedelta) -> None:
    """See that a duration is within its bounds: for a `__post_init__` of settings. Raises ValueError."""
    if not least <= span <= most:
        raise ValueError(f"{name} must be {least.total_seconds():g} to {most.total_seconds():g} s, not {span}")


def check_zone(name: str, zone: str) -> None:
    """See that a time zone is known to this machine: for a `__post_init__` of settings. Raises ValueError."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name}: {shown(zone)} is no zone that this machine knows") from error


def load(cls: type[T], path: Path | None, env_prefix: str, environ: Mapping[str, str]) -> T:
    """Build settings of class `cls`, a frozen msgspec.Struct with forbid_unknown_fields=True.

    Args:
        cls: nested Structs are tables.
        path: a TOML file, or None for the environment alone.
        env_prefix: "EDGE" makes `EDGE_UPLINK__BROKER_HOST` the key `uplink.broker_host`. Variables with the
            prefix that name no key are refused, like unknown keys in the file.
        environ: `os.environ`, handed in by main.

    Raises:
        InvalidSettingsError: every fault names the file or variable, the key and the offending value (blanked if
            secret). What a table's own check refuses is told once no single key of that table is at fault.
        InvalidInputError: the file cannot be read, or is no TOML.
    """
    tree: dict[str, Any] = {} if path is None else _read(path)
    from_file = Path.cwd() if path is None else path.parent
    source = str(path) if path is not None else "settings"
    tree = _with_paths(tree, from_file, cls)
    prefix = env_prefix.rstrip("_") + "_"
    variables: dict[tuple[str, ...], str] = {}
    faults: list[InvalidInputError] = []
    for name in sorted(environ):
        if name.startswith(prefix):
            key = tuple(name.removeprefix(prefix).lower().split(LEVEL_SEPARATOR))
            try:
                _put(tree, key, _from_variable(cls, key, name, environ[name]), name)
            except InvalidInputError as error:
                faults.append(error)
            else:
                variables[key] = name
    cause: Exception | None = None
    try:
        settings = msgspec.convert(tree, cls, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        cause = error
        told = _faults(tree, cls, "$") or [str(error)]
        faults += [_explained(each, tree, source, variables) for each in told]
    if faults:
        raise InvalidSettingsError(faults) from cause
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
    return parse_toml(raw, str(path), FILE_BYTES_MAX)


def _with_paths(node: Any, folder: Path, kind: object) -> Any:  # noqa: ANN401 - walks untyped TOML
    """Return `node` with the strings that are to be paths made absolute from `folder`."""
    for each in _alternatives(kind):
        if each is Path and isinstance(node, str) and node:
            return str(folder / node)
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and isinstance(node, dict):
            kinds = get_type_hints(each)
            return {key: _with_paths(value, folder, kinds.get(key)) for key, value in node.items()}
        if get_origin(each) in (list, tuple) and isinstance(node, list):
            return [_with_paths(value, folder, get_args(each)[0]) for value in node]
        if get_origin(each) is dict and isinstance(node, dict):
            return {key: _with_paths(value, folder, get_args(each)[1]) for key, value in node.items()}
    return node


def _from_variable(cls: type[msgspec.Struct], key: tuple[str, ...], name: str, text: str) -> object:
    """Return the value that a variable's text stands for, as plain data of the field's type."""
    kind: object = cls
    for level in key:
        tables = [k for k in _alternatives(kind) if isinstance(k, type) and issubclass(k, msgspec.Struct)]
        if not tables or level not in tables[0].__struct_fields__:
            raise InvalidInputError(name, f"names no setting: there is no key {'.'.join(key)!r}")
        kind = get_type_hints(tables[0])[level]
    alternatives = _alternatives(kind)
    if Path in alternatives:
        return str(Path.cwd() / text) if text else text
    structured = any(
        get_origin(each) in (list, tuple, dict) or (isinstance(each, type) and issubclass(each, msgspec.Struct))
        for each in alternatives
    )
    try:
        if structured:
            return msgspec.json.decode(text)
        value = msgspec.convert(text, kind, strict=timedelta in alternatives, dec_hook=_decode)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        problem = _choice(kind) if str(error).startswith("Invalid enum value") else None
        problem = "is not of the right form" if is_secret(key[-1]) else problem or str(error)
        raise InvalidInputError(name, f"{problem}; got {_shown(key, text)}") from error
    return msgspec.to_builtins(value)


def _alternatives(kind: object) -> tuple[Any, ...]:
    """Return the members of a union, seen through Annotated; a plain type alone."""
    if kind is None:
        return ()
    if hasattr(kind, "__metadata__"):
        return _alternatives(get_args(kind)[0])
    arguments = get_args(kind)
    if type(None) in arguments or (get_origin(kind) not in (None, list, tuple, dict) and arguments):
        return tuple(inner for each in arguments for inner in _alternatives(each))
    return (kind,)


def _put(tree: dict[str, Any], key: tuple[str, ...], value: object, name: str) -> None:
    node = tree
    for level in key[:-1]:
        node = node.setdefault(level, {})
        if not isinstance(node, dict):
            raise InvalidInputError(name, f"{level!r} is not a table in the file")
    node[key[-1]] = value


def _decode(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        if not value or "\x00" in value:
            raise ValueError("a path must not be empty" if not value else "a path must not hold a NUL")
        return Path(value)
    raise ValueError(f"expected {kind.__name__}, got {type(value).__name__}")


def _faults(node: Any, kind: object, place: str) -> list[str]:  # noqa: ANN401 - walks untyped TOML
    """Return every independent fault as msgspec words its one: `Expected int, got str - at `$.uplink.port``.

    A table is judged key by key and, when no key is at fault, as a whole; so is a list.
    """
    found: list[str] = []
    for each in _alternatives(kind):
        if isinstance(each, type) and issubclass(each, msgspec.Struct) and isinstance(node, dict):
            fields = {field.encode_name: field for field in msgspec.structs.fields(each)}
            for name in node:
                if (field := fields.get(name)) is not None:
                    found += _faults(node[name], field.type, f"{place}.{name}")
                else:
                    found.append(_at(f"Object contains unknown field `{name:.{SHOWN_CHARACTERS_MAX}}`", place))
            missing = [name for name, field in fields.items() if field.required and name not in node]
            found += [_at(f"Object missing required field `{name}`", place) for name in missing]
        elif get_origin(each) in (list, tuple) and isinstance(node, list):
            for index, item in enumerate(node):
                found += _faults(item, get_args(each)[0], f"{place}[{index}]")
    if found:
        return found
    try:
        msgspec.convert(node, kind, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        problem, _, rest = str(error).partition(" - at `$")
        if problem.startswith("Invalid enum value"):
            problem = _choice(kind) or problem
        return [_at(problem, place + rest.rstrip("`"))]
    return []


def _at(problem: str, place: str) -> str:
    return problem if place == "$" else f"{problem} - at `{place}`"


def _choice(kind: object) -> str | None:
    """Return which values a Literal allows, as a problem; None: `kind` is none."""
    allowed = [shown(each) for each in _alternatives(kind) if isinstance(each, str | int)]
    return f"must be one of {', '.join(allowed)}" if allowed else None


def _explained(
    error: str, tree: dict[str, Any], source: str, variables: Mapping[tuple[str, ...], str]
) -> InvalidInputError:
    """Turn `Expected int, got str - at $.uplink.port` into the variable or file, key and value."""
    problem, _, place = error.partition(" - at `$")
    key = tuple(level for level in place.rstrip("`").split(".") if level)
    plain = tuple(level.partition("[")[0] for level in key)
    where = next((variables[plain[:n]] for n in range(len(plain), 0, -1) if plain[:n] in variables), source)
    if not key:
        return InvalidInputError(where, problem)
    spot = ".".join(key)
    if (own := _OF_KEY.fullmatch(problem)) is not None:  # a table's own check that names the key it is about
        spot, problem = f"{spot}.{own[1]}", own[2]
    found = value_at(tree, error)
    if found is None and any(map(is_secret, plain)):
        return InvalidInputError(where, f"{spot}: is not of the right form")  # msgspec's words may hold the value
    if found is None or isinstance(found[0], dict):
        return InvalidInputError(where, f"{spot}: {problem}")
    if is_secret(plain[-1]):
        problem = "is not of the right form"
    return InvalidInputError(where, f"{spot}: {problem}; got {_shown(plain, found[0])}")


def _shown(key: tuple[str, ...], value: object) -> str:
    """Return a value for an error: blanked if the last key, or a key within the value, says that it is secret."""
    if is_secret(key[-1]):
        return REDACTED
    return shown(_blanked(value, DEPTH_MAX))


def _blanked(value: object, depth: int) -> object:
    if isinstance(value, dict):
        return {
            key: REDACTED if depth == 0 or is_secret(str(key)) else _blanked(each, depth - 1)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [REDACTED if depth == 0 else _blanked(each, depth - 1) for each in value]
    return value
