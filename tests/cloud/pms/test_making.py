"""An adapter is made from what the settings say, and says by name what they leave out."""

from dataclasses import replace
from typing import get_args

import httpx
import pytest

from cloud.pms.emulation.face import Face
from cloud.pms.port import System
from cloud.pms.vendors import EMULATORS, NEEDS, Access, make_adapter
from kit.clock import ManualClock
from protocols.errors import InvalidInputError
from tests.cloud.pms.vendors import VIENNA

WHOLE = Access(
    platform="https://pms.invalid",
    secret="secret",
    client="client",
    hotel="80",
    auth="https://auth.invalid",
    app_key="key",
    enterprise="NORTHLIGHT",
    external_system="INNKEEPER",
    time=VIENNA,
)


@pytest.mark.requirement("PMS-01")
@pytest.mark.requirement("PMS-03")
@pytest.mark.parametrize("system", get_args(System))
async def test_each_system_is_made_and_misses_what_it_needs_by_name(system: System) -> None:
    async with httpx.AsyncClient() as http:
        made = make_adapter(system, http, WHOLE, clock=ManualClock())
        assert made.system == system
        for name in NEEDS[system]:
            with pytest.raises(InvalidInputError, match="zone" if name == "time" else name):
                make_adapter(system, http, replace(WHOLE, **{name: None}), clock=ManualClock())  # type: ignore[arg-type]  # changes by name
        assert issubclass(EMULATORS[system], Face)
