"""The doors process, composed: its settings choose the Bluetooth that edge/bridges/ble makes. A process of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

from edge.bridges.ble.reach import HouseReach
from edge.doors.main import OpensRadio
from edge.doors.main import main as doors_main
from edge.doors.radio import DoorRadio
from edge.doors.settings import DoorsSettings
from kit.clock import Clock


def main(config: Path, environ: Mapping[str, str]) -> int:
    """Run `innkeeper-edge doors`; return the exit status."""
    reach = HouseReach()
    return doors_main(config, environ, partial(bluetooth, reach=reach), reach)


def bluetooth(settings: DoorsSettings, clock: Clock, *, reach: HouseReach | None = None) -> OpensRadio:
    """Return what opens the adapter that `settings` names; `reach` reaches locks of other makers by it."""
    reach = reach or HouseReach()

    @asynccontextmanager
    async def opened() -> AsyncIterator[DoorRadio]:
        from edge.bridges.ble.choice import chosen_backend  # bleak: only once Bluetooth is wanted
        from edge.bridges.ble.door_radio import BleDoorRadio

        async with chosen_backend(settings.radio) as backend:
            radio = BleDoorRadio(
                backend,
                clock,
                slots=settings.radio.connections_max,
                channels=settings.radio.channels,
                also=reach.wanted,
            )
            with reach.using(radio):
                yield radio

    def opens() -> AbstractAsyncContextManager[DoorRadio]:
        return opened()

    return opens
