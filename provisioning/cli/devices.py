"""`innkeeper devices`: what hangs on the buses, what was found, and binding, testing, swapping and unbinding it.

Tables for people, `--json` for programs. Exit status 0: done (a test: true); 1: refused, not reached, or a test that is
false; 2: what was typed is wrong; 3: a test that nobody can say the result of.
"""

import getpass
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from protocols.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.table import Table

    from provisioning.commissioning.edge_desk import EdgeDesk

devices_app: Final = typer.Typer(no_args_is_help=True, help="Find, bind, test, swap and unbind the devices of an edge.")
CONFIG: Final = Path("/etc/innkeeper/edge.toml")
UNKNOWN_RESULT: Final = 3
PROBED_AT_ONCE: Final = 16

_Config = Annotated[
    Path, typer.Option("--config", envvar="INNKEEPER_EDGE_CONFIG", help="The edge's edge.toml, for address and token.")
]
_Edge = Annotated[str | None, typer.Option("--edge", help="http://<host>:<port>, if not what the configuration says.")]
_TokenFile = Annotated[Path | None, typer.Option("--token-file", help="The edge's api-token file.")]
_Json = Annotated[bool, typer.Option("--json", help="What the edge answered, as JSON.")]
_By = Annotated[str, typer.Option("--by", help="Who does this; it stands in the record. Your user name if not given.")]
_Why = Annotated[str, typer.Option("--why", help="Why, for whoever reads the record.")]
_Name = Annotated[str, typer.Argument(help="The device's name, such as light-101.")]
_Version = Annotated[
    int | None, typer.Option("--version", help="The version that you saw; if not given, the one that stands now.")
]
_Model = Annotated[str | None, typer.Option("--model", help="<family>/<model>, where the evidence leaves a choice.")]
_Address = Annotated[
    str | None, typer.Option("--address", help="bus=<bus> unit=<n> | friendly_name=<name> | mac=<mac> | node=<id>.")
]
_Found = Annotated[str | None, typer.Option("--found", help="The thing, as `devices found` names it.")]


@devices_app.command("list")
def list_devices(
    room: Annotated[str | None, typer.Option("--room", help="Only this room's.")] = None,
    config: _Config = CONFIG,
    edge: _Edge = None,
    token_file: _TokenFile = None,
    as_json: _Json = False,
) -> None:
    """Every device that has a name, how it stands on its bus, and how often it was changed."""
    from provisioning.commissioning.tables import devices_table

    with _desk(config, edge, token_file) as desk:
        devices = [each for each in desk.devices() if each.get("planned") and room in (None, each.get("room"))]
    _show(devices_table(devices), devices, as_json=as_json)


@devices_app.command("show")
def show(
    device: _Name, config: _Config = CONFIG, edge: _Edge = None, token_file: _TokenFile = None, as_json: _Json = False
) -> None:
    """One device: where it is, and who changed it when."""
    from provisioning.commissioning.tables import address_line, facts_table

    with _desk(config, edge, token_file) as desk:
        told = desk.device(device)
    if not as_json:
        place = told["place"]
        typer.echo(f"{device}, version {told['version']}: {told['on_bus']['state']}")
        if place is not None:
            typer.echo(f"  room {place['room']}, {place['descriptor']} at {address_line(place['address'])}")
        else:
            typer.echo("  stands for nothing")
        if firmware := told["on_bus"].get("firmware"):
            otherwise = f": {firmware['quirks']}" if firmware["quirks"] else ""
            typer.echo(f"  runs firmware {firmware['version']}{otherwise}")
        if slow := told["on_bus"].get("slow"):
            typer.echo(
                f"  slow: an answer takes {slow['answer_ms']} ms of a busy line, so it is asked"
                f" {slow['asked_times_less']} times less often than its model says"
            )
        if doubt := told["on_bus"].get("doubt"):
            typer.echo(f"  {doubt['why']} ({doubt['points_refused']} of {doubt['points_had']} points)")
        if told["conflict"]:
            typer.echo(f"  contradicts the site plan, which stands: {told['conflict']}")
    _show(facts_table(told["facts"]), told, as_json=as_json)


@devices_app.command("found")
def found(config: _Config = CONFIG, edge: _Edge = None, token_file: _TokenFile = None, as_json: _Json = False) -> None:
    """What was met on the buses and stands behind no name, and what it may be."""
    from provisioning.commissioning.tables import found_table

    with _desk(config, edge, token_file) as desk:
        things = desk.found()
    _show(found_table(things), things, as_json=as_json, nothing="Nothing was found that stands behind no name.")


