"""`python -m firmware_bridges.guest_phone --hci tcp-client:HOST:PORT`: a phone driven by JSON lines.

One request a line on standard input, one answer a line on standard output, in order:

    {"do": "new_key"}                          -> {"ok": true, "public_key": "<66 hex digits>"}
    {"do": "load_bundle", "bundle": {...}}     -> {"ok": true, "doors": [...], "not_after_ms": ...}
    {"do": "preflight", "door": "door-101"}    -> {"ok": true, "reason": null, "spoken": ""}
    {"do": "open", "door": "door-101"}         -> {"ok": true, "ending": "opened", "phases": {...}, ...}
    {"do": "latch", "door": "door-lobby", "hold": true}  -> as open; let go (false) ends "done"
    {"do": "quit"}

With `"as": "anna"` a request is for another phone of that name, with keys of its own, on the same radio. `ok` is
false, with `error`, only when the request itself made no sense. An `id` comes back as it was given. Without `--hci`
the machine's own Bluetooth is used.
"""

import argparse
import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any, Final

from bleak.exc import BleakError

from firmware_bridges.ble_radio.backend import PLATFORM, BleBackend
from firmware_bridges.guest_phone.phone import GuestPhone
from kit.clock import SystemClock
from kit.dice import SystemDice
from kit.logs import configure
from protocols.errors import InvalidInputError, PlatformError

LINE_BYTES_MAX: Final = 256 * 1024


async def answer(phone: GuestPhone, request: dict[str, Any]) -> dict[str, Any]:
    """Do what one request says. Raises PlatformError when it makes no sense."""
    match request:
        case {"do": "new_key"}:
            return {"public_key": phone.new_key()}
        case {"do": "load_bundle", "bundle": document}:
            bundle = phone.load_bundle(document)
            return {"doors": [door.door for door in bundle.doors], "not_after_ms": bundle.not_after_ms}
        case {"do": "preflight", "door": str() as door}:
            cause = phone.preflight(door)
            return {"reason": cause and cause.value, "spoken": cause.spoken if cause else ""}
        case {"do": "open", "door": str() as door}:
            opening = await phone.open(door, user_verified=request.get("user_verified") is True)
            return opening.to_document()
        case {"do": "latch", "door": str() as door, "hold": bool() as hold}:
            opening = await phone.open(door, user_verified=request.get("user_verified") is True, hold=hold)
            return opening.to_document()
        case _:
            raise InvalidInputError("request", "is none of new_key, load_bundle, preflight, open, latch, quit")


async def converse(backend: BleBackend) -> None:
    """Answer standard input until it ends or says quit."""
    phones: dict[str, GuestPhone] = {}
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while line := await reader.readline():
            request: object = None
            try:
                request = json.loads(line)
                if not isinstance(request, dict):
                    raise InvalidInputError("request", "is not an object")
                if request.get("do") == "quit":
                    return
                name = str(request.pop("as", ""))
                phone = phones.setdefault(name, GuestPhone(backend, SystemClock("host"), SystemDice()))
                said = {"ok": True, **await answer(phone, request)}
            except (PlatformError, ValueError, RecursionError) as error:
                said = {"ok": False, "error": str(error)}
            if isinstance(request, dict) and "id" in request:
                said = {"id": request["id"], **said}
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()
    finally:
        pipe.close()


async def run(hci: str | None) -> None:
    """Open the Bluetooth asked for and converse."""
    async with AsyncExitStack() as stack:
        backend = PLATFORM
        if hci is not None:
            from firmware_bridges.ble_radio.radio import Radio, use_radio

            backend = use_radio(await stack.enter_async_context(await Radio.open(hci, name="guest-phone")))
        await converse(backend)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run. Status 2: no Bluetooth."""
    parser = argparse.ArgumentParser(prog="innkeeper-phone", description="A guest's phone, driven by JSON lines.")
    parser.add_argument("--hci", help="an emulated controller, such as tcp-client:127.0.0.1:9001")
    parser.add_argument("--log-level", default="warning", choices=("debug", "info", "warning", "error"))
    arguments = parser.parse_args(argv)
    configure("innkeeper-phone", arguments.log_level)
    try:
        asyncio.run(run(arguments.hci))
    except BleakError as error:
        sys.stderr.write(f"{error.args[0]}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
