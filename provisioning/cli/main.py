"""The command `innkeeper`: what a property engineer types.

Thin: reads arguments, says errors in one line, leaves the work to the rooms beside it.
"""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from protocols.errors import InvalidInputError, PlatformError, UnsupportedVersionError
from provisioning.cli.acl import acl
from provisioning.cli.descriptor import descriptor_app
from provisioning.cli.devices import devices_app

FAILED: Final = 1
WRONG_INPUT: Final = 2
"""As `innkeeper-edge` and `innkeeper-cloud` say it: an inventory, a descriptor, a setting or an argument is wrong."""
ROOT = Path(__file__).resolve().parents[2]
_STATE_HELP = (
    "Where the run keeps its state, logs and report. Its folder run/ is emptied first, if a rehearsal made it (any "
    "other is refused). One rehearsal at a time: a second on the same folder is refused."
)
GRAND: Final = "grand"
GRAND_MINUTES: Final = 5.0
_MINUTES_HELP = (
    "Instead of the story: guests, weather and faults for so long, then what was believed is held against what was so. "
    f"`{GRAND}` does so for {GRAND_MINUTES:g} minutes unless told otherwise."
)
DAY: Final = "day"
DAY_MINUTES: Final = 4.0
DAY_ARRIVALS: Final = 60
_ARRIVALS_HELP = (
    "Instead of the story: a full day of so many arrivals, the line cut from 16:00 to 19:00, money and conflicts "
    f"included. `{DAY}` does so for {DAY_ARRIVALS} in {DAY_MINUTES:g} minutes unless told otherwise."
)
_CUTS_HELP = (
    "Instead of the story: every way into a room with the phones off line, the cloud away, the edge away, all three."
)

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Innkeeper: provision and rehearse a property.")
inventory_app = typer.Typer(no_args_is_help=True, help="Check what was written down about a building.")
app.add_typer(inventory_app, name="inventory")
app.add_typer(descriptor_app, name="descriptor")
app.add_typer(devices_app, name="devices")
inventory_app.command("acl")(acl)


@app.command()
def rehearse(  # noqa: PLR0917 - typer reads the options of the command from here
    name: Annotated[str, typer.Argument(help="An inventory: a name in inventories/, or a path to a .toml file.")],
    state: Annotated[Path, typer.Option(help=_STATE_HELP)] = Path("build/demo"),
    once: Annotated[bool, typer.Option("--once", help="Play the story and end.")] = False,
    story: Annotated[bool, typer.Option(help="Play the story at all, or only bring the property up.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of every emulator's misbehaviour, guests, weather and faults.")] = 1,
    minutes: Annotated[float | None, typer.Option(help=_MINUTES_HELP)] = None,
    rooms: Annotated[int | None, typer.Option(help="Only the first so many guest rooms; with --minutes.")] = None,
    arrivals: Annotated[int | None, typer.Option(help=_ARRIVALS_HELP)] = None,
    cuts: Annotated[bool, typer.Option("--cuts", help=_CUTS_HELP)] = False,
) -> None:
    """Run a whole property on this machine, everything outside Innkeeper emulated, and play its story."""
    from provisioning.rehearsal.rehearsal import run_rehearsal

    path = Path(name) if name.endswith(".toml") else ROOT / "inventories" / f"{name}.toml"
    if minutes is None and name == GRAND:
        minutes = GRAND_MINUTES
    if arrivals is None and name == DAY:
        arrivals = DAY_ARRIVALS
    if arrivals is not None and minutes is None:
        minutes = DAY_MINUTES
    raise SystemExit(
        run_rehearsal(
            path, state, once=once, story=story, seed=seed, minutes=minutes, rooms=rooms, arrivals=arrivals, cuts=cuts
        )
    )


@inventory_app.command("check")
def check(file: Annotated[Path, typer.Argument(help="An inventory file.")]) -> None:
    """Say whether an inventory is right, and if not what is wrong and where."""
    from provisioning.inventory import inventory as inventories

    inventory = inventories.load(file)
    rooms = sum(floor.rooms for floor in inventory.floors)
    devices = rooms * len(inventory.fittings) + len(inventory.devices)
    typer.echo(
        f"{file}: {inventory.property.name}, {rooms} guest rooms, {len(inventory.places)} other places, "
        f"{devices} devices on {len(inventory.buses)} buses, {len(inventories.doors(inventory))} doors"
    )


def main() -> None:
    """Entry point. An error of ours is one line on standard error, never a traceback; see WRONG_INPUT and FAILED."""
    try:
        app()
    except PlatformError as error:
        print(f"innkeeper: {error}", file=sys.stderr)
        wrong = isinstance(error, InvalidInputError | UnsupportedVersionError)
        raise SystemExit(WRONG_INPUT if wrong else FAILED) from None


if __name__ == "__main__":
    main()