@devices_app.command("propose")
def propose(
    thing: Annotated[str | None, typer.Argument(help="Only this thing, as `devices found` names it.")] = None,
    config: _Config = CONFIG,
    edge: _Edge = None,
    token_file: _TokenFile = None,
    as_json: _Json = False,
) -> None:
    """Where what was found may belong, and why. Nothing is done: `bind` and `swap` do."""
    from provisioning.commissioning.tables import proposals_table

    with _desk(config, edge, token_file) as desk:
        things = [each for each in desk.found() if thing in (None, each["id"])]
    if thing is not None and not things:
        raise InvalidInputError(thing, "nothing is found under that name now; see `innkeeper devices found`")
    with_some = [each for each in things if each["proposals"]]
    _show(proposals_table(with_some), things, as_json=as_json, nothing="Nothing speaks for any room.", any_of=with_some)


@devices_app.command("probe")
def probe(  # noqa: PLR0917 - options
    bus: Annotated[str, typer.Argument(help="A Modbus bus of the site plan.")],
    units: Annotated[
        str, typer.Option("--units", help="Unit numbers, such as 1-32 or 0,1-10,255; all that the bus can have.")
    ] = "0-255",
    config: _Config = CONFIG,
    edge: _Edge = None,
    token_file: _TokenFile = None,
    as_json: _Json = False,
) -> None:
    """Ask unit numbers of a Modbus bus who is there; nothing is written, and its devices are served meanwhile."""
    runs = _read_units(units)
    asked: list[int] = []
    answered: list[int] = []
    with _desk(config, edge, token_file) as desk:
        for begin, end in _at_once(runs):
            told = desk.probe(bus, begin, end)
            asked += told["asked"]
            answered += told["answered"]
            if not as_json and told["answered"]:
                typer.echo(f"{bus}: somebody answers on unit {', '.join(map(str, told['answered']))}")
    if as_json:
        typer.echo(json.dumps({"bus": bus, "asked": asked, "answered": answered}, indent=1))
        return
    typer.echo(f"{bus}: {len(answered)} of {len(asked)} unit numbers answered; see `innkeeper devices found`")


@devices_app.command("bind")
def bind(  # noqa: PLR0917 - options
    device: _Name,
    room: Annotated[str, typer.Option("--room", help="The room that it serves.")],
    found: _Found = None,
    model: _Model = None,
    address: _Address = None,
    watches: Annotated[str | None, typer.Option("--watches", help="Where its contact is: door or window.")] = None,
    by: _By = "",
    why: _Why = "",
    version: _Version = None,
    config: _Config = CONFIG,
    edge: _Edge = None,
    token_file: _TokenFile = None,
    as_json: _Json = False,
) -> None:
    """Give a free name in a room to a thing that was found, or to an address."""
    body = _thing(found, model, address) | {"room": room}
    if watches is not None:
        body["watches"] = watches
    with _desk(config, edge, token_file) as desk:
        answer = _change(desk, device, "bind", body, by, why, version)
    _say(answer, f"{device} is bound in room {room}", as_json=as_json)


@devices_app.command("swap")
def swap(  # noqa: PLR0917 - options
    device: _Name,
    found: _Found = None,
    model: _Model = None,
    address: _Address = None,
    accept_less: Annotated[bool, typer.Option("--accept-less", help="Even if the new model can do less.")] = False,
    by: _By = "",
    why: _Why = "",
    version: _Version = None,
    config: _Config = CONFIG,
    edge: _Edge = None,
    token_file: _TokenFile = None,
    as_json: _Json = False,
) -> None:
    """Have a name stand for another thing: room, history, policy and wishes stay the name's."""
    body = _thing(found, model, address) | {"accept_less": accept_less}
    with _desk(config, edge, token_file) as desk:
        answer = _change(desk, device, "swap", body, by, why, version)
    _say(answer, f"{device} is another thing now", as_json=as_json)


@devices_app.command("unbind")
def unbind(  # noqa: PLR0917 - options
    device: _Name,
    by: _By = "",
    why: _Why = "",
    version: _Version = None,
    config: _Config = CONFIG,
    edge: _Edge = None,
    token_file: _TokenFile = None,
    as_json: _Json = False,
) -> None:
    """Take a name from its thing."""
    with _desk(config, edge, token_file) as desk:
        answer = _change(desk, device, "unbind", {}, by, why, version)
    _say(answer, f"{device} stands for nothing now", as_json=as_json)


