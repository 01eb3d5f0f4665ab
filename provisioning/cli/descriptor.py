"""`innkeeper descriptor`: check, new, doc, announced, emulate and import, for whoever brings a new model of device."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from protocols.errors import InvalidInputError

if TYPE_CHECKING:
    from provisioning.descriptors.imported import Imported

descriptor_app: Final = typer.Typer(no_args_is_help=True, help="Descriptors: one file a model of device.")
import_app: Final = typer.Typer(no_args_is_help=True, help="Make a descriptor of somebody else's description.")
descriptor_app.add_typer(import_app, name="import")

_File = Annotated[Path, typer.Argument(help="A descriptor, <family>/descriptors/<model>.toml.")]
_Out = Annotated[Path | None, typer.Option("--out", help="Where to write it; standard output if not given.")]


@descriptor_app.command("check")
def check(
    files: Annotated[list[Path], typer.Argument(help="Descriptors.")],
    strict: Annotated[bool, typer.Option("--strict", help="Advice counts as a fault.")] = False,
) -> None:
    """Say whether descriptors are right; if not what is wrong, where, and what to write instead."""
    from provisioning.descriptors import checking

    wrong = False
    for file in files:
        verdict = checking.check(file)
        if verdict.descriptor is None:
            wrong = True
            typer.echo(f"{verdict.problem}\n  fix: {verdict.fix}", err=True)
            continue
        typer.echo(f"{file}: right: {checking.summary(verdict.descriptor)}")
        for each in verdict.advice:
            typer.echo(f"  advice: {each}")
        wrong = wrong or (strict and bool(verdict.advice))
    raise typer.Exit(2 if wrong else 0)


@descriptor_app.command("new")
def new(  # noqa: PLR0917 - options
    id: Annotated[str, typer.Option(prompt="Id, <family>/<model>")],  # noqa: A002 - the option's name
    vendor: Annotated[str, typer.Option(prompt="Who makes it")],
    model: Annotated[str, typer.Option(prompt="What the maker calls it")],
    title: Annotated[str, typer.Option(prompt="What it is, in a few words")],
    source: Annotated[str, typer.Option(prompt="Where the map is from (document, revision, table)")],
    wire: Annotated[str, typer.Option(prompt="Wire (modbus, zigbee2mqtt, mqtt, ble_advert, opcua, peripheral)")],
    point: Annotated[list[str] | None, typer.Option(help="<capability>.<attribute>=<where>,<type>[,<scale>]")] = None,
    more: Annotated[str | None, typer.Option(help="What the wire needs: model, encoding or object node.")] = None,
    out: _Out = None,
) -> None:
    """Begin a descriptor from a few answers; what is not given is asked for."""
    from provisioning.descriptors.beginning import Answers, begin, question_about
    from provisioning.descriptors.text import descriptor_text

    question = question_about(wire)
    if more is None and question is not None:
        more = typer.prompt(question)
    points = list(point or ())
    while not point:
        answer = typer.prompt(
            "A point, <capability>.<attribute>=<where>,<type>[,<scale>] (nothing: no more)",
            default="",
            show_default=False,
        )
        if not answer:
            break
        points.append(answer)
    document = begin(Answers(id, vendor, model, title, source, wire, points, more or ""))
    text, _ = descriptor_text(
        document, [f"{vendor} {model}: {title}. Begun from a few answers: hold it against the source."]
    )
    _put(text, out)


@descriptor_app.command("doc")
def doc(file: _File, out: _Out = None) -> None:
    """Write a model's page of documentation, in Markdown."""
    from protocols.descriptors.descriptor import load
    from provisioning.descriptors.page import page

    _put(page(load(file)), out)


@descriptor_app.command("announced")
def announced(
    file: Annotated[Path, typer.Argument(help="Announcements: JSON, or lines as `mosquitto_sub -v` prints them.")],
    prefix: Annotated[str, typer.Option(help="Under which topic devices announce themselves.")] = "homeassistant",
    out: _Out = None,
) -> None:
    """Write the page of a device that announces itself: what it becomes, and what of it is not taken."""
    from provisioning.descriptors.announced import pages, read

    _put(pages(read(file, prefix)), out)


@descriptor_app.command("emulate")
def emulate(  # noqa: PLR0917 - options
    file: _File,
    port: Annotated[int | None, typer.Option(help="Modbus TCP or OPC UA port; any free one if not given.")] = None,
    broker: Annotated[str | None, typer.Option(help="<host>:<port> of a broker to join; else one is started.")] = None,
    name: Annotated[str, typer.Option(help="The thing's name on the broker.")] = "emulated",
    well_behaved: Annotated[bool, typer.Option("--well-behaved", help="Nothing goes wrong.")] = False,
    seed: Annotated[int | None, typer.Option(help="Makes every misfortune repeatable.")] = None,
    firmware: Annotated[str | None, typer.Option(help="Version that it runs; the newest known if not given.")] = None,
) -> None:
    """Run a model as a thing on a real socket, until interrupted."""
    from provisioning.descriptors.emulation import run_emulator

    ended = run_emulator(
        file, port=port, broker=broker, name=name, well_behaved=well_behaved, seed=seed, firmware=firmware
    )
    raise typer.Exit(ended)


@import_app.command("sunspec")
def from_sunspec(
    file: Annotated[Path, typer.Argument(help="A SunSpec model, model_<number>.json.")],
    base: Annotated[int, typer.Option(help="Register of the model's ID, counted from 0, such as 40069.")],
    vendor: Annotated[str, typer.Option(help="Who makes the thing.")] = "SunSpec Alliance",
    out: _Out = None,
) -> None:
    """A SunSpec information model; what has no word here is named in the file's head."""
    from provisioning.descriptors.sources import read_json
    from provisioning.descriptors.sunspec import import_sunspec

    _put_imported(import_sunspec(read_json(file), base=base, vendor=vendor), f"Imported from {file.name}.", out)


@import_app.command("edgex")
def from_edgex(
    file: Annotated[Path, typer.Argument(help="An EdgeX device profile for Modbus, YAML or JSON.")],
    out: _Out = None,
) -> None:
    """An EdgeX device profile; what could not be told is named in the file's head."""
    from provisioning.descriptors.edgex import import_edgex
    from provisioning.descriptors.sources import read_yaml

    _put_imported(import_edgex(read_yaml(file)), f"Imported from {file.name}.", out)


@import_app.command("exposes")
def from_exposes(
    file: Annotated[Path, typer.Argument(help="JSON: an entry of bridge/devices, its definition, or the whole list.")],
    model: Annotated[str | None, typer.Option(help="Which model of the list.")] = None,
    out: _Out = None,
) -> None:
    """What Zigbee2MQTT exposes; what has no word here is named in the file's head."""
    from provisioning.descriptors.exposes import import_exposes
    from provisioning.descriptors.sources import one_of, read_json_any

    _put_imported(import_exposes(one_of(read_json_any(file), model)), f"Imported from {file.name}.", out)


def _put_imported(found: "Imported", head: str, out: Path | None) -> None:
    text, descriptor = found.settled(head)
    _put(text, out)
    for each in found.left_out:
        typer.echo(f"  left out: {each}", err=True)
    typer.echo(f"  {len(descriptor.points)} points imported, {len(found.left_out)} notes", err=True)


def _put(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
        return
    if out.exists():
        raise InvalidInputError(str(out), "is there already: nothing is overwritten")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    typer.echo(f"{out}: written")
