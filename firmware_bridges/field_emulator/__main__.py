"""`python -m firmware_bridges.field_emulator`: all field devices of a property on their buses.

Prints one JSON line when everything listens: {"ready": true, "control": "...", "modbus": {bus: port}}.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from firmware_bridges.catalogue import load_all
from firmware_bridges.field_emulator.building import FieldEmulator
from firmware_bridges.field_emulator.misbehaviour import GOOD, Knobs
from firmware_bridges.innkeeper_lock.control import ControlServer
from kit.clock import SystemClock
from kit.dice import SeededDice, SystemDice
from kit.identity import tls_client_context
from kit.mqtt import Broker, MqttTransport
from kit.mqtt_wire.inbox import LARGE_BYTES_MAX
from kit.net import Transport
from protocols.descriptors.advert_keys import parse_keys
from protocols.device_model.site_plan import BleAdvertBus, MqttBus, MqttDevicesBus, SitePlan
from protocols.device_model.site_plan import parse as parse_plan
from protocols.errors import PlatformError

HANG_UP_S: Final = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; 2 for a wrong argument or plan, 1 for a port that is taken."""
    options = _parser().parse_args(arguments)
    try:
        path: Path = options.site_plan
        plan = parse_plan(path.read_bytes(), str(path))
        asyncio.run(_run(options, plan))
    except PlatformError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's last words
        return 2
    except OSError as error:
        print(f"cannot start: {error}", file=sys.stderr)  # noqa: T201 - its parent reads it
        return 1
    return 0


async def _run(options: argparse.Namespace, plan: SitePlan) -> None:
    clock = SystemClock("host")
    emulator = FieldEmulator(
        plan,
        load_all(options.descriptors),
        transport_of=lambda bus: _transport(options, plan, bus),
        clock=clock,
        dice=SystemDice() if options.seed is None else SeededDice(options.seed),
        knobs=GOOD if options.well_behaved else Knobs(),
        speed=options.speed,
        advert_keys=_advert_keys(options.advert_keys),
    )
    control = await ControlServer(emulator.answer).start(options.control)
    try:
        started, stop = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, stop.set)
        running = asyncio.create_task(emulator.run(started))
        stopping = asyncio.create_task(stop.wait())
        waiting = asyncio.create_task(started.wait())
        await asyncio.wait({running, stopping, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if started.is_set():
            ports = {bus: server.port for bus, server in emulator.modbus.items()}
            print(json.dumps({"ready": True, "control": control.address, "modbus": ports}), flush=True)  # noqa: T201 - its parent reads it
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (running, stopping, waiting):
            task.cancel()
        results = await asyncio.gather(running, stopping, waiting, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]
    finally:
        await control.close()
        await asyncio.sleep(HANG_UP_S)  # the handlers of open control lines end by themselves, not by cancellation


def _transport(options: argparse.Namespace, plan: SitePlan, bus: MqttBus | MqttDevicesBus | BleAdvertBus) -> Transport:
    tls = tls_client_context(options.mqtt_ca, options.mqtt_cert, options.mqtt_key) if options.mqtt_ca else None
    return MqttTransport(
        Broker(
            host=options.mqtt_host,
            port=options.mqtt_port,
            client_id=f"field-{plan.property.id}-{bus.id}"[:40],
            tls=tls,
            username=options.mqtt_user,
            password=options.mqtt_password_file.read_text().strip() if options.mqtt_password_file else None,
            payload_bytes_max=LARGE_BYTES_MAX,  # a Zigbee2MQTT says the list of its devices in one message
        )
    )


def _advert_keys(path: Path | None) -> Mapping[str, bytes]:
    return {} if path is None else parse_keys(path.read_bytes(), str(path))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m firmware_bridges.field_emulator", description=__doc__)
    parser.add_argument("--site-plan", type=Path, required=True, metavar="FILE")
    parser.add_argument("--control", required=True, metavar="ADDRESS", help="unix:PATH or tcp:127.0.0.1:PORT")
    parser.add_argument("--seed", type=int, help="makes every misfortune repeatable")
    parser.add_argument("--well-behaved", action="store_true", help="nothing goes wrong unless it is asked for")
    parser.add_argument("--speed", type=float, default=1.0, help="how much faster than real time physics run")
    parser.add_argument("--descriptors", type=Path, action="append", default=[], metavar="DIR", help="more descriptors")
    parser.add_argument("--advert-keys", type=Path, metavar="FILE", help="sensors that seal their adverts: TOML")
    parser.add_argument("--mqtt-host", default="127.0.0.1")
    parser.add_argument("--mqtt-port", type=int, default=1883)
    parser.add_argument("--mqtt-ca", type=Path, metavar="PEM")
    parser.add_argument("--mqtt-cert", type=Path, metavar="PEM")
    parser.add_argument("--mqtt-key", type=Path, metavar="PEM")
    parser.add_argument("--mqtt-user")
    parser.add_argument("--mqtt-password-file", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