@devices_app.command("test")
def prove(  # noqa: PLR0917 - options
    device: _Name,
    disturb: Annotated[bool, typer.Option("--disturb", help="Even if somebody is in the room.")] = False,
    by: _By = "",
    why: _Why = "",
    config: _Config = CONFIG,
    edge: _Edge = None,
    token_file: _TokenFile = None,
    as_json: _Json = False,
) -> None:
    """Prove that the right thing stands behind a name: it blinks, answers, or is heard (then make it speak)."""
    with _desk(config, edge, token_file) as desk:
        answer = desk.change(device, "test", {"by": by or _user(), "why": why, "disturb": disturb})
    result = answer["fact"]["test"]["result"]
    word = {True: "yes", False: "NO", None: "unknown"}[result]
    trial = answer["fact"]["test"]
    _say(answer, f"{device}: {word} ({trial['way']}: {trial.get('detail', '')})", as_json=as_json)
    raise typer.Exit({True: 0, False: 1, None: UNKNOWN_RESULT}[result])


def _change(  # noqa: PLR0917 - what every change says
    desk: "EdgeDesk", device: str, act: str, body: dict[str, Any], by: str, why: str, version: int | None
) -> dict[str, Any]:
    from provisioning.commissioning.edge_desk import RefusedError

    if version is None:
        try:
            version = int(desk.device(device)["version"])
        except RefusedError as error:
            if error.status != 404:
                raise
            version = 0  # a name that nobody has had yet
    return desk.change(device, act, {"by": by or _user(), "why": why, "version": version, **body})


def _desk(config: Path, edge: str | None, token_file: Path | None) -> "EdgeDesk":
    from provisioning.commissioning.edge_desk import EdgeDesk, find_edge

    return EdgeDesk(find_edge(config, edge, token_file))


def _thing(found: str | None, model: str | None, address: str | None) -> dict[str, Any]:
    if found is None and (address is None or model is None):
        raise InvalidInputError("--found", "say which thing: --found <id>, or --model <family>/<model> and --address")
    body: dict[str, Any] = {}
    if found is not None:
        body["found"] = found
    if model is not None:
        body["descriptor"] = model
    if address is not None:
        body["address"] = _read_address(address)
    return body


def _read_address(text: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for part in text.split():
        key, mark, value = part.partition("=")
        if not mark or not value or key in fields:
            raise InvalidInputError("--address", f"{part!r} is not <key>=<value>, each key once")
        if key == "unit":
            if not value.isascii() or not value.isdecimal():
                raise InvalidInputError("--address", f"unit={value!r} is no number")
            fields[key] = int(value)
        else:
            fields[key] = value
    return fields


def _read_units(text: str) -> list[tuple[int, int]]:
    """Return runs of unit numbers, in order and none twice."""
    wanted: set[int] = set()
    for run in text.split(","):
        first, mark, last = run.strip().partition("-")
        numbers = [int(each) for each in (first, last if mark else first) if each.isascii() and each.isdecimal()]
        if len(numbers) != 2 or not 0 <= numbers[0] <= numbers[1] <= 255:
            raise InvalidInputError("--units", f"{run!r} is no run of unit numbers between 0 and 255, such as 1-32")
        wanted |= set(range(numbers[0], numbers[1] + 1))
    begins = [each for each in sorted(wanted) if each - 1 not in wanted]
    ends = [each for each in sorted(wanted) if each + 1 not in wanted]
    return list(zip(begins, ends, strict=True))


def _at_once(runs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Split runs into what the edge asks at once."""
    for first, last in runs:
        for begin in range(first, last + 1, PROBED_AT_ONCE):
            yield begin, min(last, begin + PROBED_AT_ONCE - 1)


def _user() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError) as error:
        raise InvalidInputError("--by", "this machine does not know who you are: say it") from error


def _say(answer: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    typer.echo(f"{sentence} (version {answer['fact']['version']})")
    if answer["pending"]:
        typer.echo(f"  told to {', '.join(answer['pending'])} only when innkeeper-edge starts again")


def _show(table: "Table", document: object, *, as_json: bool, nothing: str = "", any_of: object = None) -> None:
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    if nothing and not (document if any_of is None else any_of):
        typer.echo(nothing)
        return
    from rich.console import Console

    Console().print(table)
