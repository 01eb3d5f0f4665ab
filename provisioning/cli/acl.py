"""`innkeeper inventory acl`: who may say and hear what on the site broker, as Mosquitto reads it."""

from pathlib import Path
from typing import Annotated

import typer

from protocols.errors import InvalidInputError


def acl(
    file: Annotated[Path, typer.Argument(help="An inventory (.toml) or a site plan (.json).")],
    home_assistant: Annotated[bool, typer.Option("--home-assistant", help="The edge has [home_assistant].")] = False,
    sparkplug: Annotated[bool, typer.Option("--sparkplug", help="[sparkplug] speaks on this broker.")] = False,
    also_read: Annotated[list[str] | None, typer.Option(help="A filter that the edge's [json_devices] need.")] = None,
    models: Annotated[Path | None, typer.Option(help="Folder of own descriptors, [bridges] models_path.")] = None,
) -> None:
    """Write Mosquitto's access list for the site broker: to every client the least that it needs."""
    from firmware_bridges.catalogue import check_plan, load_all, own_models
    from protocols.device_model import site_plan as plans
    from provisioning.inventory import inventory as inventories
    from provisioning.inventory.site_rights import Facades, access_list, site_clients

    catalogue = load_all(own_models(models))
    if file.suffix == ".json":
        try:
            plan = plans.parse(file.read_bytes(), str(file))
        except OSError as error:
            raise InvalidInputError(str(file), f"cannot be read: {error.strerror or error}") from error
        check_plan(plan, catalogue, str(file))
    else:
        plan = inventories.expanded(inventories.load(file, catalogue), file, catalogue)
    facades = Facades(home_assistant=home_assistant, sparkplug=sparkplug, also_read=tuple(also_read or ()))
    typer.echo(access_list(site_clients(plan, catalogue, facades)), nl=False)
