"""Reads the site plan that the settings name, and holds it against who the settings say we are."""

from edge.app.settings import EdgeSettings
from protocols.device_model import site_plan
from protocols.device_model.site_plan import SitePlan
from protocols.errors import InvalidInputError


def read_site_plan(settings: EdgeSettings) -> SitePlan | None:
    """Return the plan, or None where the settings name none.

    Raises:
        InvalidInputError: unreadable, wrong, or the plan of another property or edge.
        UnsupportedVersionError: a plan format that this build does not know.
    """
    path = settings.site_plan_path
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror or error}") from error
    plan = site_plan.parse(data, str(path))
    if plan.property.id != settings.property:
        raise InvalidInputError(
            f"{path}: property.id", f"is {plan.property.id!r}; edge.toml says {settings.property!r}"
        )
    if plan.edge != settings.edge:
        raise InvalidInputError(f"{path}: edge", f"is {plan.edge!r}; edge.toml says {settings.edge!r}")
    return plan
