"""How docker-compose.cloud.yml starts PostgreSQL: what is measured is measured over a database like that."""

from pathlib import Path
from typing import Final

import yaml

COMPOSE: Final = Path(__file__).resolve().parents[1] / "docker-compose.cloud.yml"
_SET: Final = "-c"


def shipped_settings() -> dict[str, str]:
    """Return the settings of postgresql.conf that the compose file gives its database, by name."""
    program, *flags = yaml.safe_load(COMPOSE.read_text())["services"]["database"]["command"]
    if program != "postgres" or not all(each.startswith(_SET) for each in flags):
        raise ValueError(f"{COMPOSE.name}: the database's command is not `postgres` with settings: {program} {flags}")
    named = (each.removeprefix(_SET).partition("=") for each in flags)
    return {name: value for name, _, value in named}
