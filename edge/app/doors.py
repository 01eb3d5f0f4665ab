"""The doors process, composed: its settings choose the Bluetooth that edge/bridges/ble makes. A process of its own."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from edge.doors.main import OpensRadio
from edge.doors.main import main as doors_main
from edge.doors.radio import DoorRadio
from edge.doors.settings import DoorsSettings
from kit.clock import Clock


def main(config: Path, environ: Mapping[str, str]) -> int:
    """Run `innkeeper-edge doors`; return the exit status."""
    return doors_main(config, environ, bluetooth)


def bluetooth(settings: DoorsSettings, clock: Clock) -> OpensRadio:
    """Return what opens the adapter that `settings` names."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[DoorRadio]:
        from edge.bridges.ble.choice import chosen_backend  # bleak: only once Bluetooth is wanted
        from edge.bridges.ble.door_radio import BleDoorRadio

        async with chosen_backend(settings.radio) as backend:
            yield BleDoorRadio(backend, clock, slots=settings.radio.connections_max, channels=settings.radio.channels)

    def opens() -> AbstractAsyncContextManager[DoorRadio]:
        return opened()

    return opens
